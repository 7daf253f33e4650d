# SPDX-License-Identifier: Apache-2.0
"""The load path alone: rows and sums that its writes make, and the cycle of the last one."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from numpy.typing import NDArray
from simulate import simulate
from tile_host import small_chip

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.isa import VecOp
from ohmtwin.behavioral.inputs import counts_of
from ohmtwin.rtl.loader import Loader

_CHIP = small_chip(cores=2, rows=128)


class _Cores:
    """What the cores and the vector ALU make of the loader's outputs."""

    def __init__(self, loader: Loader, zero: int = 0) -> None:
        self.loader, self.cycle, self.zero = loader, 0, zero
        self.rows = np.zeros((_CHIP.cores, 256), np.uint8)
        self.sums = [0] * _CHIP.cores
        self.elements: list[tuple[int, int]] = []
        self.last_write = self.last_sum = self.last_element = 0

    async def tick(self, ctx: SimulatorContext) -> None:
        loader = self.loader
        for port, row in ((loader.even, 0), (loader.odd, 8)):
            valid = ctx.get(port.valid)
            planes, first = ctx.get(port.planes), 16 * ctx.get(port.word) + row
            word = [sum((planes >> (8 * p + r) & 1) << p for p in range(8)) for r in range(8)]
            below = planes >> 64
            word = [self.zero - v if below >> r & 1 else self.zero + v for r, v in enumerate(word)]
            for core in range(_CHIP.cores):
                if valid >> core & 1:
                    self.rows[core, first : first + 8] = word
                    self.last_write = self.cycle
        summed, amount = ctx.get(loader.sum_valid), ctx.get(loader.load_sum)
        for core in range(_CHIP.cores):
            if summed >> core & 1:
                old = 0 if ctx.get(loader.sum_first) else self.sums[core]
                self.sums[core] = old + amount
                self.last_sum = self.cycle
        if ctx.get(loader.elements_valid):
            found = ctx.get(loader.elements)
            assert found.op == VecOp.MAX
            hits = [
                (8 * (found.word + (found.next >> k & 1)) + k, found.bytes >> 8 * k & 0xFF)
                for k in range(8)
                if found.mask >> k & 1
            ]
            self.elements += sorted(hits)
            self.last_element = self.cycle
        await ctx.tick()
        self.cycle += 1


async def _steps(
    ctx: SimulatorContext,
    model: _Cores,
    rng: np.random.Generator,
    row: int,
    size: int,
    **ports: int,
) -> tuple[NDArray[np.uint8], int]:
    """Random pieces of random words, ``size`` bytes in all; those bytes and the last cycle."""
    loader = model.loader
    taken: list[int] = []
    for name, value in ports.items():
        ctx.set(getattr(loader, name), value)
    word: NDArray[np.uint8] | None = None
    while True:
        left = size - len(taken)
        offset = int(rng.integers(0, 8))
        count = min(left, int(rng.integers(1, 9 - offset)))
        ctx.set(loader.step, left > 0)
        ctx.set(loader.begin, not taken)
        ctx.set(loader.row, row)
        ctx.set(loader.offset, offset)
        ctx.set(loader.count, count)
        if word is not None:
            value = int(word.view("<u8")[0])
            right, wrong = loader.data_word, loader.host_word
            if ports["from_host"]:
                right, wrong = wrong, right
            ctx.set(right, value)
            ctx.set(wrong, ~value & ((1 << 64) - 1))
        last = model.cycle - 1
        await model.tick(ctx)
        if not left:
            break
        word = rng.integers(0, 256, 8).astype(np.uint8)
        taken += [int(v) for v in word[offset : offset + count]]
    return np.array(taken, np.uint8), last


@pytest.mark.parametrize("seed", range(3))
def test_rows_and_sums(seed: int) -> None:
    _rows_and_sums(seed, _CHIP, 0)


def test_signs_and_magnitudes() -> None:
    """ZERO comes off every row, also where no byte has come yet, and leaves the sum alone."""
    for zero in (1, 128, 255):
        _rows_and_sums(zero, _CHIP.with_(input_encoding="sign_magnitude"), zero)


def test_sums_of_streams() -> None:
    """A byte adds the passes in which it drives its row."""
    _rows_and_sums(4, _CHIP.with_(input_encoding="stochastic", stream_length=37), 0)


