# SPDX-License-Identifier: Apache-2.0
"""The core that learns: it runs a program for every sample, on its memory and its arrays.

``arch/learning.py`` has the messages that load and run it, ``docs/learning.md`` the instructions
and what they take.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from ...arch.learning import FAULT_TAG, DONE_TAG, MAX_INSTRUCTIONS, MAX_SETTINGS, LearnChip, LearnKind
from ...arch.learning_isa import (
    ADDRESS_BITS,
    REGISTERS,
    TABLE_ENTRIES,
    TABLES,
    Flag,
    LearnOp,
)
from .alu import WORD_BITS, Divider, VectorAlu
from .macro import (
    BEAT_BITS,
    CODE_BITS,
    LearnMacro,
    beats_for,
    check_learn_chip,
)
from .plan import INSTRUCTION, SETTING, Planner, Sink, flagged, plan_layout
from .pulses import PulseSink
from .reader import OperandReader
from .trains import PulseGenerator

__all__ = ["LearningCore"]

_LINK_BITS = 64
_PC_BITS = 9
_MAX_TRIES = 31


class _State(enum.Enum, shape=5):
    HEADER = 0
    LOAD = 1
    SAMPLE = 2
    FETCH = 3
    SECOND = 4
    DECODE = 5
    PREPARE = 6
    PLAN = 7
    STREAM = 8
    COUNT = 9
    COMMAND = 10
    CODES = 11
    START = 12
    GENERATE = 13
    TAKE = 14
    RELAX = 15
    RELAXED = 16
    REMAINDER = 17
    NEXT = 18
    LOOK = 19
    GIVE = 20
    DONE = 21


_VECTORS = (
    *(LearnOp.OUT, LearnOp.VEC, LearnOp.TABLE, LearnOp.REDUCE, LearnOp.NORM, LearnOp.DIV),
    *(LearnOp.HOT, LearnOp.READ, LearnOp.UPDATE, LearnOp.WRITE, LearnOp.FEED, LearnOp.DENSE),
    *(LearnOp.OUTER, LearnOp.APPLY, LearnOp.LOADR, LearnOp.PICK),
)
_ARRAYS = (LearnOp.READ, LearnOp.UPDATE, LearnOp.WRITE, LearnOp.APPLY, LearnOp.RELAX)


class LearningCore(wiring.Component):
    """A sequencer, a vector memory, an ALU and a generator of pulses, around a macro.

    An instruction takes eight cycles and one for every element, and what ``docs/learning.md`` lists.
    What an instruction may address is checked when it is loaded by the host; what a register adds
    to that is checked here: the run then ends at once with a word that says so.

    Parameters
    ----------
    chip : LearnChip

    Members
    -------
    i : In(stream of 64)
        Messages, and the words of samples.
    o : Out(stream of 64)
        Words of OUT, of what was asked for, and one at the end of every run.

    Raises
    ------
    TypeError, ValueError
        As :func:`~.macro.check_learn_chip`.
    """

    def __init__(self, *, chip: LearnChip) -> None:
        self._chip = check_learn_chip(chip)
        super().__init__(
            {"i": In(stream.Signature(_LINK_BITS)), "o": Out(stream.Signature(_LINK_BITS))}
        )
        self._state = Signal(_State)
        self._kind = Signal(8)
        self._count = Signal(24)
        self._at = Signal(32)  # address of a message; where a result goes
        self._total = Signal(24)  # samples of a run
        self._samples = Signal(24)  # that are left
        self._pc = Signal(_PC_BITS)
        self._instruction = Signal(INSTRUCTION)
        self._plan = Signal(plan_layout())
        self._array = Signal(32)
        self._second_pass = Signal()
        self._tries = Signal(5)
        self._faulty = Signal()
        self._finished = Signal()  # strobe: the last result has found its place

    @property
    def chip(self) -> LearnChip:
        return self._chip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._build(m)
        self._connect_stores(m)
        self._load(m)
        self._execute(m)
        self._prepare(m)
        self._read_array(m)
        self._sink(m)
        self._give(m)
        return m

    def _build(self, m: Module) -> None:
        chip = self._chip
        m.submodules.words = self._words = memory.Memory(
            shape=signed(WORD_BITS), depth=chip.memory, init=[]
        )
        m.submodules.program = self._program = memory.Memory(
            shape=_LINK_BITS, depth=2 * MAX_INSTRUCTIONS, init=[]
        )
        m.submodules.tables = self._tables = memory.Memory(
            shape=signed(16), depth=TABLES * TABLE_ENTRIES, init=[]
        )
        m.submodules.settings = self._settings = memory.Memory(
            shape=SETTING.size, depth=MAX_SETTINGS, init=[]
        )
        m.submodules.registers = self._registers = memory.Memory(
            shape=signed(WORD_BITS), depth=REGISTERS, init=[]
        )
        m.submodules.reader = self._reader = OperandReader()
        m.submodules.alu = self._alu = VectorAlu()
        m.submodules.divider = self._divider = Divider()
        m.submodules.planner = self._planner = Planner()
        m.submodules.generator = self._generator = PulseGenerator(chip=chip)
        m.submodules.pulses = self._pulses = PulseSink(chip=chip)
        m.submodules.macro = self._macro = LearnMacro(chip=chip)
        connect(m, self._reader.o, self._alu.i)

    def _connect_stores(self, m: Module) -> None:
        """Ports of the memories, and what they are asked for while nobody else asks."""
        reader, ins = self._reader, self._instruction
        first, second = self._words.read_port(), self._words.read_port()
        self._store = self._words.write_port()
        looking = self._state == _State.LOOK
        m.d.comb += [
            first.en.eq(reader.enable | looking),
            first.addr.eq(Mux(looking, self._at, reader.first)),
            second.en.eq(reader.enable),
            second.addr.eq(reader.second),
            reader.first_word.eq(first.data),
            reader.second_word.eq(second.data),
            self._store.addr.eq(self._at),
            self._store.data.eq(self.i.payload),
        ]
        self._seen = first.data
        ports = [self._registers.read_port(domain="comb") for _ in range(3)]
        self._set = self._registers.write_port()
        m.d.comb += [
            ports[0].addr.eq(Mux(self._state == _State.GIVE, self._at, ins.reg)),
            ports[1].addr.eq(ins.bits),
            ports[2].addr.eq(ins.k),
            self._set.addr.eq(ins.reg),
        ]
        self._register, self._turn, self._base = (port.data for port in ports)
        planner = self._planner
        setting = self._settings.read_port()
        m.d.comb += [
            setting.addr.eq(ins.m),
            planner.instruction.eq(ins),
            planner.register.eq(self._register),
            planner.second_pass.eq(self._second_pass),
            planner.tries.eq(self._tries),
            planner.setting.eq(setting.data),
            planner.columns_at.eq(self._chip.rows),
        ]
        found = data.View(SETTING, setting.data)
        m.d.comb += [
            self._generator.settings.slots.eq(found.slots),
            self._generator.settings.mode.eq(found.mode),
            self._generator.settings.period.eq(found.period),
            self._generator.settings.array.eq(self._array),
            self._generator.settings.invert.eq(flagged(ins, Flag.INVERT)),
        ]

    def _write_register(self, m: Module, value: Value, number: Value | None = None) -> None:
        """Set a register, saturated; register 0 keeps its 0."""
        low, high = -(1 << (WORD_BITS - 1)), (1 << (WORD_BITS - 1)) - 1
        which = self._instruction.reg if number is None else number
        m.d.comb += [
            self._set.addr.eq(which),
            self._set.en.eq(which != 0),
            self._set.data.eq(Mux(value < low, low, Mux(value > high, high, value))),
        ]

    def _load(self, m: Module) -> None:
        """Messages."""
        word = self.i.payload
        kind, count = self._kind, self._count
        program, tables = self._program.write_port(), self._tables.write_port()
        settings = self._settings.write_port()
        seed = self._generator.seed
        m.d.comb += [
            program.addr.eq(self._at),
            program.data.eq(word),
            tables.addr.eq(self._at),
            tables.data.eq(word),
            settings.addr.eq(self._at),
            settings.data.eq(word),
            seed.payload.line.eq(self._at),
            seed.payload.state.eq(word),
        ]
        with m.If(self._state == _State.HEADER):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += self._faulty.eq(0)
            with m.If(self.i.valid):
                m.d.sync += [kind.eq(word), count.eq(word[8:]), self._at.eq(word[32:])]
                m.d.sync += [self._total.eq(word[8:]), self._samples.eq(word[8:])]
                with m.If(word[:8] == LearnKind.RUN):
                    m.d.sync += self._state.eq(_State.SAMPLE)
                with m.Elif(word[8:32] != 0):
                    with m.Switch(word[:8]):
                        with m.Case(*range(LearnKind.PROGRAM, LearnKind.RUN)):
                            m.d.sync += self._state.eq(_State.LOAD)
                        with m.Case(*range(LearnKind.DUMP_MEMORY, LearnKind.DUMP_REGISTERS + 1)):
                            m.d.sync += self._state.eq(_State.LOOK)
        with m.If(self._state == _State.LOAD):
            m.d.comb += self.i.ready.eq(1)
            with m.If(self.i.valid):
                with m.Switch(kind):
                    with m.Case(LearnKind.PROGRAM):
                        m.d.comb += program.en.eq(1)
                    with m.Case(LearnKind.MEMORY):
                        m.d.comb += self._store.en.eq(1)
                    with m.Case(LearnKind.TABLES):
                        m.d.comb += tables.en.eq(1)
                    with m.Case(LearnKind.SETTINGS):
                        m.d.comb += settings.en.eq(1)
                    with m.Case(LearnKind.LFSR):
                        m.d.comb += seed.valid.eq(1)
                    with m.Case(LearnKind.REGISTERS):
                        self._write_register(m, word[:WORD_BITS].as_signed(), self._at[:4])
                m.d.sync += [self._at.eq(self._at + 1), count.eq(count - 1)]
                with m.If(count == 1):
                    m.d.sync += self._state.eq(_State.HEADER)

    def _execute(self, m: Module) -> None:
        """From one instruction to the next."""
        ins = self._instruction
        fetch = self._program.read_port()
        loop = Signal()
        first = Signal(_PC_BITS)
        end = Signal(_PC_BITS)
        again = Signal(12)
        m.d.comb += fetch.addr.eq(Cat(self._state == _State.SECOND, self._pc))
        with m.Switch(self._state):
            with m.Case(_State.SAMPLE):
                m.d.sync += [self._pc.eq(0), loop.eq(0), self._state.eq(_State.FETCH)]
                with m.If(self._samples == 0):
                    m.d.sync += self._state.eq(_State.DONE)
            with m.Case(_State.FETCH):
                m.d.sync += self._state.eq(_State.SECOND)
            with m.Case(_State.SECOND):
                m.d.sync += [
                    ins.as_value()[:_LINK_BITS].eq(fetch.data),
                    self._state.eq(_State.DECODE),
                ]
            with m.Case(_State.DECODE):
                m.d.sync += [
                    ins.as_value()[_LINK_BITS:].eq(fetch.data),
                    self._pc.eq(self._pc + 1),
                    self._second_pass.eq(0),
                    self._tries.eq(0),
                    self._state.eq(_State.PREPARE),
                ]
            with m.Case(_State.PREPARE):
                grown = Signal(signed(WORD_BITS + 1))
                ended = Signal()
                m.d.comb += grown.eq(self._register + 1)
                with m.Switch(ins.op):
                    with m.Case(LearnOp.END):
                        m.d.sync += [
                            self._samples.eq(self._samples - 1),
                            self._state.eq(_State.SAMPLE),
                        ]
                    with m.Case(LearnOp.LOOP):
                        m.d.sync += [
                            loop.eq(1),
                            first.eq(self._pc),
                            end.eq(self._pc + ins.k),
                            again.eq(ins.n - 1),
                            self._state.eq(_State.NEXT),
                        ]
                    with m.Case(LearnOp.EVERY):
                        m.d.comb += ended.eq((ins.reg != 0) & (grown >= ins.n))
                        self._write_register(m, Mux(ended, 0, grown))
                        with m.If(~ended):
                            m.d.sync += self._pc.eq(self._pc + ins.k)
                        m.d.sync += self._state.eq(_State.NEXT)
                    with m.Case(LearnOp.STEP):
                        m.d.comb += ended.eq(grown == ins.n)
                        m.d.sync += self._state.eq(_State.NEXT)
                        with m.If((grown < 0) | (grown > ins.n)):
                            m.d.comb += self._divider.i.valid.eq(1)
                            m.d.sync += self._state.eq(_State.REMAINDER)
                        with m.Else():
                            self._write_register(m, Mux(ended, 0, grown))
                    with m.Case(LearnOp.IN):
                        m.d.sync += [
                            self._at.eq(ins.dst),
                            self._count.eq(ins.n),
                            self._state.eq(_State.TAKE),
                        ]
                    with m.Case(LearnOp.RELAX):
                        m.d.sync += self._state.eq(_State.RELAX)
                    with m.Default():
                        m.d.sync += self._state.eq(_State.PLAN)
                with m.If(self._wrong(m)):
                    m.d.sync += [self._faulty.eq(1), self._state.eq(_State.DONE)]
            with m.Case(_State.NEXT):
                m.d.sync += self._state.eq(_State.FETCH)
                with m.If(loop & (self._pc == end)):
                    m.d.sync += again.eq(again - 1)
                    with m.If(again != 0):
                        m.d.sync += self._pc.eq(first)
                    with m.Else():
                        m.d.sync += loop.eq(0)

    def _wrong(self, m: Module) -> Value:
        """Whether a register makes an instruction leave the arrays or the memory."""
        ins, chip = self._instruction, self._chip
        array = Signal(signed(WORD_BITS + 1))
        start = Signal(signed(2 * WORD_BITS))
        wrong = Signal()
        m.d.comb += [
            array.eq(ins.array + self._turn),
            start.eq(Mux(flagged(ins, Flag.STORE), ins.dst, ins.a) + self._register * ins.n),
        ]
        m.d.sync += self._array.eq(array)
        with m.Switch(ins.op):
            with m.Case(*_ARRAYS):
                m.d.comb += wrong.eq((array < 0) | (array >= chip.arrays))
                with m.If(
                    (ins.op == LearnOp.WRITE)
                    & ((self._register < 0) | (self._register >= chip.rows))
                ):
                    m.d.comb += wrong.eq(1)
            with m.Case(LearnOp.PICK):
                m.d.comb += wrong.eq((start < 0) | (start + ins.n > chip.memory))
        return wrong

    def _prepare(self, m: Module) -> None:
        """Begin to stream, and what comes when all results are where they belong."""
        ins, plan, reader = self._instruction, self._plan, self._reader
        planning = self._state == _State.PLAN
        grown = Signal(signed(WORD_BITS + 2))
        m.d.comb += [
            reader.plan.eq(plan),
            reader.hot.eq(self._register),
            reader.feedback.eq(Cat(ins.k, ins.m, Const(0x80, 8))),
            self._alu.settings.eq(plan.alu),
            self._generator.clear.eq(
                planning & (ins.op == LearnOp.UPDATE) & ~self._second_pass
            ),
            grown.eq(self._base + self._planner.exponent),
        ]
        began = Signal()  # the cycle after
        m.d.sync += began.eq(planning)
        m.d.comb += reader.start.eq(began)
        with m.If(planning):
            m.d.sync += [
                plan.eq(self._planner.plan),
                self._at.eq(self._planner.plan.to),
                self._state.eq(_State.STREAM),
            ]
            with m.If(ins.op == LearnOp.NORM):
                self._write_register(m, grown, ins.m[:4])
        with m.If((self._state == _State.STREAM) & self._finished):
            m.d.sync += self._state.eq(_State.NEXT)
            with m.If((ins.op == LearnOp.READ) & ~self._second_pass):
                m.d.sync += self._state.eq(_State.COUNT)
            with m.If(ins.op == LearnOp.UPDATE):
                m.d.sync += [self._second_pass.eq(1), self._state.eq(_State.PLAN)]
                with m.If(self._second_pass):
                    m.d.sync += self._state.eq(_State.START)
        m.d.comb += self._generator.start.eq(self._state == _State.START)
        with m.If(self._state == _State.START):
            m.d.sync += self._state.eq(_State.GENERATE)
        with m.If((self._state == _State.GENERATE) & ~self._generator.busy):
            m.d.sync += self._state.eq(_State.NEXT)
        with m.If(self._state == _State.TAKE):
            m.d.comb += self.i.ready.eq(1)
            with m.If(self.i.valid):
                m.d.comb += self._store.en.eq(1)
                m.d.sync += [self._at.eq(self._at + 1), self._count.eq(self._count - 1)]
                with m.If(self._count == 1):
                    m.d.sync += self._state.eq(_State.NEXT)

    def _read_array(self, m: Module) -> None:
        """A read, once its inputs are driven; once more with half of them if a code saturates."""
        chip, ins, macro = self._chip, self._instruction, self._macro
        lanes = max(chip.lanes, chip.backward_lanes)
        back = flagged(ins, Flag.TRANSPOSED)
        many = Mux(back, chip.backward_lanes, chip.lanes)
        depth = max(
            beats_for(chip.cols, chip.lanes), beats_for(chip.rows, chip.backward_lanes)
        )
        m.submodules.codes = codes = memory.Memory(
            shape=lanes * CODE_BITS, depth=depth, init=[]
        )
        keep, show = codes.write_port(), codes.read_port()
        beats = Signal(BEAT_BITS)
        left = Signal(signed(ADDRESS_BITS + 1))  # outputs
        beat = Signal(BEAT_BITS)
        lane = Signal(range(max(2, lanes)))
        shown = Signal.like(lane)
        full = Signal()
        any_full = Signal()
        top = (1 << (chip.adc_bits - 1)) - 1
        for k in range(lanes):
            code = macro.codes.payload.word_select(k, CODE_BITS).as_signed()
            with m.If((k < left) & (k < many) & ((code == top) | (code == -top))):
                m.d.comb += full.eq(1)
        command = macro.cmd.payload
        m.d.comb += [
            command.array.eq(self._array),
            command.transposed.eq(back),
            command.shift.eq(ins.shift),
            command.beats.eq(beats),
            macro.cmd.valid.eq(self._state == _State.COMMAND),
            macro.codes.ready.eq(self._state == _State.CODES),
            keep.addr.eq(beat),
            keep.data.eq(macro.codes.payload),
            keep.en.eq(macro.codes.ready & macro.codes.valid),
            show.addr.eq(beat),
            show.en.eq(self._reader.enable),
            self._reader.code.eq(show.data.word_select(shown, CODE_BITS)),
        ]
        with m.If(self._reader.enable):
            m.d.sync += shown.eq(lane)
        with m.If(self._reader.next_code):
            m.d.sync += lane.eq(lane + 1)
            with m.If(lane == many - 1):
                m.d.sync += [lane.eq(0), beat.eq(beat + 1)]
        with m.Switch(self._state):
            with m.Case(_State.PLAN):
                m.d.sync += [lane.eq(0), beat.eq(0), beats.eq(0), left.eq(ins.b)]
            with m.Case(_State.COUNT):
                m.d.sync += [beats.eq(beats + 1), left.eq(left - many)]
                with m.If(left <= many):
                    m.d.sync += [
                        left.eq(ins.b),
                        beat.eq(0),
                        any_full.eq(0),
                        self._state.eq(_State.COMMAND),
                    ]
            with m.Case(_State.COMMAND), m.If(macro.cmd.ready):
                m.d.sync += self._state.eq(_State.CODES)
            with m.Case(_State.CODES), m.If(macro.codes.valid):
                m.d.sync += [
                    beat.eq(beat + 1),
                    left.eq(left - many),
                    any_full.eq(any_full | full),
                ]
                with m.If(beat == beats - 1):
                    m.d.sync += [self._second_pass.eq(1), self._state.eq(_State.PLAN)]
                    with m.If(
                        (any_full | full)
                        & flagged(ins, Flag.BOUND)
                        & (self._tries < ins.k)
                        & (self._tries != _MAX_TRIES)
                    ):
                        m.d.sync += [self._second_pass.eq(0), self._tries.eq(self._tries + 1)]

    def _sink(self, m: Module) -> None:
        """Where results go."""
        ins, plan, result, macro = self._instruction, self._plan, self._alu.o, self._macro
        given = result.payload
        divider, pulses, line = self._divider, self._pulses, self._generator.line
        table = self._tables.read_port()
        looked = Signal()  # in the table
        final = Signal()
        done = Signal()
        m.d.comb += [
            # Of DIV, unless STEP overrides it below.
            divider.i.payload.dividend.eq(given.value << ins.shift[:5]),
            divider.i.payload.divisor.eq(self._register),
            table.addr.eq(Cat(given.value[:7], ~given.value[7], ins.m[:3])),
            line.payload.line.eq(self._at),
            line.payload.probability.eq(given.value),
            line.payload.negative.eq(given.x < 0),
            macro.drive.payload.line.eq(self._at),
            macro.drive.payload.value.eq(
                (given.value[:8].as_signed() + ((Const(1, 1) << self._tries)[1:])) >> self._tries
            ),
            pulses.start.eq(self._state == _State.PLAN),
            pulses.row.eq(Mux(ins.op == LearnOp.WRITE, self._register, 0)),
            pulses.columns.eq(Mux(ins.op == LearnOp.WRITE, ins.n, ins.k)),
            pulses.array.eq(self._array),
            pulses.invert.eq(flagged(ins, Flag.INVERT)),
            pulses.whole.eq(ins.op == LearnOp.APPLY),
            pulses.shift.eq(ins.shift),
            pulses.i.payload.eq(given),
            self._finished.eq(result.valid & result.ready & given.final),
        ]
        with m.If((given.value < 0) | (self._register <= 0)):
            m.d.comb += [divider.i.payload.dividend.eq(0), divider.i.payload.divisor.eq(1)]
        m.d.sync += looked.eq(0)
        with m.If(result.valid & result.ready):
            m.d.sync += [self._at.eq(self._at + 1), final.eq(given.final)]
        with m.If(self._state == _State.STREAM), m.Switch(plan.sink):
            with m.Case(Sink.MEMORY):
                m.d.comb += [
                    result.ready.eq(1),
                    self._store.data.eq(given.value),
                    self._store.en.eq(result.valid),
                ]
            with m.Case(Sink.TABLE):
                # The address of what was looked up is one behind.
                m.d.comb += [
                    result.ready.eq(1),
                    self._store.addr.eq(self._at - 1),
                    self._store.data.eq(table.data),
                    self._store.en.eq(looked),
                    self._finished.eq(looked & final),
                ]
                m.d.sync += looked.eq(result.valid)
            with m.Case(Sink.REGISTER):
                m.d.comb += result.ready.eq(1)
                with m.If(result.valid):
                    self._write_register(m, given.value)
            with m.Case(Sink.DIVIDER):
                most = (1 << (WORD_BITS - 1)) - 1
                quotient = divider.o.payload.quotient
                m.d.comb += [
                    divider.i.valid.eq(result.valid & ~done),
                    result.ready.eq(divider.o.valid),
                    divider.o.ready.eq(1),
                    self._store.data.eq(Mux(quotient > most, most, quotient)),
                    self._store.en.eq(divider.o.valid),
                ]
                m.d.sync += done.eq((done | divider.i.ready) & result.valid & ~result.ready)
            with m.Case(Sink.OUTPUT):
                m.d.comb += result.ready.eq(self.o.ready)
            with m.Case(Sink.DRIVE):
                m.d.comb += [
                    macro.drive.valid.eq(result.valid),
                    result.ready.eq(macro.drive.ready),
                ]
            with m.Case(Sink.LINE):
                m.d.comb += [line.valid.eq(result.valid), result.ready.eq(line.ready)]
            with m.Case(Sink.PULSES):
                m.d.comb += [
                    pulses.i.valid.eq(result.valid),
                    result.ready.eq(pulses.i.ready),
                    self._store.data.eq(pulses.rest),
                    self._store.en.eq(pulses.whole & result.valid & result.ready),
                ]
        self._connect_writes(m)
        remainder = divider.o.payload.remainder
        with m.If(ins.op == LearnOp.STEP):
            grown = Signal(signed(WORD_BITS + 1))
            m.d.comb += [
                grown.eq(self._register + 1),
                divider.i.payload.dividend.eq(Mux(grown < 0, -grown, grown)),
                divider.i.payload.divisor.eq(ins.n),
            ]
        with m.If(self._state == _State.REMAINDER):
            m.d.comb += divider.o.ready.eq(1)
            with m.If(divider.o.valid):
                turned = Mux((self._register < -1) & (remainder != 0), ins.n - remainder, remainder)
                self._write_register(m, turned)
                m.d.sync += self._state.eq(_State.NEXT)

    def _connect_writes(self, m: Module) -> None:
        """The write port of the macro: pulse trains, single pulses, or time that passes."""
        macro, generator, pulses = self._macro, self._generator, self._pulses
        relaxing = self._state == _State.RELAX
        m.d.comb += [
            macro.write.payload.eq(pulses.write.payload),
            macro.write.valid.eq(pulses.write.valid),
            pulses.write.ready.eq(macro.write.ready),
            pulses.response.valid.eq(macro.response.valid),
            pulses.response.payload.eq(macro.response.payload),
            macro.response.ready.eq(pulses.response.ready),
            generator.response.payload.eq(macro.response.payload),
        ]
        with m.If(generator.busy):
            m.d.comb += [
                macro.write.payload.eq(generator.write.payload),
                macro.write.valid.eq(generator.write.valid),
                generator.write.ready.eq(macro.write.ready),
                generator.response.valid.eq(macro.response.valid),
                macro.response.ready.eq(generator.response.ready),
            ]
        with m.If(relaxing):
            m.d.comb += [
                macro.write.payload.array.eq(self._array),
                macro.write.payload.fire.eq(0),
                macro.write.payload.relax.eq(1),
                macro.write.valid.eq(1),
            ]
            with m.If(macro.write.ready):
                m.d.sync += self._state.eq(_State.RELAXED)
        with m.If(self._state == _State.RELAXED):
            m.d.comb += macro.response.ready.eq(1)
            with m.If(macro.response.valid):
                m.d.sync += self._state.eq(_State.NEXT)
        with m.If(macro.response.valid & macro.response.ready & macro.response.payload):
            m.d.sync += self._faulty.eq(1)

    def _give(self, m: Module) -> None:
        """Words out: of OUT, of what was asked for, and at the end of a run."""
        given, generator = self._alu.o, self._generator
        m.d.comb += [
            generator.look.payload.eq(self._at),
            generator.look.valid.eq(self._state == _State.LOOK),
            self.o.payload.eq(given.payload.value[:WORD_BITS]),
        ]
        with m.If((self._state == _State.STREAM) & (self._plan.sink == Sink.OUTPUT)):
            m.d.comb += self.o.valid.eq(given.valid)
        with m.If(self._state == _State.LOOK):
            m.d.sync += self._state.eq(_State.GIVE)
        with m.If(self._state == _State.GIVE):
            m.d.comb += self.o.valid.eq(1)
            with m.Switch(self._kind):
                with m.Case(LearnKind.DUMP_MEMORY):
                    m.d.comb += self.o.payload.eq(self._seen[:WORD_BITS])
                with m.Case(LearnKind.DUMP_LFSR):
                    m.d.comb += self.o.payload.eq(generator.seen)
                with m.Default():
                    m.d.comb += self.o.payload.eq(self._register[:WORD_BITS])
            with m.If(self.o.ready):
                m.d.sync += [
                    self._at.eq(self._at + 1),
                    self._count.eq(self._count - 1),
                    self._state.eq(_State.LOOK),
                ]
                with m.If(self._count == 1):
                    m.d.sync += self._state.eq(_State.HEADER)
        with m.If(self._state == _State.DONE):
            m.d.comb += [
                self.o.valid.eq(1),
                self.o.payload.eq(Cat(self._total, Const(0, 24), Const(DONE_TAG, 16))),
            ]
            with m.If(self._faulty):
                m.d.comb += self.o.payload.eq(
                    Cat(self._samples, Const(0, 8), (self._pc - 1)[:_PC_BITS], Const(0, 7),
                        Const(FAULT_TAG, 16))
                )
            with m.If(self.o.ready):
                m.d.sync += self._state.eq(_State.HEADER)
