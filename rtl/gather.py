# SPDX-License-Identifier: Apache-2.0
"""Where the bytes of a LOAD or VEC lie: the words to read, and what of each is wanted."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.isa import FORMATS, Opcode

__all__ = ["ADDRESS_BITS", "RunReader"]

ADDRESS_BITS = 24
"""Of a byte of data memory."""

_WORD_BYTES = 8


class RunReader(wiring.Component):
    """Walks through runs of bytes, a word a cycle, from the cycle of ``first`` on.

    The first word is named in the cycle in which the runs are, so that a read may start at once;
    in the cycle after the last one ``done`` shows.

    Members
    -------
    on, first : In(1)
        A cycle of an instruction that gathers; the first one, with the four inputs below.
    start, pitch : In(24)
        Address of the first run; from each run to the next. Modulo 2**24.
    bytes, repeats : In(9), In(8)
        Length of a run, and further runs. ``bytes`` and ``pitch`` must stand in all cycles.
    stream : In(1)
        The bytes come from a FIFO: a run begins with byte 0 of a word.
    step : Out(1)
        A word is wanted.
    addr : Out(24)
        Address of the first byte wanted.
    byte, count : Out(3), Out(4)
        The place of that byte in its word, and how many of that word are wanted.
    done : Out(1)
        No word is left: with ``first``, if ``bytes`` is 0.
    """

    def __init__(self) -> None:
        vec = FORMATS[Opcode.VEC]
        super().__init__(
            {
                "on": In(1),
                "first": In(1),
                "start": In(ADDRESS_BITS),
                "pitch": In(ADDRESS_BITS),
                "bytes": In(vec["bytes"].width),
                "repeats": In(vec["repeats"].width),
                "stream": In(1),
                "step": Out(1),
                "addr": Out(ADDRESS_BITS),
                "byte": Out(3),
                "count": Out(4),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal.like(self.bytes)  # bytes of this run; 0: all runs are read
        runs = Signal.like(self.repeats)  # that follow
        run = Signal(ADDRESS_BITS)  # where this run begins
        next_left = Signal.like(left)
        next_runs = Signal.like(runs)
        next_run = Signal.like(run)
        next_addr = Signal.like(run)
        following = Signal.like(run)
        ends = Signal()  # the run ends in this word
        with m.If(self.on):
            m.d.comb += [
                left.eq(Mux(self.first, self.bytes, next_left)),
                runs.eq(Mux(self.first, self.repeats, next_runs)),
                run.eq(Mux(self.first, self.start, next_run)),
                following.eq(run + self.pitch),
                self.addr.eq(Mux(self.first, self.start, next_addr)),
                self.byte.eq(Mux(self.stream, 0, self.addr[:3])),
                ends.eq(self.byte + left <= _WORD_BYTES),
                self.count.eq(Mux(ends, left, _WORD_BYTES - self.byte)),
                self.step.eq(left != 0),
                self.done.eq(left == 0),
            ]
            m.d.sync += [
                next_left.eq(left - self.count),
                next_runs.eq(runs),
                next_run.eq(run),
                next_addr.eq(Cat(Const(0, 3), self.addr[3:] + 1)),
            ]
            with m.If(ends & (runs != 0)):
                m.d.sync += [
                    next_left.eq(self.bytes),
                    next_runs.eq(runs - 1),
                    next_run.eq(following),
                    next_addr.eq(following),
                ]
        return m
