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
        # Registers of values need no reset: what ``enable`` marks has gone through all of them.
        negative = Signal(5, reset_less=True)  # bit k: sign of the value that stage k holds
        # What a stage computes, it computes only where it holds a value: idle stages then cost a
        # simulation nothing.
        on = [Signal(name=f"on{k}") for k in range(self.LATENCY)]
        m.d.comb += [on[k].eq(self.enable[k]) for k in range(self.LATENCY)]

        # Stage 0: magnitude, -2**31 has one in 32 unsigned bits; meanwhile the zeros that it leads
        # with are counted in its one's complement, which has one more where it is a power of two
        # of a negative number. By bytes first, that no path is long.
        magnitude = Signal(ACC_BITS, reset_less=True)
        zeros = Signal(5, reset_less=True)
        mantissa0 = Signal(MANTISSA_BITS, reset_less=True)
        shift0 = Signal(_SHIFT_BITS, reset_less=True)
        flipped = Signal(ACC_BITS)
        with m.If(on[0]):
            m.d.comb += flipped.eq(self.acc ^ self.acc[-1].replicate(ACC_BITS))
            m.d.sync += [
                magnitude.eq(Mux(self.acc[-1], -self.acc, self.acc)),
                negative[0].eq(self.acc[-1]),
                mantissa0.eq(self.mantissa),
                shift0.eq(self.shift),
            ]
            lead_bytes = [flipped[ACC_BITS - 8 * (k + 1) :][:8] for k in range(ACC_BITS // 8)]
            with m.Switch(Cat(byte.any() for byte in reversed(lead_bytes))):
                for k, byte in enumerate(lead_bytes):
                    # All zeros: shifting what is zero does no harm, nor does what is counted.
                    with m.Case("0" * k + "1" + "-" * (3 - k) if k < 3 else "000-"):
                        m.d.sync += zeros.eq(Cat(_leading_zeros(byte), Const(k, 2)))

        # Stage 1: leading one to bit 31 (or 32), then the 24 bits from there on. From here the
        # value is significand * 2**-right, times 2**31 until the product's rounding takes that off.
        # A carry out stays in the significand: 2**24 is as good as 2**23 and a shift by one less.
        drop = ACC_BITS - MANTISSA_BITS
        normal = Signal(ACC_BITS + 1)
        significand1 = Signal(MANTISSA_BITS + 1, reset_less=True)
        mantissa1 = Signal(MANTISSA_BITS, reset_less=True)
        right1 = Signal(signed(8), reset_less=True)
        with m.If(on[1]):
            m.d.comb += normal.eq(magnitude << zeros)
            half = normal[drop - 1] & (normal[: drop - 1].any() | normal[drop])
            m.d.sync += [
                significand1.eq(normal[drop:] + half),
                mantissa1.eq(mantissa0),
                right1.eq(shift0 + zeros),
                negative[1].eq(negative[0]),
            ]

        # Stage 2: the product, zero or with its leading one in bit 46 or 47.
        product = Signal(2 * MANTISSA_BITS, reset_less=True)
        right2 = Signal(signed(8), reset_less=True)
        with m.If(on[2]):
            m.d.sync += [
                product.eq(significand1 * mantissa1),
                right2.eq(right1),
                negative[2].eq(negative[1]),
            ]

        # Stage 3: 24 significant bits of it, again with the carry; and how far they are to be
        # shifted: acc = normal * 2**-zeros = significand * 2**(8 - zeros), and the product loses 23
        # or 24 bits more.
        top = product[-1]
        aligned = Signal(2 * MANTISSA_BITS)
        right = Signal(signed(9))
        significand3 = Signal(MANTISSA_BITS + 1, reset_less=True)
        left = Signal(range(_ZERO_SHIFT - _SMALLEST_SHIFT + 1), reset_less=True)
        small = Signal(reset_less=True)
        large = Signal(reset_less=True)
        with m.If(on[3]):
            m.d.comb += [
                aligned.eq(Mux(top, product, product << 1)),
                right.eq(right2 - Mux(top, drop + MANTISSA_BITS, drop + MANTISSA_BITS - 1)),
            ]
            low = aligned[: MANTISSA_BITS - 1].any() | aligned[MANTISSA_BITS]
            m.d.sync += [
                significand3.eq(aligned[MANTISSA_BITS:] + (aligned[MANTISSA_BITS - 1] & low)),
                left.eq(_ZERO_SHIFT - right),
                small.eq(~(product[-1] | product[-2]) | (right >= _ZERO_SHIFT)),
                large.eq(right < _SMALLEST_SHIFT),
                negative[3].eq(negative[2]),
            ]

        # Stage 4: shift right, round. Shifting left by the complement keeps the lost bits at hand.
        spread = Signal(_ZERO_SHIFT + 10)
        scaled = Signal(signed(11), reset_less=True)
        up = Signal()
        with m.If(on[4]):
            lost = spread[: _ZERO_SHIFT - 1].any()
            m.d.comb += [
                spread.eq(significand3 << left),
                up.eq(spread[_ZERO_SHIFT - 1] & (lost | spread[_ZERO_SHIFT])),
            ]
            m.d.sync += negative[4].eq(negative[3])
            with m.If(small):
                m.d.sync += scaled.eq(0)
            with m.Elif(large):
                m.d.sync += scaled.eq(Mux(negative[3], -_LARGEST, _LARGEST))
            with m.Else():
                # -(x + up) is ~x + 1 - up: one adder for both signs.
                sign = negative[3].replicate(len(scaled))
                m.d.sync += scaled.eq((spread[_ZERO_SHIFT:] ^ sign) + (up ^ negative[3]))

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
