# SPDX-License-Identifier: Apache-2.0
"""A tile of a mesh and its network interface, in time: program, feeder, transmit memory, sender.

Each of them goes on as far as what it waits for is known, and leaves the cycles behind for the
others. All cycles are those of ``docs/tile.md``, ``docs/mesh.md`` and ``arch/noc_interface.py``.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..arch.noc import Kind, Node
from ..arch.noc_interface import (
    ACK_SEEN,
    FEED_ACK,
    FEED_HEADER,
    HALF_FREE,
    PACKET_HEADER,
    SLOT_FULL,
    SLOTS,
    WORD_SEEN,
    Leg,
    ListEntry,
    Route,
    feed_cycles,
    packets,
)
from .machine_times import PassTimes, Touch
from .mesh_network import Fabric
from .mesh_packets import Agenda, Packet, Path
from .mesh_streams import Stream, output_message

__all__ = ["Message", "Outlet", "Span", "Stalls", "TileClock"]

_HALVES = 2


class Outlet(Protocol):
    """A producer that hears of acknowledgments."""

    def acknowledged(self, route: int, number: int, time: int) -> None:
        """A consumer has read message ``number`` of a route; the ACK was taken in ``time``."""


@dataclass(eq=False, slots=True)
class Message:
    """On a route; ``number`` counts those of the route. ``route`` is 0, or a host's feed."""

    source: Outlet
    node: Node
    route: int
    number: int
    channel: int
    words: int
    begun: dict[Node, int] = field(default_factory=dict)
    """When each end, its source too, had its first header."""
    arrived: dict[Node, int] = field(default_factory=dict)
    """Packets that each consumer has got."""

    def note(self, node: Node, head: int) -> int:
        """A consumer has got a packet; how many those are now."""
        self.begun.setdefault(node, head)
        self.arrived[node] = self.arrived.get(node, 0) + 1
        return self.arrived[node]


@dataclass(slots=True)
class Span:
    """A sample in a tile: cycles in which its pass begins and has ended, and its waits within,
    as (first cycle, cycles, whether for input)."""

    sample: int
    begin: int
    end: int = -1
    waits: list[tuple[int, int, bool]] = field(default_factory=list)


@dataclass(slots=True)
class Stalls:
    """Cycles that something was kept waiting, by cause.

    ``program_in``, ``program_out``: the program, for input and for room in its output FIFO.
    ``slot``, ``room``: the feeder, for a message and for room in the input FIFO. ``acks``: the
    sender, for consumers. ``link``: the sender, for its link to take a packet.
    ``half``: a word of the tile, for the transmit memory.
    """

    program_in: int = 0
    program_out: int = 0
    slot: int = 0
    room: int = 0
    acks: int = 0
    link: int = 0
    half: int = 0


class _RouteState:
    """Consumer counts of a route."""

    __slots__ = ("known", "left", "paths", "route", "sent")

    def __init__(self, route: Route, paths: Sequence[Path]) -> None:
        self.route = route
        self.paths = paths
        self.sent = 0
        self.left: dict[int, int] = {}
        """Acknowledgments missing, by message."""
        self.known: dict[int, int] = {}
        """When the last one was taken, by message."""


