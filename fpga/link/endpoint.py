# SPDX-License-Identifier: Apache-2.0
"""A board's end of the link: bytes on one side, the tile's words on the other."""

from dataclasses import replace

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.link import IDENT_WORDS, WINDOW, FrameKind, Ident
from .header import HEADER
from .inbox import Inbox
from .outbox import Outbox
from .receiver import Receiver
from .transmitter import Transmitter

__all__ = ["LinkEndpoint"]

_RESET_CYCLES = 4


class LinkEndpoint(wiring.Component):
    """What ``arch/link.py`` asks of a board; ``host/link/board.py`` is its model.

    Parameters
    ----------
    ident : Ident
        Who the board is; session and echo must be 0.
    timeout : int
        Cycles without an ACK after which everything under way is sent again: longer than the host
        takes to answer.
    linger : int
        Cycles for which a frame that is not full waits for another word.

    Members
    -------
    rx : In(stream of 8, always ready)
        Bytes from the line.
    tx : Out(stream of 8)
        Bytes to the line.
    o, i : Out(stream of 64), In(stream of 64)
        Words to and from the tile.
    reset : Out(1)
        A session begins: the tile and everything that counts reads must be reset. Words are
        neither given nor taken meanwhile.
    session : Out(32)
        0 while no host has opened one.
    accepted : Out(1)
        A DATA frame was committed, for one cycle.

    Raises
    ------
    TypeError
        If ``ident`` is no Ident.
    ValueError
        If ``ident`` holds a session, or a wait is below one cycle.
    """

    def __init__(self, *, ident: Ident, timeout: int, linger: int = 16) -> None:
        if not isinstance(ident, Ident):
            raise TypeError(f"Ident must be an Ident, not {ident!r}")
        if ident != replace(ident, session=0, echo=0):
            raise ValueError("Session and echo of an endpoint's ident are its own: leave them 0")
        self._ident = ident
        self._outbox = Outbox(timeout=timeout, linger=linger)
        super().__init__(
            {
                "rx": In(stream.Signature(8, always_ready=True)),
                "tx": Out(stream.Signature(8)),
                "o": Out(stream.Signature(64)),
                "i": In(stream.Signature(64)),
                "reset": Out(1),
                "session": Out(32),
                "accepted": Out(1),
            }
        )

    @property
    def ident(self) -> Ident:
        return self._ident

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = Receiver()
        inbox, outbox = Inbox(), self._outbox
        m.submodules.inbox = ResetInserter(self.reset)(inbox)
        m.submodules.outbox = ResetInserter(self.reset)(outbox)
        m.submodules.transmitter = transmitter = Transmitter()
        wiring.connect(m, wiring.flipped(self.rx), receiver.i)
        wiring.connect(m, transmitter.o, wiring.flipped(self.tx))

        header = receiver.header
        stream_frame = Signal()  # a DATA or ACK of this session has come, a cycle ago
        opened = Signal()  # there is one
        is_data = header.kind == FrameKind.DATA
        m.d.sync += [
            opened.eq(self.session != 0),
            stream_frame.eq(
                receiver.good & opened & ~self.reset & (is_data | (header.kind == FrameKind.ACK))
            ),
        ]
        m.d.comb += [
            receiver.session.eq(self.session),
            inbox.word.eq(receiver.word),
            inbox.index.eq(receiver.index),
            inbox.word_valid.eq(receiver.word_valid),
            inbox.header.eq(header),
            inbox.data.eq(stream_frame & is_data),
            inbox.damaged.eq(receiver.damaged),
            self.accepted.eq(inbox.accepted),
            self.o.payload.eq(inbox.o.payload),
            self.o.valid.eq(inbox.o.valid & ~self.reset),
            inbox.o.ready.eq(self.o.ready & ~self.reset),
            outbox.i.payload.eq(self.i.payload),
            outbox.i.valid.eq(self.i.valid & opened & ~self.reset),
            self.i.ready.eq(outbox.i.ready & opened & ~self.reset),
            outbox.heard.eq(stream_frame),
            outbox.ack.eq(header.ack),
            outbox.gap.eq(header.gap),
            outbox.gap_round.eq(header.heard),
        ]
        greeted = Signal()
        self._greet(m, receiver, greeted)
        self._answer(m, receiver, inbox, transmitter, stream_frame, greeted, opened)
        return m

    def _greet(self, m: Module, receiver: Receiver, greeted: Signal) -> None:
        """HELLO and PROBE."""
        kind = receiver.header.kind
        new, old = receiver.word[:32], receiver.word[32:]
        left = Signal(range(_RESET_CYCLES + 1))
        m.d.comb += [
            self.reset.eq(left != 0),
            greeted.eq(
                receiver.good
                & (receiver.header.length == 1)
                & ((kind == FrameKind.HELLO) | (kind == FrameKind.PROBE))
            ),
        ]
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.If(
            greeted
            & (kind == FrameKind.HELLO)
            & (new != 0)
            & (new != self.session)
            & (old == self.session)
        ):
            m.d.sync += [self.session.eq(new), left.eq(_RESET_CYCLES)]

    def _answer(
        self,
        m: Module,
        receiver: Receiver,
        inbox: Inbox,
        transmitter: Transmitter,
        stream_frame: Signal,
        greeted: Signal,
        opened: Signal,
    ) -> None:
        """What is sent next: who we are, then words, then acknowledgements alone."""
        outbox = self._outbox
        ident_due = Signal()
        ack_due = Signal()
        echo = Signal(32)
        told = Signal(8, init=WINDOW)  # credit of the last frame that left
        slot = Signal(len(outbox.read_slot))
        sends_ident = Signal()
        data_next = Signal()
        header = Signal(HEADER)

        m.d.comb += [
            header.gap.eq(inbox.gap),
            header.credit.eq(inbox.credit),
            header.round.eq(outbox.round),
            header.heard.eq(inbox.heard),
            header.ack.eq(inbox.expected),
            header.seq.eq(outbox.seq),
            transmitter.header.eq(header),
            transmitter.key.eq(Mux(ident_due, 0, self.session)),
            outbox.read_slot.eq(slot),
            outbox.read_index.eq(transmitter.index),
            data_next.eq(~ident_due & outbox.pending),
            transmitter.start.eq(~self.reset & (ident_due | outbox.pending | ack_due)),
            outbox.take.eq(transmitter.ready & transmitter.start & data_next),
        ]
        with m.If(ident_due):
            m.d.comb += [header.kind.eq(FrameKind.IDENT), header.length.eq(IDENT_WORDS)]
        with m.Elif(outbox.pending):
            m.d.comb += [header.kind.eq(FrameKind.DATA), header.length.eq(outbox.length)]
        with m.Else():
            m.d.comb += header.kind.eq(FrameKind.ACK)

        with m.If(transmitter.ready & transmitter.start):
            m.d.sync += [slot.eq(outbox.seq), sends_ident.eq(ident_due)]
            with m.If(ident_due):
                m.d.sync += ident_due.eq(0)
            with m.Else():
                m.d.sync += [ack_due.eq(0), told.eq(inbox.credit)]

        with m.If(self.reset):
            m.d.sync += [ack_due.eq(0), told.eq(WINDOW)]
        with m.Elif(
            (stream_frame & ((receiver.header.kind == FrameKind.DATA) | receiver.header.poll))
            | (receiver.damaged & opened)
            | ((told < WINDOW // 2) & (inbox.credit >= WINDOW // 2))
        ):
            m.d.sync += ack_due.eq(1)
        with m.If(greeted):
            m.d.sync += [ident_due.eq(1), echo.eq(receiver.word[:32])]

        words = [Const(word, 64) for word in self._ident.words()[: IDENT_WORDS - 1]]
        ident = data.ArrayLayout(64, IDENT_WORDS)
        choices = Signal(ident)
        m.d.comb += [
            choices.eq(Cat(*words, self.session, echo)),
            transmitter.word.eq(Mux(sends_ident, choices[transmitter.index[:2]], outbox.word)),
        ]
