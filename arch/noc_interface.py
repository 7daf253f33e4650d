# SPDX-License-Identifier: Apache-2.0
"""Between a tile and the mesh: messages, routes, lists, and how many cycles each step takes.

A tile's network interface makes packets of what the tile puts into its output FIFO, and feeds its
input FIFO from the packets that come. Which words make up a message, and where it goes, is told by
routes and by two lists; ``docs/mesh.md`` is their manual. This page is the one definition of their
bits, for the RTL, the compiler, the driver and the fast level.

Consumer counts are those of PUMA's attribute buffer (Ankit et al. 2019, section 4.1.2): a message
may be sent into a slot when all tiles that were to read the message before it in that slot have
acknowledged that.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Self

from .chip import Chip
from .errors import ConfigError
from .messages import Kind as MessageKind
from .messages import message
from .noc import USER_BITS, Header, Node, multicast_packets

__all__ = [
    "ACK_SEEN",
    "CONTROL_USER",
    "DATA_USER",
    "FEED_ACK",
    "FEED_HEADER",
    "HALF_FREE",
    "HOST_CHANNEL",
    "HOST_ROUTE",
    "LIST_ENTRIES",
    "LIST_ENTRY",
    "MAX_LEGS",
    "OUTPUT_LIST",
    "PACKET_HEADER",
    "ROUTE_CONFIG",
    "ROUTE_WORDS",
    "SLOTS",
    "SLOT_FULL",
    "START",
    "WORD_SEEN",
    "ControlKind",
    "ControlUser",
    "DataUser",
    "Leg",
    "ListEntry",
    "Route",
    "check_lists",
    "check_network",
    "check_route",
    "configuration",
    "data_packets",
    "encode_list",
    "feed_cycles",
    "legs_to",
    "packets",
    "send_cycles",
]

SLOTS = 2
"""Slots of a channel, used in turn, slot 0 first."""

HOST_ROUTE = 0
"""Route in a header that a host has sent; tiles have routes from 1 on."""

HOST_CHANNEL = 0
"""Channel (and route) of a packet that carries words of a REPLY, its header included; ``index``
counts its packets, ``words`` means nothing. Tiles have channels from 1 on."""

DATA_USER: Mapping[str, int] = {"channel": 4, "slot": 1, "route": 4, "index": 6, "words": 8}
"""Bits of a data packet's ``user`` field, from bit 0 up. ``index``: the packet's number in its
message, whose words before it are ``index * packet_words``; ``words``: words of the whole message,
less one."""

CONTROL_USER: Mapping[str, int] = {"kind": 2, "slot": 1, "route": 4, "channel": 4}
"""Bits of a control packet's ``user`` field, from bit 0 up; all but ``kind`` only in an ACK."""

MAX_LEGS = 15
"""Packet streams that a route splits a message into."""

ROUTE_WORDS = 16
"""Words a route takes in the memory that WRITE_ROUTE writes: at ``route * 16`` its
:data:`ROUTE_CONFIG`, behind it its legs, each the header that its packets get (``dst_x``,
``dst_y``, ``absorb`` and ``host``; the interface fills in the rest)."""

ROUTE_CONFIG: Mapping[str, int] = {"channel": 4, "legs": 4, "consumers": 8}
"""Bits of a route's first word, from bit 0 up."""

LIST_ENTRIES = 128
"""Entries of each list."""

OUTPUT_LIST = LIST_ENTRIES
"""Address of the output list for WRITE_LIST; the input list is at 0."""

LIST_ENTRY: Mapping[str, int] = {"words": 9, "number": 4, "last": 1}
"""Bits of a list entry, from bit 0 up. ``number``: channel or route; ``last``: the first entry
follows; 0 words: the list waits here for ever."""


class ControlKind(IntEnum):
    """What a control packet is."""

    WORDS = 0
    """From a host: words of messages (``arch/messages.py``) for tile and interface."""
    CONFIRMED = 1
    """As WORDS, and the interface answers TAKEN when the last word has been taken. For a host
    behind a network that may bring packets out of order: it sends the next one then."""
    ACK = 2
    """From a consumer to a producer: ``slot`` of ``channel``, filled by ``route``, has been read.
    No payload."""
    TAKEN = 3
    """Answer to CONFIRMED. No payload."""


