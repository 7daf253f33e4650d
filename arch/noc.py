# SPDX-License-Identifier: Apache-2.0
"""The network on chip: shape, packet header, routes, and the proof that routes cannot deadlock.

Tiles stand in a mesh; x grows to the east, y to the south. A packet is a header flit, then payload
flits. It goes along x first, then along y (dimension order: Dally and Seitz 1987, section 4), then
leaves by the local port, or, where its header says so, by the host port on the west side of tile
(0, y).

A link has two message classes with buffers of their own; nothing in one class waits for the other
for good. ``docs/noc.md`` has the rules of a link.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import ConfigError

__all__ = [
    "CLASSES",
    "FLIT_BITS",
    "HEADER_FIELDS",
    "MAX_SIDE",
    "PORTS",
    "USER_BITS",
    "Channel",
    "Header",
    "Kind",
    "MeshShape",
    "Node",
    "Port",
    "RoutingTable",
    "absorbed",
    "check_table",
    "dependency_graph",
    "find_cycle",
    "load_table",
    "multicast_packets",
    "neighbor",
    "parse_mesh",
    "path",
    "route",
    "xy_table",
    "zero_load_latency",
]

FLIT_BITS = 64
"""Data of a flit, unless configured wider; the header is in the low 64."""

CLASSES = 2
"""Message classes of a link."""

MAX_SIDE = 16
"""Tiles a side, by the coordinates of a header."""

USER_BITS = 23
"""Of a header, for the interfaces; routers hand them on."""

HEADER_FIELDS: Mapping[str, int] = {
    "dst_x": 4,
    "dst_y": 4,
    "src_x": 4,
    "src_y": 4,
    "absorb": 16,
    "length": 8,
    "user": USER_BITS,
    "host": 1,
}
"""Bits of each field, from bit 0 up. ``length`` counts payload flits. ``host``: leave by the host
port of tile (dst_x, dst_y), not by its local port. ``absorb``: positions along the last dimension
of travel (y if dst_y differs from src_y, else x) at which routers on the way give a copy to their
local port."""


class Kind(IntEnum):
    """Message class of a flit."""

    DATA = 0
    CONTROL = 1


class Port(IntEnum):
    """Ports of a router."""

    NORTH = 0
    EAST = 1
    SOUTH = 2
    WEST = 3
    LOCAL = 4


PORTS = len(Port)
_STEP = {Port.NORTH: (0, -1), Port.EAST: (1, 0), Port.SOUTH: (0, 1), Port.WEST: (-1, 0)}


class Node(NamedTuple):
    """Where a packet can come from and go to: a tile, or the host port at its west side."""

    x: int
    y: int
    host: bool = False

    def __str__(self) -> str:
        return f"{'host port' if self.host else 'tile'} ({self.x}, {self.y})"


class Channel(NamedTuple):
    """What a router sends on: its output ``port``."""

    x: int
    y: int
    port: Port

    def __str__(self) -> str:
        return f"({self.x}, {self.y}) {self.port.name.lower()}"


@dataclass(frozen=True, kw_only=True)
class Header:
    """A header flit; the fields are those of :data:`HEADER_FIELDS`."""

    dst_x: int
    dst_y: int
    src_x: int = 0
    src_y: int = 0
    absorb: int = 0
    length: int = 0
    user: int = 0
    host: int = 0

    def __post_init__(self) -> None:
        for name, bits in HEADER_FIELDS.items():
            value = getattr(self, name)
            if not 0 <= value < 1 << bits:
                raise ValueError(f"Header field {name} must be 0 to {(1 << bits) - 1}, not {value}")

    @property
    def dst(self) -> Node:
        return Node(self.dst_x, self.dst_y, bool(self.host))

    def encode(self) -> int:
        """The 64 bits."""
        word, at = 0, 0
        for name, bits in HEADER_FIELDS.items():
            word |= getattr(self, name) << at
            at += bits
        return word

    @classmethod
    def decode(cls, word: int) -> Self:
        """The header that 64 bits stand for."""
        fields, at = {}, 0
        for name, bits in HEADER_FIELDS.items():
            fields[name] = word >> at & ((1 << bits) - 1)
            at += bits
        return cls(**fields)


class MeshShape(BaseModel):
    """Size of a mesh, its host ports, and how much its routers hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(default=4, ge=1, le=MAX_SIDE)
    """Tiles along x."""

    height: int = Field(default=4, ge=1, le=MAX_SIDE)
    """Tiles along y."""

    hosts: tuple[int, ...] = (0,)
    """Rows whose tile (0, y) has a host port on its west side."""

    depth: int = Field(default=8, ge=2, le=256)
    """Flits in a buffer, one buffer a class a port: a power of two. A packet that is absorbed on
    its way has no more flits than that, its header counted (see :meth:`multicast_payload`)."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.depth & (self.depth - 1):
            raise ValueError(f"Depth of the buffers must be a power of two, not {self.depth}")
        if len(set(self.hosts)) != len(self.hosts):
            raise ValueError(f"Rows of host ports must differ, not {list(self.hosts)}")
        for y in self.hosts:
            if not 0 <= y < self.height:
                raise ValueError(
                    f"A host port must be in row 0 to {self.height - 1}, not in row {y}"
                )
        return self

    @property
    def tiles(self) -> int:
        return self.width * self.height

    @property
    def multicast_payload(self) -> int:
        """Payload flits that a packet with ``absorb`` set may have."""
        return self.depth - 1

    def nodes(self) -> Iterator[Node]:
        """All tiles, row by row, then all host ports."""
        for y in range(self.height):
            for x in range(self.width):
                yield Node(x, y)
        for y in self.hosts:
            yield Node(0, y, True)

    def index(self, x: int, y: int) -> int:
        """Number of tile (x, y), row by row."""
        return y * self.width + x

    def position(self, index: int) -> tuple[int, int]:
        """Coordinates of a tile of that number."""
        return index % self.width, index // self.width

    def __contains__(self, node: object) -> bool:
        if not isinstance(node, tuple):
            return False
        x, y, host = Node(*node)
        inside = 0 <= x < self.width and 0 <= y < self.height
        return inside and (not host or (x == 0 and y in self.hosts))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def parse_mesh(text: str, **more: object) -> MeshShape:
    """A mesh written as ``4x4``: width, then height.

    Parameters
    ----------
    text : str
    more
        Further fields of :class:`MeshShape`.

    Raises
    ------
    ConfigError
        If it is no size, or one that there is not.
    """
    size = re.fullmatch(r"(\d{1,9})x(\d{1,9})", text)
    if size is None:
        raise ConfigError(f"A mesh is written as 4x4, width times height, not '{text}'")
    width, height = int(size[1]), int(size[2])
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ConfigError(
            f"A mesh has 1 to {MAX_SIDE} tiles a side, as coordinates of four bits allow, "
            f"not {width}x{height}"
        )
    try:
        return MeshShape.model_validate({"width": width, "height": height, **more})
    except ValidationError as error:
        first = error.errors()[0]
        reason = str(first["msg"]).removeprefix("Value error, ")
        if first["loc"]:
            reason = f"{first['loc'][0]}: {reason[:1].lower()}{reason[1:]}, not {first['input']!r}"
        raise ConfigError(f"Mesh {text}: {reason}") from error


def neighbor(shape: MeshShape, x: int, y: int, port: Port) -> Node | None:
    """What the link of a port leads to; None off the edge."""
    if port is Port.LOCAL:
        return Node(x, y)
    dx, dy = _STEP[port]
    if port is Port.WEST and x == 0:
        return Node(0, y, True) if y in shape.hosts else None
    there = Node(x + dx, y + dy)
    return there if there in shape else None


def route(x: int, y: int, dst: Node) -> Port:
    """Output port of router (x, y) for a packet to ``dst``, in dimension order."""
    if x != dst.x:
        return Port.EAST if x < dst.x else Port.WEST
    if y != dst.y:
        return Port.SOUTH if y < dst.y else Port.NORTH
    return Port.WEST if dst.host else Port.LOCAL


def absorbed(x: int, y: int, header: Header) -> bool:
    """Whether router (x, y), which the packet passes, gives a copy to its local port."""
    if header.dst_y != header.src_y:
        return x == header.dst_x and bool(header.absorb >> y & 1)
    return bool(header.absorb >> x & 1)


def path(shape: MeshShape, src: Node, dst: Node) -> list[Channel]:
    """Channels that a packet takes from where it is put in to where it leaves.

    Raises
    ------
    ConfigError
        If there is no such tile or host port.
    """
    for node in (src, dst):
        if node not in shape:
            raise ConfigError(f"A mesh of {shape} has no {node}")
    x, y = src.x, src.y
    channels = [Channel(x, y, route(x, y, dst))]
    while (x, y) != (dst.x, dst.y):
        dx, dy = _STEP[channels[-1].port]
        x, y = x + dx, y + dy
        channels.append(Channel(x, y, route(x, y, dst)))
    return channels


def zero_load_latency(src: Node, dst: Node, flits: int) -> int:
    """Cycles from when an empty mesh takes a header to when it has given the tail away.

    A router delays a flit by one cycle; there is one router more than links between routers.
    """
    return abs(src.x - dst.x) + abs(src.y - dst.y) + 1 + flits - 1


def multicast_packets(src: Node, targets: Collection[Node]) -> list[tuple[Node, int]]:
    """Destination and ``absorb`` of the packets that bring one message to a set of tiles.

    One a column and direction; tiles of the source's own row that no such packet passes share one a
    direction. The source itself may be among the targets. Together the packets visit each target
    once, and give nothing to any other tile.

    Raises
    ------
    ConfigError
        If a target is a host port: it takes packets of its own.
    """
    columns: dict[int, set[int]] = {}
    for node in targets:
        if node.host:
            raise ConfigError(f"A multicast goes to tiles, not to {node}")
        columns.setdefault(node.x, set()).add(node.y)
    packets: list[tuple[Node, int]] = []
    row: set[int] = set()
    for x, ys in sorted(columns.items()):
        south = {y for y in ys if y > src.y}
        north = {y for y in ys if y < src.y}
        if src.y in ys and not (south or north):
            row.add(x)
        elif src.y in ys:  # the router where the packet turns is on its way
            (south or north).add(src.y)
        for group, end in ((south, max), (north, min)):
            if group:
                last = end(group)
                packets.append((Node(x, last), sum(1 << y for y in group if y != last)))
    east = {x for x in row if x > src.x}
    west = {x for x in row if x < src.x}
    if src.x in row:
        (east or west or east).add(src.x)
    for group, end in ((east, max), (west, min)):
        if group:
            last = end(group)
            packets.append((Node(last, src.y), sum(1 << x for x in group if x != last)))
    return packets


RoutingTable = Mapping[tuple[int, int], Mapping[Node, Port]]
"""Of each router (x, y): the output port for each tile and host port."""


def xy_table(shape: MeshShape) -> RoutingTable:
    """Dimension order, as a table."""
    return {
        (x, y): {dst: route(x, y, dst) for dst in shape.nodes()}
        for y in range(shape.height)
        for x in range(shape.width)
    }


def dependency_graph(shape: MeshShape, table: RoutingTable) -> dict[Channel, set[Channel]]:
    """The channel dependency graph (Dally and Seitz 1987, definition 3).

    An edge from a to b: a packet that holds a may wait for b. Channels to local and host ports wait
    for nothing: an interface takes every flit in the end, for nobody sends what there is no room
    for. That stays so with multicast: a router gives the copy to its local port from a cursor of
    its own, and only when the whole packet is in its buffer, so that a local port is never held by
    a packet that waits for another channel.

    Raises
    ------
    ConfigError
        If the table has a hole, leads off the edge, or lets a packet out at the wrong place.
    """
    graph: dict[Channel, set[Channel]] = {}
    for dst in shape.nodes():
        for y in range(shape.height):
            for x in range(shape.width):
                channel = Channel(x, y, _entry(shape, table, x, y, dst))
                waits = graph.setdefault(channel, set())
                there = neighbor(shape, x, y, channel.port)
                if channel.port is not Port.LOCAL and there is not None and not there.host:
                    port = _entry(shape, table, there.x, there.y, dst)
                    waits.add(Channel(there.x, there.y, port))
    return graph


def _entry(shape: MeshShape, table: RoutingTable, x: int, y: int, dst: Node) -> Port:
    """The table's port, if a packet can be sent there."""
    port = table.get((x, y), {}).get(dst)
    if port is None:
        raise ConfigError(
            f"The routing table has a hole: router ({x}, {y}) has no port for {dst}; give it one"
        )
    there = neighbor(shape, x, y, port)
    if there is None:
        raise ConfigError(
            f"The routing table sends packets for {dst} off the edge: router ({x}, {y}) has "
            f"nothing at its {port.name.lower()} port"
        )
    if (port is Port.LOCAL or there.host) and there != dst:
        raise ConfigError(
            f"The routing table misroutes: router ({x}, {y}) gives packets for {dst} to {there}"
        )
    return port


