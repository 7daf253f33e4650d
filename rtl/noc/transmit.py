# SPDX-License-Identifier: Apache-2.0
"""Transmit memory of a network interface: what the tile gives, cut into messages by the list."""

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.chip import Chip
from ...arch.messages import Kind
from ..checks import check_chip
from .feeder import LIST_ENTRY_LAYOUT

__all__ = ["HALVES", "TransmitMemory"]

HALVES = 2
"""Messages that it holds: one may fill while the other leaves."""


class TransmitMemory(wiring.Component):
    """Takes OUTPUT messages of the tile apart and fills halves with messages of the output list.

    A half that is freed in cycle t is given to the next message of the list in t + 1, and takes its
    first word in t + 2 at the earliest; a word a cycle, across messages too as long as halves are
    free. A word that is taken in cycle t counts from t + 1 on. A word asked for in cycle t stands
    from t + 1 on.

    REPLY messages are handed on as they are, header included, at their place in the stream.

    Parameters
    ----------
    chip : Chip

    Members
    -------
    i : In(stream of 64)
        From the tile.
    entry, valid, next : In(LIST_ENTRY_LAYOUT), In(1), Out(1)
        The output list.
    half : In(1)
        Which half is asked.
    held, route, words, filled : Out(1), Out(4), Out(9), Out(9)
        Whether it has a message; its route, its words, and those that have come.
    read, offset, word : In(1), In(range(slot_words)), Out(64)
        Ask for a word of half ``read_half``.
    read_half, free : In(1), In(1)
        Half ``read_half`` is free again.
    reply : Out(stream of 64)
        Words of a REPLY.
    reply_left : Out(17)
        How many of them are still to come; 0: there is none.
    blocked : Out(1)
        A word of the tile finds both halves in use.
    stop : In(1)
        Forget all messages, and what is left of an OUTPUT message under way.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._chip = check_chip(chip)
        super().__init__(
            {
                "i": In(stream.Signature(64)),
                "entry": In(LIST_ENTRY_LAYOUT),
                "valid": In(1),
                "next": Out(1),
                "half": In(1),
                "held": Out(1),
                "route": Out(4),
                "words": Out(9),
                "filled": Out(9),
                "read": In(1),
                "offset": In(range(chip.slot_words)),
                "word": Out(64),
                "read_half": In(1),
                "free": In(1),
                "reply": Out(stream.Signature(64)),
                "reply_left": Out(17),
                "blocked": Out(1),
                "stop": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = HALVES * self._chip.slot_words
        m.submodules.ring = ring = memory.Memory(shape=64, depth=depth, init=[])
        write, read = ring.write_port(), ring.read_port()
        held = Signal(HALVES)
        route = Array(Signal(4, name=f"route{h}") for h in range(HALVES))
        words = Array(Signal(9, name=f"words{h}") for h in range(HALVES))
        filled = Array(Signal(9, name=f"filled{h}") for h in range(HALVES))
        giving = Signal()  # the half for the list's next message
        filling = Signal()
        left = Signal(16)  # words of an OUTPUT message still to be taken
        drop = Signal()  # they are of a program that was stopped
        push = Signal()
        room = Signal()

        m.d.comb += [
            self.held.eq(held.bit_select(self.half, 1)),
            self.route.eq(route[self.half]),
            self.words.eq(words[self.half]),
            self.filled.eq(filled[self.half]),
            write.addr.eq(Cat(filled[filling][: len(self.offset)], filling)),
            write.data.eq(self.i.payload),
            write.en.eq(push),
            read.addr.eq(Cat(self.offset, self.read_half)),
            read.en.eq(self.read),
            self.word.eq(read.data),
            room.eq(held.bit_select(filling, 1) & (filled[filling] != words[filling])),
            self.reply.payload.eq(self.i.payload),
        ]
        with m.If(self.reply_left != 0):
            m.d.comb += [self.reply.valid.eq(self.i.valid), self.i.ready.eq(self.reply.ready)]
            with m.If(self.i.valid & self.reply.ready):
                m.d.sync += self.reply_left.eq(self.reply_left - 1)
        with m.Elif(left != 0):
            m.d.comb += [
                self.i.ready.eq(room | drop),
                push.eq(self.i.valid & room & ~drop),
                self.blocked.eq(self.i.valid & ~self.i.ready),
            ]
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += left.eq(left - 1)
        with m.Else():
            # A REPLY's header leaves as its first word.
            is_reply = self.i.payload[:8] == Kind.REPLY
            m.d.comb += self.i.ready.eq(~is_reply)
            with m.If(self.i.valid):
                m.d.sync += drop.eq(0)
                with m.If(is_reply):
                    m.d.sync += self.reply_left.eq(self.i.payload[16:32] + 1)
                with m.Else():
                    m.d.sync += left.eq(self.i.payload[16:32])

        with m.If(push):
            m.d.sync += filled[filling].eq(filled[filling] + 1)
            with m.If(filled[filling] + 1 == words[filling]):
                m.d.sync += filling.eq(~filling)
        with m.If(self.valid & ~held.bit_select(giving, 1)):
            m.d.comb += self.next.eq(1)
            m.d.sync += [
                held.bit_select(giving, 1).eq(1),
                route[giving].eq(self.entry.number),
                words[giving].eq(self.entry.words),
                filled[giving].eq(0),
                giving.eq(~giving),
            ]
        with m.If(self.free):
            m.d.sync += held.bit_select(self.read_half, 1).eq(0)
        with m.If(self.stop):
            m.d.sync += [held.eq(0), giving.eq(0), filling.eq(0)]
            # The tile ends the OUTPUT message whose header has left it or is about to.
            with m.If((self.reply_left == 0) & ((left != 0) | self.i.valid)):
                m.d.sync += drop.eq(1)
        return m
