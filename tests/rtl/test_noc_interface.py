# SPDX-License-Identifier: Apache-2.0
"""Network interfaces on a network that pauses, and may bring packets out of order."""

from random import Random

import pytest
from amaranth.sim import SimulatorContext
from noc_plan import random_plan
from noc_world import Interfaces, World, network_chip
from simulate import simulate


@pytest.mark.parametrize(
    ("seed", "mesh", "reorder", "pace"),
    [
        (1, False, False, 1.0),
        (2, False, False, 0.6),
        (3, False, True, 0.7),
        (4, False, True, 0.9),
        (5, True, False, 1.0),
        (6, True, False, 0.7),
    ],
)
def test_words_arrive_by_the_lists(seed: int, mesh: bool, reorder: bool, pace: float) -> None:
    print(f"seed {seed}")
    rng = Random(seed)
    chip = network_chip(mesh=(2, 1) if seed % 2 else (2, 2))
    plan = random_plan(chip, rng, routes=6, messages=12, turns=3, host_acks=reorder)
    dut = Interfaces(chip, mesh=mesh)
    fed, results = plan.expected()

    async def bench(ctx: SimulatorContext) -> None:
        world = World(ctx, dut, chip, plan, rng, pace=pace, reorder=reorder)
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
