# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of the core that learns: one element a cycle, 64 bits inside; and division."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = [
    "WIDE_BITS",
    "WORD_BITS",
    "Divider",
    "Function",
    "Gathering",
    "Third",
    "VectorAlu",
    "element_layout",
    "result_layout",
    "settings_layout",
]

WORD_BITS = 32
WIDE_BITS = 64
"""All that is between a product and its last saturation, modulo 2**64."""


class Function(enum.Enum, shape=4):
    """Of an element's x and y."""

    ADD = 0
    SUB = 1
    MUL = 2
    MAX = 3
    MIN = 4
    GT = 5
    SECOND = 6
    """y."""
    SIZE = 7
    """``|x| * y``."""


class Gathering(enum.Enum, shape=2):
    """What becomes of several elements: from ``first`` to ``last`` they make one."""

    NONE = 0
    SUM = 1
    MAX = 2


class Third(enum.Enum, shape=2):
    """What is added to c."""

    NONE = 0
    """Nothing: c is not used."""
    PLUS = 1
    MINUS = 2


def settings_layout() -> data.StructLayout:
    """What is done with every element: a function, sums, a shift to the right that rounds halves
    up (unless ``truncate``) or, if it is negative, to the left, and limits."""
    return data.StructLayout(
        {
            "function": Function,
            "gathering": Gathering,
            "shift": signed(8),
            "truncate": 1,
            "third": Third,
            "least": signed(WIDE_BITS),
            "most": signed(WIDE_BITS),
        }
    )


def element_layout() -> data.StructLayout:
    """Operands; ``final`` is carried along."""
    word = signed(WORD_BITS)
    return data.StructLayout({"x": word, "y": word, "c": word, "first": 1, "last": 1, "final": 1})


def result_layout() -> data.StructLayout:
    """The low 32 bits of a result, and the x that came (last)."""
    return data.StructLayout({"value": signed(WORD_BITS), "x": signed(WORD_BITS), "final": 1})


