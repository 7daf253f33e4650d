# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of the core that learns against its definition; both sides stall at random."""

from random import Random
from typing import Any

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from simulate import simulate
from streams import stream_collect, stream_put

from ohmtwin.behavioral.learning.processor import clip, rounded
from ohmtwin.rtl.learning.alu import Divider, Function, Gathering, Third, VectorAlu

ENDS = (-(1 << 31), (1 << 31) - 1, -1, 0, 1, 127, -128)


def word(rng: Random) -> int:
    if rng.random() < 0.3:
        return rng.choice(ENDS)
    bits = rng.randint(1, 31)
    return rng.randint(-(1 << bits), (1 << bits) - 1)


def value(function: Function, x: int, y: int) -> int:
    return {
        Function.ADD: x + y,
        Function.SUB: x - y,
        Function.MUL: x * y,
        Function.MAX: max(x, y),
        Function.MIN: min(x, y),
        Function.GT: int(x > y),
        Function.SECOND: y,
        Function.SIZE: abs(x) * y,
    }[function]


def wrapped(number: int) -> int:
    """What 64 bits hold of a number."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def limits(bits: int) -> tuple[int, int]:
    least, most = (int(clip(np.array([v]), bits)[0]) for v in (-(1 << 62), 1 << 62))
    return least, most


def expect(settings: dict[str, Any], elements: list[dict[str, int]]) -> list[tuple[int, int, int]]:
    """Result, x and final of every element that gives one."""
    results, total = [], 0
    shift, (least, most) = settings["shift"], (settings["least"], settings["most"])
    for e in elements:
        v = wrapped(value(settings["function"], e["x"], e["y"]))
        if settings["gathering"] == Gathering.SUM and not e["first"]:
            v = wrapped(total + v)
        if settings["gathering"] == Gathering.MAX and not e["first"]:
            v = max(total, v)
        total = v
        if settings["gathering"] != Gathering.NONE and not e["last"]:
            continue
        if shift < 0:
            v = wrapped(v << -shift)
        elif settings["truncate"]:
            v >>= shift
        else:
            with np.errstate(over="ignore"):
                v = int(rounded(np.array([v], np.int64), shift)[0])
        if settings["third"] == Third.PLUS:
            v = wrapped(e["c"] + v)
        if settings["third"] == Third.MINUS:
            v = wrapped(e["c"] - v)
        v = min(max(v, least), most)
        low = (v + (1 << 31)) % (1 << 32) - (1 << 31)
        results.append((low, e["x"], e["final"]))
    return results


@pytest.mark.parametrize("stall", [0.0, 0.5], ids=["no stalls", "stalls"])
def test_alu(stall: float) -> None:
    rng = Random(4)
    dut = VectorAlu()
    seen: list[Any] = []

    async def work(ctx: SimulatorContext) -> None:
        for trial in range(60):
            least, most = limits(rng.choice([0, 1, 8, 12, 33, 63]))
            settings = {
                "function": list(Function)[trial % len(Function)],
                "gathering": rng.choice(list(Gathering)),
                "shift": rng.choice([0, 0, 1, 7, 31, 40, 63, -1, -20, -63]),
                "truncate": rng.randint(0, 1),
                "third": rng.choice(list(Third)),
                "least": least,
                "most": most,
            }
            ctx.set(dut.settings, settings)
            elements, left = [], 0
            for i in range(12):
                first = left == 0
                left = rng.randint(1, 4) if first else left
                left = left - 1 if i < 11 else 0
                element = {name: word(rng) for name in ("x", "y", "c")}
                elements.append({**element, "first": first, "last": left == 0, "final": i == 11})
            for element in elements:
                idle = rng.randint(1, 3) if rng.random() < stall else 0
                await stream_put(ctx, dut.i, element, idle)
            while not seen or not seen[-1].final:
                await ctx.tick()
            found = [(r.value, r.x, r.final) for r in seen]
            assert found == expect(settings, elements), settings
            seen.clear()

    async def take(ctx: SimulatorContext) -> None:
        await stream_collect(ctx, dut.o, seen, Random(5), stall)

    simulate(dut, work, cycles=8_000, background=[take])


def test_alu_takes_one_element_a_cycle() -> None:
    dut = VectorAlu()

    async def work(ctx: SimulatorContext) -> None:
        ctx.set(dut.settings.most, 1000)
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.o.ready, 1)
        for t in range(20):
            ctx.set(dut.i.payload.x, t)
            assert ctx.get(dut.i.ready)
            assert ctx.get(dut.o.valid) == (t >= dut.latency)
            if t >= dut.latency:
                assert ctx.get(dut.o.payload.value) == t - dut.latency
            await ctx.tick()

    simulate(dut, work, cycles=30)


@pytest.mark.parametrize("stall", [0.0, 0.5], ids=["no stalls", "stalls"])
def test_divider(stall: float) -> None:
    rng = Random(6)
    dut = Divider()
    seen: list[Any] = []
    ends = [(0, 1), (1, 1), ((1 << 64) - 1, 1), ((1 << 64) - 1, (1 << 32) - 1), (5, 7)]
    ends += [(((1 << 31) - 1) << 31, (1 << 31) - 1), (1 << 63, 3)]
    pairs = ends + [
        (rng.getrandbits(rng.randint(1, 64)), word(rng) % (1 << 32) or 1) for _ in "x" * 20
    ]

    async def put(ctx: SimulatorContext) -> None:
        for dividend, divisor in pairs:
            idle = rng.randint(1, 90) if rng.random() < stall else 0
            await stream_put(ctx, dut.i, {"dividend": dividend, "divisor": divisor}, idle)
        while len(seen) < len(pairs):
            await ctx.tick()
        found = [(r.quotient, r.remainder) for r in seen]
        assert found == [divmod(*pair) for pair in pairs]

    async def take(ctx: SimulatorContext) -> None:
        await stream_collect(ctx, dut.o, seen, Random(7), stall)

    simulate(dut, put, cycles=8_000, background=[take])
