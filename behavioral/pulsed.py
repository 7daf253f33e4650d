# SPDX-License-Identifier: Apache-2.0
"""Cells that write pulses move, in integers: the readable reference.

A cell's state is its conductance in units of ``2**-20`` of a level step. One pulse moves it, with
``table`` that of its direction, ``low <= state <= high``, and z drawn for this cell and pulse::

    at    = clip(state, low, high) - low;   i = at >> shift;   part = at - (i << shift)
    step  = table[i] + (((table[i + 1] - table[i]) * part) >> shift)
    moved = step + ((step * spread * z + 2**23) >> 24)          spread, z: 4096 to 1
    state = clip(state +- moved, min(low, state), max(high, state))

A table of 65 steps, straight between them, holds equal steps, soft bounds (steps that shrink in
proportion to what is left: NeuroSim's exponential) and measured curves alike. A read sees
``g = (state * scale + 2**23) >> 24`` in units of the image; ``scale`` (65536 to 1) holds what the
cell's place, its driver and the temperature do to it.

z comes from the generator of read noise, with the same key (seed, array), at counters of its own:
the upper word is ``2**31 + cell`` (cell = row * cols + column), which no read reaches before number
``2**55``; the lower word is half the number of the cell's pulse, whose lowest bit picks the word.
Pulses are numbered over the life of a cell, so that no order or grouping of them matters.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import ConfigError
from .crossbar import READ_LIMIT, Crossbar, check_columns, check_masks
from .devices.model import Device
from .devices.sections import PulseResponse
from .effects.pulses import response_curve
from .gaussian import gaussian
from .image import ArrayImage
from .threefry import threefry2x32

__all__ = [
    "ONE",
    "SEGMENTS",
    "Cells",
    "PulseModel",
    "PulsedCrossbar",
    "blank_image",
    "check_signs",
    "largest_image",
]

ONE = 1 << 20
"""A level step, in units of a cell's state."""

SEGMENTS = 64

_LIMIT = 1 << 30
_DOMAIN = 1 << 31
_FAR = 1e7  # steps


