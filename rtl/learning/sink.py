# SPDX-License-Identifier: Apache-2.0
"""Takes the results of an instruction to where they belong."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.learning_isa import ADDRESS_BITS, LearnOp
from .alu import WIDE_BITS, WORD_BITS, result_layout
from .macro import INPUT_BITS, learn_drive_layout
from .plan import INSTRUCTION, Sink
from .trains import line_layout

__all__ = ["ResultSink"]

_MOST = (1 << (WORD_BITS - 1)) - 1


class ResultSink(wiring.Component):
    """Results go to the memory, one behind the other, through a table or the divider if need be; or
    to a register, the host, the inputs of a read, the lines of an update, or cells.

    A result a cycle, where the receiver takes one; a division at a time.

    Members
    -------
    start, to : In(1), In(20)
        The next result is for the word, or line, ``to``.
    active : In(1)
        Results are taken.
    sink, instruction, register, tries : In(Sink), In(INSTRUCTION), In(signed(32)), In(5)
        Held while active: where they go, and what the instruction says about that.
    i : In(stream of :func:`~.alu.result_layout`)
    finished : Out(1)
        A strobe: the final one has gone there.
    store, set, store_at, store_word : Out(1), Out(1), Out(20), Out(signed(32))
        For the memory; for the register.
    table_at, table_word : Out(11), In(signed(16))
        What stands in a table is there in the next cycle.
    rest : In(signed(32))
        Of a result that is given to cells: what it leaves.
    o : Out(stream of 64)
    drive, line, pulses : Out(streams)
        To the macro, the generator of pulse trains, and the cells.
    division, quotient : Out(stream), In(stream)
        To and from the divider.
    """

    def __init__(self) -> None:
        dividing = data.StructLayout({"dividend": WIDE_BITS, "divisor": WORD_BITS})
        super().__init__(
            {
                "start": In(1),
                "to": In(ADDRESS_BITS),
                "active": In(1),
                "sink": In(Sink),
                "instruction": In(INSTRUCTION),
                "register": In(signed(WORD_BITS)),
                "tries": In(5),
                "i": In(stream.Signature(result_layout())),
                "finished": Out(1),
                "store": Out(1),
                "set": Out(1),
                "store_at": Out(ADDRESS_BITS),
                "store_word": Out(signed(WORD_BITS)),
                "table_at": Out(11),
                "table_word": In(signed(16)),
                "rest": In(signed(WORD_BITS)),
                "o": Out(stream.Signature(64)),
                "drive": Out(stream.Signature(learn_drive_layout())),
                "line": Out(stream.Signature(line_layout())),
                "pulses": Out(stream.Signature(result_layout())),
                "division": Out(stream.Signature(dividing)),
                "quotient": In(stream.Signature(WIDE_BITS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ins, given = self.instruction, self.i.payload
        at = Signal(ADDRESS_BITS)
        looked = Signal()  # in the table
        final = Signal()
        divided = Signal()
        taken = Signal()
        half = (Const(1, 1) << self.tries)[1:]
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready),
            self.finished.eq(taken & given.final),
            self.store_at.eq(at),
            self.store_word.eq(given.value),
            self.table_at.eq(Cat(given.value[:7], ~given.value[7], ins.m[:3])),
            self.o.payload.eq(given.value[:WORD_BITS]),
            self.drive.payload.line.eq(at),
            self.drive.payload.value.eq(
                (given.value[:INPUT_BITS].as_signed() + half) >> self.tries
            ),
            self.line.payload.line.eq(at),
            self.line.payload.probability.eq(given.value),
            self.line.payload.negative.eq(given.x < 0),
            self.pulses.payload.eq(given),
            self.division.payload.dividend.eq(given.value << ins.shift[:5]),
            self.division.payload.divisor.eq(self.register),
        ]
        with m.If((given.value < 0) | (self.register <= 0)):
            m.d.comb += [
                self.division.payload.dividend.eq(0),
                self.division.payload.divisor.eq(1),
            ]
        m.d.sync += looked.eq(0)
        with m.If(taken):
            m.d.sync += [at.eq(at + 1), final.eq(given.final)]
        with m.If(self.start):
            m.d.sync += at.eq(self.to)
        with m.If(self.active), m.Switch(self.sink):
            with m.Case(Sink.MEMORY):
                m.d.comb += [self.i.ready.eq(1), self.store.eq(self.i.valid)]
            with m.Case(Sink.TABLE):
                m.d.comb += [
                    self.i.ready.eq(1),
                    self.store_at.eq(at - 1),  # of the one that was looked up
                    self.store_word.eq(self.table_word),
                    self.store.eq(looked),
                    self.finished.eq(looked & final),
                ]
                m.d.sync += looked.eq(self.i.valid)
            with m.Case(Sink.REGISTER):
                m.d.comb += [self.i.ready.eq(1), self.set.eq(self.i.valid)]
            with m.Case(Sink.DIVIDER):
                m.d.comb += [
                    self.division.valid.eq(self.i.valid & ~divided),
                    self.i.ready.eq(self.quotient.valid),
                    self.quotient.ready.eq(1),
                    self.store_word.eq(
                        Mux(self.quotient.payload > _MOST, _MOST, self.quotient.payload)
                    ),
                    self.store.eq(self.quotient.valid),
                ]
                m.d.sync += divided.eq((divided | self.division.ready) & self.i.valid & ~taken)
            with m.Case(Sink.OUTPUT):
                m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
            with m.Case(Sink.DRIVE):
                m.d.comb += [self.drive.valid.eq(self.i.valid), self.i.ready.eq(self.drive.ready)]
            with m.Case(Sink.LINE):
                m.d.comb += [self.line.valid.eq(self.i.valid), self.i.ready.eq(self.line.ready)]
            with m.Case(Sink.PULSES):
                # APPLY keeps what is left.
                m.d.comb += [
                    self.pulses.valid.eq(self.i.valid),
                    self.i.ready.eq(self.pulses.ready),
                    self.store_word.eq(self.rest),
                    self.store.eq(taken & (ins.op == LearnOp.APPLY)),
                ]
        return m
