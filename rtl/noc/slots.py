# SPDX-License-Identifier: Apache-2.0
"""Receive memory of a network interface: slots that messages come to, packet by packet."""

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from ...arch.chip import Chip
from ...arch.noc_interface import DATA_USER, HOST_CHANNEL, SLOTS, check_network
from ..checks import check_chip
from .flit import flit_layout, header_of

__all__ = ["DATA_USER_LAYOUT", "SOURCE", "SlotMemory"]

DATA_USER_LAYOUT = data.StructLayout(dict(DATA_USER))
"""The ``user`` field of a data packet."""

SOURCE = data.StructLayout({"x": 4, "y": 4, "route": 4})
"""Who has filled a slot, and on which of its routes."""


class SlotMemory(wiring.Component):
    """Two slots a channel, filled by data packets in any order, read by the feeder in turn.

    Takes a flit in every cycle: a sink. A message whose last flit comes in cycle t has its slot
    full from t + 1 on. A word asked for in cycle t stands at ``word`` from t + 1 on.

    What no producer that counts its consumers sends is dropped and remembered: a packet for a
    channel that is not there, or longer than a slot (``stray``), or for a slot that is full
    (``overrun``).

    Parameters
    ----------
    chip : Chip

    Members
    -------
    valid, flit : In(1), In(flit_layout())
        A flit of the data class.
    stop : In(1)
        Forget all messages.
    channel : In(4)
        Which channel is asked.
    full, slot, source : Out(1), Out(1), Out(SOURCE)
        Of that channel, whether the slot whose turn it is holds a message, which it is, and where
        its message came from.
    read, offset, word : In(1), In(range(slot_words)), Out(64)
        Ask that slot for a word.
    free : In(1)
        That slot has been read: it is the other's turn.
    stray, overrun : Out(1)
        Until ``stop``.

    Raises
    ------
    ConfigError
        If packets cannot tell the chip's sizes.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._chip = check_chip(chip)
        check_network(chip)
        super().__init__(
            {
                "valid": In(1),
                "flit": In(flit_layout()),
                "stop": In(1),
                "channel": In(4),
                "full": Out(1),
                "slot": Out(1),
                "source": Out(SOURCE),
                "read": In(1),
                "offset": In(range(chip.slot_words)),
                "word": Out(64),
                "free": In(1),
                "stray": Out(1),
                "overrun": Out(1),
            }
        )
        # By slot + 2 * channel. Looked into by proofs.
        slots = SLOTS * (chip.channels + 1)
        self.full_slots = Signal(slots)
        self.begun = Signal(slots)  # some packets of a message have come: the count holds
        self.turn = Signal(chip.channels + 1)
        self.index = Signal(range(slots))  # of the packet that comes
        self.taking = Signal()  # its words are kept
        self.write = Signal()
        self.inside = Signal()  # the header has come, the tail has not
        self.length = Signal(8)
        self.last_word = Signal(8)  # words of the message, less one
        self.counts = memory.Memory(shape=8, depth=slots, init=[])

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip = self._chip
        slots = len(self.full_slots)
        offset_bits = (chip.slot_words - 1).bit_length()
        m.submodules.words = words = memory.Memory(
            shape=64, depth=SLOTS * chip.channels * chip.slot_words, init=[]
        )
        m.submodules.counts = counts = self.counts
        m.submodules.sources = sources = memory.Memory(shape=SOURCE, depth=slots, init=[])
        write, read = words.write_port(), words.read_port()
        count, count_write = counts.read_port(domain="comb"), counts.write_port()
        source, source_write = sources.read_port(domain="comb"), sources.write_port()

        inside, length, last_word = self.inside, self.length, self.last_word
        offset = Signal(offset_bits)
        arrived = Signal(9)
        complete = Signal()
        header = header_of(self.flit)
        user = data.View(DATA_USER_LAYOUT, header.user[: DATA_USER_LAYOUT.size])
        index = Cat(user.slot, user.channel)
        stray = (
            (user.channel == HOST_CHANNEL)
            | (user.channel > chip.channels)
            | (user.words > chip.slot_words - 1)
            | self.flit.last
        )
        overrun = self.full_slots.bit_select(index, 1)
        is_set = Signal(slots)
        is_free = Signal(slots)
        ours = Signal(range(slots))

        m.d.comb += [
            write.addr.eq(Cat(offset, self._place(self.index))),
            write.data.eq(self.flit.data),
            write.en.eq(self.write),
            self.write.eq(self.valid & inside & self.taking),
            count.addr.eq(self.index),
            count_write.addr.eq(self.index),
            count_write.data.eq(arrived),
            count_write.en.eq(self.write & self.flit.last),
            arrived.eq(Mux(self.begun.bit_select(self.index, 1), count.data, 0) + length),
            complete.eq(self.write & self.flit.last & (arrived > last_word)),
            source_write.addr.eq(index),
            source_write.data.x.eq(header.src_x),
            source_write.data.y.eq(header.src_y),
            source_write.data.route.eq(user.route),
            source_write.en.eq(self.valid & ~inside & ~stray & ~overrun),
        ]
        with m.If(self.valid):
            m.d.sync += inside.eq(~self.flit.last)
            with m.If(inside):
                m.d.sync += offset.eq(offset + 1)
            with m.Else():
                m.d.sync += [
                    self.index.eq(index),
                    self.taking.eq(~stray & ~overrun),
                    offset.eq(user.index << (chip.packet_words - 1).bit_length()),
                    length.eq(header.length),
                    last_word.eq(user.words),
                    self.stray.eq(self.stray | stray),
                    self.overrun.eq(self.overrun | (overrun & ~stray)),
                ]

        m.d.comb += [
            self.slot.eq(self.turn.bit_select(self.channel, 1)),
            ours.eq(Cat(self.slot, self.channel)),
            self.full.eq(self.full_slots.bit_select(ours, 1)),
            source.addr.eq(ours),
            self.source.eq(source.data),
            read.addr.eq(Cat(self.offset, self._place(ours))),
            read.en.eq(self.read),
            self.word.eq(read.data),
            is_set.eq(Mux(complete, C(1, slots) << self.index, 0)),
            is_free.eq(Mux(self.free, C(1, slots) << ours, 0)),
        ]
        with m.If(self.write & self.flit.last):
            m.d.sync += [
                self.begun.eq(
                    Mux(
                        complete,
                        self.begun & ~(C(1, slots) << self.index),
                        self.begun | (C(1, slots) << self.index),
                    )
                )
            ]
        with m.If(complete | self.free):
            m.d.sync += self.full_slots.eq((self.full_slots | is_set) & ~is_free)
        with m.If(self.free):
            m.d.sync += self.turn.eq(self.turn ^ (C(1, len(self.turn)) << self.channel))
        with m.If(self.stop):
            m.d.sync += [
                self.full_slots.eq(0),
                self.begun.eq(0),
                self.turn.eq(0),
                self.taking.eq(0),
                self.stray.eq(0),
                self.overrun.eq(0),
            ]
        return m

    @staticmethod
    def _place(index: Signal) -> object:
        """Where the slot stands in the memory: channel 1 is first."""
        return (index - SLOTS)[: len(index)]
