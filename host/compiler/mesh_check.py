# SPDX-License-Identifier: Apache-2.0
"""Whether the tiles of a plan can wait for each other for ever.

Tiles, interfaces and host are deterministic and wait for one thing at a time, so whether they get
stuck does not depend on how fast each of them is: a run without a clock, in which a message moves
when there is room for it, finds every deadlock that RTL could find, and none that it could not
(Kahn 1974 for the words, bounded buffers for the room). It is a little stricter than the RTL: a
message leaves only when all its words are there, and senders hold none back.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...arch.errors import CapacityError
from ...arch.isa import Opcode, Source
from ...arch.noc_interface import SLOTS, Leg
from ...behavioral.program import TileProgram
from .mesh_plan import HostFeed, MeshPlan, TilePlan

__all__ = ["StuckError", "Wait", "check_mesh", "waits_of"]

_TURNS = 3


class StuckError(CapacityError):
    """Tiles would wait for each other in a circle."""


@dataclass(frozen=True)
class Wait:
    """A SYNC: the words and the room that it waits for, and those that move until the next one."""

    in_words: int
    out_words: int
    taken: int
    given: int


_Event = tuple[bool, int, int]
"""Whether it is a SYNC, and words in and out."""


def waits_of(program: TileProgram) -> list[Wait]:
    """The SYNCs of a sample of a program, in order, without those that wait for no words."""
    found: list[Wait] = []
    for sync, taken, given in _events(program, 0, len(program.instructions)):
        if sync:
            found.append(Wait(taken, given, 0, 0))
        elif not found:
            found.append(Wait(0, 0, taken, given))
        else:
            last = found[-1]
            found[-1] = replace(last, taken=last.taken + taken, given=last.given + given)
    return found


def _events(program: TileProgram, begin: int, end: int) -> list[_Event]:
    """What instructions do, words that move between two SYNCs in one."""
    found: list[_Event] = []

    def add(event: _Event) -> None:
        if not event[0] and found and not found[-1][0]:
            event = (False, found[-1][1] + event[1], found[-1][2] + event[2])
            found.pop()
        found.append(event)

    width = program.chip.outputs_per_beat
    at = begin
    while at < end:
        one = program.instructions[at]
        at += 1
        if one.op is Opcode.SYNC and (one["in_words"] or one["out_words"]):
            add((True, one["in_words"], one["out_words"]))
        elif one.op is Opcode.RECV:
            add((False, one["words"], 0))
        elif one.op is Opcode.SEND:
            add((False, 0, one["words"]))
        elif one.op is Opcode.LOAD and one["source"] == Source.HOST:
            add((False, -(-one["bytes"] // 8), 0))
        elif one.op is Opcode.REQ and one["tap"]:
            add((False, 0, -(-one["outputs"] // width) * -(-width // 2)))
        elif one.op is Opcode.LOOP:
            inside = _events(program, at, at + one["body"])
            at += one["body"]
            times = one["count"] or 1
            if not any(sync for sync, _, _ in inside):
                inside = [(False, times * taken, times * given) for _, taken, given in inside]
                times = 1
            for _ in range(times):
                for event in inside:
                    add(event)
    return found


@dataclass(eq=False)
class _Line:
    """A route or a feed: its consumers, what each slot still waits for, and whose turn it is."""

    name: str
    channel: int
    consumers: list["_Tile"]
    pending: list[int] = field(default_factory=lambda: [0] * SLOTS)
    turn: int = 0

    def free(self) -> bool:
        return not self.pending[self.turn]

    def send(self, words: int) -> None:
        self.pending[self.turn] = len(self.consumers)
        for tile in self.consumers:
            tile.slots.setdefault(self.channel, deque()).append((words, self, self.turn))
        self.turn = (self.turn + 1) % SLOTS


@dataclass(eq=False)
class _Tile:
    plan: TilePlan
    waits: list[Wait]
    samples: int
    fifo: int
    """Words of each of its FIFOs."""
    input: int = 0
    output: int = 0
    passed: int = 0
    fed: int = 0
    sent: int = 0
    slots: dict[int, deque[tuple[int, _Line, int]]] = field(default_factory=dict)
    routes: dict[int, _Line] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"tile ({self.plan.x}, {self.plan.y})"

    @property
    def done(self) -> bool:
        return self.passed == self.samples * len(self.waits) and not self.output

    def step(self) -> bool:
        """Do all that can be done now; whether it was anything."""
        moved = False
        while self.feed() or self.work() or self.give():
            moved = True
        return moved

    def feed(self) -> bool:
        entries = self.plan.input_list
        if not entries:
            return False
        channel, words = entries[self.fed % len(entries)]
        waiting = self.slots.get(channel)
        if not waiting or self.input + words > self.fifo:
            return False
        found, line, slot = waiting[0]
        if found != words:
            raise CapacityError(
                f"The {self.name} takes a message of {words} words from channel {channel}, but "
                f"{line.name} sends {found}: their lists do not match"
            )
        waiting.popleft()
        line.pending[slot] -= 1
        self.input += words
        self.fed += 1
        return True

    def work(self) -> bool:
        if self.passed == self.samples * len(self.waits):
            return False
        wait = self.waits[self.passed % len(self.waits)]
        if self.input < wait.in_words or self.fifo - self.output < wait.out_words:
            return False
        self.input -= wait.taken
        self.output += wait.given
        self.passed += 1
        return True

    def give(self) -> bool:
        entries = self.plan.output_list
        if not entries:
            return False
        number, words = entries[self.sent % len(entries)]
        line = self.routes[number]
        if self.output < words or not line.free():
            return False
        line.send(words)
        self.output -= words
        self.sent += 1
        return True

    def reason(self) -> str:
        """What it waits for."""
        wait = self.waits[self.passed % len(self.waits)]
        if self.passed < self.samples * len(self.waits) and self.input < wait.in_words:
            channel, _ = self.plan.input_list[self.fed % len(self.plan.input_list)]
            return f"{self.name} waits for a message on channel {channel}"
        number, _ = self.plan.output_list[self.sent % len(self.plan.output_list)]
        if not self.routes[number].free():
            names = ", ".join(tile.name for tile in self.routes[number].consumers)
            return f"{self.name} waits on route {number} until {names} has read"
        return f"{self.name} waits for room for {wait.out_words} words"


@dataclass(eq=False)
class _Host:
    line: _Line
    messages: Sequence[int]
    left: int

    def step(self) -> bool:
        moved = False
        while self.left and self.line.free():
            at = -self.left % len(self.messages)
            self.line.send(self.messages[at])
            self.left -= 1
            moved = True
        return moved


def check_mesh(plan: MeshPlan, programs: Sequence[TileProgram]) -> None:
    """Refuse a plan in which a tile could wait for ever.

    Parameters
    ----------
    plan : MeshPlan
    programs : sequence of TileProgram
        Of each of its tiles, in order.

    Raises
    ------
    CapacityError
        If a tile waits for a message that nobody sends, messages are not as long as whoever takes
        them expects, or tiles wait for each other in a circle.
    """
    turns = (tile.copies * n for tile in plan.tiles for n in (len(tile.gives), len(tile.takes)))
    samples = _TURNS * math.lcm(*turns)
    tiles = {
        (one.x, one.y): _Tile(one, waits_of(program), one.share(samples), program.chip.fifo_words)
        for one, program in zip(plan.tiles, programs, strict=True)
    }

    def consumers(source: tuple[int, int], legs: Sequence[Leg]) -> list[_Tile]:
        return [tiles[one.x, one.y] for one in plan.reached(source, legs)]

    heard: dict[tuple[int, int], set[int]] = {place: set() for place in tiles}
    for place, tile in tiles.items():
        for route in tile.plan.routes:
            line = _Line(
                f"{tile.name} on route {route.number}", route.channel, consumers(place, route.legs)
            )
            _hear(line, heard)
            tile.routes[route.number] = line
    hosts = [
        _host(feed, consumers((0, plan.host_row), feed.legs), samples) for feed in plan.host_in
    ]
    for host in hosts:
        _hear(host.line, heard)
    for place, tile in tiles.items():
        for channel, _ in tile.plan.input_list:
            if channel not in heard[place]:
                raise CapacityError(
                    f"The {tile.name} waits for a message on channel {channel} that nobody sends"
                )
    workers: list[_Tile | _Host] = [*hosts, *tiles.values()]
    while any(worker.step() for worker in workers):
        pass
    stuck = [tile for tile in tiles.values() if not tile.done]
    if stuck:
        raise StuckError(
            "The tiles would wait for each other for ever: "
            + "; ".join(tile.reason() for tile in stuck[:4])
            + "; a larger slot_words or fifo_words, or fewer tiles, would help"
        )


def _hear(line: _Line, heard: dict[tuple[int, int], set[int]]) -> None:
    for tile in line.consumers:
        channels = heard[tile.plan.x, tile.plan.y]
        if line.channel in channels:
            raise CapacityError(
                f"Channel {line.channel} of {tile.name} is used by two senders, of which "
                f"{line.name} is one"
            )
        channels.add(line.channel)


def _host(feed: HostFeed, consumers: list[_Tile], samples: int) -> _Host:
    line = _Line(f"the host's feed {feed.number}", feed.channel, consumers)
    return _Host(line, feed.messages, len(feed.messages) * len(feed.indices(samples)))
