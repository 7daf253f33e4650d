# SPDX-License-Identifier: Apache-2.0
"""A core of every weight encoding with an ideal array, against integers and the reference."""

from random import Random

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from numpy.typing import NDArray
from simulate import simulate
from test_core import CoreAndArray, counters, drain, inputs, load, product

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.registers import CoreCounter
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.cengine import core_mvm as c_core_mvm
from ohmtwin.behavioral.core import MvmConfig, core_mvm
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.encodings import array_levels
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.rtl.core import Core

PAIRED = {"weight_encoding": "differential"}
FLIPPED = {"weight_encoding": "flipped"}
BITS = {"weight_encoding": "xnor", "cell_bits": 1, "row_schedule": "baseline"}
CHIPS = {
    "differential, an output a beat": Chip(rows=16, cols=32, lanes=8, rows_per_read=1, **PAIRED),
    "differential, a sign a beat": Chip(rows=24, cols=32, lanes=4, rows_per_read=1, **PAIRED),
    "differential, four beats": Chip(
        rows=16, cols=16, cell_bits=1, lanes=4, adc_bits=5, rows_per_read=1, **PAIRED
    ),
    # A slice of one cell is narrower than a sum, and signed.
    "differential, slices": Chip(
        rows=16, cols=32, cell_bits=1, lanes=2, rows_per_read=1, slice_reads=True, **PAIRED
    ),
    "ternary": Chip(
        rows=40,
        cols=16,
        cell_bits=1,
        lanes=8,
        rows_per_read=1,
        weight_encoding="ternary",
        weight_bits=2,
    ),
    "flipped": Chip(rows=32, cols=32, lanes=8, adc_bits=6, rows_per_read=1, **FLIPPED),
    "flipped, two beats a word": Chip(
        rows=16, cols=80, lanes=2, adc_bits=6, rows_per_read=1, **FLIPPED
    ),
    "flipped, a beat": Chip(rows=8, cols=64, lanes=64, cell_bits=1, rows_per_read=1, **FLIPPED),
    "xnor": Chip(rows=32, cols=16, lanes=8, adc_bits=5, rows_per_read=1, **BITS),
    "binary": Chip(rows=64, cols=16, lanes=4, rows_per_read=1, weight_bits=1, **BITS),
    "4 bits": Chip(rows=16, cols=16, weight_bits=4, rows_per_read=1, lanes=4),
}


def weights_of(chip: Chip, numbers: np.random.Generator) -> NDArray[np.int64]:
    low, high = chip.cell_code.weight_range
    weights = numbers.integers(low, high + 1, (chip.input_rows, chip.outputs))
    weights[:2, 0] = low, high
    return weights if chip.weight_bits > 1 else np.where(weights < 0, -1, 1)


async def write_flags(ctx: SimulatorContext, core: Core, flips: NDArray[np.bool_]) -> None:
    for word in range(core.chip.flag_words):
        part = flips[64 * word : 64 * word + 64]
        ctx.set(core.write_flags, 1)
        ctx.set(core.flags_addr, word)
        ctx.set(core.flags, sum(1 << int(k) for k in np.flatnonzero(part)))
        await ctx.tick()
        ctx.set(core.write_flags, 0)


