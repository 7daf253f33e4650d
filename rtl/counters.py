# SPDX-License-Identifier: Apache-2.0
"""Performance counters of a core."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.registers import CoreCounter

__all__ = ["COUNTER_BITS", "CoreCounters"]

COUNTER_BITS = 48
"""At 100 MHz, a month until a counter of cycles wraps."""


class CoreCounters(wiring.Component):
    """READS, BEATS, ACTIVE and ADC_STALLS as ``docs/tile.md`` defines them.

    Whether the ADCs wait between two reads or are done is not known before the next read comes;
    the cycles they have waited are kept apart until then.

    Members
    -------
    clear : In(1)
        Set all counters to 0.
    start : In(1)
        A product starts.
    busy : In(1)
        Counted in ACTIVE.
    accept : In(1)
        The macro takes a read.
    beat : In(1)
        A beat is transferred.
    idle : In(1)
        The macro converts nothing after this cycle, unless it takes a read in it.
    select : In(2)
        A :class:`~ohmtwin.arch.registers.CoreCounter`.
    count : Out(48)
        The selected counter, a cycle later.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "clear": In(1),
                "start": In(1),
                "busy": In(1),
                "accept": In(1),
                "beat": In(1),
                "idle": In(1),
                "select": In(2),
                "count": Out(COUNTER_BITS),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from ``select`` to ``count``."""
        return 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        reads = Signal(COUNTER_BITS)
        beats = Signal(COUNTER_BITS)
        active = Signal(COUNTER_BITS)
        stalls = Signal(COUNTER_BITS)
        gap = Signal(16)  # cycles waited since the last beat
        between = Signal()  # the product has made a read

        with m.If(self.busy):
            m.d.sync += active.eq(active + 1)
        with m.If(self.beat):
            m.d.sync += beats.eq(beats + 1)
        with m.If(self.accept):
            m.d.sync += [reads.eq(reads + 1), between.eq(1), gap.eq(0)]
            with m.If(between):
                m.d.sync += stalls.eq(stalls + gap)
        with m.Elif(self.idle):
            m.d.sync += gap.eq(gap + 1)
        with m.If(self.start):
            m.d.sync += between.eq(0)
        with m.If(self.clear):
            m.d.sync += [counter.eq(0) for counter in (reads, beats, active, stalls)]

        with m.Switch(self.select):
            for which, counter in (
                (CoreCounter.READS, reads),
                (CoreCounter.BEATS, beats),
                (CoreCounter.ACTIVE, active),
                (CoreCounter.ADC_STALLS, stalls),
            ):
                with m.Case(which):
                    m.d.sync += self.count.eq(counter)
        return m
