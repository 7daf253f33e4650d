# SPDX-License-Identifier: Apache-2.0
"""The readable reference of an array that learns: reads both ways, and pulses.

A read drives every line i of one side at x[i] (width of its pulse, of either sign) and integrates
what arrives at every line o of the other side, which is converted once (Gokmen and Vlasov 2016,
"Acceleration of deep neural network training with resistive cross-point devices")::

    I   = sum x * (g - ref);  A = sum |x| * g;  S = sum x**2 * ((g**2 + 2**15) >> 16)
    var = min(v0 + ((v1 * A) >> 16) + S * v2, 2**52 - 1)
    y   = I + ((isqrt(var) * z + 2048) >> 12),  y = (y * gain[o % lanes]) >> 12
    code = clip((y + half) >> shift, -top, top)

z comes from counters of the same kind as those of :mod:`..threefry`, but with 9 bits for the pair
of lines; the reads of both directions are numbered together.
"""

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..crossbar import READ_LIMIT, check_key
from ..gaussian import gaussian
from ..threefry import threefry2x32
from .cells import MAX_INPUT, LearnCells

__all__ = ["LearnArray", "LearningArray", "check_counts", "check_inputs", "read_words"]

_DOMAIN = 1 << 31
_PAIR_BITS = 9
_VARIANCE = (1 << 52) - 1
_STEP = (1 << 30) - 1


class LearningArray(Protocol):
    """:class:`LearnArray` or :class:`.carray.CLearnArray`."""

    @property
    def cells(self) -> LearnCells: ...

    @property
    def state(self) -> NDArray[np.int32]: ...

    @property
    def numbers(self) -> NDArray[np.uint32]: ...

    reads: int

    def load(self, state: NDArray[np.int32], numbers: NDArray[np.uint32], reads: int) -> None: ...

    def weights(self) -> NDArray[np.int32]: ...

    def read(
        self,
        x: ArrayLike,
        *,
        transposed: bool = False,
        shift: int = 0,
        outputs: int | None = None,
    ) -> NDArray[np.int32]: ...

    def pulse_counts(self, counts: ArrayLike) -> None: ...

    def write(self, row: int, counts: ArrayLike) -> None: ...

    def relax(self) -> None: ...


