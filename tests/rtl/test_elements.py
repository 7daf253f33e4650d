# SPDX-License-Identifier: Apache-2.0
"""The vector ALU against 32-bit arithmetic of the processor."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from numpy.typing import NDArray
from simulate import simulate
from tile_host import small_chip

from ohmtwin.arch.isa import VECTOR_ELEMENTS, VecOp
from ohmtwin.rtl.elements import VectorElements


def _wrap(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return (values & 0xFFFFFFFF).astype(np.uint32).view(np.int32).astype(np.int64)


def _half(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return (values & 0xFFFF).astype(np.uint16).view(np.int16).astype(np.int64)


def _apply(op: VecOp, acc: NDArray[np.int64], v: NDArray[np.int64]) -> NDArray[np.int64]:
    """docs/tile.md, section "Numbers"."""
    if op in (VecOp.PUT, VecOp.PUT32):
        return v
    if op in (VecOp.ADD, VecOp.ADD32):
        return _wrap(acc + v)
    if op is VecOp.MUL:
        return _wrap(_half(acc) * _half(v))
    return np.maximum(acc, v) if op is VecOp.MAX else np.minimum(acc, v)


@pytest.mark.parametrize("lanes", [4, 8, 32])
def test_operations_and_drain(lanes: int) -> None:
    chip = small_chip(lanes=lanes)
    width = chip.outputs_per_beat
    rng = np.random.default_rng(lanes)
    dut = VectorElements(chip=chip)

    async def bench(ctx: SimulatorContext) -> None:
        acc = np.zeros(VECTOR_ELEMENTS, np.int64)
        for number in range(150):
            op = VecOp(int(rng.integers(0, VecOp.PUT32)))
            scale = int(rng.integers(-(1 << 23), 1 << 23)) >> int(rng.integers(0, 24))
            offset = int(rng.integers(-(1 << 31), 1 << 31)) >> int(rng.integers(0, 32))
            first = int(rng.integers(0, VECTOR_ELEMENTS - 24))
            ctx.set(dut.scale, scale)
            # A VEC of several words, then what the next instruction may bring at the earliest.
            steps = int(rng.integers(1, 4))
            where = first
            for _ in range(steps):
                count = int(rng.integers(1, 9))
                codes = rng.integers(0, 256, count)
                slots = [(where + k) % 8 for k in range(count)]
                garbage = int(rng.integers(0, 1 << 63)) << 1 | 1
                packed = garbage
                for slot, code in zip(slots, codes, strict=True):
                    packed = packed & ~(0xFF << 8 * slot) | int(code) << 8 * slot
                inside = [where % 8 + k < 8 for k in range(count)]
                ctx.set(dut.valid, 1)
                ctx.set(
                    dut.i,
                    {
                        "op": int(op), "bytes": packed, "word": where // 8,
                        "mask": sum(1 << s for s in slots),
                        "next": sum(1 << s for s, i in zip(slots, inside, strict=True) if not i),
                    },
                )  # fmt: skip
                await ctx.tick()
                ctx.set(dut.offset, offset)
                part = slice(where, where + count)
                acc[part] = _apply(op, acc[part], _wrap(codes * scale + offset))
                where += count
            ctx.set(dut.valid, 0)
            ctx.set(dut.i, {})
            ctx.set(dut.scale, 77)
            # Two elements words of it, drained as early as may be.
            await ctx.tick()
            ctx.set(dut.offset, -1)
            for _ in range(dut.latency - 2):
                await ctx.tick()
            words = range(first // width, (where - 1) // width + 1)
            if number % 10 == 0:
                words = range(VECTOR_ELEMENTS // width)
            for word in words:
                ctx.set(dut.drain, 1)
                ctx.set(dut.drain_addr, word)
                await ctx.tick()
                shown = ctx.get(dut.drain_data)
                found = [shown >> 32 * k & 0xFFFFFFFF for k in range(width)]
                expected = acc[word * width : (word + 1) * width] & 0xFFFFFFFF
                assert found == [int(v) for v in expected], (op, word)
            ctx.set(dut.drain, 0)
            await ctx.tick()
            assert ctx.get(dut.drain_data) == 0, "a core is drained next"

    simulate(dut, bench, cycles=20000)


def test_words_of_32_bits() -> None:
    """Two a cycle, from any even accumulator, turned as the loader turns bytes; then one more."""
    rng = np.random.default_rng(32)
    dut = VectorElements(chip=small_chip())
    width = small_chip().outputs_per_beat

    async def bench(ctx: SimulatorContext) -> None:
        acc = np.zeros(VECTOR_ELEMENTS, np.int64)
        ctx.set(dut.scale, 12345)
        for _ in range(60):
            op = VecOp.ADD32 if rng.integers(0, 2) else VecOp.PUT32
            where = first = 2 * int(rng.integers(0, 120))
            offset = int(rng.integers(-9, 9)) << int(rng.integers(0, 28))
            for _ in range(3):
                pair = rng.integers(-(1 << 31), 1 << 31, 2)
                count = int(rng.integers(1, 3))
                word = int(pair[0]) & 0xFFFFFFFF | (int(pair[1]) & 0xFFFFFFFF) << 32
                turn = 8 * (where % 8)
                turned = (word << turn | word >> 64 - turn) & (1 << 64) - 1
                mask = ((1 << count) - 1) << where % 8
                ctx.set(dut.valid, 1)
                ctx.set(dut.i, {"op": int(op), "bytes": turned, "word": where // 8, "mask": mask})
                await ctx.tick()
                ctx.set(dut.offset, offset)
                part = slice(where, where + count)
                acc[part] = _apply(op, acc[part], _wrap(pair[:count] + offset))
                where += 2
                if count < 2:
                    break
            ctx.set(dut.valid, 0)
            for _ in range(dut.latency - 1):
                await ctx.tick()
            for word in range(first // width, (where - 1) // width + 1):
                ctx.set(dut.drain, 1)
                ctx.set(dut.drain_addr, word)
                await ctx.tick()
                shown = ctx.get(dut.drain_data)
                found = [shown >> 32 * k & 0xFFFFFFFF for k in range(width)]
                expected = acc[word * width : (word + 1) * width] & 0xFFFFFFFF
                assert found == [int(v) for v in expected], (op, word)
            ctx.set(dut.drain, 0)

    simulate(dut, bench, cycles=3000)


def test_stop() -> None:
    dut = VectorElements(chip=small_chip())

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(dut.scale, 1)
        for delay in range(2):
            ctx.set(dut.i, {"op": int(VecOp.PUT), "bytes": 9, "mask": 1})
            for cycle in range(5):
                ctx.set(dut.valid, cycle == 0)
                ctx.set(dut.stop, cycle == delay)
                await ctx.tick()
            ctx.set(dut.drain, 1)
            await ctx.tick()
            assert ctx.get(dut.drain_data) == 0

    simulate(dut, bench, cycles=100)


def test_refuses_what_is_no_chip() -> None:
    with pytest.raises(TypeError, match="Chip must be a Chip, not 4"):
        VectorElements(chip=4)
