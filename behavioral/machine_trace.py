# SPDX-License-Identifier: Apache-2.0
"""What a tile program does for a sample, written out: every step with its addresses resolved.

Nothing in a program depends on data but the length of its products, so one walk through the
instructions serves all samples. The walk also finds whatever makes a program bad (docs/tile.md):
addresses outside memories, values that nothing has written, loops that never come back.
"""

import numpy as np
from numpy.typing import NDArray

from ..arch.formats import MANTISSA_BITS, MAX_SHIFT
from ..arch.isa import VECTOR_ELEMENTS, Instruction, Opcode, Reg, Source, VecOp
from .core import MvmConfig
from .machine_memory import members, runs_of
from .machine_steps import Control, Kind, Trace, budget_registers
from .machine_walk import NO_TABLE, NO_TAP, Step, Walk, step
from .program import TileProgram

__all__ = ["trace_pass"]


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
    return _Tracer(program, start, first).run()


class _Tracer(Walk):
    """A walk that also follows what each instruction does with data."""

    def __init__(self, program: TileProgram, start: Control, first: bool) -> None:
        super().__init__(program, start, first)
        self.needs: dict[int, int] = {}
        self.made: set[int] = set()
        self.elements = 0  # vector accumulators this pass has written, a bit each
        self.rows = [0] * self.chip.cores  # likewise words of row registers
        self.zeros: dict[tuple[int, int], int] = {}
        """ZERO that words of row registers were loaded with in this pass, by core and word."""
        self.loader: tuple[int, int] | None = None  # cores and end of the last LOAD
        self.configs: dict[MvmConfig, int] = {}
        self.known: dict[tuple[int, ...], int] = {}  # configs by fields and registers
        self.checked: set[tuple[int, int]] = set()
        self.output_used = program.output_used
        self.does |= {
            Opcode.LOAD: self.load,
            Opcode.VEC: self.vector,
            Opcode.RECV: self.receive,
            Opcode.SEND: self.send,
            Opcode.MVM: self.product,
            Opcode.REQ: self.requantize,
        }

    def run(self) -> Trace:
        steps = self.walk()
        return Trace(
            steps=steps,
            configs=tuple(self.configs),
            start=self.start,
            end=Control(
                self.pc, tuple(self.loops), tuple(self.registers), tuple(self.sums), self.free
            ),
            uses=(frozenset(self.used_registers), frozenset(self.used_sums)),
            sets=(frozenset(self.set_registers), frozenset(self.set_sums)),
            needs=self.all_needs(),
            makes=self.all_made(),
        )

    def all_needs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        where, at = self.memory.needs()
        places = np.fromiter(self.needs.keys(), dtype=np.int64)
        instructions = np.fromiter(self.needs.values(), dtype=np.int64)
        return np.concatenate([where, places]), np.concatenate([at, instructions])

    def all_made(self) -> NDArray[np.int64]:
        made = set(self.made)
        made |= {self.places.elements + e for e in members(self.elements)}
        for core, words in enumerate(self.rows):
            made |= {self.places.row_word(core, w) for w in members(words)}
        return np.concatenate([self.memory.made(), np.fromiter(sorted(made), dtype=np.int64)])

    # Helpers of instructions

    def need(self, place: int) -> None:
        if place not in self.made:
            self.needs.setdefault(place, self.pc)

    def cores(self, instruction: Instruction) -> int:
        mask = instruction["cores"]
        if not mask:
            raise self.bad("it names no core")
        if mask & ~self.all_cores:
            unused = next(members(mask & ~self.all_cores))
            raise self.bad(
                f"core {unused} has no array; those that have are {list(members(self.all_cores))}"
            )
        return mask

    def address(self, instruction: Instruction, name: str, count: int, step: int) -> int:
        """Byte address of so many bytes in a row, and the register stepped if wanted."""
        reg = instruction[name]
        value = self.register(reg)
        self.check_range(value, count)
        if instruction[f"{name}_step"]:
            self.change(reg, value + step)
        return value

    def check_range(self, first: int, count: int) -> None:
        if not 0 <= first <= self.places.data - count:
            raise self.bad(
                f"it touches data bytes {first} to {first + count - 1}, the last is "
                f"{self.places.data - 1}"
            )

    def word_address(self, instruction: Instruction, count: int) -> int:
        value = self.address(instruction, "addr", count, count)
        if value % 8:
            raise self.bad(f"it moves whole words, byte {value} is not the first of one")
        return value

    def read(self, where: slice | NDArray[np.intp]) -> None:
        """Note a read that does not wait for the vector unit."""
        late = self.memory.read(where, self.pc)
        if late is not None:
            raise self.bad(
                f"it reads data byte {late}, which a REQ before it stores without a wait for the "
                f"vector unit between them; put a SYNC there"
            )

    def gather(self, instruction: Instruction) -> dict[str, int]:
        """The runs that LOAD and VEC read, and how long they take."""
        count, runs = instruction["bytes"], instruction["repeats"] + 1
        pitch = self.register(Reg.PITCH) if runs > 1 else 0
        reg = instruction["addr"]
        start = self.register(reg)
        offsets = runs_of(count, runs, pitch)
        # Runs lie in a line: if all of them are in memory, the first and the last are.
        self.check_range(start, count)
        if runs > 1:
            self.check_range(start + (runs - 1) * pitch, count)
        self.read(slice(start, start + count) if runs == 1 else offsets.bytes + start)
        if instruction["addr_step"]:
            self.change(reg, start + count)
        return {
            "source": start,
            "count": count,
            "runs": runs,
            "pitch": pitch,
            "cycles": offsets.words[start % 8] + 1,
        }

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

    def load(self, instruction: Instruction) -> Step:
        mask = self.cores(instruction)
        row, host = instruction["row"], instruction["source"] == Source.HOST
        size, repeats = instruction["bytes"], instruction["repeats"]
        total = size * (repeats + 1)
        if not 1 <= total <= self.chip.input_rows - row:
            raise self.bad(
                f"it loads {total} bytes from row {row} on, an array has {self.chip.input_rows} "
                "rows"
            )
        if host and repeats:
            raise self.bad("bytes from the host come in one run; set repeats to 0")
        if row % 8 and self.loader != (mask, row):
            raise self.bad(
                f"it goes on at row {row}, inside a word, where no LOAD of the same cores has "
                f"ended just before"
            )
        self.loader = (mask, row + total)
        keep = self.keeps()
        words = 0
        for word in range(row // 8, -(-(row + total) // 8)):
            words |= 1 << word
        for core in members(mask):
            if row or keep:
                self.need(self.places.sums + core)
            self.made.add(self.places.sums + core)
            self.rows[core] |= words
            if self.chip.input_code.has_zero:
                zero = self.register(Reg.ZERO)
                self.zeros |= {(core, word): zero for word in members(words)}
        if host:
            count = -(-size // 8)
            start = 8 * self.take(count)
            return step(
                Kind.LOAD_HOST,
                mask,
                cycles=count + 1,
                source=start,
                place=row,
                count=size,
                mode=keep,
            )
        return step(Kind.LOAD, mask, place=row, mode=keep, **self.gather(instruction))

    def vector(self, instruction: Instruction) -> Step:
        element, op = instruction["element"], VecOp(instruction["op"])
        size = instruction["bytes"] * (instruction["repeats"] + 1)
        total = -(-size // op.width)
        if not 1 <= total <= VECTOR_ELEMENTS - element:
            raise self.bad(
                f"it combines {size} bytes with vector accumulators {element} and up, the last "
                f"is {VECTOR_ELEMENTS - 1}"
            )
        if op.width > 1:
            self.check_words(instruction)
        self.loader = None
        touched = ((1 << total) - 1) << element
        if op not in (VecOp.PUT, VecOp.PUT32):
            self.need_elements(touched)
        self.elements |= touched
        return step(
            Kind.VEC,
            place=element,
            mode=op,
            scale=self.register(Reg.SCALE),
            offset=self.register(Reg.OFFSET),
            **self.gather(instruction),
        )

    def check_words(self, instruction: Instruction) -> None:
        """What 32-bit operands, two a word of memory, ask of a VEC."""
        several = instruction["repeats"] > 0
        unit = 8 if several else 4
        for what, value, divisor in (
            ("a vector accumulator", instruction["element"], 2),
            ("an address", self.register(instruction["addr"]), 8),
            ("a run of bytes", instruction["bytes"], unit),
            ("a pitch", self.register(Reg.PITCH) if several else 0, 8),
        ):
            if value % divisor:
                raise self.bad(
                    f"it takes 32-bit words from {what} of {value}, which must be a multiple of "
                    f"{divisor}"
                )

    def need_elements(self, touched: int) -> None:
        for element in members(touched & ~self.elements):
            self.needs.setdefault(self.places.elements + element, self.pc)

    def receive(self, instruction: Instruction) -> Step:
        words = self.words(instruction)
        start = self.take(words)
        address = self.word_address(instruction, 8 * words)
        self.memory.settle()
        self.memory.write(address, 8 * words, stored=False)
        return step(
            Kind.RECV, waits=1, cycles=words, source=8 * start, place=address, count=8 * words
        )

    def send(self, instruction: Instruction) -> Step:
        words = self.words(instruction)
        address = self.word_address(instruction, 8 * words)
        start = self.put(words)
        self.memory.settle()
        # Bytes that belong to no tensor may hold anything.
        used = np.flatnonzero(self.output_used[8 * start : 8 * (start + words)])
        if used.size:
            self.read(used + address)
        return step(
            Kind.SEND, waits=1, cycles=words, source=address, place=8 * start, count=8 * words
        )

    def words(self, instruction: Instruction) -> int:
        words = instruction["words"]
        if words < 1:
            raise self.bad("it moves no word")
        return words

    def product(self, instruction: Instruction) -> Step:
        mask = self.cores(instruction)
        rows, beats = instruction["rows"], instruction["beats"]
        # Without budgets, ROWS_PER_READ is the one that there is.
        budgets = budget_registers(self.chip) or (Reg.ROWS_PER_READ,)
        registers = (Reg.SCHEDULE, Reg.PLANES, Reg.ZERO, *budgets)
        key = (rows, beats, *(self.register(reg) for reg in registers))
        if key not in self.known:
            config = self.config(*key)
            self.known[key] = self.configs.setdefault(config, len(self.configs))
        wanted = (1 << -(-rows // 8)) - 1
        turn, keep, words = (
            instruction["array"],
            self.keeps(),
            beats * self.chip.words_per_beat // self.chip.beats_per_word,
        )
        for core in members(mask):
            self.check_zero(core, wanted)
            self.check_array(core, turn)
            for word in members(wanted & ~self.rows[core]):
                self.needs.setdefault(self.places.row_word(core, word), self.pc)
            if keep:
                self.goes_on(core, words)
            self.made.add(self.places.accumulators + core)
            self.sums[core] = words
            self.set_sums.add(core)
        return step(Kind.MVM, mask, mode=self.known[key], place=turn, source=keep)

    def keeps(self) -> int:
        """Register KEEP, which cores with one array do not have."""
        return self.register(Reg.KEEP) if self.chip.arrays_per_core > 1 else 0

    def check_array(self, core: int, turn: int) -> None:
        if self.chip.array_number(core, turn) in self.in_use and turn < self.chip.arrays_per_core:
            return
        own = [s.array for s in self.program.arrays if s.core == core]
        raise self.bad(f"core {core} has no array {turn}; those that hold cells are {own}")

    def goes_on(self, core: int, words: int) -> None:
        """A product adds to the sums of a core."""
        self.need(self.places.accumulators + core)
        if core not in self.set_sums:
            self.used_sums.add(core)
        if self.sums[core] != words:
            raise self.bad(
                f"it adds {words} accumulator words to those of core {core}, which hold "
                f"{self.sums[core]}"
            )

    def check_zero(self, core: int, words: int) -> None:
        """Refuse rows that were not loaded with the ZERO that the product is told."""
        if not self.chip.input_code.has_zero:
            return
        zero = self.register(Reg.ZERO)
        for word in members(words):
            loaded = self.zeros.get((core, word))
            if loaded != zero:
                was = "not loaded for this sample" if loaded is None else f"loaded with {loaded}"
                raise self.bad(
                    f"register ZERO is {zero}, rows {8 * word} and up of core {core} were {was}; "
                    f"set ZERO before LOAD and leave it until MVM"
                )

    def config(
        self, rows: int, beats: int, zero_skip: int, planes: int, zero: int, *most: int
    ) -> MvmConfig:
        """What the products of an MVM have in common, all of it checked."""
        chip = self.chip
        for what, value, low, high in (
            ("rows", rows, 1, chip.input_rows),
            ("beats", beats, 1, chip.beats),
            ("register SCHEDULE", zero_skip, 0, int(not chip.cell_code.complement_rows)),
            ("register PLANES", planes, 1, chip.passes),
            ("register ROWS_PER_READ", most[0], 1, chip.input_rows),
        ):
            if not low <= value <= high:
                raise self.bad(f"{what} must be {low} to {high}, not {value}")
        if beats % chip.beats_per_word:
            raise self.bad(f"beats must be a multiple of {chip.beats_per_word}, not {beats}")
        return MvmConfig.of(
            chip,
            rows=rows,
            beats=beats,
            rows_per_read=most[0],
            budgets=most if chip.row_budgets else (),
            zero_skip=bool(zero_skip),
            planes=planes,
            zero=zero,
        )

    def requantize(self, instruction: Instruction) -> Step:
        chip = self.chip
        outputs, lanes = instruction["outputs"], chip.outputs_per_beat
        if outputs < 1:
            raise self.bad("it drains no accumulator")
        beats = -(-outputs // lanes)
        mask = self.sources(instruction, outputs, beats)
        quant = self.register(Reg.QUANT)
        if not quant >> 8 & 0xFF <= quant >> 16 & 0xFF:
            raise self.bad(
                f"register QUANT has a lowest code {quant >> 8 & 0xFF} above {quant >> 16 & 0xFF}"
            )
        table = instruction["table"] if instruction["table_on"] else NO_TABLE
        if table >= chip.tables:
            raise self.bad(f"it names table {table}, the last is {chip.tables - 1}")
        param = self.parameters(instruction, beats)
        address = self.address(instruction, "dest", outputs, outputs)
        self.memory.write(address, outputs, stored=True)
        tap, interval = NO_TAP, 1
        if instruction["tap"]:
            interval = -(-lanes // 2)
            tap = 8 * self.put(beats * interval)
            slots = self.output_used[tap : tap + 8 * beats * interval].reshape(beats, -1, 4)
            sums = slots[:, :lanes].any(axis=2).reshape(-1)
            if sums[outputs:].any() or slots[:, lanes:].any():
                raise self.bad(f"an output tensor holds a sum that it sends behind its {outputs}")
        return step(
            Kind.REQ,
            mask,
            cycles=1 + beats * interval,
            issue=1 + (beats - 1) * interval,
            source=param * lanes,
            place=address,
            count=outputs,
            runs=beats,
            mode=instruction["same_param"] | instruction["vector"] << 1,
            quant=quant & 0xFFFFFF,
            table=table,
            tap=tap,
        )

    def sources(self, instruction: Instruction, outputs: int, beats: int) -> int:
        """The cores that REQ drains; none are needed with the vector accumulators."""
        if instruction["vector"]:
            if instruction["cores"] & 1:
                raise self.bad(
                    "it drains the vector accumulators, which take the place of core 0; leave that "
                    "core out"
                )
            if outputs > VECTOR_ELEMENTS:
                raise self.bad(f"it drains {outputs} of {VECTOR_ELEMENTS} vector accumulators")
            self.need_elements((1 << outputs) - 1)
            if not instruction["cores"]:
                return 0
        mask = self.cores(instruction)
        for core in members(mask):
            if core not in self.set_sums:
                self.used_sums.add(core)
            if beats > self.sums[core]:
                raise self.bad(
                    f"it drains {beats} accumulator words, the last product of core {core} made "
                    f"{self.sums[core]}"
                )
            self.need(self.places.accumulators + core)
            self.need(self.places.sums + core)
        return mask

    def parameters(self, instruction: Instruction, beats: int) -> int:
        """The first group of parameters of REQ, all of them checked."""
        lanes = self.chip.outputs_per_beat
        groups = 1 if instruction["same_param"] else beats
        reg = instruction["param"]
        if reg == instruction["dest"] and instruction["param_step"] and instruction["dest_step"]:
            raise self.bad(f"it steps A{reg} twice; give dest and param registers of their own")
        param = self.register(reg)
        limit = len(self.program.params) // lanes
        if param + groups > limit:
            raise self.bad(
                f"it touches groups of {lanes} parameters {param} to {param + groups - 1}, the "
                f"last is {limit - 1}"
            )
        if instruction["param_step"]:
            self.change(reg, param + groups)
        if (param, groups) not in self.checked:
            self.checked.add((param, groups))
            params = self.program.params[param * lanes : (param + groups) * lanes]
            mantissa = params >> np.uint64(32) & np.uint64(0xFFFFFF)
            wrong = (mantissa != 0) & (mantissa >> np.uint64(MANTISSA_BITS - 1) == 0)
            if np.any(wrong) or np.any(params >> np.uint64(56) > MAX_SHIFT):
                raise self.bad(
                    f"parameters from group {param} on hold a mantissa or shift out of range"
                )
        return param
