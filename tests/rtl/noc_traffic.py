# SPDX-License-Identifier: Apache-2.0
"""Random packets for meshes, and what must come out where: by targets, not by routes."""

from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any

from amaranth.sim import SimulatorContext

from ohmtwin.arch.noc import Header, MeshShape, Node, multicast_packets

__all__ = ["Flit", "Traffic", "ports_of"]

Flit = tuple[int, int, int]
"""Data, last, kind."""


def ports_of(mesh: Any, shape: MeshShape) -> dict[Node, tuple[Any, Any]]:
    """Links into and out of the mesh, by who is on their other side."""
    ports = {Node(*shape.position(i)): (mesh.i[i], mesh.o[i]) for i in range(shape.tiles)}
    for index, y in enumerate(shape.hosts):
        ports[Node(0, y, True)] = (mesh.host_i[index], mesh.host_o[index])
    return ports


class Traffic:
    """Packets from everywhere to everywhere, and a bench that sends them and checks what comes.

    Parameters
    ----------
    shape : MeshShape
    rng : Random
    """

    def __init__(self, shape: MeshShape, rng: Random) -> None:
        self.shape = shape
        self.rng = rng
        self.nodes = list(shape.nodes())
        self.queues: dict[tuple[Node, int], deque[Flit]] = {
            (node, kind): deque() for node in self.nodes for kind in (0, 1)
        }
        # Packets between two nodes, in one class, come in the order in which they were sent.
        self.expected: dict[tuple[Node, Node, int], deque[tuple[int, ...]]] = {}
        self.copies = 0

    def send(self, src: Node, targets: Sequence[Node], kind: int, payload: Sequence[int]) -> None:
        """Queue a message; to several tiles, as the packets that reach them all."""
        if len(targets) == 1:
            packets = [(targets[0], 0)]
        else:
            packets = multicast_packets(src, targets)
        self.copies += len(targets)
        tag = self.rng.randrange(1 << 23)
        for dst, absorb in packets:
            header = Header(
                dst_x=dst.x,
                dst_y=dst.y,
                host=int(dst.host),
                src_x=src.x,
                src_y=src.y,
                absorb=absorb,
                length=len(payload),
                user=tag,
            )
            words = (header.encode(), *payload)
            queue = self.queues[src, kind]
            queue.extend((word, int(i == len(payload)), kind) for i, word in enumerate(words))
        for target in targets:
            self.expected.setdefault((src, target, kind), deque()).append((tag, *payload))

    def random_packets(self, count: int, longest: int, multicast: float) -> None:
        """Queue messages; that share of them to several tiles."""
        tiles = [node for node in self.nodes if not node.host]
        for _ in range(count):
            src = self.rng.choice(self.nodes)
            kind = self.rng.randrange(2)
            most = longest
            targets = [self.rng.choice(self.nodes)]
            if self.rng.random() < multicast:
                targets = self.rng.sample(tiles, self.rng.randint(2, min(6, len(tiles))))
                most = min(longest, self.shape.multicast_payload)
            length = self.rng.choice([0, 1, most, self.rng.randint(0, most)])
            self.send(src, targets, kind, [self.rng.getrandbits(64) for _ in range(length)])

    def check(self, node: Node, kind: int, words: tuple[int, ...]) -> None:
        """A packet has come out."""
        header = Header.decode(words[0])
        assert header.length == len(words) - 1, "the packet has another length than its header says"
        origins = [
            src
            for src in (Node(header.src_x, header.src_y, host) for host in (False, True))
            if (waiting := self.expected.get((src, node, kind)))
            and waiting[0] == (header.user, *words[1:])
        ]
        assert origins, (
            f"{node} got a packet that was not next from ({header.src_x}, {header.src_y})"
        )
        self.expected[origins[0], node, kind].popleft()
        self.copies -= 1

    async def bench(self, ctx: SimulatorContext, mesh: Any, idle: float, stall: float) -> None:
        """Send all and see them come; each side pauses with its probability.

        An offer stands until it is taken, save that one of the other class may take its place.
        """
        ports = ports_of(mesh, self.shape)
        offers: dict[Node, Flit | None] = dict.fromkeys(ports)
        seen: dict[Node, Flit | None] = dict.fromkeys(ports)
        partial: dict[tuple[Node, int], list[int]] = {
            (node, kind): [] for node in ports for kind in (0, 1)
        }
        while self.copies or any(self.queues.values()):
            ready = dict.fromkeys(ports, 0)
            for node, (i, o) in ports.items():
                offer = offers[node]
                if offer is None or self.rng.random() < 0.5:  # the other class may take its place
                    kinds = [k for k in (0, 1) if self.queues[node, k]]
                    if kinds and (offer is not None or self.rng.random() >= idle):
                        offers[node] = offer = self.queues[node, self.rng.choice(kinds)][0]
                ctx.set(i.valid, offer is not None)
                if offer is not None:
                    ctx.set(i.flit, {"data": offer[0], "last": offer[1], "kind": offer[2]})
                ready[node] = sum((self.rng.random() >= stall) << k for k in (0, 1))
                ctx.set(o.ready, ready[node])
            values = [v for i, o in ports.values() for v in (i.ready, o.valid, o.flit)]
            _, _, *sampled = await ctx.tick().sample(*values)
            for n, (node, offer) in enumerate(offers.items()):
                taken, valid, flit = sampled[3 * n : 3 * n + 3]
                if offer is not None and taken >> offer[2] & 1:
                    self.queues[node, offer[2]].popleft()
                    offers[node] = None
                before = seen[node]
                got = (flit.data, flit.last, flit.kind)
                if before is not None:
                    assert valid, f"{node}: an offer was withdrawn"
                    assert got == before or got[2] != before[2], f"{node}: an offer changed"
                seen[node] = None
                if valid and ready[node] >> flit.kind & 1:
                    words = partial[node, flit.kind]
                    words.append(flit.data)
                    if flit.last:
                        self.check(node, flit.kind, tuple(words))
                        words.clear()
                elif valid:
                    seen[node] = got
