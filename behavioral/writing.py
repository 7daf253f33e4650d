# SPDX-License-Identifier: Apache-2.0
"""What the program-and-verify controller does to a row: the executable specification.

``docs/programming.md`` tells it in words; ``rtl/writer.py`` is held equal to it, pulse for pulse.
The algorithm is that of :func:`.effects.verify.write_verify`: every iteration reads all cells of
the row, those whose error is above their tolerance get pulses worth a share of it; unless it is
told to recheck, a cell that has once read right is left alone.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..arch.chip import Chip
from ..arch.errors import ConfigError
from ..arch.writing import (
    MAX_FINE,
    PULSE_BITS,
    RATE_FRACTION,
    LevelTarget,
    RowReport,
    WriteSettings,
)
from .devices.model import Device
from .pulsed import ONE, PulseModel

__all__ = ["PulsedEngine", "WrittenRow", "best_fine", "derive_settings", "write_row"]

_MOST = (1 << PULSE_BITS) - 1


class PulsedEngine(Protocol):
    """An array that pulses move: ``pulsed.PulsedCrossbar`` or ``cpulsed.CPulsed``."""

    def pulse(self, row_mask: NDArray[np.bool_], signs: NDArray[np.int8], pulses: int) -> None: ...

    def read_fine(
        self, row_mask: NDArray[np.bool_], fine: int, columns: int | None = None
    ) -> NDArray[np.uint16]: ...


class WrittenRow(NamedTuple):
    """What the controller reports and counts.

    ``reads`` are verifying reads; ``cycles`` those in which it works on the array, if the macro
    answers at once.
    """

    report: RowReport
    reads: int
    cycles: int


def write_row(
    engine: PulsedEngine,
    chip: Chip,
    settings: WriteSettings,
    core: int,
    row: int,
    levels: Sequence[int] | NDArray[np.uint8],
    array: int = 0,
) -> WrittenRow:
    """Program a row as the controller does.

    Parameters
    ----------
    engine : PulsedEngine
        Its reads and pulses advance.
    chip : Chip
    settings : WriteSettings
    core, row : int
    levels : sequence of int [columns]
        Whole beats from the first column on.
    array : int
        Which of the core's, for the report.

    Raises
    ------
    ConfigError
        If the settings do not fit the chip.
    """
    settings.check(chip)
    wanted = np.asarray(levels, dtype=np.int64)
    columns = len(wanted)
    if not 0 < columns <= chip.cols or columns % chip.lanes:
        raise ConfigError(
            f"A row is programmed in whole beats of {chip.lanes} of its {chip.cols} columns, not"
            f" {columns}"
        )
    table = np.array([(x.target, x.tolerance, x.up, x.down) for x in settings.levels])
    target, tolerance, up, down = table[wanted].T
    mask = np.zeros(chip.rows, np.bool_)
    mask[row] = True
    beats = columns // chip.lanes
    open_cells = np.ones(columns, np.bool_)
    iterations = pulses = reads = cycles = 0
    while True:
        total = np.zeros(columns, np.int64)
        for _ in range(settings.reads):
            total += engine.read_fine(mask, settings.fine, columns)
        reads += settings.reads
        cycles += settings.reads * (1 + beats) + beats * (chip.lanes + 4)
        error = target - total
        off = (np.abs(error) > tolerance) & (open_cells | settings.recheck)
        open_cells = off
        final = iterations == settings.limit or not off.any()
        scaled = np.abs(error) * np.where(error > 0, up, down)
        counts = np.clip((scaled + (1 << RATE_FRACTION - 1)) >> RATE_FRACTION, 1, _MOST) * off
        if final:
            cycles += beats
            break
        for first in range(0, columns, chip.lanes):
            part = slice(first, first + chip.lanes)
            if not off[part].any():
                cycles += 1
                continue
            cycles += PULSE_BITS
            for power in range(PULSE_BITS):
                chosen = counts[part] >> power & 1
                if chosen.any():
                    signs = np.zeros(chip.cols, np.int8)
                    signs[part] = chosen * np.sign(error[part])
                    engine.pulse(mask, signs, 1 << power)
                    cycles += 1
        pulses += int(counts.sum())
        iterations += 1
    failed, low = _masks(off, chip.lanes), _masks(off & (error > 0), chip.lanes)
    report = RowReport(core, row, iterations, pulses, failed, low, array)
    return WrittenRow(report, reads, cycles)


def _masks(which: NDArray[np.bool_], lanes: int) -> tuple[int, ...]:
    """Bits of the lanes of each beat."""
    beats = which.reshape(-1, lanes)
    return tuple(sum(1 << int(lane) for lane in np.flatnonzero(beat)) for beat in beats)


def best_fine(device: Device, chip: Chip) -> int:
    """Finest verifying read whose codes hold the highest level and half a level step more.

    Raises
    ------
    ConfigError
        If not even codes of whole steps do.
    """
    top = (1 << chip.adc_bits) - 1
    highest = (device.conductances(chip.cell_bits)[-1] - device.g_off) / device.step(chip.cell_bits)
    for fine in range(MAX_FINE, -1, -1):
        if round((highest + (0.5 if fine else 0.0)) * (1 << fine)) <= top:
            return fine
    raise ConfigError(
        f"An ADC of {chip.adc_bits} bits cannot tell the {1 << chip.cell_bits} levels of a cell"
        " apart, so nothing could be verified; raise adc_bits"
    )


def derive_settings(
    device: Device,
    chip: Chip,
    model: PulseModel,
    *,
    tolerance: float,
    absolute: float = 0.0,
    gain: float = 0.5,
    limit: int = 100,
    fine: int | None = None,
    average: int = 0,
    recheck: bool = False,
) -> WriteSettings:
    """Settings of the controller that do what the loop of a device's ``[verify]`` does.

    Parameters
    ----------
    device : Device
    chip : Chip
    model : PulseModel
        Its steps at a level give the pulses that an error takes.
    tolerance : float
        A cell is done when its error relative to its conductance is at most this,
    absolute : float
        or at most this, in level steps, or half a code, which the reads do not tell.
    gain : float
        Share of the error that pulses take off.
    fine : int, optional
        By default :func:`best_fine`.
    limit, average, recheck
        As in :class:`~.arch.writing.WriteSettings`.

    Raises
    ------
    ConfigError
        If a value is out of range or does not fit the chip.
    """
    if not 0 < tolerance <= 1 or not 0 < gain <= 1:
        raise ConfigError(
            f"The tolerance and the gain of writing must be above 0 and at most 1, not"
            f" {tolerance:g} and {gain:g}"
        )
    if fine is None:
        fine = best_fine(device, chip)
    conductances = device.conductances(chip.cell_bits) / device.step(chip.cell_bits)
    units = float((1 << average) << fine)  # of a sum, to a level step
    levels = []
    for g in conductances:
        state = np.array([round(g * ONE)])
        steps = [float(model.steps(state, up=up)[0]) / ONE * units for up in (True, False)]
        rates = [min(round(gain / max(s, 1e-9) * (1 << RATE_FRACTION)), 65535) for s in steps]
        allowed = max(int(tolerance * g * units), int(absolute * units), (1 << average) // 2)
        seen = round((g - conductances[0]) * units)
        levels.append(LevelTarget(seen, allowed, max(rates[0], 1), max(rates[1], 1)))
    settings = WriteSettings(tuple(levels), fine, average, limit, recheck)
    settings.check(chip)
    top = ((1 << chip.adc_bits) - 1) << average
    if levels[-1].target > top:
        raise ConfigError(
            f"With 2**{fine} codes to a level step the highest level reads as"
            f" {levels[-1].target >> average}, past the {top >> average} of an ADC of"
            f" {chip.adc_bits} bits; take a fine of {best_fine(device, chip)} at most"
        )
    return settings