@dataclass(frozen=True, eq=False)
class PulseModel:
    """The pulse response of a kind of cell.

    Parameters
    ----------
    low, high : int
        States between which pulses move a cell; 0 to 2**30 - 1.
    shift : int
        Segments of the tables are ``2**shift`` wide; 64 of them reach beyond ``high``.
    up, down : int32 array [65]
        Step at ``low + (i << shift)``, of either direction.
    spread : int
        Cycle-to-cycle sigma of a step, relative to it, 4096 to 1.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    low: int
    high: int
    shift: int
    up: NDArray[np.int32]
    down: NDArray[np.int32]
    spread: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high < _LIMIT:
            raise ConfigError(
                f"Pulses move a cell between states of 0 to {_LIMIT - 1}, the lower one first, not"
                f" {self.low} and {self.high}"
            )
        if not (0 <= self.shift <= 24 and (self.high - self.low) >> self.shift < SEGMENTS):
            raise ConfigError(
                f"Segments of 2**{self.shift} do not reach from {self.low} to the top"
            )
        if not 0 <= self.spread <= 1 << 14:
            raise ConfigError(f"The spread of a pulse must be 0 to 4, not {self.spread / 4096:g}")
        for name, table in (("up", self.up), ("down", self.down)):
            if table.dtype != np.int32 or table.shape != (SEGMENTS + 1,):
                raise ConfigError(f"The steps {name} must be int32 [{SEGMENTS + 1}]")
            if table.min() < 0 or table.max() >= _LIMIT:
                raise ConfigError(f"The steps {name} must be 0 to {_LIMIT - 1}")

    @classmethod
    def derive(
        cls, device: Device, cell_bits: int, response: PulseResponse | None = None
    ) -> "PulseModel":
        """What a device's data says, rounded once.

        Parameters
        ----------
        device : Device
        cell_bits : int
        response : PulseResponse, optional
            Instead of the device's own.

        Raises
        ------
        ConfigError
            If there is none, or its steps do not fit.
        """
        if response is None and device.write is not None:
            response = device.write.response
        if response is None:
            raise ConfigError(
                f"Device {device.name} has no 'write.response', so nothing is known of its pulses;"
                " add the section"
            )
        unit = ONE / device.step(cell_bits)
        low, high = round(device.g_off * unit), round(device.g_on * unit)
        if high >= _LIMIT:
            raise ConfigError(
                f"Level steps of device {device.name} are too small for its conductance to be"
                " programmed by pulses; raise its on_off_ratio"
            )
        shift = max(0, ((high - low) // SEGMENTS).bit_length())
        at = low + (np.arange(SEGMENTS + 1) << shift).astype(np.float64)
        tables = []
        for up in (True, False):
            curve = _beyond(response_curve(device, response, up=up) * unit)
            count = np.arange(len(curve), dtype=np.float64)
            count[0], count[-1] = 1 - _FAR, count[-2] + _FAR
            place = at if up else low + high - at
            steps = np.interp(np.interp(place, curve, count) + 1.0, count, curve) - place
            tables.append(np.rint(steps).astype(np.int32))
        spread = round(response.spread * 4096)
        return cls(low, high, shift, tables[0], tables[1], spread)

    def steps(self, state: NDArray[np.int64], *, up: bool) -> NDArray[np.int64]:
        """What one pulse moves cells in these states, without spread."""
        table = (self.up if up else self.down).astype(np.int64)
        at = np.clip(state, self.low, self.high) - self.low
        i = at >> self.shift
        part = at - (i << self.shift)
        steps: NDArray[np.int64] = table[i] + (((table[i + 1] - table[i]) * part) >> self.shift)
        return steps


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of an array as pulses find them; arrays [rows, cols].

    Parameters
    ----------
    model : PulseModel
    state : int32
        2**20 to a level step.
    scale : int32
        What a read sees of a state, 65536 to 1.
    fixed : bool
        Cells that do not move.
    numbers : uint32
        Number of each cell's next pulse.

    Raises
    ------
    ConfigError
        If a shape or type differs or a value is out of range.
    """

    model: PulseModel
    state: NDArray[np.int32]
    scale: NDArray[np.int32]
    fixed: NDArray[np.bool_]
    numbers: NDArray[np.uint32]

    def __post_init__(self) -> None:
        kinds = {"state": np.int32, "scale": np.int32, "fixed": np.bool_, "numbers": np.uint32}
        for name, kind in kinds.items():
            array = getattr(self, name)
            if array.dtype != kind or array.shape != self.state.shape or array.ndim != 2:
                raise ConfigError(
                    f"The {name} of cells must be {np.dtype(kind)} {list(self.state.shape)}, not"
                    f" {array.dtype} {list(array.shape)}"
                )
        if self.state.min() < 0 or self.state.max() >= _LIMIT or self.scale.min() < 0:
            raise ConfigError(f"States of cells must be 0 to {_LIMIT - 1}, scales 0 or more")

    def seen(self) -> NDArray[np.int32]:
        """What reads see, in units of an image."""
        return _seen(self.state, self.scale)