def _rows_and_sums(seed: int, chip: Chip, zero: int) -> None:
    rng = np.random.default_rng(seed)
    loader = Loader(chip=chip)

    async def bench(ctx: SimulatorContext) -> None:
        cores = _Cores(loader, zero)
        if zero:
            ctx.set(loader.zero, zero)
        expected = np.zeros((_CHIP.cores, 256), np.uint8)
        sums = [0] * _CHIP.cores
        for _ in range(60):
            select = int(rng.integers(1, 4))
            row = 8 * int(rng.integers(0, 4))
            for _ in range(int(rng.integers(1, 4))):
                size = int(rng.integers(1, 30))
                codes, last = await _steps(
                    ctx, cores, rng, row, size, cores=select, vector=0, from_host=row >> 3 & 1
                )
                # A product that starts three cycles behind the last step must find all of it.
                await cores.tick(ctx)
                end = row + size
                for core in (c for c in range(_CHIP.cores) if select >> c & 1):
                    expected[core, row:end] = codes
                    expected[core, end : -(-end // 8) * 8] = 0
                    sums[core] = (sums[core] if row else 0) + int(
                        counts_of(codes, chip.input_code).sum()
                    )
                np.testing.assert_array_equal(cores.rows, expected)
                assert cores.sums == sums
                assert cores.last_write == cores.last_sum == last + loader.latency
                row = end

    simulate(loader, bench, cycles=5000)


def test_elements() -> None:
    rng = np.random.default_rng(5)
    loader = Loader(chip=_CHIP)

    async def bench(ctx: SimulatorContext) -> None:
        cores = _Cores(loader)
        for _ in range(80):
            element, size = int(rng.integers(0, 200)), int(rng.integers(1, 40))
            cores.elements.clear()
            codes, last = await _steps(
                ctx, cores, rng, element, size, cores=3, vector=1, op=VecOp.MAX, from_host=0
            )
            await cores.tick(ctx)
            assert cores.elements == [(element + k, int(v)) for k, v in enumerate(codes)]
            assert cores.last_element == last + 2
        assert not cores.rows.any(), "bytes of a VEC reached the cores"
        assert cores.last_sum == 0

    simulate(loader, bench, cycles=5000)


def test_words_of_32_bits() -> None:
    """Each goes to an accumulator of its own; half a word of memory at the end to one."""
    rng = np.random.default_rng(6)
    loader = Loader(chip=_CHIP)

    async def bench(ctx: SimulatorContext) -> None:
        for _ in range(60):
            element, sums = 2 * int(rng.integers(0, 100)), int(rng.integers(1, 12))
            words = rng.integers(0, 1 << 63, -(-sums // 2), dtype=np.uint64) * np.uint64(2)
            found: dict[int, int] = {}
            for name, value in {"vector": 1, "op": VecOp.ADD32, "cores": 3, "offset": 0}.items():
                ctx.set(getattr(loader, name), value)
            for step in range(len(words) + 2):
                ctx.set(loader.step, step < len(words))
                ctx.set(loader.begin, step == 0)
                ctx.set(loader.row, element)
                ctx.set(loader.count, min(8, 4 * sums - 8 * step) if step < len(words) else 0)
                if 0 < step <= len(words):
                    ctx.set(loader.data_word, int(words[step - 1]))
                await ctx.tick()
                assert not ctx.get(loader.even.valid)
                assert not ctx.get(loader.odd.valid)
                if not ctx.get(loader.elements_valid):
                    continue
                shown = ctx.get(loader.elements)
                assert not shown.next
                for k in (k for k in range(8) if shown.mask >> k & 1):
                    at = 8 * (k if k % 2 == 0 else (k + 3) % 8)
                    turned = shown.bytes >> at | shown.bytes << 64 - at
                    found[8 * shown.word + k] = turned & 0xFFFFFFFF
            wanted = words.view("<u4")[:sums]
            assert found == {element + k: int(v) for k, v in enumerate(wanted)}

    simulate(loader, bench, cycles=3000)


def test_stop_drops_what_is_under_way() -> None:
    loader = Loader(chip=_CHIP)

    async def bench(ctx: SimulatorContext) -> None:
        # Six bytes from row 5 on: two words and a sum. Stopped 0 to 3 cycles later.
        for vector in (0, 1):
            for delay in range(4):
                cores = _Cores(loader)
                ctx.set(loader.cores, 3)
                ctx.set(loader.vector, vector)
                ctx.set(loader.op, VecOp.MAX)
                ctx.set(loader.begin, 1)
                ctx.set(loader.row, 5)
                ctx.set(loader.count, 6)
                ctx.set(loader.data_word, (1 << 64) - 1)
                for cycle in range(6):
                    ctx.set(loader.step, cycle == 0)
                    ctx.set(loader.stop, cycle == delay)
                    await cores.tick(ctx)
                late = delay > loader.latency and not vector
                assert cores.rows.any() == late
                assert cores.sums == [6 * 255 * late] * 2
                if delay < 2:
                    assert not cores.elements

    simulate(loader, bench, cycles=200)
