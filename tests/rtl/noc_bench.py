# SPDX-License-Identifier: Apache-2.0
"""What stands around network interfaces in a simulation: tiles, a host, a network that pauses.

Each is stepped once a cycle: :meth:`drive` sets what it gives, :meth:`sample` notes what is
transferred at the coming clock edge.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from random import Random
from typing import Any

from amaranth.sim import SimulatorContext
from noc_plan import HOST, Plan

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.messages import Header as Message
from ohmtwin.arch.messages import Kind as MessageKind
from ohmtwin.arch.messages import message
from ohmtwin.arch.noc import Header, Node, absorbed
from ohmtwin.arch.noc_interface import (
    HOST_CHANNEL,
    HOST_ROUTE,
    SLOTS,
    ControlKind,
    ControlUser,
    DataUser,
    configuration,
    data_packets,
)
from ohmtwin.arch.registers import Control, TileRegister

__all__ = [
    "FakeTile",
    "HostEnd",
    "LinkEnd",
    "Mailbox",
    "Packets",
    "control_packets",
    "targets_of",
]

Packet = tuple[int, ...]


def targets_of(header: Header) -> list[Node]:
    """Everyone who gets a packet."""
    src = (header.src_x, header.src_y)
    x, y = src
    way = [(x, y)]
    while x != header.dst_x:
        x += 1 if header.dst_x > x else -1
        way.append((x, y))
    while y != header.dst_y:
        y += 1 if header.dst_y > y else -1
        way.append((x, y))
    copies = [Node(*at) for at in way[:-1] if absorbed(*at, header)]
    return [*copies, header.dst]


def control_packets(
    words: Sequence[int], dst: Node, packet_words: int, kind: ControlKind = ControlKind.WORDS
) -> list[Packet]:
    """Words of the host's messages to a tile."""
    made = []
    for start in range(0, len(words), packet_words):
        part = words[start : start + packet_words]
        header = Header(
            dst_x=dst.x, dst_y=dst.y, src_x=HOST.x, src_y=HOST.y, length=len(part),
            user=ControlUser(kind=kind).encode(),
        )  # fmt: skip
        made.append((header.encode(), *part))
    return made


class LinkEnd:
    """Puts packets on a link and takes them from one, with pauses; checks the rules of a link.

    Parameters
    ----------
    i, o : LinkSignature
        Seen from here: ``i`` into the circuit, ``o`` out of it.
    """

    def __init__(self, i: Any, o: Any, rng: Random, idle: float, stall: float) -> None:
        self.i, self.o = i, o
        self.rng, self.idle, self.stall = rng, idle, stall
        self.to_send: dict[int, deque[Packet]] = {0: deque(), 1: deque()}
        self.got: dict[int, deque[Packet]] = {0: deque(), 1: deque()}
        self.flits_in = [0, 0]  # into the circuit
        self.flits_out = [0, 0]
        self._sent = [0, 0]  # flits of the first packet
        self._partial: dict[int, list[int]] = {0: [], 1: []}
        self._offer: int | None = None
        self._seen: tuple[int, int, int] | None = None
        self._ready = 0

    @property
    def quiet(self) -> bool:
        return not any([*self.to_send.values(), *self.got.values(), *self._partial.values()])

    def drive(self, ctx: SimulatorContext) -> None:
        kinds = [kind for kind in (0, 1) if self.to_send[kind]]
        if self._offer is None:
            if kinds and self.rng.random() >= self.idle:
                self._offer = self.rng.choice(kinds)
        elif self.rng.random() < 0.5:  # the other class may take its place
            self._offer = self.rng.choice(kinds)
        if self._offer is None:
            ctx.set(self.i.valid, 0)
        else:
            packet = self.to_send[self._offer][0]
            at = self._sent[self._offer]
            ctx.set(self.i.valid, 1)
            last = int(at == len(packet) - 1)
            ctx.set(self.i.flit, {"data": packet[at], "last": last, "kind": self._offer})
        self._ready = sum(1 << k for k in (0, 1) if self.rng.random() >= self.stall)
        ctx.set(self.o.ready, self._ready)

    def sample(self, ctx: SimulatorContext) -> None:
        kind = self._offer
        if kind is not None and ctx.get(self.i.ready) >> kind & 1:
            self.flits_in[kind] += 1
            self._sent[kind] += 1
            if self._sent[kind] == len(self.to_send[kind][0]):
                self.to_send[kind].popleft()
                self._sent[kind] = 0
            self._offer = None
        if not ctx.get(self.o.valid):
            assert self._seen is None, "a flit was withdrawn"
            return
        word, last, kind = flit = (
            ctx.get(self.o.flit.data), ctx.get(self.o.flit.last), ctx.get(self.o.flit.kind)
        )  # fmt: skip
        if self._seen is not None:
            assert kind != self._seen[2] or flit == self._seen, "an offered flit changed"
        self._seen = None
        if not self._ready >> kind & 1:
            self._seen = flit
            return
        self.flits_out[kind] += 1
        self._partial[kind].append(word)
        if last:
            packet = tuple(self._partial[kind])
            self._partial[kind].clear()
            assert Header.decode(packet[0]).length == len(packet) - 1
            self.got[kind].append(packet)


