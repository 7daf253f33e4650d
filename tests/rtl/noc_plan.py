# SPDX-License-Identifier: Apache-2.0
"""Random routes and lists that cannot deadlock, and the words that each tile must get by them."""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.noc import Node
from ohmtwin.arch.noc_interface import ListEntry, Route, legs_to

__all__ = ["HOST", "Plan", "random_plan"]

HOST = Node(0, 0, True)


@dataclass
class Plan:
    """Who sends what to whom; the host is a producer and a consumer like a tile.

    ``words`` are what each producer gives in one run, ``turns`` turns of its list. With
    ``host_acks`` the host acknowledges too, as it must where packets may overtake each other.
    """

    tiles: list[Node]
    turns: int
    host_acks: bool = False
    routes: dict[Node, dict[int, Route]] = field(default_factory=lambda: defaultdict(dict))
    targets: dict[tuple[Node, int], list[Node]] = field(default_factory=dict)
    takes: dict[Node, list[ListEntry]] = field(default_factory=lambda: defaultdict(list))
    gives: dict[Node, list[ListEntry]] = field(default_factory=lambda: defaultdict(list))
    words: dict[Node, list[int]] = field(default_factory=dict)

    def add_route(self, node: Node, targets: Iterable[Node], channel: int) -> int:
        """The number of a new route."""
        number = len(self.routes[node]) + 1
        ends = list(targets)
        self.targets[node, number] = ends
        self.routes[node][number] = Route(
            number=number,
            legs=legs_to(node, ends),
            channel=channel,
            consumers=sum(self.host_acks or not end.host for end in ends),
        )
        return number

    def add_message(self, node: Node, number: int, words: int) -> None:
        """The next message of a turn, at its producer and at all who take it."""
        self.gives[node].append(ListEntry(number, words))
        for end in self.targets[node, number]:
            if not end.host:
                self.takes[end].append(ListEntry(self.routes[node][number].channel, words))

    def fill(self, rng: Random) -> None:
        """Make up the words of all producers."""
        for node, entries in self.gives.items():
            total = self.turns * sum(entry.words for entry in entries)
            self.words[node] = [rng.getrandbits(64) for _ in range(total)]

    def messages(self, node: Node) -> list[tuple[int, list[int]]]:
        """All that a producer sends: route and words."""
        left = deque(self.words[node])
        return [
            (entry.number, [left.popleft() for _ in range(entry.words)])
            for _ in range(self.turns)
            for entry in self.gives[node]
        ]

    def expected(self) -> tuple[dict[Node, list[int]], dict[tuple[Node, int], list[list[int]]]]:
        """Words that each tile is fed with; messages that the host gets, by sender and route."""
        channels: dict[tuple[Node, int], deque[list[int]]] = defaultdict(deque)
        host: dict[tuple[Node, int], list[list[int]]] = defaultdict(list)
        for node in self.gives:
            for number, words in self.messages(node):
                for end in self.targets[node, number]:
                    if end.host:
                        host[node, number].append(words)
                    else:
                        channels[end, self.routes[node][number].channel].append(words)
        fed: dict[Node, list[int]] = {}
        for node, entries in self.takes.items():
            fed[node] = [
                word
                for _ in range(self.turns)
                for channel, words in entries
                for word in _checked(channels[node, channel].popleft(), words)
            ]
        return fed, host


def _checked(message: list[int], words: int) -> list[int]:
    assert len(message) == words
    return message


def random_plan(
    chip: Chip, rng: Random, *, routes: int, messages: int, turns: int, host_acks: bool = False
) -> Plan:
    """Routes from anywhere to anywhere, and messages in one order that suits all.

    Lists that follow one order of all messages cannot wait for each other.
    """
    columns, rows = chip.mesh
    tiles = [Node(x, y) for y in range(rows) for x in range(columns)]
    plan = Plan(tiles, turns, host_acks)
    made = []
    for channel in range(1, routes + 1):
        node = rng.choice([*tiles, HOST])
        ends = rng.sample(tiles, rng.randint(1, len(tiles)))
        if not node.host and rng.random() < 0.3:
            ends = [HOST] if rng.random() < 0.5 else [*ends, HOST]
        made.append((node, plan.add_route(node, ends, channel)))
    for k in range(messages):
        node, number = made[k] if k < len(made) else rng.choice(made)
        limit = min(chip.slot_words, chip.fifo_words)
        size = rng.choice([1, chip.packet_words, limit, rng.randint(1, limit)])
        plan.add_message(node, number, size)
    plan.fill(rng)
    return plan