@pytest.mark.parametrize("stall", [0.0, 0.3], ids=["steady", "stalling"])
@pytest.mark.parametrize("name", CHIPS)
def test_products(name: str, stall: float) -> None:
    """Sums always, once constants are taken off; cycles and counters with a macro that never
    waits."""
    chip = CHIPS[name]
    code = chip.cell_code
    numbers = np.random.default_rng([*name.encode(), int(10 * stall)])
    rng = Random(f"encodings {name} {stall}")
    weights = weights_of(chip, numbers)
    levels = array_levels(code, weights, (chip.rows, chip.cols))
    flips = numbers.random(chip.cols) < 0.5 if chip.flag_words else np.zeros(chip.cols, np.bool_)
    levels[:, flips] = code.top - levels[:, flips]
    image = ArrayImage(
        g=(levels.astype(np.int32) << 12),
        ref=np.zeros(chip.rows, dtype=np.int32),
        adc_bits=chip.adc_bits,
        lanes=chip.lanes,
    )
    crossbar, fast = Crossbar(image, seed=0, array=0), CCrossbar(image, seed=0, array=0)
    dut = CoreAndArray(chip, levels.astype(np.int64))
    core = dut.core
    most = min(chip.input_rows, ((1 << chip.adc_bits) - 1) // code.top)

    async def bench(ctx: SimulatorContext) -> None:
        await write_flags(ctx, core, flips)
        totals = dict.fromkeys(CoreCounter, 0)
        for _ in range(8):
            x = inputs(numbers, chip.input_rows)
            await load(ctx, core, x)
            most_beats = chip.acc_words // chip.words_per_beat
            beats = rng.choice([most_beats, rng.randint(1, most_beats)])
            config = MvmConfig.of(
                chip,
                rows=rng.choice([chip.input_rows, rng.randint(1, chip.input_rows)]),
                rows_per_read=rng.choice([1, most, rng.randint(1, most)]),
                zero_skip=not code.complement_rows and rng.random() < 0.5,
                beats=beats * chip.beats_per_word,
                planes=rng.choice([8, rng.randint(1, 8)]),
            )
            cycles = await product(ctx, dut, config, rng, stall)
            total, sums = await drain(ctx, core, beats * chip.words_per_beat)

            used = x[: config.rows_used].astype(np.int64) & ((1 << config.planes) - 1)
            held = weights[: config.rows_used, : config.outputs]
            constants = [
                code.sum_constant(config.rows_used, int(w), (1 << config.planes) - 1)
                for w in held.sum(axis=0)
            ]
            wanted = code.sum_unit * (used @ held) + code.sum_weight * used.sum()
            assert sums == [int(s) & 0xFFFFFFFF for s in wanted - constants], config
            assert total == x.sum()

            padded = np.zeros((1, chip.rows), np.uint8)
            padded[0, : len(x)] = x
            reference = core_mvm(crossbar, padded, config, flips=flips)
            in_c = c_core_mvm(fast, padded, config, flips=flips)
            for field in ("acc", "reads", "active", "stall"):
                assert np.array_equal(getattr(reference, field), getattr(in_c, field))
            assert reference.acc.view(np.uint32)[0].tolist() == sums
            totals[CoreCounter.READS] += int(reference.reads[0])
            totals[CoreCounter.BEATS] += int(reference.reads[0]) * config.beats
            totals[CoreCounter.ACTIVE] += int(reference.active[0])
            totals[CoreCounter.ADC_STALLS] += int(reference.stall[0])
            counts = await counters(ctx, core)
            if not stall:
                assert cycles == reference.active[0], config
                assert counts == totals, config
            else:
                assert counts[CoreCounter.READS] == totals[CoreCounter.READS]
                assert counts[CoreCounter.BEATS] == totals[CoreCounter.BEATS]

    simulate(dut, bench, cycles=200_000)


def test_flags_can_be_written_anew() -> None:
    """Bits of the word before do not stay, and a word leaves the others alone."""
    chip = CHIPS["flipped, two beats a word"]
    levels = np.full((chip.rows, chip.cols), 1, np.int64)
    dut = CoreAndArray(chip, levels)
    x = np.full(chip.rows, 1, np.uint8)
    numbers = np.random.default_rng(3)
    config = MvmConfig.of(chip, rows=16, beats=chip.beats, rows_per_read=16, zero_skip=True)

    async def bench(ctx: SimulatorContext) -> None:
        await load(ctx, dut.core, x)
        for _ in range(4):
            flips = numbers.random(chip.cols) < 0.5
            await write_flags(ctx, dut.core, flips)
            await product(ctx, dut, config, Random(0), 0.0)
            _, sums = await drain(ctx, dut.core, chip.acc_words)
            # A cell of level 1 of 0 to 3 counts as 2 in a flipped column.
            counted = np.where(flips, 32, 16).reshape(-1, chip.columns_per_output)
            assert sums == (counted @ np.array(chip.column_weights)).tolist()

    simulate(dut, bench, cycles=20_000)