class Mailbox:
    """The host's end of a network that is no circuit; as :class:`LinkEnd` seen from the host."""

    def __init__(self) -> None:
        self.to_send: dict[int, deque[Packet]] = {0: deque(), 1: deque()}
        self.got: dict[int, deque[Packet]] = {0: deque(), 1: deque()}

    @property
    def quiet(self) -> bool:
        return not any([*self.to_send.values(), *self.got.values()])


class Packets:
    """A network that takes whole packets, keeps them for a while and gives them to their targets.

    Parameters
    ----------
    ends : dict of Node to LinkEnd
        Those of the circuit's interfaces.
    reorder : bool
        Packets may overtake each other; else those of a class to one node keep their order.
    """

    def __init__(self, ends: dict[Node, LinkEnd], rng: Random, *, reorder: bool) -> None:
        self.ends, self.rng, self.reorder = ends, rng, reorder
        self.host = Mailbox()
        self._inside: dict[tuple[Node, int], list[Packet]] = defaultdict(list)

    @property
    def quiet(self) -> bool:
        return not any(self._inside.values())

    def step(self, hold: float) -> None:
        """Take all that has come; let some go on."""
        for queues in (self.host.to_send, *(end.got for end in self.ends.values())):
            for kind, packets in queues.items():
                while packets:
                    packet = packets.popleft()
                    for target in targets_of(Header.decode(packet[0])):
                        self._inside[target, kind].append(packet)
        for (target, kind), inside in self._inside.items():
            if inside and self.rng.random() >= hold:
                index = self.rng.randrange(len(inside)) if self.reorder else 0
                to = self.host.got if target == HOST else self.ends[target].to_send
                to[kind].append(inside.pop(index))


