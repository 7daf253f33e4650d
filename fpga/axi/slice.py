# SPDX-License-Identifier: Apache-2.0
"""A register slice: two words that cut every path of a stream."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RegisterSlice"]


class RegisterSlice(wiring.Component):
    """Hands words on, from register to register: valid, payload and ready are flip-flops.

    A word a cycle; latency one cycle. No path leads from an input to an output. What is offered
    stays on offer, unchanged, until it is taken (AMBA AXI-Stream, IHI 0051B, section 2.2).

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.

    Members
    -------
    i, o : In(stream of shape), Out(stream of shape)
    """

    def __init__(self, *, shape: Any) -> None:
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})
        # Made here for the proof, which looks into it.
        self.spare = Signal(shape)
        self.has_spare = Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        room = Signal()  # what is on offer leaves, or nothing is on offer
        m.d.comb += [self.i.ready.eq(~self.has_spare), room.eq(~self.o.valid | self.o.ready)]
        with m.If(room):
            m.d.sync += [self.o.valid.eq(self.has_spare | self.i.valid), self.has_spare.eq(0)]
            with m.If(self.has_spare):
                m.d.sync += self.o.payload.eq(self.spare)
            with m.Else():
                m.d.sync += self.o.payload.eq(self.i.payload)
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += [self.spare.eq(self.i.payload), self.has_spare.eq(1)]
        return m