class TileClock:
    """One tile in time.

    Parameters
    ----------
    node : Node
    agenda, fabric : Agenda, Fabric
    fifo_words, packet_words : int
        Of the chip.
    routes : sequence of Route
    input_list, output_list : sequence of ListEntry
    times : sequence of PassTimes
        Of the samples of the run; the program waits for the first one from cycle 0 on.
    deliver : callable
        Told (message, node) when a tile or host has all of a message, in that cycle.
    at : tuple of int
        Entries of the lists to begin with; see :attr:`position`.
    """

    def __init__(
        self,
        node: Node,
        agenda: Agenda,
        fabric: Fabric,
        fifo_words: int,
        packet_words: int,
        routes: Sequence[Route],
        input_list: Sequence[ListEntry],
        output_list: Sequence[ListEntry],
        times: Sequence[PassTimes],
        deliver: Callable[[Message, Node], None],
        at: tuple[int, int] = (0, 0),
    ) -> None:
        self.node = node
        self._agenda, self._fabric = agenda, fabric
        self._fifo, self._packet_words = fifo_words, packet_words
        self._deliver = deliver
        self._routes = {
            route.number: _RouteState(
                route, [fabric.path(node, leg, Kind.DATA) for leg in route.legs]
            )
            for route in routes
        }
        self._inputs, self._outputs = tuple(input_list), tuple(output_list)
        self._input_at, self._output_at = at
        self.spans: list[Span] = []
        self.stalls = Stalls()
        self.busy = 0
        """Cycles in which the program did not wait."""

        self._samples = _samples(times)
        self._sample: _Sample | None = None
        self._at: tuple[int, int, int] | None = None
        """The wait that the program is in: when it came there, words and room that it wants."""
        self._position = 0
        self._ready = 0
        self._next_sample()

        self._fed, self._popped = Stream(), Stream()
        self._full: dict[int, deque[tuple[Message, int]]] = {}
        self._feed_from = 0
        self._acknowledging = False

        self._pushed, self._taken = Stream(), Stream()
        self._bridge_asked = -1
        self._left = 0
        """Words of the OUTPUT message under way that the interface has not got."""
        self._last = 0
        """When it got the word before them."""
        self._filled = 0
        """Words of the last message in the transmit memory."""
        self._halves = deque([0] * _HALVES)
        """From when on each half that is free can take words."""

        self._messages: deque[tuple[ListEntry, list[int]]] = deque()
        """In the transmit memory, with the cycles in which the last words of packets came."""
        self._send_from = 0
        self._leg = self._packet = 0
        """What of the first message is to be sent next."""
        self._message: Message | None = None
        self._offering = False

    @property
    def position(self) -> tuple[int, int]:
        """Entries of the input and of the output list that come next."""
        return self._input_at, self._output_at

    # What is waited for, for messages to a user

    @property
    def done(self) -> bool:
        """All samples have passed, and all words have left."""
        return self._at is None and not self._messages and self._taken.count == self._pushed.count

    def waits(self) -> list[str]:
        """What keeps it, in words."""
        found = []
        if self._at is not None:
            missing = self._popped.count + self._at[1] - self._fed.count
            if missing > 0 and not self._inputs:
                found.append("input, while its input list is empty")
            elif missing > 0:
                entry = self._inputs[self._input_at]
                if self._full.get(entry.number):
                    found.append(f"room for {entry.words} words in its input FIFO")
                else:
                    found.append(f"a message of {entry.words} words on channel {entry.number}")
            else:
                found.append(f"room for {self._at[2]} words in its output FIFO")
        if self._messages and not self._offering:
            entry, _ = self._messages[0]
            state = self._routes[entry.number]
            missing = state.left.get(state.sent - SLOTS, 0)
            if missing:
                found.append(f"{missing} acknowledgments on route {entry.number}")
        return found

    # Everything that may go on

    def pump(self) -> None:
        """Go on as far as known."""
        moved = True
        while moved:
            moved = self._run() | self._feed() | self._fill() | self._send()

    # Program

    def _next_sample(self) -> None:
        """The first wait of the next sample, if there is one: (arrival, words, room)."""
        self._sample = next(self._samples, None)
        self._at = None
        if self._sample is not None:
            self._position = 0
            touch = self._sample[0][0]
            self._at = (self._ready, touch[1], touch[2])

    def _run(self) -> bool:
        """Pass waits while their conditions are known to come true."""
        moved = False
        while self._at is not None:
            arrival, words, room = self._at
            passes = arrival
            last_in = self._popped.count + words - 1
            if words:
                if last_in >= self._fed.count:
                    return moved
                passes = max(passes, self._fed.time(last_in) + 1)
            came = passes
            last_out = self._pushed.count + room - self._fifo - 1
            if room and last_out >= 0:
                if last_out >= self._taken.count:
                    return moved
                passes = max(passes, self._taken.time(last_out) + 1)
            self._pass(arrival, came, passes)
            moved = True
        return moved

    def _pass(self, arrival: int, came: int, passes: int) -> None:
        """The program leaves a wait in cycle ``passes``, and runs to the next one."""
        if self._sample is None:
            return
        touches, starts = self._sample
        if self._position == 0:
            self.spans.append(Span(len(self.spans), passes))
        elif passes > arrival:
            if came > arrival:
                self.spans[-1].waits.append((arrival, came - arrival, True))
            if passes > came:
                self.spans[-1].waits.append((came, passes - came, False))
        self.stalls.program_in += came - arrival
        self.stalls.program_out += passes - came
        offset = passes - starts[self._position]
        at = self._position + 1
        while touches[at][0] != Touch.SYNC:
            kind, words, _, delay = touches[at]
            stream = self._popped if kind == Touch.POP else self._pushed
            stream.add(offset + starts[at] + delay, words)
            at += 1
        self._ready = offset + starts[at]
        self.busy += self._ready - passes
        if at == len(touches) - 1:
            self.spans[-1].end = self._ready
            self._next_sample()
        else:
            self._position = at
            self._at = (self._ready, touches[at][1], touches[at][2])

    # Feeder

    def arrived(self, message: Message, time: int) -> None:
        """The last flit of a message was taken from the link."""
        self._full.setdefault(message.channel, deque()).append((message, time))
        self.pump()

    def _feed(self) -> bool:
        moved = False
        while self._inputs and not self._acknowledging:
            entry = self._inputs[self._input_at]
            queue = self._full.get(entry.number)
            if not queue:
                break
            message, full = queue[0]
            decided = max(self._feed_from, full + SLOT_FULL)
            has_slot = decided
            last_out = self._fed.count + entry.words - self._fifo - 1
            if last_out >= 0:
                if last_out >= self._popped.count:
                    break
                decided = max(decided, self._popped.time(last_out) + 1)
            queue.popleft()
            self.stalls.slot += has_slot - self._feed_from
            self.stalls.room += decided - has_slot
            self._fed.add(decided + FEED_HEADER + 1, entry.words)
            self._feed_from = decided + feed_cycles(entry.words)
            self._input_at = (self._input_at + 1) % len(self._inputs)
            offered = decided + FEED_HEADER + entry.words + FEED_ACK
            self._acknowledging = True
            self._agenda.at(max(offered, self._agenda.now), self._acknowledge, message)
            moved = True
        return moved

    def _acknowledge(self, message: Message) -> None:
        """Offer an ACK to the link; the feeder goes on when it has been taken."""
        back = message.node
        path = self._fabric.path(self.node, Leg(back.x, back.y, 0, back.host), Kind.CONTROL)

        def delivered(_: Node, __: int, time: int) -> None:
            message.source.acknowledged(message.route, message.number, time)

        def sent(time: int) -> None:
            self._feed_from = max(self._feed_from, time)
            self._acknowledging = False
            self.pump()

        self._fabric.inject(Packet(path, 1, delivered, sent))

    # Transmit memory

    def _fill(self) -> bool:
        moved = False
        while self._outputs:
            if self._left == 0:
                found = output_message(self._pushed, self._taken.count, self._last)
                if found is None or not self._is_settled(found[0]):
                    break
                # The header is taken as it comes, whatever room there is.
                self._last, self._left = found[0] + 1, found[1]
            entry = self._outputs[self._output_at]
            first = self._last + 1
            if self._filled == 0:
                if not self._halves:
                    break
                free = self._halves.popleft()
                self.stalls.half += max(0, free - first)
                first = max(first, free)
                self._messages.append((entry, []))
            words = min(self._left, entry.words - self._filled)
            # The tile asks its FIFO for a word as the one before it is taken.
            self._taken.add(self._last)
            if words > 1:
                self._taken.add(first, words - 1)
            self._left -= words
            self._last = first + words - 1
            ready = self._messages[-1][1]
            for packet in range(len(ready), packets(entry.words, self._packet_words)):
                end = min((packet + 1) * self._packet_words, entry.words)
                if end <= self._filled + words:
                    ready.append(first + end - 1 - self._filled)
            self._filled += words
            if self._filled == entry.words:
                self._filled = 0
                self._output_at = (self._output_at + 1) % len(self._outputs)
            moved = True
        return moved

    def _is_settled(self, cycle: int) -> bool:
        """Whether all words are known that the program pushes up to that cycle."""
        now = self._agenda.now
        if self._at is None or cycle <= max(self._at[0], now):
            return True
        if self._bridge_asked != cycle:
            self._bridge_asked = cycle
            self._agenda.at(cycle, self.pump)
        return False

    # Sender

    def _send(self) -> bool:
        if self._offering or not self._messages:
            return False
        entry, ready = self._messages[0]
        if self._packet >= len(ready):
            return False
        decided = max(self._send_from, ready[self._packet] + WORD_SEEN)
        if self._message is None:
            state = self._routes[entry.number]
            number = state.sent
            if state.route.consumers and number >= SLOTS:
                if number - SLOTS not in state.known:
                    return False
                may = state.known.pop(number - SLOTS) + ACK_SEEN
                self.stalls.acks += max(0, may - decided)
                decided = max(decided, may)
            state.left[number] = state.route.consumers
            self._message = Message(
                self, self.node, entry.number, number, state.route.channel, entry.words
            )
        self._offering = True
        offered = decided + PACKET_HEADER
        self._agenda.at(max(offered, self._agenda.now), self._offer, self._message, offered)
        return True

    def _offer(self, message: Message, offered: int) -> None:
        """The header of the next packet stands at the link."""
        state = self._routes[message.route]
        sent = self._packet * self._packet_words
        flits = 1 + min(self._packet_words, message.words - sent)
        whole = packets(message.words, self._packet_words)

        def delivered(node: Node, head: int, _: int) -> None:
            if message.note(node, head) == whole:
                self._deliver(message, node)

        def taken(time: int) -> None:
            self.stalls.link += time - (offered + flits - 1)
            self._send_from = time
            self._packet += 1
            if self._packet == whole:
                self._packet = 0
                self._leg += 1
            if self._leg == len(state.paths):
                self._leg = 0
                self._message = None
                self._messages.popleft()
                self._halves.append(time + HALF_FREE)
                state.sent += 1
            self._offering = False
            self.pump()

        self._fabric.inject(Packet(state.paths[self._leg], flits, delivered, taken))

    def acknowledged(self, route: int, number: int, time: int) -> None:
        """A consumer has read message ``number`` of a route; the ACK was taken in ``time``."""
        state = self._routes[route]
        state.left[number] -= 1
        if state.left[number] == 0:
            del state.left[number]
            state.known[number] = time
            self.pump()


_Sample = tuple[list[tuple[int, int, int, int]], list[int]]
"""Touches of a pass, and when each executes."""


def _samples(times: Sequence[PassTimes]) -> Iterator[_Sample]:
    for part in times:
        touches = part.touches.tolist()
        for starts in part.starts:
            yield touches, starts.tolist()
