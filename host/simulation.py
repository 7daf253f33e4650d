# SPDX-License-Identifier: Apache-2.0
"""One running Verilated tile, and the word-stream port that leads to it."""

import ctypes
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import ToolError
from ..behavioral.cengine import CCrossbar, Signatures, declare_functions
from .closing import Closing
from .driver import Port

__all__ = ["Simulation", "SimulationError", "SimulationPort", "VerilatedModel"]

_ERROR = 2

_BIT = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint64)

_SIGNATURES: Signatures = {
    "sim_new": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_int)),
    "sim_free": (None, (ctypes.c_void_p,)),
    "sim_error": (ctypes.c_char_p, (ctypes.c_void_p,)),
    "sim_push": (None, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
    "sim_run": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint64)),
    "sim_step": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_uint64)),
    "sim_available": (ctypes.c_size_t, (ctypes.c_void_p,)),
    "sim_pop": (ctypes.c_size_t, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
    "sim_cycles": (ctypes.c_uint64, (ctypes.c_void_p,)),
    "sim_evaluations_per_cycle": (ctypes.c_int, ()),
    "sim_trace": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64)),
    "sim_flip": (ctypes.c_int, (ctypes.c_void_p, *_BIT, ctypes.c_uint64)),
    "sim_bit": (ctypes.c_int, (ctypes.c_void_p, *_BIT)),
}


class SimulationError(ToolError):
    """The model failed, or a simulation was used after it was closed."""


@functools.cache
def load_library(path: Path) -> ctypes.CDLL:
    """Load a model (see ``verilator_build``), once a process."""
    return declare_functions(ctypes.CDLL(str(path)), _SIGNATURES)


class VerilatedModel(Closing):
    """A model in a loaded library, freed when it is closed or nobody has it any more.

    Parameters
    ----------
    handle : int or None
        From the library's ``..._new``.
    error, free : callables of the handle
        The library's: what the model failed with, as bytes, or None; and its end.
    what : str
        The model in messages.

    Raises
    ------
    SimulationError
        If the model does not start.
    """

    def __init__(
        self,
        handle: int | None,
        error: Callable[[int | None], bytes | None],
        free: Callable[[int], None],
        what: str,
    ) -> None:
        self._model = handle
        self._error, self._free, self._what = error, free, what
        self._check()

    def _handle(self) -> int:
        if self._model is None:
            raise SimulationError("The simulation is closed")
        return self._model

    def _check(self) -> None:
        message = self._error(self._model)
        if message is not None:
            self.close()
            raise SimulationError(f"{self._what} failed: {message.decode(errors='replace')}")

    def close(self) -> None:
        """End the simulation; closing twice is harmless."""
        if self._model is not None:
            self._free(self._model)
            self._model = None

    def __del__(self) -> None:
        if getattr(self, "_model", None) is not None:
            self.close()


