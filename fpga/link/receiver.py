# SPDX-License-Identifier: Apache-2.0
"""Bytes of the line to checked frames."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import crc, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.link import DELIMITER, HEADER_BYTES, PAYLOAD_WORDS, WORD_BYTES, FrameKind
from .crc32 import CRC32
from .header import HEADER

__all__ = ["Receiver"]


class Receiver(wiring.Component):
    """Undoes COBS, cuts into words, checks length and CRC.

    A byte a cycle. Words of the payload come out before the frame is checked: who takes them must
    be able to forget them. The frame's verdict comes in the cycle after its delimiter, and one
    cycle at least after its last word.

    Parameters
    ----------
    payload_words : int
        Most words of a frame.
    algorithm : crc.Parameters
        A CRC over bytes, of a whole number of bytes.

    Members
    -------
    i : In(stream of 8, always ready)
    session : In(32)
        XORed to the CRC of DATA and ACK.
    word, index, word_valid : Out(64), Out(range(payload_words)), Out(1)
        A word of the payload, for one cycle; ``word`` stays until 8 bytes of the next frame came.
    header : Out(HEADER)
        Of the frame under way; stays until 8 bytes of the next frame came.
    good : Out(1)
        For one cycle: a frame with a right CRC and length ended.
    damaged : Out(1)
        For one cycle: something else ended that was not empty.
    """

    def __init__(
        self, *, payload_words: int = PAYLOAD_WORDS, algorithm: crc.Parameters = CRC32
    ) -> None:
        if payload_words < 1:
            raise ValueError(f"A frame has room for at least one word, not {payload_words}")
        self._payload_words = payload_words
        self._algorithm = algorithm
        super().__init__(
            {
                "i": In(stream.Signature(8, always_ready=True)),
                "session": In(32),
                "word": Out(8 * WORD_BYTES),
                "index": Out(range(payload_words)),
                "word_valid": Out(1),
                "header": Out(HEADER),
                "good": Out(1),
                "damaged": Out(1),
            }
        )
        # Made here, for a specification looks into them.
        self.check = algorithm.create()
        self.left = Signal(8)  # bytes until COBS's next code
        self.begun = Signal()  # a byte of this frame has come
        self.broken = Signal()  # too long
        crc_bits = algorithm.algorithm.crc_width
        self.tail = Signal(crc_bits)  # the last bytes; the CRC if the frame ends here
        self.tail_bytes = Signal(range(crc_bits // 8 + 1))
        longest = HEADER_BYTES + payload_words * WORD_BYTES
        self.count = Signal(range(longest + 1))  # bytes before the tail

    @property
    def payload_words(self) -> int:
        return self._payload_words

    def elaborate(self, platform: object) -> Module:
        m = Module()
        crc_bits = self._algorithm.algorithm.crc_width
        m.submodules.crc = check = self.check
        longest = HEADER_BYTES + self._payload_words * WORD_BYTES

        left, begun, broken = self.left, self.begun, self.broken
        tail, tail_bytes, count = self.tail, self.tail_bytes, self.count
        body_byte = Signal(8)  # of the body, COBS undone
        body_valid = Signal()
        delimiter = self.i.valid & (self.i.payload == DELIMITER)
        code = self.i.valid & ~delimiter & (left == 0)
        out = Signal()  # a byte leaves the tail

        m.d.comb += [
            body_byte.eq(Mux(code, 0, self.i.payload)),
            # A code stands for the zero before it; the first for none.
            body_valid.eq(self.i.valid & ~delimiter & ~(code & ~begun)),
            out.eq(body_valid & (tail_bytes == crc_bits // 8)),
            check.data.eq(tail[:8]),
            check.valid.eq(out & ~broken),
            check.start.eq(delimiter),
        ]
        m.d.sync += [self.word_valid.eq(0), self.good.eq(0), self.damaged.eq(0)]

        with m.If(delimiter):
            m.d.sync += [left.eq(0), begun.eq(0), broken.eq(0), tail_bytes.eq(0), count.eq(0)]
        with m.Elif(self.i.valid):
            m.d.sync += begun.eq(1)
            m.d.sync += left.eq(Mux(code, self.i.payload, left) - 1)
        with m.If(body_valid):
            m.d.sync += tail.eq(Cat(tail[8:], body_byte))
            with m.If(~out):
                m.d.sync += tail_bytes.eq(tail_bytes + 1)
        with m.If(out):
            with m.If(count == longest):
                m.d.sync += broken.eq(1)
            with m.Elif(~broken):
                m.d.sync += [count.eq(count + 1), self.word.eq(Cat(self.word[8:], tail[:8]))]
                with m.If(count == HEADER_BYTES - 1):
                    m.d.sync += self.header.eq(Cat(self.word[8:], tail[:8]))
                with m.Elif(count[:3] == WORD_BYTES - 1):
                    m.d.sync += [self.word_valid.eq(1), self.index.eq(count[3:] - 1)]

        in_session = (self.header.kind == FrameKind.DATA) | (self.header.kind == FrameKind.ACK)
        right = Signal()
        m.d.comb += right.eq(
            ~broken
            & (left == 0)
            & (tail_bytes == crc_bits // 8)
            & (count[:3] == 0)
            & (count[3:] == self.header.length + 1)
            & (check.crc == tail ^ Mux(in_session, self.session, 0)[:crc_bits])
        )
        with m.If(delimiter & begun):
            m.d.sync += [self.good.eq(right), self.damaged.eq(~right)]
        return m
