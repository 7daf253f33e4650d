# SPDX-License-Identifier: Apache-2.0
"""Multiplication by constants in few adders, and division as one."""

from collections.abc import Sequence

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import SimulatorContext
from simulate import simulate

from ohmtwin.rtl.reciprocal import Adder, multiply, plain_adders, reciprocal

FULL = 63 * sum(1 << 2 * s for s in range(8))  # all codes of 6-bit ADCs at full scale


def product(chain: Sequence[Adder]) -> int:
    """What a chain multiplies by."""
    made = [1]
    for adder in chain:
        right = made[adder.right]
        made.append((made[adder.left] << adder.shift) + (-right if adder.minus else right))
    return made[-1]


def odd_part(number: int) -> int:
    return number // (number & -number)


@pytest.mark.parametrize("most", [5000, FULL, 2 * FULL])
@pytest.mark.parametrize("divisor", [2, 3, 37, 64, 69, 137, 148, 185, 207, 213, 255, 256, 257])
def test_division_is_exact(divisor: int, most: int) -> None:
    """Over the whole range, at once: rounded to nearest, or one less."""
    found = reciprocal(divisor, most)
    assert product(found.chain) == odd_part(found.factor)
    x = np.arange(most + 1, dtype=np.int64)
    rest = x - divisor * ((x >> found.drop) * found.factor >> found.shift)
    assert -divisor < 2 * rest.min()
    assert 2 * rest.max() < 3 * divisor


@pytest.mark.parametrize(("divisor", "adders"), [(207, 3), (185, 3), (256, 0), (257, 1)])
def test_few_adders(divisor: int, adders: int) -> None:
    """The codes that docs/ecc.md recommends take three adders."""
    assert len(reciprocal(divisor, FULL).chain) == adders


def test_plain_adders() -> None:
    """One for each power of two but one, of the fewest."""
    for factor in range(1, 3000):
        assert product(plain_adders(factor)) == odd_part(factor)
    assert len(plain_adders(207)) == 3, "256 - 64 + 16 - 1"
    assert plain_adders(64) == ()


class Times(wiring.Component):
    """Multiplies by some factors at once."""

    def __init__(self, factors: Sequence[int]) -> None:
        self._factors = factors
        super().__init__({"i": In(9), **{f"o{n}": Out(15) for n in range(len(factors))}})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for number, factor in enumerate(self._factors):
            m.d.comb += getattr(self, f"o{number}").eq(
                multiply(self.i, factor, plain_adders(factor), 15)
            )
        m.d.sync += Signal().eq(0)
        return m


def test_multiplication() -> None:
    """The low bits of products, also where the sum ran over on the way."""
    factors = (1, 2, 12, 69, 207, 257, 40527)
    dut = Times(factors)

    async def bench(ctx: SimulatorContext) -> None:
        for value in range(512):
            ctx.set(dut.i, value)
            found = [ctx.get(getattr(dut, f"o{number}")) for number in range(len(factors))]
            assert found == [value * factor % (1 << 15) for factor in factors]
            await ctx.tick()

    simulate(dut, bench, cycles=600)


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"^A divisor must be at least 2, of a number, not 1 of 8"):
        reciprocal(1, 8)
    with pytest.raises(ValueError, match=r"not 3 of 0$"):
        reciprocal(3, 0)
