# SPDX-License-Identifier: Apache-2.0
"""Network interfaces on a network that pauses, and may bring packets out of order."""

from random import Random

import pytest
from amaranth.sim import SimulatorContext
from noc_plan import HOST, random_plan
from noc_world import Interfaces, World, network_chip
from simulate import simulate

from ohmtwin.arch.messages import Header, Kind
from ohmtwin.arch.registers import Control


@pytest.mark.parametrize(
    ("seed", "mesh", "reorder", "pace"),
    [
        (1, False, False, 1.0),
        (2, False, False, 0.6),
        (7, False, True, 0.7),
        (4, False, True, 0.9),
        (5, True, False, 1.0),
        (6, True, False, 0.7),
    ],
)
def test_words_arrive_by_the_lists(seed: int, mesh: bool, reorder: bool, pace: float) -> None:
    print(f"seed {seed}")
    rng = Random(seed)
    chip = network_chip(mesh=(2, 1) if seed % 2 else (2, 2))
    plan = random_plan(chip, rng, routes=6, messages=12, turns=2, host_acks=reorder)
    routes = [route for some in plan.routes.values() for route in some.values()]
    assert any(leg.absorb for route in routes for leg in route.legs), "there is no multicast"
    assert any(len(route.legs) > 1 for route in routes), "there is no second leg"
    dut = Interfaces(chip, mesh=mesh)
    fed, results = plan.expected()

    async def bench(ctx: SimulatorContext) -> None:
        world = World(ctx, dut, chip, plan, rng, pace=pace, reorder=reorder)
        world.moore = seed == 7
        for tile in plan.tiles:
            world.host.configure(tile)
        await world.quiet()
        world.host.start()
        await world.quiet()
        for tile in plan.tiles:
            assert world.tiles[tile].got == fed.get(tile, []), f"words of {tile}"
            counts = world.counts(tile)
            assert counts["messages_in"] == plan.turns * len(plan.takes[tile])
            assert counts["messages_out"] == plan.turns * len(plan.gives[tile])
            state = world.state(tile)
            faults = (state.stray, state.overrun, state.bad_address)
            assert [ctx.get(fault) for fault in faults] == [0, 0, 0]
        assert world.host.results == results
        print(f"{world.cycle} cycles, {sum(map(len, fed.values()))} words fed")

    simulate(dut, bench, cycles=8000)


def test_words_arrive_through_deflecting_routers() -> None:
    seed = 13
    print(f"seed {seed}")
    rng = Random(seed)
    chip = network_chip(mesh=(2, 1))
    plan = random_plan(chip, rng, routes=6, messages=12, turns=2, host_acks=True)
    dut = Interfaces(chip, mesh=True, router="deflection")
    fed, results = plan.expected()

    async def bench(ctx: SimulatorContext) -> None:
        world = World(ctx, dut, chip, plan, rng, pace=0.9, reorder=True)
        for tile in plan.tiles:
            world.host.configure(tile)
        await world.quiet()
        world.host.start()
        await world.quiet()
        for tile in plan.tiles:
            assert world.tiles[tile].got == fed.get(tile, []), f"words of {tile}"
        assert world.host.results == results
        print(f"{world.cycle} cycles, {sum(map(len, fed.values()))} words fed")

    simulate(dut, bench, cycles=8000)


@pytest.mark.parametrize("mesh", [False, True])
def test_stop_forgets_what_was_under_way(mesh: bool) -> None:
    """A run in which a tile was never started leaves full slots and unread messages behind."""
    chip = network_chip(mesh=(2, 1))
    # The first seed by which the tile that is started is fed without the other, which has work. An
    # odd number of messages, so that slots and turns end out of step.
    for seed in range(100):
        rng = Random(seed)
        plan = random_plan(chip, rng, routes=5, messages=9, turns=3, host_acks=not mesh)
        started, left_out = plan.tiles
        if plan.takes[started] and plan.takes[left_out] and plan.gives[left_out]:
            channel = plan.takes[started][0].number
            if channel in [route.channel for route in plan.routes[HOST].values()]:
                break
    print(f"seed {seed}")
    dut = Interfaces(chip, mesh=mesh)
    fed, results = plan.expected()

    async def bench(ctx: SimulatorContext) -> None:
        world = World(ctx, dut, chip, plan, rng, pace=0.8, reorder=not mesh)
        for tile in plan.tiles:
            world.host.configure(tile)
        await world.quiet()
        world.host.start(without=left_out)
        for _ in range(400):
            await world.tick()
        assert not world.host.quiet or world.tiles[started].give, "nothing was under way"
        assert world.tiles[started].got, "nothing has happened"
        world.host.forget()
        for tile in plan.tiles:
            world.host.control(tile, Control.STOP)
        await world.quiet()
        for fake in world.tiles.values():
            fake.got.clear()
        world.host.start()
        await world.quiet()
        for tile in plan.tiles:
            assert world.tiles[tile].got == fed.get(tile, []), f"words of {tile}"
        assert world.host.results == results

    simulate(dut, bench, cycles=8000)


@pytest.mark.parametrize("reorder", [False, True])
def test_registers_are_read_while_messages_pass(reorder: bool) -> None:
    """Replies longer than a packet, between messages, from several tiles."""
    seed = 11
    print(f"seed {seed}")
    rng = Random(seed)
    chip = network_chip(mesh=(2, 1))
    plan = random_plan(chip, rng, routes=6, messages=12, turns=2, host_acks=reorder)
    dut = Interfaces(chip, mesh=False)
    fed, results = plan.expected()
    asked = [(tile, 8 * k, rng.choice([1, 3, 4, 11])) for k in range(4) for tile in plan.tiles]

    async def bench(ctx: SimulatorContext) -> None:
        world = World(ctx, dut, chip, plan, rng, pace=0.8, reorder=reorder)
        for tile in plan.tiles:
            world.host.configure(tile)
        await world.quiet()
        world.host.start()
        for tile, address, length in asked:
            for _ in range(rng.randint(1, 25)):
                await world.tick()
            world.host.words(tile, [Header(Kind.READ_REG, length, address).encode()])
            done = len(world.host.replies) + 1
            while len(world.host.replies) < done:
                await world.tick()
        await world.quiet()
        assert world.host.replies == [
            (tile, address, list(range(address, address + length)))
            for tile, address, length in asked
        ]
        for tile in plan.tiles:
            assert world.tiles[tile].got == fed.get(tile, []), f"words of {tile}"
        assert world.host.results == results

    simulate(dut, bench, cycles=8000)
