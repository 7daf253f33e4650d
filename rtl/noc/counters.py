# SPDX-License-Identifier: Apache-2.0
"""What passes over a link, and what waits for it."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["COUNTER_BITS", "COUNTS", "LinkCounters"]

COUNTER_BITS = 32

COUNTS = data.StructLayout(
    {
        "flits": COUNTER_BITS,
        "blocked": COUNTER_BITS,
        "shared": COUNTER_BITS,
        "contended": COUNTER_BITS,
    }
)


class LinkCounters(wiring.Component):
    """Counters of an output, modulo 2**32.

    Members
    -------
    valid, taken : In(1), In(1)
        A flit is offered; it is transferred.
    shared : In(1)
        Both classes have a flit.
    contended : In(1)
        A packet waits for one of its own class that another input holds, or that came first.
    counts : Out(COUNTS)
        Cycles with a transfer (``flits``), with an offer that was not taken (``blocked``), with a
        class that waited for the other (``shared``), with an input that waited for another
        (``contended``).
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "valid": In(1),
                "taken": In(1),
                "shared": In(1),
                "contended": In(1),
                "counts": Out(COUNTS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        counts = self.counts
        with m.If(self.valid):
            with m.If(self.taken):
                m.d.sync += counts.flits.eq(counts.flits + 1)
            with m.Else():
                m.d.sync += counts.blocked.eq(counts.blocked + 1)
            with m.If(self.shared):
                m.d.sync += counts.shared.eq(counts.shared + 1)
            with m.If(self.contended):
                m.d.sync += counts.contended.eq(counts.contended + 1)
        return m
