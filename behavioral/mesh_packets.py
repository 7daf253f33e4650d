# SPDX-License-Identifier: Apache-2.0
"""What a mesh in time is made of: an agenda, buffers, links, paths, packets."""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..arch.noc import Node, Port

__all__ = ["Agenda", "Buffer", "Link", "Packet", "Path"]


class Agenda:
    """What is to happen, in order of time."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self.now = 0

    def at(self, time: int, action: Callable[..., None], *arguments: Any) -> None:
        """Call ``action(*arguments)`` at a time that has not passed."""
        self._count += 1
        heapq.heappush(self._heap, (time, 0, self._count, action, arguments))

    def last(self, time: int, action: Callable[..., None], *arguments: Any) -> None:
        """The same, after what :meth:`at` puts into that cycle."""
        self._count += 1
        heapq.heappush(self._heap, (time, 1, self._count, action, arguments))

    def run(self) -> None:
        """Until nothing is left to happen."""
        heap = self._heap
        while heap:
            self.now, _, _, action, arguments = heapq.heappop(heap)
            action(*arguments)


class Buffer:
    """The flits of one class at one input of a router; packets leave in order."""

    __slots__ = ("_exits", "depth", "entered", "last_exit", "left", "packets")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.packets: deque[Packet] = deque()
        """Those of which it is not known when they leave; the first one alone asks for links."""
        self.last_exit = -1
        """When the tail of the one before them leaves."""
        self.entered = 0
        """Flits of all packets so far."""
        self.left = 0
        """Those of which it is known when they leave."""
        self._exits: deque[int] = deque(maxlen=depth)

    def room(self, flit: int) -> int | None:
        """The first cycle in which there is room for a flit, by number; None if not known yet."""
        before = flit - self.depth
        if before < 0:
            return 0
        if before >= self.left:
            return None
        return self._exits[before - self.left] + 1

    def leave(self, times: Sequence[int]) -> None:
        """The first packet's flits leave in these cycles."""
        self.packets.popleft()
        self.last_exit = times[-1]
        self.left += len(times)
        self._exits.extend(times)


class Link:
    """A link for one message class.

    Parameters
    ----------
    port : Port
        The input of the router that it leads to.
    buffer : Buffer or None
        What is there; None: an interface, which takes every flit.
    rival : Link or None
        The data class on the same wires, of a link for control.
    """

    __slots__ = (
        *("buffer", "control_at", "flits", "given", "held", "owner", "pending", "port", "rival"),
        *("served", "slipped", "stuck", "waiting"),
    )

    def __init__(self, port: Port, buffer: Buffer | None, rival: "Link | None") -> None:
        self.port = port
        self.buffer = buffer
        self.rival = rival
        self.owner: tuple[Packet, int] | None = None
        """Whose packet has it, or had it last, as which link of its path."""
        self.waiting: list[tuple[Packet, int]] = []
        self.stuck = False
        """The owner stands before it, and it is not known when there is room behind it."""
        self.pending = False
        """Its release is on the agenda."""
        self.served = -1
        """The router's input that had it last."""
        self.flits = 0
        """Carried so far."""
        self.held = 0
        """Cycles that packets have waited for others."""
        self.slipped = 0
        """Cycles that packets have given to the other class."""
        self.given = 0
        """Those of the packet that has it."""
        self.control_at = -1
        """When a control flit last passed on the same wires."""


class Path:
    """Links of a leg from its source to its end.

    Parameters
    ----------
    links : sequence of Link
    taps : sequence of (Link, Node) or None
        For each link: the local link of the router behind it, and the tile there, if that takes a
        copy.
    end : Node
    """

    __slots__ = ("end", "links", "taps")

    def __init__(
        self, links: Sequence[Link], taps: Sequence[tuple[Link, Node] | None], end: Node
    ) -> None:
        self.links = tuple(links)
        self.taps = tuple(taps)
        self.end = end


class Packet:
    """On its way along a path; ``heads`` and ``tails`` are cycles of transfer, link by link.

    Parameters
    ----------
    path : Path
    flits : int
        With its header.
    delivered : callable
        Told who has got it, and when its head and its tail were taken, in the cycle of its tail.
    sent : callable, optional
        Told when its tail is taken from the source, as soon as that is known.
    """

    __slots__ = (
        *("closed", "copies", "delivered", "entry", "flits", "heads", "left", "path", "sent"),
        *("tails", "times"),
    )

    def __init__(
        self,
        path: Path,
        flits: int,
        delivered: Callable[[Node, int, int], None],
        sent: Callable[[int], None] | None = None,
    ) -> None:
        self.path = path
        self.flits = flits
        self.delivered = delivered
        self.sent = sent
        self.heads: list[int] = []
        self.tails: list[int] = []
        self.times: list[list[int] | None] = []
        """Cycles of all flits, link by link; None: one a cycle, or not known."""
        self.entry = 0
        """Number of its first flit in the buffer that it has come to."""
        self.closed = 0
        """Links whose tails are settled; those behind may still be held up."""
        self.copies: dict[int, int] = {}
        """When the tail of a copy was taken, by link before the router."""
        self.left = 0
        """Buffers of which it is known when it leaves them."""

    def passes(self, at: int) -> Sequence[int]:
        """Cycles in which its flits pass a link, as far as they are told apart."""
        flits, head, tail = self.flits, self.heads[at], self.tails[at]
        if tail - head == flits - 1:
            return range(head, tail + 1)
        times = self.times[at]
        if times is None and at and self.tails[at - 1] - self.heads[at - 1] > flits - 1:
            times, last = [], head - 1
            for before in self.passes(at - 1):
                last = max(last, before) + 1
                times.append(last)
        if times is None:
            return [head + k * (tail - head) // (flits - 1) for k in range(flits)]
        return [*times[:-1], tail]
