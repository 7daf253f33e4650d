# SPDX-License-Identifier: Apache-2.0
"""The generator of update pulses against its definition, with stalls on every stream."""

from random import Random
from typing import Any

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from simulate import simulate
from streams import stream_put

from ohmtwin.arch.learning import LearnChip, TrainMode, UpdateSettings
from ohmtwin.behavioral.learning.trains import LFSR_MASK, Lfsr, probabilities, update_counts
from ohmtwin.rtl.learning import trains
from ohmtwin.rtl.learning.trains import PulseGenerator

CHIPS = {
    "beats that are not full": LearnChip(rows=5, cols=7, arrays=3, lanes=3),
    "one line each": LearnChip(rows=1, cols=1, arrays=1, lanes=1),
    "one beat": LearnChip(rows=9, cols=4, arrays=2, lanes=4),
}


class Bench:
    """A generator, a macro that keeps what it is given, and the definition beside them."""

    def __init__(self, chip: LearnChip, seed: int, stall: float) -> None:
        self.chip, self.stall = chip, stall
        self.rng = Random(seed)
        self.random = np.random.default_rng(seed)
        self.lfsr = Lfsr(seed, chip.lines)
        self.dut = PulseGenerator(chip=chip)
        self.counts = np.zeros((chip.rows, chip.cols), np.int64)
        self.signs = np.zeros(chip.cols, np.int64)
        self.arrays: set[int] = set()

    def idle(self) -> int:
        return self.rng.randint(1, 4) if self.rng.random() < self.stall else 0

    def settings(self, mode: TrainMode) -> UpdateSettings:
        """Of trains whose probabilities are all that there are, 0 and 1 too."""
        random = self.random
        numbers = (random.integers(1, 65536, 2), random.integers(4, 9, 2))
        (kx, kd), (sx, sd) = (pair.tolist() for pair in numbers)
        slots, period = int(random.integers(1, 32)), int(random.choice([0, 3, 10]))
        return UpdateSettings(kx, kd, sx, sd, slots, mode, bool(random.integers(0, 2)), period)

    async def macro(self, ctx: SimulatorContext) -> None:
        """Takes writes and answers those that fire, each cycle ready with some probability."""
        write, response = self.dut.write, self.dut.response
        owed = offered = False
        while True:
            ready = not owed and self.rng.random() >= self.stall
            offered = owed and (offered or self.rng.random() >= self.stall)
            ctx.set(write.ready, ready)
            ctx.set(response.valid, offered)
            sampled = await ctx.tick().sample(write.valid, write.payload, response.ready)
            _, _, valid, payload, taken = sampled
            if offered and taken:
                owed = offered = False
            if ready and valid:
                self.take(payload)
                owed = bool(payload.fire)

    def take(self, write: Any) -> None:
        lanes, first = self.chip.lanes, write.beat * self.chip.lanes
        assert not write.up & write.down, "a column is driven both ways"
        assert (write.pulses, write.relax) == (1, 0)
        self.arrays.add(write.array)
        for lane in range(lanes):
            sign = (write.up >> lane & 1) - (write.down >> lane & 1)
            if first + lane < self.chip.cols:
                self.signs[first + lane] = sign
            else:
                assert sign == 0, "a column is driven that is not there"
        if write.fire:
            rows = np.array([write.rows >> r & 1 for r in range(self.chip.rows)])
            assert min(rows.max(), np.abs(self.signs).max()) == 1, "a phase without pulses"
            self.counts += np.outer(rows, self.signs)
            self.signs[:] = 0

    async def seed(self, ctx: SimulatorContext) -> None:
        for line, state in enumerate(self.lfsr.state.tolist()):
            await stream_put(ctx, self.dut.seed, {"line": line, "state": state}, self.idle())

    async def update(self, ctx: SimulatorContext, settings: UpdateSettings) -> None:
        """One update with random numbers, of some of the lines."""
        chip, random = self.chip, self.random
        n, k = (int(random.integers(1, m + 1)) for m in (chip.rows, chip.cols))
        v, d = (random.integers(-127, 128, m) * (random.random(m) < 0.8) for m in (n, k))
        exponent, invert = int(random.integers(-6, 7)), int(random.integers(0, 2))
        array = int(random.integers(0, chip.arrays))
        await self.drive(ctx, settings, v, d, exponent, array, invert)
        expected = np.zeros_like(self.counts)
        expected[:n, :k] = update_counts(settings, v, d, self.lfsr, chip.rows, exponent)
        np.testing.assert_array_equal(
            self.counts, -expected if invert else expected, err_msg=str(settings)
        )
        assert self.arrays <= {array}
        self.counts[:] = 0
        self.arrays.clear()

    async def drive(
        self,
        ctx: SimulatorContext,
        settings: UpdateSettings,
        v: np.ndarray,
        d: np.ndarray,
        exponent: int,
        array: int,
        invert: int,
    ) -> None:
        dut, half = self.dut, exponent >> 1 if settings.manage else 0
        fields = {"slots": settings.slots, "mode": int(settings.mode), "period": settings.period}
        ctx.set(dut.settings, {**fields, "array": array, "invert": invert})
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        rows = probabilities(v, settings.kx, settings.sx - half)
        cols = probabilities(d, settings.kd, settings.sd - (exponent - half))
        for first, values, limits in ((0, v, rows), (self.chip.rows, d, cols)):
            for i, p in enumerate(limits.tolist()):
                line = {"line": first + i, "probability": p, "negative": int(values[i] < 0)}
                await stream_put(ctx, dut.line, line, self.idle())
        await ctx.tick()
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        await ctx.tick().until(~dut.busy)

    async def registers(self, ctx: SimulatorContext) -> list[int]:
        seen = []
        for line in range(self.chip.lines):
            await stream_put(ctx, self.dut.look, line)
            seen.append(ctx.get(self.dut.seen))
        return seen


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("stall", [0.0, 0.5], ids=["no stalls", "stalls"])
def test_pulses_are_those_of_the_definition(name: str, stall: float) -> None:
    bench = Bench(CHIPS[name], 11, stall)

    async def work(ctx: SimulatorContext) -> None:
        await bench.seed(ctx)
        for number in range(15):
            settings = bench.settings(TrainMode(number % 3))
            await bench.update(ctx, settings)
            assert await bench.registers(ctx) == bench.lfsr.state.tolist()

    simulate(bench.dut, work, cycles=40_000, background=[bench.macro])


