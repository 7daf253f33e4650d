# SPDX-License-Identifier: Apache-2.0
"""A tile with emulated arrays against a tile whose arrays answer at once: words and counters."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.sim import Simulator, SimulatorContext
from images import device_image
from tile_host import Host, small_chip

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.isa import assemble
from ohmtwin.arch.messages import Kind
from ohmtwin.arch.registers import Control, Status
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.fpga.crossbar.image import EmulatorConfig, image_words
from ohmtwin.fpga.crossbar.tile import EmulatedTile
from ohmtwin.rtl.macro import BEAT_BITS, MacroSignature
from ohmtwin.rtl.tile import Tile

CHIP = small_chip(cores=2)

PROGRAM = """
    SET reg=SCHEDULE value=1
    SET reg=ROWS_PER_READ value=8
    LOOP body=9 count=0
      SYNC in_words=2
      LOAD source=HOST bytes=16 cores=3
      MVM rows=16 beats=4 cores=3
      SET reg=A0 value=24
      SET reg=A1 value=0
      SYNC out_words=5
      REQ dest=0 param=1 outputs=8 cores=3 tap=1
      SYNC
      SEND addr=0 words=1
"""


class AtOnce(wiring.Component):
    """A macro that a testbench answers for: the codes of a read are there in the next cycle."""

    def __init__(self, chip: Chip) -> None:
        self.left = Signal(BEAT_BITS)
        self.place = Signal(range(chip.beats))
        members = dict(MacroSignature(chip).members.items())
        super().__init__({**members, "all_codes": In(chip.cols * chip.adc_bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left, place = self.left, self.place
        m.d.comb += [
            self.cmd.ready.eq((left == 0) | ((left == 1) & self.codes.ready)),
            self.codes.valid.eq(left != 0),
            self.codes.payload.eq(self.all_codes.word_select(place, len(self.codes.payload))),
        ]
        with m.If(self.codes.valid & self.codes.ready):
            m.d.sync += [left.eq(left - 1), place.eq(place + 1)]
        with m.If(self.cmd.valid & self.cmd.ready):
            m.d.sync += [left.eq(self.cmd.payload.beats), place.eq(0)]
        return m

    async def answer(self, ctx: SimulatorContext, crossbar: Crossbar) -> None:
        image = crossbar.image
        while True:
            _, _, valid, ready, read = await ctx.tick().sample(
                self.cmd.valid, self.cmd.ready, self.cmd.payload
            )
            if valid and ready:
                mask = np.array([read.rows >> r & 1 for r in range(image.rows)], dtype=np.bool_)
                codes = crossbar.read(mask, read.beats * image.lanes).tolist()
                word = sum(int(code) << image.adc_bits * c for c, code in enumerate(codes))
                ctx.set(self.all_codes, word)


async def job(host: Host) -> tuple[list[int], dict[str, int], list[list[int]]]:
    """Run some samples; the words that came out, and all counters."""
    numbers = np.random.default_rng(3)
    inputs = [int(word) for word in numbers.integers(0, 1 << 63, 6)]
    params = [1 << 55 | 20 << 56 | int(bias) for bias in numbers.integers(0, 2000, 16)]
    host.program(assemble(PROGRAM), params)
    host.control(Control.RUN, Control.CLEAR)
    host.send(Kind.INPUT, inputs)
    status = await host.settle()
    assert not status & (Status.FAULT | Status.LINK_FAULT)
    counters, cores = await host.counters()
    # How long the host keeps the tile waiting is no business of the program's.
    return host.outputs, {k: v for k, v in counters.items() if "host" not in k}, cores


def run(dut: Any, bench: Any, background: list[Any]) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    for process in background:
        simulator.add_testbench(process, background=True)
    for _ in range(2 * 60_000):
        if not simulator.advance():
            return
    raise TimeoutError("The testbench has not ended")


def at_once(images: list[ArrayImage]) -> Any:
    macros = [AtOnce(CHIP) for _ in range(CHIP.cores)]
    tile = Tile(chip=CHIP, macros=lambda core: macros[core])
    results = []

    async def bench(ctx: SimulatorContext) -> None:
        results.append(await job(Host(ctx, tile, np.random.default_rng(0))))

    def answers(core: int) -> Any:
        async def process(ctx: SimulatorContext) -> None:
            await macros[core].answer(ctx, Crossbar(images[core], 5, core))

        return process

    run(tile, bench, [answers(core) for core in range(CHIP.cores)])
    return results[0]


@pytest.mark.parametrize("shared", [False, True], ids=["engines", "an engine"])
@pytest.mark.parametrize("pace", [1.0, 0.4])
def test_words_and_counters(pace: float, shared: bool) -> None:
    """Noise and all: the fabric cannot tell the two apart."""
    config = EmulatorConfig(columns=8, shared=shared)
    images = [device_image(CHIP, "rram", seed) for seed in (1, 2)]
    expected = at_once(images)
    assert len(expected[0]) == 3 * 5
    tile = EmulatedTile(chip=CHIP, config=config)
    held = 0

    async def bench(ctx: SimulatorContext) -> None:
        for core, image in enumerate(images):
            ctx.set(tile.load_core, core)
            for addr, word in image_words(image, CHIP, config, seed=5, array=core).tolist():
                ctx.set(tile.load.addr, addr)
                ctx.set(tile.load.word, word)
                ctx.set(tile.load.en, 1)
                await ctx.tick()
        ctx.set(tile.load.en, 0)
        host = Host(ctx, tile, np.random.default_rng(0), pace, pace)
        assert await job(host) == expected

    async def watch(ctx: SimulatorContext) -> None:
        nonlocal held
        while True:
            _, _, now = await ctx.tick().sample(tile.held)
            held += now

    run(tile, bench, [watch])
    assert held > 1000, "the fabric was hardly ever held"
    quiet = [ArrayImage(i.g, i.ref, adc_bits=i.adc_bits, lanes=i.lanes) for i in images]
    assert at_once(quiet)[0] != expected[0], "the noise is too small to show"
