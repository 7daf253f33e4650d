# SPDX-License-Identifier: Apache-2.0
"""Frames that were checked to words for the tile: each once and in order."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.link import PAYLOAD_WORDS, WINDOW, WORD_BYTES
from .header import HEADER

__all__ = ["Inbox"]


class Inbox(wiring.Component):
    """The receiving half of go-back-N, over a ring of words.

    Words are written behind the committed ones and committed by ``data``, the strobe of a good DATA
    frame, if that frame is the expected one and found room; else the next frame overwrites them.

    Parameters
    ----------
    payload_words, window : int
        Powers of two; the ring holds their product.

    Members
    -------
    word, index, word_valid : In(64), In(range(payload_words)), In(1)
        As from :class:`~.receiver.Receiver`.
    header : In(HEADER)
    data : In(1)
        A good DATA of this session has ended, at least one cycle after its last word.
    damaged : In(1)
        What may have been one has ended.
    o : Out(stream of 64)
        Words of committed frames.
    expected, heard, gap, credit : Out(16), Out(4), Out(1), Out(8)
        As in the header.
    accepted : Out(1)
        With ``data``: the frame is committed.
    """

    def __init__(self, *, payload_words: int = PAYLOAD_WORDS, window: int = WINDOW) -> None:
        for name, value in (("payload_words", payload_words), ("window", window)):
            if value < 2 or value & (value - 1):
                raise ValueError(f"Inbox {name} must be a power of two from 2 up, not {value}")
        self._payload_words = payload_words
        self._window = window
        super().__init__(
            {
                "word": In(8 * WORD_BYTES),
                "index": In(range(payload_words)),
                "word_valid": In(1),
                "header": In(HEADER),
                "data": In(1),
                "damaged": In(1),
                "o": Out(stream.Signature(8 * WORD_BYTES)),
                "expected": Out(16),
                "heard": Out(4),
                "gap": Out(1),
                "credit": Out(8),
                "accepted": Out(1),
            }
        )

        # Made here, for a specification looks into them. One bit more than an address tells a full
        # ring from an empty one.
        words = payload_words * window
        self.committed = Signal(range(2 * words))
        self.taken = Signal(range(2 * words))
        self.kept = Signal()  # the words of this frame are in the ring

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words = self._payload_words * self._window
        committed, taken, kept = self.committed, self.taken, self.kept
        m.submodules.ring = ring = memory.Memory(shape=8 * WORD_BYTES, depth=words, init=[])
        write = ring.write_port()
        read = ring.read_port()
        used = Signal(range(words + 1))
        ahead = Signal(16)
        fetch = Signal()

        m.d.comb += [
            used.eq(committed - taken),
            self.credit.eq((words - used) >> (self._payload_words.bit_length() - 1)),
            write.addr.eq(committed + self.index),
            write.data.eq(self.word),
        ]
        with m.If(self.word_valid):
            # Room at the first word is room for all: it only grows until the commit.
            with m.If(self.index == 0):
                m.d.comb += write.en.eq(self.credit != 0)
                m.d.sync += kept.eq(self.credit != 0)
            with m.Else():
                m.d.comb += write.en.eq(kept)

        m.d.comb += [
            ahead.eq(self.header.seq - self.expected),
            self.accepted.eq(self.data & (ahead == 0) & kept & (self.header.length != 0)),
        ]
        with m.If(self.damaged):
            m.d.sync += self.gap.eq(1)
        with m.If(self.data):
            m.d.sync += self.heard.eq(self.header.round)
            with m.If(self.accepted):
                m.d.sync += [
                    self.expected.eq(self.expected + 1),
                    committed.eq(committed + self.header.length),
                    self.gap.eq(0),
                ]
            with m.Elif(~ahead[-1]):
                m.d.sync += self.gap.eq(1)
        with m.If(self.data | self.damaged):
            m.d.sync += kept.eq(0)

        m.d.comb += [
            fetch.eq((committed != taken) & (~self.o.valid | self.o.ready)),
            read.en.eq(fetch),
            read.addr.eq(taken),
            self.o.payload.eq(read.data),
        ]
        with m.If(fetch):
            m.d.sync += [taken.eq(taken + 1), self.o.valid.eq(1)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m
