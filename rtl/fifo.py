# SPDX-License-Identifier: Apache-2.0
"""A word FIFO whose level the controller can read."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["WordFifo"]


class WordFifo(wiring.Component):
    """A ring of 64-bit words; pushes and pops are strobes that the users guard by ``level``.

    A word pushed in cycle t counts in ``level``, and may be popped, from t + 1 on. A word popped
    in cycle t stands at ``data`` from t + 1 until the next pop. One push and one pop a cycle.

    Parameters
    ----------
    depth : int
        Words, a power of two.

    Members
    -------
    push, push_data : In(1), In(64)
        Never while ``level == depth``.
    pop : In(1)
        Never while ``level == 0``.
    data : Out(64)
    level, free : Out(range(depth + 1))
        Words in the ring, and words that it has room for.
    clear, keep : In(1), In(range(depth + 1))
        Forget all words but the ``keep`` oldest, counted before a pop in the same cycle.

    Raises
    ------
    ValueError
        If the depth is no power of two.
    """

    def __init__(self, *, depth: int) -> None:
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"Depth must be a power of two from 2 up, not {depth}")
        self._depth = depth
        super().__init__(
            {
                "push": In(1),
                "push_data": In(64),
                "pop": In(1),
                "data": Out(64),
                "level": Out(range(depth + 1)),
                "free": Out(range(depth + 1), init=depth),
                "clear": In(1),
                "keep": In(range(depth + 1)),
            }
        )

    @property
    def depth(self) -> int:
        return self._depth

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ring = ring = memory.Memory(shape=64, depth=self._depth, init=[])
        write = ring.write_port()
        read = ring.read_port()
        tail = Signal(range(self._depth))
        head = Signal(range(self._depth))

        m.d.comb += [
            write.addr.eq(tail),
            write.data.eq(self.push_data),
            write.en.eq(self.push),
            read.addr.eq(head),
            read.en.eq(self.pop),
            self.data.eq(read.data),
        ]
        with m.If(self.pop):
            m.d.sync += head.eq(head + 1)
        with m.If(self.clear):
            m.d.sync += [
                tail.eq(head + self.keep),
                self.level.eq(self.keep - self.pop),
                self.free.eq(self.depth - self.keep + self.pop),
            ]
        with m.Else():
            with m.If(self.push):
                m.d.sync += tail.eq(tail + 1)
            with m.If(self.push != self.pop):
                m.d.sync += [
                    self.level.eq(Mux(self.push, self.level + 1, self.level - 1)),
                    self.free.eq(Mux(self.push, self.free - 1, self.free + 1)),
                ]
        return m