def find_cycle(graph: Mapping[Channel, Collection[Channel]]) -> list[Channel] | None:
    """Channels of which each waits for the next and the last for the first; None if there are none.

    Without one, packets cannot deadlock (Dally and Seitz 1987, theorem 1).
    """
    done: set[Channel] = set()
    for start in graph:
        if start in done:
            continue
        trail = {start: iter(sorted(graph[start]))}  # in order of insertion
        while trail:
            channel = next(reversed(trail))
            following = next(trail[channel], None)
            if following is None:
                del trail[channel]
                done.add(channel)
            elif following in trail:
                channels = list(trail)
                return channels[channels.index(following) :]
            elif following not in done:
                trail[following] = iter(sorted(graph.get(following, ())))
    return None


def check_table(shape: MeshShape, table: RoutingTable) -> None:
    """Refuse a table by which a packet could get lost or wait for itself.

    Raises
    ------
    ConfigError
        If it has a hole, leads off the edge, lets a packet out at the wrong place, or has a cycle
        in its channel dependency graph (a packet that runs in circles makes one too).
    """
    cycle = find_cycle(dependency_graph(shape, table))
    if cycle is not None:
        names = " -> ".join(str(channel) for channel in [*cycle, cycle[0]])
        raise ConfigError(
            f"The routing table can deadlock: packets can wait for each other in a circle, "
            f"{names}; forbid one of these turns"
        )