@pytest.mark.parametrize("period", [0, 1, 7, 255])
def test_longest_trains_that_overlap(period: int) -> None:
    """Every slot counts, at the probabilities 0, 1 and some between."""
    bench = Bench(CHIPS["one beat"], 3, 0.0)
    settings = UpdateSettings(65535, 65535, 7, 7, 255, TrainMode.OVERLAP, False, period)

    async def work(ctx: SimulatorContext) -> None:
        await bench.seed(ctx)
        await bench.update(ctx, settings)
        v, d = np.array([127, -128, 1, 0, 64, -3]), np.array([128, 127, -64, 1])
        await bench.drive(ctx, settings, v, d, 0, 0, 0)
        expected = update_counts(settings, v, d, bench.lfsr, bench.chip.rows)
        np.testing.assert_array_equal(bench.counts[:6], expected)
        assert np.abs(bench.counts).max() == 255

    simulate(bench.dut, work, cycles=20_000, background=[bench.macro])


def test_registers_step_as_the_definition_does() -> None:
    assert trains.LFSR_MASK == LFSR_MASK
    (bits,) = {tuple(map(tuple, trains.lfsr_steps(16)))}
    lfsr = Lfsr(9, 40)
    before = lfsr.state.copy()
    lfsr.draw(1)
    after = np.zeros_like(before)
    for k, taken in enumerate(bits):
        bit = np.bitwise_xor.reduce([before >> np.uint32(t) & np.uint32(1) for t in taken])
        after |= bit << np.uint32(k)
    np.testing.assert_array_equal(after, lfsr.state)
