# SPDX-License-Identifier: Apache-2.0
"""Which message class has a link in a cycle."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...arch.noc import CLASSES

__all__ = ["ClassShare"]


class ClassShare(wiring.Component):
    """Chooses flit by flit: a class that can go before one that could not, of two each in turn.

    The choice does not depend on ``ready`` as it is now, but on what it was when last looked at;
    so an offer is a function of registers, and a class that is stuck costs the other no cycle but
    the one in which that is found out.

    Members
    -------
    has : In(2)
        A bit a class: it has a flit.
    ready : In(2)
        Of the link.
    kind : Out(1)
        The class on offer, if any has a flit.
    """

    def __init__(self) -> None:
        super().__init__({"has": In(CLASSES), "ready": In(CLASSES), "kind": Out(1)})
        # Looked into by proofs.
        self.prefer = Signal()
        self.blocked = Signal(CLASSES)  # not ready, when last looked at

    def elaborate(self, platform: object) -> Module:
        m = Module()
        has = self.has
        prefer, blocked = self.prefer, self.blocked
        can = Signal(CLASSES)
        m.d.comb += [
            can.eq(has & ~blocked),
            self.kind.eq(
                Mux(can == 0, Mux(has == 3, prefer, has[1]), Mux(can == 3, prefer, can[1]))
            ),
        ]
        with m.If(has != 0):
            m.d.sync += [prefer.eq(~self.kind), blocked.eq(~self.ready)]
        return m
