# SPDX-License-Identifier: Apache-2.0
"""Arrays that learn, in the C of ``csrc/ohm_learn.c``."""

import ctypes

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..cengine import Signatures, check_status, declare_functions, library
from ..crossbar import READ_LIMIT, check_key
from ..pulsed import SEGMENTS
from .array import check_counts, check_inputs
from .cells import LearnCells

__all__ = ["CLearnArray", "PulseModelStruct"]

_LANES = 64


class PulseModelStruct(ctypes.Structure):
    """``ohm_pulse_model``."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("low", "high", "shift", "spread")),
        ("up", ctypes.c_int32 * (SEGMENTS + 1)),
        ("down", ctypes.c_int32 * (SEGMENTS + 1)),
    )


class _Config(ctypes.Structure):
    """``ohm_learn_config``."""

    _fields_ = (
        ("v0", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("rows", "cols")),
        *((name, ctypes.c_uint32) for name in ("seed", "array")),
        *((name, ctypes.c_int32) for name in ("v1", "v2", "adc_bits", "rest", "rate")),
        *((name, ctypes.c_int32) for name in ("lanes", "lanes_transposed")),
        ("gains", ctypes.c_int32 * _LANES),
        ("gains_transposed", ctypes.c_int32 * _LANES),
    )


_CELLS = (
    "state",
    "ref",
    "numbers",
    "fixed",
    "gain_up",
    "gain_down",
    "low",
    "high",
    "limit",
    "worn",
)


class _Cells(ctypes.Structure):
    """``ohm_learn_cells``."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in _CELLS)


_SIGNATURES: Signatures = {
    "ohm_learn_new": (ctypes.c_void_p, (*[ctypes.c_void_p] * 3,)),
    "ohm_learn_free": (None, (ctypes.c_void_p,)),
    "ohm_learn_reads": (ctypes.c_uint64, (ctypes.c_void_p,)),
    "ohm_learn_get": (None, (*[ctypes.c_void_p] * 3,)),
    "ohm_learn_set": (ctypes.c_int, (*[ctypes.c_void_p] * 3, ctypes.c_uint64)),
    "ohm_learn_read": (
        ctypes.c_int,
        (
            ctypes.c_void_p,
            *[ctypes.c_int] * 2,
            ctypes.c_void_p,
            *[ctypes.c_int] * 2,
            ctypes.c_void_p,
        ),
    ),
    "ohm_learn_pulse": (ctypes.c_int, (ctypes.c_void_p, *[ctypes.c_int] * 3)),
    "ohm_learn_relax": (None, (ctypes.c_void_p,)),
}


