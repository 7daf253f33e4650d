# SPDX-License-Identifier: Apache-2.0
"""The fast level of a mesh: when everything happens in a pipelined run, without a clock.

What the tiles compute does not depend on time, for lists fix the order of all words. So the fast
machine runs each tile by itself and tells when, from wait to wait, its program touches the FIFOs
(:mod:`.machine_times`); this model adds the network: interfaces (:mod:`.mesh_tile`), packets
(:mod:`.mesh_network`), and the host's end. Flit counts are exact. Cycles are exact as long as no
two packets want the same link at once, and near otherwise.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..arch.chip import Chip
from ..arch.errors import InputError
from ..arch.noc import Channel, Kind, MeshShape, Node
from ..arch.noc_interface import SLOTS, Leg, ListEntry, Route, packets
from .machine_times import PassTimes
from .mesh_network import Fabric
from .mesh_packets import Agenda, Link, Packet
from .mesh_tile import Message, Span, Stalls, TileClock

__all__ = [
    "Feed",
    "LinkUse",
    "MeshDeadlockError",
    "MeshModel",
    "MeshRun",
    "Stamp",
    "TileRun",
    "TileSetup",
]


_Name = TypeVar("_Name", Channel, Node)


class MeshDeadlockError(InputError):
    """Tiles wait for messages that nobody sends; the message names them."""


@dataclass(frozen=True)
class TileSetup:
    """What a tile is told of the network; :mod:`~ohmtwin.arch.noc_interface`."""

    node: Node
    routes: tuple[Route, ...]
    input_list: tuple[ListEntry, ...]
    output_list: tuple[ListEntry, ...]


@dataclass(frozen=True)
class Feed:
    """A route of the host: its legs, the channel at its consumers, and how many they are."""

    legs: tuple[Leg, ...]
    channel: int
    consumers: int


@dataclass(frozen=True)
class Stamp:
    """A message that the host sent or got: cycles in which its first header and its last flit
    passed the host port.

    ``source`` is the number of a feed, or of a tile; ``route`` that of the tile's route, 0 in a
    feed.
    """

    source: int
    route: int
    words: int
    first: int
    last: int


@dataclass(frozen=True)
class LinkUse:
    """Flits over a link by class, and cycles that packets waited there: for others of their class,
    and for a flit of the other class."""

    data: int
    control: int
    held: int
    slipped: int


@dataclass(frozen=True)
class TileRun:
    """A tile in a run.

    Parameters
    ----------
    node : Node
    busy : int
        Cycles in which its program did not wait.
    spans : tuple of Span
        For each of its samples.
    stalls : Stalls
    """

    node: Node
    busy: int
    spans: tuple[Span, ...]
    stalls: Stalls


@dataclass(frozen=True)
class MeshRun:
    """A pipelined run, predicted.

    Parameters
    ----------
    cycles : int
        From the cycle in which the host offers its first flit, which is cycle 0, to the one in
        which it takes the last one, both counted.
    tiles : tuple of TileRun
        In the order of the model's.
    sent, got : tuple of Stamp
        Messages of the host, in the order in which they were sent, or were complete.
    links : mapping of Channel to LinkUse
        Of the routers' outputs, those in use.
    entries : mapping of Node to LinkUse
        Of tiles and hosts into the mesh.
    """

    cycles: int
    tiles: tuple[TileRun, ...]
    sent: tuple[Stamp, ...]
    got: tuple[Stamp, ...]
    links: Mapping[Channel, LinkUse]
    entries: Mapping[Node, LinkUse]

    @property
    def flits(self) -> int:
        """Flits over all links."""
        used = (*self.links.values(), *self.entries.values())
        return sum(link.data + link.control for link in used)

    def occupancy(self, tile: int) -> float:
        """Fraction of the cycles in which a tile's program did not wait."""
        return self.tiles[tile].busy / self.cycles if self.cycles else 0.0


class _FeedState:
    __slots__ = ("feed", "left", "sent", "waiting")

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.waiting: deque[tuple[int, int]] = deque()  # order, words
        self.left: dict[int, int] = {}
        self.sent = 0


