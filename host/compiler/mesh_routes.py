# SPDX-License-Identifier: Apache-2.0
"""Messages between the tiles of a mesh: which words, by which route and channel, in which order.

What a program gives is cut where its readers change; what it takes is what the programs before it
give, in the same words. A route leads to a set of tiles, and to the host if the words are a result;
its channel is one that no other sender of these tiles uses.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...arch.chip import Chip
from ...arch.errors import CapacityError
from ...arch.noc import Node
from ...arch.noc_interface import LIST_ENTRIES, MAX_LEGS, Leg, Route, legs_to
from ...behavioral.program import InputLayout
from .mesh_placement import Flow, Place, place_tiles
from .mesh_plan import HostFeed, HostResult, MeshPlan, Message, TilePlan
from .tensors import is_share
from .tile import Tile

__all__ = ["Part", "RouteError", "message_words", "plan_mesh"]

_HOST = -1

_TURN = 240
"""Most samples after which tiles do the same again."""


class RouteError(CapacityError):
    """Tiles, channels, routes or lists do not do for the copies of stages; fewer might."""


@dataclass(frozen=True, eq=False)
class Part:
    """A part of the network and the tiles that take turns with it.

    Parameters
    ----------
    tile : Tile
        Its program.
    tiles : tuple of int
        Numbers of its copies among all tiles.
    cycles : int
        Estimated, a sample.
    outputs : mapping of str to str
        Tensor, by the name of the layer that gives its codes.
    results : set of str
        Tensors that the host gets.
    """

    tile: Tile
    tiles: tuple[int, ...]
    cycles: int
    outputs: Mapping[str, str]
    results: frozenset[str]

    @property
    def copies(self) -> int:
        return len(self.tiles)


def message_words(chip: Chip) -> int:
    """Words of the longest message: what a slot holds, and not all of a FIFO."""
    return min(chip.slot_words, chip.fifo_words // 2)


def _cut(words: int, most: int) -> Iterator[int]:
    """Messages of nearly one length."""
    count = math.ceil(words / most)
    for number in range(count):
        yield words * (number + 1) // count - words * number // count


@dataclass(frozen=True)
class _Given:
    """A message of a part's output: of a tensor that others read, or for the host alone."""

    tensor: str
    start: int
    words: int
    to_host: bool


@dataclass(eq=False)
class _Feed:
    """What the host sends of an input to parts that take the same words."""

    tensor: str
    layout: InputLayout
    parts: list[int]
    messages: tuple[int, ...]


@dataclass(eq=False)
class _Sender:
    """Routes of a tile, by the tiles that they lead to and whether the host gets the words."""

    routes: dict[tuple[frozenset[int], bool], Route] = field(default_factory=dict)


