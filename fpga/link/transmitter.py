# SPDX-License-Identifier: Apache-2.0
"""A header and its words to bytes of the line."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.link import BODY_BYTES, CRC_BYTES, DELIMITER, HEADER_BYTES, PAYLOAD_WORDS, WORD_BYTES
from .crc32 import CRC32
from .header import HEADER

__all__ = ["Transmitter"]


class Transmitter(wiring.Component):
    """Makes one frame at a time: CRC, COBS, delimiter; after a silence a delimiter goes ahead.

    The body is written to a memory in about ``10 / 8`` cycles a byte and leaves from there, since
    COBS's codes tell where the next zero will be.

    Members
    -------
    start, ready : In(1), Out(1)
        Begin the frame of ``header``, whose length says how many words follow, with its CRC XORed
        with ``key``. Taken in the cycles in which ``ready`` is 1.
    header, key : In(HEADER), In(32)
    index, word : Out(range(PAYLOAD_WORDS)), In(64)
        A word is asked for; it must stand two cycles later, and until ``index`` changes.
    o : Out(stream of 8)
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "start": In(1),
                "ready": Out(1),
                "header": In(HEADER),
                "key": In(8 * CRC_BYTES),
                "index": Out(range(PAYLOAD_WORDS)),
                "word": In(8 * WORD_BYTES),
                "o": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = CRC32.create()
        m.submodules.body = body = memory.Memory(shape=8, depth=256, init=[])
        write, read = body.write_port(), body.read_port()
        if BODY_BYTES > 254:
            raise ValueError(f"COBS with one code takes 254 bytes, a body has {BODY_BYTES}")

        shift = Signal(8 * WORD_BYTES)
        bytes_left = Signal(range(WORD_BYTES + 1))
        words_left = Signal(range(PAYLOAD_WORDS + 1))
        key = Signal.like(self.key)
        silent = Signal(init=1)
        at = Signal(8)  # where the next byte goes; its code stands at `mark`
        mark = Signal(8)
        position = Signal(8)
        zero = shift[:8] == 0
        m.d.comb += [
            write.data.eq(Mux(zero, at - mark, shift[:8])),
            write.addr.eq(Mux(zero, mark, at)),
            crc.data.eq(shift[:8]),
            read.addr.eq(position),
            self.o.payload.eq(DELIMITER),
        ]

        def put(then: str) -> None:
            """A byte to the memory, and what follows the last."""
            m.d.comb += write.en.eq(1)
            m.d.sync += [
                shift.eq(Cat(shift[8:], Const(0, 8))),
                bytes_left.eq(bytes_left - 1),
                at.eq(at + 1),
            ]
            with m.If(zero):
                m.d.sync += mark.eq(at)
            with m.If(bytes_left == 1):
                m.next = then

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.ready.eq(1), crc.start.eq(1)]
                m.d.sync += [
                    shift.eq(self.header),
                    words_left.eq(self.header.length),
                    bytes_left.eq(HEADER_BYTES),
                    key.eq(self.key),
                    self.index.eq(0),
                    at.eq(1),
                    mark.eq(0),
                    position.eq(0),
                ]
                with m.If(self.start):
                    m.next = "BODY"
                with m.Else():
                    m.d.sync += silent.eq(1)
            with m.State("BODY"):
                m.d.comb += crc.valid.eq(1)
                put("NEXT")
            with m.State("NEXT"):
                m.d.sync += bytes_left.eq(WORD_BYTES)
                with m.If(words_left == 0):
                    m.d.sync += [shift.eq(crc.crc ^ key), bytes_left.eq(CRC_BYTES)]
                    m.next = "CRC"
                with m.Else():
                    m.d.sync += [
                        shift.eq(self.word),
                        words_left.eq(words_left - 1),
                        self.index.eq(self.index + 1),
                    ]
                    m.next = "BODY"
            with m.State("CRC"):
                put("MARK")
            with m.State("MARK"):
                m.d.comb += [
                    write.en.eq(1),
                    write.addr.eq(mark),
                    write.data.eq(at - mark),
                ]
                m.next = "SILENCE"
            with m.State("SILENCE"):
                m.d.comb += self.o.valid.eq(silent)
                with m.If(~silent | self.o.ready):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += read.en.eq(1)
                m.next = "BYTE"
            with m.State("BYTE"):
                m.d.comb += [
                    read.en.eq(0),
                    self.o.payload.eq(read.data),
                    self.o.valid.eq(1),
                ]
                with m.If(self.o.ready):
                    m.d.sync += position.eq(position + 1)
                    m.next = "READ"
                    with m.If(position == (at - 1)[:8]):
                        m.next = "END"
            with m.State("END"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += silent.eq(0)
                    m.next = "IDLE"
        return m