# Cycles. "In cycle t" is the one in which a word or flit is transferred, or a decision is made.

START = 1
"""From the strobe that starts the program (the cycle before its first fetch) to the first decision
by the lists."""

SLOT_FULL = 1
"""From a message's last flit, taken from the link, to when the slot may be fed."""

FEED_HEADER = 1
"""From the feeder's decision to the header at the tile's input; its words follow, one a cycle."""

FEED_ACK = 1
"""From the last word at the tile's input to the ACK offered on the link."""

ACK_SEEN = 1
"""From an ACK, taken from the link, to when it counts in the sender's decision."""

WORD_SEEN = 1
"""From a word, taken from the tile's output, to when it counts in the sender's decision."""

PACKET_HEADER = 1
"""From the sender's decision to the header offered on the link; its words follow, one a cycle."""

HALF_FREE = 1
"""From when the last flit of a message's last leg is first offered on the link, to when the first
word of the message after the next may be taken from the tile's output: the sender holds two."""


def feed_cycles(words: int) -> int:
    """Cycles from a feeder's decision to its next one: decision, header, words."""
    return words + 2


def send_cycles(words: int, packet_words: int) -> int:
    """Cycles from a sender's first decision for a leg to the first for the next leg, or the next
    message, where nothing holds it up: a flit a cycle, one more for each packet."""
    return words + packets(words, packet_words)


