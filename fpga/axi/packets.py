# SPDX-License-Identifier: Apache-2.0
"""Where a message ends: what AXI4-Stream calls a packet."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PACKET_WORD", "Packets"]

_LENGTH_BITS = 16

PACKET_WORD = data.StructLayout({"word": 64, "last": 1})
"""A word, and whether its message ends with it."""


class Packets(wiring.Component):
    """Marks the last word of each message of a chip, so that a DMA engine sees a packet a message.

    A reset of the chip may cut a message off. A word of 0 then ends its packet, for what was begun
    on a bus has to come to an end: a host that resets the chip drops what comes until nothing does.

    Members
    -------
    i, o : In(stream of 64), Out(stream of PACKET_WORD)
    cut : In(1)
        The chip is being reset; it offers nothing.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(64)),
                "o": Out(stream.Signature(PACKET_WORD)),
                "cut": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(_LENGTH_BITS)  # words of the message still to come; 0: a header is next
        ending = Signal()  # its rest will never come
        after = Signal(_LENGTH_BITS)
        m.d.comb += [
            after.eq(Mux(left == 0, self.i.payload[16:32], left - 1)),
            self.o.payload.word.eq(Mux(ending, 0, self.i.payload)),
            self.o.payload.last.eq(ending | (after == 0)),
            self.o.valid.eq(ending | self.i.valid),
            self.i.ready.eq(self.o.ready & ~ending),
        ]
        with m.If(ending), m.If(self.o.ready):
            m.d.sync += [ending.eq(0), left.eq(0)]
        with m.Elif(self.cut & (left != 0)):
            m.d.sync += ending.eq(1)
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += left.eq(after)
        return m