def load_table(text: str, shape: MeshShape) -> RoutingTable:
    """Read a table and check it.

    One line an entry: ``x y -> x y: port``, the router, then the destination; ``host y`` stands for
    a host port; ``#`` begins a comment.

    Raises
    ------
    ConfigError
        If a line cannot be read, names something that is not there or repeats an entry; and see
        :func:`check_table`.
    """
    table: dict[tuple[int, int], dict[Node, Port]] = {}
    ports = "|".join(port.name.lower() for port in Port)
    pattern = re.compile(rf"(\d+) +(\d+) *-> *(?:(\d+) +(\d+)|host +(\d+)) *: *({ports})", re.ASCII)
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        found = pattern.fullmatch(entry)
        if found is None:
            raise ConfigError(
                f"Routing table line {number}: an entry is 'x y -> x y: port', port one of "
                f"{ports.replace('|', ', ')}, not '{entry}'"
            )
        router = Node(int(found[1]), int(found[2]))
        dst = Node(0, int(found[5]), True) if found[5] else Node(int(found[3]), int(found[4]))
        for node in (router, dst):
            if node not in shape:
                raise ConfigError(f"Routing table line {number}: a mesh of {shape} has no {node}")
        entries = table.setdefault((router.x, router.y), {})
        if dst in entries:
            raise ConfigError(
                f"Routing table line {number}: router ({router.x}, {router.y}) has a port for "
                f"{dst} already"
            )
        entries[dst] = Port[found[6].upper()]
    check_table(shape, table)
    return table