def packets(words: int, packet_words: int) -> int:
    """Packets of a message of that many words, on each leg."""
    return -(-words // packet_words)


def _encode(layout: Mapping[str, int], values: Mapping[str, int], what: str) -> int:
    word, at = 0, 0
    for name, bits in layout.items():
        value = values[name]
        if not 0 <= value < 1 << bits:
            raise ValueError(f"Field {name} of {what} must be 0 to {(1 << bits) - 1}, not {value}")
        word |= value << at
        at += bits
    return word


def _decode(layout: Mapping[str, int], word: int) -> dict[str, int]:
    fields, at = {}, 0
    for name, bits in layout.items():
        fields[name] = word >> at & ((1 << bits) - 1)
        at += bits
    return fields


@dataclass(frozen=True, kw_only=True)
class DataUser:
    """The ``user`` field of a data packet; ``words`` counts those of the message, from 1 on."""

    channel: int
    words: int
    slot: int = 0
    route: int = HOST_ROUTE
    index: int = 0

    def encode(self) -> int:
        """Raises ``ValueError`` if a field does not fit."""
        return _encode(DATA_USER, {**vars(self), "words": self.words - 1}, "a data packet")

    @classmethod
    def decode(cls, user: int) -> Self:
        fields = _decode(DATA_USER, user)
        return cls(**{**fields, "words": fields["words"] + 1})


@dataclass(frozen=True, kw_only=True)
class ControlUser:
    """The ``user`` field of a control packet."""

    kind: ControlKind = ControlKind.WORDS
    slot: int = 0
    route: int = HOST_ROUTE
    channel: int = 0

    def encode(self) -> int:
        """Raises ``ValueError`` if a field does not fit."""
        return _encode(CONTROL_USER, vars(self), "a control packet")

    @classmethod
    def decode(cls, user: int) -> Self:
        fields = _decode(CONTROL_USER, user)
        kind = ControlKind(fields.pop("kind"))
        return cls(kind=kind, **fields)


class Leg(NamedTuple):
    """A packet stream of a route: where it ends, and who on its way takes a copy."""

    dst_x: int
    dst_y: int
    absorb: int = 0
    host: bool = False

    def header(self, src: Node, length: int = 0, user: int = 0) -> Header:
        """The header of a packet on it."""
        return Header(
            dst_x=self.dst_x, dst_y=self.dst_y, absorb=self.absorb, host=int(self.host),
            src_x=src.x, src_y=src.y, length=length, user=user,
        )  # fmt: skip

    def encode(self) -> int:
        """The word of a route."""
        return self.header(Node(0, 0)).encode()

    @classmethod
    def decode(cls, word: int) -> Self:
        header = Header.decode(word)
        return cls(header.dst_x, header.dst_y, header.absorb, bool(header.host))


def legs_to(src: Node, targets: Collection[Node]) -> tuple[Leg, ...]:
    """Legs from ``src`` to a set of tiles and host ports."""
    tiles = [node for node in targets if not node.host]
    return (
        *(Leg(node.x, node.y, absorb) for node, absorb in multicast_packets(src, tiles)),
        *(Leg(node.x, node.y, 0, True) for node in targets if node.host),
    )


@dataclass(frozen=True, kw_only=True)
class Route:
    """A way out of a tile.

    ``consumers`` is how many acknowledgments a message gets: one from each tile that takes it; none
    from a host, but in a network in which packets may overtake each other, where it could not tell
    a message from the next but one.
    """

    number: int
    legs: tuple[Leg, ...]
    channel: int
    consumers: int

    def encode(self) -> list[int]:
        """Its words, from address ``number * ROUTE_WORDS`` on."""
        config = {"channel": self.channel, "legs": len(self.legs), "consumers": self.consumers}
        words = [_encode(ROUTE_CONFIG, config, f"route {self.number}")]
        return words + [leg.encode() for leg in self.legs]

    @classmethod
    def decode(cls, number: int, words: Sequence[int]) -> Self:
        config = _decode(ROUTE_CONFIG, words[0])
        legs = tuple(Leg.decode(word) for word in words[1 : 1 + config["legs"]])
        return cls(
            number=number, legs=legs, channel=config["channel"], consumers=config["consumers"]
        )


class ListEntry(NamedTuple):
    """A message of a list: its channel (input list) or route (output list), and its words."""

    number: int
    words: int


def encode_list(entries: Sequence[ListEntry | tuple[int, int]]) -> list[int]:
    """The words of a list; an empty one has a single entry that never is a message."""
    if not entries:
        return [0]
    return [
        _encode(
            LIST_ENTRY,
            {"number": number, "words": words, "last": int(k == len(entries) - 1)},
            f"list entry {k}",
        )
        for k, (number, words) in enumerate(entries)
    ]


def configuration(
    routes: Iterable[Route],
    input_list: Sequence[ListEntry | tuple[int, int]],
    output_list: Sequence[ListEntry | tuple[int, int]],
) -> list[int]:
    """Words of the messages that tell a tile's interface its routes and lists."""
    words: list[int] = []
    for route in routes:
        words += message(MessageKind.WRITE_ROUTE, route.encode(), route.number * ROUTE_WORDS)
    words += message(MessageKind.WRITE_LIST, encode_list(input_list))
    words += message(MessageKind.WRITE_LIST, encode_list(output_list), OUTPUT_LIST)
    return words


def data_packets(
    payload: Sequence[int],
    *,
    src: Node,
    leg: Leg,
    channel: int,
    slot: int,
    packet_words: int,
    route: int = HOST_ROUTE,
) -> list[list[int]]:
    """Packets of one message on one leg, as an interface sends them: flits, header first."""
    result = []
    for index, start in enumerate(range(0, len(payload), packet_words)):
        part = list(payload[start : start + packet_words])
        user = DataUser(
            channel=channel, slot=slot, route=route, index=index, words=len(payload)
        ).encode()
        result.append([leg.header(src, len(part), user).encode(), *part])
    return result


def check_network(chip: Chip) -> None:
    """Refuse sizes that packets cannot tell.

    Raises
    ------
    ConfigError
        If a message of ``slot_words`` has more packets than their numbers have values.
    """
    most = 1 << DATA_USER["index"]
    if packets(chip.slot_words, chip.packet_words) > most:
        raise ConfigError(
            f"A message of {chip.slot_words} words (slot_words) would be more than {most} packets "
            f"of {chip.packet_words} (packet_words); make packet_words at least "
            f"{chip.slot_words // most}"
        )
    if chip.packet_words > chip.slot_words:
        raise ConfigError(
            f"A packet of {chip.packet_words} words (packet_words) is longer than the longest "
            f"message, {chip.slot_words} words (slot_words)"
        )


def check_route(chip: Chip, route: Route, at: Node) -> None:
    """Refuse a route that the interface or the mesh cannot take.

    Raises
    ------
    ConfigError
        If its number, channel, legs or consumers are out of range, if it leads out of the mesh, or
        if it is a multicast whose packets no router can hold.
    """
    where = f"Route {route.number} of tile ({at.x}, {at.y})"
    columns, rows = chip.mesh
    if not 1 <= route.number <= chip.routes:
        raise ConfigError(f"{where}: a tile of this chip has routes 1 to {chip.routes} (routes)")
    if not 1 <= len(route.legs) <= MAX_LEGS:
        raise ConfigError(
            f"{where} has {len(route.legs)} packet streams; it may have 1 to {MAX_LEGS}, one for "
            f"each column and direction: place its consumers in fewer columns"
        )
    to_tiles = any(not leg.host for leg in route.legs)
    if to_tiles and not 1 <= route.channel <= chip.channels:
        raise ConfigError(
            f"{where} leads to channel {route.channel}; a tile of this chip has channels 1 to "
            f"{chip.channels} (channels)"
        )
    tiles = sum(1 + leg.absorb.bit_count() for leg in route.legs if not leg.host)
    hosts = sum(leg.host for leg in route.legs)
    if route.consumers not in (tiles, tiles + hosts):
        also = f", or {tiles + hosts} if hosts acknowledge too" if hosts else ""
        raise ConfigError(
            f"{where} counts {route.consumers} consumers, and leads to {tiles} tiles: it must "
            f"count {tiles}{also}"
        )
    for leg in route.legs:
        if not (leg.dst_x < columns and leg.dst_y < rows) or (leg.host and leg.dst_x != 0):
            place = f"{'host port' if leg.host else 'tile'} ({leg.dst_x}, {leg.dst_y})"
            raise ConfigError(f"{where} leads to {place}, which a mesh of {columns}x{rows} has not")
        if leg.absorb and chip.packet_words + 1 > chip.buffer_flits:
            raise ConfigError(
                f"{where} is a multicast: routers must hold a whole packet of {chip.packet_words} "
                f"words and its header, and hold {chip.buffer_flits} flits; make buffer_flits at "
                f"least {2 * chip.packet_words}, or give each consumer a packet stream of its own"
            )


def check_lists(
    chip: Chip,
    at: Node,
    routes: Iterable[Route],
    input_list: Sequence[ListEntry | tuple[int, int]],
    output_list: Sequence[ListEntry | tuple[int, int]],
) -> None:
    """Refuse lists that the interface cannot take.

    Raises
    ------
    ConfigError
        If a list is too long, an entry has no words, more than a slot or more than the input FIFO
        takes, or it names a channel or a route that is not there.
    """
    numbers = {route.number for route in routes}
    known = (("input", input_list, range(1, chip.channels + 1)), ("output", output_list, numbers))
    for name, entries, allowed in known:
        where = f"The {name} list of tile ({at.x}, {at.y})"
        if len(entries) > LIST_ENTRIES:
            raise ConfigError(
                f"{where} has {len(entries)} messages; an interface holds {LIST_ENTRIES}: make "
                f"messages longer (slot_words) or spread the layer over more tiles"
            )
        for k, (number, words) in enumerate(entries):
            most = min(chip.slot_words, chip.fifo_words)
            if not 1 <= words <= most:
                raise ConfigError(
                    f"{where}, message {k}: {words} words; a message has 1 to {most}, as slots "
                    f"(slot_words) and FIFOs (fifo_words) allow"
                )
            if number not in allowed:
                what = "channel" if name == "input" else "route"
                raise ConfigError(f"{where}, message {k}: there is no {what} {number}")


for _layout in (DATA_USER, CONTROL_USER):
    if sum(_layout.values()) > USER_BITS:
        raise ConfigError(f"The user field of a header has {USER_BITS} bits, not {_layout}")
