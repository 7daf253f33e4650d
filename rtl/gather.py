# SPDX-License-Identifier: Apache-2.0
"""Where the bytes of a LOAD or VEC lie: the words to read, and what of each is wanted."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.isa import FORMATS, Opcode
from .idle import idle_skips

__all__ = ["ADDRESS_BITS", "RunReader"]

ADDRESS_BITS = 24
"""Of a byte of data memory."""

_WORD_BYTES = 8


class RunReader(wiring.Component):
    """Walks through runs of bytes, a word a cycle.

    Runs are named in one cycle and stand in registers from the next one on. There the first word
    shows until ``on``, which goes on to the next; behind the last one ``done`` shows.

    Members
    -------
    take : In(1)
        Take the inputs below; not with ``on``.
    start : In(24)
        Address of the first run.
    bytes, repeats : In(9), In(8)
        Length of a run, and further runs.
    nothing : In(1)
        The length is 0.
    stream : In(1)
        The bytes come from a FIFO: the run begins with byte 0 of a word.
    pitch : In(24)
        From each run to the next, modulo 2**24; in the cycles of ``on``.
    show, on : In(1)
        The outputs below are of interest; and go on to the next word.
    addr : Out(24)
        Address of the first byte wanted.
    byte, count : Out(3), Out(4)
        The place of that byte in its word, and how many of that word are wanted.
    done : Out(1)
        No word is left.
    """

    def __init__(self) -> None:
        vec = FORMATS[Opcode.VEC]
        super().__init__(
            {
                "take": In(1),
                "start": In(ADDRESS_BITS),
                "bytes": In(vec["bytes"].width),
                "nothing": In(1),
                "repeats": In(vec["repeats"].width),
                "stream": In(1),
                "pitch": In(ADDRESS_BITS),
                "show": In(1),
                "on": In(1),
                "addr": Out(ADDRESS_BITS),
                "byte": Out(3),
                "count": Out(4),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        length = Signal.like(self.bytes)
        left = Signal.like(self.bytes)  # bytes of this run
        runs = Signal.like(self.repeats)  # that follow
        run = Signal(ADDRESS_BITS)  # where this run begins
        following = Signal.like(run)
        ends = Signal()  # the run ends in this word
        with idle_skips(m, self.show, platform):
            m.d.comb += [
                self.byte.eq(self.addr[:3]),
                ends.eq((left[4:] == 0) & (self.byte + left[:4] <= _WORD_BYTES)),
                self.count.eq(Mux(ends, left, _WORD_BYTES - self.byte)),
                following.eq(run + self.pitch),
            ]
        with m.If(self.on):
            with m.If(ends & (runs != 0)):
                m.d.sync += [
                    left.eq(length),
                    runs.eq(runs - 1),
                    run.eq(following),
                    self.addr.eq(following),
                ]
            with m.Else():
                m.d.sync += [
                    self.done.eq(ends),
                    left.eq(left + self.byte - _WORD_BYTES),
                    self.addr.eq(Cat(Const(0, 3), self.addr[3:] + 1)),
                ]
        with m.If(self.take):
            m.d.sync += [
                length.eq(self.bytes),
                left.eq(self.bytes),
                self.done.eq(self.nothing),
                runs.eq(self.repeats),
                run.eq(self.start),
                self.addr.eq(Cat(Mux(self.stream, 0, self.start[:3]), self.start[3:])),
            ]
        return m
