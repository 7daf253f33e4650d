# SPDX-License-Identifier: Apache-2.0
"""One lane of the requantizer: an int32 sum to a uint8 code, as float32 arithmetic would."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.formats import ACC_BITS, ACTIVATION_BITS, MANTISSA_BITS

__all__ = ["Requantizer"]

_SHIFT_BITS = 6
# A significand of 24 bits shifted right by less than this is 512 or more: beyond any code.
_SMALLEST_SHIFT = MANTISSA_BITS - 9
_LARGEST = 511
# From here on it is below one half and rounds to zero.
_ZERO_SHIFT = MANTISSA_BITS + 1


class Requantizer(wiring.Component):
    """Multiplies by ``mantissa * 2**-shift`` in soft float, adds the zero point and clips.

    DESIGN section 3; equal to ``behavioral.golden.requantize``. Each of the three roundings (of
    the accumulator and of the product to 24 significant bits, and of the result to an integer) is
    to nearest, ties to even. Normalising the accumulator first leaves two places for the leading
    bit of the product, so that no second leading-zero count is needed.

    A value a cycle, :attr:`latency` cycles from ``acc`` to ``code``. A stage's registers change
    only when its bit of ``enable`` is set, which keeps idle lanes free in simulation.

    Members
    -------
    enable : In(latency)
        Bit k: stage k takes a new value. Bit 0 belongs to the value at ``acc``.
    acc : In(signed(32))
        Sum after bias.
    mantissa, shift : In(24), In(6)
        The factor of ``acc``; bit 23 of the mantissa is set.
    zero_point, low, high : In(8)
        Sampled by the last stage: they belong to the value accepted ``latency - 1`` cycles ago.
    code : Out(8)
        Held until the next value.
    """

    LATENCY = 6
    """Magnitude, normalise and round, multiply, round, shift, clip."""

    def __init__(self) -> None:
        super().__init__(
            {
                "enable": In(self.LATENCY),
                "acc": In(signed(ACC_BITS)),
                "mantissa": In(MANTISSA_BITS),
                "shift": In(_SHIFT_BITS),
                "zero_point": In(ACTIVATION_BITS),
                "low": In(ACTIVATION_BITS),
                "high": In(ACTIVATION_BITS),
                "code": Out(ACTIVATION_BITS),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from ``acc`` to ``code``."""
        return self.LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        negative = Signal(5)  # bit k: sign of the value that stage k holds
        # What a stage computes, it computes only where it holds a value: idle stages then cost a
        # simulation nothing.
        on = [Signal(name=f"on{k}") for k in range(self.LATENCY)]
        m.d.comb += [on[k].eq(self.enable[k]) for k in range(self.LATENCY)]

        # Stage 0: magnitude. -2**31 has one in 32 unsigned bits.
        magnitude = Signal(ACC_BITS)
        mantissa0 = Signal(MANTISSA_BITS)
        shift0 = Signal(_SHIFT_BITS)
        with m.If(on[0]):
            m.d.sync += [
                magnitude.eq(Mux(self.acc[-1], -self.acc, self.acc)),
                negative[0].eq(self.acc[-1]),
                mantissa0.eq(self.mantissa),
                shift0.eq(self.shift),
            ]

        # Stage 1: leading one to bit 31, then 24 bits of it. From here the value is
        # significand * 2**-right, times 2**31 until the product's rounding takes that off.
        # By bytes first: the zeros that each byte leads with are counted meanwhile.
        lead = Signal(2)  # bytes of zeros
        top_byte = Signal(ACC_BITS)
        inner = Signal(3)  # zeros that the first byte with a one leads with
        normal = Signal(ACC_BITS)
        lead_bytes = [magnitude[ACC_BITS - 8 * (k + 1) :][:8] for k in range(ACC_BITS // 8)]
        with m.If(on[1]):
            with m.Switch(Cat(byte.any() for byte in reversed(lead_bytes))):
                for k, byte in enumerate(lead_bytes):
                    # All zeros: shifting what is zero does no harm, nor does what is counted.
                    pattern = "0" * k + "1" + "-" * (3 - k) if k < 3 else "000-"
                    with m.Case(pattern):
                        m.d.comb += [
                            lead.eq(k),
                            top_byte.eq(magnitude << 8 * k),
                            inner.eq(_leading_zeros(byte)),
                        ]
            m.d.comb += normal.eq((top_byte << inner)[:ACC_BITS])
        drop = ACC_BITS - MANTISSA_BITS
        rounded = Signal(MANTISSA_BITS + 1)
        with m.If(on[1]):
            m.d.comb += rounded.eq(
                normal[drop:] + (normal[drop - 1] & (normal[: drop - 1].any() | normal[drop]))
            )
        significand1 = Signal(MANTISSA_BITS)
        mantissa1 = Signal(MANTISSA_BITS)
        right1 = Signal(signed(8))
        carry1 = Signal()  # rounding made it twice as large
        with m.If(on[1]):
            m.d.sync += [
                # A carry out leaves zeros below, so the new leading one is all there is.
                significand1.eq(Cat(rounded[: MANTISSA_BITS - 1], rounded[-2] | rounded[-1])),
                mantissa1.eq(mantissa0),
                right1.eq(shift0 + Cat(inner, lead)),
                carry1.eq(rounded[-1]),
                negative[1].eq(negative[0]),
            ]

        # Stage 2: the product, zero or with its leading one in bit 46 or 47.
        product = Signal(2 * MANTISSA_BITS)
        right2 = Signal(signed(8))
        with m.If(on[2]):
            m.d.sync += [
                product.eq(significand1 * mantissa1),
                right2.eq(right1 - carry1),
                negative[2].eq(negative[1]),
            ]

        # Stage 3: 24 significant bits of it.
        top = product[-1]
        aligned = Signal(2 * MANTISSA_BITS)
        again = Signal(MANTISSA_BITS + 1)
        with m.If(on[3]):
            m.d.comb += [
                aligned.eq(Mux(top, product, product << 1)),
                again.eq(
                    aligned[MANTISSA_BITS:]
                    + (
                        aligned[MANTISSA_BITS - 1]
                        & (aligned[: MANTISSA_BITS - 1].any() | aligned[MANTISSA_BITS])
                    )
                ),
            ]
        significand3 = Signal(MANTISSA_BITS)
        right3 = Signal(signed(8))
        with m.If(on[3]):
            m.d.sync += [
                significand3.eq(Cat(again[: MANTISSA_BITS - 1], again[-2] | again[-1])),
                # acc = normal * 2**-zeros = significand * 2**(8 - zeros); the product lost 23 or
                # 24 bits more.
                right3.eq(right2 - (drop + MANTISSA_BITS - 1) - top - again[-1]),
                negative[3].eq(negative[2]),
            ]

        # Stage 4: shift right, round. Shifting left by the complement keeps the lost bits at hand.
        left = Signal(range(_ZERO_SHIFT - _SMALLEST_SHIFT + 1))
        spread = Signal(_ZERO_SHIFT + 10)
        scaled = Signal(signed(11))
        integer = Signal(10)
        up = spread[_ZERO_SHIFT - 1] & (spread[: _ZERO_SHIFT - 1].any() | spread[_ZERO_SHIFT])
        with m.If(on[4]):
            m.d.comb += [
                left.eq(_ZERO_SHIFT - right3),
                spread.eq(significand3 << left),
                integer.eq(spread[_ZERO_SHIFT:] + up),
            ]
        with m.If(on[4]):
            m.d.sync += negative[4].eq(negative[3])
            with m.If(~significand3[-1] | (right3 >= _ZERO_SHIFT)):
                m.d.sync += scaled.eq(0)
            with m.Elif(right3 < _SMALLEST_SHIFT):
                m.d.sync += scaled.eq(Mux(negative[3], -_LARGEST, _LARGEST))
            with m.Else():
                m.d.sync += scaled.eq(Mux(negative[3], -integer, integer))

        # Stage 5: zero point and clip.
        moved = Signal(signed(12))
        with m.If(on[5]):
            m.d.comb += moved.eq(scaled + self.zero_point)
            with m.If(moved < self.low):
                m.d.sync += self.code.eq(self.low)
            with m.Elif(moved > self.high):
                m.d.sync += self.code.eq(self.high)
            with m.Else():
                m.d.sync += self.code.eq(moved[:ACTIVATION_BITS])
        return m


def _leading_zeros(byte: Value) -> Value:
    """How many zeros a byte that is not zero leads with; 7 if it is zero."""
    zeros: Value = Const(7, 3)
    for bit in range(1, 8):
        zeros = Mux(byte[bit], 7 - bit, zeros)
    return zeros
