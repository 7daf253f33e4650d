# SPDX-License-Identifier: Apache-2.0
"""The AN-code unit against the definition: every single error of every sum, every table entry."""

from collections.abc import Sequence

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from amaranth.sim import SimulatorContext
from numpy.typing import NDArray
from simulate import simulate

from ohmtwin.arch.ancode import AnCode, ErrorModel
from ohmtwin.behavioral.ancode import decode
from ohmtwin.rtl.ancode import AnUnit

ROWS = 16
WEIGHT = 255  # the largest stored weight
FULL = 63 * sum(1 << 2 * s for s in range(8))  # all codes of 6-bit ADCs at full scale

CODES = {
    "minimal, powers of two": AnCode(37, 1, ErrorModel.POWER_OF_TWO),
    "minimal, slices": AnCode(69, 1, ErrorModel.SLICE),
    "AB": AnCode(37, 5, ErrorModel.POWER_OF_TWO),
    "AB, slices": AnCode(69, 3, ErrorModel.SLICE),
    "even product": AnCode(74, 2, ErrorModel.POWER_OF_TWO),
    "one table entry more": AnCode(71, 2, ErrorModel.SLICE),
}


async def load(ctx: SimulatorContext, dut: AnUnit, words: Sequence[int]) -> None:
    ctx.set(dut.write, 1)
    for residue, word in enumerate(words):
        ctx.set(dut.write_addr, residue)
        ctx.set(dut.write_data, word)
        await ctx.tick()
    ctx.set(dut.write, 0)


def as_signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value


