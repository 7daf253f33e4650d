# SPDX-License-Identifier: Apache-2.0
"""Plans in which a tile would wait for ever are refused, and what waits is named."""

import dataclasses
from collections.abc import Sequence
from random import Random

import pytest
from graph_cases import GRAPH_CHIP, Maker, random_inputs
from mesh_random import tile_program

from ohmtwin.arch.errors import CapacityError
from ohmtwin.arch.noc_interface import Leg, Route
from ohmtwin.behavioral.golden import run_network
from ohmtwin.behavioral.program import InputLayout
from ohmtwin.host.compare import locate
from ohmtwin.host.compiler.mesh_check import check_mesh
from ohmtwin.host.compiler.mesh_plan import HostFeed, HostResult, MeshPlan, Message, TilePlan
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network

CHIP = GRAPH_CHIP.with_(cores=3, mesh=(3, 2), slot_words=16, fifo_words=64, data_words=1024)


def make_net() -> CompiledNetwork:
    """A tensor that two tiles read, one of which also reads what the other makes of it."""
    m = Maker(50)
    x = m.conv(m.input(4, 6, 6), (8, 4, 1, 1))
    a = m.conv(x, (8, 8, 3, 3), pads=(1, 1, 1, 1))
    y = m.conv(m.combine(a, x), (8, 8, 1, 1))
    return compile_network(m.network(y), chip=CHIP, device="ideal", trace=False, duplicate=False)


@pytest.fixture(scope="module")
def net() -> CompiledNetwork:
    return make_net()


def check(net: CompiledNetwork, plan: MeshPlan) -> None:
    check_mesh(plan, [tile.program for tile in net.tiles])


def changed(net: CompiledNetwork, tile: int, **changes: object) -> MeshPlan:
    plan = net.mesh
    assert plan is not None
    tiles = list(plan.tiles)
    tiles[tile] = dataclasses.replace(tiles[tile], **changes)
    return dataclasses.replace(plan, tiles=tuple(tiles))


def last(net: CompiledNetwork) -> int:
    """The tile that hears from two others."""
    assert net.mesh is not None
    return next(
        n for n, tile in enumerate(net.mesh.tiles) if len({c for c, _ in tile.input_list}) > 1
    )


def test_what_the_compiler_plans_is_sound(net: CompiledNetwork) -> None:
    assert net.mesh is not None
    check(net, net.mesh)


def test_a_message_that_nobody_sends(net: CompiledNetwork) -> None:
    assert net.mesh is not None
    at = last(net)
    tile = net.mesh.tiles[at]
    takes = tuple(
        tuple(dataclasses.replace(m, number=7) if n == 0 else m for n, m in enumerate(sample))
        for sample in tile.takes
    )
    with pytest.raises(
        CapacityError,
        match=rf"tile \({tile.x}, {tile.y}\) waits for a message on channel 7 that nobody sends",
    ):
        check(net, changed(net, at, takes=takes))


def test_messages_of_another_length(net: CompiledNetwork) -> None:
    assert net.mesh is not None
    at = last(net)
    sample = net.mesh.tiles[at].takes[0]
    first, second = sample[:2]
    moved = (
        Message(first.number, first.start, first.words - 1),
        Message(second.number, second.start - 1, second.words + 1),
        *sample[2:],
    )
    with pytest.raises(CapacityError, match="their lists do not match"):
        check(net, changed(net, at, takes=(moved,)))


def test_an_order_in_which_tiles_wait_for_each_other(net: CompiledNetwork) -> None:
    """The tile takes last what others cannot go on without giving it first."""
    assert net.mesh is not None
    at = last(net)
    sample = net.mesh.tiles[at].takes[0]
    by_channel: dict[int, list[Message]] = {}
    for message in sample:
        by_channel.setdefault(message.number, []).append(message)
    assert max(len(messages) for messages in by_channel.values()) > 2
    turned = tuple(m for messages in reversed(by_channel.values()) for m in messages)
    assert turned != sample
    with pytest.raises(
        CapacityError, match=r"would wait for each other for ever: tile .* waits .*slot_words"
    ):
        check(net, changed(net, at, takes=(turned,)))


def test_slots_hold_what_is_unread() -> None:
    """A producer gives by two routes in turn; who takes three messages of one of them first gets
    two only, for the other has two slots."""
    chip = CHIP.with_(mesh=(2, 1))
    rng = Random(4)
    there = (Leg(1, 0),)
    routes = tuple(Route(number=n, legs=there, channel=n, consumers=1) for n in (1, 2))
    result = Route(number=1, legs=(Leg(0, 0, 0, True),), channel=0, consumers=0)

    def plan(order: Sequence[int]) -> MeshPlan:
        def messages(numbers: Sequence[int]) -> tuple[tuple[Message, ...]]:
            return (tuple(Message(n, at, 1) for at, n in enumerate(numbers)),)

        alone = ((Message(1, 0, 1),),)
        tiles = (
            TilePlan(0, 0, 0, 0, 0, 1, routes, alone, messages((1, 2, 1, 2, 1, 2))),
            TilePlan(1, 0, 1, 1, 0, 1, (result,), messages(order), alone),
        )
        feed = HostFeed(0, (Leg(0, 0),), 1, 1, (0,), "x", InputLayout.plain(8), (1,))
        return MeshPlan((2, 1), tiles, (feed,), (HostResult(1, alone, ("out",)),))

    programs = [tile_program(chip, 1, 6, 0, rng), tile_program(chip, 6, 1, 0, rng)]
    for order in ((1, 2, 1, 2, 1, 2), (2, 2, 1, 1, 1, 2)):
        check_mesh(plan(order), programs)
    with pytest.raises(
        CapacityError,
        match=r"tile \(0, 0\) waits on route 1 until tile \(1, 0\) has read; tile \(1, 0\) waits "
        "for a message on channel 2",
    ):
        check_mesh(plan((2, 2, 2, 1, 1, 1)), programs)


def test_two_senders_on_one_channel(net: CompiledNetwork) -> None:
    assert net.mesh is not None
    at = last(net)
    heard = {c for c, _ in net.mesh.tiles[at].input_list}
    for number, tile in enumerate(net.mesh.tiles):
        routes = tuple(
            dataclasses.replace(r, channel=min(heard)) if r.consumers else r for r in tile.routes
        )
        if routes != tile.routes:
            plan = changed(net, number, routes=routes)
            with pytest.raises(CapacityError, match="is used by two senders"):
                check(net, plan)
            return
    pytest.fail("no route was changed")


def test_a_difference_names_the_arrays_of_the_copy_that_ran() -> None:
    m = Maker(51)
    network = m.network(m.dense(m.input(16), 16, 6))
    net = compile_network(network, chip=CHIP, device="ideal")
    assert net.mesh is not None
    copies = net.mesh.tiles[0].copies
    assert copies > 2
    codes = random_inputs(network, 2 * copies)
    wanted = run_network(network, codes)
    name = network.layers[0].name
    for sample in range(2 * copies):
        got = {k: v.copy() for k, v in wanted.items()}
        got[name][sample, 3] ^= 1
        # As if the first two samples had been compared before.
        found = locate(net, wanted, got, [name], 2)
        assert found is not None
        tile = net.tiles[(sample + 2) % copies]
        assert found.sample == sample + 2
        assert found.tile * CHIP.cores == tile.array_base
        assert found.cores == tuple(
            tile.array_base + core for core in tile.mapping.layer(name).cores_of_output(3)
        )
