# SPDX-License-Identifier: Apache-2.0
"""The emulated crossbar in Amaranth's simulator: codes, handshake, and a fabric that is held."""

import dataclasses
from random import Random
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import ClockDomain, EnableInserter, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect
from amaranth.sim import SimulatorContext
from images import device_image, random_image, random_masks
from numpy.typing import NDArray
from simulate import simulate
from streams import stream_collect, stream_put

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import CapacityError
from ohmtwin.arch.registers import CoreCounter
from ohmtwin.behavioral.core import MvmConfig, core_mvm
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.fpga.crossbar.emulator import CrossbarEngine, EmulatedCrossbar
from ohmtwin.fpga.crossbar.image import (
    EmulatorConfig,
    Noise,
    Widths,
    cell_shift,
    check_image,
    image_words,
)
from ohmtwin.fpga.crossbar.seam import CrossbarSeam
from ohmtwin.rtl.core import Core

CHIP = Chip(rows=24, cols=16, lanes=4, adc_bits=6, rows_per_read=8)


async def load(
    ctx: SimulatorContext, dut: Any, image: ArrayImage, config: EmulatorConfig, **key: int
) -> None:
    for addr, word in image_words(image, CHIP, config, **key).tolist():
        ctx.set(dut.load.addr, addr)
        ctx.set(dut.load.word, word)
        ctx.set(dut.load.en, 1)
        await ctx.tick()
    ctx.set(dut.load.en, 0)
    await ctx.tick().repeat(2)


def packed(codes: list[int]) -> list[int]:
    """Beats of the codes of a read."""
    lanes, bits = CHIP.lanes, CHIP.adc_bits
    groups = [codes[k : k + lanes] for k in range(0, len(codes), lanes)]
    return [sum(code << bits * lane for lane, code in enumerate(group)) for group in groups]


def bits_of(mask: NDArray[np.bool_]) -> int:
    return sum(1 << int(row) for row in np.flatnonzero(mask))


CONFIGS = {
    "one column": EmulatorConfig(columns=1),
    "half a beat": EmulatorConfig(columns=2),
    "a beat": EmulatorConfig(columns=4),
    "two beats": EmulatorConfig(columns=8),
    "all columns": EmulatorConfig(columns=16),
    "no tables": EmulatorConfig(columns=4, adc_table=False),
    "no variance": EmulatorConfig(columns=4, cell_variance=False),
    "narrow": EmulatorConfig(columns=4, widths=Widths(cell=17, v0=9, v1=14, variance=24)),
    "widest": EmulatorConfig(columns=4, widths=Widths(cell=31, v0=52, v1=32, variance=52)),
    "iterative": EmulatorConfig(columns=2, noise=Noise.ITERATIVE),
    "no noise": EmulatorConfig(columns=4, noise=Noise.NONE),
}


def image_for(config: EmulatorConfig, numbers: np.random.Generator) -> ArrayImage:
    """The noisiest image that a configuration takes."""
    if config.noise == Noise.NONE:
        return dataclasses.replace(random_image(CHIP, numbers), q=None, v0=0, v1=0)
    if not config.adc_table:
        return dataclasses.replace(random_image(CHIP, numbers), adc_table=None)
    if not config.cell_variance:
        return dataclasses.replace(random_image(CHIP, numbers), q=None)
    if config.widths.variance == 52:
        shape = CHIP.rows, CHIP.cols
        return ArrayImage(
            g=numbers.integers(-(1 << 22) + 1, 1 << 22, shape, dtype=np.int32),
            ref=numbers.integers(-(1 << 30) + 1, 1 << 30, CHIP.rows, dtype=np.int32) >> 9,
            q=numbers.integers(-(1 << 30), 1 << 30, shape, dtype=np.int32),
            v0=(1 << 51) + 12345,
            v1=(1 << 32) - 1,
            adc_bits=CHIP.adc_bits,
            lanes=CHIP.lanes,
        )
    return device_image(CHIP, "rram") if config.widths.v0 < 20 else random_image(CHIP, numbers)


