# SPDX-License-Identifier: Apache-2.0
"""Words of the tile to numbered frames, kept until the host has them."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.link import PAYLOAD_WORDS, WINDOW, WORD_BYTES

__all__ = ["QUIET_AFTER", "Outbox"]

QUIET_AFTER = 8
"""Repetitions without a frame of the host after which nothing is sent until one comes."""

_SLOT = (WINDOW - 1).bit_length()
_COUNT = PAYLOAD_WORDS.bit_length()


class Outbox(wiring.Component):
    """The sending half of go-back-N, over a memory of ``WINDOW`` frames.

    A frame is closed when it is full, or when no word came for ``linger`` cycles and nothing else
    is to be sent. The host always grants a whole window, so its credit is not looked at.

    Parameters
    ----------
    timeout : int
        Cycles without an ACK after which everything under way is sent again.
    linger : int
        Cycles.

    Members
    -------
    i : In(stream of 64)
    pending : Out(1)
        A frame is to be sent: the one of ``seq``, ``round`` and ``length``. It stands for one
        cycle at least before it may be taken, and is taken only while it stands.
    seq, round, length : Out(16), Out(4), Out(range(PAYLOAD_WORDS + 1))
    take : In(1)
        The frame is under way.
    read_slot, read_index, word : In(4), In(4), Out(64)
        A word of a frame by the low bits of its number; one cycle later.
    heard : In(1)
        A frame of the host came, with the fields below.
    ack, gap, gap_round : In(16), In(1), In(4)
    """

    def __init__(self, *, timeout: int, linger: int) -> None:
        if timeout < 1 or linger < 1:
            raise ValueError(f"Outbox waits must be from 1 cycle up, not {timeout} and {linger}")
        self._timeout = timeout
        self._linger = linger
        super().__init__(
            {
                "i": In(stream.Signature(8 * WORD_BYTES)),
                "pending": Out(1),
                "seq": Out(16),
                "round": Out(4),
                "length": Out(_COUNT),
                "take": In(1),
                "read_slot": In(_SLOT),
                "read_index": In(_COUNT - 1),
                "word": Out(8 * WORD_BYTES),
                "heard": In(1),
                "ack": In(16),
                "gap": In(1),
                "gap_round": In(4),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        base = Signal(16)  # the first frame that was not acknowledged
        top = Signal(16)  # the first that is not closed: words go there
        high = Signal(16)  # the first that was never sent
        self._collect(m, base, top)
        self._send(m, base, top, high)
        return m

    def _collect(self, m: Module, base: Signal, top: Signal) -> None:
        """Words to the open frame."""
        m.submodules.words = words = memory.Memory(
            shape=8 * WORD_BYTES, depth=WINDOW * PAYLOAD_WORDS, init=[]
        )
        m.submodules.lengths = lengths = memory.Memory(shape=_COUNT, depth=WINDOW, init=[])
        write, read = words.write_port(), words.read_port()
        write_length, read_length = lengths.write_port(), lengths.read_port()
        count = Signal(_COUNT)
        still = Signal(range(self._linger + 1))
        taken = self.i.valid & self.i.ready
        close = Signal()
        room = Signal()  # a register: the tile waits for it
        m.d.sync += room.eq(((top - base)[:16] < WINDOW) & ~close)
        m.d.comb += [
            self.i.ready.eq(room & (count != PAYLOAD_WORDS)),
            write.addr.eq(Cat(count[: _COUNT - 1], top[:_SLOT])),
            write.data.eq(self.i.payload),
            write.en.eq(taken),
            read.addr.eq(Cat(self.read_index, self.read_slot)),
            self.word.eq(read.data),
            write_length.addr.eq(top[:_SLOT]),
            write_length.data.eq(count),
            write_length.en.eq(close),
            read_length.addr.eq(self.seq[:_SLOT]),
            self.length.eq(read_length.data),
            close.eq(
                (count == PAYLOAD_WORDS)
                | ((count != 0) & (still == self._linger) & (self.seq == top) & ~taken)
            ),
        ]
        with m.If(taken):
            m.d.sync += [count.eq(count + 1), still.eq(0)]
        with m.Elif(still != self._linger):
            m.d.sync += still.eq(still + 1)
        with m.If(close):
            m.d.sync += [top.eq(top + 1), count.eq(0)]

    def _send(self, m: Module, base: Signal, top: Signal, high: Signal) -> None:
        """Which frame is next."""
        timer = Signal(range(self._timeout + 1))
        due = Signal()  # it stands at its end
        tries = Signal(range(QUIET_AFTER + 1))
        settled = Signal()  # there is one, and `length` is that of `seq`
        expired = Signal()
        # What a frame of the host tells is looked at in the cycle after it: differences first.
        judged = Signal()
        ack = Signal(16)
        new = Signal(16)  # frames that it acknowledges
        sent = Signal(16)  # that were sent this time
        most = Signal(16)  # and that were ever sent
        again = Signal()  # it asks for this round's frames again
        m.d.comb += [
            expired.eq(due & (tries != QUIET_AFTER)),
            # Acknowledgements and repetitions go first.
            self.pending.eq(settled & ~self.heard & ~judged & ~expired),
        ]
        m.d.sync += [
            settled.eq(~self.take & ~self.heard & ~judged & ~expired & (self.seq != top)),
            judged.eq(self.heard),
        ]

        with m.If(base == self.seq):
            self._restart(m, timer, due)
        with m.Else():
            m.d.sync += due.eq(timer == self._timeout)
            with m.If(timer != self._timeout):
                m.d.sync += timer.eq(timer + 1)

        with m.If(self.heard):
            m.d.sync += [
                ack.eq(self.ack),
                new.eq(self.ack - base),
                sent.eq(self.seq - base),
                most.eq(high - base),
                again.eq(self.gap & (self.gap_round == self.round)),
                tries.eq(0),
            ]
        # Not one that is late, of frames acknowledged long ago.
        with m.Elif(judged), m.If(new <= most):
            m.d.sync += base.eq(ack)
            with m.If(new != 0):
                self._restart(m, timer, due)
            with m.If(sent < new):
                m.d.sync += self.seq.eq(ack)
            with m.Elif(again & (sent != new)):
                m.d.sync += self.seq.eq(ack)
                self._restart(m, timer, due, another=True)
        with m.Elif(expired):
            m.d.sync += [tries.eq(tries + 1), self.seq.eq(base)]
            self._restart(m, timer, due, another=True)
        with m.Elif(self.take):
            m.d.sync += self.seq.eq(self.seq + 1)
            with m.If(self.seq == high):
                m.d.sync += high.eq(high + 1)

    def _restart(self, m: Module, timer: Signal, due: Signal, *, another: bool = False) -> None:
        """The timer, and with ``another`` a new round."""
        m.d.sync += [timer.eq(0), due.eq(0)]
        if another:
            m.d.sync += self.round.eq(self.round + 1)
