# SPDX-License-Identifier: Apache-2.0
"""Parts of the emulated crossbar: published words, every root, the whole table."""

import math
from random import Random

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from simulate import simulate

from ohmtwin.arch.chip import Chip
from ohmtwin.behavioral.gaussian import gaussian
from ohmtwin.behavioral.threefry import threefry2x32
from ohmtwin.fpga.crossbar.column import NoisyColumns
from ohmtwin.fpga.crossbar.gaussian import GaussianPipeline
from ohmtwin.fpga.crossbar.image import EmulatorConfig
from ohmtwin.fpga.crossbar.isqrt import IsqrtIterative, IsqrtPipeline
from ohmtwin.fpga.crossbar.serial import SerialColumns, SerialMultiplier
from ohmtwin.fpga.crossbar.threefry import ThreefryIterative, ThreefryPipeline

# Salmon et al., SC 2011: the known answers that go with their implementation (kat_vectors).
ONES = 0xFFFFFFFF
PI_KEY, PI_COUNTER = (0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3)
KNOWN = [
    (13, (0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
    (13, (ONES, ONES), (ONES, ONES), (0xFD36D048, 0x2D17272C)),
    (13, PI_KEY, PI_COUNTER, (0xBA3E4725, 0xF27D669E)),
    (20, (0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    (20, (ONES, ONES), (ONES, ONES), (0x1CB996FC, 0xBB002BE7)),
    (20, PI_KEY, PI_COUNTER, (0xC4923A9C, 0x483DF7A0)),
]


def vectors(rounds: int) -> list[tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]:
    """Known answers, and random ones from the reference."""
    rng = Random(rounds)
    found = [(key, counter, words) for r, key, counter, words in KNOWN if r == rounds]
    for _ in range(20):
        k0, k1, c0, c1 = (rng.getrandbits(32) for _ in range(4))
        low, high = threefry2x32((k0, k1), (c0, c1), rounds)
        found.append(((k0, k1), (c0, c1), (int(low[0]), int(high[0]))))
    return found


def words(pair: tuple[int, int]) -> dict[str, int]:
    return {"low": pair[0], "high": pair[1]}


@pytest.mark.parametrize("rounds", [13, 20, 12, 1])
def test_threefry_pipeline(rounds: int) -> None:
    dut = ThreefryPipeline(rounds=rounds)

    async def bench(ctx: SimulatorContext) -> None:
        for key, counter, block in vectors(rounds):
            ctx.set(dut.key, words(key))
            await ctx.tick()
            ctx.set(dut.i, words(counter))
            for _ in range(dut.latency):
                await ctx.tick()
                ctx.set(dut.i, words((counter[1], counter[0])))  # the next, a cycle later
            assert (ctx.get(dut.o.low), ctx.get(dut.o.high)) == block

    simulate(dut, bench, cycles=2000)


@pytest.mark.parametrize("rounds", [13, 20, 12, 1])
def test_threefry_iterative(rounds: int) -> None:
    dut = ThreefryIterative(rounds=rounds)

    async def bench(ctx: SimulatorContext) -> None:
        for key, counter, block in vectors(rounds):
            ctx.set(dut.key, words(key))
            ctx.set(dut.i, words(counter))
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            cycles = 0
            while ctx.get(dut.busy):
                await ctx.tick()
                cycles += 1
            assert cycles == dut.latency
            assert (ctx.get(dut.o.low), ctx.get(dut.o.high)) == block

    simulate(dut, bench, cycles=2000)


def test_gaussian() -> None:
    """Every entry of the table, ends of octaves, and words at random of every length."""
    rng = Random("gaussian")
    values = [0, 1, ONES, 1 << 31, (1 << 31) + 1]
    for octave in range(31):
        for sub in range(16):
            low = (16 + sub) << octave >> 4  # first word of the segment
            values += [low & 0x7FFFFFFF, (low - 1) % (1 << 31), rng.getrandbits(1) << 31 | low]
    values += [rng.getrandbits(32) >> rng.randrange(32) for _ in range(2000)]
    dut = GaussianPipeline()
    got = []

    async def bench(ctx: SimulatorContext) -> None:
        for value in [*values, *[0] * dut.latency]:
            ctx.set(dut.i, value)
            await ctx.tick()
            got.append(ctx.get(dut.o))

    simulate(dut, bench, cycles=5000)
    expected = gaussian(np.array(values, dtype=np.uint32)).tolist()
    assert got[dut.latency - 1 :][: len(values)] == expected


def operands(width: int) -> list[int]:
    """All of a narrow width; else squares, their neighbours, and some at random."""
    if width <= 9:
        return list(range(1 << width))
    rng = Random(width)
    top = (1 << width) - 1
    roots = [rng.randrange(1, math.isqrt(top) + 1) for _ in range(200)] + [math.isqrt(top)]
    squares = [root * root for root in roots]
    near = [square + d for square in squares for d in (-1, 0, 1) if square + d <= top]
    return [0, 1, top, *near, *(rng.getrandbits(width) >> rng.randrange(width) for _ in range(200))]


@pytest.mark.parametrize("width", [2, 3, 8, 9, 32, 51, 52])
def test_isqrt_pipeline(width: int) -> None:
    dut = IsqrtPipeline(width=width)
    values = operands(width)
    got = []

    async def bench(ctx: SimulatorContext) -> None:
        for value in [*values, *[0] * dut.latency]:
            ctx.set(dut.i, value)
            await ctx.tick()
            got.append(ctx.get(dut.o))

    simulate(dut, bench, cycles=5000)
    assert got[dut.latency - 1 :][: len(values)] == [math.isqrt(value) for value in values]


@pytest.mark.parametrize("width", [2, 3, 7, 32, 52])
def test_isqrt_iterative(width: int) -> None:
    dut = IsqrtIterative(width=width)

    async def bench(ctx: SimulatorContext) -> None:
        for value in operands(width)[-130:]:
            ctx.set(dut.i, value)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            cycles = 0
            while ctx.get(dut.busy):
                await ctx.tick()
                cycles += 1
            assert cycles == dut.latency
            assert ctx.get(dut.o) == math.isqrt(value)

    simulate(dut, bench, cycles=20_000)


@pytest.mark.parametrize(("a", "b"), [(3, 4), (20, 15), (12, 24)])
def test_serial_multiplier(a: int, b: int) -> None:
    dut = SerialMultiplier(a=a, b=b)
    rng = Random(a)
    pairs = [((1 << a) - 1, (1 << b) - 1), (0, (1 << b) - 1), ((1 << a) - 1, 1)]
    pairs += [(rng.getrandbits(a), rng.getrandbits(b)) for _ in range(50)]

    async def bench(ctx: SimulatorContext) -> None:
        for left, right in pairs:
            ctx.set(dut.a, left)
            ctx.set(dut.b, right)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            await ctx.tick().repeat(dut.latency)
            assert not ctx.get(dut.busy)
            assert ctx.get(dut.o) == left * right

    simulate(dut, bench, cycles=5000)


COLUMN_CHIP = Chip(rows=16, cols=64, lanes=8, adc_bits=6, rows_per_read=8)


def voltages(sums: list[tuple[int, int]], reference: int, number: int, **given: int) -> list[int]:
    """What :class:`ArrayImage` says, in Python's integers."""
    low, high = threefry2x32(
        (given["seed"], given["array"]),
        (number & ONES, [(number >> 32 & 0xFFFFFF) << 8 | k for k in range(len(sums) // 2)]),
    )
    z = gaussian(np.stack([low, high], axis=1).ravel()).tolist()
    found = []
    for (current, cells), draw in zip(sums, z, strict=True):
        shot = given["v1"] * max(current, 0) >> 16
        variance = given["v0"] + shot + (max(cells, 0) << given["q_shift"])
        noise = math.isqrt(variance) * draw + 2048 >> 12
        found.append(current + noise - reference)
    return found


@pytest.mark.parametrize("columns", [NoisyColumns, SerialColumns])
def test_voltages(columns: type[NoisyColumns] | type[SerialColumns]) -> None:
    """To the last bit, which codes seldom show: signs, roundings, extremes of every term."""
    config = EmulatorConfig()
    dut = columns(chip=COLUMN_CHIP, config=config)
    rng = Random("voltages")
    reads = 4 if columns is SerialColumns else 40
    got: list[int] = []
    expected: list[int] = []

    async def bench(ctx: SimulatorContext) -> None:
        for read in range(reads):
            top = (1 << 21) - 1
            given = {
                "v0": rng.choice([0, 1, (1 << 30) - 1, rng.getrandbits(20)]),
                "v1": rng.choice([0, 1, (1 << 24) - 1, rng.getrandbits(12)]),
                "q_shift": rng.choice([0, 7, 8, rng.randrange(9)]),
                "seed": rng.getrandbits(32),
                "array": rng.getrandbits(32),
            }
            number = rng.choice([0, ONES, (1 << 56) - 1, rng.getrandbits(56)])
            reference = rng.choice([-top, top, rng.randint(-5000, 5000)])
            wide = [rng.choice([0, top, -top - 1, rng.randint(-9000, 90000)]) for _ in range(128)]
            sums = list(zip(wide[::2], wide[1::2], strict=True))
            expected.extend(voltages(sums, reference, number, **given))
            for name in ("v0", "v1", "q_shift"):
                ctx.set(getattr(dut, name), given[name])
            ctx.set(dut.key, words((given["seed"], given["array"])))
            ctx.set(dut.number, number)
            ctx.set(dut.reference, reference)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for current, cells in sums:
                if rng.random() < 0.3:
                    await ctx.tick()
                ctx.set(dut.i.payload, {"current": current, "cells": cells})
                ctx.set(dut.i.valid, 1)
                await ctx.tick().until(dut.i.ready)
                ctx.set(dut.i.valid, 0)
            for _ in range(100):
                if len(got) == len(expected):
                    break
                await ctx.tick()
            assert got == expected, read

    async def collect(ctx: SimulatorContext) -> None:
        while True:
            _, _, valid, voltage = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                got.append(voltage)

    simulate(dut, bench, cycles=60_000, background=[collect])


def test_arguments() -> None:
    for part in (IsqrtPipeline, IsqrtIterative):
        with pytest.raises(ValueError, match=r"^Width must be 2 to 64, not 1$"):
            part(width=1)
        with pytest.raises(TypeError, match=r"^Width must be an integer, not '8'$"):
            part(width="8")
    for part in (ThreefryPipeline, ThreefryIterative):
        with pytest.raises(ValueError, match=r"^Threefry-2x32 has 1 to 20 rounds, not 21$"):
            part(rounds=21)
        with pytest.raises(TypeError, match=r"^Rounds must be an integer, not 13.0$"):
            part(rounds=13.0)
