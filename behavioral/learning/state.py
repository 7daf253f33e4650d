# SPDX-License-Identifier: Apache-2.0
"""What a core that learns holds, whoever runs it: NumPy, C or the RTL."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arch.learning import LearnChip, LearnProgram
from .array import LearningArray

__all__ = [
    "LearningState",
    "check_arrays",
    "check_words",
    "load_memory",
    "restore_state",
    "save_state",
    "stray_instruction",
]


class LearningState(Protocol):
    """All that changes while a core learns; elements may be assigned."""

    @property
    def memory(self) -> NDArray[np.int32]: ...
    @property
    def registers(self) -> NDArray[np.int32]: ...
    @property
    def lfsr(self) -> NDArray[np.uint32]: ...
    @property
    def arrays(self) -> Sequence[LearningArray]: ...


def save_state(core: LearningState) -> dict[str, NDArray[Any]]:
    """Copies of all that changes, by name; what is of an array with its number."""
    saved: dict[str, NDArray[Any]] = {
        "memory": core.memory.copy(),
        "registers": core.registers.copy(),
        "lfsr": core.lfsr.copy(),
    }
    for i, array in enumerate(core.arrays):
        saved[f"state_{i}"] = array.state
        saved[f"numbers_{i}"] = array.numbers
        saved[f"reads_{i}"] = np.array(array.reads, np.uint64)
    return saved


def restore_state(core: LearningState, saved: Mapping[str, NDArray[Any]]) -> None:
    """Let a core go on from what :func:`save_state` gave."""
    core.memory[:] = saved["memory"]
    core.registers[:] = saved["registers"]
    core.lfsr[:] = saved["lfsr"]
    for i, array in enumerate(core.arrays):
        array.load(saved[f"state_{i}"], saved[f"numbers_{i}"], int(saved[f"reads_{i}"]))


def stray_instruction(program: LearnProgram, at: int) -> ValueError:
    """The error of an instruction whose registers lead out of the chip."""
    where = program.instructions[at]
    return ValueError(f"Instruction {at} ({where}) leaves the memory or the arrays")


def check_arrays(chip: LearnChip, arrays: Sequence[LearningArray]) -> None:
    """Refuse arrays that are not those of a chip."""
    if len(arrays) != chip.arrays or any(
        a.cells.shape != (chip.rows, chip.cols) or a.cells.noise.adc_bits != chip.adc_bits
        for a in arrays
    ):
        raise ValueError(
            f"The core needs {chip.arrays} arrays of {chip.rows} rows, {chip.cols} columns and"
            f" {chip.adc_bits} ADC bits"
        )


def check_words(words: ArrayLike, program: LearnProgram) -> NDArray[np.int32]:
    """Refuse words that are no int32 array [samples, program.inputs]."""
    given = np.asarray(words)
    if given.dtype.kind not in "iu" or given.ndim != 2 or given.shape[1] != program.inputs:
        raise ValueError(f"Samples must be whole numbers [n, {program.inputs}]")
    return np.ascontiguousarray(given, dtype=np.int32)


def load_memory(
    program: LearnProgram, memory: NDArray[np.int32], registers: NDArray[np.int32]
) -> None:
    """Put what a program starts from into memory and registers."""
    for address, part in program.memory:
        memory[address : address + len(part)] = part
    for register, value in program.registers.items():
        if register:
            registers[register] = value
