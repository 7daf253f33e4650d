# SPDX-License-Identifier: Apache-2.0
"""The sender of a network interface: packets of the messages in the transmit memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.chip import Chip
from ...arch.noc_interface import HOST_CHANNEL, HOST_ROUTE
from ..checks import check_chip
from .flit import HEADER_LAYOUT, flit_layout
from .routes import CONFIG_LAYOUT, LEG
from .slots import DATA_USER_LAYOUT

__all__ = ["SendWait", "Sender"]


class SendWait(enum.Enum, shape=2):
    """What keeps the sender from its next flit."""

    NOTHING = 0
    """It sends, or has no message."""
    WORDS = 1
    """The words of the next packet have not all come out of the tile."""
    ACKS = 2
    """Consumers have still to read the message before it in its slot."""
    LINK = 3
    """The flit that it offers is not taken."""


class Sender(wiring.Component):
    """Sends each message on each leg of its route, packet by packet, a flit a cycle.

    A packet's header is decided on in cycle t if all its words are in the transmit memory and, for
    the first packet of a message, all consumers of the message before it in its slot have
    acknowledged. A packet that has begun waits for the link alone: it holds channels of the mesh,
    and the tile may need what is behind it. The header is offered in t + 1, n words follow one a
    cycle, and the next packet is decided on in t + n + 1 at the earliest, of whatever leg or
    message.

    Words of a REPLY come as the tile gives them, which waits for nothing else.

    Parameters
    ----------
    chip : Chip

    Members
    -------
    x, y : In(4)
        Where the tile stands.
    held, route, words, filled : In(1), In(4), In(9), In(9)
        Of half ``half`` of the transmit memory; see :class:`~.transmit.TransmitMemory`.
    half, read, offset, word, read_half, free : Out(1), Out(1), Out(range(slot_words)), In(64),
        Out(1), Out(1)
    config, leg, slot, may : In(CONFIG_LAYOUT), In(LEG), In(1), In(1)
        Of ``route``; see :class:`~.routes.RouteTable`.
    read_leg, leg_number, begin, end : Out(1), Out(4), Out(1), Out(1)
    reply, reply_left, host_y : In(stream of 64), In(17), In(4)
        Words of a REPLY, and the row of the host port that they go to.
    valid, flit, taken : Out(1), Out(flit_layout()), In(1)
        A flit of the data class, and whether it is transferred; all but ``taken`` from registers.
    stop : In(1)
        Forget all messages; a packet that has begun is finished.
    sending, wait, active : Out(1), Out(SendWait), Out(1)
        It has a message some of whose packets have left; what keeps it; it does something now.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._chip = check_chip(chip)
        super().__init__(
            {
                "x": In(4),
                "y": In(4),
                "half": Out(1),
                "held": In(1),
                "route": In(4),
                "words": In(9),
                "filled": In(9),
                "read": Out(1),
                "offset": Out(range(chip.slot_words)),
                "word": In(64),
                "read_half": Out(1),
                "free": Out(1),
                "config": In(CONFIG_LAYOUT),
                "read_leg": Out(1),
                "leg_number": Out(4),
                "leg": In(LEG),
                "slot": In(1),
                "may": In(1),
                "begin": Out(1),
                "end": Out(1),
                "reply": In(stream.Signature(64)),
                "reply_left": In(17),
                "host_y": In(4),
                "valid": Out(1),
                "flit": Out(flit_layout()),
                "taken": In(1),
                "stop": In(1),
                "sending": Out(1),
                "wait": Out(SendWait),
                "active": Out(1),
            }
        )
        self._advance = Signal()  # another flit may be offered in the next cycle
        self._own = Signal(64)  # a header, or a word of a REPLY
        self._from_memory = Signal()  # the flit is not that, but a word of the transmit memory
        self._left = Signal(range(chip.packet_words + 1))  # words of the packet still to follow
        self._replying = Signal()  # they are of a REPLY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        last = Signal()
        progress = Signal()
        release = Signal()  # with the packet's last word the half is free
        m.d.comb += [
            self.flit.data.eq(Mux(self._from_memory, self.word, self._own)),
            self.flit.last.eq(last),
            self._advance.eq(~self.valid | self.taken),
        ]
        with m.If(self._advance):
            m.d.sync += self.valid.eq(0)
            with m.If(self._left != 0):
                with m.If(self._replying):
                    m.d.comb += [self.reply.ready.eq(1), progress.eq(self.reply.valid)]
                    m.d.sync += [self._own.eq(self.reply.payload), self._from_memory.eq(0)]
                with m.Else():
                    m.d.comb += [self.read.eq(1), progress.eq(1)]
                    m.d.sync += self._from_memory.eq(1)
        with m.If(progress):
            m.d.sync += [
                self.valid.eq(1),
                self._left.eq(self._left - 1),
                self.offset.eq(self.offset + 1),
                last.eq(self._left == 1),
            ]
            m.d.comb += self.free.eq(release & (self._left == 1))
        with m.If(self.free):
            m.d.sync += release.eq(0)
        self._decide(m, last, release)
        return m

    def _decide(self, m: Module, last: Signal, release: Signal) -> None:
        """The next packet."""
        chip = self._chip
        have = Signal()  # the message's leg stands
        sent = Signal(9)  # words of the leg
        index = Signal(DATA_USER_LAYOUT["index"].width)
        leg = Signal(4, init=1)
        rest = Signal(9)
        length = Signal(range(chip.packet_words + 1))
        upto = Signal(9)
        enough = Signal()
        first = Signal()
        reply_index = Signal.like(index)
        reply_length = Signal.like(length)
        header = Signal(HEADER_LAYOUT)
        user = Signal(DATA_USER_LAYOUT)
        most = chip.packet_words

        m.d.comb += [
            rest.eq(self.words - sent),
            length.eq(Mux(rest > most, most, rest)),
            upto.eq(sent + length),
            enough.eq(self.filled >= upto),
            first.eq((leg == 1) & (sent == 0)),
            self.sending.eq(have & ~first),
            reply_length.eq(Mux(self.reply_left > most, most, self.reply_left)),
            header.src_x.eq(self.x),
            header.src_y.eq(self.y),
            header.user.eq(user),
        ]
        m.d.comb += self.active.eq(
            (self._left != 0)
            | (self.reply_left != 0)
            | (self.held & ~have)
            | (have & (self.wait == SendWait.NOTHING))
        )
        with m.If(~self._advance):
            m.d.comb += self.wait.eq(SendWait.LINK)
        with m.Elif(self._left != 0):
            pass
        with m.Elif(self.reply_left != 0):
            m.d.comb += [
                header.dst_y.eq(self.host_y),
                header.host.eq(1),
                header.length.eq(reply_length),
                user.channel.eq(HOST_CHANNEL),
                user.route.eq(HOST_ROUTE),
                user.index.eq(reply_index),
            ]
            m.d.sync += [
                self.valid.eq(1),
                self._own.eq(header),
                self._from_memory.eq(0),
                self._left.eq(reply_length),
                self._replying.eq(1),
                last.eq(0),
                reply_index.eq(Mux(self.reply_left > most, reply_index + 1, 0)),
            ]
        with m.Elif(have & ~enough):
            m.d.comb += self.wait.eq(SendWait.WORDS)
        with m.Elif(have & first & ~self.may):
            m.d.comb += self.wait.eq(SendWait.ACKS)
        with m.Elif(have):
            m.d.comb += [
                header.dst_x.eq(self.leg.dst_x),
                header.dst_y.eq(self.leg.dst_y),
                header.absorb.eq(self.leg.absorb),
                header.host.eq(self.leg.host),
                header.length.eq(length),
                user.channel.eq(self.config.channel),
                user.slot.eq(self.slot),
                user.route.eq(self.route),
                user.index.eq(index),
                user.words.eq(self.words - 1),
                self.begin.eq(first),
            ]
            m.d.sync += [
                self.valid.eq(1),
                self._own.eq(header),
                self._from_memory.eq(0),
                self._left.eq(length),
                self._replying.eq(0),
                last.eq(0),
                self.offset.eq(sent),
                self.read_half.eq(self.half),
                sent.eq(upto),
                index.eq(index + 1),
            ]
            with m.If(upto == self.words):
                m.d.sync += [sent.eq(0), index.eq(0), leg.eq(leg + 1)]
                m.d.comb += [self.leg_number.eq(leg + 1), self.read_leg.eq(1)]
                with m.If(leg >= self.config.legs):
                    m.d.comb += self.end.eq(1)
                    m.d.sync += [
                        have.eq(0),
                        leg.eq(1),
                        release.eq(1),
                        self.half.eq(~self.half),
                    ]
        with m.If(self.held & ~have):
            m.d.comb += [self.leg_number.eq(1), self.read_leg.eq(1)]
            m.d.sync += have.eq(1)
        with m.If(self.stop):
            m.d.sync += [
                have.eq(0),
                sent.eq(0),
                index.eq(0),
                leg.eq(1),
                release.eq(0),
                self.half.eq(0),
            ]
