# SPDX-License-Identifier: Apache-2.0
"""The controller: fetches and executes the program of a tile."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from ..arch.formats import ACC_BITS, ACTIVATION_BITS
from ..arch.isa import ADDRESS_REGISTERS, FORMATS, OPCODE, Opcode, Reg, Source
from ..arch.timing import vector_latency
from .budgets import add_row_budgets
from .checks import check_chip
from .decode import KIND, kind_of, rows_below
from .drain import QUANT_BITS, Drain
from .elements import OP_BITS, SCALE_BITS
from .gather import ADDRESS_BITS, RunReader
from .idle import idle_skips
from .rotation import add_rotation, product_members
from .sequencer import Sequencer
from .vector_unit import drain_layout

__all__ = ["COUNTERS", "COUNTER_BITS", "Controller"]

COUNTER_BITS = 48

_STALLS = ("host_in_stalls", "host_out_stalls", "core_stalls", "vector_stalls")

COUNTERS = ("cycles", "instructions", *_STALLS)
"""Counter members, in the order of their registers from CYCLES on."""

_COUNT_BITS = 16
_QUANT_INIT = 0xFF0000  # codes from 0 to 255
_WORD_BYTES = 8


class _State(enum.Enum, shape=2):
    IDLE = 0
    FETCH = 1
    EXECUTE = 2
    REPEAT = 3
    """The cycles after the first of an instruction that takes several."""


class Controller(wiring.Component):
    """Runs a program as ``docs/tile.md`` tells, to the cycle.

    An instruction is fetched in one cycle and executes in the first cycle in which what it waits
    for holds. Everything it orders is a strobe in that cycle or in those that follow it.

    Parameters
    ----------
    chip : Chip

    Members
    -------
    run, stop, clear : In(1)
        Strobes of CONTROL; ``run`` is ignored while a program runs, unless ``stop`` comes with it.
    calm : In(1)
        The opposite of ``stop``.
    running, waiting, fault : Out(1)
        Bits of STATUS. A program faults at an opcode that does not exist, at a LOOP without a body
        and at a fifth nested LOOP.
    pc : Out(range(program_words))
    cycles .. vector_stalls : Out(48)
        See :data:`COUNTERS`.
    write_program, write_addr, write_data : In(1), In(range(program_words)), In(64)
        Write port of instruction memory.
    busy : In(cores)
    in_level, out_free : In(range(fifo_words + 1))
        Words in the input FIFO, and free in the output FIFO.
    read_data, read_addr : Out(1), Out(range(data_words))
        Ask data memory for a word, for the load path or to be sent.
    pop : Out(1)
        Ask the input FIFO for a word.
    load, begin, row, byte, count : Out(1), Out(1), Out(8), Out(3), Out(4)
        Bytes of the word asked for go to the cores of ``cores``, or if ``vector`` to the vector
        ALU; see :class:`~.loader.Loader`.
    vector, vector_op, scale, offset : Out(1), Out(VecOp), Out(signed(24)), Out(signed(32))
        For the vector ALU.
    receive, send : Out(1)
        The word asked for goes to data memory at ``read_addr``, or to the output FIFO.
    cores, start, used, beats : Out(cores), Out(cores), Out(rows), Out(10)
        Cores of the instruction; their products may start, and do.
    zero_skip, rows_per_read, planes : Out(1), Out(9), Out(range(passes + 1))
        Registers that products use; with row budgets, ``budgets`` in place of ``rows_per_read``;
        with an input encoding that has it ``zero``, Out(8), which LOAD takes off activations; and
        :func:`~.rotation.rotation_members`.
    issue, issue_sum, command : Out(1), Out(1), Out(drain_layout(chip))
        To the vector unit.
    hold : In(1)
        With ``program_verify``: rows are programmed, so that a SYNC does not pass.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._chip = check_chip(chip)
        fifo = range(chip.fifo_words + 1)
        super().__init__(
            {
                **({"hold": In(1)} if chip.program_verify else {}),
                "run": In(1),
                "stop": In(1),
                "calm": In(1, init=1),
                "clear": In(1),
                "running": Out(1),
                "waiting": Out(1),
                "fault": Out(1),
                "pc": Out(range(chip.program_words)),
                **{name: Out(COUNTER_BITS) for name in COUNTERS},
                "write_program": In(1),
                "write_addr": In(range(chip.program_words)),
                "write_data": In(64),
                "busy": In(chip.cores),
                "in_level": In(fifo),
                "out_free": In(fifo),
                "read_data": Out(1),
                "read_addr": Out(range(chip.data_words)),
                "pop": Out(1),
                "load": Out(1),
                "begin": Out(1),
                "row": Out(8),
                "byte": Out(3),
                "count": Out(4),
                "vector": Out(1),
                "vector_op": Out(OP_BITS),
                "scale": Out(signed(SCALE_BITS), init=1),
                "offset": Out(signed(ACC_BITS)),
                "receive": Out(1),
                "send": Out(1),
                "cores": Out(chip.cores),
                "start": Out(chip.cores),
                "used": Out(chip.input_rows),
                "beats": Out(10),
                "zero_skip": Out(1),
                **product_members(chip, Out),
                "planes": Out(chip.passes.bit_length(), init=chip.passes),
                **({"zero": Out(ACTIVATION_BITS)} if chip.input_code.has_zero else {}),
                "issue": Out(1),
                "issue_sum": Out(1),
                "command": Out(drain_layout(chip)),
            }
        )
        # Internal state that proofs and the blocks below look into.
        self._state = Signal(_State)
        self._coming = Signal(64)  # the instruction that is fetched
        self._word = Signal(64)  # and that executes
        self._coming_first = Signal(ADDRESS_BITS)  # the address register in bits 7:5 of it
        self._first = Signal(ADDRESS_BITS)
        self._quant = Signal(QUANT_BITS, init=_QUANT_INIT)
        self._pitch = Signal(ADDRESS_BITS)
        self._step_param = Signal()  # the parameter register of a REQ is still to be stepped
        self._wait_cores = Signal(chip.cores)
        self._wait_vector = Signal()
        self._wait_host = Signal()
        self._kind = Signal(KIND)
        self._amount = Signal(ADDRESS_BITS)  # what an address register grows by
        self._touches = Signal()  # it does
        self._afresh = Signal()  # from 0
        self._go = Signal()  # it waits for nothing, the host apart
        self._synced = Signal()  # nor for the host
        self._moves = Signal()  # a cycle of execution, without SYNC's
        self._finish = Signal()
        self._begin = Signal()  # a program starts
        # Words of a RECV or SEND still to come, less two: what ends it hangs on the sign.
        self._behind = Signal(signed(_COUNT_BITS + 1))
        self._addresses = Array(
            Signal(ADDRESS_BITS, name=f"a{k}") for k in range(ADDRESS_REGISTERS)
        )

    def _field(self, op: Opcode, name: str, *, coming: bool = False) -> Value:
        field = FORMATS[op][name]
        word = self._coming if coming else self._word
        return word[field.lsb : field.lsb + field.width]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sequencer = sequencer = Sequencer(chip=self._chip)
        fetch = self._state == _State.FETCH
        # MVM waits for its cores alone: what else others wait for would come later.
        starts = self.calm & self._kind.mvm & ((self._wait_cores & self.busy) == 0)
        m.d.comb += [
            self._begin.eq(self.run & (self.stop | ~self.running)),
            sequencer.begin.eq(self._begin),
            sequencer.fetch.eq(fetch),
            sequencer.finish.eq(self._finish),
            sequencer.forget.eq(self.stop | self._begin),
            sequencer.write_program.eq(self.write_program),
            sequencer.write_addr.eq(self.write_addr),
            sequencer.write_data.eq(self.write_data),
            self.pc.eq(sequencer.pc),
            self._coming.eq(sequencer.coming),
            self._word.eq(sequencer.word),
            self.running.eq(self._state != _State.IDLE),
            # The field has the same place in every instruction that has it.
            self.cores.eq(self._field(Opcode.LOAD, "cores")),
            self.start.eq(Mux(starts & (self._state == _State.EXECUTE), self.cores, 0)),
            self.beats.eq(self._field(Opcode.MVM, "beats")),
        ]
        with m.If(fetch):
            m.d.sync += self._state.eq(_State.EXECUTE)
            self._prepare(m)
        self._count(m)
        self._wait(m)
        self._change_register(m)
        self._step_address(m, platform)
        reader = self._gather(m, platform)
        self._move(m, reader)
        self._end(m, reader, self._drain(m), sequencer.bad_loop)
        self._control(m)
        return m

    def _prepare(self, m: Module) -> None:
        """What can be known of an instruction while it is fetched: registers, for its execution."""
        op = self._coming[: OPCODE.width]
        addr = self._field(Opcode.LOAD, "addr", coming=True)
        waits = Cat(self._wait_cores, self._wait_vector, self._wait_host)
        m.d.comb += self._coming_first.eq(self._addresses[addr])
        rows = self._field(Opcode.MVM, "rows", coming=True)
        with m.If(op == Opcode.MVM):
            m.d.sync += self.used.eq(rows_below(rows, len(self.used)))
        m.d.sync += [
            self._first.eq(self._coming_first),
            self._behind.eq(self._field(Opcode.RECV, "words", coming=True) - 2),
            waits.eq(0),
            self._kind.eq(kind_of(op)),
        ]
        with m.Switch(op):
            with m.Case(Opcode.HALT):
                m.d.sync += [self._wait_cores.eq(~0), self._wait_vector.eq(1)]
            with m.Case(Opcode.SYNC):
                m.d.sync += waits.eq(~0)
            with m.Case(Opcode.SET):
                reg = self._field(Opcode.SET, "reg", coming=True)
                m.d.sync += self._wait_vector.eq(reg == Reg.QUANT)
                if self._chip.row_budgets:
                    m.d.sync += self._wait_cores.eq(Mux(reg == Reg.ROWS_PER_READ, ~0, 0))
            with m.Case(Opcode.RECV, Opcode.SEND):
                m.d.sync += self._wait_vector.eq(1)
            with m.Case(Opcode.LOAD, Opcode.MVM, Opcode.REQ):
                m.d.sync += self._wait_cores.eq(self._field(Opcode.LOAD, "cores", coming=True))

    def _count(self, m: Module) -> None:
        with m.If(self.running & ~self.waiting):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        with m.If(self._finish):
            m.d.sync += self.instructions.eq(self.instructions + 1)

    def _wait(self, m: Module) -> None:
        """Decide whether the instruction executes in this cycle, and count what it waits for."""
        # Down from the latency - 1 in the cycle after the issue of an accumulator word: while it
        # is not 0, that word is not yet in data memory.
        draining = Signal(range(vector_latency(self._chip)))
        with m.If(self.issue):
            m.d.sync += draining.eq(vector_latency(self._chip) - 1)
        with m.Elif(draining != 0):
            m.d.sync += draining.eq(draining - 1)
        with m.If(self.stop):
            m.d.sync += draining.eq(0)
        with m.If((self._state == _State.EXECUTE) & self.calm):
            with m.If((self._wait_cores & self.busy).any()):
                m.d.sync += self.core_stalls.eq(self.core_stalls + 1)
            with m.Elif(self._wait_vector & (draining != 0)):
                m.d.sync += self.vector_stalls.eq(self.vector_stalls + 1)
            with m.Elif(~self._wait_host):
                m.d.comb += self._go.eq(1)
            if self._chip.program_verify:
                with m.Elif(self.hold):
                    m.d.comb += self.waiting.eq(1)
            with m.Elif(self.in_level < self._field(Opcode.SYNC, "in_words")):
                m.d.comb += self.waiting.eq(1)
                m.d.sync += self.host_in_stalls.eq(self.host_in_stalls + 1)
            with m.Elif(self.out_free < self._field(Opcode.SYNC, "out_words")):
                m.d.comb += self.waiting.eq(1)
                m.d.sync += self.host_out_stalls.eq(self.host_out_stalls + 1)
            with m.Else():
                m.d.comb += self._synced.eq(1)

    def _end(self, m: Module, reader: RunReader, drain: Drain, bad_loop: Signal) -> None:
        """What comes after this cycle. All but whether the instruction moves is known early."""
        again = self._state == _State.REPEAT
        over = Signal()  # it is the last cycle, if it is one
        wrong = Signal()  # there is no such instruction
        kind = self._kind
        m.d.comb += [
            over.eq(
                kind.single
                | (kind.loop & ~bad_loop)
                | (kind.gathers & reader.done)
                | (kind.moves & self._behind[-1])
                | (kind.req & Mux(again, drain.last, drain.nothing))
            ),
            wrong.eq((kind.as_value() == 0) | bad_loop),
        ]
        m.d.comb += [
            self._moves.eq(self._go | (again & self.calm)),
            self._finish.eq((self._moves & over) | self._synced),
        ]
        with m.If(self._moves & ~over):
            m.d.sync += self._state.eq(_State.REPEAT)
        with m.If(self._go & wrong):
            m.d.sync += [self.fault.eq(1), self._state.eq(_State.IDLE)]
        with m.If(self._finish):
            m.d.sync += self._state.eq(Mux(kind.halt, _State.IDLE, _State.FETCH))

    def _change_register(self, m: Module) -> None:
        """Those that are no address registers."""
        value = self._field(Opcode.SET, "value")
        op = self._word[: OPCODE.width]
        add = op == Opcode.ADD
        targets: dict[int, Value] = {
            Reg.SCHEDULE: self.zero_skip,
            **self._rows_register(),
            Reg.PLANES: self.planes,
            Reg.QUANT: self._quant,
            Reg.PITCH: self._pitch,
            Reg.SCALE: self.scale,
            Reg.OFFSET: self.offset,
        }
        targets |= {Reg.ZERO: self.zero} if self._chip.input_code.has_zero else {}
        changes = self._go & (add | (op == Opcode.SET))
        with m.If(changes), m.Switch(self._field(Opcode.SET, "reg")):
            for reg, target in targets.items():
                with m.Case(reg):
                    m.d.sync += target.eq(Mux(add, target, 0) + value[: len(target)])
        if self._chip.row_budgets:
            chosen = changes & (self._field(Opcode.SET, "reg") == Reg.ROWS_PER_READ)
            add_row_budgets(m, self._chip, chosen, value, self._begin, self.budgets)
        add_rotation(m, self._chip, self, self._word, changes, self._begin)

    def _rows_register(self) -> dict[int, Value]:
        """Row budgets are registers of their own."""
        return {} if self._chip.row_budgets else {Reg.ROWS_PER_READ: self.rows_per_read}

    def _step_address(self, m: Module, platform: object) -> None:
        """The address register in bits 7:5, by the step of an instruction, SET or ADD.

        By how much is told while it is fetched; what it becomes does not depend on ``_go``, only
        whether it does: the adder need not wait.
        """
        op = self._coming[: OPCODE.width]
        amount = Signal(ADDRESS_BITS)
        touches = Signal()
        value = Signal(ADDRESS_BITS)
        fetch = self._state == _State.FETCH
        with idle_skips(m, fetch, platform):
            m.d.comb += touches.eq(self._field(Opcode.LOAD, "addr_step", coming=True))
            with m.Switch(op):
                with m.Case(Opcode.SET, Opcode.ADD):
                    reg = self._field(Opcode.SET, "reg", coming=True)
                    m.d.comb += [
                        amount.eq(self._field(Opcode.SET, "value", coming=True)),
                        touches.eq(reg < ADDRESS_REGISTERS),
                    ]
                with m.Case(Opcode.LOAD):
                    m.d.comb += amount.eq(self._field(Opcode.LOAD, "bytes", coming=True))
                    with m.If(self._field(Opcode.LOAD, "source", coming=True) != Source.DATA):
                        m.d.comb += touches.eq(0)
                with m.Case(Opcode.VEC):
                    m.d.comb += amount.eq(self._field(Opcode.VEC, "bytes", coming=True))
                with m.Case(Opcode.RECV, Opcode.SEND):
                    m.d.comb += amount.eq(self._field(Opcode.RECV, "words", coming=True) << 3)
                with m.Case(Opcode.REQ):
                    m.d.comb += amount.eq(self._field(Opcode.REQ, "outputs", coming=True))
                with m.Default():
                    m.d.comb += touches.eq(0)
        with m.If(fetch):
            m.d.sync += [
                self._amount.eq(amount),
                self._touches.eq(touches),
                self._afresh.eq(op == Opcode.SET),
            ]
        with idle_skips(m, self._state == _State.EXECUTE, platform):
            m.d.comb += value.eq(Mux(self._afresh, 0, self._first) + self._amount)
        with m.If(self._go & self._touches):
            m.d.sync += self._addresses[self._field(Opcode.LOAD, "addr")].eq(value)

    def _gather(self, m: Module, platform: object) -> RunReader:
        """LOAD and VEC: a word a cycle, and a cycle for what goes beyond the last one."""
        m.submodules.reader = reader = RunReader()
        stream = self._field(Opcode.LOAD, "source", coming=True) == Source.HOST
        fetch = self._state == _State.FETCH
        m.d.comb += reader.take.eq(fetch)
        with idle_skips(m, fetch, platform):
            m.d.comb += reader.start.eq(self._coming_first)
            with m.If(self._coming[: OPCODE.width] == Opcode.VEC):
                bytes_ = self._field(Opcode.VEC, "bytes", coming=True)
                m.d.comb += [
                    reader.bytes.eq(bytes_),
                    reader.nothing.eq(bytes_ == 0),
                    reader.repeats.eq(self._field(Opcode.VEC, "repeats", coming=True)),
                ]
            with m.Else():
                repeats = self._field(Opcode.LOAD, "repeats", coming=True)
                bytes_ = self._field(Opcode.LOAD, "bytes", coming=True)
                m.d.comb += [
                    reader.bytes.eq(bytes_),
                    reader.nothing.eq(bytes_ == 0),
                    reader.repeats.eq(Mux(stream, 0, repeats)),
                    reader.stream.eq(stream),
                ]

        again = self._state == _State.REPEAT
        on = Signal()
        from_host = Signal()
        m.d.comb += [
            reader.pitch.eq(self._pitch),
            reader.show.eq(self._kind.gathers & ((self._state == _State.EXECUTE) | again)),
            on.eq(self._kind.gathers & self._moves),
            reader.on.eq(on),
            self.begin.eq(~again),
            self.byte.eq(reader.byte),
            self.count.eq(reader.count),
        ]
        with m.Switch(self._word[: OPCODE.width]):
            with m.Case(Opcode.LOAD):
                m.d.comb += [
                    from_host.eq(self._field(Opcode.LOAD, "source") == Source.HOST),
                    self.row.eq(self._field(Opcode.LOAD, "row")),
                ]
            with m.Case(Opcode.VEC):
                m.d.comb += [
                    self.row.eq(self._field(Opcode.VEC, "element")),
                    self.vector.eq(1),
                    self.vector_op.eq(self._field(Opcode.VEC, "op")),
                ]
        with m.If(on):
            m.d.comb += [
                self.load.eq(~reader.done),
                self.pop.eq(~reader.done & from_host),
                self.read_data.eq(~reader.done & ~from_host),
            ]
        return reader

    def _move(self, m: Module, reader: RunReader) -> None:
        """RECV and SEND: a word a cycle, from the cycle of execution on."""
        op = self._word[: OPCODE.width]
        on, some = Signal(), Signal()  # a move of no words does nothing, in one cycle
        m.d.comb += [
            on.eq(self._moves & self._kind.moves),
            # Another instruction that names a word of data memory gathers.
            self.read_addr.eq(Mux(self._kind.gathers, reader.addr[3:], self._first[3:])),
        ]
        with m.If(on):
            m.d.comb += some.eq(~self._behind[-1] | self._behind[0])
            with m.If(op == Opcode.RECV):
                m.d.comb += [self.receive.eq(some), self.pop.eq(some)]
            with m.Else():
                m.d.comb += [self.send.eq(some), self.read_data.eq(some)]
            m.d.sync += [
                self._behind.eq(self._behind - 1),
                self._first.eq(self._first + _WORD_BYTES),
            ]

    def _drain(self, m: Module) -> Drain:
        """REQ."""
        m.submodules.drain = drain = Drain(chip=self._chip)
        is_req = self._kind.req
        param_register = self._addresses[self._field(Opcode.REQ, "param")]
        begin = self._go & is_req
        m.d.comb += [
            drain.take.eq(self._state == _State.FETCH),
            drain.outputs.eq(self._field(Opcode.REQ, "outputs", coming=True)),
            drain.word.eq(self._word),
            drain.cores.eq(self.cores),
            drain.begin.eq(begin),
            drain.on.eq((self._state == _State.REPEAT) & is_req),
            drain.addr.eq(self._first),
            drain.param.eq(param_register),
            drain.quant.eq(self._quant),
            self.issue.eq(drain.issue),
            self.issue_sum.eq(drain.issue_sum),
            self.command.eq(drain.command),
        ]
        # A cycle later, so that an address register has a single adder.
        with m.If(begin & ~drain.nothing):
            m.d.sync += self._step_param.eq(self._field(Opcode.REQ, "param_step"))
        with m.If(self._step_param):
            m.d.sync += [self._step_param.eq(0), param_register.eq(param_register + drain.step)]
        return drain

    def _control(self, m: Module) -> None:
        """CONTROL comes last: it overrides what the program does in the same cycle."""
        with m.If(self.stop):
            m.d.sync += [self._state.eq(_State.IDLE), self.fault.eq(0), self._step_param.eq(0)]
        with m.If(self._begin):
            m.d.sync += [
                self._state.eq(_State.FETCH),
                self.fault.eq(0),
                self.zero_skip.eq(0),
                *(register.eq(1) for register in self._rows_register().values()),
                self.planes.eq(self.planes.init),
                self._quant.eq(_QUANT_INIT),
                self._pitch.eq(0),
                self.scale.eq(self.scale.init),
                self.offset.eq(0),
                *(address.eq(0) for address in self._addresses),
                *([self.zero.eq(0)] if self._chip.input_code.has_zero else ()),
            ]
        with m.If(self.clear):
            m.d.sync += [getattr(self, name).eq(0) for name in COUNTERS]
