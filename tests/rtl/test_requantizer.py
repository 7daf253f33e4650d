# SPDX-License-Identifier: Apache-2.0
"""The requantizer lane against the golden operator and against numpy's float32."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from numpy.typing import NDArray
from simulate import simulate

from ohmtwin.arch.formats import RequantScale
from ohmtwin.behavioral.golden import requantize
from ohmtwin.rtl.requantizer import Requantizer


def _random(rng: np.random.Generator, n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Accumulators of every magnitude with factors that bring them near the code range."""
    acc = rng.integers(-(1 << 31), 1 << 31, n) >> rng.integers(0, 31, n)
    span = np.maximum(np.abs(acc), 1)
    scale = (np.exp2(rng.uniform(-3, 10, n)) / span).astype(np.float32)
    return acc, np.clip(scale, np.float32(2.0**-40), np.float32(2.0**22))


def _halves(rng: np.random.Generator, n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Ties of the first rounding (beyond 24 bits) and of the last one (odd multiples of 1/2)."""
    power = rng.integers(24, 31, n // 2)
    big = (1 << power) + (2 * rng.integers(0, 64, n // 2) + 1) * (1 << (power - 24))
    factor = np.exp2(-rng.integers(23, 29, n // 2) * 1.0)
    odd = 2 * rng.integers(-600, 600, n - n // 2) + 1
    steps = rng.integers(0, 20, n - n // 2)
    acc = np.concatenate([big * rng.choice([-1, 1], n // 2), odd << steps])
    scale = np.concatenate([factor, np.exp2(-1.0 - steps)])
    return acc, scale.astype(np.float32)


def _near_ties(rng: np.random.Generator, n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Products within half a float32 bit of k + 1/2: the product's rounding decides."""
    boundary = rng.integers(-120, 120, n) + 0.5
    acc = np.rint(boundary / rng.uniform(2.0**-17, 2.0**-16, n)).astype(np.int64)
    return acc, (boundary / acc).astype(np.float32)


def _extremes(rng: np.random.Generator, n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    edges = np.array(
        [0, 1, -1, (1 << 31) - 1, -(1 << 31), (1 << 24) - 1, 1 << 24, (1 << 24) + 1, (1 << 25) - 1]
    )
    one = np.float32(1)
    factors = [2.0**-40, 2.0**22, 0.5, one, np.nextafter(one, 0 * one), 2.0**-9, 2.0**-24, 2.0**-31]
    acc, scale = np.meshgrid(edges, np.array(factors, np.float32))
    return acc.ravel(), scale.ravel()


def _double_ties(rng: np.random.Generator, n: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Ties of the accumulator's or the product's rounding that end in a tie of the last one.

    With ``v = odd * 2**16 + 1``, a significand of ``v`` is halfway between two of 24 bits, and the
    lower one, which is even, is ``odd / 2`` of a code.
    """
    acc, scale = [], []
    for odd in rng.integers(256, 512, 40) | 1:
        value = (int(odd) << 16) + 1
        zeros = int(rng.integers(0, 7))
        acc.append(value << zeros)
        scale.append(2.0 ** -(17 + zeros))
        for a in range(3, 1 << 12, 2):
            b, rest = divmod(value, a)
            # The product is normalised as the accumulator is, if no bit is lost between them.
            if rest == 0 and a.bit_length() + b.bit_length() == value.bit_length():
                acc.append(a)
                scale.append(b * 2.0**-17)
    signs = rng.choice([-1, 1], len(acc))
    return (np.array(acc) * signs)[:n], np.array(scale, np.float32)[:n]


@pytest.mark.parametrize("kind", [_random, _halves, _near_ties, _double_ties, _extremes])
@pytest.mark.parametrize("bounds", [(0, 0, 255), (128, 0, 255), (200, 200, 255), (37, 3, 250)])
def test_equals_golden_and_float32(kind: object, bounds: tuple[int, int, int]) -> None:
    rng = np.random.default_rng([3, *bounds])
    acc, scale = kind(rng, 300)
    zero_point, low, high = bounds
    parts = [RequantScale.from_float(float(s)) for s in scale]
    lane = Requantizer()
    codes: list[int] = []

    async def drive(ctx: SimulatorContext) -> None:
        valid = [0] * lane.latency
        ctx.set(lane.zero_point, zero_point)
        ctx.set(lane.low, low)
        ctx.set(lane.high, high)
        queue = list(zip(acc.tolist(), parts, strict=True))
        while len(codes) < len(acc):
            valid = [0, *valid[: lane.latency]]
            if valid[lane.latency]:
                codes.append(ctx.get(lane.code))
            if queue and rng.random() < 0.8:
                value, part = queue.pop(0)
                valid[0] = 1
                ctx.set(lane.acc, value)
                ctx.set(lane.mantissa, part.mantissa)
                ctx.set(lane.shift, part.shift)
            ctx.set(lane.enable, sum(bit << k for k, bit in enumerate(valid[: lane.latency])))
            await ctx.tick()

    simulate(lane, drive, cycles=3000)
    mantissa = np.array([p.mantissa for p in parts])
    shift = np.array([p.shift for p in parts])
    golden = requantize(acc, mantissa, shift, zero_point, low, high)
    scaled = np.rint(acc.astype(np.int32).astype(np.float32) * scale).astype(np.float64)
    np.testing.assert_array_equal(golden, np.clip(scaled + zero_point, low, high))
    np.testing.assert_array_equal(codes, golden)
