# SPDX-License-Identifier: Apache-2.0
"""Columns with noise, one after another: few gates, many cycles."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...arch.chip import Chip
from ...arch.formats import FRACTION_BITS
from .column import ColumnSignature
from .gaussian import MAGNITUDE_BITS, WORD_BITS, table_memory
from .image import EmulatorConfig
from .isqrt import IsqrtIterative
from .threefry import ThreefryIterative

__all__ = ["SerialColumns", "SerialMultiplier"]


class SerialMultiplier(wiring.Component):
    """A product by shifts and additions, a bit of ``b`` a cycle.

    Members
    -------
    start : In(1)
    a, b : In(width), In(width)
        Unsigned, taken with ``start``.
    busy : Out(1)
        As many cycles after ``start`` as ``b`` is wide.
    o : Out(width)
        The product, once not busy.
    """

    def __init__(self, *, a: int, b: int) -> None:
        super().__init__({"start": In(1), "a": In(a), "b": In(b), "busy": Out(1), "o": Out(a + b)})

    @property
    def latency(self) -> int:
        """Cycles from ``start`` to the product."""
        return len(self.b)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        factor = Signal.like(self.a, reset_less=True)
        low = Signal.like(self.b, reset_less=True)
        high = Signal.like(self.a, reset_less=True)
        left = Signal(range(len(self.b) + 1))
        total = Signal(len(self.a) + 1)
        m.d.comb += [
            self.busy.eq(left != 0),
            self.o.eq(Cat(low, high)),
            total.eq(high + Mux(low[0], factor, 0)),
        ]
        with m.If(self.start):
            m.d.sync += [factor.eq(self.a), low.eq(self.b), high.eq(0), left.eq(len(self.b))]
        with m.Elif(self.busy):
            m.d.sync += [Cat(low, high).eq(Cat(low[1:], total)), left.eq(left - 1)]
        return m


class SerialColumns(wiring.Component):
    """One adder for all rounds of Threefry, one for all products, one for the root.

    The arithmetic is that of :class:`~.column.NoisyColumns`. A column takes some three times the
    bits of the wider of ``v1`` and the random number.

    Members
    -------
    See :class:`~.column.ColumnSignature`.
    """

    def __init__(self, *, chip: Chip, config: EmulatorConfig) -> None:
        self._config = config
        super().__init__(ColumnSignature(chip, config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        widths = self._config.widths
        sums = self.i.payload
        m.submodules.threefry = threefry = ThreefryIterative()
        m.submodules.isqrt = isqrt = IsqrtIterative(width=widths.variance)
        m.submodules.multiplier = multiplier = SerialMultiplier(
            a=max(len(sums.current) - 1, len(isqrt.o), 12), b=max(widths.v1, MAGNITUDE_BITS, 12)
        )
        m.submodules.table = table = table_memory()
        read = table.read_port()

        column = Signal(9)
        m.d.comb += [
            threefry.key.eq(self.key),
            threefry.i.low.eq(self.number[:32]),
            threefry.i.high.eq(Cat(column[1:], self.number[32:])),
        ]
        variance = Signal(widths.variance, reset_less=True)
        places = Signal(5, reset_less=True)  # by which the variance is still to be shifted
        word = Signal(WORD_BITS, reset_less=True)
        octave = Signal(5, reset_less=True)
        negative = Signal(reset_less=True)
        magnitude = Signal(MAGNITUDE_BITS, reset_less=True)
        noise = Signal(signed(len(self.o.payload)), reset_less=True)
        m.d.comb += [isqrt.i.eq(variance), read.addr.eq(Cat(word[26:30], octave))]
        cells: Any = sums.cells if len(sums.cells) else 0

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    multiplier.a.eq(Mux(sums.current < 0, 0, sums.current)),
                    multiplier.b.eq(self.v1),
                ]
                with m.If(self.i.valid):
                    # An odd column takes the other word of its neighbour's block.
                    m.d.comb += [multiplier.start.eq(1), threefry.start.eq(~column[0])]
                    m.d.sync += [variance.eq(Mux(cells < 0, 0, cells)), places.eq(self.q_shift)]
                    m.next = "SHOT"
            with m.State("SHOT"):
                with m.If(places != 0):
                    m.d.sync += [variance.eq(variance << 1), places.eq(places - 1)]
                with m.Elif(~multiplier.busy & ~threefry.busy):
                    m.d.sync += [
                        variance.eq(variance + multiplier.o[16:]),
                        Cat(word, negative).eq(Mux(column[0], threefry.o.high, threefry.o.low)),
                        octave.eq(WORD_BITS),
                    ]
                    m.next = "VARIANCE"
            with m.State("VARIANCE"):
                m.d.sync += variance.eq(variance + self.v0)
                m.next = "ROOT"
            with m.State("ROOT"):
                m.d.comb += isqrt.start.eq(1)
                m.next = "OCTAVE"
            with m.State("OCTAVE"):
                with m.If(~word[-1] & (octave != 0)):
                    m.d.sync += [word.eq(word << 1), octave.eq(octave - 1)]
                with m.Else():
                    m.next = "TABLE"
            with m.State("TABLE"):
                m.next = "FALL"
            with m.State("FALL"):
                m.d.comb += [
                    multiplier.start.eq(1),
                    multiplier.a.eq(read.data[:12]),
                    multiplier.b.eq(word[14:26]),
                ]
                m.next = "MAGNITUDE"
            with m.State("MAGNITUDE"), m.If(~multiplier.busy & ~isqrt.busy):
                base = read.data[12:] << 12
                m.d.sync += magnitude.eq((base - multiplier.o[:24] + (1 << 15)) >> 16)
                m.next = "SCALE"
            with m.State("SCALE"):
                m.d.comb += [
                    multiplier.start.eq(1),
                    multiplier.a.eq(isqrt.o),
                    multiplier.b.eq(magnitude),
                ]
                m.next = "NOISE"
            with m.State("NOISE"), m.If(~multiplier.busy):
                half = 1 << (FRACTION_BITS - 1)
                product = Mux(negative, -multiplier.o, multiplier.o)
                m.d.sync += noise.eq((product + half) >> FRACTION_BITS)
                m.next = "SUM"
            with m.State("SUM"):
                m.d.sync += noise.eq(noise + sums.current)
                m.next = "REFERENCE"
            with m.State("REFERENCE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    self.o.payload.eq(noise - self.reference),
                    column.eq(column + 1),
                ]
                m.next = "IDLE"
        m.d.sync += self.o.valid.eq(self.i.valid & self.i.ready)
        with m.If(self.start):
            m.d.sync += column.eq(0)
        return m
