# SPDX-License-Identifier: Apache-2.0
"""The adder tree over the cores."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from simulate import simulate
from tile_host import small_chip

from ohmtwin.arch.timing import reduction_stages
from ohmtwin.rtl.reduction import ReductionTree


@pytest.mark.parametrize(("cores", "stages"), [(2, 1), (3, 2), (5, 3), (8, 3)])
def test_sums_lane_by_lane(cores: int, stages: int) -> None:
    chip = small_chip(cores=cores)
    tree = ReductionTree(chip=chip)
    assert tree.latency == stages == reduction_stages(chip)
    rng = np.random.default_rng(cores)
    words = rng.integers(0, 1 << 32, (60, cores, 2)).astype(np.uint64)  # two lanes
    words[0] = 0xFFFFFFFF  # carries must not leave a lane
    sums = words.sum(axis=1) & np.uint64(0xFFFFFFFF)
    expected = [int(low) | int(high) << 32 for low, high in sums]

    async def drive(ctx: SimulatorContext) -> None:
        valid = [0] * stages
        seen, k = [], 0
        while len(seen) < len(words):
            send = k < len(words) and rng.random() < 0.7
            # What stands at the input of a cycle without a word must not matter.
            row = words[k] if send else rng.integers(0, 1 << 32, (cores, 2))
            for core in range(cores):
                ctx.set(tree.i[core], int(row[core][0]) | int(row[core][1]) << 32)
            k += send
            valid = [int(send), *valid]
            ctx.set(tree.enable, sum(bit << s for s, bit in enumerate(valid[: len(tree.enable)])))
            if valid.pop():
                seen.append(ctx.get(tree.o))
            await ctx.tick()
        assert seen == expected

    simulate(tree, drive, cycles=1000)


def test_one_core_needs_no_stage() -> None:
    assert ReductionTree(chip=small_chip(cores=1)).latency == 0
