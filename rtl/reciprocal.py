# SPDX-License-Identifier: Apache-2.0
"""Multiplication by constants, and division by them as one, with few adders."""

from bisect import bisect_left
from dataclasses import dataclass
from functools import cache

from amaranth.hdl import Cat, Const, Value

__all__ = ["Adder", "Reciprocal", "multiply", "plain_adders", "reciprocal"]

_ADDERS = 3
_SHIFTS = 12
"""Adders of a chain, and places that one moves a number up by, less one."""


@dataclass(frozen=True)
class Adder:
    """A number of a chain, made of two earlier ones: ``(left << shift) + right`` or, ``minus``,
    ``(left << shift) - right``. They are counted from 0, what is multiplied."""

    left: int
    shift: int
    right: int
    minus: bool = False


@dataclass(frozen=True)
class Reciprocal:
    """Division by a constant as a multiplication: ``(x >> drop) * factor >> shift``, where
    ``chain`` multiplies by ``factor``."""

    drop: int
    factor: int
    shift: int
    chain: tuple[Adder, ...]


@cache
def reciprocal(divisor: int, most: int) -> Reciprocal:
    """The cheapest multiplication that divides numbers up to ``most`` nearly.

    It gives ``x / divisor + f`` rounded down, f at least -1/2 and below 1/2: the quotient rounded
    to nearest, or one less. With ``x = head * 2**drop + low``, f is ``head * (factor / 2**shift -
    2**drop / divisor) - low / divisor``, at its ends where head and low are (Granlund and
    Montgomery 1994, section 4, with one more subtraction allowed, as Barrett 1986 has it).
    Cheapest: the fewest bits to add, of all chains of up to three adders and of the bits of
    ``2**(shift + drop) // divisor``.

    Raises
    ------
    ValueError
        If the divisor is below 2 or there is nothing to divide.
    """
    if divisor < 2 or most < 1:
        raise ValueError(f"A divisor must be at least 2, of a number, not {divisor} of {most}")
    chains = _chains()
    factors = sorted(chains)
    bits = most.bit_length()
    found: list[tuple[int, Reciprocal]] = []
    for drop in range(min(divisor.bit_length(), bits)):
        head = most >> drop
        spare = divisor - 2 * ((1 << drop) - 1)  # twice what low leaves of f, times divisor
        for shift in range(2 * bits if spare >= 0 else 0):
            # Both ends of f, times twice head * divisor: from least on, and below above.
            exact, scale = 1 << shift + drop, 2 * head * divisor
            least = -(((spare << shift) - 2 * head * exact) // scale)
            above = -((-2 * head * exact - (divisor << shift)) // scale)
            known = factors[bisect_left(factors, least) : bisect_left(factors, above)]
            plain = max(1, exact // divisor)
            wanted = [(factor, chains[factor]) for factor in known]
            if least <= plain < above:
                wanted.append((plain, plain_adders(plain)))
            found += [
                (_bits(chain, head), Reciprocal(drop, factor, shift, chain))
                for factor, chain in wanted
            ]
    return min(found, key=lambda cost: cost[0])[1]


def plain_adders(factor: int) -> tuple[Adder, ...]:
    """A chain with an adder for every power of two in a number but one, added or taken off, as few
    as there are (the non-adjacent form, Reitwiesner 1960), lowest last; for the odd part of it."""
    steps: list[tuple[int, bool]] = []
    while factor > 1:
        shift = (factor & -factor).bit_length() - 1
        factor >>= shift
        if steps and shift:
            steps[-1] = steps[-1][0] + shift, steps[-1][1]
        if factor > 1:
            minus = factor & 3 == 3
            factor += 1 if minus else -1
            steps.append((0, minus))
    return tuple(Adder(at, shift, 0, minus) for at, (shift, minus) in enumerate(reversed(steps)))


def multiply(value: Value, factor: int, chain: tuple[Adder, ...], bits: int) -> Value:
    """The low ``bits`` of ``value * factor``."""
    made = [value[:bits]]
    for adder in chain:
        left = Cat(Const(0, adder.shift), made[adder.left])
        right = made[adder.right]
        made.append((left - right if adder.minus else left + right)[:bits])
    zeros = (factor & -factor).bit_length() - 1
    return Cat(Const(0, zeros), made[-1])[:bits]


@cache
def _chains() -> dict[int, tuple[Adder, ...]]:
    """Odd factors and, for each, the cheapest chain of up to three adders, each of which takes what
    the one before made."""
    found: dict[int, tuple[Adder, ...]] = {1: ()}

    def grow(made: tuple[int, ...], chain: tuple[Adder, ...]) -> None:
        last = len(chain)
        pairs = [(last, right) for right in range(last + 1)]
        pairs += [(left, last) for left in range(last)]
        for left, right in pairs:
            for shift in range(1, _SHIFTS):
                for minus in (False, True):
                    factor = (made[left] << shift) + (-made[right] if minus else made[right])
                    if factor <= 1:
                        continue
                    longer = (*chain, Adder(left, shift, right, minus))
                    if len(found.setdefault(factor, longer)) > len(longer):
                        found[factor] = longer
                    if len(longer) < _ADDERS:
                        grow((*made, factor), longer)

    grow((1,), ())
    return found


def _bits(chain: tuple[Adder, ...], most: int) -> int:
    """Bits that the adders of a chain add, for numbers up to ``most``."""
    made, count = [most], 0
    for adder in chain:
        left = made[adder.left] << adder.shift
        right = made[adder.right]
        made.append(left - right if adder.minus else left + right)
        # Below the shift the right one passes, but is taken off.
        count += made[-1].bit_length() - (0 if adder.minus else adder.shift)
    return count
