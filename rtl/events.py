# SPDX-License-Identifier: Apache-2.0
"""Counters of a core that only some chips have."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from ..arch.registers import CoreEvent
from .checks import check_chip
from .counters import COUNTER_BITS

__all__ = ["EventCounters"]


class EventCounters(wiring.Component):
    """Counts the events that ``chip`` has (``docs/tile.md``, "Events").

    Parameters
    ----------
    chip : Chip

    Members
    -------
    clear : In(1)
        Set all counters to 0.
    corrected, detected, ... : In(7)
        How many of that event happen in this cycle; one member for each of ``chip.events``.
    select : In(2)
        A :class:`~ohmtwin.arch.registers.CoreEvent`.
    count : Out(48)
        The selected counter, a cycle later; 0 for an event that the chip does not have.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._events = check_chip(chip).events
        super().__init__(
            {
                "clear": In(1),
                "select": In(2),
                "count": Out(COUNTER_BITS),
                **{event.name.lower(): In(7) for event in self._events},
            }
        )

    def amount(self, event: CoreEvent) -> Signal:
        """The member that takes how many of an event happen."""
        found: Signal = getattr(self, event.name.lower())
        return found

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.count.eq(0)
        for event in self._events:
            counter = Signal(COUNTER_BITS, name=f"count_{event.name.lower()}")
            m.d.sync += counter.eq(counter + self.amount(event))
            with m.If(self.clear):
                m.d.sync += counter.eq(0)
            with m.If(self.select == event):
                m.d.sync += self.count.eq(counter)
        return m