class _Planner:
    def __init__(self, chip: Chip, parts: Sequence[Part], trace: bool, inputs: set[str]) -> None:
        self.chip, self.parts, self.trace, self.inputs = chip, parts, trace, inputs
        self.most = message_words(chip)
        self.count = sum(part.copies for part in parts)
        self.readers: dict[str, list[int]] = {}
        self.maker: dict[str, int] = {}
        for number, part in enumerate(parts):
            for tensor in dict.fromkeys(name for name, _ in part.tile.code.takes):
                self.readers.setdefault(tensor, []).append(number)
            for tensor in part.outputs.values():
                self.maker[tensor] = number
        self.gives = [tuple(self.given(part)) for part in parts]
        self.feeds = self.host_feeds()
        self.turn = math.lcm(*(part.copies for part in parts))
        """Samples after which everything is as it was."""
        self.places: list[Place] = []
        self.used: list[set[int]] = [set() for _ in range(self.count)]
        """Channels of each tile that are taken."""
        self.senders = [_Sender() for _ in range(self.count)]

    # What is said

    def given(self, part: Part) -> Iterator[_Given]:
        """The messages of a sample of a part."""
        runs: list[_Given] = []
        shares = {layer.name for layer in part.tile.compiled.network.layers if is_share(layer)}
        at = 0
        for segment in part.tile.compiled.program.outputs:
            tensor = part.outputs.get(segment.tensor, "")
            if tensor not in self.readers:
                tensor = ""
            run = _Given(
                tensor,
                at,
                segment.words,
                segment.tensor not in shares
                and (self.trace or tensor in part.results or not tensor),
            )
            at += segment.words
            if runs and runs[-1].tensor == tensor:
                runs[-1] = replace(runs[-1], words=runs[-1].words + run.words)
            else:
                runs.append(run)
        for run in runs:
            at = run.start
            for words in _cut(run.words, self.most):
                yield replace(run, start=at, words=words)
                at += words

    def messages(self, tensor: str) -> list[_Given]:
        """The messages in which a tensor leaves its maker."""
        return [given for given in self.gives[self.maker[tensor]] if given.tensor == tensor]

    def host_feeds(self) -> list[_Feed]:
        found: dict[tuple[str, bytes, bytes], _Feed] = {}
        for number, part in enumerate(self.parts):
            program = part.tile.compiled.program
            fed = part.tile.compiled.network.fed
            first = dict(
                zip(
                    (entry.tensor for entry in fed),
                    np.cumsum([0] + [math.prod(entry.shape) for entry in fed]).tolist(),
                    strict=False,
                )
            )
            at = 0
            fill = np.broadcast_to(program.input.fill, program.input.order.shape)
            for tensor, words in part.tile.code.takes:
                span = slice(8 * at, 8 * (at + words))
                at += words
                if tensor not in self.inputs:
                    continue
                order = program.input.order[span]
                order = np.where(order < 0, -1, order - first[tensor])
                filled = fill[span].astype(np.uint8)
                layout = InputLayout(order, filled)
                key = (tensor, order.tobytes(), filled.tobytes())
                feed = _Feed(tensor, layout, [], tuple(_cut(words, self.most)))
                found.setdefault(key, feed).parts.append(number)
        return list(found.values())

    # Who says it to whom

    def tile_of(self, part: int, sample: int) -> int:
        tiles = self.parts[part].tiles
        return tiles[sample % len(tiles)]

    def hearers(self, parts: Sequence[int], sample: int) -> frozenset[int]:
        return frozenset(self.tile_of(part, sample) for part in parts)

    def flows(self) -> Iterator[Flow]:
        for sample in range(self.turn):
            for number in range(len(self.parts)):
                source = self.tile_of(number, sample)
                for given in self.gives[number]:
                    targets = self.hearers(self.readers.get(given.tensor, ()), sample)
                    host = (_HOST,) if given.to_host else ()
                    yield Flow(source, (*sorted(targets), *host), given.words / self.turn)
            for feed in self.feeds:
                targets = self.hearers(feed.parts, sample)
                words = sum(feed.messages) / self.turn
                yield Flow(_HOST, tuple(sorted(targets)), words)

    def legs(self, source: Node, targets: frozenset[int], to_host: bool) -> tuple[Leg, ...]:
        nodes = [Node(*self.places[tile]) for tile in sorted(targets)]
        host = (Leg(0, 0, 0, True),) if to_host else ()
        # A router that gives a copy away holds the whole packet.
        if self.chip.packet_words + 1 <= self.chip.buffer_flits:
            return (*legs_to(source, nodes), *host)
        return (*(Leg(node.x, node.y) for node in nodes), *host)

    def channel(self, targets: frozenset[int]) -> int:
        """A channel that is free at some tiles; it is taken then."""
        for channel in range(1, self.chip.channels + 1):
            if not any(channel in self.used[tile] for tile in targets):
                for tile in targets:
                    self.used[tile].add(channel)
                return channel
        tile = max(targets, key=lambda one: len(self.used[one]))
        raise RouteError(
            f"Tile {self.places[tile]} hears from more than {self.chip.channels} senders; raise "
            "the chip's channels (at most 15), or take tiles of more cores, so that layers are cut "
            "into fewer pieces"
        )

    def route(self, tile: int, targets: frozenset[int], to_host: bool) -> Route:
        routes = self.senders[tile].routes
        key = (targets, to_host)
        if key not in routes:
            place = self.places[tile]
            legs = self.legs(Node(*place), targets, to_host)
            if len(legs) > MAX_LEGS:
                raise RouteError(
                    f"Tile {place} sends one tensor to {len(targets)} tiles, in {len(legs)} "
                    f"streams of packets, a route has at most {MAX_LEGS}; use a chip with more "
                    f"cores, or with buffer_flits above packet_words"
                )
            if len(routes) == self.chip.routes:
                raise RouteError(
                    f"Tile {place} sends to more than {self.chip.routes} sets of tiles; raise the "
                    "chip's routes (at most 15), or take tiles of more cores"
                )
            channel = self.channel(targets) if targets else 0
            routes[key] = Route(
                number=len(routes) + 1, legs=legs, channel=channel, consumers=len(targets)
            )
        return routes[key]

    def samples(self, part: Part, copy: int, parts: Iterator[int]) -> range:
        """The samples of a turn of one copy: after that, others take the turns as at first."""
        own = part.copies
        turn = math.lcm(own, *(self.parts[other].copies for other in parts))
        return range(copy, turn, own)

    # All of it

    def plan(self) -> MeshPlan:
        columns, rows = self.chip.mesh
        if self.turn > _TURN:
            raise RouteError(
                f"Copies of stages take turns that repeat after {self.turn} samples only; "
                f"{_TURN} are what this can plan for"
            )
        if self.count > columns * rows:
            raise RouteError(f"{self.count} tiles are needed, there are {columns * rows}")
        self.places = place_tiles(self.count, self.chip.mesh, list(self.flows()))
        feeds = self.plan_feeds()
        gives = [self.plan_gives(part, copy) for part in self.parts for copy in range(part.copies)]
        takes = [
            self.plan_takes(part, copy, feeds) for part in self.parts for copy in range(part.copies)
        ]
        tiles = []
        cycles = []
        for number, part in enumerate(self.parts):
            for copy, tile in enumerate(part.tiles):
                tiles.append(
                    TilePlan(
                        x=self.places[tile][0],
                        y=self.places[tile][1],
                        tile=tile,
                        part=number,
                        copy=copy,
                        copies=part.copies,
                        routes=tuple(self.senders[tile].routes.values()),
                        takes=takes[tile],
                        gives=gives[tile],
                    )
                )
                cycles.append(part.cycles)
        self.check_lists(tiles)
        return MeshPlan(
            shape=self.chip.mesh,
            tiles=tuple(tiles),
            host_in=tuple(feed for group in feeds for feed in group),
            host_out=tuple(self.result(tile) for tile in tiles),
            cycles=tuple(cycles),
        )

    def plan_feeds(self) -> list[list[HostFeed]]:
        """For each thing to feed, the feeds that take turns."""
        found = []
        number = 0
        for feed in self.feeds:
            turn = math.lcm(*(self.parts[part].copies for part in feed.parts))
            group = []
            for copy in range(turn):
                targets = self.hearers(feed.parts, copy)
                group.append(
                    HostFeed(
                        number=number,
                        legs=self.legs(Node(0, 0, True), targets, False),
                        channel=self.channel(targets),
                        consumers=len(targets),
                        tiles=tuple(sorted(targets)),
                        tensor=feed.tensor,
                        layout=feed.layout,
                        messages=feed.messages,
                        copy=copy,
                        copies=turn,
                    )
                )
                number += 1
            found.append(group)
        return found

    def plan_gives(self, part: Part, copy: int) -> tuple[tuple[Message, ...], ...]:
        number = self.parts.index(part)
        given = self.gives[number]
        others = (r for g in given for r in self.readers.get(g.tensor, ()))
        found = []
        for sample in self.samples(part, copy, others):
            messages = []
            for one in given:
                targets = self.hearers(self.readers.get(one.tensor, ()), sample)
                route = self.route(part.tiles[copy], targets, one.to_host)
                messages.append(Message(route.number, one.start, one.words))
            found.append(tuple(messages))
        return tuple(found)

    def plan_takes(
        self, part: Part, copy: int, feeds: Sequence[Sequence[HostFeed]]
    ) -> tuple[tuple[Message, ...], ...]:
        number = self.parts.index(part)
        wanted = part.tile.code.takes
        # Who else hears a tensor changes the route that it comes by.
        others = {
            other
            for tensor, _ in wanted
            if tensor not in self.inputs
            for other in (self.maker[tensor], *self.readers[tensor])
        }
        hosted = [
            group for feed, group in zip(self.feeds, feeds, strict=True) if number in feed.parts
        ]
        turn = math.lcm(
            part.copies,
            *(len(group) for group in hosted),
            *(self.parts[other].copies for other in others),
        )
        found = []
        for sample in range(copy, turn, part.copies):
            messages: list[Message] = []
            at = 0
            for tensor, words in wanted:
                if tensor in self.inputs:
                    group = next(g for g in hosted if g[0].tensor == tensor)
                    feed = group[sample % len(group)]
                    lengths: Sequence[int] = feed.messages
                    channel = feed.channel
                else:
                    maker = self.maker[tensor]
                    parts = self.messages(tensor)
                    lengths = [one.words for one in parts]
                    targets = self.hearers(self.readers[tensor], sample)
                    key = (targets, parts[0].to_host)
                    channel = self.senders[self.tile_of(maker, sample)].routes[key].channel
                for length in lengths:
                    messages.append(Message(channel, at, length))
                    at += length
                words -= sum(lengths)
                if words:
                    raise CapacityError(
                        f"Tile {self.places[part.tiles[copy]]} takes {words} words of '{tensor}' "
                        "more than are sent to it"
                    )
            found.append(tuple(messages))
        return tuple(found)

    def check_lists(self, tiles: Sequence[TilePlan]) -> None:
        for tile in tiles:
            for name, entries in (("takes", tile.input_list), ("gives", tile.output_list)):
                if len(entries) > LIST_ENTRIES:
                    raise RouteError(
                        f"Tile ({tile.x}, {tile.y}) {name} {len(entries)} messages in a turn, an "
                        f"interface holds {LIST_ENTRIES}; raise slot_words, or send the outputs "
                        "only (no trace)"
                    )

    def result(self, tile: TilePlan) -> HostResult:
        to_host = {route.number for route in tile.routes if any(leg.host for leg in route.legs)}
        takes = tuple(
            tuple(message for message in sample if message.number in to_host)
            for sample in tile.gives
        )
        part = self.parts[tile.part]
        tensors = []
        at = 0
        covered = {(m.start + n) for m in takes[0] for n in range(m.words)}
        missing: set[str] = set()
        for segment in part.tile.compiled.program.outputs:
            if not covered.issuperset(range(at, at + segment.words)):
                missing.add(segment.tensor)
            at += segment.words
            tensors.append(segment.tensor)
        return HostResult(
            tile.tile, takes, tuple(t for t in dict.fromkeys(tensors) if t not in missing)
        )


def plan_mesh(chip: Chip, parts: Sequence[Part], trace: bool, inputs: set[str]) -> MeshPlan:
    """Place parts, and find the routes and lists of their tiles.

    Parameters
    ----------
    chip : Chip
    parts : sequence of Part
        None before what it reads; their tiles are numbered in that order.
    trace : bool
        Whether the host gets all words.
    inputs : set of str
        Tensors that the host feeds.

    Raises
    ------
    RouteError
        If there are too few tiles, channels, routes or list entries.
    """
    return _Planner(chip, parts, trace, inputs).plan()
