# SPDX-License-Identifier: Apache-2.0
"""A core with an ideal array: products, cycles and counters against the behavioral reference."""

from random import Random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import SimulatorContext
from numpy.typing import NDArray
from simulate import simulate

from ohmtwin.arch.ancode import ErrorModel
from ohmtwin.arch.chip import Chip
from ohmtwin.arch.inputs import InputCode, InputEncoding
from ohmtwin.arch.registers import CoreCounter
from ohmtwin.behavioral.core import EVENTS, Event, MvmConfig, core_mvm
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.behavioral.inputs import counts_of, drives_of
from ohmtwin.rtl.core import Core
from ohmtwin.rtl.macro import IdealMacro

CHIPS = {
    "two outputs a beat": Chip(rows=32, cols=32, cell_bits=2, lanes=8, rows_per_read=1),
    "two beats a word": Chip(rows=16, cols=16, cell_bits=2, lanes=2, rows_per_read=1),
    "one beat": Chip(rows=24, cols=16, cell_bits=4, lanes=16, adc_bits=9, rows_per_read=1),
    "code": Chip(
        rows=32,
        cols=32,
        lanes=16,
        rows_per_read=1,
        code_a=37,
        code_b=5,
        code_errors=ErrorModel.POWER_OF_TWO,
    ),
    "code, two beats a word": Chip(
        rows=16, cols=32, lanes=8, cell_bits=1, adc_bits=5, rows_per_read=1, code_a=69, code_b=3
    ),
    "one lane": Chip(rows=8, cols=16, cell_bits=1, lanes=1, adc_bits=4, rows_per_read=1),
    "slices": Chip(
        rows=24, cols=64, lanes=4, rows_per_read=1, slice_reads=True, row_budgets=(1,) * 32
    ),
    "slices of wide cells": Chip(
        rows=16, cols=32, cell_bits=4, lanes=8, adc_bits=8, rows_per_read=1, slice_reads=True
    ),
    "coarse": Chip(rows=24, cols=16, adc_bits=4, adc_step=2, rows_per_read=8),
    "clipped": Chip(rows=24, cols=16, cell_bits=4, lanes=4, adc_bits=3, adc_clip=True),
    "budgets": Chip(rows=32, cols=32, rows_per_read=1, row_budgets=(1,) * 8),
}
_SMALL = Chip(rows=16, cols=16, cell_bits=2, lanes=8, adc_bits=6, rows_per_read=1)
CHIPS |= {
    encoding: _SMALL.with_(input_encoding=encoding)
    for encoding in InputEncoding
    if encoding is not InputEncoding.UNSIGNED
}
CHIPS["short stream"] = CHIPS[InputEncoding.STOCHASTIC].with_(stream_length=19)
CHIPS["wide digits"] = CHIPS["two beats a word"].with_(input_encoding=InputEncoding.DIGITS)


class CoreAndArray(wiring.Component):
    """A core whose macro may be held back.

    Members
    -------
    hold_command, hold_codes : In(1)
        The macro takes no command, or shows no beat, in this cycle.
    """

    hold_command: In(1)
    hold_codes: In(1)
    converting: Out(1)

    def __init__(self, chip: Chip, levels: NDArray[np.int64]) -> None:
        self.core = Core(chip=chip)
        self.array = IdealMacro(chip=chip, levels=levels.tolist())
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.core = core = self.core
        m.submodules.array = array = self.array
        m.d.comb += [
            array.cmd.payload.eq(core.cmd.payload),
            array.cmd.valid.eq(core.cmd.valid & ~self.hold_command),
            core.cmd.ready.eq(array.cmd.ready & ~self.hold_command),
            core.codes.payload.eq(array.codes.payload),
            core.codes.valid.eq(array.codes.valid & ~self.hold_codes),
            array.codes.ready.eq(core.codes.ready & ~self.hold_codes),
            self.converting.eq(array.codes.valid),
        ]
        return m


def levels_of(weights: NDArray[np.int64], chip: Chip) -> NDArray[np.int64]:
    """``w + 128``, times A * B, sliced over neighbouring columns, least significant first."""
    shifts = np.arange(chip.slices) * chip.cell_bits
    words = (weights[:, :, None] + 128) * chip.stored_factor
    sliced = words >> shifts & ((1 << chip.cell_bits) - 1)
    return sliced.reshape(chip.rows, chip.cols)


def transposed(x: NDArray[np.uint8], code: InputCode, zero: int) -> int:
    """Byte p holds bit p of eight activations; with sign and magnitude a ninth one the signs."""
    value = x.astype(np.int64) - zero if code.has_zero else x.astype(np.int64)
    words = np.abs(value) | (value < 0) << 8
    return sum(int(words[r] >> p & 1) << 8 * p + r for p in range(9) for r in range(8))


