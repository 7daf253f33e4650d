# SPDX-License-Identifier: Apache-2.0
"""Integer square roots, a bit of the root at a time.

The digit recurrence for binary roots: with a remainder and the root so far, the next bit is one if
the remainder, two bits of the operand appended, holds ``4 * root + 1`` (Ercegovac and Lang,
"Digital Arithmetic", 2004, section 6.1, restoring). The result is exact: ``floor(sqrt(v))``.
"""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["IsqrtIterative", "IsqrtPipeline", "check_width"]

_DIGITS = 2
"""Bits of the root that a stage of the pipeline finds."""


def check_width(width: object) -> int:
    """The width of an operand.

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If it is not 2 to 64.
    """
    if not isinstance(width, int):
        raise TypeError(f"Width must be an integer, not {width!r}")
    if not 2 <= width <= 64:
        raise ValueError(f"Width must be 2 to 64, not {width}")
    return width


def _step(m: Module, remainder: Any, root: Any, pair: Any, bits: int, name: str) -> tuple[Any, Any]:
    """Remainder and root of ``bits`` bits after one more."""
    grown = Cat(pair, remainder)
    difference = Signal(bits + 3, name=f"difference{name}")
    m.d.comb += difference.eq(grown - Cat(1, 0, root))
    fits = ~difference[-1]
    return Mux(fits, difference[: bits + 1], grown[: bits + 1]), Cat(fits, root)


class IsqrtPipeline(wiring.Component):
    """A root a cycle.

    Parameters
    ----------
    width : int
        Bits of the operand.

    Members
    -------
    i : In(width)
    o : Out(ceil(width / 2))
        The root of the operand :attr:`latency` cycles before.

    Raises
    ------
    TypeError
        If ``width`` is no integer.
    ValueError
        If ``width`` is not 2 to 64.
    """

    def __init__(self, *, width: int) -> None:
        self._bits = (check_width(width) + 1) // 2
        super().__init__({"i": In(width), "o": Out(self._bits)})

    @property
    def latency(self) -> int:
        """Cycles from operand to root: one for every two bits of it."""
        return -(-self._bits // _DIGITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rest: Any = Cat(self.i, 0)[: 2 * self._bits]
        remainder: Any = Cat()
        root: Any = Cat()
        for k in range(self._bits):
            after, longer = _step(m, remainder, root, rest[-2:], k + 1, str(k))
            remainder = Signal(k + 2, name=f"remainder{k}", reset_less=True)
            root = Signal(k + 1, name=f"root{k}", reset_less=True)
            shorter = Signal(len(rest) - 2, name=f"rest{k}", reset_less=True)
            ends = k % _DIGITS == _DIGITS - 1 or k == self._bits - 1
            stage = m.d[("comb", "sync")[ends]]
            stage += [remainder.eq(after), root.eq(longer), shorter.eq(rest[:-2])]
            rest = shorter
        m.d.comb += self.o.eq(root)
        return m


class IsqrtIterative(wiring.Component):
    """One root after another.

    Parameters
    ----------
    width : int
        Bits of the operand.

    Members
    -------
    start : In(1)
        Take the operand; what was under way is forgotten.
    i : In(width)
    busy : Out(1)
        For :attr:`latency` cycles after ``start``.
    o : Out(ceil(width / 2))
        The root, once not busy.

    Raises
    ------
    TypeError
        If ``width`` is no integer.
    ValueError
        If ``width`` is not 2 to 64.
    """

    def __init__(self, *, width: int) -> None:
        self._bits = (check_width(width) + 1) // 2
        super().__init__({"start": In(1), "i": In(width), "busy": Out(1), "o": Out(self._bits)})

    @property
    def latency(self) -> int:
        """Cycles from ``start`` to the root."""
        return self._bits

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self._bits
        rest = Signal(2 * bits, reset_less=True)
        remainder = Signal(bits + 1, reset_less=True)
        left = Signal(range(bits + 1))
        after, longer = _step(m, remainder, self.o, rest[-2:], bits, "")
        m.d.comb += self.busy.eq(left != 0)
        with m.If(self.start):
            m.d.sync += [rest.eq(self.i), remainder.eq(0), self.o.eq(0), left.eq(bits)]
        with m.Elif(self.busy):
            m.d.sync += [
                rest.eq(rest << 2),
                remainder.eq(after),
                self.o.eq(longer),
                left.eq(left - 1),
            ]
        return m
