# SPDX-License-Identifier: Apache-2.0
"""Slice combine and accumulators against the sum of docs/tile.md, section "Numbers"."""

from random import Random

import pytest
from amaranth.sim import SimulatorContext
from simulate import simulate

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.timing import core_tail
from ohmtwin.rtl.combine import SliceAccumulator


def chip_of(cell_bits: int, lanes: int, adc_bits: int = 6) -> Chip:
    return Chip(
        rows=16, cols=32, cell_bits=cell_bits, lanes=lanes, adc_bits=adc_bits, rows_per_read=1
    )


async def drain(ctx: SimulatorContext, dut: SliceAccumulator) -> list[int]:
    """All words, a cycle each, as 32-bit sums."""
    chip = dut.chip
    sums = []
    for word in range(chip.acc_words):
        ctx.set(dut.drain_select, 1)
        ctx.set(dut.drain_addr, word)
        await ctx.tick()
        data = ctx.get(dut.drain_data)
        sums += [data >> 32 * i & 0xFFFFFFFF for i in range(chip.outputs_per_beat)]
    ctx.set(dut.drain_select, 0)
    await ctx.tick()
    assert ctx.get(dut.drain_data) == 0, "nothing is selected"
    return sums


async def begin(ctx: SimulatorContext, dut: SliceAccumulator, plane: int) -> None:
    """A read is accepted in this cycle."""
    ctx.set(dut.begin, 1)
    ctx.set(dut.plane, plane)
    await ctx.tick()
    ctx.set(dut.begin, 0)


@pytest.mark.parametrize(
    ("cell_bits", "lanes"),
    [(1, 1), (1, 2), (1, 8), (1, 16), (2, 1), (2, 2), (2, 4), (2, 8), (2, 32), (4, 1), (4, 2),
     (4, 16)],
)  # fmt: skip
def test_sums(cell_bits: int, lanes: int) -> None:
    """Reads back to back or apart, beats late, over few or all columns, product after product."""
    chip = chip_of(cell_bits, lanes, adc_bits=6 if lanes != 8 else 12)
    dut = SliceAccumulator(chip=chip)
    rng = Random(f"combine {cell_bits} {lanes}")
    highest = (1 << chip.adc_bits) - 1

    async def bench(ctx: SimulatorContext) -> None:
        assert await drain(ctx, dut) == [0] * chip.outputs
        held = [0] * chip.outputs
        for _ in range(12):
            words = rng.choice([chip.acc_words, rng.randint(1, chip.acc_words)])
            beats = words * chip.beats_per_word
            reads = rng.randint(0, 6)
            stall = rng.choice([0.0, 0.4])
            ctx.set(dut.reset, 1)
            await ctx.tick()
            ctx.set(dut.reset, 0)
            sums = [0] * (words * chip.outputs_per_beat)
            planes = [rng.choice([0, 7, rng.randrange(8)]) for _ in range(reads)]
            if reads:
                await begin(ctx, dut, planes[0])
            for read, plane in enumerate(planes):
                codes = [
                    rng.choice([0, highest, rng.randint(0, highest)]) for _ in range(beats * lanes)
                ]
                for column, code in enumerate(codes):
                    output, s = divmod(column, chip.columns_per_output)
                    sums[output] += code * chip.column_weights[s] << plane
                for beat in range(beats):
                    ctx.set(dut.plane, rng.randrange(8))  # of interest with `begin` only
                    while rng.random() < stall:
                        ctx.set(dut.codes, rng.getrandbits(len(dut.codes)))
                        await ctx.tick()
                    here = codes[beat * lanes : (beat + 1) * lanes]
                    packed = sum(code << lane * chip.adc_bits for lane, code in enumerate(here))
                    ctx.set(dut.beat, 1)
                    ctx.set(dut.codes, packed)
                    if beat == beats - 1 and read + 1 < reads:
                        await begin(ctx, dut, planes[read + 1])
                    else:
                        await ctx.tick()
                    ctx.set(dut.beat, 0)
            await ctx.tick().repeat(dut.latency - 1)
            if reads:
                held[: len(sums)] = [total & 0xFFFFFFFF for total in sums]
            assert await drain(ctx, dut) == (held if reads else [0] * chip.outputs)

    simulate(dut, bench, cycles=100_000)


def test_sum_of_activations() -> None:
    """It is drained in place of a word, in the lowest position, read or not."""
    dut = SliceAccumulator(chip=chip_of(2, 8))

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(dut.sum, 0xFEDC)
        ctx.set(dut.drain_sum, 1)
        await ctx.tick()
        assert ctx.get(dut.drain_data) == 0, "another core is drained"
        ctx.set(dut.drain_select, 1)
        await ctx.tick()
        assert ctx.get(dut.drain_data) == 0xFEDC

    simulate(dut, bench, cycles=20)


def test_done_when_the_core_is() -> None:
    """A core is idle from the cycle after its tail; by then its sums must stand."""
    chip = chip_of(2, 8)
    assert SliceAccumulator(chip=chip).latency <= core_tail(chip) + 1


def test_chip_must_be_a_chip() -> None:
    with pytest.raises(TypeError, match=r"^Chip must be a Chip, not None$"):
        SliceAccumulator(chip=None)
