# SPDX-License-Identifier: Apache-2.0
"""What the receiving side of the link must never do, as hardware that watches it.

Everything that is compared is computed a second time, byte by byte, from what went in.
"""

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, Value
from amaranth.lib import crc, wiring

from ohmtwin.arch.link import FrameKind
from ohmtwin.fpga.link.header import HEADER
from ohmtwin.fpga.link.inbox import Inbox
from ohmtwin.fpga.link.receiver import Receiver

__all__ = ["InboxSpec", "ReceiverSpec"]

POLYNOMIAL = 0x07
CRC8 = crc.Algorithm(
    crc_width=8,
    polynomial=POLYNOMIAL,
    initial_crc=0,
    reflect_input=False,
    reflect_output=False,
    xor_output=0,
)(data_width=8)
"""A short CRC in place of CRC-32: the logic around it is the same."""


def crc8(before: Value, byte: Value) -> Value:
    """One byte, one bit after the other."""
    value: Value = before ^ byte
    for _ in range(8):
        shifted = Cat(0, value[:7])
        value = Mux(value[7], shifted ^ POLYNOMIAL, shifted)
    return value


class ReceiverSpec(wiring.Component):
    """No frame is good whose CRC, length or COBS is wrong; what is good is what was sent.

    Frames of at most one word and a CRC of eight bits.
    """

    def __init__(self) -> None:
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = Receiver(payload_words=1, algorithm=CRC8)
        byte, valid = AnySeq(8), AnySeq(1)
        session = AnyConst(32)
        m.d.comb += [
            dut.i.payload.eq(byte),
            dut.i.valid.eq(valid),
            dut.session.eq(session),
        ]

        # The frame under way: its bytes (17 at most are kept), and their CRC up to the last but
        # one.
        left = Signal(8)
        begun = Signal()
        n = Signal(5)
        long = Signal()
        data = Signal(17 * 8)
        all_crc = Signal(8)
        but_last = Signal(8)
        last = Signal(8)
        ends = valid & (byte == 0)
        code = valid & (byte != 0) & (left == 0)
        plain = Mux(code, 0, byte)
        with m.If(ends):
            m.d.sync += [left.eq(0), begun.eq(0), n.eq(0), long.eq(0), all_crc.eq(0)]
            m.d.sync += but_last.eq(0)
        with m.Elif(valid):
            m.d.sync += [begun.eq(1), left.eq(Mux(code, byte, left) - 1)]
            with m.If(begun | ~code):
                m.d.sync += [last.eq(plain), but_last.eq(all_crc), all_crc.eq(crc8(all_crc, plain))]
                with m.If(n == 17):
                    m.d.sync += long.eq(1)
                with m.Else():
                    m.d.sync += [n.eq(n + 1), data.word_select(n, 8).eq(plain)]

        # What the verdict must be, in the cycle after the delimiter.
        header = HEADER(data[:64])
        keyed = (header.kind == FrameKind.DATA) | (header.kind == FrameKind.ACK)
        right = (
            begun
            & (left == 0)
            & ~long
            & (n == (header.length << 3) + 9)
            & (but_last == last ^ Mux(keyed, session[:8], 0))
        )
        good = Signal()
        damaged = Signal()
        was = Signal(17 * 8)
        m.d.sync += [good.eq(ends & right), damaged.eq(ends & begun & ~right), was.eq(data)]
        m.d.comb += [Assert(dut.good == good), Assert(dut.damaged == damaged)]
        with m.If(dut.good):
            was_header = HEADER(was[:64])
            m.d.comb += Assert(dut.header.as_value() == was[:64])
            with m.If(was_header.length == 1):
                m.d.comb += Assert(dut.word == was[64:128])

        # What ties both together, for the induction.
        m.d.comb += [
            Assert(dut.left == left),
            Assert(dut.begun == begun),
            Assert(begun | ((n == 0) & (left == 0))),
            Assert(dut.tail_bytes == (n != 0)),
            Assert((n == 0) | (dut.tail == last)),
            Assert(n <= 17),
            Assert(dut.broken == long),
            Assert(dut.count == Mux(n == 0, 0, n - 1)),
            Assert(long | (dut.check.crc == but_last)),
            Assert((n == 17) | ~long),
            Assert(all_crc == Mux(n == 0, 0, crc8(but_last, last))),
            Assert((n > 1) | (but_last == 0)),
        ]
        with m.If(~long):
            with m.If(n != 0):
                m.d.comb += Assert(data.word_select((n - 1)[:5], 8) == last)
            with m.If(n >= 9):
                m.d.comb += Assert(dut.header.as_value() == data[:64])
        # The word register holds the bytes before the tail, the newest on top.
        for count in range(1, 17):
            with m.If(dut.count == count):
                for back in range(min(count, 8)):
                    m.d.comb += Assert(
                        dut.word[56 - 8 * back : 64 - 8 * back]
                        == data[8 * (count - 1 - back) : 8 * (count - back)]
                    )
        m.d.comb += [Cover(dut.good & (dut.header.length == 1)), Cover(dut.damaged)]
        return m


