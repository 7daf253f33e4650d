# SPDX-License-Identifier: Apache-2.0
"""The core that learns: it runs a program for every sample, on its memory and its arrays.

``arch/learning.py`` has the messages that load and run it, ``docs/learning.md`` the instructions
and what they take.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ...arch.learning import (
    DONE_TAG,
    FAULT_TAG,
    MAX_INSTRUCTIONS,
    MAX_SETTINGS,
    LearnChip,
    LearnKind,
)
from ...arch.learning_isa import ADDRESS_BITS, REGISTERS, TABLE_ENTRIES, TABLES, Flag, LearnOp
from .alu import WORD_BITS, Divider, VectorAlu
from .codes import CodeBuffer
from .link import LINK_BITS, SAMPLE_BITS, CoreLink
from .macro import ARRAY_BITS, LearnMacro, check_learn_chip
from .plan import INSTRUCTION, SETTING, Planner, flagged, plan_layout
from .pulses import PulseSink
from .reader import OperandReader
from .sink import ResultSink
from .trains import PulseGenerator

__all__ = ["LearningCore"]

_PC_BITS = 9


class _State(enum.Enum, shape=5):
    IDLE = 0
    SAMPLE = 1
    FETCH = 2
    SECOND = 3
    DECODE = 4
    PREPARE = 5
    PLAN = 6
    STREAM = 7
    READ = 8
    START = 9
    GENERATE = 10
    TAKE = 11
    RELAX = 12
    RELAXED = 13
    NEXT = 14
    DONE = 15
    REMAINDER = 16


class LearningCore(wiring.Component):
    """A sequencer, a vector memory, an ALU and a generator of pulses, around a macro.

    ``docs/learning.md`` has the cycles that every instruction takes. What one may address is
    checked before it is loaded; what a register adds to that is checked here: the run then ends at
    once with a word that says so.

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
            {"i": In(stream.Signature(LINK_BITS)), "o": Out(stream.Signature(LINK_BITS))}
        )
        self._state = Signal(_State)
        self._count = Signal(12)  # words to take
        self._at = Signal(ADDRESS_BITS)  # where they go
        self._samples = Signal(SAMPLE_BITS)  # that are left
        self._pc = Signal(_PC_BITS)
        self._instruction = Signal(INSTRUCTION)
        self._plan = Signal(plan_layout())
        self._array = Signal(ARRAY_BITS)
        self._second_pass = Signal()
        self._tries = Signal(5)
        self._faulty = Signal()
        self._finished = Signal()  # strobe: the last result has found its place
        self._divides = Signal()  # strobe: STEP does

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._build(m)
        self._connect_stores(m)
        self._load(m)
        self._execute(m)
        self._prepare(m)
        self._read_array(m)
        self._sink_results(m)
        self._connect_writes(m)
        return m

    def _build(self, m: Module) -> None:
        chip = self._chip
        m.submodules.words = self._words = memory.Memory(
            shape=signed(WORD_BITS), depth=chip.memory, init=[]
        )
        m.submodules.program = self._program = memory.Memory(
            shape=LINK_BITS, depth=2 * MAX_INSTRUCTIONS, init=[]
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
        m.submodules.planner = self._planner = Planner(chip=chip)
        m.submodules.generator = self._generator = PulseGenerator(chip=chip)
        m.submodules.pulses = self._pulses = PulseSink(chip=chip)
        m.submodules.link = self._link = CoreLink()
        m.submodules.codes = self._codes = CodeBuffer(chip=chip)
        m.submodules.sink = self._sink = ResultSink()
        m.submodules.macro = self._macro = LearnMacro(chip=chip)
        connect(m, flipped(self.i), self._link.i)
        connect(m, self._link.o, flipped(self.o))
        connect(m, self._sink.o, self._link.results)
        connect(m, self._reader.o, self._alu.i)
        connect(m, self._alu.o, self._sink.i)
        connect(m, self._sink.drive, self._macro.drive)
        connect(m, self._sink.line, self._generator.line)
        connect(m, self._sink.pulses, self._pulses.i)
        connect(m, self._codes.cmd, self._macro.cmd)
        connect(m, self._macro.codes, self._codes.codes)

    def _connect_stores(self, m: Module) -> None:
        """Ports of the memories, and what they are asked for while nobody else asks."""
        reader, ins, link = self._reader, self._instruction, self._link
        first, second = self._words.read_port(), self._words.read_port()
        self._store = self._words.write_port()
        m.d.comb += [
            # What was looked up stays until it is given out.
            first.en.eq(Mux(self._state == _State.IDLE, link.look, reader.enable)),
            first.addr.eq(Mux(link.look, link.at, reader.first)),
            second.en.eq(reader.enable),
            second.addr.eq(reader.second),
            reader.first_word.eq(first.data),
            reader.second_word.eq(second.data),
            self._store.addr.eq(self._at),
            self._store.data.eq(link.given.payload),
        ]
        self._seen = first.data
        self._table = self._tables.read_port()
        ports = [self._registers.read_port(domain="comb") for _ in range(3)]
        self._set = self._registers.write_port()
        m.d.comb += [
            ports[0].addr.eq(Mux(self._state == _State.IDLE, link.at, ins.reg)),
            ports[1].addr.eq(ins.bits),
            ports[2].addr.eq(ins.k),
        ]
        self._register, self._turn, self._base = (port.data for port in ports)
        planner, setting = self._planner, self._settings.read_port()
        m.d.comb += [
            setting.addr.eq(ins.m),
            planner.instruction.eq(ins),
            planner.register.eq(self._register),
            planner.second_pass.eq(self._second_pass),
            planner.tries.eq(self._tries),
            planner.setting.eq(setting.data),
            planner.turn.eq(self._turn),
        ]
        found, train = data.View(SETTING, setting.data), self._generator.settings
        m.d.comb += [
            *(train[name].eq(found[name]) for name in ("slots", "mode", "period")),
            train.array.eq(self._array),
            train.invert.eq(flagged(ins, Flag.INVERT)),
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
        link, generator = self._link, self._generator
        program, tables = self._program.write_port(), self._tables.write_port()
        settings = self._settings.write_port()
        m.d.comb += [
            link.seen.eq(self._register),
            generator.look.payload.eq(link.at),
            generator.look.valid.eq(link.look),
            generator.seed.payload.line.eq(link.at),
            generator.seed.payload.state.eq(link.word),
        ]
        for port in (program, tables, settings):
            m.d.comb += [port.addr.eq(link.at), port.data.eq(link.word)]
        with m.Switch(link.kind):
            with m.Case(LearnKind.DUMP_MEMORY):
                m.d.comb += link.seen.eq(self._seen)
            with m.Case(LearnKind.DUMP_LFSR):
                m.d.comb += link.seen.eq(generator.seen)
        with m.If(link.load), m.Switch(link.kind):
            with m.Case(LearnKind.PROGRAM):
                m.d.comb += program.en.eq(1)
            with m.Case(LearnKind.MEMORY):
                m.d.comb += [
                    self._store.addr.eq(link.at),
                    self._store.data.eq(link.word),
                    self._store.en.eq(1),
                ]
            with m.Case(LearnKind.TABLES):
                m.d.comb += tables.en.eq(1)
            with m.Case(LearnKind.SETTINGS):
                m.d.comb += settings.en.eq(1)
            with m.Case(LearnKind.LFSR):
                m.d.comb += generator.seed.valid.eq(1)
            with m.Case(LearnKind.REGISTERS):
                self._write_register(m, link.word[:WORD_BITS].as_signed(), link.at[:4])

    def _execute(self, m: Module) -> None:
        """From one instruction to the next."""
        ins = self._instruction
        fetch = self._program.read_port()
        loop = Signal()
        first = Signal(_PC_BITS)
        end = Signal(_PC_BITS)
        again = Signal(12)
        link = self._link
        m.d.comb += [
            fetch.addr.eq(Cat(self._state == _State.SECOND, self._pc)),
            link.last.eq(Cat(link.samples, Const(0, 24), Const(DONE_TAG, 16))),
        ]
        with m.If(self._faulty):
            at = Cat((self._pc - 1)[:_PC_BITS], Const(0, 16 - _PC_BITS))
            m.d.comb += link.last.eq(Cat(self._samples, Const(0, 8), at, Const(FAULT_TAG, 16)))
        with m.Switch(self._state):
            with m.Case(_State.IDLE), m.If(link.run):
                m.d.sync += [
                    self._samples.eq(link.samples),
                    self._faulty.eq(0),
                    self._state.eq(_State.SAMPLE),
                ]
            with m.Case(_State.SAMPLE):
                m.d.sync += [self._pc.eq(0), loop.eq(0), self._state.eq(_State.FETCH)]
                with m.If((self._samples == 0) | self._faulty):
                    m.d.sync += self._state.eq(_State.DONE)
            with m.Case(_State.DONE):
                m.d.comb += link.ended.eq(1)
                m.d.sync += self._state.eq(_State.IDLE)
            with m.Case(_State.FETCH):
                m.d.sync += self._state.eq(_State.SECOND)
            with m.Case(_State.SECOND):
                m.d.sync += [
                    ins.as_value()[:LINK_BITS].eq(fetch.data),
                    self._state.eq(_State.DECODE),
                ]
            with m.Case(_State.DECODE):
                m.d.sync += [
                    ins.as_value()[LINK_BITS:].eq(fetch.data),
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
                            m.d.comb += self._divides.eq(1)
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
                m.d.sync += self._array.eq(self._planner.array)
                with m.If(self._planner.wrong):
                    m.d.sync += [self._faulty.eq(1), self._state.eq(_State.DONE)]
            with m.Case(_State.NEXT):
                m.d.sync += self._state.eq(_State.FETCH)
                with m.If(loop & (self._pc == end)):
                    m.d.sync += again.eq(again - 1)
                    with m.If(again != 0):
                        m.d.sync += self._pc.eq(first)
                    with m.Else():
                        m.d.sync += loop.eq(0)

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
            self._generator.clear.eq(planning & (ins.op == LearnOp.UPDATE) & ~self._second_pass),
            grown.eq(self._base + self._planner.exponent),
        ]
        began = Signal()  # the cycle after
        m.d.sync += began.eq(planning)
        m.d.comb += reader.start.eq(began)
        with m.If(planning):
            m.d.sync += [
                plan.eq(self._planner.plan),
                self._state.eq(_State.STREAM),
            ]
            with m.If(ins.op == LearnOp.NORM):
                self._write_register(m, grown, ins.m[:4])
        with m.If((self._state == _State.STREAM) & self._finished):
            m.d.sync += self._state.eq(_State.NEXT)
            with m.If((ins.op == LearnOp.READ) & ~self._second_pass):
                m.d.sync += self._state.eq(_State.READ)
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
            m.d.comb += self._link.given.ready.eq(1)
            with m.If(self._link.given.valid):
                m.d.comb += self._store.en.eq(1)
                m.d.sync += [self._at.eq(self._at + 1), self._count.eq(self._count - 1)]
                with m.If(self._count == 1):
                    m.d.sync += self._state.eq(_State.NEXT)

    def _read_array(self, m: Module) -> None:
        """A read, once its inputs are driven; once more with half of them if a code saturates."""
        ins, codes, reader = self._instruction, self._codes, self._reader
        streaming = self._state == _State.STREAM
        m.d.comb += [
            codes.start.eq(
                streaming & self._finished & (ins.op == LearnOp.READ) & ~self._second_pass
            ),
            codes.array.eq(self._array),
            codes.transposed.eq(flagged(ins, Flag.TRANSPOSED)),
            codes.shift.eq(ins.shift),
            codes.outputs.eq(ins.b),
            codes.rewind.eq(self._state == _State.PLAN),
            codes.enable.eq(reader.enable),
            codes.next.eq(reader.next_code),
            reader.code.eq(codes.code),
        ]
        with m.If((self._state == _State.READ) & codes.done):
            m.d.sync += [self._second_pass.eq(1), self._state.eq(_State.PLAN)]
            more = flagged(ins, Flag.BOUND) & (self._tries < ins.k)
            with m.If(codes.saturated & more):
                m.d.sync += [self._second_pass.eq(0), self._tries.eq(self._tries + 1)]

    def _sink_results(self, m: Module) -> None:
        """What results and the remainders of STEP bring about."""
        ins, plan, sink, divider = self._instruction, self._plan, self._sink, self._divider
        streaming = self._state == _State.STREAM
        m.d.comb += [
            sink.active.eq(streaming),
            sink.start.eq(self._state == _State.PLAN),
            sink.to.eq(self._planner.plan.to),
            sink.sink.eq(plan.sink),
            sink.instruction.eq(ins),
            sink.register.eq(self._register),
            sink.tries.eq(self._tries),
            sink.table_word.eq(self._table.data),
            self._table.addr.eq(sink.table_at),
            self._finished.eq(sink.finished),
        ]
        with m.If(streaming):
            m.d.comb += [
                self._store.addr.eq(sink.store_at),
                self._store.data.eq(sink.store_word),
                self._store.en.eq(sink.store),
            ]
            with m.If(sink.set):
                self._write_register(m, sink.store_word)
        pulses = self._pulses
        is_row = ins.op == LearnOp.WRITE
        m.d.comb += [
            pulses.start.eq(self._state == _State.PLAN),
            pulses.row.eq(Mux(is_row, self._register, 0)),
            pulses.columns.eq(Mux(is_row, ins.n, ins.k)),
            pulses.array.eq(self._array),
            pulses.invert.eq(flagged(ins, Flag.INVERT)),
            pulses.whole.eq(ins.op == LearnOp.APPLY),
            pulses.shift.eq(ins.shift),
            sink.rest.eq(pulses.rest),
        ]
        # STEP divides by itself where a comparison does not do.
        grown = Signal(signed(WORD_BITS + 1))
        remainder = divider.o.payload.remainder
        m.d.comb += [
            grown.eq(self._register + 1),
            divider.i.payload.eq(sink.division.payload),
            divider.i.valid.eq(sink.division.valid | self._divides),
            sink.division.ready.eq(divider.i.ready),
            sink.quotient.payload.eq(divider.o.payload.quotient),
            sink.quotient.valid.eq(divider.o.valid),
            divider.o.ready.eq(sink.quotient.ready | (self._state == _State.REMAINDER)),
        ]
        with m.If(ins.op == LearnOp.STEP):
            m.d.comb += [
                divider.i.payload.dividend.eq(Mux(grown < 0, -grown, grown)),
                divider.i.payload.divisor.eq(ins.n),
            ]
        with m.If((self._state == _State.REMAINDER) & divider.o.valid):
            turned = (grown < 0) & (remainder != 0)
            self._write_register(m, Mux(turned, ins.n - remainder, remainder))
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
