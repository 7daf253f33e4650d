# SPDX-License-Identifier: Apache-2.0
"""The physical state of one array: what writes, time, heat and reads made of its cells.

This is the one place with floats. :meth:`ArrayState.image` rounds them, once, to the integers that
every level of the twin reads (DESIGN, section 4).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import ConfigError
from ..arch.formats import FRACTION_BITS
from . import converter
from .crossbar import check_key
from .devices.model import Device
from .effects import aging, drift, endurance, faults, flicker, pulses, retention, telegraph
from .effects.disturb import count_reads, disturb
from .effects.noise import noise_parameters
from .effects.openloop import open_loop
from .effects.streams import Stream, Streams
from .effects.temperature import temperature_factor
from .effects.variation import variation
from .effects.verify import write_verify
from .image import ArrayImage
from .rounding import compact_variance, to_int32
from .statefile import pack, unpack
from .wires import predistort, transfer_matrix

__all__ = ["ArrayState", "compact_variance"]

_ONE = 1 << FRACTION_BITS

# What a saved state holds besides its description, by dtype; shapes follow from the array.
_CELLS = {
    "target": np.float64,
    "programmed": np.float64,
    "exponents": np.float64,
    "stuck": np.int8,
    "full": np.bool_,
    "pulses": np.int64,
    "iterations": np.int64,
}


class ArrayState:
    """One array of cells and its reference column (the last column of every state array).

    Cells are written on construction. Everything random is a function of ``(seed, array)``, of the
    effect and of how often the effect was used, never of the order of calls or of other effects.

    Parameters
    ----------
    levels : uint8 array [rows, cols]
        0 to ``2**cell_bits - 1``.
    device : Device
    cell_bits : int
        1 to 4.
    seed, array : int
        uint32 each.
    adc_bits, lanes, adc_table, adc_step, adc_span, thresholds
        As in :class:`~.image.ArrayImage`; a table given here goes before that of the device.
    yield_map : int8 array [rows, cols], optional
        1 stuck on, -1 stuck off, 0 good; by default drawn with the device's shares.
    headroom : float, optional
        If given, cells are written pre-distorted against the wires (:func:`.wires.predistort`),
        to targets of this share of their range, above 0 to 1; the sense amplifiers make up for it.
        Nothing without wires.

    Raises
    ------
    ConfigError
        If a level is too high, the device cannot hold it, or the map does not fit.
    ValueError
        If a part of the key is no uint32.
    """

    def __init__(
        self,
        levels: NDArray[np.uint8],
        device: Device,
        *,
        cell_bits: int,
        seed: int,
        array: int,
        adc_bits: int,
        lanes: int = 1,
        adc_table: NDArray[np.uint16] | None = None,
        adc_step: int = 1,
        adc_span: int = 1,
        thresholds: NDArray[np.int32] | None = None,
        yield_map: NDArray[np.int8] | None = None,
        headroom: float | None = None,
    ) -> None:
        check_key(seed, array)
        if not 1 <= cell_bits <= 4:
            raise ConfigError(f"A cell has 1 to 4 bits, not {cell_bits}")
        _check_levels(levels, cell_bits)
        if headroom is not None and not 0 < headroom <= 1:
            raise ConfigError(f"The headroom must be above 0 and at most 1, not {headroom}")
        self.device = device
        self.headroom = None if device.wires is None else headroom
        self.cell_bits = cell_bits
        self.adc_bits = adc_bits
        self.lanes = lanes
        self.adc_table = adc_table
        self.adc_step = adc_step
        self.adc_span = adc_span
        self.thresholds = thresholds
        """Programmed by the host, and free to be changed: :meth:`image` shows it."""
        self.streams = Streams(seed, array)
        rows, cols = levels.shape
        self.shape = rows, cols + 1
        self.temperature = device.temperature
        """Kelvin, of the moment."""
        self.writes = 0
        """Times the array was written."""
        self.advances = 0
        """Times :meth:`advance` was called."""
        # For life: functions of the key alone, so a saved state need not hold them.
        self.traps, self.full = telegraph.draw_traps(self.shape, device, self.streams)
        self.limits = endurance.pulse_limits(self.shape, device, self.streams)
        self.retention_times = retention.retention_times(self.shape, device, self.streams)
        if yield_map is None:
            self.stuck = faults.seeded_map(self.shape, device, self.streams)
        else:
            self.stuck = faults.check_map(yield_map, rows, cols)
        self.pulses = np.zeros(self.shape, np.int64)
        """Write pulses each cell had."""
        self.read_counts = np.zeros((2, rows), np.int64)
        """Reads of each row since the last write, of the usual and of the reverse polarity."""
        self.seconds = np.zeros(0)
        self.temperatures = np.zeros(0)
        """Stretches of time since the last write, and their temperatures."""
        self.write(levels)

    # ------------------------------------------------------------ what happens to the array

    def write(self, levels: NDArray[np.uint8]) -> None:
        """Write all cells, with verification if the device has it.

        Drift, retention and read disturb start afresh; pulses add up, and cells that had more
        than they survive are stuck from then on.

        Raises
        ------
        ConfigError
            If a level is too high or the shape another one.
        """
        _check_levels(levels, self.cell_bits)
        if (levels.shape[0], levels.shape[1] + 1) != self.shape:
            raise ConfigError(f"The array has other dimensions than levels {list(levels.shape)}")
        device, epoch = self.device, self.writes
        conductances = device.conductances(self.cell_bits)
        self.levels = levels.copy()
        self.target = np.column_stack([conductances[levels], np.full(len(levels), device.g_off)])
        if self.headroom is not None and device.wires is not None:
            self.target = predistort(
                self.target * self.headroom,
                device.wires.model(),
                g_min=device.g_off,
                g_max=device.g_on,
            ).g
        start = self.target * variation(self.shape, device, self.streams, epoch)
        start *= open_loop(self.target, device, self.streams, epoch)
        start = faults.stuck_conductance(start, self.stuck, device)
        done = write_verify(start, self.target, self.stuck != 0, device, self.streams, epoch)
        self.iterations = done.iterations
        """Verifying iterations that each cell took in the last write."""
        self._set(done.g, done.pulses + 1)
        self.writes += 1

    def pulse(self, counts: NDArray[np.int64]) -> None:
        """Apply trains of pulses [rows, cols], negative ones depressing: an open-loop update.

        Raises
        ------
        ConfigError
            If the device has no pulse response, or the shape does not fit.
        """
        response = None if self.device.write is None else self.device.write.response
        if response is None:
            raise ConfigError(
                f"Device {self.device.name} has no 'write.response', so its pulses have no effect;"
                " add the section"
            )
        counts = self._with_reference("pulse counts", counts)
        random = self.streams.generator(Stream.PULSES, self.writes)
        g = pulses.apply_pulses(self.aged(), counts, self.device, response, random)
        self._set(np.where(counts == 0, self.aged(), g), np.abs(counts))
        self.writes += 1

    def wear(self, counts: NDArray[np.int64] | int) -> None:
        """Count pulses [rows, cols] that leave the cells as they are, for their wear alone."""
        if isinstance(counts, int):
            counts = np.full((self.shape[0], self.shape[1] - 1), counts, np.int64)
        self._count(np.abs(self._with_reference("pulse counts", counts)))

    def advance(
        self,
        seconds: float,
        temperature: float | None = None,
        reads: NDArray[np.int64] | int | None = None,
    ) -> None:
        """Let time pass.

        Parameters
        ----------
        seconds : float
            0 to any number of years; what comes out does not depend on how it is split.
        temperature : float, optional
            Kelvin from now on; as it was if absent.
        reads : int, or int array [rows], optional
            Reads made in that time, of every row or of each (the array's own read counter tells).

        Raises
        ------
        ConfigError
            If time or a count is negative, or the temperature below 0 K.
        """
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ConfigError(f"The seconds to advance must be 0 or more, not {seconds}")
        if temperature is not None and not (math.isfinite(temperature) and temperature >= 0):
            raise ConfigError(f"The temperature must be 0 kelvin or more, not {temperature}")
        counts = np.zeros(self.shape[0], np.int64) if reads is None else np.asarray(reads)
        if counts.dtype.kind not in "iu" or counts.shape not in ((), (self.shape[0],)):
            raise ConfigError(
                f"Reads must be a whole number, or one for each of the {self.shape[0]} rows"
            )
        if counts.min() < 0:
            raise ConfigError(f"The number of reads must be 0 or more, not {counts.min()}")
        counts = np.broadcast_to(counts.astype(np.int64), (self.shape[0],))
        self.temperature = self.temperature if temperature is None else float(temperature)
        if len(self.seconds) and self.temperatures[-1] == self.temperature:
            self.seconds[-1] += seconds
        else:
            self.seconds = np.append(self.seconds, seconds)
            self.temperatures = np.append(self.temperatures, self.temperature)
        self.read_counts = count_reads(self.read_counts, counts, self.device)
        self.advances += 1
        if self.device.telegraph is not None:
            felt = seconds * aging.acceleration(
                self.device.telegraph.activation_energy, self.temperature, self._reference_kelvin
            )
            self.full = telegraph.evolve(self.full, self.traps, felt, self.streams, self.advances)

    def take_pulsed(
        self, g: NDArray[np.float64], pulse_counts: NDArray[np.int64], levels: NDArray[np.uint8]
    ) -> None:
        """Take what pulses have made of the cells [rows, cols] in siemens: a write of ``levels``.

        The reference column stays as it is; the clock starts again, as after any write.
        """
        _check_levels(levels, self.cell_bits)
        self.levels = levels.copy()
        self.target[:, :-1] = self.device.conductances(self.cell_bits)[levels]
        self._set(
            np.column_stack([g, self.aged()[:, -1]]), self._with_reference("pulses", pulse_counts)
        )
        self.writes += 1

    # ------------------------------------------------------------ what the array is now

    @property
    def elapsed(self) -> float:
        """Seconds since the last write."""
        return float(self.seconds.sum())

    @property
    def write_energy(self) -> float:
        """Joules of all pulses so far; 0 where the device does not tell."""
        if self.device.write is None:
            return 0.0
        return float(self.pulses[:, :-1].sum()) * self.device.write.energy

    def conductances(self) -> NDArray[np.float64]:
        """Conductances of the moment [rows, cols + 1] in siemens, the reference column last.

        Mean ones: quick telegraph noise is not in them.
        """
        g, _ = self._felt_by_reads(self.aged())
        return g

    def image(self, gain: float = 1.0) -> ArrayImage:
        """Derive what reads see, through the whole chain of effects and the wires.

        Parameters
        ----------
        gain : float
            Factor on the sensed currents, reference and amplifier noise included: compensation.

        Raises
        ------
        ConfigError
            If the gain is not above 0, or a value leaves the range of an image.
        """
        if not (math.isfinite(gain) and gain > 0):
            raise ConfigError(f"The gain must be above 0, not {gain}")
        return self.image_of(self.aged(), gain)

    def image_of(self, g: NDArray[np.float64], gain: float = 1.0) -> ArrayImage:
        """What reads would see if cells, as their writes and time left them, had conductances g
        [rows, cols + 1] in siemens; stuck ones keep theirs."""
        device = self.device
        gain /= self.headroom or 1.0
        g, relative = self._felt_by_reads(g)
        if device.wires is not None:
            # The reference column is one more column, at the far end of the row wires.
            g = transfer_matrix(g, device.wires.model())
        g = g * (converter.row_gains(device, self.shape[0], self.streams)[:, None] * gain)
        g *= _ONE / device.step(self.cell_bits)
        v0, v1 = noise_parameters(device, self.cell_bits, self.temperature)
        v0, v1 = round(v0 * gain**2), round(v1 * gain)
        if device.reference_noise:
            v0 *= 2
        v0 += converter.comparator_variance(device)
        q = relative * g**2
        if device.reference_noise:
            # What the reference column adds to every column of a read: its cells fluctuate, and
            # it has thermal and shot noise of its own.
            q += (q[:, -1] + v1 * g[:, -1] / 65536.0)[:, None]
        table = self.adc_table
        if table is None:
            table = converter.adc_table(device, self.adc_bits, self.lanes, self.streams)
        return ArrayImage(
            g=to_int32("conductances", g[:, :-1]),
            ref=to_int32("reference conductances", g[:, -1]),
            q=compact_variance(q[:, :-1]) if q[:, :-1].any() else None,
            v0=v0,
            v1=v1,
            adc_bits=self.adc_bits,
            lanes=self.lanes,
            adc_table=table,
            adc_step=self.adc_step,
            adc_span=self.adc_span,
            thresholds=self.thresholds,
            drive=converter.drive_table(device),
        )

    # ------------------------------------------------------------ saving

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All of the state as plain arrays, fit for ``numpy.savez``, with a hash over them."""
        arrays: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in _CELLS}
        arrays |= {
            "levels": self.levels,
            "read_counts": self.read_counts,
            "seconds": self.seconds,
            "temperatures": self.temperatures,
        }
        if self.adc_table is not None:
            arrays["adc_table"] = self.adc_table
        if self.thresholds is not None:
            arrays["thresholds"] = self.thresholds
        return pack(
            arrays,
            {
                "device": self.device.model_dump_json(),
                "cell_bits": self.cell_bits,
                "seed": self.streams.seed,
                "array": self.streams.array,
                "adc_bits": self.adc_bits,
                "lanes": self.lanes,
                "adc_step": self.adc_step,
                "adc_span": self.adc_span,
                "temperature": self.temperature,
                "writes": self.writes,
                "advances": self.advances,
                "headroom": self.headroom,
            },
        )

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        *,
        where: str = "array state",
        seed: int | None = None,
        array: int | None = None,
    ) -> "ArrayState":
        """Restore what :meth:`to_arrays` gave; it continues with the same bits.

        Parameters
        ----------
        arrays : mapping
            For instance what ``numpy.load`` gives.
        where : str
            Start of every message: the file, and the array in it.
        seed, array : int, optional
            Key of the array that is to be restored; a state of another one is refused.

        Raises
        ------
        ConfigError
            If something is missing, damaged, or of another array.
        """
        found, about = unpack(arrays, where)
        for name, wanted in (("seed", seed), ("array", array)):
            if wanted is not None and about[name] != wanted:
                raise ConfigError(
                    f"{where}: field '{name}' is {about[name]}, not {wanted}: it was saved from"
                    " another chip or array"
                )
        state = cls(
            found["levels"],
            Device.model_validate_json(str(about["device"])),
            cell_bits=about["cell_bits"],
            seed=about["seed"],
            array=about["array"],
            adc_bits=about["adc_bits"],
            lanes=about["lanes"],
            adc_table=found.get("adc_table"),
            # A state saved before there were these has none.
            adc_step=about.get("adc_step", 1),
            adc_span=about.get("adc_span", 1),
            thresholds=found.get("thresholds"),
        )
        for name, dtype in _CELLS.items():
            if found[name].shape != state.shape or found[name].dtype != dtype:
                raise ConfigError(f"{where}: field '{name}' does not fit the array")
            setattr(state, name, found[name].copy())
        state.read_counts = found["read_counts"].copy()
        state.seconds = found["seconds"].copy()
        state.temperatures = found["temperatures"].copy()
        state.temperature = float(about["temperature"])
        # Only now, for the solving at construction would be for nothing.
        state.headroom = about.get("headroom")
        state.writes, state.advances = int(about["writes"]), int(about["advances"])
        return state

    # ------------------------------------------------------------ parts

    @property
    def _reference_kelvin(self) -> float:
        """Temperature to which the device's times refer."""
        return max(self.device.temperature, 1e-3)

    def _set(self, g: NDArray[np.float64], pulse_counts: NDArray[np.int64]) -> None:
        """Take new conductances, whose clock starts now."""
        self.programmed = g
        self.exponents = drift.drift_exponents(g, self.device, self.streams, self.writes)
        self.read_counts = np.zeros_like(self.read_counts)
        self.seconds, self.temperatures = np.zeros(0), np.zeros(0)
        self._count(pulse_counts)

    def _count(self, pulse_counts: NDArray[np.int64]) -> None:
        self.pulses = self.pulses + pulse_counts
        self.stuck = endurance.wear_out(
            self.stuck, self.pulses, self.limits, self.device, self.streams
        )

    def _with_reference(self, what: str, values: NDArray[np.int64]) -> NDArray[np.int64]:
        values = np.asarray(values)
        rows, cols = self.shape
        if values.shape != (rows, cols - 1) or values.dtype.kind not in "iu":
            raise ConfigError(f"The {what} must be whole numbers [{rows}, {cols - 1}]")
        return np.column_stack([values.astype(np.int64), np.zeros(rows, np.int64)])

    def _felt(self, activation_energy: float, reference: float) -> float:
        return aging.felt_seconds(self.seconds, self.temperatures, activation_energy, reference)

    def aged(self) -> NDArray[np.float64]:
        """Conductances after drift, retention loss and read disturb."""
        device, g = self.device, self.programmed
        if device.drift is not None:
            felt = self._felt(device.drift.activation_energy, self._reference_kelvin)
            g = g * drift.drift_factor(self.exponents, felt, device)
        if device.retention is not None:
            given = device.retention
            felt = self._felt(given.activation_energy, given.temperature)
            g = retention.lose_state(g, self.retention_times, felt, device)
        return disturb(g, self.read_counts, device)

    def _felt_by_reads(
        self, g: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean conductances of the moment, and their variance relative to the square."""
        device = self.device
        g = faults.stuck_conductance(g, self.stuck, device)
        g = g * temperature_factor(g, self.temperature, device)
        relative = np.full(self.shape, device.read_noise**2 + flicker.flicker_variance(device))
        if device.telegraph is not None:
            loss = telegraph.amplitudes(g, self.traps, device)
            mean = telegraph.mean_factor(loss, self.full, self.traps, device)
            # Relative to the mean, which the variance is multiplied with below.
            relative += telegraph.fast_variance(loss, self.traps, device) / mean**2
            g = g * mean
        return g, relative


def _check_levels(levels: NDArray[np.uint8], cell_bits: int) -> None:
    if levels.dtype != np.uint8 or levels.ndim != 2:
        raise ConfigError(f"Levels must be uint8 [rows, cols], not {levels.dtype} {levels.shape}")
    top = (1 << cell_bits) - 1
    if levels.size and levels.max() > top:
        raise ConfigError(f"A {cell_bits}-bit cell has levels 0 to {top}, not {levels.max()}")
