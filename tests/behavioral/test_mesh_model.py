# SPDX-License-Identifier: Apache-2.0
"""The event model of a mesh: cycles counted by hand, a bridge that lives cycle by cycle, waits that
never end. Against the RTL it is tested in ``tests/host/test_mesh_timing.py``."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_programs import machine, make

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.noc import Channel, Kind, MeshShape, Node, Port
from ohmtwin.arch.noc_interface import Leg, ListEntry, Route, legs_to
from ohmtwin.behavioral.machine_times import PassTimes
from ohmtwin.behavioral.mesh import Feed, MeshDeadlockError, MeshModel, MeshRun, TileSetup
from ohmtwin.behavioral.mesh_network import Fabric
from ohmtwin.behavioral.mesh_packets import Agenda, Buffer, Packet
from ohmtwin.behavioral.mesh_streams import Stream, output_message

CHIP = Chip(
    cores=2, rows=16, cols=32, lanes=8, rows_per_read=8, data_words=16, fifo_words=16,
    mesh=(3, 2), slot_words=16, packet_words=4, buffer_flits=8,
)  # fmt: skip
HOST = Node(0, 0, True)

RELAY = """
LOOP body=6 count=0
SYNC in_words=3
SET reg=A1 value=0
RECV addr=1 words=3
SYNC out_words=3
SET reg=A1 value=0
SEND addr=1 words=3
"""
"""Takes three words and gives three."""


def relay_times(samples: int) -> list[PassTimes]:
    times: list[PassTimes] = []
    machine(make(RELAY, inputs=3, outputs=3, chip=CHIP)).run(
        np.zeros((samples, 3), np.uint64), times
    )
    return times


def relay(node: Node, target: Node, channel: int = 1) -> TileSetup:
    """A tile that sends on what it gets."""
    route = Route(
        number=2,
        legs=legs_to(node, [target]),
        channel=0 if target.host else channel,
        consumers=0 if target.host else 1,
    )
    return TileSetup(node, (route,), (ListEntry(1, 3),), (ListEntry(2, 3),))


def run(tiles: Sequence[TileSetup], first: Sequence[Node], samples: int) -> MeshRun:
    model = MeshModel(CHIP, tiles, [Feed(legs_to(HOST, first), 1, len(first))])
    return model.run([relay_times(samples) for _ in tiles], [(0, 3)] * samples)


def test_a_relay_counted_by_hand() -> None:
    found = run([relay(Node(1, 0), HOST)], [Node(1, 0)], 1)
    # Four flits from cycle 0 on; through routers (0, 0) and (1, 0), so the tail comes in 5.
    # Slot full and feeder decides in 6, header 7, words 8 .. 10, in the FIFO 9 .. 11: SYNC in 11.
    # SET in 13, RECV 15 .. 17, SYNC 19, SET 21, SEND 23 .. 25, which pushes in 24 .. 26.
    # OUTPUT decided in 27, header 28, words 29 .. 31, sender decides in 32, flits 33 .. 36 offered,
    # taken by the host from router (0, 0) two cycles later.
    (span,) = found.tiles[0].spans
    assert (span.begin, span.waits) == (11, [])
    assert [(s.first, s.last) for s in found.sent] == [(0, 3)]
    assert [(s.source, s.route, s.first, s.last) for s in found.got] == [(0, 2, 35, 38)]
    assert found.cycles == 39
    # The tile is back at its SYNC in 27.
    assert span.end == 27
    assert found.tiles[0].busy == 27 - 11
    assert found.tiles[0].stalls.program_in == 11
    # Out and back over one link each, and an ACK.
    assert found.links[Channel(0, 0, Port.EAST)].data == 4
    assert found.links[Channel(1, 0, Port.LOCAL)].data == 4
    assert found.links[Channel(1, 0, Port.WEST)] == found.links[Channel(0, 0, Port.WEST)]
    assert (found.links[Channel(0, 0, Port.WEST)].data, found.flits) == (4, 12 + 12 + 3)
    assert found.links[Channel(0, 0, Port.WEST)].control == 1


GIVER = """
LOOP body=6 count=0
SYNC in_words=1
SET reg=A1 value=0
RECV addr=1 words=1
SYNC out_words=12
SET reg=A1 value=0
SEND addr=1 words=12
"""


def test_two_messages_fit_the_transmit_memory() -> None:
    """Twelve words at once, in messages of three: the link is busy all the time, but no more."""
    route = Route(number=1, legs=legs_to(Node(0, 0), [HOST]), channel=0, consumers=0)
    tile = TileSetup(Node(0, 0), (route,), (ListEntry(1, 1),), (ListEntry(1, 3),))
    times: list[PassTimes] = []
    data = np.arange(16, dtype=np.uint64)
    giver = make(GIVER, inputs=1, outputs=12, chip=CHIP, data=data)
    machine(giver).run(np.zeros((1, 1), np.uint64), times)
    found = MeshModel(CHIP, [tile], [Feed(legs_to(HOST, [Node(0, 0)]), 1, 1)]).run(
        [times], [(0, 1)]
    )
    # The first message goes into one half, the second into the other; the third waits until the
    # last flit of the first is offered, and is there three cycles later.
    first = found.got[0].first
    assert [s.first - first for s in found.got] == [0, 4, 8, 12]
    assert [s.last - s.first for s in found.got] == [3, 3, 3, 3]
    assert found.tiles[0].stalls.half == 2 + 1


def test_two_slots_keep_a_relay_busy() -> None:
    """With two slots messages overlap: a sample costs what its slowest part takes."""
    one, many = (run([relay(Node(1, 0), HOST)], [Node(1, 0)], n) for n in (1, 11))
    # The program takes 16 cycles a sample, and does not wait once it has begun.
    assert many.tiles[0].busy == 11 * one.tiles[0].busy
    assert many.cycles == one.cycles + 10 * 16
    assert many.occupancy(0) == 11 * 16 / many.cycles


def test_a_chain_works_on_many_samples_at_once() -> None:
    chain = [Node(0, 0), Node(1, 0), Node(2, 0), Node(2, 1)]
    ends = [*chain[1:], HOST]
    tiles = [relay(node, end) for node, end in zip(chain, ends, strict=True)]
    one, many = (run(tiles, chain[:1], n) for n in (1, 20))
    assert many.cycles < one.cycles + 19 * 18
    for tile in many.tiles:
        begins = [span.begin for span in tile.spans]
        assert begins == sorted(begins)
        assert len(begins) == 20
    assert sum(link.data for link in many.links.values()) == 20 * sum(
        link.data for link in one.links.values()
    )


def test_copies_go_to_all() -> None:
    both = [Node(1, 0), Node(1, 1)]
    found = run([relay(node, HOST) for node in both], both, 3)
    assert [s.words for s in found.got] == [3] * 6
    # One packet stream, to (1, 1), with a copy at (1, 0).
    assert found.entries[HOST].data == 12
    assert found.links[Channel(1, 0, Port.LOCAL)].data == 12
    assert found.links[Channel(1, 1, Port.LOCAL)].data == 12


def test_a_model_goes_on_where_its_lists_stand() -> None:
    """Two runs are one run as far as lists and counts are concerned."""
    tiles = [
        TileSetup(
            Node(1, 0),
            relay(Node(1, 0), HOST).routes,
            (ListEntry(1, 3), ListEntry(2, 3)),
            (ListEntry(2, 3),),
        )
    ]
    feeds = [Feed(legs_to(HOST, [Node(1, 0)]), channel, 1) for channel in (1, 2)]
    model = MeshModel(CHIP, tiles, feeds)
    whole = MeshModel(CHIP, tiles, feeds).run([relay_times(2)], [(0, 3), (1, 3)])
    parts = [model.run([relay_times(1)], [(feed, 3)]) for feed in (0, 1)]
    assert sum(part.flits for part in parts) == whole.flits


def test_a_message_that_nobody_sends_is_named() -> None:
    with pytest.raises(MeshDeadlockError) as caught:
        run([relay(Node(1, 0), Node(0, 1)), relay(Node(0, 1), HOST, 1)], [Node(0, 1)], 1)
    assert "tile (1, 0) waits for a message of 3 words on channel 1" in str(caught.value)


def test_a_message_that_nobody_reads_is_named() -> None:
    """The second tile never reads: the first one may send two messages, the host goes on."""
    deaf = TileSetup(Node(2, 0), (), (ListEntry(5, 3),), ())
    model = MeshModel(
        CHIP, [relay(Node(1, 0), Node(2, 0)), deaf], [Feed(legs_to(HOST, [Node(1, 0)]), 1, 1)]
    )
    with pytest.raises(MeshDeadlockError) as caught:
        model.run([relay_times(20), []], [(0, 3)] * 20)
    assert "tile (1, 0) waits for" in str(caught.value)
    assert "1 acknowledgments on route 2" in str(caught.value)
    assert "the host has" in str(caught.value)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 100_000))
def test_output_messages_are_those_of_the_bridge(seed: int) -> None:
    """Against the rule of ``rtl/bridge.py``, taken cycle by cycle."""
    rng = np.random.default_rng(seed)
    pushed, at = Stream(), 0
    pushes = set()
    for _ in range(rng.integers(1, 6)):
        at += int(rng.integers(0, 20))
        words = int(rng.integers(1, 400))
        pushed.add(at, words)
        pushes |= set(range(at, at + words))
        at += words
    popped = int(rng.integers(0, pushed.count))
    free = int(rng.integers(0, at))
    cycle = free
    while True:
        level = sum(time < cycle for time in pushes) - popped
        if level > 0 and (cycle not in pushes or level >= 255):
            break
        cycle += 1
    assert output_message(pushed, popped, free) == (cycle, min(level, 255))
    assert output_message(pushed, pushed.count, free) is None


def test_packets_that_meet_share_a_link() -> None:
    """Three packets for one end: it gets a flit a cycle, and none of them is early."""
    agenda = Agenda()
    fabric = Fabric(MeshShape(width=3, height=3, depth=4), agenda)
    got: list[tuple[int, int]] = []
    for src in (Node(0, 1), Node(2, 1), Node(1, 0)):
        path = fabric.path(src, Leg(1, 1), Kind.DATA)
        packet = Packet(path, 9, lambda _, head, tail: got.append((head, tail)))
        agenda.at(0, fabric.inject, packet)
    agenda.run()
    assert got == [(2, 10), (11, 19), (20, 28)]
    # What waits fills the buffers in its way, and holds the links behind them.
    held = {str(c): link.held for (c, _), link in fabric.outward.items() if link.held}
    assert held == {"(1, 1) local": 9 + 18}


def test_a_blocked_packet_holds_the_links_behind_it() -> None:
    """A packet longer than a buffer, blocked, stays on the link before: another one must wait."""
    agenda = Agenda()
    fabric = Fabric(MeshShape(width=3, height=1, depth=4), agenda)
    got: dict[str, tuple[int, int]] = {}

    def send(name: str, src: Node, dst: Node, flits: int, time: int) -> None:
        path = fabric.path(src, Leg(dst.x, dst.y), Kind.DATA)
        packet = Packet(path, flits, lambda _, head, tail: got.update({name: (head, tail)}))
        agenda.at(time, fabric.inject, packet)

    send("first", Node(2, 0), Node(2, 0), 20, 0)
    send("blocked", Node(0, 0), Node(2, 0), 10, 0)
    send("behind", Node(1, 0), Node(1, 0), 1, 0)
    send("crossing", Node(0, 0), Node(1, 0), 1, 1)
    agenda.run()
    assert got["first"] == (1, 20)
    # Its head stands at (2, 0) from 2 on; it leaves when the local port is free.
    assert got["blocked"] == (21, 30)
    assert got["behind"] == (1, 1)
    # The last buffer holds four of its flits: its tail leaves router (1, 0) in 21 + 10 - 4, and
    # what came behind it in the same buffer follows.
    assert got["crossing"] == (28, 28)


def test_room_comes_a_cycle_after_a_flit_has_left() -> None:
    fabric = Fabric(MeshShape(width=2, height=1, depth=2), Agenda())
    packet = Packet(fabric.path(Node(0, 0), Leg(1, 0), Kind.DATA), 2, lambda *_: None)
    buffer = Buffer(2)
    assert [buffer.room(flit) for flit in range(4)] == [0, 0, None, None]
    buffer.packets.append(packet)
    buffer.leave([5, 9])
    assert [buffer.room(flit) for flit in range(2, 5)] == [6, 10, None]
    assert (buffer.last_exit, buffer.left, list(buffer.packets)) == (9, 2, [])