class VectorAlu(wiring.Component):
    """``clip(c +- (gather(f(x, y)) >> shift))`` in four stages.

    One element a cycle, :attr:`latency` cycles; all stages wait while the last one's result does.

    Members
    -------
    settings : In(settings_layout())
        Held while elements are under way.
    i : In(stream of :func:`element_layout`)
    o : Out(stream of :func:`result_layout`)
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "settings": In(settings_layout()),
                "i": In(stream.Signature(element_layout())),
                "o": Out(stream.Signature(result_layout())),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from an element to its result."""
        return 4

    def elaborate(self, platform: object) -> Module:
        m = Module()
        go = Signal()
        m.d.comb += [go.eq(~self.o.valid | self.o.ready), self.i.ready.eq(go)]
        shape = signed(WIDE_BITS)
        values = [Signal(shape, name=f"value{k}", reset_less=True) for k in range(3)]
        thirds = [Signal(signed(WORD_BITS), name=f"c{k}", reset_less=True) for k in range(3)]
        givens = [Signal(signed(WORD_BITS), name=f"x{k}", reset_less=True) for k in range(3)]
        finals = [Signal(name=f"final{k}", reset_less=True) for k in range(3)]
        valid = [Signal(name=f"valid{k}") for k in range(3)]
        first = Signal(reset_less=True)
        last = Signal(reset_less=True)
        gathering = self.settings.gathering
        with m.If(go):
            m.d.sync += [
                valid[0].eq(self.i.valid),
                valid[1].eq(valid[0] & (last | (gathering == Gathering.NONE))),
                valid[2].eq(valid[1]),
                self.o.valid.eq(valid[2]),
            ]
            with m.If(self.i.valid):
                element = self.i.payload
                m.d.sync += [
                    values[0].eq(self._apply(m, element.x, element.y)),
                    thirds[0].eq(element.c),
                    givens[0].eq(element.x),
                    finals[0].eq(element.final),
                    first.eq(element.first),
                    last.eq(element.last),
                ]
            with m.If(valid[0]):
                m.d.sync += [
                    thirds[1].eq(thirds[0]),
                    givens[1].eq(givens[0]),
                    finals[1].eq(finals[0]),
                    values[1].eq(values[0]),
                ]
                with m.If(~first & (gathering == Gathering.SUM)):
                    m.d.sync += values[1].eq(values[1] + values[0])
                with m.If(~first & (gathering == Gathering.MAX) & (values[1] > values[0])):
                    m.d.sync += values[1].eq(values[1])
            with m.If(valid[1]):
                m.d.sync += [
                    values[2].eq(self._shift(m, values[1])),
                    thirds[2].eq(thirds[1]),
                    givens[2].eq(givens[1]),
                    finals[2].eq(finals[1]),
                ]
            with m.If(valid[2]):
                m.d.sync += [
                    self.o.payload.value.eq(self._limit(m, thirds[2], values[2])),
                    self.o.payload.x.eq(givens[2]),
                    self.o.payload.final.eq(finals[2]),
                ]
        return m

    def _apply(self, m: Module, x: Value, y: Value) -> Signal:
        value = Signal(signed(WIDE_BITS))
        left = Signal(signed(WORD_BITS + 1))
        with m.Switch(self.settings.function):
            with m.Case(Function.ADD):
                m.d.comb += value.eq(x + y)
            with m.Case(Function.SUB):
                m.d.comb += value.eq(x - y)
            with m.Case(Function.MUL, Function.SIZE):
                m.d.comb += left.eq(x)
                with m.If((self.settings.function == Function.SIZE) & (x < 0)):
                    m.d.comb += left.eq(-x)
                m.d.comb += value.eq(left * y)
            with m.Case(Function.MAX):
                m.d.comb += value.eq(Mux(x > y, x, y))
            with m.Case(Function.MIN):
                m.d.comb += value.eq(Mux(x < y, x, y))
            with m.Case(Function.GT):
                m.d.comb += value.eq(x > y)
            with m.Default():
                m.d.comb += value.eq(y)
        return value

    def _shift(self, m: Module, value: Signal) -> Signal:
        shift = self.settings.shift
        right = Signal(6)
        half = Signal(WIDE_BITS)
        raised = Signal(signed(WIDE_BITS))
        shifted = Signal(signed(WIDE_BITS))
        m.d.comb += right.eq(shift)
        with m.If(shift < 0):
            m.d.comb += right.eq(-shift)
            m.d.comb += shifted.eq(value << right)
        with m.Else():
            with m.If(~self.settings.truncate):
                m.d.comb += half.eq((Const(1, 1) << right)[1:])
            m.d.comb += [raised.eq(value + half), shifted.eq(raised >> right)]
        return shifted

    def _limit(self, m: Module, third: Signal, value: Signal) -> Signal:
        total = Signal(signed(WIDE_BITS))
        limited = Signal(signed(WORD_BITS))
        with m.Switch(self.settings.third):
            with m.Case(Third.PLUS):
                m.d.comb += total.eq(third + value)
            with m.Case(Third.MINUS):
                m.d.comb += total.eq(third - value)
            with m.Default():
                m.d.comb += total.eq(value)
        m.d.comb += limited.eq(total)
        with m.If(total < self.settings.least):
            m.d.comb += limited.eq(self.settings.least)
        with m.Elif(total > self.settings.most):
            m.d.comb += limited.eq(self.settings.most)
        return limited


class Divider(wiring.Component):
    """Whole numbers without sign, a bit of the quotient a cycle: :attr:`latency` cycles each.

    Members
    -------
    i : In(stream of {dividend, divisor})
        64 and 32 bits. Dividing by 0 gives a quotient of ones.
    o : Out(stream of {quotient, remainder})
        64 and 32 bits.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(
                    stream.Signature(
                        data.StructLayout({"dividend": WIDE_BITS, "divisor": WORD_BITS})
                    )
                ),
                "o": Out(
                    stream.Signature(
                        data.StructLayout({"quotient": WIDE_BITS, "remainder": WORD_BITS})
                    )
                ),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a division to its result."""
        return WIDE_BITS + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(range(WIDE_BITS + 1))
        divisor = Signal(WORD_BITS, reset_less=True)
        quotient = Signal(WIDE_BITS, reset_less=True)
        remainder = Signal(WORD_BITS, reset_less=True)
        grown = Signal(WORD_BITS + 1)
        fits = Signal()
        busy = Signal()
        m.d.comb += [
            grown.eq(Cat(quotient[-1], remainder)),
            fits.eq(grown >= divisor),
            self.i.ready.eq(~busy),
            self.o.valid.eq(busy & (left == 0)),
            self.o.payload.quotient.eq(quotient),
            self.o.payload.remainder.eq(remainder),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                quotient.eq(self.i.payload.dividend),
                divisor.eq(self.i.payload.divisor),
                remainder.eq(0),
                left.eq(WIDE_BITS),
                busy.eq(1),
            ]
        with m.If(busy & (left != 0)):
            m.d.sync += [
                quotient.eq(Cat(fits, quotient)),
                remainder.eq(Mux(fits, grown - divisor, grown)),
                left.eq(left - 1),
            ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += busy.eq(0)
        return m
