# SPDX-License-Identifier: Apache-2.0
"""The inner loop of the fast machine in C (``csrc/ohm_tile.c``)."""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..arch.timing import vector_latency
from .cengine import CCrossbar, check_status, mvm_parameters
from .machine_steps import Trace
from .program import TileProgram

__all__ = ["CTile", "MemoriesLike", "common_library"]

_CALL_STEPS = 1 << 18
"""About as many steps a call: between calls an interrupt from the keyboard gets through."""


class MemoriesLike(Protocol):
    """C-contiguous arrays; :class:`~.machine_execute.Memories` has them."""

    data: NDArray[np.uint8]
    rows: NDArray[np.uint8]
    sums: NDArray[np.int32]
    acc: NDArray[np.int32]
    vec: NDArray[np.int32]


class _Tile(ctypes.Structure):
    """``ohm_tile``."""

    _fields_ = (
        *(
            (name, ctypes.c_int32)
            for name in ("cores", "rows", "outputs", "lanes", "latency", "sum_weight", "per_core")
        ),
        *(
            (name, ctypes.c_void_p)
            for name in (
                *("arrays", "flips", "counts", "params", "tables", "data", "row", "sums", "acc"),
                *("vec", "words", "events"),
            )
        ),
    )


def common_library(arrays: Sequence[object]) -> ctypes.CDLL | None:
    """The library that made all these arrays and can run a tile on them; None if there is none."""
    libraries = {a.library for a in arrays if isinstance(a, CCrossbar)}
    if len(libraries) != 1 or not all(isinstance(a, CCrossbar) for a in arrays):
        return None
    (lib,) = libraries
    # A simulator's library may hold the arrays alone.
    return lib if hasattr(lib, "ohm_tile_run") else None


class CTile:
    """Runs traces on C arrays.

    Parameters
    ----------
    lib : CDLL
        From :func:`common_library`.
    program : TileProgram
    arrays : mapping of int to CCrossbar
        By number in the tile.
    memories : MemoriesLike
        Changed in place.
    words : mapping of int to int32 array
        What the arrays are meant to hold, by number, where it is known: see ``core_mvm``.
    events : int64 array [EVENTS, cores]
        Added to.
    """

    def __init__(
        self,
        lib: ctypes.CDLL,
        program: TileProgram,
        arrays: Mapping[int, CCrossbar],
        memories: MemoriesLike,
        words: Mapping[int, NDArray[np.int32]],
        events: NDArray[np.int64],
    ) -> None:
        chip = program.chip
        self._run = lib.ohm_tile_run
        # All that the structure points to must live as long as it.
        self._arrays = dict(arrays)
        self._handles = (ctypes.c_void_p * chip.arrays)(
            *(arrays[n].handle if n in arrays else None for n in range(chip.arrays))
        )
        self._words = dict(words)
        self._word_places = (ctypes.c_void_p * chip.arrays)(
            *(words[n].ctypes.data if n in words else None for n in range(chip.arrays))
        )
        self._events = events
        self._flips = {
            spec.core: np.ascontiguousarray(spec.flips)
            for spec in program.arrays
            if spec.flips is not None
        }
        self._flags = (ctypes.c_void_p * chip.cores)(
            *(self._flips[c].ctypes.data if c in self._flips else None for c in range(chip.cores))
        )
        self._kept = (
            np.array(chip.input_code.counts, dtype=np.uint8),
            np.ascontiguousarray(program.params),
            np.ascontiguousarray(program.tables),
            memories.data,
            memories.rows,
            memories.sums,
            memories.acc,
            memories.vec,
        )
        self._tile = _Tile(
            chip.cores,
            chip.rows,
            chip.outputs,
            chip.outputs_per_beat,
            vector_latency(chip),
            chip.sum_weight,
            chip.arrays_per_core,
            ctypes.addressof(self._handles),
            ctypes.addressof(self._flags),
            *(a.ctypes.data for a in self._kept),
            ctypes.addressof(self._word_places),
            events.ctypes.data,
        )

    def run(
        self,
        trace: Trace,
        taken: NDArray[np.uint8],
        given: NDArray[np.uint8],
        tile: NDArray[np.int64],
        core: NDArray[np.int64],
        *,
        first: bool,
        starts: NDArray[np.int64] | None = None,
    ) -> None:
        """As :meth:`.machine_execute.Executor.run`; ``tile`` and ``core`` are a Tally's."""
        configs = mvm_parameters(trace.configs)
        samples = max(1, _CALL_STEPS // len(trace.steps))
        for begin in range(0, len(taken), samples):
            x = np.ascontiguousarray(taken[begin : begin + samples])
            out = given[begin : begin + samples]
            check_status(
                self._run(
                    ctypes.byref(self._tile),
                    configs,
                    trace.steps.ctypes.data,
                    len(trace.steps),
                    first,
                    len(x),
                    x.ctypes.data,
                    x.shape[1],
                    out.ctypes.data,
                    out.shape[1],
                    tile.ctypes.data,
                    core.ctypes.data,
                    None if starts is None else starts[begin:].ctypes.data,
                )
            )
