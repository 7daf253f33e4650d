# SPDX-License-Identifier: Apache-2.0
"""Round-robin choice that is held for a whole packet."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PacketArbiter"]


class PacketArbiter(wiring.Component):
    """Which input's packet has an output, for one message class.

    Combinational from ``requests`` to ``grant``. The grant stays with a requester from the cycle
    in which it is first offered until the tail of its packet is taken; then the requester after it
    comes first, so that each waits for at most one packet of each other.

    Parameters
    ----------
    count : int
        Requesters.

    Members
    -------
    requests : In(count)
        Those that have a flit for this output.
    grant : Out(count)
        One of them, or none.
    offered : In(1)
        The granted flit is on offer in this cycle: from now on it may not change.
    taken, last : In(1)
        It is taken in this cycle; it is a tail.
    """

    def __init__(self, *, count: int) -> None:
        if count < 1:
            raise ValueError(f"An arbiter needs at least one requester, not {count}")
        self._count = count
        super().__init__(
            {
                "requests": In(count),
                "grant": Out(count),
                "offered": In(1),
                "taken": In(1),
                "last": In(1),
            }
        )
        # Looked into by proofs.
        self.held = Signal()
        self.owner = Signal(count)
        self.after = Signal(count)  # those behind the last owner, who come first

    def elaborate(self, platform: object) -> Module:
        m = Module()
        after = self.after
        first = Signal(self._count)
        m.d.comb += [
            first.eq(self.requests & after),
            self.grant.eq(
                Mux(
                    self.held,
                    self.owner & self.requests,
                    Mux(first != 0, first & -first, self.requests & -self.requests),
                )
            ),
        ]
        with m.If(self.offered):
            m.d.sync += [
                self.owner.eq(self.grant),
                self.held.eq(~(self.taken & self.last)),
                after.eq(~(self.grant | (self.grant - 1))),
            ]
        return m