async def load(ctx: SimulatorContext, core: Core, x: NDArray[np.uint8], zero: int = 0) -> None:
    code = core.chip.input_code
    for word in range(len(x) // 8):
        part = x[8 * word : 8 * word + 8]
        ctx.set(core.even.valid, word % 2 == 0)
        ctx.set(core.odd.valid, word % 2)
        port = core.odd if word % 2 else core.even
        ctx.set(port.word, word // 2)
        ctx.set(port.planes, transposed(part, code, zero))
        ctx.set(core.sum_valid, 1)
        ctx.set(core.sum_first, word == 0)
        ctx.set(core.load_sum, int(counts_of(part, code).sum()))
        await ctx.tick()
    ctx.set(core.even.valid, 0)
    ctx.set(core.odd.valid, 0)
    ctx.set(core.sum_valid, 0)


async def product(
    ctx: SimulatorContext, dut: CoreAndArray, config: MvmConfig, rng: Random, stall: float
) -> int:
    """Start a product and return for how many cycles the core was busy."""
    core = dut.core
    ctx.set(core.used, (1 << config.rows_used) - 1)
    ctx.set(core.beats, config.beats)
    ctx.set(core.zero_skip, config.zero_skip)
    taken = [core.used, core.beats, core.zero_skip, core.planes]
    if config.budgets:
        # They stand for the whole product.
        ctx.set(core.budgets, sum(rows << 9 * p for p, rows in enumerate(config.budgets)))
    else:
        ctx.set(core.rows_per_read, config.rows_per_read)
        taken.append(core.rows_per_read)
    ctx.set(core.planes, config.planes)
    ctx.set(core.start, 1)
    assert not ctx.get(core.busy)
    await ctx.tick()
    ctx.set(core.start, 0)
    for port in taken:
        ctx.set(port, rng.getrandbits(len(port)))
    cycles = 0
    while ctx.get(core.busy):
        ctx.set(dut.hold_command, rng.random() < stall)
        ctx.set(dut.hold_codes, rng.random() < stall)
        await ctx.tick()
        cycles += 1
    return cycles


async def drain(ctx: SimulatorContext, core: Core, words: int) -> tuple[int, list[int]]:
    """The sum of activations, and the sums of some words; an address a cycle."""
    ctx.set(core.drain_select, 1)
    ctx.set(core.drain_sum, 1)
    await ctx.tick()
    total = ctx.get(core.drain_data)
    ctx.set(core.drain_sum, 0)
    sums = []
    for word in range(words):
        ctx.set(core.drain_addr, word)
        await ctx.tick()
        data = ctx.get(core.drain_data)
        sums += [data >> 32 * i & 0xFFFFFFFF for i in range(core.chip.outputs_per_beat)]
    ctx.set(core.drain_select, 0)
    return total, sums


async def load_corrections(ctx: SimulatorContext, core: Core) -> None:
    code = core.chip.an_code
    if code is None:
        return
    ctx.set(core.write_correction, 1)
    for residue, word in enumerate(code.words):
        ctx.set(core.correction_addr, residue)
        ctx.set(core.correction, word)
        await ctx.tick()
    ctx.set(core.write_correction, 0)


async def events(ctx: SimulatorContext, core: Core) -> list[int]:
    """Corrected, and detected."""
    counts = []
    ctx.set(core.event_select, 1)
    for event in core.chip.events:
        ctx.set(core.counter_select, event)
        await ctx.tick()
        counts.append(ctx.get(core.counter))
    ctx.set(core.event_select, 0)
    await ctx.tick()
    return counts


async def counters(ctx: SimulatorContext, core: Core) -> dict[CoreCounter, int]:
    counts = {}
    for counter in CoreCounter:
        ctx.set(core.counter_select, counter)
        await ctx.tick()
        counts[counter] = ctx.get(core.counter)
    return counts


def inputs(rng: np.random.Generator, rows: int) -> NDArray[np.uint8]:
    """Dense, sparse, empty, or with planes that are empty in between or at the end."""
    x = rng.integers(0, 256, rows, dtype=np.uint8)
    x &= rng.choice(np.array([0xFF, 0xFF, 0x81, 0x0F, 0x24], dtype=np.uint8))
    x[rng.random(rows) < rng.choice([0.0, 0.5, 0.9, 1.0])] = 0
    return x


@pytest.mark.parametrize("stall", [0.0, 0.3], ids=["steady", "stalling"])
@pytest.mark.parametrize("name", CHIPS)
def test_products(name: str, stall: float) -> None:
    """Sums always; cycles and counters to the one with a macro that never waits."""
    chip = CHIPS[name]
    numbers = np.random.default_rng([len(name), int(10 * stall)])
    rng = Random(f"core {name} {stall}")
    weights = numbers.integers(-128, 128, (chip.rows, chip.outputs))
    levels = levels_of(weights, chip)
    image = ArrayImage(
        g=(levels << 12).astype(np.int32),
        ref=np.zeros(chip.rows, dtype=np.int32),
        adc_bits=chip.adc_bits,
        lanes=chip.lanes,
        adc_step=chip.adc_step,
        drive=4096 * np.arange(4, dtype=np.int32),
    )
    crossbar = Crossbar(image, seed=0, array=0)
    dut = CoreAndArray(chip, levels)
    core = dut.core
    code = chip.input_code
    lossy = chip.adc_clip or chip.adc_step > 1
    most = chip.full_code // ((1 << chip.cell_bits) - 1) // code.top_digit
    if chip.adc_clip:
        most = chip.rows
    products = {8: 20, 16: 10, 4: 15, 19: 6}.get(chip.passes, 1)

    async def bench(ctx: SimulatorContext) -> None:
        await load_corrections(ctx, core)
        totals = dict.fromkeys(CoreCounter, 0)
        saturated = 0
        x = inputs(numbers, chip.rows)
        zero = rng.choice([0, 255, 100, 128]) if code.has_zero else 0
        await load(ctx, core, x, zero)
        for _ in range(products):
            if products > 1 and rng.random() < 0.8:  # otherwise the same activations again
                x = inputs(numbers, chip.rows)
                await load(ctx, core, x, zero)
            words = rng.choice([chip.acc_words, rng.randint(1, chip.acc_words)])
            config = MvmConfig.of(
                chip,
                rows=rng.choice([chip.rows, rng.randint(1, chip.rows)]),
                rows_per_read=rng.choice([1, most, rng.randint(1, most)]),
                budgets=tuple(rng.randint(1, most) for _ in chip.row_budgets),
                zero_skip=rng.random() < 0.5,
                beats=chip.beats_of(words * chip.outputs_per_beat),
                # A product alone is to make all passes.
                planes=rng.choice([chip.passes, rng.randint(1, chip.passes)][:products]),
                zero=zero,
            )
            cycles = await product(ctx, dut, config, rng, stall)
            total, sums = await drain(ctx, core, config.outputs // chip.outputs_per_beat)

            used = x[: config.rows_used]
            value = sum(
                code.weights[p] * drives_of(used, code, p, zero).astype(np.int64)
                for p in range(config.planes)
            )
            if code.exact and config.planes == chip.passes:
                assert np.array_equal(value, used.astype(np.int64) - code.origin(zero))
            ideal = value @ (weights[: config.rows_used, : config.outputs] + 128)
            assert lossy or sums == (ideal & 0xFFFFFFFF).tolist(), config
            assert total == counts_of(x, code).sum()

            reference = core_mvm(crossbar, x[None, :], config)
            assert (reference.acc[0].astype(np.int64) & 0xFFFFFFFF).tolist() == sums
            totals[CoreCounter.READS] += int(reference.reads[0])
            totals[CoreCounter.BEATS] += int(reference.reads[0]) * config.beats
            totals[CoreCounter.ACTIVE] += int(reference.active[0])
            totals[CoreCounter.ADC_STALLS] += int(reference.stall[0])
            counts = await counters(ctx, core)
            if chip.adc_clip:
                saturated += int(reference.events[Event.SATURATED])
                assert await events(ctx, core) == [saturated], config
            if not stall:
                assert cycles == reference.active[0], config
                assert counts == totals, config
            else:
                assert counts[CoreCounter.READS] == totals[CoreCounter.READS]
                assert counts[CoreCounter.BEATS] == totals[CoreCounter.BEATS]
        ctx.set(core.clear, 1)
        await ctx.tick()
        ctx.set(core.clear, 0)
        assert not any((await counters(ctx, core)).values())

    simulate(dut, bench, cycles=200_000)


CODED = {
    "a beat a word": CHIPS["code"],
    "two beats a word": CHIPS["code, two beats a word"],
    "slices": Chip(rows=32, cols=32, lanes=16, rows_per_read=1, code_a=69, code_b=3),
    "no B": Chip(rows=32, cols=32, lanes=8, rows_per_read=1, code_a=71),
}


@pytest.mark.parametrize("stall", [0.0, 0.3], ids=["steady", "stalling"])
@pytest.mark.parametrize("name", CODED)
def test_products_under_a_code(name: str, stall: float) -> None:
    """Cells that are off by one here and there: every sum, corrected or not, and what is counted.

    Where the only wrong cell of a read is one of its model, the sum comes out as if it were right.
    """
    chip = CODED[name]
    numbers = np.random.default_rng([len(name), int(10 * stall)])
    rng = Random(f"coded core {name} {stall}")
    weights = numbers.integers(-128, 128, (chip.rows, chip.outputs))
    right = levels_of(weights, chip)
    off = numbers.random(right.shape) < 0.02
    levels = np.clip(right + off * numbers.choice([-1, 1], right.shape), 0, 2**chip.cell_bits - 1)
    image = ArrayImage(
        g=(levels << 12).astype(np.int32),
        ref=np.zeros(chip.rows, dtype=np.int32),
        adc_bits=chip.adc_bits,
        lanes=chip.lanes,
    )
    crossbar = Crossbar(image, seed=0, array=0)
    dut = CoreAndArray(chip, levels)
    core = dut.core
    most = ((1 << chip.adc_bits) - 1) // ((1 << chip.cell_bits) - 1)
    words_held = (weights + 128).astype(np.int32)

    async def bench(ctx: SimulatorContext) -> None:
        await load_corrections(ctx, core)
        found = np.zeros(EVENTS, dtype=np.int64)
        for _ in range(12):
            x = inputs(numbers, chip.rows)
            await load(ctx, core, x)
            words = rng.choice([chip.acc_words, rng.randint(1, chip.acc_words)])
            config = MvmConfig.of(
                chip,
                rows=rng.choice([chip.rows, rng.randint(1, chip.rows)]),
                rows_per_read=rng.choice([1, 4, most]),
                zero_skip=rng.random() < 0.5,
                beats=words * chip.beats_per_word,
                planes=rng.choice([8, rng.randint(1, 8)]),
            )
            cycles = await product(ctx, dut, config, rng, stall)
            _, sums = await drain(ctx, core, words)
            reference = core_mvm(crossbar, x[None, :], config, words_held)
            assert (reference.acc[0].astype(np.uint32)).tolist() == sums, config
            if not stall:
                assert cycles == reference.active[0], config
            found += reference.events
            counted = await events(ctx, core)
            assert counted == [found[Event.CORRECTED], found[Event.DETECTED]], config
        assert found[Event.CORRECTED] > 5
        assert found[Event.MISCORRECTED] < found[Event.CORRECTED]
        ctx.set(core.clear, 1)
        await ctx.tick()
        ctx.set(core.clear, 0)
        assert await events(ctx, core) == [0, 0]

    simulate(dut, bench, cycles=200_000)


def test_stop() -> None:
    """Sums are forgotten, and beats of the stopped read do not enter the next product."""
    chip = CHIPS["two outputs a beat"]
    weights = np.random.default_rng(4).integers(-128, 128, (chip.rows, chip.outputs))
    dut = CoreAndArray(chip, levels_of(weights, chip))
    core = dut.core
    x = np.random.default_rng(5).integers(0, 256, chip.rows, dtype=np.uint8)
    config = MvmConfig.of(chip, rows=chip.rows, beats=chip.beats, rows_per_read=16, zero_skip=True)
    one = np.zeros(chip.rows, dtype=np.uint8)
    one[3] = 1

    async def bench(ctx: SimulatorContext) -> None:
        caught = 0
        for after in range(1, 24):
            await load(ctx, core, x)
            ctx.set(core.used, (1 << config.rows_used) - 1)
            ctx.set(core.beats, config.beats)
            ctx.set(core.zero_skip, 1)
            ctx.set(core.rows_per_read, 16)
            ctx.set(core.planes, 8)
            ctx.set(core.start, 1)
            await ctx.tick()
            ctx.set(core.start, 0)
            await ctx.tick().repeat(after)
            ctx.set(dut.hold_codes, 1)  # the rest of the read comes late
            ctx.set(core.stop, 1)
            ctx.set(core.clear, 1)
            await ctx.tick()
            ctx.set(core.stop, 0)
            ctx.set(core.clear, 0)
            caught += ctx.get(dut.converting)
            assert not ctx.get(core.busy)
            assert await drain(ctx, core, 2) == (0, [0] * 2 * chip.outputs_per_beat)
            ctx.set(dut.hold_codes, 0)
            if after % 2:  # otherwise the activations are still there
                await load(ctx, core, one)
            await product(ctx, dut, config, Random(after), stall=0.0)
            rows = one if after % 2 else x
            _, sums = await drain(ctx, core, chip.acc_words)
            assert sums == (rows.astype(np.int64) @ (weights + 128)).tolist(), after
            counts = await counters(ctx, core)
            assert counts[CoreCounter.BEATS] == counts[CoreCounter.READS] * chip.beats, after
        assert caught > 10, "few stops fell into a conversion"

    simulate(dut, bench, cycles=20_000)


def test_chip_must_be_a_chip() -> None:
    with pytest.raises(TypeError, match=r"^Chip must be a Chip, not 3$"):
        Core(chip=3)
