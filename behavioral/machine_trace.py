# SPDX-License-Identifier: Apache-2.0
"""What a tile program does for a sample, written out: every step with its addresses resolved.

Nothing in a program depends on data but the length of its products, so one walk through the
instructions serves all samples. The walk also finds whatever makes a program bad (docs/tile.md):
addresses outside memories, values that nothing has written, loops that never come back.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..arch.formats import MANTISSA_BITS, MAX_SHIFT
from ..arch.isa import LOOP_DEPTH, Instruction, Opcode, Reg, Source
from ..arch.timing import CORE_TAIL
from .core import MvmConfig
from .machine_steps import (
    Control,
    Load,
    Place,
    Product,
    Receive,
    Requantize,
    Send,
    Step,
    Trace,
)
from .program import ProgramError, TileProgram

__all__ = ["STEP_LIMIT", "trace_pass"]

STEP_LIMIT = 1 << 18
"""Instructions between two samples, past which a program is taken for endless."""


def trace_pass(program: TileProgram, start: Control, *, first: bool) -> Trace:
    """Walk from one wait for input to the next.

    Parameters
    ----------
    program : TileProgram
    start : Control
        State when the SYNC at ``start.pc`` waits, or after reset.
    first : bool
        From reset to the first wait; otherwise one sample.

    Raises
    ------
    ProgramError
        Names the instruction, its index and what is wrong with it.
    """
    return _Walk(program, start, first).run()


@dataclass
class _Walk:
    program: TileProgram
    start: Control
    first: bool
    steps: list[Step] = field(default_factory=list)
    needs: dict[Place, int] = field(default_factory=dict)
    makes: set[Place] = field(default_factory=set)
    received: int = 0
    sent: int = 0
    ready: int = 0
    products: int = 0
    round: dict[int, tuple[object, ...]] = field(default_factory=dict)
    """The state in which endless loops came round last, by their last instruction."""

    def __post_init__(self) -> None:
        self.chip = self.program.chip
        self.pc = self.start.pc
        self.loops = list(self.start.loops)
        self.registers = list(self.start.registers)
        self.sums = list(self.start.sums)
        self.free = self.start.free
        self.used = frozenset(spec.core for spec in self.program.arrays)
        self.all_cores = tuple(sorted(self.used))
        self.does: dict[Opcode, Callable[[Instruction], Step]] = {
            Opcode.NOP: lambda _: self.plain(),
            Opcode.HALT: self.halt,
            Opcode.SYNC: self.sync,
            Opcode.SET: self.set,
            Opcode.ADD: self.add,
            Opcode.LOOP: self.loop,
            Opcode.LOAD: self.load,
            Opcode.RECV: self.receive,
            Opcode.SEND: self.send,
            Opcode.MVM: self.product,
            Opcode.REQ: self.requantize,
        }

    # The walk

    def run(self) -> Trace:
        waits = not self.first  # the pass begins where the SYNC that waited goes on
        while True:
            instruction = self.fetch()
            if not waits and self.is_wait(instruction):
                break
            waits = False
            self.steps.append(self.does[instruction.op](instruction))
            self.advance()
            if len(self.steps) > STEP_LIMIT:
                raise self.bad(f"more than {STEP_LIMIT} instructions pass without a wait for input")
        self.steps.append(Step(self.pc, self.all_cores, True))
        missing = self.program.output_words - self.sent
        if missing and not self.first:
            raise self.bad(
                f"{self.sent} words are sent before it for a sample whose outputs take "
                f"{self.program.output_words}"
            )
        end = Control(
            self.pc, tuple(self.loops), tuple(self.registers), tuple(self.sums), self.free
        )
        return Trace(tuple(self.steps), end, self.needs, frozenset(self.makes))

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

    def need(self, place: Place) -> None:
        if place not in self.makes:
            self.needs.setdefault(place, self.pc)

    def cores(self, instruction: Instruction) -> tuple[int, ...]:
        mask = instruction["cores"]
        cores = tuple(c for c in range(mask.bit_length()) if mask >> c & 1)
        unused = [c for c in cores if c not in self.used]
        if not cores:
            raise self.bad("it names no core")
        if unused:
            raise self.bad(f"core {unused[0]} has no array; those that have are {self.all_cores}")
        return cores

    def register(self, reg: int) -> int:
        value = self.registers[reg]
        if value is None:
            raise self.bad(f"nothing has set register {Reg(reg).name}")
        return value

    def address(
        self, instruction: Instruction, name: str, words: int, limit: int, where: str
    ) -> int:
        """The address in a register, stepped past ``words`` if the instruction says so."""
        reg = instruction[name]
        value = self.register(reg)
        if value < 0 or value + words > limit:
            raise self.bad(
                f"it touches {where} {value} to {value + words - 1}, the last is {limit - 1}"
            )
        if instruction[f"{name}_step"]:
            self.registers[reg] = value + words
        return value

    def data(self, instruction: Instruction, name: str, words: int) -> int:
        return self.address(instruction, name, words, self.chip.data_words, "data words")

    def take(self, words: int) -> int:
        """Words from the input FIFO; the first one's number in the sample."""
        if words > self.ready:
            raise self.bad(
                f"it takes {words} input words where the SYNC before it leaves {self.ready}"
            )
        self.ready -= words
        self.received += words
        return self.received - words

    def put(self, words: int) -> int:
        """Words to the output FIFO; the first one's number in the sample."""
        if words > self.free:
            raise self.bad(
                f"it sends {words} words where the SYNC before it leaves room for {self.free}"
            )
        if self.sent + words > self.program.output_words or self.first:
            room = 0 if self.first else self.program.output_words - self.sent
            raise self.bad(f"it sends {words} words where a sample's outputs have {room} left")
        self.free -= words
        self.sent += words
        return self.sent - words

    # Instructions

    def plain(self) -> Step:
        return Step(self.pc)

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
        return Step(self.pc, self.all_cores, True)

    def set(self, instruction: Instruction) -> Step:
        reg = instruction["reg"]
        self.registers[reg] = instruction["value"]
        return Step(self.pc, waits_vector=reg == Reg.QUANT)

    def add(self, instruction: Instruction) -> Step:
        reg = instruction["reg"]
        if reg >= Reg.SCHEDULE:
            raise self.bad("ADD is for address registers A0 to A7; use SET")
        self.registers[reg] = self.register(reg) + instruction["value"]
        return self.plain()

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
        return self.plain()

    def load(self, instruction: Instruction) -> Step:
        cores = self.cores(instruction)
        count, word = instruction["bytes"], instruction["row_word"]
        host = instruction["source"] == Source.HOST
        if not 1 <= count <= self.chip.rows - 8 * word:
            raise self.bad(
                f"it loads {count} bytes from row {8 * word} on, an array has {self.chip.rows} rows"
            )
        words = -(-count // 8)
        if host:
            start = self.take(words)
        else:
            start = self.data(instruction, "addr", words)
            for w in range(start, start + words):
                self.need(("data", 0, w))
        for core in cores:
            if word:
                self.need(("sum", core, 0))
            self.makes.add(("sum", core, 0))
            self.makes.update(("rows", core, w) for w in range(word, word + words))
        return Load(
            self.pc, cores, not host, words, host=host, start=8 * start, row=8 * word, count=count
        )

    def receive(self, instruction: Instruction) -> Step:
        words = self.words(instruction)
        start = self.take(words)
        address = self.data(instruction, "addr", words)
        self.makes.update(("data", 0, w) for w in range(address, address + words))
        return Receive(self.pc, (), True, words, start=start, address=address, words=words)

    def send(self, instruction: Instruction) -> Step:
        words = self.words(instruction)
        address = self.data(instruction, "addr", words)
        for w in range(address, address + words):
            self.need(("data", 0, w))
        start = self.put(words)
        return Send(self.pc, (), True, words, start=start, address=address, words=words)

    def words(self, instruction: Instruction) -> int:
        words = instruction["words"]
        if words < 1:
            raise self.bad("it moves no word")
        return words

    def product(self, instruction: Instruction) -> Step:
        chip = self.chip
        cores = self.cores(instruction)
        rows, beats = instruction["rows"], instruction["beats"]
        zero_skip = self.register(Reg.SCHEDULE)
        planes, most = self.register(Reg.PLANES), self.register(Reg.ROWS_PER_READ)
        for what, value, low, high in (
            ("rows", rows, 1, chip.rows),
            ("beats", beats, 1, chip.beats),
            ("register SCHEDULE", zero_skip, 0, 1),
            ("register PLANES", planes, 1, 8),
            ("register ROWS_PER_READ", most, 1, chip.rows),
        ):
            if not low <= value <= high:
                raise self.bad(f"{what} must be {low} to {high}, not {value}")
        if beats % chip.beats_per_word:
            raise self.bad(f"beats must be a multiple of {chip.beats_per_word}, not {beats}")
        config = MvmConfig(
            rows_used=rows,
            outputs=beats * chip.lanes // chip.slices,
            rows_per_read=most,
            zero_skip=bool(zero_skip),
            group=chip.planner_group,
            slices=chip.slices,
            cell_bits=chip.cell_bits,
            beats=beats,
            planes=planes,
            tail=CORE_TAIL,
        )
        for core in cores:
            for w in range(-(-rows // 8)):
                self.need(("rows", core, w))
            self.makes.add(("acc", core, 0))
            self.sums[core] = beats // chip.beats_per_word
        number, self.products = self.products, self.products + len(cores)
        return Product(self.pc, cores, config=config, number=number)

    def requantize(self, instruction: Instruction) -> Step:
        chip = self.chip
        cores = self.cores(instruction)
        beats, lanes = instruction["beats"], chip.outputs_per_beat
        if beats < 1:
            raise self.bad("it drains no accumulator word")
        for core in cores:
            if beats > self.sums[core]:
                raise self.bad(
                    f"it drains {beats} accumulator words, the last product of core {core} made "
                    f"{self.sums[core]}"
                )
            self.need(("acc", core, 0))
            self.need(("sum", core, 0))
        quant = self.register(Reg.QUANT)
        codes = (quant & 0xFF, quant >> 8 & 0xFF, quant >> 16 & 0xFF)
        if not codes[1] <= codes[2]:
            raise self.bad(f"register QUANT has a lowest code {codes[1]} above {codes[2]}")
        groups = len(self.program.params) // lanes
        param = self.address(instruction, "param", beats, groups, f"groups of {lanes} parameters")
        words = -(-beats * lanes // 8)
        address = self.data(instruction, "dest", words)
        self.makes.update(("data", 0, w) for w in range(address, address + words))
        params = self.program.params[param * lanes : (param + beats) * lanes]
        mantissa = (params >> np.uint64(32) & np.uint64(0xFFFFFF)).astype(np.uint32)
        shift = (params >> np.uint64(56)).astype(np.uint8)
        used = mantissa != 0
        if np.any(used & (mantissa >> (MANTISSA_BITS - 1) == 0)) or np.any(shift > MAX_SHIFT):
            raise self.bad(
                f"parameters from group {param} on hold a mantissa or shift out of range"
            )
        tap_words = -(-lanes // 2)
        tap = self.put(beats * tap_words) if instruction["tap"] else None
        interval = tap_words if instruction["tap"] else 1
        return Requantize(
            self.pc,
            cores,
            cycles=1 + beats * interval,
            address=address,
            words=words,
            beats=beats,
            last_issue=1 + (beats - 1) * interval,
            bias=(params & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.int32),
            mantissa=mantissa,
            shift=shift,
            used=used,
            quant=codes,
            table=instruction["table"] if instruction["table_on"] else None,
            tap=tap,
        )
