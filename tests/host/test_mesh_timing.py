# SPDX-License-Identifier: Apache-2.0
"""Level fast on a mesh: its counters, and how they add up over runs."""

from collections import Counter

import numpy as np
import pytest
from graph_cases import GRAPH_CHIP, Maker, random_inputs

from ohmtwin.arch.noc import Channel, MeshShape, Node, Port, path
from ohmtwin.arch.noc_interface import packets
from ohmtwin.host.compiler.mesh_plan import MeshPlan
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.graph import Network
from ohmtwin.host.mesh_timing import MeshTiming
from ohmtwin.host.targets import FastTarget

CHIP = GRAPH_CHIP.with_(cores=4, mesh=(3, 3), slot_words=32, fifo_words=128, data_words=1024)
SAMPLES = 5


def network() -> Network:
    """A layer cut over tiles, and one behind it."""
    m = Maker(31)
    h = m.dense(m.input(100), 100, 72)
    return m.network(m.dense(h, 72, 10))


@pytest.fixture(scope="module")
def net() -> CompiledNetwork:
    return compile_network(network(), chip=CHIP, device="ideal")


def flits_by_plan(plan: MeshPlan, samples: int) -> dict[str, list[int]]:
    """Flits over each link by class, from routes and messages alone; for a plan without copies."""
    found: dict[str, list[int]] = {}

    def send(src: Node, dst: Node, copies: list[Node], flits: int, kind: int) -> None:
        for link in (src, *path(plan_shape(plan), src, dst)):
            found.setdefault(str(link), [0, 0])[kind] += flits
        for copy in copies:
            local = str(Channel(copy.x, copy.y, Port.LOCAL))
            found.setdefault(local, [0, 0])[kind] += flits

    host = Node(0, plan.host_row, True)
    senders = [(host, feed.legs, feed.messages) for feed in plan.host_in]
    for tile in plan.tiles:
        for route in tile.routes:
            words = [m.words for m in tile.gives[0] if m.number == route.number]
            senders.append((Node(tile.x, tile.y), route.legs, tuple(words)))
    for src, legs, messages in senders:
        for words in messages:
            flits = (words + packets(words, CHIP.packet_words)) * samples
            for leg in legs:
                stops = [
                    Node(leg.dst_x, at) if leg.dst_y != src.y else Node(at, leg.dst_y)
                    for at in range(16)
                    if leg.absorb >> at & 1
                ]
                dst = Node(leg.dst_x, leg.dst_y, leg.host)
                send(src, dst, stops, flits, 0)
                for end in [*stops, *([] if leg.host else [dst])]:
                    send(end, src, [], samples, 1)
    return found


def plan_shape(plan: MeshPlan) -> MeshShape:
    return MeshShape(width=plan.shape[0], height=plan.shape[1], hosts=(plan.host_row,))


def test_flits_are_those_of_routes_and_messages(net: CompiledNetwork) -> None:
    assert net.mesh is not None
    assert all(tile.copies == 1 for tile in net.mesh.tiles)
    with FastTarget(net) as target:
        target.run(random_inputs(net.network, SAMPLES))
        counters = target.mesh_counters
    assert counters is not None
    wanted = flits_by_plan(net.mesh, SAMPLES)
    assert {name: list(flits) for name, flits in counters.flits.items()} == wanted
    assert counters.total_flits == sum(map(sum, wanted.values()))


def test_busy_cycles_are_the_cycles_of_the_tiles(net: CompiledNetwork) -> None:
    """Waits at SYNCs are in no counter of a tile."""
    with FastTarget(net) as target:
        target.run(random_inputs(net.network, SAMPLES))
        counters, timing = target.mesh_counters, target.timing
        tiles = target.counters
    assert counters is not None
    assert tiles is not None
    assert timing is not None
    assert timing.last is not None
    # The pass from reset to the first wait is no part of a run.
    assert 0 <= tiles.cycles - sum(counters.busy) < 32 * len(counters.busy)
    assert all(0 < share <= 1 for share in counters.occupancy)
    for tile, busy in zip(timing.last.tiles, counters.busy, strict=True):
        assert tile.busy == busy
        assert len(tile.spans) == SAMPLES
        waits = [sum(cycles for _, cycles, _ in span.waits) for span in tile.spans]
        spans = sum(span.end - span.begin for span in tile.spans)
        assert spans - sum(waits) == busy


def test_counts_of_runs_add_up(net: CompiledNetwork) -> None:
    codes = random_inputs(net.network, SAMPLES)
    parts = [
        {name: array[at] for name, array in codes.items()} for at in (slice(0, 2), slice(2, None))
    ]
    with FastTarget(net) as once, FastTarget(net) as twice:
        once.run(codes)
        for part in parts:
            twice.run(part)
        whole, summed = once.mesh_counters, twice.mesh_counters
    assert whole is not None
    assert summed is not None
    assert (summed.runs, summed.samples, whole.runs) == (2, SAMPLES, 1)
    assert summed.flits == whole.flits
    assert summed.busy == whole.busy
    # Filled and drained twice.
    assert summed.cycles > whole.cycles


def test_copies_take_turns() -> None:
    """With copies of the slow stage a run takes less; each copy has its share of the samples."""
    m = Maker(32)
    a = m.conv(m.input(4, 8, 8), (8, 4, 3, 3), pads=(1, 1, 1, 1))
    small = m.network(m.dense(m.reshape(m.max_pool(a, (8, 8)), 8), 8, 5))
    cycles = {}
    for duplicate in (False, True):
        net = compile_network(small, chip=CHIP, device="ideal", duplicate=duplicate)
        assert net.mesh is not None
        with FastTarget(net) as target:
            target.run(random_inputs(net.network, 3))
            target.run(random_inputs(net.network, 6))
            assert target.mesh_counters is not None
            cycles[duplicate] = target.mesh_counters.cycles
            assert target.timing is not None
            assert target.timing.last is not None
            spans = Counter(
                tile.part
                for tile, found in zip(net.mesh.tiles, target.timing.last.tiles, strict=True)
                for _ in found.spans
            )
        assert set(spans.values()) == {6}
        assert (max(tile.copies for tile in net.mesh.tiles) > 1) == duplicate
    assert cycles[True] < 0.75 * cycles[False]


def test_a_network_on_one_tile_has_no_mesh() -> None:
    m = Maker(33)
    net = compile_network(m.network(m.dense(m.input(8), 8, 4)), chip=GRAPH_CHIP, device="ideal")
    with FastTarget(net) as target:
        target.run({name: np.zeros((2, 8), np.uint8) for name in random_inputs(net.network, 1)})
        assert target.mesh_counters is None
        assert target.timing is None
    with pytest.raises(ValueError, match="was not compiled for a mesh"):
        MeshTiming(net)