class FakeTile:
    """The word streams of a tile: pops its input at random, gives words in OUTPUT messages.

    Parameters
    ----------
    interface
        With ``tile_i``, ``tile_o``, ``in_free`` and strobes.
    words : sequence of int
        What it gives once it has been started.
    """

    def __init__(
        self, interface: Any, chip: Chip, words: Sequence[int], rng: Random, pace: float
    ) -> None:
        self.dut, self.chip, self.rng, self.pace = interface, chip, rng, pace
        self.give = deque(words)
        self.words = list(words)
        self.got: list[int] = []
        self.messages: list[tuple[MessageKind, int, list[int]]] = []
        self.level = 0
        self.started = False
        self._start = self._stop = False
        self._taken: list[int] = []
        self._out: deque[int] = deque()
        self._replies: deque[int] = deque()
        self._ready = self._valid = False

    def drive(self, ctx: SimulatorContext) -> None:
        dut, rng = self.dut, self.rng
        ctx.set(dut.start, self._start)
        ctx.set(dut.stop, self._stop)
        if self._stop:
            self.level, self.give, self.started = 0, deque(self.words), False
        self.started |= self._start
        self._start = self._stop = False
        if self.level and rng.random() < self.pace:
            self.level -= 1
        ctx.set(dut.in_free, self.chip.fifo_words - self.level)
        if not self._out:
            if self._replies:
                self._out, self._replies = self._replies, deque()
            elif self.started and self.give and rng.random() < self.pace:
                count = rng.randint(1, min(len(self.give), rng.choice([1, 4, 40])))
                self._out.append(Message(MessageKind.OUTPUT, count).encode())
                self._out.extend(self.give.popleft() for _ in range(count))
        self._valid = bool(self._out) and (self._valid or rng.random() < self.pace)
        ctx.set(dut.tile_o.valid, self._valid)
        if self._valid:
            ctx.set(dut.tile_o.payload, self._out[0])
        # One READ_REG holds up the next.
        is_read = not self._taken and ctx.get(dut.tile_i.payload) & 0xFF == MessageKind.READ_REG
        self._ready = not (is_read and self._replies)
        ctx.set(dut.tile_i.ready, self._ready)

    def sample(self, ctx: SimulatorContext) -> None:
        dut = self.dut
        if self._valid and ctx.get(dut.tile_o.ready):
            self._out.popleft()
            self._valid = False
        if self._ready and ctx.get(dut.tile_i.valid):
            self._take(ctx.get(dut.tile_i.payload))

    def _take(self, word: int) -> None:
        self._taken.append(word)
        header = Message.decode(self._taken[0])
        if header.kind is MessageKind.READ_REG:
            reply = Message(MessageKind.REPLY, header.length, header.address).encode()
            self._replies.extend([reply, *range(header.address, header.address + header.length)])
            self._taken.clear()
            return
        if header.kind is MessageKind.INPUT and len(self._taken) > 1:
            self.level += 1
            assert self.level <= self.chip.fifo_words, "the input FIFO is overfilled"
        if len(self._taken) == 1 + header.length:
            payload = self._taken[1:]
            if header.kind is MessageKind.INPUT:
                self.got += payload
            else:
                self.messages.append((header.kind, header.address, payload))
            if header.kind is MessageKind.WRITE_REG and header.address == TileRegister.CONTROL:
                self._start = bool(payload[-1] & Control.RUN)
                self._stop = bool(payload[-1] & Control.STOP)
            self._taken = []


