# SPDX-License-Identifier: Apache-2.0
"""Several emulated arrays that take turns in one engine."""

from random import Random
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect
from amaranth.sim import SimulatorContext
from images import random_image, random_masks
from simulate import simulate
from streams import stream_collect, stream_put
from test_emulator import CHIP, bits_of, load, packed

from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.fpga.crossbar.emulator import CrossbarEngine
from ohmtwin.fpga.crossbar.image import EmulatorConfig, Noise
from ohmtwin.fpga.crossbar.seam import CrossbarSeam

ARRAYS = 3


class SharedArrays(wiring.Component):
    """An engine behind the seams of its arrays."""

    def __init__(self, config: EmulatorConfig) -> None:
        self.engine = CrossbarEngine(chip=CHIP, config=config, arrays=ARRAYS)
        self.seams = [CrossbarSeam(chip=CHIP) for _ in range(ARRAYS)]
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.engine = self.engine
        for k, seam in enumerate(self.seams):
            m.submodules[f"seam{k}"] = seam
            connect(m, seam.link, self.engine.link[k])
        return m


def test_an_engine_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one array, not 0"):
        CrossbarEngine(chip=CHIP, config=EmulatorConfig(columns=4), arrays=0)


@pytest.mark.parametrize("noise", [Noise.PIPELINED, Noise.ITERATIVE])
@pytest.mark.parametrize("stall", [0.0, 0.5], ids=["steady", "stalling"])
def test_arrays_take_turns(stall: float, noise: Noise) -> None:
    """Each gives the codes of its own cells, converters, key and read numbers, whoever waits."""
    config = EmulatorConfig(columns=4, noise=noise)
    numbers = np.random.default_rng([7, int(10 * stall)])
    rng = Random(f"shared {stall} {noise}")
    dut = SharedArrays(config)
    crossbars = [Crossbar(random_image(CHIP, numbers), 99, 7 + k) for k in range(ARRAYS)]
    for k, crossbar in enumerate(crossbars):
        crossbar.reads = (1 << 32) - 2 + k
    masks = [
        random_masks(numbers, 4 if noise is Noise.ITERATIVE else 12, CHIP.rows)
        for _ in range(ARRAYS)
    ]
    got: list[list[Any]] = [[] for _ in range(ARRAYS)]
    expected: list[list[int]] = [[] for _ in range(ARRAYS)]
    sent = [-1] * ARRAYS

    async def bench(ctx: SimulatorContext) -> None:
        for k, one in enumerate(crossbars):
            ctx.set(dut.engine.load_array, k)
            key = {"seed": one.seed, "array": one.array, "reads": one.reads}
            await load(ctx, dut.engine, one.image, config, **key)
        sent[:] = [0] * ARRAYS
        while sent != [len(one) for one in masks] or list(map(len, got)) != list(
            map(len, expected)
        ):
            await ctx.tick()
        await ctx.tick().repeat(100)
        assert got == expected

    def commands(k: int) -> Any:
        async def process(ctx: SimulatorContext) -> None:
            while sent[k] < 0:
                await ctx.tick()
            for mask in masks[k]:
                beats = rng.choice([CHIP.beats, rng.randint(1, CHIP.beats)])
                codes = crossbars[k].read(mask, beats * CHIP.lanes).tolist()
                expected[k].extend(packed(codes))
                idle = rng.randrange(60) if rng.random() < stall else 0
                cmd = dut.seams[k].cmd
                await stream_put(ctx, cmd, {"rows": bits_of(mask), "beats": beats}, idle)
                sent[k] += 1

        return process

    def codes(k: int) -> Any:
        async def process(ctx: SimulatorContext) -> None:
            await stream_collect(ctx, dut.seams[k].codes, got[k], rng, stall)

        return process

    background = [process(k) for k in range(ARRAYS) for process in (commands, codes)]
    simulate(dut, bench, cycles=20_000, background=background)
    assert all(len(one) > 0 for one in got)
