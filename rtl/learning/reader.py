# SPDX-License-Identifier: Apache-2.0
"""Reads operands from the vector memory, in two loops, and gives them to the ALU."""

from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.learning_isa import ADDRESS_BITS
from .alu import WORD_BITS, element_layout
from .macro import CODE_BITS
from .plan import COUNT_BITS, Restart, Second, plan_layout
from .trains import LFSR_BITS, lfsr_steps

__all__ = ["OperandReader"]


class OperandReader(wiring.Component):
    """One element a cycle; with ``row``, a cycle more for every inner loop.

    Members
    -------
    plan : In(plan_layout())
        Held until the last element is taken.
    start : In(1)
        Begin, in the next cycle.
    hot : In(signed(32))
        Number of the element that the constant of ``Second.HOT`` is for.
    feedback : In(32)
        The state that a random matrix begins with.
    enable : Out(1)
        The memories' read ports give what they are asked for in the next cycle.
    first, second : Out(20)
        Addresses.
    first_word, second_word : In(signed(32))
        What stands there.
    code : In(signed(16))
        The code of the element that was asked for last.
    next_code : Out(1)
        A strobe: an element is asked for, in order; its code is wanted from the next cycle on.
    o : Out(stream of :func:`~.alu.element_layout`)
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "plan": In(plan_layout()),
                "start": In(1),
                "hot": In(signed(WORD_BITS)),
                "feedback": In(LFSR_BITS),
                "enable": Out(1),
                "first": Out(ADDRESS_BITS),
                "second": Out(ADDRESS_BITS),
                "first_word": In(signed(WORD_BITS)),
                "second_word": In(signed(WORD_BITS)),
                "code": In(signed(CODE_BITS)),
                "next_code": Out(1),
                "o": Out(stream.Signature(element_layout())),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        plan = self.plan
        running = Signal()
        rowed = Signal()  # x of this inner loop has been asked for
        outer = Signal(COUNT_BITS)
        inner = Signal(ADDRESS_BITS)
        rows_at = Signal(ADDRESS_BITS)
        began = Signal(ADDRESS_BITS)  # the second address, at the start of an inner loop
        ends = Signal()
        whole = Signal()
        asked = Signal()  # for an element's words, which are there now
        taken = Signal()
        row_asked = Signal()
        row = Signal(signed(WORD_BITS))
        state = Signal(LFSR_BITS)
        is_hot = Signal()
        first = Signal()
        last = Signal()
        final = Signal()
        element = self.o.payload

        m.d.comb += [
            self.enable.eq(~asked | self.o.ready),
            ends.eq(inner == plan.inner - 1),
            whole.eq(ends & (outer == plan.outer - 1)),
            taken.eq(asked & self.o.ready),
            self.o.valid.eq(asked),
        ]
        here = Signal(ADDRESS_BITS)
        there = Signal(ADDRESS_BITS)
        m.d.comb += [
            self.first.eq(Mux(plan.row & ~rowed, rows_at, here)),
            self.second.eq(there),
            self.next_code.eq(running & self.enable),
        ]
        with m.If(self.start):
            m.d.sync += [
                running.eq(1),
                rowed.eq(0),
                outer.eq(0),
                inner.eq(0),
                here.eq(plan.a),
                there.eq(plan.b),
                began.eq(plan.b),
                rows_at.eq(plan.rows_at),
                state.eq(self.feedback),
            ]
        with m.If(self.enable):
            m.d.sync += [asked.eq(0), row_asked.eq(0)]
            with m.If(running & plan.row & ~rowed):
                m.d.sync += [row_asked.eq(1), rowed.eq(1), rows_at.eq(rows_at + 1)]
            with m.Elif(running):
                m.d.sync += [
                    asked.eq(1),
                    first.eq(inner == 0),
                    last.eq(ends),
                    final.eq(whole),
                    is_hot.eq(inner == self.hot),
                    inner.eq(inner + 1),
                    here.eq(here + 1),
                    there.eq(there + plan.step),
                ]
                with m.If(ends):
                    m.d.sync += [inner.eq(0), outer.eq(outer + 1), rowed.eq(0)]
                    with m.If(plan.again):
                        m.d.sync += here.eq(plan.a)
                    with m.Switch(plan.restart):
                        with m.Case(Restart.SAME):
                            m.d.sync += there.eq(began)
                        with m.Case(Restart.NEXT):
                            m.d.sync += [there.eq(began + 1), began.eq(began + 1)]
                with m.If(whole):
                    m.d.sync += running.eq(0)
        with m.If(row_asked):
            m.d.sync += row.eq(self.first_word)
        with m.If(taken):
            m.d.sync += state.eq(
                Cat(reduce(xor, (state[k] for k in bits)) for bits in lfsr_steps(8))
            )

        m.d.comb += [
            element.first.eq(first),
            element.last.eq(last),
            element.final.eq(final),
            element.x.eq(Mux(plan.row, row, Mux(plan.codes, self.code, self.first_word))),
            element.c.eq(self.first_word),
        ]
        with m.Switch(plan.second):
            with m.Case(Second.MEMORY):
                m.d.comb += element.y.eq(self.second_word)
            with m.Case(Second.CONSTANT):
                m.d.comb += element.y.eq(plan.constant)
            with m.Case(Second.HOT):
                m.d.comb += element.y.eq(Mux(is_hot, plan.constant, 0))
            with m.Case(Second.FEEDBACK):
                m.d.comb += element.y.eq(state[:8].as_signed())
        return m