def _beyond(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """A curve with its first and last step going on at both ends; the bounds cut what is moved."""
    first, last = curve[1] - curve[0], curve[-1] - curve[-2]
    return np.concatenate([[curve[0] - _FAR * first], curve, [curve[-1] + _FAR * last]])


def _seen(state: NDArray[np.int32], scale: NDArray[np.int32]) -> NDArray[np.int32]:
    product = state.astype(np.int64) * scale.astype(np.int64)
    return np.ascontiguousarray((product + (1 << 23)) >> 24, dtype=np.int32)


def largest_image(image: ArrayImage, cells: Cells) -> ArrayImage:
    """The image with the largest conductances that pulses can give its cells, which it must hold.

    Raises
    ------
    ConfigError
        If it cannot: too large a conductance, or too much noise.
    """
    if cells.state.shape != image.g.shape:
        raise ConfigError(
            f"Cells {list(cells.state.shape)} do not fit an array {list(image.g.shape)}"
        )
    return dataclasses.replace(
        image, g=_seen(np.maximum(cells.state, np.int32(cells.model.high)), cells.scale)
    )


def check_signs(signs: NDArray[np.int8], cols: int) -> NDArray[np.int8]:
    """The polarity of every column, -1, 0 or 1.

    Raises
    ------
    ValueError
    """
    signs = np.ascontiguousarray(signs)
    if signs.dtype != np.int8 or signs.shape != (cols,) or np.abs(signs).max(initial=0) > 1:
        raise ValueError(f"The signs of a pulse must be int8 [{cols}] of -1, 0 and 1")
    return signs


class PulsedCrossbar(Crossbar):
    """A crossbar whose cells pulses move; the reference for :class:`~.cpulsed.CPulsed`.

    Parameters
    ----------
    image : ArrayImage
        Reference column, noise and ADCs; its conductances are those of the cells.
    cells : Cells
    seed, array : int
        Key of noise and pulses.
    """

    def __init__(self, image: ArrayImage, cells: Cells, seed: int, array: int) -> None:
        largest_image(image, cells)
        super().__init__(dataclasses.replace(image, g=cells.seen()), seed, array)
        self._cells = dataclasses.replace(
            cells, state=cells.state.copy(), numbers=cells.numbers.copy()
        )

    @property
    def cells(self) -> Cells:
        """The cells as they are now."""
        now = self._cells
        return dataclasses.replace(now, state=now.state.copy(), numbers=now.numbers.copy())

    def pulse(self, row_mask: NDArray[np.bool_], signs: NDArray[np.int8], pulses: int) -> None:
        """Pulses to the cells where a chosen row meets a column whose sign is not 0.

        Parameters
        ----------
        row_mask : bool array [rows]
        signs : int8 array [cols]
            1 up, -1 down, 0 none.
        pulses : int

        Raises
        ------
        ValueError
            If a shape or value does not fit.
        """
        cells = self._cells
        rows, cols = cells.state.shape
        mask = check_masks(np.asarray(row_mask)[None, :], rows)[0]
        signs = check_signs(signs, cols)
        if pulses < 0:
            raise ValueError(f"The number of pulses must be 0 or more, not {pulses}")
        for up in (True, False):
            which = np.ix_(np.flatnonzero(mask), np.flatnonzero(signs == (1 if up else -1)))
            self._move(which, pulses, up=up)
        self.image = dataclasses.replace(self.image, g=cells.seen())

    def _move(self, which: tuple[NDArray[np.intp], ...], pulses: int, *, up: bool) -> None:
        cells, model = self._cells, self._cells.model
        state = cells.state[which].astype(np.int64)
        first = cells.numbers[which]
        free = ~cells.fixed[which]
        cell = (which[0] * cells.state.shape[1] + which[1]).astype(np.uint32)
        low, high = np.minimum(model.low, state), np.maximum(model.high, state)
        for p in range(pulses):
            number = first + np.uint32(p)
            step = moved = model.steps(state, up=up)
            if model.spread:
                counter = (number >> np.uint32(1), cell | np.uint32(_DOMAIN))
                even, odd = threefry2x32((self.seed, self.array), counter)
                z = gaussian(np.where(number & np.uint32(1), odd, even)).astype(np.int64)
                moved = step + ((step * model.spread * z + (1 << 23)) >> 24)
            state = np.where(free, np.clip(state + (moved if up else -moved), low, high), state)
        cells.state[which] = state
        cells.numbers[which] = first + np.uint32(pulses)

    def read_fine(
        self, row_mask: NDArray[np.bool_], fine: int, columns: int | None = None
    ) -> NDArray[np.uint16]:
        """A read whose ADCs take ``2**fine`` codes to a level step.

        In terms of :class:`~.image.ArrayImage`: the ideal code is
        ``clip((x + (2048 >> fine)) >> (12 - fine), 0, 2**adc_bits - 1)``.

        Parameters
        ----------
        row_mask : bool array [rows]
        fine : int
            0 to 12.
        columns : int, optional
            The first columns, all by default.

        Returns
        -------
        uint16 array [columns]
        """
        if not 0 <= fine <= 12:
            raise ValueError(f"A fine read takes 2**0 to 2**12 codes to a step, not 2**{fine}")
        image = self.image
        k = check_columns(columns, image.cols)
        x = self.analog(np.asarray(row_mask)[None, :], k).x[0]
        ideal = np.clip((x + (2048 >> fine)) >> (12 - fine), 0, (1 << image.adc_bits) - 1)
        self.reads = (self.reads + 1) % READ_LIMIT
        codes: NDArray[np.uint16] = ideal.astype(np.uint16)
        if image.adc_table is not None:
            codes = image.adc_table[np.arange(k) % image.lanes, ideal]
        return codes


def blank_image(rows: int, cols: int, *, adc_bits: int, lanes: int) -> ArrayImage:
    """The image of an array whose cells hold nothing and whose reads are without noise."""
    return ArrayImage(
        g=np.zeros((rows, cols), np.int32),
        ref=np.zeros(rows, np.int32),
        adc_bits=adc_bits,
        lanes=lanes,
    )
