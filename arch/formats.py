# SPDX-License-Identifier: Apache-2.0
"""Number formats shared by the behavioral models, the RTL and the compiler.

All activations inside the chip are unsigned 8-bit codes. An int8 tensor with zero point ``z`` is
carried as the uint8 tensor ``q + 128`` with zero point ``z + 128``: the same real values, so the
shift is exact, and it is undone when a tensor is shown or compared.
"""

import math
from dataclasses import dataclass

__all__ = [
    "ACC_BITS",
    "ACTIVATION_BITS",
    "FRACTION_BITS",
    "MANTISSA_BITS",
    "MAX_SHIFT",
    "WEIGHT_BITS",
    "WEIGHT_OFFSET",
    "RequantScale",
    "adc_bits_needed",
]

ACTIVATION_BITS = 8
WEIGHT_BITS = 8

ACC_BITS = 32
"""Width of an accumulator. The compiler proves that no sum leaves it (DESIGN section 3)."""

WEIGHT_OFFSET = 1 << (WEIGHT_BITS - 1)
"""Offset encoding (ISAAC, section V): a cell group stores ``w + 128``, never negative."""

FRACTION_BITS = 12
"""F of DESIGN section 4: conductance images count ``2**-F`` of the step between two cell levels."""

MANTISSA_BITS = 24
"""Significand width of float32; the requantizer's multiplier."""

MAX_SHIFT = 63
"""Largest right shift of the requantizer."""


@dataclass(frozen=True)
class RequantScale:
    """A float32 factor as the requantizer holds it: ``mantissa * 2**-shift``, without loss.

    Parameters
    ----------
    mantissa : int
        24-bit significand, ``2**23 <= mantissa < 2**24``.
    shift : int
        Right shift, 0 to :data:`MAX_SHIFT`.
    """

    mantissa: int
    shift: int

    def __post_init__(self) -> None:
        if not (1 << (MANTISSA_BITS - 1)) <= self.mantissa < (1 << MANTISSA_BITS):
            raise ValueError(
                f"Mantissa must have its bit 23 set and none above, not {self.mantissa:#x}"
            )
        if not 0 <= self.shift <= MAX_SHIFT:
            raise ValueError(f"Shift must be 0 to {MAX_SHIFT}, not {self.shift}")

    @classmethod
    def from_float(cls, scale: float) -> "RequantScale":
        """Split a positive float32 value (given exactly, as a Python float).

        Raises
        ------
        ValueError
            If ``scale`` is not finite and positive, is no float32 value, or lies outside
            ``2**-40 .. 2**23``.
        """
        if not math.isfinite(scale) or scale <= 0:
            raise ValueError(f"A requantization factor must be finite and positive, not {scale!r}")
        fraction, exponent = math.frexp(scale)
        mantissa = fraction * (1 << MANTISSA_BITS)
        if mantissa != int(mantissa):
            raise ValueError(f"A requantization factor must be a float32 value, not {scale!r}")
        shift = MANTISSA_BITS - exponent
        if not 0 <= shift <= MAX_SHIFT:
            raise ValueError(
                f"A requantization factor must lie between 2**-40 and 2**23, not {scale!r}"
            )
        return cls(int(mantissa), shift)

    def __float__(self) -> float:
        return math.ldexp(self.mantissa, -self.shift)


def adc_bits_needed(rows_per_read: int, cell_bits: int) -> int:
    """Bits of an ADC that never clips an ideal sum of ``rows_per_read`` cells at top level."""
    return (rows_per_read * ((1 << cell_bits) - 1)).bit_length()
