# SPDX-License-Identifier: Apache-2.0
"""The feeder of a network interface: messages from the slots into the tile, in the list's order."""

from amaranth.hdl import C, Cat, Module, Signal
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.chip import Chip
from ...arch.messages import Kind
from ...arch.noc_interface import LIST_ENTRIES, LIST_ENTRY
from ..checks import check_chip
from .slots import SOURCE

__all__ = ["ACK", "LIST_ENTRY_LAYOUT", "FeedWait", "Feeder", "MessageList"]

LIST_ENTRY_LAYOUT = data.StructLayout(dict(LIST_ENTRY))
"""A message of a list."""

ACK = data.StructLayout({"source": SOURCE, "slot": 1, "channel": 4})
"""An acknowledgment that is to be sent to ``source``."""


class FeedWait(enum.Enum, shape=2):
    """What keeps the feeder from its next message."""

    NOTHING = 0
    """It feeds, or its list is empty or not started."""
    SLOT = 1
    """The message has not come."""
    ROOM = 2
    """The tile's input FIFO has no room for all of it."""
    PORT = 3
    """The host's words pass, or the last acknowledgment has not left."""


class MessageList(wiring.Component):
    """A list of messages, gone through for ever.

    An entry asked for in cycle t stands from t + 1 on.

    Members
    -------
    write, address, word : In(1), In(range(LIST_ENTRIES)), In(64)
        Write port.
    start, stop : In(1)
        From the first entry on, unless the list runs; rest. ``stop`` is obeyed before ``start``.
    next : In(1)
        The entry is done with.
    entry, valid : Out(LIST_ENTRY_LAYOUT), Out(1)
        The message whose turn it is, if there is one.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "write": In(1),
                "address": In(range(LIST_ENTRIES)),
                "word": In(64),
                "start": In(1),
                "stop": In(1),
                "next": In(1),
                "entry": Out(LIST_ENTRY_LAYOUT),
                "valid": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.entries = entries = memory.Memory(
            shape=LIST_ENTRY_LAYOUT.size, depth=LIST_ENTRIES, init=[]
        )
        write, read = entries.write_port(), entries.read_port()
        running = Signal()
        at = Signal(range(LIST_ENTRIES))
        m.d.comb += [
            write.addr.eq(self.address),
            write.data.eq(self.word),
            write.en.eq(self.write),
            Cat(self.entry).eq(read.data),
            self.valid.eq(running & (self.entry.words != 0)),
            read.en.eq(self.next),
            read.addr.eq(at + 1),
        ]
        with m.If(self.entry.last):
            m.d.comb += read.addr.eq(0)
        with m.If(self.start & (self.stop | ~running)):
            m.d.comb += [read.en.eq(1), read.addr.eq(0)]
        with m.If(read.en):
            m.d.sync += at.eq(read.addr)
        with m.If(self.start | self.stop):
            m.d.sync += running.eq(self.start)
        return m


class Feeder(wiring.Component):
    """Puts messages into the tile's input FIFO and acknowledges them; lets the host's words pass.

    It decides in cycle t if the message's slot is full, the FIFO has room for all of it, no word of
    the host is on its way, and the last acknowledgment has left or leaves in t. Its INPUT header is
    offered to the tile in t + 1, its n words follow one a cycle; it decides again in t + n + 2 at
    the earliest, and the acknowledgment is there from that cycle on.

    Parameters
    ----------
    chip : Chip

    Members
    -------
    i, busy : In(stream of 64), In(1)
        Words of the host; a message of theirs is under way.
    o, in_free : Out(stream of 64), In(range(fifo_words + 1))
        To the tile, and room in its input FIFO.
    entry, valid, next : In(LIST_ENTRY_LAYOUT), In(1), Out(1)
        The input list.
    full, slot, source : In(1), In(1), In(SOURCE)
        See :class:`~.slots.SlotMemory`.
    read, offset, word, free : Out(1), Out(range(slot_words)), In(64), Out(1)
    ack, ack_valid, ack_ready : Out(ACK), Out(1), In(1)
        To be sent.
    stop : In(1)
    feeding, wait : Out(1), Out(FeedWait)
        A message is on its way into the tile; what keeps it.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._chip = check_chip(chip)
        super().__init__(
            {
                "i": In(stream.Signature(64)),
                "busy": In(1),
                "o": Out(stream.Signature(64)),
                "in_free": In(range(chip.fifo_words + 1)),
                "entry": In(LIST_ENTRY_LAYOUT),
                "valid": In(1),
                "next": Out(1),
                "full": In(1),
                "slot": In(1),
                "source": In(SOURCE),
                "read": Out(1),
                "offset": Out(range(chip.slot_words)),
                "word": In(64),
                "free": Out(1),
                "ack": Out(ACK),
                "ack_valid": Out(1),
                "ack_ready": In(1),
                "stop": In(1),
                "feeding": Out(1),
                "wait": Out(FeedWait),
            }
        )
        # Looked into by proofs.
        self.in_words = Signal()  # the header has been taken
        self.left = Signal(range(chip.slot_words + 1))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words, left = self.in_words, self.left
        header = Cat(C(Kind.INPUT, 8), C(0, 8), self.entry.words, C(0, 48 - 9))

        with m.If(self.ack_ready):
            m.d.sync += self.ack_valid.eq(0)
        with m.If(~self.feeding):
            m.d.comb += [
                self.o.valid.eq(self.i.valid),
                self.o.payload.eq(self.i.payload),
                self.i.ready.eq(self.o.ready),
            ]
            with m.If(self.valid):
                with m.If(~self.full):
                    m.d.comb += self.wait.eq(FeedWait.SLOT)
                with m.Elif(self.in_free < self.entry.words):
                    m.d.comb += self.wait.eq(FeedWait.ROOM)
                with m.Elif(self.busy | (self.ack_valid & ~self.ack_ready)):
                    m.d.comb += self.wait.eq(FeedWait.PORT)
                with m.Else():
                    m.d.sync += [
                        self.feeding.eq(1),
                        words.eq(0),
                        left.eq(self.entry.words),
                        self.offset.eq(0),
                    ]
        with m.Else():
            m.d.comb += [
                self.o.valid.eq(1),
                self.o.payload.eq(self.word),
            ]
            with m.If(~words):
                m.d.comb += self.o.payload.eq(header)
            with m.If(self.o.ready):
                m.d.comb += self.read.eq(1)
                m.d.sync += [words.eq(1), self.offset.eq(self.offset + 1)]
                with m.If(words):
                    m.d.sync += left.eq(left - 1)
                with m.If(words & (left == 1)):
                    m.d.comb += [self.next.eq(1), self.free.eq(1)]
                    m.d.sync += [
                        self.feeding.eq(0),
                        self.ack_valid.eq(1),
                        self.ack.source.eq(self.source),
                        self.ack.slot.eq(self.slot),
                        self.ack.channel.eq(self.entry.number),
                    ]
        with m.If(self.stop):
            m.d.sync += self.feeding.eq(0)
        return m
