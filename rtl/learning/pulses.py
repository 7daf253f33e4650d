# SPDX-License-Identifier: Apache-2.0
"""Counts of pulses that a program has worked out, given to the cells one by one."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.learning import LearnChip
from .alu import WORD_BITS, result_layout
from .macro import ARRAY_BITS, BEAT_BITS, check_learn_chip, learn_write_layout
from .plan import COUNT_BITS

__all__ = ["PulseSink"]


class PulseSink(wiring.Component):
    """What WRITE and APPLY do with the ALU's results: pulses for one cell after the other.

    A cycle for a count of 0, else two and what the macro lets it wait.

    Parameters
    ----------
    chip : LearnChip

    Members
    -------
    start : In(1)
        The next result is for the first column of ``row``.
    row : In(16)
    columns : In(16)
        Results a row; the next one belongs to the next row.
    array, invert : In(6), In(1)
    whole : In(1)
        A result is a number of pulses without sign, of the sign of its x, of which ``2**shift``
        make a pulse (APPLY); else it has a sign (WRITE).
    shift : In(6)
    i : In(stream of :func:`~.alu.result_layout`)
    rest : Out(signed(32))
        What ``whole`` pulses leave of x, while a result is taken.
    refused : Out(1)
        A strobe: a write was.
    write, response : Out(stream of writes), In(stream of 1)
        To and from the macro.

    Raises
    ------
    TypeError, ValueError
        As :func:`~.macro.check_learn_chip`.
    """

    def __init__(self, *, chip: LearnChip) -> None:
        self._chip = check_learn_chip(chip)
        super().__init__(
            {
                "start": In(1),
                "row": In(COUNT_BITS),
                "columns": In(COUNT_BITS),
                "array": In(ARRAY_BITS),
                "invert": In(1),
                "whole": In(1),
                "shift": In(6),
                "i": In(stream.Signature(result_layout())),
                "rest": Out(signed(WORD_BITS)),
                "refused": Out(1),
                "write": Out(stream.Signature(learn_write_layout(chip))),
                "response": In(stream.Signature(1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._chip.lanes
        given, write = self.i.payload, self.write.payload
        row = Signal(COUNT_BITS)
        column = Signal(COUNT_BITS)
        beat = Signal(BEAT_BITS)
        lane = Signal(range(max(2, lanes)))
        written = Signal()
        some = Signal()
        falls = Signal()
        size = Signal(WORD_BITS)
        moved = Signal(signed(WORD_BITS))
        m.d.comb += [
            some.eq(self.i.valid & (given.value != 0)),
            falls.eq(Mux(self.whole, given.x < 0, given.value < 0)),
            size.eq(Mux(given.value < 0, -given.value, given.value)),
            moved.eq(size << self.shift),
            self.rest.eq(Mux(falls, given.x + moved, given.x - moved)),
            write.array.eq(self.array),
            write.rows.eq(Const(1, 1) << row[:10]),
            write.beat.eq(beat),
            write.up.eq(Mux(falls ^ self.invert, 0, Const(1, 1) << lane)),
            write.down.eq(Mux(falls ^ self.invert, Const(1, 1) << lane, 0)),
            write.pulses.eq(size),
            write.fire.eq(1),
            self.write.valid.eq(some & ~written),
            self.response.ready.eq(written),
            self.i.ready.eq(Mux(some, written & self.response.valid, 1)),
            self.refused.eq(written & self.response.valid & self.response.payload),
        ]
        with m.If(self.write.valid & self.write.ready):
            m.d.sync += written.eq(1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [written.eq(0), column.eq(column + 1), lane.eq(lane + 1)]
            with m.If(lane == lanes - 1):
                m.d.sync += [lane.eq(0), beat.eq(beat + 1)]
            with m.If(column == self.columns - 1):
                m.d.sync += [column.eq(0), lane.eq(0), beat.eq(0), row.eq(row + 1)]
        with m.If(self.start):
            m.d.sync += [row.eq(self.row), column.eq(0), lane.eq(0), beat.eq(0)]
        return m