@pytest.mark.parametrize("stall", [0.0, 0.4], ids=["steady", "stalling"])
@pytest.mark.parametrize("name", CONFIGS)
def test_codes(name: str, stall: float) -> None:
    """All codes of reads of some rows and beats, whoever waits."""
    config = CONFIGS[name]
    numbers = np.random.default_rng([len(name), int(10 * stall)])
    rng = Random(f"emulator {name} {stall}")
    image = image_for(config, numbers)
    crossbar = Crossbar(image, 0x9E3779B9, 0xFFFFFFFF)
    crossbar.reads = (1 << 32) - 3
    dut = EmulatedCrossbar(chip=CHIP, config=config)
    masks = random_masks(numbers, 6 if config.noise == Noise.ITERATIVE else 15, CHIP.rows)
    got: list[Any] = []
    expected: list[int] = []

    async def commands(ctx: SimulatorContext) -> None:
        await load(ctx, dut, image, config, seed=crossbar.seed, array=crossbar.array,
                   reads=crossbar.reads)  # fmt: skip
        for mask in masks:
            beats = rng.choice([CHIP.beats, rng.randint(1, CHIP.beats)])
            expected.extend(packed(crossbar.read(mask, beats * CHIP.lanes).tolist()))
            idle = rng.randrange(40) if rng.random() < stall else 0
            await stream_put(ctx, dut.cmd, {"rows": bits_of(mask), "beats": beats}, idle)
        for _ in range(5000):
            if len(got) >= len(expected):
                break
            await ctx.tick()
        await ctx.tick().repeat(100)
        assert got == expected

    async def codes(ctx: SimulatorContext) -> None:
        await stream_collect(ctx, dut.codes, got, rng, stall)

    simulate(dut, commands, cycles=100_000, background=[codes])
    if config.noise != Noise.NONE:
        quiet = Crossbar(dataclasses.replace(image, q=None, v0=0, v1=0), 0, 0)
        noisy = Crossbar(image, crossbar.seed, crossbar.array).read_many(masks)
        assert (quiet.read_many(masks) != noisy).any(), "the noise is too small to show"


class HeldCore(wiring.Component):
    """A core whose clock is held while its emulated array is late."""

    held: Out(1)
    cycles: Out(32)

    def __init__(self, chip: Chip, config: EmulatorConfig) -> None:
        self.core = Core(chip=chip)
        self.engine = CrossbarEngine(chip=chip, config=config)
        self.seam = CrossbarSeam(chip=chip)
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.engine = self.engine
        fabric = Module()
        fabric.submodules.core = self.core
        fabric.submodules.seam = self.seam
        connect(fabric, self.core.cmd, self.seam.cmd)
        connect(fabric, self.seam.codes, self.core.codes)
        fabric.d.sync += self.cycles.eq(self.cycles + 1)
        run = Signal()
        m.submodules.fabric = EnableInserter(run)(fabric)
        connect(m, self.seam.link, self.engine.link[0])
        m.d.comb += [self.held.eq(self.seam.stall), run.eq(~self.held)]
        return m