class CLearnArray:
    """The same results as :class:`~.array.LearnArray`.

    Parameters
    ----------
    cells : LearnCells
    seed, array : int
        Key of noise and pulses, uint32 each.
    lib : CDLL, optional
        A loaded library that exports the ``ohm_learn_`` functions (a Verilated model does); by
        default that of the package.

    Raises
    ------
    ValueError
        If a part of the key is no uint32.
    """

    def __init__(
        self, cells: LearnCells, seed: int, array: int, lib: ctypes.CDLL | None = None
    ) -> None:
        check_key(seed, array)
        self._lib = declare_functions(library() if lib is None else lib, _SIGNATURES)
        self._free = self._lib.ohm_learn_free
        self.cells = cells
        self.seed = seed
        self.array = array
        rows, cols = cells.shape
        noise, model = cells.noise, cells.model
        config = _Config(
            *(noise.v0, rows, cols, seed, array, noise.v1, noise.v2, noise.adc_bits),
            *(cells.rest, cells.rate, len(noise.gains), len(noise.gains_transposed)),
            (ctypes.c_int32 * _LANES)(*noise.gains),
            (ctypes.c_int32 * _LANES)(*noise.gains_transposed),
        )
        pulses = PulseModelStruct(
            *(model.low, model.high, model.shift, model.spread),
            *((ctypes.c_int32 * (SEGMENTS + 1))(*t.tolist()) for t in (model.up, model.down)),
        )
        held = {name: np.ascontiguousarray(values) for name, values in cells.arrays()}
        given = _Cells(**{name: values.ctypes.data for name, values in held.items()})
        self._handle = self._lib.ohm_learn_new(
            ctypes.addressof(config), ctypes.addressof(pulses), ctypes.addressof(given)
        )
        if not self._handle:
            raise MemoryError("No memory for an array that learns")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._free(self._handle)
            self._handle = None

    @property
    def handle(self) -> int:
        """The ``ohm_learn_array``; it lives as long as this object."""
        handle: int = self._handle
        return handle

    @property
    def state(self) -> NDArray[np.int32]:
        """As :attr:`.array.LearnArray.state`."""
        return self._get()[0]

    @property
    def numbers(self) -> NDArray[np.uint32]:
        """As :attr:`.array.LearnArray.numbers`."""
        return self._get()[1]

    @property
    def reads(self) -> int:
        """Number of the next read."""
        number: int = self._lib.ohm_learn_reads(self._handle)
        return number

    @reads.setter
    def reads(self, number: int) -> None:
        state, numbers = self._get()
        self.load(state, numbers, number)

    def load(self, state: NDArray[np.int32], numbers: NDArray[np.uint32], reads: int) -> None:
        """As :meth:`.array.LearnArray.load`."""
        if state.shape != self.cells.shape or numbers.shape != self.cells.shape:
            raise ValueError(f"States and numbers must be {list(self.cells.shape)}")
        state = np.ascontiguousarray(state, np.int32)
        numbers = np.ascontiguousarray(numbers, np.uint32)
        check_status(
            self._lib.ohm_learn_set(
                self._handle, state.ctypes.data, numbers.ctypes.data, reads % READ_LIMIT
            )
        )

    def weights(self) -> NDArray[np.int32]:
        """As :meth:`.array.LearnArray.weights`."""
        return ((self.state + 128) >> 8) - self.cells.ref

    def read(
        self,
        x: ArrayLike,
        *,
        transposed: bool = False,
        shift: int = 0,
        outputs: int | None = None,
    ) -> NDArray[np.int32]:
        """As :meth:`.array.LearnArray.read`."""
        sides = self.cells.shape[::-1] if transposed else self.cells.shape
        given = check_inputs(x, sides[0]).astype(np.int8)
        count = sides[1] if outputs is None else outputs
        codes = np.empty(max(count, 0), np.int32)
        check_status(
            self._lib.ohm_learn_read(
                self._handle,
                *(int(transposed), given.size, given.ctypes.data, shift, count),
                codes.ctypes.data,
            )
        )
        return codes

    def pulse_counts(self, counts: ArrayLike) -> None:
        """As :meth:`.array.LearnArray.pulse_counts`."""
        given = check_counts(counts, self.cells.shape)
        for r, c in np.argwhere(given):
            self._pulse(int(r), int(c), int(given[r, c]))

    def write(self, row: int, counts: ArrayLike) -> None:
        """As :meth:`.array.LearnArray.write`."""
        for c, count in enumerate(np.asarray(counts).tolist()):
            self._pulse(row, c, count)

    def relax(self) -> None:
        """As :meth:`.array.LearnArray.relax`."""
        self._lib.ohm_learn_relax(self._handle)

    def _pulse(self, row: int, col: int, count: int) -> None:
        check_status(self._lib.ohm_learn_pulse(self._handle, row, col, count))

    def _get(self) -> tuple[NDArray[np.int32], NDArray[np.uint32]]:
        state = np.empty(self.cells.shape, np.int32)
        numbers = np.empty(self.cells.shape, np.uint32)
        self._lib.ohm_learn_get(self._handle, state.ctypes.data, numbers.ctypes.data)
        return state, numbers