def read_words(seed: int, array: int, read: int, lines: int) -> NDArray[np.uint32]:
    """The random word of every line of a read, uint32 [lines]."""
    high = (read >> 32 & 0x3FFFFF) << _PAIR_BITS
    pair = np.arange((lines + 1) // 2, dtype=np.uint32) | np.uint32(high)
    even, odd = threefry2x32((seed, array), (np.uint32(read & 0xFFFFFFFF), pair))
    return np.stack([even, odd], axis=1).reshape(-1)[:lines]


def check_inputs(x: ArrayLike, lines: int) -> NDArray[np.int64]:
    """Refuse inputs that are not at most ``lines`` whole numbers of -127 to 127."""
    values = np.asarray(x)
    if values.dtype.kind not in "iu" or values.ndim != 1 or not 1 <= values.size <= lines:
        raise ValueError(f"Inputs must be 1 to {lines} whole numbers")
    wide = values.astype(np.int64)
    if np.abs(wide).max() > MAX_INPUT:
        raise ValueError(f"Inputs must be -{MAX_INPUT} to {MAX_INPUT}")
    return wide


def check_counts(counts: ArrayLike, shape: tuple[int, int]) -> NDArray[np.int32]:
    """Refuse pulses that are no int32 array within the shape of an array."""
    values = np.asarray(counts)
    if (
        values.ndim != 2
        or values.dtype.kind not in "iu"
        or values.shape[0] > shape[0]
        or values.shape[1] > shape[1]
    ):
        raise ValueError(f"Pulses must be whole numbers of at most {list(shape)} cells")
    return np.ascontiguousarray(values, dtype=np.int32)


class LearnArray:
    """An array whose cells learn; the reference of :class:`~.carray.CLearnArray`.

    Parameters
    ----------
    cells : LearnCells
        What it starts from.
    seed, array : int
        Key of noise and pulses, uint32 each.
    """

    def __init__(self, cells: LearnCells, seed: int, array: int) -> None:
        check_key(seed, array)
        self.cells = cells
        self.seed = seed
        self.array = array
        self.reads = 0
        shape = cells.shape
        self._state = cells.state.astype(np.int64)
        numbers = np.zeros(shape, np.uint32) if cells.numbers is None else cells.numbers
        self._numbers = numbers.copy()

    @property
    def state(self) -> NDArray[np.int32]:
        """A copy of the cells' states."""
        return self._state.astype(np.int32)

    @property
    def numbers(self) -> NDArray[np.uint32]:
        """A copy of the numbers of the cells' next pulses."""
        return self._numbers.copy()

    def load(self, state: NDArray[np.int32], numbers: NDArray[np.uint32], reads: int) -> None:
        """Go on from what another array of the same cells came to."""
        self._state = state.astype(np.int64)
        self._numbers = numbers.astype(np.uint32)
        self.reads = reads

    def weights(self) -> NDArray[np.int32]:
        """``g - ref`` of every cell, int32 [rows, cols]."""
        return (((self._state + 128) >> 8) - self.cells.ref).astype(np.int32)

    def read(
        self,
        x: ArrayLike,
        *,
        transposed: bool = False,
        shift: int = 0,
        outputs: int | None = None,
    ) -> NDArray[np.int32]:
        """One product.

        Parameters
        ----------
        x : whole numbers [n]
            -127 to 127, for the first n rows, or columns of a transposed read.
        transposed : bool
            Inputs at the columns, sums at the rows.
        shift : int
            A code is worth ``2**shift``; 0 to 40.
        outputs : int, optional
            The first lines of the other side; all by default.

        Returns
        -------
        int32 array [outputs]

        Raises
        ------
        ValueError
            If inputs, outputs or shift are out of range.
        """
        g = (self._state + 128) >> 8
        weights = g - self.cells.ref
        gains = self.cells.noise.gains
        if transposed:
            g, weights, gains = g.T, weights.T, self.cells.noise.gains_transposed
        x = check_inputs(x, g.shape[0])
        count = g.shape[1] if outputs is None else outputs
        if not 1 <= count <= g.shape[1] or not 0 <= shift <= 40:
            raise ValueError(f"A read gives 1 to {g.shape[1]} outputs, shifted by 0 to 40")
        g, weights = g[: x.size, :count], weights[: x.size, :count]
        y = x @ weights
        noise = self.cells.noise
        if noise.v0 or noise.v1 or noise.v2:
            square = (x * x) @ ((g * g + (1 << 15)) >> 16)
            variance = noise.v0 + ((noise.v1 * (np.abs(x) @ g)) >> 16) + square * noise.v2
            # IEEE square roots round correctly, so this is the integer one below 2**52.
            sigma = np.sqrt(np.minimum(variance, _VARIANCE).astype(np.float64)).astype(np.int64)
            z = gaussian(read_words(self.seed, self.array, self.reads, count)).astype(np.int64)
            y = y + ((sigma * z + 2048) >> 12)
        self.reads = (self.reads + 1) % READ_LIMIT
        y = (y * np.array(gains)[np.arange(count) % len(gains)]) >> 12
        half = 1 << (shift - 1) if shift else 0
        codes: NDArray[np.int32] = np.clip((y + half) >> shift, -noise.top, noise.top)
        return codes.astype(np.int32)

    def pulse_counts(self, counts: ArrayLike) -> None:
        """Give the first rows' and columns' cells as many pulses, of their sign: int [r, c]."""
        given = check_counts(counts, self.cells.shape).astype(np.int64)
        which = np.nonzero(given)
        left, up = np.abs(given[which]), given[which] > 0
        while left.size:
            self._pulse(which, up)
            left = left - 1
            more = left > 0
            which = which[0][more], which[1][more]
            left, up = left[more], up[more]

    def write(self, row: int, counts: ArrayLike) -> None:
        """Pulses for the first cells of a row."""
        whole = np.zeros((row + 1, len(np.asarray(counts))), np.int64)
        whole[row] = counts
        self.pulse_counts(whole)

    def relax(self) -> None:
        """Let states go towards where they rest."""
        cells = self.cells
        moved = self._state + (((cells.rest - self._state) * cells.rate + (1 << 15)) >> 16)
        self._state = moved if cells.fixed is None else np.where(cells.fixed, self._state, moved)

    def _pulse(self, which: tuple[NDArray[np.intp], ...], up: NDArray[np.bool_]) -> None:
        """One pulse for each of some cells that are all different."""
        cells, model = self.cells, self.cells.model
        state, number = self._state[which], self._numbers[which]
        self._numbers[which] = number + np.uint32(1)
        step = np.where(up, model.steps(state, up=True), model.steps(state, up=False))
        if cells.gain_up is not None and cells.gain_down is not None:
            gain = np.where(up, cells.gain_up[which], cells.gain_down[which]).astype(np.int64)
            step = np.minimum((step * gain + 2048) >> 12, _STEP)
        if model.spread:
            cell = (which[0] * cells.shape[1] + which[1]).astype(np.uint32)
            counter = (number >> np.uint32(1), cell | np.uint32(_DOMAIN))
            even, odd = threefry2x32((self.seed, self.array), counter)
            z = gaussian(np.where(number & np.uint32(1), odd, even)).astype(np.int64)
            step = step + ((step * model.spread * z + (1 << 23)) >> 24)
        low = model.low if cells.low is None else cells.low[which].astype(np.int64)
        high = model.high if cells.high is None else cells.high[which].astype(np.int64)
        low, high = np.minimum(low, state), np.maximum(high, state)
        moved = np.clip(state + np.where(up, step, -step), low, high)
        if cells.limit is not None and cells.worn is not None:
            moved = np.where(number >= cells.limit[which], cells.worn[which], moved)
        if cells.fixed is not None:
            moved = np.where(cells.fixed[which], state, moved)
        self._state[which] = moved