async def product(
    ctx: SimulatorContext, dut: HeldCore, x: NDArray[np.uint8], mvm: MvmConfig
) -> tuple[int, int, list[int]]:
    """Cycles of the fabric, cycles of the clock, and the sums of a product."""
    core = dut.core
    for word in range(len(x) // 8):
        part = x[8 * word : 8 * word + 8]
        planes = sum(int(part[r] >> p & 1) << 8 * p + r for p in range(8) for r in range(8))
        ctx.set(core.even.valid, word % 2 == 0)
        ctx.set(core.odd.valid, word % 2)
        port = core.odd if word % 2 else core.even
        ctx.set(port.word, word // 2)
        ctx.set(port.planes, planes)
        await ctx.tick()
    ctx.set(core.even.valid, 0)
    ctx.set(core.odd.valid, 0)
    ctx.set(core.used, (1 << mvm.rows_used) - 1)
    ctx.set(core.beats, mvm.beats)
    ctx.set(core.zero_skip, mvm.zero_skip)
    ctx.set(core.rows_per_read, mvm.rows_per_read)
    ctx.set(core.planes, mvm.planes)
    ctx.set(core.start, 1)
    await ctx.tick()
    ctx.set(core.start, 0)
    fabric, clock = ctx.get(dut.cycles), 0
    while ctx.get(core.busy):
        await ctx.tick()
        clock += 1
    fabric = ctx.get(dut.cycles) - fabric
    ctx.set(core.drain_select, 1)
    sums = []
    for word in range(mvm.outputs // core.chip.outputs_per_beat):
        ctx.set(core.drain_addr, word)
        await ctx.tick()
        data = ctx.get(core.drain_data)
        sums += [data >> 32 * k & 0xFFFFFFFF for k in range(core.chip.outputs_per_beat)]
    ctx.set(core.drain_select, 0)
    return fabric, clock, sums


@pytest.mark.parametrize("name", ["one column", "all columns", "iterative"])
def test_held_fabric_counts_as_if_reads_took_no_time(name: str) -> None:
    """Sums, cycles and counters of a core are those of the reference, to the one."""
    config = CONFIGS[name]
    image = device_image(CHIP, "pcm")
    crossbar = Crossbar(image, 11, 22)
    numbers = np.random.default_rng(len(name))
    dut = HeldCore(CHIP, config)

    async def bench(ctx: SimulatorContext) -> None:
        await load(ctx, dut.engine, image, config, seed=11, array=22)
        totals = dict.fromkeys(CoreCounter, 0)
        for k in range(3 if config.noise == Noise.ITERATIVE else 8):
            # The first reads rows of two groups for a single beat: the ADC waits for the planner.
            words = int(numbers.integers(1, CHIP.acc_words + 1)) if k else 1
            x = numbers.integers(0, 256, CHIP.rows, dtype=np.uint8)
            x &= numbers.choice(np.array([0xFF, 0x81, 0x24], dtype=np.uint8))
            x[numbers.random(CHIP.rows) < 0.4] = 0
            mvm = MvmConfig.of(
                CHIP,
                rows=int(numbers.integers(1, CHIP.rows + 1)) if k else CHIP.rows,
                rows_per_read=int(numbers.integers(1, 21)) if k else 20,
                zero_skip=bool(k % 2),
                beats=words * CHIP.beats_per_word,
                planes=int(numbers.integers(1, 9)) if k else 8,
            )
            fabric, clock, sums = await product(ctx, dut, x, mvm)
            reference = core_mvm(crossbar, x[None, :], mvm)
            assert sums == reference.acc[0].view(np.uint32).tolist(), mvm
            assert fabric == reference.active[0], mvm
            assert clock > fabric or not reference.reads[0], "the fabric was never held"
            totals[CoreCounter.READS] += int(reference.reads[0])
            totals[CoreCounter.BEATS] += int(reference.reads[0]) * mvm.beats
            totals[CoreCounter.ACTIVE] += int(reference.active[0])
            totals[CoreCounter.ADC_STALLS] += int(reference.stall[0])
            for counter, total in totals.items():
                ctx.set(dut.core.counter_select, counter)
                await ctx.tick()
                assert ctx.get(dut.core.counter) == total, (counter, mvm)
        assert totals[CoreCounter.ADC_STALLS] > 0, "no planner was ever waited for"

    simulate(dut, bench, cycles=200_000)


class Board(wiring.Component):
    """Something with a reset."""

    rst: In(1)

    def __init__(self, dut: wiring.Component) -> None:
        self.dut = dut
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = sync = ClockDomain()
        m.submodules.dut = self.dut
        m.d.comb += sync.rst.eq(self.rst)
        return m


@pytest.mark.parametrize("after", [0, 1, 2, 3, 11, 30, 75])
def test_reset_forgets_beats_but_not_the_read(after: int) -> None:
    """Reset some cycles after a read was taken; in the very cycle of the offer it is not taken."""
    config = CONFIGS["two beats"]
    image = random_image(CHIP, np.random.default_rng(5))
    crossbar = Crossbar(image, 1, 2)
    dut = EmulatedCrossbar(chip=CHIP, config=config)
    masks = random_masks(np.random.default_rng(after), 4, CHIP.rows)

    board = Board(dut)
    got: list[Any] = []

    async def bench(ctx: SimulatorContext) -> None:
        await load(ctx, dut, image, config, seed=1, array=2)
        ctx.set(dut.codes.ready, 1)
        ctx.set(dut.cmd.valid, 1)
        # Few columns, so that a read left over has other groups than the next.
        ctx.set(dut.cmd.payload, {"rows": 0xFFFFFF, "beats": 1})
        if after:
            await ctx.tick()
            ctx.set(dut.cmd.valid, 0)
            for _ in range(after - 1):
                await ctx.tick()
            crossbar.reads += 1
        ctx.set(board.rst, 1)
        await ctx.tick()
        ctx.set(board.rst, 0)
        ctx.set(dut.cmd.valid, 0)
        for mask in masks:
            await stream_put(ctx, dut.cmd, {"rows": bits_of(mask), "beats": CHIP.beats})
            for expected in packed(crossbar.read(mask).tolist()):
                (code,) = await ctx.tick().sample(dut.codes.payload).until(dut.codes.valid)
                assert code == expected
                got.append(code)

    simulate(board, bench, cycles=3000)
    assert len(got) == len(masks) * CHIP.beats


def test_reads_of_odd_sizes_never_hang() -> None:
    """A read of no beats is no read; of more beats than there are, it ends all the same."""
    config = CONFIGS["a beat"]
    image = device_image(CHIP, "rram")
    crossbar = Crossbar(image, 1, 2)
    dut = EmulatedCrossbar(chip=CHIP, config=config)

    async def bench(ctx: SimulatorContext) -> None:
        await load(ctx, dut, image, config, seed=1, array=2)
        ctx.set(dut.codes.ready, 1)
        for beats in (0, CHIP.beats + 3, 0, CHIP.beats):
            await stream_put(ctx, dut.cmd, {"rows": 0x00FF01, "beats": beats})
            got = []
            for _ in range(beats):
                (code,) = await ctx.tick().sample(dut.codes.payload).until(dut.codes.valid)
                got.append(code)
            if beats:
                mask = np.array([0x00FF01 >> r & 1 for r in range(CHIP.rows)], dtype=np.bool_)
                assert got[: CHIP.beats] == packed(crossbar.read(mask).tolist())
        await ctx.tick().repeat(50)
        assert not ctx.get(dut.codes.valid)

    simulate(dut, bench, cycles=3000)


def images_that_do_not_fit() -> list[tuple[EmulatorConfig, dict[str, Any], str]]:
    shape = CHIP.rows, CHIP.cols
    high = np.zeros(shape, dtype=np.int32)
    high[3, 5] = 1 << 17
    table = np.full((CHIP.lanes, 64), 64, dtype=np.uint16)
    default = EmulatorConfig()
    return [
        (default, {"lanes": 2}, r"24 x 16 cells, 2 lanes and 6 ADC bits, but .* 24 x 16, 4 and 6"),
        (EmulatorConfig(noise=Noise.NONE), {"v0": 1}, "is noisy, but the emulated array was built"),
        (EmulatorConfig(cell_variance=False), {"q": high}, "variance for each cell, but"),
        (EmulatorConfig(adc_table=False), {"adc_table": table % 64}, "tables for its ADCs, but"),
        (default, {"g": high}, "conductance of 131072 in the image does not fit the 18 signed"),
        (default, {"ref": -high[3:4, 5].repeat(24) - 1}, "reference of 131073 .* the 18 signed"),
        (default, {"q": high + 1}, "variance of 131073 in the image does not fit the 18 signed"),
        (default, {"v0": 1 << 40}, "v0 needs 41 bits, but the emulated array has 32"),
        (default, {"v1": 1 << 24}, "v1 needs 25 bits, but the emulated array has 24"),
        (default, {"q": high << 12}, "variance needs 30 bits, but the emulated array has 24"),
        (default, {"adc_table": table}, "gives the code 64, which does not fit the 6 bits"),
    ]


@pytest.mark.parametrize(("config", "changes", "message"), images_that_do_not_fit())
def test_images_that_do_not_fit(
    config: EmulatorConfig, changes: dict[str, Any], message: str
) -> None:
    if "variance needs" in message:
        config = EmulatorConfig(widths=Widths(v0=8, variance=24))
    zero = np.zeros((CHIP.rows, CHIP.cols), dtype=np.int32)
    fields = {"g": zero, "ref": zero[:, 0].copy(), "adc_bits": 6, "lanes": CHIP.lanes, **changes}
    with pytest.raises(CapacityError, match=message):
        check_image(ArrayImage(**fields), CHIP, config)


def test_cell_shift() -> None:
    """A unit of q is the largest power of two that divides all cells; halves are never lost."""
    zero = np.zeros((8, 8), dtype=np.int32)
    q = zero.copy()
    q[1, 2], q[3, 4] = -24, 40
    image = ArrayImage(g=zero, ref=zero[0].copy(), q=q)
    assert cell_shift(image) == 3
    assert cell_shift(ArrayImage(g=zero, ref=zero[0].copy())) == 0
    q = q.copy()
    q[5, 5] = 1
    assert cell_shift(ArrayImage(g=zero, ref=zero[0].copy(), q=q)) == 0


def test_arguments() -> None:
    with pytest.raises(ValueError, match=r"power of two that divides the columns .* \(16\), not 3"):
        EmulatedCrossbar(chip=CHIP, config=EmulatorConfig(columns=3))
    with pytest.raises(ValueError, match=r"columns of the array \(16\), not 32$"):
        CrossbarEngine(chip=CHIP, config=EmulatorConfig(columns=32))
    with pytest.raises(TypeError, match=r"^Chip must be a Chip, not 3$"):
        EmulatedCrossbar(chip=3)
    with pytest.raises(ValueError, match=r"^Width of cell must be 13 to 31 bits, not 32$"):
        Widths(cell=32)
    with pytest.raises(ValueError, match=r"^Width of v0 must be at most that of the variance"):
        Widths(v0=32, variance=30)
    image = device_image(CHIP, "ideal")
    with pytest.raises(ValueError, match=r"^A read number must be 0 to 2\*\*64 - 1, not -1$"):
        image_words(image, CHIP, EmulatorConfig(), seed=0, array=0, reads=-1)
    with pytest.raises(ValueError, match=r"^Seed must be 0 to 2\*\*32 - 1, not -1$"):
        image_words(image, CHIP, EmulatorConfig(), seed=-1, array=0)