class _Host:
    """The host's end: sends the first of all messages whose slot is free, a flit a cycle."""

    def __init__(
        self,
        node: Node,
        agenda: Agenda,
        fabric: Fabric,
        feeds: Sequence[Feed],
        messages: Sequence[tuple[int, int]],
        deliver: Callable[[Message, Node], None],
        packet_words: int,
    ) -> None:
        self._node, self._agenda, self._fabric = node, agenda, fabric
        self._feeds = [_FeedState(feed) for feed in feeds]
        for order, (feed, words) in enumerate(messages):
            self._feeds[feed].waiting.append((order, words))
        self._deliver = deliver
        self._packet_words = packet_words
        self._sending = False
        self.stamps: list[Stamp] = []

    @property
    def unsent(self) -> int:
        return sum(len(state.waiting) for state in self._feeds)

    def choose(self) -> None:
        """Begin the next message, whose first flit is offered in this cycle."""
        if self._sending:
            return
        ready = [
            (state.waiting[0][0], number)
            for number, state in enumerate(self._feeds)
            if state.waiting and state.sent - SLOTS not in state.left
        ]
        if not ready:
            return
        number = min(ready)[1]
        state = self._feeds[number]
        _, words = state.waiting.popleft()
        message = Message(self, self._node, number, state.sent, state.feed.channel, words)
        if state.feed.consumers:
            state.left[state.sent] = state.feed.consumers
        state.sent += 1
        self._sending = True
        self._offer(message, 0, 0)

    def _offer(self, message: Message, leg: int, packet: int) -> None:
        words = min(self._packet_words, message.words - packet * self._packet_words)
        whole = packets(message.words, self._packet_words)
        legs = self._feeds[message.route].feed.legs
        path = self._fabric.path(self._node, legs[leg], Kind.DATA)

        def delivered(node: Node, head: int, _: int) -> None:
            if message.note(node, head) == whole:
                self._deliver(message, node)

        def sent(time: int) -> None:
            message.begun.setdefault(self._node, flits.heads[0])
            following = (leg, packet + 1) if packet + 1 < whole else (leg + 1, 0)
            if following[0] < len(legs):
                self._agenda.at(time + 1, self._offer, message, *following)
            else:
                self.stamps.append(
                    Stamp(message.route, 0, message.words, message.begun[self._node], time)
                )
                self._agenda.at(time + 1, self._next)

        flits = Packet(path, 1 + words, delivered, sent)
        self._fabric.inject(flits)

    def _next(self) -> None:
        self._sending = False
        self.choose()

    def acknowledged(self, route: int, number: int, time: int) -> None:
        """As of a tile; the next flit can be offered in the cycle after the ACK."""
        state = self._feeds[route]
        state.left[number] -= 1
        if state.left[number] == 0:
            del state.left[number]
            self._agenda.at(time + 1, self.choose)


class MeshModel:
    """A mesh of tiles behind network interfaces, and a host.

    Parameters
    ----------
    chip : Chip
        Its ``mesh`` is the shape.
    tiles : sequence of TileSetup
        Those with work.
    feeds : sequence of Feed
        The host's routes.
    host_row : int
        Row of its port.
    """

    def __init__(
        self,
        chip: Chip,
        tiles: Sequence[TileSetup],
        feeds: Sequence[Feed],
        *,
        host_row: int = 0,
    ) -> None:
        self._chip = chip
        self._tiles, self._feeds = tuple(tiles), tuple(feeds)
        self._host = Node(0, host_row, True)
        columns, rows = chip.mesh
        self._shape = MeshShape(
            width=columns, height=rows, hosts=(host_row,), depth=chip.buffer_flits
        )
        # Where the lists stand: they go on from run to run.
        self._positions = [(0, 0)] * len(self._tiles)

    @property
    def shape(self) -> MeshShape:
        return self._shape

    def run(
        self, times: Sequence[Sequence[PassTimes]], messages: Sequence[tuple[int, int]]
    ) -> MeshRun:
        """Predict a run that starts when all tiles wait for input and nothing is on its way.

        Parameters
        ----------
        times : for each tile, sequence of PassTimes
            Of its samples.
        messages : sequence of (feed, words)
            What the host sends, in order.

        Raises
        ------
        MeshDeadlockError
            If tiles wait for ever.
        """
        agenda = Agenda()
        fabric = Fabric(self._shape, agenda)
        numbers = {setup.node: number for number, setup in enumerate(self._tiles)}
        clocks: dict[Node, TileClock] = {}
        got: list[Stamp] = []

        def deliver(message: Message, node: Node) -> None:
            if node.host:
                source = numbers[message.node]
                first = message.begun[node]
                got.append(Stamp(source, message.route, message.words, first, agenda.now))
            else:
                clocks[node].arrived(message, agenda.now)

        for setup, part, at in zip(self._tiles, times, self._positions, strict=True):
            clocks[setup.node] = TileClock(
                setup.node, agenda, fabric, self._chip.fifo_words, self._chip.packet_words,
                setup.routes, setup.input_list, setup.output_list, part, deliver, at,
            )  # fmt: skip
        host = _Host(
            self._host, agenda, fabric, self._feeds, messages, deliver, self._chip.packet_words
        )
        for clock in clocks.values():
            agenda.at(0, clock.pump)
        agenda.at(0, host.choose)
        agenda.run()
        self._check(clocks, host)
        self._positions = [clocks[setup.node].position for setup in self._tiles]
        return MeshRun(
            cycles=max((stamp.last for stamp in got), default=-1) + 1,
            tiles=tuple(
                TileRun(node, clock.busy, tuple(clock.spans), clock.stalls)
                for node, clock in clocks.items()
            ),
            sent=tuple(host.stamps),
            got=tuple(got),
            links=_link_use(fabric.outward),
            entries=_link_use(fabric.inward),
        )

    @staticmethod
    def _check(clocks: Mapping[Node, TileClock], host: _Host) -> None:
        stuck = [
            f"{node} waits for {' and for '.join(clock.waits()) or 'nothing'}"
            for node, clock in clocks.items()
            if not clock.done
        ]
        if host.unsent:
            stuck.append(f"the host has {host.unsent} messages that no tile has room for")
        if stuck:
            raise MeshDeadlockError(
                f"The run would never end: {'; '.join(stuck)}; nobody will send it. Check the "
                "input and output lists against each other"
            )


def _link_use(links: Mapping[tuple[_Name, Kind], Link]) -> dict[_Name, LinkUse]:
    found: dict[_Name, LinkUse] = {}
    for (name, kind), link in links.items():
        before = found.get(name, LinkUse(0, 0, 0, 0))
        found[name] = LinkUse(
            before.data + (link.flits if kind is Kind.DATA else 0),
            before.control + (link.flits if kind is Kind.CONTROL else 0),
            before.held + link.held,
            before.slipped + link.slipped,
        )
    return found