def run(dut: AnUnit, code: AnCode, sums: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """One sum a cycle an output: quotients, and flags (corrected, then detected in bit 1)."""
    lanes = dut.outputs
    values: list[int] = []
    flags: list[int] = []
    padded = np.concatenate([sums, np.zeros(-len(sums) % lanes, dtype=np.int64)])
    mask = (1 << dut.bits) - 1
    words = [
        sum((int(v) & mask) << lane * dut.bits for lane, v in enumerate(group))
        for group in padded.reshape(-1, lanes)
    ]

    async def bench(ctx: SimulatorContext) -> None:
        await load(ctx, dut, code.words)
        for cycle in range(len(words) + dut.latency):
            if cycle >= dut.latency:
                out, fixed, found = (ctx.get(p) for p in (dut.o, dut.corrected, dut.detected))
                for lane in range(lanes):
                    field = out >> lane * dut.out_bits & ((1 << dut.out_bits) - 1)
                    values.append(as_signed(field, dut.out_bits))
                    flags.append((fixed >> lane & 1) | (found >> lane & 1) << 1)
            if cycle < len(words):
                ctx.set(dut.i, words[cycle])
            await ctx.tick()

    simulate(dut, bench, cycles=len(words) + dut.latency + code.a + 10)
    return values[: len(sums)], flags[: len(sums)]


def check(dut: AnUnit, code: AnCode, sums: NDArray[np.int64]) -> None:
    expected = decode(code, sums)
    values, flags = run(dut, code, sums)
    assert values == expected.values.tolist()
    assert flags == (expected.corrected + 2 * expected.detected).tolist()


@pytest.mark.parametrize("name", CODES)
def test_as_the_reference(name: str) -> None:
    """All remainders at both ends of the range and all over it, in a unit of two outputs."""
    code = CODES[name]
    rng = np.random.default_rng(len(name))
    ends = np.arange(3 * code.product)
    sums = np.concatenate([ends, FULL - ends, rng.integers(0, FULL + 1, 2000)])
    check(AnUnit(code=code, outputs=2, low=0, high=FULL), code, sums)


@pytest.mark.parametrize("low", [-1, -185, -FULL])
def test_signed_sums(low: int) -> None:
    """Sums may be signed: the quotient rounds down, the remainder is positive."""
    code = CODES["AB"]
    rng = np.random.default_rng(-low)
    ends = np.arange(400)
    sums = np.concatenate([low + ends, FULL - ends, rng.integers(low, FULL + 1, 1000)])
    sums = sums[(sums >= low) & (sums <= FULL)]
    check(AnUnit(code=code, outputs=1, low=low, high=FULL), code, sums)


def test_another_table() -> None:
    """The table is what was loaded, not what the model says."""
    model = CODES["minimal, powers of two"]
    half = tuple(e if abs(e) < 256 else 0 for e in model.error_table)
    code = AnCode(37, 1, ErrorModel.POWER_OF_TWO, table=half)
    dut = AnUnit(code=model, outputs=1, low=0, high=FULL)
    sums = np.arange(5 * 37) + 10_000
    check(dut, code, sums)
    assert decode(code, sums).detected.sum() == 5 * (1 + 4 + 16 - 1)


class Exhaust(wiring.Component):
    """Drives a unit with every sum of so many stored weights, off by every error of the model.

    A codeword a cycle; ``wrong`` counts those that do not come out as the sum, corrected.

    Members
    -------
    fed, right, wrong : Out(32)
        Codewords that went in, and that came out.
    done : Out(1)
    """

    fed: Out(32)
    right: Out(32)
    wrong: Out(32)
    done: Out(1)

    def __init__(self, code: AnCode, last: int, lanes: int) -> None:
        self.unit = AnUnit(
            code=code, outputs=lanes, low=min(code.errors), high=last * code.product + 65535
        )
        self._last, self._lanes = last, lanes
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = unit = self.unit
        code, lanes = unit.code, self._lanes
        errors = code.errors
        share = Signal(range(self._last + 1))
        product = Signal(range(self._last * code.product + 1))
        group = Signal(range(len(errors) // lanes))
        loaded = Signal(range(code.entries + 1))
        running = Signal()
        words = [Signal(signed(unit.bits), name=f"word{lane}") for lane in range(lanes)]
        with m.Switch(group):
            for number in range(len(errors) // lanes):
                with m.Case(number):
                    for lane, word in enumerate(words):
                        m.d.comb += word.eq(product + errors[number * lanes + lane])
        with m.Switch(loaded):
            for residue, entry in enumerate(code.words):
                with m.Case(residue):
                    m.d.comb += unit.write_data.eq(entry)
        m.d.comb += [
            unit.i.eq(Cat(words)),
            unit.write.eq(~running & (loaded < code.entries)),
            unit.write_addr.eq(loaded),
        ]
        with m.If(~running & ~self.done):
            m.d.sync += loaded.eq(loaded + 1)
            with m.If(loaded == code.entries):
                m.d.sync += running.eq(1)
        with m.If(running):
            m.d.sync += [self.fed.eq(self.fed + lanes), group.eq(group + 1)]
            with m.If(group == len(errors) // lanes - 1):
                m.d.sync += [
                    group.eq(0),
                    share.eq(share + 1),
                    product.eq(product + code.product),
                ]
                with m.If(share == self._last):
                    m.d.sync += [running.eq(0), self.done.eq(1)]

        # What was fed, as late as its quotient.
        expected, valid = share, running
        for stage in range(unit.latency):
            expected_next = Signal.like(share, name=f"share{stage}")
            valid_next = Signal(name=f"valid{stage}")
            m.d.sync += [expected_next.eq(expected), valid_next.eq(valid)]
            expected, valid = expected_next, valid_next
        good = Signal(lanes)
        for lane in range(lanes):
            out = unit.o.word_select(lane, unit.out_bits).as_signed()
            m.d.comb += good[lane].eq(
                (out == expected) & unit.corrected[lane] & ~unit.detected[lane]
            )
        with m.If(valid):
            count = sum(good[lane] for lane in range(lanes))
            m.d.sync += [
                self.right.eq(self.right + count),
                self.wrong.eq(self.wrong + (lanes - count)),
            ]
        return m


@pytest.mark.parametrize("name", ["minimal, powers of two", "minimal, slices", "AB, slices"])
def test_every_single_error(name: str) -> None:
    """8-bit weights, 16 rows: each sum with each error is corrected, a codeword a cycle."""
    code = CODES[name]
    lanes = 16
    dut = Exhaust(code, ROWS * WEIGHT, lanes)
    codewords = (ROWS * WEIGHT + 1) * len(code.errors)

    async def bench(ctx: SimulatorContext) -> None:
        while not ctx.get(dut.done):
            await ctx.tick().repeat(1000)
        await ctx.tick().repeat(dut.unit.latency)
        assert (ctx.get(dut.right), ctx.get(dut.wrong)) == (codewords, 0)
        assert ctx.get(dut.fed) == codewords

    # One codeword a cycle an output, beside loading the table: the watchdog says so.
    simulate(dut, bench, cycles=codewords // lanes + code.a + 1100)


def test_a_codeword_a_cycle() -> None:
    """So many codewords take as many cycles, and the latency once."""
    code = CODES["AB, slices"]
    dut = AnUnit(code=code, outputs=1, low=0, high=FULL)
    sums = np.arange(1000) * 207 + 4**3
    cycles = 0

    async def bench(ctx: SimulatorContext) -> None:
        nonlocal cycles
        await load(ctx, dut, code.words)
        came = []
        while len(came) < len(sums):
            if cycles < len(sums):
                ctx.set(dut.i, int(sums[cycles]))
            await ctx.tick()
            cycles += 1
            if cycles >= dut.latency:
                came.append(ctx.get(dut.o))
                assert ctx.get(dut.corrected)
        assert came == list(range(1000))

    simulate(dut, bench, cycles=2000)
    assert cycles == len(sums) + dut.latency - 1


def test_refusals() -> None:
    code = CODES["AB"]
    with pytest.raises(TypeError, match=r"^Code must be an AnCode, not 37$"):
        AnUnit(code=37, outputs=1, low=0, high=100)
    with pytest.raises(ValueError, match=r"^An AN-code unit has at least one output, not 0$"):
        AnUnit(code=code, outputs=0, low=0, high=1000)
    with pytest.raises(ValueError, match=r"^The sums must range from at most 0 to at least 185"):
        AnUnit(code=code, outputs=1, low=0, high=100)
