# SPDX-License-Identifier: Apache-2.0
"""The core that learns, in the C of ``csrc/ohm_learn_core.c``: one call runs many samples."""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arch.learning import LearnChip, LearnProgram, UpdateSettings
from ...arch.learning_isa import REGISTERS, TABLE_ENTRIES, LearnInstruction, LearnOp
from ..cengine import Signatures, declare_functions, library
from .carray import CLearnArray
from .processor import signed
from .state import (
    check_arrays,
    check_words,
    load_memory,
    restore_state,
    save_state,
    stray_instruction,
)
from .trains import Lfsr

__all__ = ["CLearnProcessor"]

_OP = ("op", "flags", "array", "shift", "bits", "reg", "n", "k", "m", "dst", "a", "b")
_SETTING = ("kx", "kd", "sx", "sd", "slots", "mode", "manage", "period")

_SIGNATURES: Signatures = {
    "ohm_learn_core_new": (
        ctypes.c_void_p,
        (*[ctypes.c_int] * 3, *[ctypes.c_void_p] * 3, ctypes.c_int, ctypes.c_void_p),
    ),
    "ohm_learn_core_free": (None, (ctypes.c_void_p,)),
    "ohm_learn_core_load": (
        ctypes.c_int,
        (ctypes.c_void_p, *(ctypes.c_int, ctypes.c_void_p) * 3),
    ),
    "ohm_learn_core_run": (
        ctypes.c_int,
        (
            *(ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p),
            *(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p),
        ),
    ),
}


def _instruction(i: LearnInstruction) -> list[int]:
    values = {name: int(getattr(i, name)) for name in _OP}
    # The functions of VEC and READ take signed numbers, all others count with them.
    values["k"] = signed(i.k, 16) if i.op in (LearnOp.VEC, LearnOp.HOT) else i.k & 0xFFFF
    return [values[name] for name in _OP]


class CLearnProcessor:
    """The same results as :class:`~.processor.LearnProcessor`.

    ``memory``, ``registers`` and ``lfsr`` are those that the C code works on: assign to their
    elements.

    Parameters
    ----------
    chip : LearnChip
    program : LearnProgram
    arrays : sequence of CLearnArray
    seed : int

    Raises
    ------
    ConfigError
        If the program does not fit the chip.
    ValueError
        If the arrays do not.
    """

    def __init__(
        self, chip: LearnChip, program: LearnProgram, arrays: Sequence[CLearnArray], seed: int
    ) -> None:
        program.check(chip)
        check_arrays(chip, arrays)
        self.chip = chip
        self.program = program
        self.arrays = arrays
        self._lib = declare_functions(library(), _SIGNATURES)
        self._free = self._lib.ohm_learn_core_free
        self.memory = np.zeros(chip.memory, np.int32)
        self.registers = np.zeros(REGISTERS, np.int32)
        self.lfsr = Lfsr(seed, chip.lines).state.copy()
        handles = (ctypes.c_void_p * len(arrays))(*(a.handle for a in arrays))
        self._handle = self._lib.ohm_learn_core_new(
            *(chip.rows, chip.cols, chip.memory),
            *(v.ctypes.data for v in (self.memory, self.registers, self.lfsr)),
            *(len(arrays), ctypes.addressof(handles)),
        )
        if not self._handle:
            raise MemoryError("No memory for a core that learns")
        load_memory(program, self.memory, self.registers)
        self._load(program)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._free(self._handle)
            self._handle = None

    def change(self, program: LearnProgram) -> None:
        """Run another program from now on; memory and registers stay.

        Raises
        ------
        ConfigError
            If it does not fit the chip.
        """
        program.check(self.chip)
        self.program = program
        self._load(program)

    def save(self) -> dict[str, NDArray[Any]]:
        """As :meth:`.processor.LearnProcessor.save`."""
        return save_state(self)

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """As :meth:`.processor.LearnProcessor.restore`."""
        restore_state(self, saved)

    def run(self, words: ArrayLike) -> NDArray[np.int32]:
        """As :meth:`.processor.LearnProcessor.run`."""
        given = check_words(words, self.program)
        results = np.zeros((len(given), self.program.outputs), np.int32)
        at = ctypes.c_int32(0)
        status = self._lib.ohm_learn_core_run(
            *(self._handle, len(given), given.shape[1], given.ctypes.data),
            *(results.shape[1], results.ctypes.data, ctypes.addressof(at)),
        )
        if status:
            raise stray_instruction(self.program, at.value)
        return results

    def _load(self, program: LearnProgram) -> None:
        code = np.array([_instruction(i) for i in program.instructions], np.int32)
        settings = np.array([_setting(s) for s in program.settings], np.int32)
        tables = np.array(program.tables, np.int16).reshape(-1, TABLE_ENTRIES)
        status = self._lib.ohm_learn_core_load(
            *(self._handle, len(code), code.ctypes.data),
            *(len(settings), settings.ctypes.data),
            *(len(tables), tables.ctypes.data),
        )
        if status:
            raise ValueError("The program cannot be loaded")


def _setting(settings: UpdateSettings) -> list[int]:
    return [int(getattr(settings, name)) for name in _SETTING]