class HostEnd:
    """The host at its port: configures and starts tiles, is a producer, collects what comes.

    Parameters
    ----------
    confirm : bool
        Each control packet is sent when the one before it has been taken.
    """

    def __init__(
        self, end: LinkEnd | Mailbox, chip: Chip, plan: Plan, *, confirm: bool = False
    ) -> None:
        self.end, self.chip, self.plan, self.confirm = end, chip, plan, confirm
        self.replies: list[tuple[Node, int, list[int]]] = []
        self.results: dict[tuple[Node, int], list[list[int]]] = defaultdict(list)
        self.acks = 0
        self._control_out: dict[Node, deque[Packet]] = defaultdict(deque)
        self._unconfirmed: set[Node] = set()
        # As a producer: messages of each route, how many have left, who has still to read a slot.
        self._queue: dict[int, deque[list[int]]] = defaultdict(deque)
        self._sent: dict[int, int] = defaultdict(int)
        self._missing: dict[tuple[int, int], set[Node]] = defaultdict(set)
        # As a consumer: packets of each slot.
        self._slots: dict[tuple[Node, int, int], dict[int, Packet]] = defaultdict(dict)
        self._reply: dict[Node, dict[int, list[int]]] = defaultdict(dict)

    @property
    def quiet(self) -> bool:
        """All control packets have left and are confirmed, all messages sent and acknowledged."""
        left = [*self._control_out.values(), *self._queue.values(), *self._missing.values()]
        return not any(left) and not self._unconfirmed and self.end.quiet

    def configure(self, tile: Node) -> None:
        """Routes and lists of a tile."""
        plan = self.plan
        words = configuration(plan.routes[tile].values(), plan.takes[tile], plan.gives[tile])
        self.words(tile, words)

    def words(self, tile: Node, words: Sequence[int]) -> None:
        """Raw words to a tile."""
        kind = ControlKind.CONFIRMED if self.confirm else ControlKind.WORDS
        packets = control_packets(words, tile, self.chip.packet_words, kind)
        self._control_out[tile].extend(packets)

    def control(self, tile: Node, bits: int) -> None:
        """Write CONTROL."""
        self.words(tile, message(MessageKind.WRITE_REG, [bits], TileRegister.CONTROL))

    def forget(self) -> None:
        """Forget all messages, as tiles that are stopped do."""
        for table in (self._queue, self._sent, self._missing, self._slots, self.results):
            table.clear()
        self.end.to_send[0].clear()

    def start(self, without: Node | None = None) -> None:
        """Start all tiles but one, and queue all messages of the host."""
        for tile in self.plan.tiles:
            if tile != without:
                self.control(tile, Control.RUN)
        if HOST in self.plan.words:
            for number, words in self.plan.messages(HOST):
                self._queue[number].append(words)

    def step(self) -> None:
        """Send what may be sent; take what has come."""
        for tile, packets in self._control_out.items():
            while packets and tile not in self._unconfirmed:
                self.end.to_send[1].append(packets.popleft())
                if self.confirm:
                    self._unconfirmed.add(tile)
        for number, queue in self._queue.items():
            slot = self._sent[number] % SLOTS
            if queue and not self._missing[number, slot]:
                self._sent[number] += 1
                self._missing[number, slot] = set(self.plan.targets[HOST, number])
                self._send(number, slot, queue.popleft())
        while self.end.got[1]:
            self._take_control(self.end.got[1].popleft())
        while self.end.got[0]:
            self._take_data(self.end.got[0].popleft())

    def _send(self, number: int, slot: int, words: list[int]) -> None:
        route = self.plan.routes[HOST][number]
        for leg in route.legs:
            packets = data_packets(
                words, src=HOST, leg=leg, channel=route.channel, slot=slot,
                packet_words=self.chip.packet_words,
            )  # fmt: skip
            self.end.to_send[0].extend(tuple(packet) for packet in packets)

    def _take_control(self, packet: Packet) -> None:
        header = Header.decode(packet[0])
        user = ControlUser.decode(header.user)
        tile = Node(header.src_x, header.src_y)
        assert header.dst == HOST
        if user.kind is ControlKind.TAKEN:
            self._unconfirmed.remove(tile)
            return
        assert user.kind is ControlKind.ACK
        assert user.route == HOST_ROUTE
        (number,) = (
            number
            for number, route in self.plan.routes[HOST].items()
            if route.channel == user.channel
        )
        self._missing[number, user.slot].remove(tile)
        self.acks += 1

    def _take_data(self, packet: Packet) -> None:
        header = Header.decode(packet[0])
        user = DataUser.decode(header.user)
        tile = Node(header.src_x, header.src_y)
        if user.route == HOST_ROUTE:
            assert user.channel == HOST_CHANNEL
            self._take_reply(tile, user.index, list(packet[1:]))
            return
        slot = self._slots[tile, user.route, user.slot]
        assert user.index not in slot, "a packet came twice"
        slot[user.index] = packet
        # Slots in turn.
        results = self.results[tile, user.route]
        while parts := self._slots[tile, user.route, len(results) % SLOTS]:
            words = [word for index in sorted(parts) for word in parts[index][1:]]
            if len(words) < DataUser.decode(Header.decode(parts[min(parts)][0]).user).words:
                break
            parts.clear()
            if self.plan.host_acks:
                back = ControlUser(
                    kind=ControlKind.ACK, slot=len(results) % SLOTS, route=user.route
                )
                ack = Header(
                    dst_x=tile.x, dst_y=tile.y, src_x=HOST.x, src_y=HOST.y, user=back.encode()
                )
                self.end.to_send[1].append((ack.encode(),))
            results.append(words)

    def _take_reply(self, tile: Node, index: int, words: list[int]) -> None:
        parts = self._reply[tile]
        parts[index] = words
        if 0 not in parts:
            return
        whole = [word for k in sorted(parts) for word in parts[k]]
        header = Message.decode(whole[0])
        assert header.kind is MessageKind.REPLY
        if len(whole) == 1 + header.length:
            self.replies.append((tile, header.address, whole[1:]))
            parts.clear()