class InboxSpec(wiring.Component):
    """Frames are accepted in the order of their numbers, each once; words leave as often as
    they were accepted, and unchanged.

    A ring of two frames of two words; sequence numbers at full width.

    Parameters
    ----------
    data : bool
        Whether to look at the words too; their memory is too much for an induction.
    """

    def __init__(self, *, data: bool) -> None:
        self._data = data
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = Inbox(payload_words=2, window=2)
        header = HEADER(AnySeq(64))
        m.d.comb += [
            dut.word.eq(AnySeq(64)),
            dut.index.eq(AnySeq(1)),
            dut.word_valid.eq(AnySeq(1)),
            dut.header.eq(header),
            dut.data.eq(AnySeq(1)),
            dut.damaged.eq(AnySeq(1)),
            dut.o.ready.eq(AnySeq(1)),
        ]
        # As the receiver does: words in order, then one verdict, with the right length.
        came = Signal(2)
        verdict = dut.data | dut.damaged
        m.d.comb += [
            Assume(~(dut.word_valid & verdict)),
            Assume(~(dut.data & dut.damaged)),
            Assume(~dut.word_valid | ((dut.index == came) & (came < 2))),
            Assume(~dut.data | (header.length == came)),
        ]
        with m.If(verdict):
            m.d.sync += came.eq(0)
        with m.Elif(dut.word_valid):
            m.d.sync += came.eq(came + 1)

        # Numbers.
        following = Signal(16)
        with m.If(dut.accepted):
            m.d.sync += following.eq(following + 1)
            m.d.comb += [
                Assert(dut.data),
                Assert(header.seq == following),
                Assert(came != 0),
            ]
        m.d.comb += [
            Assert(dut.expected == following),
            # The right frame is refused only for want of room.
            Assert(dut.accepted | ~dut.data | (header.seq != following) | (came == 0) | ~dut.kept),
        ]

        # Words: accepted, and given away.
        accepted = Signal(8)
        given = Signal(8)
        with m.If(dut.accepted):
            m.d.sync += accepted.eq(accepted + came)
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += given.eq(given + 1)
        held = (accepted - given)[:8]
        m.d.comb += [
            Assert(held <= 5),
            Assert(~dut.o.valid | (held != 0)),
            Assert(dut.committed == accepted[:3]),
            Assert(dut.taken == (given + dut.o.valid)[:3]),
            Assert((held - dut.o.valid)[:8] <= 4),
            # Room at the first word is room for all.
            Assert(~dut.kept | (came == 0) | ((held - dut.o.valid)[:8] <= 2)),
            Assert(came <= 2),
        ]

        m.d.comb += Cover(given == 6)
        if self._data:
            self._watch_a_word(m, dut, accepted, given, verdict)
        return m

    def _watch_a_word(
        self, m: Module, dut: Inbox, accepted: Signal, given: Signal, verdict: Value
    ) -> None:
        """One word of any number: what leaves is what was accepted."""
        number = AnyConst(3)
        # Nothing looks at a word, so words of two bits stand for all.
        m.d.comb += Assume(dut.word[2:] == 0)
        value = Signal(64)
        written = Signal()
        known = Signal()
        coming = (accepted + dut.index)[:8]
        with m.If(dut.word_valid & (coming == number) & ~known):
            m.d.sync += [value.eq(dut.word), written.eq(1)]
        with m.If(verdict):
            m.d.sync += written.eq(0)
            with m.If(dut.accepted & written):
                m.d.sync += known.eq(1)
        with m.If(dut.o.valid & known & (given == number)):
            m.d.comb += Assert(dut.o.payload == value)
