# SPDX-License-Identifier: Apache-2.0
"""Packets on a mesh in time, without a clock: when each head and each tail passes each link.

A router gives a flit away a cycle after it got it, a link carries a flit a cycle, and a packet
keeps a link from head to tail (``docs/noc.md``). So a packet is told by two cycles a link. Where
packets want the same link, they get it round robin; what is held up fills the buffers behind it,
and holds the links that its tail still needs. The two message classes have buffers of their own;
where they share a link, a control flit slips in between two data flits. What is not followed is
which flit of two classes goes first, and the flits of a packet that is longer than a buffer; so
cycles are near where packets meet, and exact elsewhere.
"""

from collections.abc import Mapping

from ..arch.noc import PORTS, Channel, Kind, MeshShape, Node, Port, absorbed, neighbor, path
from ..arch.noc_interface import Leg
from .mesh_packets import Agenda, Buffer, Link, Packet, Path

__all__ = ["Fabric"]

_ACROSS = {
    Port.NORTH: Port.SOUTH,
    Port.SOUTH: Port.NORTH,
    Port.EAST: Port.WEST,
    Port.WEST: Port.EAST,
    Port.LOCAL: Port.LOCAL,
}
"""Input of the next router, by output."""


class Fabric:
    """The links and buffers of a mesh of buffered routers.

    Parameters
    ----------
    shape : MeshShape
    agenda : Agenda
    """

    def __init__(self, shape: MeshShape, agenda: Agenda) -> None:
        self._shape = shape
        self._agenda = agenda
        self._inward: dict[tuple[Node, Kind], Link] = {}
        self._outward: dict[tuple[Channel, Kind], Link] = {}
        self._paths: dict[tuple[Node, Leg, Kind], Path] = {}

    @property
    def inward(self) -> Mapping[tuple[Node, Kind], Link]:
        """Links of tiles and hosts into the mesh, those in use."""
        return self._inward

    @property
    def outward(self) -> Mapping[tuple[Channel, Kind], Link]:
        """Links of the routers' outputs, those in use."""
        return self._outward

    def path(self, src: Node, leg: Leg, kind: Kind) -> Path:
        """Where packets of a leg pass."""
        key = (src, leg, kind)
        if key not in self._paths:
            dst = Node(leg.dst_x, leg.dst_y, leg.host)
            header = leg.header(src)
            links, taps = [self._source(src, kind)], []
            for channel in path(self._shape, src, dst):
                x, y = channel.x, channel.y
                tapped = channel.port is not Port.LOCAL and absorbed(x, y, header)
                local = self._output(Channel(x, y, Port.LOCAL), kind) if tapped else None
                taps.append(None if local is None else (local, Node(x, y)))
                links.append(self._output(channel, kind))
            self._paths[key] = Path(links, [*taps, None], dst)
        return self._paths[key]

    def _source(self, node: Node, kind: Kind) -> Link:
        if (node, kind) not in self._inward:
            rival = self._source(node, Kind.DATA) if kind is Kind.CONTROL else None
            port = Port.WEST if node.host else Port.LOCAL
            self._inward[node, kind] = Link(port, Buffer(self._shape.depth), rival)
        return self._inward[node, kind]

    def _output(self, channel: Channel, kind: Kind) -> Link:
        if (channel, kind) not in self._outward:
            rival = self._output(channel, Kind.DATA) if kind is Kind.CONTROL else None
            there = neighbor(self._shape, channel.x, channel.y, channel.port)
            sink = channel.port is Port.LOCAL or (there is not None and there.host)
            self._outward[channel, kind] = Link(
                _ACROSS[channel.port], None if sink else Buffer(self._shape.depth), rival
            )
        return self._outward[channel, kind]

    def inject(self, packet: Packet) -> None:
        """Offer a packet, all of whose flits are at hand, to its first link in this cycle."""
        self._request(packet, 0)

    # A packet asks for link ``at`` of its path when its head stands before it.

    def _request(self, packet: Packet, at: int) -> None:
        link = packet.path.links[at]
        link.waiting.append((packet, at))
        if self._is_free(link):
            self._release_at(link, self._agenda.now)
        else:
            self._await_release(link)

    def _is_free(self, link: Link) -> bool:
        if link.owner is None:
            return True
        packet, at = link.owner
        return packet.closed > at and packet.tails[at] < self._agenda.now

    def _await_release(self, link: Link) -> None:
        if link.owner is not None:
            packet, at = link.owner
            if packet.closed > at:
                self._release_at(link, max(packet.tails[at] + 1, self._agenda.now))

    def _release_at(self, link: Link, time: int) -> None:
        if not link.pending:
            link.pending = True
            self._agenda.last(time, self._release, link)

    def _release(self, link: Link) -> None:
        """Give a link that is free to one that waits."""
        link.pending = False
        if not self._is_free(link):  # a control flit has slipped in
            self._await_release(link)
            return
        if link.control_at == self._agenda.now:
            link.slipped += 1
            self._release_at(link, link.control_at + 1)
            return
        turn = 0
        if len(link.waiting) > 1:  # round robin
            turn = min(
                range(len(link.waiting)),
                key=lambda k: (self._input(*link.waiting[k]) - link.served - 1) % PORTS,
            )
        self._start(link, *link.waiting.pop(turn))

    def _start(self, link: Link, packet: Packet, at: int) -> None:
        """The link is the packet's; its head passes when there is room behind the link."""
        buffer = link.buffer
        link.owner = (packet, at)
        room = 0 if buffer is None else buffer.room(buffer.entered)
        link.stuck = room is None
        if room is None:
            return
        if room > self._agenda.now:
            self._agenda.at(room, self._grant, link, packet, at)
        else:
            self._grant(link, packet, at)

    @staticmethod
    def _input(packet: Packet, at: int) -> int:
        """The router's input at which a packet stands before link ``at``."""
        return packet.path.links[at - 1].port if at else 0

    def _grant(self, link: Link, packet: Packet, at: int) -> None:
        """The head passes in this cycle, and the flits behind it as they come."""
        now, flits, links = self._agenda.now, packet.flits, packet.path.links
        heads, tails = packet.heads, packet.tails
        if at:
            link.held += now - heads[at - 1] - 1
        link.served = self._input(packet, at)
        link.flits += flits
        link.given = 0
        heads.append(now)
        tails.append(now + flits - 1)
        packet.times.append(None)
        # A tail needs the room that the head makes when it goes on.
        for back in range(1, at + 1):
            buffer = links[at - back].buffer
            room = flits if buffer is None else back * buffer.depth
            if room >= flits:
                break
            tails[at - back] = max(tails[at - back], now + flits - room)
        buffer = link.buffer
        if buffer is not None:
            packet.entry = buffer.entered
            buffer.entered += flits
            self._fit(packet, buffer, at)
            buffer.packets.append(packet)
            if buffer.packets[0] is packet:
                self._agenda.at(max(now, buffer.last_exit) + 1, self._stand, packet, at + 1)
        self._follow(packet, max(packet.closed, 1))
        if link.rival is not None:
            self._slip_in(link.rival)
        self._close(packet)
        if link.waiting:
            self._await_release(link)

    @staticmethod
    def _fit(packet: Packet, buffer: Buffer, at: int) -> None:
        """Flits need the room that packets before theirs make."""
        flits, head = packet.flits, packet.heads[at]
        room = buffer.room(packet.entry + flits - 1)
        if flits > buffer.depth or room is None:
            return
        steady = at == 0 or packet.tails[at - 1] - packet.heads[at - 1] == flits - 1
        if steady and room <= head + flits - 1:
            return
        before = packet.passes(at - 1) if at else range(-1, flits - 1)
        times, last = [], head - 1
        for k in range(flits):
            last = max(last + 1, before[k] + 1, buffer.room(packet.entry + k) or 0)
            times.append(last)
        packet.times[at] = times
        packet.tails[at] = max(packet.tails[at], last)

    @staticmethod
    def _follow(packet: Packet, first: int) -> None:
        """A tail passes a link at least a cycle after the one before."""
        tails = packet.tails
        for at in range(first, len(tails)):
            if tails[at] <= tails[at - 1]:
                tails[at] = tails[at - 1] + 1

    def _slip_in(self, rival: Link) -> None:
        """A control flit takes a cycle of a data packet that streams over the same wires."""
        rival.control_at = self._agenda.now
        if rival.owner is None:
            return
        packet, at = rival.owner
        if len(packet.heads) <= at:
            return
        # A packet whose flits come with gaps has room for another one.
        whole = packet.tails[at] - packet.heads[at] == packet.flits - 1 + rival.given
        if whole and packet.heads[at] <= self._agenda.now <= packet.tails[at]:
            rival.slipped += 1
            rival.given += 1
            packet.tails[at] += 1
            self._follow(packet, at + 1)

    def _stand(self, packet: Packet, at: int) -> None:
        """The packet is first in the buffer before link ``at``."""
        if packet.path.taps[at - 1] is not None:
            self._copy(packet, at - 1)
        self._request(packet, at)

    def _copy(self, packet: Packet, at: int) -> None:
        """Give a copy to the local port behind link ``at``, once the tail is there."""
        tap = packet.path.taps[at]
        buffer = packet.path.links[at].buffer
        if tap is None or buffer is None or buffer.packets[0] is not packet or at in packet.copies:
            return
        if packet.closed <= at:
            return  # asked again when it is known
        packet.copies[at] = -1
        link, node = tap

        def taken(_: Node, head: int, tail: int) -> None:
            packet.copies[at] = tail
            packet.delivered(node, head, tail)
            self._leave(packet)

        copy = Packet(Path([packet.path.links[at], link], [None, None], node), packet.flits, taken)
        copy.heads.append(packet.tails[at])
        copy.tails.append(packet.tails[at])
        copy.times.append(None)
        copy.closed = copy.left = 1
        self._agenda.at(max(packet.tails[at] + 1, self._agenda.now), self._request, copy, 1)

    # Tails that become known

    def _close(self, packet: Packet) -> None:
        """Settle the tails that nothing can hold up any more, and tell those whom it concerns."""
        first, links = packet.closed, packet.path.links
        top = len(packet.heads) - 1
        if first > top:
            return
        room = self._room(packet, links[top])
        while packet.closed <= top:
            buffer = links[packet.closed].buffer
            depth = packet.flits if buffer is None else buffer.depth
            if room + (top - packet.closed) * depth < packet.flits:
                break
            packet.closed += 1
        for at in range(first, packet.closed):
            link = links[at]
            if at == 0 and packet.sent is not None:
                packet.sent(packet.tails[0])
            if link.waiting:
                self._await_release(link)
            if link.buffer is None:
                end = max(packet.tails[at], self._agenda.now)
                self._agenda.at(end, self._deliver, packet)
            elif packet.path.taps[at] is not None:
                self._copy(packet, at)
        if packet.closed > first:
            self._leave(packet)

    @staticmethod
    def _room(packet: Packet, link: Link) -> int:
        """Flits of the packet that the buffer behind the link of its head is sure to take."""
        buffer = link.buffer
        if buffer is None:
            return packet.flits
        return max(1, buffer.depth - (packet.entry - buffer.left))

    def _leave(self, packet: Packet) -> None:
        """Free the buffers that the packet leaves at a known time, for those behind it."""
        while packet.left + 1 < packet.closed:
            at = packet.left
            if packet.path.taps[at] is not None and packet.copies.get(at, -1) < 0:
                return
            buffer = packet.path.links[at].buffer
            if buffer is None:
                return
            packet.left += 1
            copied = packet.copies.get(at, -1)
            times = packet.passes(at + 1)
            if copied >= 0:
                taken = range(copied - packet.flits + 1, copied + 1)
                times = [max(pair) for pair in zip(times, taken, strict=True)]
            tail = times[-1]
            buffer.leave(times)
            if buffer.packets:
                following = buffer.packets[0]
                last = len(following.heads) - 1
                ready = max(following.heads[last], tail) + 1
                self._agenda.at(max(ready, self._agenda.now), self._stand, following, last + 1)
            for other in list(buffer.packets):
                last = len(other.heads) - 1
                if other.closed <= last:
                    self._fit(other, buffer, last)
                    self._close(other)
            link = packet.path.links[at]
            if link.stuck and link.owner is not None:
                self._start(link, *link.owner)

    def _deliver(self, packet: Packet) -> None:
        tail = packet.tails[-1]
        if tail > self._agenda.now:  # control flits have slipped in
            self._agenda.at(tail, self._deliver, packet)
            return
        packet.delivered(packet.path.end, packet.heads[-1], tail)
