# SPDX-License-Identifier: Apache-2.0
"""Goes through a program as a tile's controller does: loops, registers, waits for the host."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..arch.budgets import decode_budget
from ..arch.isa import LOOP_DEPTH, Instruction, Opcode, Reg
from .machine_memory import DataMemory, mask_of
from .machine_steps import STEP, Control, Kind, Places, budget_registers
from .program import ProgramError, TileProgram

__all__ = ["NO_TABLE", "NO_TAP", "PLAIN", "STEP_LIMIT", "Step", "Walk", "step"]

STEP_LIMIT = 1 << 20
"""Instructions between two samples, past which a program is taken for endless."""

_CHUNK = 1 << 14
"""Steps that wait as tuples to be packed."""

NO_TABLE = NO_TAP = -1
"""In a REQ step."""

_SIGNED_24 = (-(1 << 23), (1 << 23) - 1)

_RANGES = {
    Reg.PITCH: _SIGNED_24,
    Reg.SCALE: _SIGNED_24,
    Reg.ZERO: (0, 255),
    Reg.KEEP: (0, 1),
}
"""Values that registers hold, where they are shorter than an immediate."""

Step = tuple[int, ...]
"""A record of STEP."""


def step(
    kind: int = Kind.NONE,
    cores: int = 0,
    waits: int = 0,
    cycles: int = 1,
    issue: int = 0,
    source: int = 0,
    place: int = 0,
    count: int = 0,
    runs: int = 1,
    pitch: int = 0,
    mode: int = 0,
    scale: int = 0,
    offset: int = 0,
    quant: int = 0,
    table: int = NO_TABLE,
    tap: int = NO_TAP,
) -> Step:
    """A record of STEP."""
    return (
        *(kind, cores, waits, cycles, issue, source, place, count),
        *(runs, pitch, mode, scale, offset, quant, table, tap),
    )


PLAIN = step()
"""It only takes its cycle."""


class Walk:
    """The control flow; whoever moves data adds to ``does`` what its instructions do.

    Parameters
    ----------
    program : TileProgram
    start : Control
    first : bool
        As of :func:`~.machine_trace.trace_pass`.
    """

    def __init__(self, program: TileProgram, start: Control, first: bool) -> None:
        self.program, self.start, self.first = program, start, first
        self.chip = program.chip
        self.places = Places(self.chip)
        self.pc = start.pc
        self.loops = list(start.loops)
        self.registers = list(start.registers)
        self.sums = list(start.sums)
        self.free = start.free
        self.used_registers: set[int] = set()
        self.set_registers: set[int] = set()
        self.used_sums: set[int] = set()
        self.set_sums: set[int] = set()

        self.taken: list[Step] = []
        self.packed: list[NDArray[np.void]] = []
        self.count = 0
        self.memory = DataMemory(self.places.data)
        self.received = self.sent = self.ready = 0
        self.round: dict[int, tuple[object, ...]] = {}
        """The state in which endless loops came round last, by their last instruction."""

        self.all_cores = mask_of({spec.core for spec in program.arrays})
        self.in_use = set(program.array_numbers)
        self.does: dict[Opcode, Callable[[Instruction], Step]] = {
            Opcode.NOP: lambda _: PLAIN,
            Opcode.HALT: self.halt,
            Opcode.SYNC: self.sync,
            Opcode.SET: self.set,
            Opcode.ADD: self.add,
            Opcode.LOOP: self.loop,
        }

    # The walk

    def walk(self) -> NDArray[np.void]:
        """Take all steps, an array of STEP; the last one is the SYNC that waits."""
        waits = not self.first  # the pass begins where the SYNC that waited goes on
        while True:
            instruction = self.fetch()
            if not waits and self.is_wait(instruction):
                break
            waits = False
            self.taken.append(self.does[instruction.op](instruction))
            self.count += 1
            self.advance()
            if len(self.taken) == _CHUNK:
                self.pack()
            if self.count > STEP_LIMIT:
                raise self.bad(f"more than {STEP_LIMIT} instructions pass without a wait for input")
        self.taken.append(self.sync_step(self.fetch()))
        self.pack()
        if self.sent < self.program.output_words and not self.first:
            raise self.bad(
                f"{self.sent} words are sent before it for a sample whose outputs take "
                f"{self.program.output_words}"
            )
        return np.concatenate(self.packed)

    def pack(self) -> None:
        self.packed.append(np.array(self.taken, dtype=STEP))
        self.taken.clear()

    def fetch(self) -> Instruction:
        if self.pc >= len(self.program.instructions):
            last = len(self.program.instructions) - 1
            raise ProgramError(
                f"The program runs past its last instruction, {last}; a program ends in an endless "
                f"loop (LOOP count=0)"
            )
        return self.program.instructions[self.pc]

    def is_wait(self, instruction: Instruction) -> bool:
        """Whether this SYNC waits for the next sample."""
        if instruction.op is not Opcode.SYNC or instruction["in_words"] == 0:
            return False
        return self.first or self.received == self.program.input_words

    def advance(self) -> None:
        while self.loops and self.loops[-1][1] == self.pc:
            begin, last, left = self.loops.pop()
            if left == 0:
                self.check_progress()
            if left != 1:
                self.loops.append((begin, last, max(left - 1, 0)))
                self.pc = begin
                return
        self.pc += 1

    def check_progress(self) -> None:
        """Refuse an endless loop that comes round to where it was."""
        state = (*self.registers, *self.loops, self.received, self.sent, self.ready, self.free)
        if self.round.get(self.pc) == state:
            raise self.bad("the endless loop that it closes comes round without a wait for input")
        self.round[self.pc] = state

    def bad(self, why: str) -> ProgramError:
        text = self.program.instructions[self.pc]
        return ProgramError(f"Instruction {self.pc} ({text}) is wrong: {why}")

    # Helpers of instructions

    def register(self, reg: int) -> int:
        if reg not in self.set_registers:
            self.used_registers.add(reg)
        return self.registers[reg]

    def change(self, reg: int, value: int) -> None:
        """Address registers wrap at 24 bits."""
        self.set_registers.add(reg)
        self.registers[reg] = value & 0xFFFFFF if reg < Reg.SCHEDULE else value

    # Instructions

    def halt(self, _: Instruction) -> Step:
        raise self.bad("the program stops, a target would wait for its outputs for ever")

    def sync(self, instruction: Instruction) -> Step:
        wanted, room = instruction["in_words"], instruction["out_words"]
        for words in (wanted, room):
            if words > self.chip.fifo_words:
                raise self.bad(
                    f"it waits for {words} words, a host FIFO holds {self.chip.fifo_words}"
                )
        left = self.program.input_words - self.received
        if wanted > left:
            raise self.bad(f"it waits for {wanted} input words, a sample has {left} left")
        self.ready = max(self.ready, wanted)
        self.free = max(self.free, room)
        self.memory.settle()
        return self.sync_step(instruction)

    def sync_step(self, instruction: Instruction) -> Step:
        words, room = instruction["in_words"], instruction["out_words"]
        return step(Kind.SYNC, self.all_cores, waits=1, count=words, place=room)

    def set(self, instruction: Instruction) -> Step:
        reg, value = instruction["reg"], instruction["value"]
        if reg == Reg.ZERO and not self.chip.input_code.has_zero:
            raise self.bad(
                f"chips with input_encoding = '{self.chip.input_encoding}' have no register ZERO"
            )
        if reg == Reg.KEEP and self.chip.arrays_per_core == 1:
            raise self.bad("cores have one array each, so there is no register KEEP")
        low, high = _RANGES.get(Reg(reg), (value, value))
        if not low <= value <= high:
            raise self.bad(f"register {Reg(reg).name} holds {low} to {high}")
        if reg == Reg.ROWS_PER_READ and self.chip.row_budgets:
            return self.set_budget(value)
        self.change(reg, value)
        if reg == Reg.QUANT:
            self.memory.settle()
        return step(waits=int(reg == Reg.QUANT))

    def set_budget(self, value: int) -> Step:
        """Cores read the budgets while they work, so the instruction waits for them."""
        rows, plane, part = decode_budget(value)
        if not 1 <= rows <= self.chip.rows:
            raise self.bad(f"a row budget must be 1 to {self.chip.rows}, not {rows}")
        registers = budget_registers(self.chip)
        slices = self.chip.read_slices
        if part is not None and part >= slices:
            raise self.bad(f"it sets the row budget of slice {part}, of {slices} read alone")
        for number, register in enumerate(registers):
            if plane in (None, number // slices) and part in (None, number % slices):
                self.change(register, rows)
        return step(cores=self.all_cores)

    def add(self, instruction: Instruction) -> Step:
        reg = instruction["reg"]
        if reg >= Reg.SCHEDULE:
            raise self.bad("ADD is for address registers A0 to A7; use SET")
        self.change(reg, self.register(reg) + instruction["value"])
        return PLAIN

    def loop(self, instruction: Instruction) -> Step:
        first, last = self.pc + 1, self.pc + instruction["body"]
        if last < first:
            raise self.bad("its body is empty")
        if last >= len(self.program.instructions):
            raise self.bad(f"its body ends at {last}, behind the last instruction")
        if self.loops and last >= self.loops[-1][1]:
            raise self.bad(
                f"its body ends at {last}, not before the loop around it ends "
                f"({self.loops[-1][1]}); end that one with a NOP"
            )
        if len(self.loops) == LOOP_DEPTH:
            raise self.bad(f"loops nest at most {LOOP_DEPTH} deep")
        self.loops.append((first, last, instruction["count"]))
        return PLAIN
