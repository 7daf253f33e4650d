# SPDX-License-Identifier: Apache-2.0
"""The steps that a tile takes for a sample, every address resolved (docs/tile.md)."""

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..arch.chip import Chip
from ..arch.isa import VECTOR_ELEMENTS, Reg
from .core import MvmConfig

__all__ = ["STEP", "Control", "Kind", "Places", "Trace", "budget_registers"]


class Kind(IntEnum):
    """What a step does with data; the fields of :data:`STEP` that it uses."""

    NONE = 0
    """Nothing: it only takes time."""
    LOAD_HOST = 1
    """``count`` bytes from byte ``source`` of the input to rows ``place`` and up of ``cores``;
    ``mode``: 1 if the sum of activations goes on at row 0."""
    LOAD = 2
    """``runs`` runs of ``count`` bytes, ``pitch`` apart, from byte ``source`` of data memory."""
    VEC = 3
    """Runs as LOAD's to elements ``place`` and up; ``mode``: VecOp, ``scale``, ``offset``."""
    RECV = 4
    """``count`` bytes from byte ``source`` of the input to byte ``place`` of data memory."""
    SEND = 5
    """``count`` bytes from byte ``source`` of data memory to byte ``place`` of the output."""
    MVM = 6
    """Products of array ``place`` of ``cores`` with configuration ``mode`` of the trace;
    ``source``: 1 if they add to what the accumulators hold."""
    REQ = 7
    """``count`` outputs of ``cores`` to byte ``place``; ``source``: first parameter; ``mode``: 1 if
    one group of them serves all, plus 2 for the vector accumulators too; ``runs``: accumulator
    words; ``quant``; ``table`` or -1; ``tap``: byte of the output for the sums, or -1."""
    SYNC = 8
    """Nothing; it waits for ``count`` words of input and for room for ``place`` words of output."""


STEP = np.dtype(
    [
        ("kind", "<i4"),
        ("cores", "<u4"),  # waits for them
        ("waits_vector", "<i4"),  # then waits for the vector unit
        ("cycles", "<i4"),  # the next fetch comes so many cycles after the first of execution
        ("issue", "<i4"),  # of REQ: cycles from the first one to the issue of the last word
        ("source", "<i4"),
        ("place", "<i4"),
        ("count", "<i4"),
        ("runs", "<i4"),
        ("pitch", "<i4"),
        ("mode", "<i4"),
        ("scale", "<i4"),
        ("offset", "<i4"),
        ("quant", "<i4"),
        ("table", "<i4"),
        ("tap", "<i4"),
    ]
)
"""One executed instruction: ``ohm_step`` of ``csrc/ohm_tile.h``."""


def budget_registers(chip: Chip) -> range:
    """Numbers of the row budgets among the registers of :class:`Control`, by plane."""
    return range(len(Reg), len(Reg) + len(chip.row_budgets))


@dataclass(frozen=True)
class Control:
    """The state of a tile that does not depend on data.

    Parameters
    ----------
    pc : int
        The next instruction.
    loops : tuple of (first, last, passes left)
        Open loops, the innermost last; 0 passes left is for ever.
    registers : tuple of int
        By :class:`~ohmtwin.arch.isa.Reg`; with row budgets, then those (:func:`budget_registers`).
    sums : tuple of int
        For each core, the accumulator words that its last product filled.
    free : int
        Words that are certainly free in the output FIFO.
    """

    pc: int
    loops: tuple[tuple[int, int, int], ...]
    registers: tuple[int, ...]
    sums: tuple[int, ...]
    free: int = 0

    @classmethod
    def reset(cls, chip: Chip) -> "Control":
        """What CONTROL.run starts with."""
        registers = [0] * len(Reg) + [1] * len(budget_registers(chip))
        registers[Reg.ROWS_PER_READ] = 1
        registers[Reg.PLANES] = chip.passes
        registers[Reg.QUANT] = 0xFF0000
        registers[Reg.SCALE] = 1
        return cls(0, (), tuple(registers), (0,) * chip.cores)


class Places:
    """Numbers everything of a tile that keeps a value.

    Bytes of data memory come first, each with its address as number; then words of eight row
    registers, sums of activations, accumulators (one a core each), and vector accumulators.
    """

    def __init__(self, chip: Chip) -> None:
        self.row_words = chip.input_rows // 8
        self.data = 8 * chip.data_words
        self.sums = self.data + chip.cores * self.row_words
        self.accumulators = self.sums + chip.cores
        self.elements = self.accumulators + chip.cores
        self.count = self.elements + VECTOR_ELEMENTS

    def row_word(self, core: int, word: int) -> int:
        """Rows ``8 * word`` and up of a core."""
        return self.data + core * self.row_words + word

    def __getitem__(self, place: int) -> str:
        """How messages call it."""
        if place < self.data:
            return f"data byte {place}"
        if place < self.sums:
            core, word = divmod(place - self.data, self.row_words)
            return f"row {8 * word} of core {core}"
        if place < self.accumulators:
            return f"the sum of activations of core {place - self.sums}"
        if place < self.elements:
            return f"the accumulators of core {place - self.accumulators}"
        return f"vector accumulator {place - self.elements}"


@dataclass(frozen=True, eq=False)
class Trace:
    """From one wait for a sample's input to the next.

    Parameters
    ----------
    steps : array [n] of STEP
        The last one is the SYNC that waits.
    configs : tuple of MvmConfig
        That the MVM steps name.
    start, end : Control
        State before the first step, and when the last one waits.
    uses : (registers, cores)
        What of the registers and of ``sums`` in ``start`` matters, as sets of numbers.
    sets : (registers, cores)
        What of them the steps overwrite.
    needs : int64 arrays (places, instructions)
        :class:`Places` read before this pass wrote them, and an instruction that does.
    makes : int64 array
        Places that this pass writes.
    """

    steps: NDArray[np.void]
    configs: tuple[MvmConfig, ...]
    start: Control
    end: Control
    uses: tuple[frozenset[int], frozenset[int]]
    sets: tuple[frozenset[int], frozenset[int]]
    needs: tuple[NDArray[np.int64], NDArray[np.int64]]
    makes: NDArray[np.int64]

    @cached_property
    def touches(self) -> NDArray[np.intp]:
        """Steps that wait for the host or touch a FIFO, by number."""
        kind = self.steps["kind"]
        tapped = (kind == Kind.REQ) & (self.steps["tap"] >= 0)
        moves = (Kind.SYNC, Kind.LOAD_HOST, Kind.RECV, Kind.SEND)
        return np.flatnonzero(np.isin(kind, moves) | tapped)

    def fits(self, control: Control) -> bool:
        """Whether a pass from this state takes the same steps."""
        start = self.start
        registers, cores = self.uses
        return (
            (control.pc, control.loops, control.free) == (start.pc, start.loops, start.free)
            and all(control.registers[r] == start.registers[r] for r in registers)
            and all(control.sums[c] == start.sums[c] for c in cores)
        )

    def after(self, control: Control) -> Control:
        """Where a pass from a state that fits ends."""
        registers, cores = self.sets
        return Control(
            self.end.pc,
            self.end.loops,
            tuple(
                self.end.registers[r] if r in registers else value
                for r, value in enumerate(control.registers)
            ),
            tuple(self.end.sums[c] if c in cores else v for c, v in enumerate(control.sums)),
            self.end.free,
        )
