# SPDX-License-Identifier: Apache-2.0
"""The bridge: messages of the host in, memories and registers written, words framed to go out."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from ..arch.messages import CORE_FLAGS, Kind
from ..arch.registers import Control, TileRegister
from .checks import check_chip
from .vector_unit import table_words

__all__ = ["LONGEST_OUTPUT", "Bridge"]

LONGEST_OUTPUT = 255
"""Payload words of an OUTPUT message."""

_LENGTH_BITS = 16
_ADDRESS_BITS = 32


class _Phase(enum.Enum, shape=2):
    """Of a register that is read: the cores' counters take a cycle, and so does the tile's mux."""

    ADDRESS = 0
    CAPTURE = 1
    READY = 2


class Bridge(wiring.Component):
    """Decodes ``arch/messages.py``.

    A word a cycle each way. A message to a full input FIFO holds up those behind it, and so does
    one READ_REG the next, until its REPLY has left. What cannot be obeyed is dropped to the end of
    its payload and sets ``link_fault``, until CONTROL.stop.

    OUTPUT begins when words stand in the output FIFO and none is being pushed, or when as many as
    fit in a message do; it announces what is there. CONTROL.stop keeps the words of a message
    under way, so that a message is always whole.

    Parameters
    ----------
    chip : Chip
    network : bool
        A READ_REG holds up nothing but the next READ_REG: before its REPLY words may have to leave
        that wait for other tiles, and those for the INPUT behind it.

    Members
    -------
    i, o : In(stream of 64), Out(stream of 64)
        Words of messages.
    word, addr : Out(64), Out(32)
        What is written, and where.
    write_program, write_params, write_table, write_data : Out(1)
        To memories; the address is within their size.
    write_corrections : Out(1)
        The same to the tables of corrections, on a chip with an AN code.
    write_flags : Out(1)
        On chips with flipped columns: to the flags of core ``addr[3:]``.
    run, stop, clear : Out(1)
        Bits of CONTROL, in the cycle after that of the word: registers, since all of the tile hangs
        on them. ``stop`` is to be obeyed before ``run``.
    calm : Out(1)
        The opposite of ``stop``, a register of its own: for the one path on which it is late.
    running : In(1)
    push, in_level : Out(1), In(range(fifo_words + 1))
        Input FIFO; it takes ``word``.
    pushed, out_level : In(1), In(range(fifo_words + 1))
        Output FIFO: a word enters in this cycle; words in it.
    pop, out_word, keep : Out(1), In(64), Out(8)
        A word is taken, it stands at ``out_word`` from the next cycle on; words that must survive
        a stop.
    read_addr, capture, read_value : Out(32), Out(1), In(64)
        A register is read: ``read_addr`` stands from the cycle before ``capture`` on, and
        ``read_value`` must hold its value from the cycle after ``capture`` on.
    link_fault : Out(1)
    row_begin, row_valid, row_last : Out(1)
        With ``program_verify``: ``word`` is the header of a PROGRAM_ROW, a word of its payload, the
        last one.
    row_busy, row_fault, waiting : In(1)
        Its writer is at work, or has dropped it; the program waits for the host.
    report : In(stream of 64)
        Whole messages to the host.
    """

    def __init__(self, *, chip: Chip, network: bool = False) -> None:
        self._chip = check_chip(chip)
        self._network = network
        level = range(chip.fifo_words + 1)
        rows = {
            **{name: Out(1) for name in ("row_begin", "row_valid", "row_last")},
            **{name: In(1) for name in ("row_busy", "row_fault", "waiting")},
            "report": In(stream.Signature(64)),
        }
        super().__init__(
            {
                **(rows if chip.program_verify else {}),
                "i": In(stream.Signature(64)),
                "o": Out(stream.Signature(64)),
                "word": Out(64),
                "addr": Out(_ADDRESS_BITS),
                "write_program": Out(1),
                "write_params": Out(1),
                "write_table": Out(1),
                "write_data": Out(1),
                **({"write_corrections": Out(1)} if chip.code_a else {}),
                **({"write_flags": Out(1)} if chip.flag_words else {}),
                "run": Out(1),
                "stop": Out(1),
                "calm": Out(1, init=1),
                "clear": Out(1),
                "running": In(1),
                "push": Out(1),
                "in_level": In(level),
                "pushed": In(1),
                "out_level": In(level),
                "pop": Out(1),
                "out_word": In(64),
                "keep": Out(range(LONGEST_OUTPUT + 1)),
                "read_addr": Out(_ADDRESS_BITS),
                "capture": Out(1),
                "read_value": In(64),
                "link_fault": Out(1),
            }
        )
        self._reply = Signal()  # a READ_REG waits for its REPLY
        self._reply_begun = Signal()
        self._reply_left = Signal(_LENGTH_BITS)
        self._reply_addr = Signal(_ADDRESS_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._take(m)
        self._give(m)
        return m

    def _take(self, m: Module) -> None:
        """Messages of the host."""
        kind = Signal(8)
        left = Signal(_LENGTH_BITS)  # payload words still to come; 0: a header is next
        header_kind = self.i.payload[:8]
        header_length = self.i.payload[16:32]
        header_address = self.i.payload[32:]
        full = self.in_level == self._chip.fifo_words
        m.d.comb += self.word.eq(self.i.payload)
        m.d.sync += [self.run.eq(0), self.stop.eq(0), self.calm.eq(1), self.clear.eq(0)]

        held_up = self._reply
        if self._network:
            held_up = held_up & (header_kind == Kind.READ_REG)
        if self._chip.program_verify:
            held_up = held_up | self.row_busy
            m.d.comb += self.row_last.eq(left == 1)
            with m.If(self.row_fault):
                m.d.sync += self.link_fault.eq(1)

        with m.If(left == 0):
            m.d.comb += self.i.ready.eq(~held_up)
            with m.If(self.i.valid & ~held_up):
                m.d.sync += [
                    kind.eq(header_kind),
                    left.eq(header_length),
                    self.addr.eq(header_address),
                ]
                with m.If(header_kind == Kind.READ_REG):
                    m.d.sync += [
                        left.eq(0),
                        self._reply.eq(1),
                        self._reply_left.eq(header_length),
                        self._reply_addr.eq(header_address),
                    ]
                if self._chip.program_verify:
                    with m.Elif(header_kind == Kind.PROGRAM_ROW):
                        with m.If((~self.running | self.waiting | self.stop) & ~self.run):
                            m.d.comb += self.row_begin.eq(1)
                        with m.Else():
                            m.d.sync += self.link_fault.eq(1)
                with m.Elif(~self._known(header_kind)):
                    m.d.sync += self.link_fault.eq(1)
        with m.Else():
            m.d.comb += self.i.ready.eq((kind != Kind.INPUT) | ~full)
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += [left.eq(left - 1), self.addr.eq(self.addr + 1)]
                self._obey(m, kind)

    def _known(self, kind: Value) -> Value:
        known = (kind >= min(Kind)) & (kind <= Kind.INPUT)
        if self._chip.code_a:
            known = known | (kind == Kind.WRITE_CORRECTIONS)
        if self._chip.flag_words:
            known = known | (kind == Kind.WRITE_FLAGS)
        return known

    def _obey(self, m: Module, kind: Signal) -> None:
        """One payload word."""
        memories = {
            Kind.WRITE_PROGRAM: (self.write_program, self._chip.program_words),
            Kind.WRITE_PARAMS: (self.write_params, self._chip.param_words),
            Kind.WRITE_TABLE: (self.write_table, table_words(self._chip)),
            Kind.WRITE_DATA: (self.write_data, self._chip.data_words),
        }
        if self._chip.an_code is not None:
            entries = self._chip.an_code.entries
            memories[Kind.WRITE_CORRECTIONS] = (self.write_corrections, entries)
        if self._chip.flag_words:
            memories[Kind.WRITE_FLAGS] = (self.write_flags, CORE_FLAGS * self._chip.cores)
        with m.Switch(kind):
            for target, (strobe, depth) in memories.items():
                with m.Case(target):
                    allowed = self.addr[(depth - 1).bit_length() :] == 0
                    if depth & (depth - 1):
                        allowed = self.addr < depth
                    if target is Kind.WRITE_DATA:
                        allowed = allowed & ~self.running
                    with m.If(allowed):
                        m.d.comb += strobe.eq(1)
                    with m.Else():
                        m.d.sync += self.link_fault.eq(1)
            with m.Case(Kind.WRITE_REG):
                with m.If(self.addr == TileRegister.CONTROL):
                    bits = {Control.RUN: self.run, Control.CLEAR: self.clear}
                    for bit, strobe in {**bits, Control.STOP: self.stop}.items():
                        m.d.sync += strobe.eq(self.word[bit.bit_length() - 1])
                    with m.If(self.word[Control.STOP.bit_length() - 1]):
                        m.d.sync += [self.link_fault.eq(0), self.calm.eq(0)]
                with m.Else():
                    m.d.sync += self.link_fault.eq(1)
            with m.Case(Kind.INPUT):
                m.d.comb += self.push.eq(1)
            if self._chip.program_verify:
                with m.Case(Kind.PROGRAM_ROW):
                    m.d.comb += self.row_valid.eq(1)

    def _give(self, m: Module) -> None:
        """Messages to the host."""
        left = Signal(range(LONGEST_OUTPUT + 1))  # words of an OUTPUT still to be taken
        own = Signal(64)  # a header or a register
        from_fifo = Signal()
        phase = Signal(_Phase)
        length = Signal(range(LONGEST_OUTPUT + 1))
        reported = Signal(_LENGTH_BITS)  # words of a report still to come
        m.d.comb += [
            self.o.payload.eq(Mux(from_fifo, self.out_word, own)),
            self.keep.eq(left),
            self.read_addr.eq(self._reply_addr),
            length.eq(Mux(self.out_level > LONGEST_OUTPUT, LONGEST_OUTPUT, self.out_level)),
        ]
        with m.If(self._reply):
            with m.If(phase == _Phase.ADDRESS):
                m.d.sync += phase.eq(_Phase.CAPTURE)
            with m.If(phase == _Phase.CAPTURE):
                m.d.comb += self.capture.eq(1)
                m.d.sync += phase.eq(_Phase.READY)

        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [self.o.valid.eq(0), from_fifo.eq(0)]
            with m.If(left != 0):
                m.d.comb += self.pop.eq(1)
                m.d.sync += [left.eq(left - 1), from_fifo.eq(1), self.o.valid.eq(1)]
            if self._chip.program_verify:
                with m.Elif(reported != 0):
                    m.d.comb += self.report.ready.eq(1)
                    m.d.sync += [
                        own.eq(self.report.payload),
                        self.o.valid.eq(self.report.valid),
                        reported.eq(reported - self.report.valid),
                    ]
            with m.Elif(self._reply_begun):
                with m.If(self._reply_left == 0):
                    m.d.sync += [
                        self._reply.eq(0),
                        self._reply_begun.eq(0),
                        phase.eq(_Phase.ADDRESS),
                    ]
                with m.Elif(phase == _Phase.READY):
                    m.d.sync += [
                        own.eq(self.read_value),
                        self.o.valid.eq(1),
                        self._reply_left.eq(self._reply_left - 1),
                        self._reply_addr.eq(self._reply_addr + 1),
                        phase.eq(_Phase.ADDRESS),
                    ]
            with m.Elif(self._reply):
                m.d.sync += [
                    self._header(own, Kind.REPLY, self._reply_left, self._reply_addr),
                    self.o.valid.eq(1),
                    self._reply_begun.eq(1),
                ]
            if self._chip.program_verify:
                with m.Elif(self.report.valid):
                    m.d.comb += self.report.ready.eq(1)
                    m.d.sync += [
                        own.eq(self.report.payload),
                        self.o.valid.eq(1),
                        reported.eq(self.report.payload[16:32]),
                    ]
            with m.Elif(
                (self.out_level != 0)
                & (~self.pushed | (self.out_level >= LONGEST_OUTPUT))
                & ~self.stop
            ):
                m.d.sync += [
                    self._header(own, Kind.OUTPUT, length, Const(0, _ADDRESS_BITS)),
                    self.o.valid.eq(1),
                    left.eq(length),
                ]

    @staticmethod
    def _header(word: Signal, kind: Kind, length: Signal, address: Signal) -> Signal:
        fields = Cat(Const(kind, 8), Const(0, 8), length)
        return word.eq(Cat(fields, Const(0, 32 - len(fields)), address))
