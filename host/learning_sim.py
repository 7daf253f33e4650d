# SPDX-License-Identifier: Apache-2.0
"""The core that learns, Verilated, with the interface of the processor in C."""

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arch.learning import (
    DONE_TAG,
    FAULT_TAG,
    MAX_TRIES,
    LearnChip,
    LearnKind,
    LearnProgram,
    header_word,
)
from ..arch.learning_isa import REGISTERS, LearnInstruction, LearnOp
from ..behavioral.cengine import Signatures, declare_functions
from ..behavioral.learning.carray import CLearnArray
from ..behavioral.learning.state import (
    check_arrays,
    check_words,
    restore_state,
    save_state,
    stray_instruction,
)
from ..behavioral.learning.trains import Lfsr
from .learning_build import build_learning_model
from .simulation import Simulation, SimulationError, load_library

__all__ = ["LearningSimulation", "instruction_cycles"]

_MOST_SAMPLES = 1024
"""Of a message of the link; a run of more takes several."""

_SIGNATURES: Signatures = {
    "ohm_learn_bind": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_int)),
    "ohm_learn_error": (ctypes.c_char_p, (ctypes.c_void_p,)),
    "ohm_learn_unbind": (None, (ctypes.c_void_p,)),
}


def instruction_cycles(i: LearnInstruction, program: LearnProgram, chip: LearnChip) -> int:
    """Cycles that an instruction takes at most, with a macro that never waits."""
    n, k = i.n, i.k & 0xFFFF
    lines = {
        LearnOp.FEED: n * i.b,
        LearnOp.DENSE: n * k,
        LearnOp.OUTER: n * (k + 1),
        LearnOp.APPLY: 3 * n * k,
        LearnOp.WRITE: 3 * n,
        LearnOp.DIV: 70 * n,
        LearnOp.STEP: 70,
    }
    if i.op == LearnOp.READ:
        tries = min(k, MAX_TRIES) + 1
        return 40 + tries * (n + 2 * i.b + 20) + i.b
    if i.op == LearnOp.UPDATE:
        beats = -(-chip.cols // chip.lanes)
        return 40 + n + k + program.settings[i.m].slots * (3 + 2 * (beats + 1))
    return 20 + lines.get(i.op, n)


class LearningSimulation:
    """The RTL of a core that learns, as fast as Verilator makes it.

    It can stand where a :class:`~ohmtwin.behavioral.learning.cprocessor.CLearnProcessor` does, and
    gives the same bits. ``memory``, ``registers`` and ``lfsr`` are copies that go to the chip
    before the next run if their elements have changed, and follow it from the first time that they
    are asked for.

    Parameters
    ----------
    chip : LearnChip
    program : LearnProgram
    arrays : sequence of CLearnArray
        What the chip's arrays begin with; they are copied.
    seed : int
        Of the generators of pulse trains.
    library : Path, optional
        From :func:`~.learning_build.build_learning_model`, which is called otherwise.
    patience : int, optional
        Cycles without a word in or out after which a run fails; twice as many as a sample can take
        by default.

    Raises
    ------
    ConfigError
        If the program does not fit the chip.
    ValueError
        If the arrays do not, or the chip cannot be built.
    SimulationError
        If the model does not start.
    """

    def __init__(
        self,
        chip: LearnChip,
        program: LearnProgram,
        arrays: Sequence[CLearnArray],
        seed: int,
        *,
        library: Path | None = None,
        patience: int | None = None,
    ) -> None:
        program.check(chip)
        check_arrays(chip, arrays)
        self.chip = chip
        self.program = program
        self._given_patience = patience
        path = build_learning_model(chip) if library is None else library
        self._session = None
        lib = load_library(path)
        self._lib = declare_functions(lib, _SIGNATURES)
        self.arrays = [CLearnArray(a.cells, a.seed, a.array, lib) for a in arrays]
        for ours, theirs in zip(self.arrays, arrays, strict=True):
            ours.load(theirs.state, theirs.numbers, theirs.reads)
        handles = (ctypes.c_void_p * len(arrays))(*(a.handle for a in self.arrays))
        self._session = self._lib.ohm_learn_bind(handles, len(arrays))
        if not self._session:
            raise MemoryError("No memory for the macro of a core that learns")
        self._simulation = Simulation(path)
        self._check_macro()
        # Copies of what the chip holds, by kind of dump: as the caller sees it, and as it was read.
        self._copies: dict[LearnKind, tuple[NDArray[Any], NDArray[Any]]] = {}
        self._send(program.load_words())
        self._put(LearnKind.LFSR, Lfsr(seed, chip.lines).state)

    def close(self) -> None:
        """End the simulation; closing twice is harmless."""
        self._simulation.close()
        if self._session:
            self._lib.ohm_learn_unbind(self._session)
            self._session = None

    def __del__(self) -> None:
        if getattr(self, "_simulation", None) is not None:
            self.close()

    @property
    def cycles(self) -> int:
        """Clock cycles since time 0."""
        return self._simulation.cycles

    # ------------------------------------------------------------ what the chip holds

    @property
    def memory(self) -> NDArray[np.int32]:
        """The vector memory, int32 [chip.memory]."""
        return self._copy(LearnKind.DUMP_MEMORY)

    @property
    def registers(self) -> NDArray[np.int32]:
        """Registers, int32 [16]."""
        return self._copy(LearnKind.DUMP_REGISTERS)

    @property
    def lfsr(self) -> NDArray[np.uint32]:
        """States of the generators of pulse trains, uint32 [chip.lines], rows first."""
        return self._copy(LearnKind.DUMP_LFSR)

    def _copy(self, kind: LearnKind) -> NDArray[Any]:
        if kind not in self._copies:
            held = self._dump(kind)
            self._copies[kind] = held, held.copy()
        return self._copies[kind][0]

    def _dump(self, kind: LearnKind) -> NDArray[Any]:
        size, dtype = self._shape(kind)
        self._send([header_word(kind, size)])
        words = self._answer(size, self._patience + 4 * size)
        return (words & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(dtype)

    def _shape(self, kind: LearnKind) -> tuple[int, Any]:
        return {
            LearnKind.DUMP_MEMORY: (self.chip.memory, np.int32),
            LearnKind.DUMP_REGISTERS: (REGISTERS, np.int32),
            LearnKind.DUMP_LFSR: (self.chip.lines, np.uint32),
        }[kind]

    def _put(self, kind: LearnKind, values: NDArray[Any]) -> None:
        self._send([header_word(kind, len(values))])
        self._send(values.astype(np.int64) & 0xFFFFFFFF)

    def _write_back(self) -> None:
        """Give the chip what the caller has changed."""
        kinds = {
            LearnKind.DUMP_MEMORY: LearnKind.MEMORY,
            LearnKind.DUMP_REGISTERS: LearnKind.REGISTERS,
            LearnKind.DUMP_LFSR: LearnKind.LFSR,
        }
        for kind, (seen, held) in self._copies.items():
            if not np.array_equal(seen, held):
                self._put(kinds[kind], seen)
                held[:] = seen

    def _refresh(self) -> None:
        for kind, (seen, held) in self._copies.items():
            held[:] = self._dump(kind)
            seen[:] = held

    def save(self) -> dict[str, NDArray[Any]]:
        """As :meth:`.processor.LearnProcessor.save`."""
        return save_state(self)

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """As :meth:`.processor.LearnProcessor.restore`."""
        restore_state(self, saved)

    # ------------------------------------------------------------ work

    def change(self, program: LearnProgram) -> None:
        """Run another program from now on; memory and registers stay.

        Raises
        ------
        ConfigError
            If it does not fit the chip.
        """
        program.check(self.chip)
        self.program = program
        code = LearnProgram(program.instructions, program.settings, program.tables)
        self._send(code.load_words())

    def run(self, words: ArrayLike) -> NDArray[np.int32]:
        """As :meth:`.processor.LearnProcessor.run`.

        Raises
        ------
        ValueError
            If the words have another shape, or an instruction leaves the memory or the arrays; in
            the second case nothing can be run any more.
        SimulationError
            If the model fails or gives no word for too long.
        """
        given = check_words(words, self.program)
        self._write_back()
        parts = [
            self._run(given[first : first + _MOST_SAMPLES])
            for first in range(0, len(given), _MOST_SAMPLES)
        ]
        self._refresh()
        none = np.empty((0, self.program.outputs), np.int32)
        return np.concatenate([none, *parts])

    def _run(self, given: NDArray[np.int32]) -> NDArray[np.int32]:
        self._send([header_word(LearnKind.RUN, len(given))])
        self._send(given.reshape(-1).astype(np.int64) & 0xFFFFFFFF)
        outputs = self.program.outputs
        answer = self._answer(len(given) * outputs + 1, self._patience)
        tag = int(answer[-1]) >> 48
        if tag == FAULT_TAG:
            at = int(answer[-1]) >> 32 & 0x1FF
            self.close()
            raise stray_instruction(self.program, at)
        if tag != DONE_TAG or int(answer[-1]) & 0xFFFFFF != len(given):
            raise SimulationError(
                f"The core that learns ended a run of {len(given)} samples with"
                f" {int(answer[-1]):#x}"
            )
        values = (answer[:-1] & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.int32)
        return values.reshape(len(given), outputs)

    @property
    def _patience(self) -> int:
        if self._given_patience is not None:
            return self._given_patience
        total, loop, times = 100, 0, 1
        for i in self.program.instructions:
            total += instruction_cycles(i, self.program, self.chip) * (times if loop else 1)
            loop = max(0, loop - 1)
            if i.op == LearnOp.LOOP:
                loop, times = i.k & 0xFFFF, i.n
        return 2 * total + 4096

    def _send(self, words: ArrayLike) -> None:
        self._simulation.push(np.asarray(words, dtype=np.uint64))

    def _answer(self, wanted: int, patience: int) -> NDArray[np.uint64]:
        """So many words, or fewer that end with a fault."""
        found = self._simulation.run(wanted, patience)
        self._check_macro()
        words = self._simulation.pop()
        if found == wanted or (words.size and int(words[-1]) >> 48 == FAULT_TAG):
            return words
        raise SimulationError(
            f"The core that learns gave {found} words of {wanted}, then none for {patience} cycles"
        )

    def _check_macro(self) -> None:
        message = self._lib.ohm_learn_error(self._session)
        if message is not None:
            self.close()
            raise SimulationError(
                f"The macro of the core that learns failed: {message.decode(errors='replace')}"
            )