class Simulation(VerilatedModel):
    """A tile behind its reset, driven by coarse calls (``rtl/sv/sim_harness.h``).

    Any number may live at once. A call runs without Python's lock, so that several run in parallel
    in threads; one simulation belongs to one thread at a time.

    Parameters
    ----------
    library : Path
        From :func:`~.verilator_build.build_model`.
    arrays : sequence of CCrossbar
        By number (:meth:`.Chip.array_number`); made with the CDLL of the same library.

    Raises
    ------
    SimulationError
        If the model does not start.
    """

    def __init__(self, library: Path, arrays: Sequence[CCrossbar] = ()) -> None:
        self._lib = load_library(library)
        # Kept, for the model reads them until it is freed.
        self._arrays = tuple(arrays)
        handles = (ctypes.c_void_p * max(1, len(arrays)))(*(a.handle for a in arrays))
        super().__init__(
            self._lib.sim_new(handles, len(arrays)),
            self._lib.sim_error,
            self._lib.sim_free,
            "The Verilated model",
        )

    @property
    def cycles(self) -> int:
        """Clock cycles since time 0, reset included."""
        return int(self._lib.sim_cycles(self._handle()))

    @property
    def evaluations_per_cycle(self) -> int:
        """1 if the model is evaluated at rising edges only, else 2."""
        return int(self._lib.sim_evaluations_per_cycle())

    def push(self, words: NDArray[np.uint64]) -> None:
        """Queue words (uint64 [n]) for the tile."""
        data = np.ascontiguousarray(words, dtype=np.uint64)
        self._lib.sim_push(self._handle(), data.ctypes.data, data.size)

    def run(self, wanted: int, max_idle: int) -> int:
        """Run until ``wanted`` words are there or none has moved for ``max_idle`` cycles.

        Returns
        -------
        int
            Words that are there.

        Raises
        ------
        SimulationError
            If the model fails.
        """
        if self._lib.sim_run(self._handle(), wanted, max_idle) == _ERROR:
            self._check()
        return int(self._lib.sim_available(self._handle()))

    def step(self, cycles: int) -> None:
        """Run exactly that many cycles."""
        if self._lib.sim_step(self._handle(), cycles) == _ERROR:
            self._check()

    def pop(self) -> NDArray[np.uint64]:
        """Take all words that are there: uint64 [n]."""
        handle = self._handle()
        words = np.empty(self._lib.sim_available(handle), dtype=np.uint64)
        self._lib.sim_pop(handle, words.ctypes.data, words.size)
        return words

    def trace(self, path: Path, cycles: int) -> None:
        """Write the next ``cycles`` cycles to a VCD file; needs a build with ``trace=True``.

        Raises
        ------
        SimulationError
            If the build has no tracing, or a trace is running.
        """
        if self._lib.sim_trace(self._handle(), str(path).encode(), cycles):
            self._check()
            raise SimulationError(
                "No waveform can be started: the model was built without trace=True, or a "
                "trace is running"
            )

    def flip(self, scope: str, name: str, word: int, bit: int, after: int = 0) -> None:
        """Flip a bit of a memory, or of a register, whose word is 0; needs a build with faults.

        Parameters
        ----------
        scope, name : str
            The instance that holds it, and its name there (:mod:`.flips`).
        word, bit : int
        after : int
            Cycles from now: it flips before the edge that ends that cycle.

        Raises
        ------
        SimulationError
            If the build has no faults, or there is no such bit.
        """
        place = (scope.encode(), name.encode(), word, bit)
        if self._lib.sim_flip(self._handle(), *place, after):
            raise SimulationError(self._no_bit(scope, name, word, bit))

    def bit(self, scope: str, name: str, word: int, bit: int) -> int:
        """A bit as it is now; needs a build with faults.

        Raises
        ------
        SimulationError
            As :meth:`flip`.
        """
        found = int(self._lib.sim_bit(self._handle(), scope.encode(), name.encode(), word, bit))
        if found < 0:
            raise SimulationError(self._no_bit(scope, name, word, bit))
        return found

    @staticmethod
    def _no_bit(scope: str, name: str, word: int, bit: int) -> str:
        return (
            f"There is no bit {bit} of word {word} of {scope}.{name.strip()} to flip: the model "
            "was built without faults=True, or it has no such memory"
        )


class SimulationPort(Port):
    """The word stream of a simulation.

    Parameters
    ----------
    simulation : Simulation
        Closed with the port.
    patience : int
        Cycles without a word in or out after which :meth:`read` gives up.
    """

    def __init__(self, simulation: Simulation, patience: int = 2_000_000) -> None:
        self._simulation = simulation
        self._patience = patience

    def write(self, words: NDArray[np.uint64]) -> None:
        self._simulation.push(words)

    def read(self, at_least: int) -> NDArray[np.uint64]:
        self._simulation.run(at_least, self._patience)
        return self._simulation.pop()

    def close(self) -> None:
        self._simulation.close()
