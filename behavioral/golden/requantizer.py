# SPDX-License-Identifier: Apache-2.0
"""From 32-bit sums to 8-bit codes, as float32 does it and as hardware builds it from integers."""

import numpy as np
from numpy.typing import NDArray

from ...arch.formats import MANTISSA_BITS, MAX_SHIFT

__all__ = ["requantize", "requantize_integers"]

Sums = NDArray[np.int32] | NDArray[np.int64]


def requantize(
    acc: Sums,
    mantissa: NDArray[np.uint32] | int,
    shift: NDArray[np.uint8] | int,
    zero_point: int,
    low: int,
    high: int,
) -> NDArray[np.uint8]:
    """Scale accumulators to 8-bit codes: one float32 product, rounded to nearest even.

    This is :func:`requantize_integers`, the definition that the hardware is built to, done by the
    processor's float32 unit: IEEE 754 fixes every bit of a conversion and of a product, and none
    here overflows or is subnormal (factors lie between 2**-40 and 2**24, sums below 2**31).

    Parameters
    ----------
    acc : int32 or int64 [..., outputs]
        Accumulators, each within ``-2**31 .. 2**31 - 1``.
    mantissa, shift : uint32 and uint8 [outputs], or int
        The factor ``mantissa * 2**-shift`` (:class:`~ohmtwin.arch.formats.RequantScale`); arrays of
        any shape that broadcasts with ``acc``.
    zero_point, low, high : int
        Zero point and clipping bounds, in internal codes 0 to 255.

    Returns
    -------
    uint8 [..., outputs]

    Raises
    ------
    ValueError
        If a value lies outside the ranges above.
    """
    m, s = _checked(acc, mantissa, shift, zero_point, low, high)
    factor = np.ldexp(m.astype(np.float32), -s)
    scaled = np.asarray(acc).astype(np.float32) * factor
    np.rint(scaled, out=scaled)
    # Clipped before the zero point is added: float32 holds codes, not every large product.
    np.clip(scaled, low - zero_point, high - zero_point, out=scaled)
    scaled += np.float32(zero_point)
    return scaled.astype(np.uint8)


def requantize_integers(
    acc: Sums,
    mantissa: NDArray[np.uint32] | int,
    shift: NDArray[np.uint8] | int,
    zero_point: int,
    low: int,
    high: int,
) -> NDArray[np.uint8]:
    """The requantizer in integers only: what the RTL does, step by step (DESIGN section 3).

    The accumulator is rounded to 24 significant bits, multiplied by the 24-bit mantissa, the
    product is rounded to 24 significant bits and shifted right, each time to nearest with ties to
    even; then the zero point is added and the result clipped. Parameters, result and errors are
    those of :func:`requantize`.
    """
    m, s = _checked(acc, mantissa, shift, zero_point, low, high)
    a = np.asarray(acc, dtype=np.int64)
    product = _to_significand(_to_significand(np.abs(a)) * m)
    magnitude = _shift_right_even(product, np.broadcast_to(s, product.shape))
    scaled = np.where(a < 0, -magnitude, magnitude)
    codes: NDArray[np.uint8] = np.clip(scaled + zero_point, low, high).astype(np.uint8)
    return codes


def _checked(
    acc: Sums,
    mantissa: NDArray[np.uint32] | int,
    shift: NDArray[np.uint8] | int,
    zero_point: int,
    low: int,
    high: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Mantissas and shifts as int64, everything within its range."""
    m = np.asarray(mantissa, dtype=np.int64)
    s = np.asarray(shift, dtype=np.int64)
    top = 1 << MANTISSA_BITS
    if m.size and (m.min() < top >> 1 or m.max() >= top):
        raise ValueError(f"Mantissas must lie between {top >> 1} and {top - 1}")
    if s.size and (s.min() < 0 or s.max() > MAX_SHIFT):
        raise ValueError(f"Shifts must lie between 0 and {MAX_SHIFT}")
    if not (0 <= low <= high <= 255 and 0 <= zero_point <= 255):
        raise ValueError(
            "Zero point and bounds must be codes 0 to 255 with low <= high, "
            f"not {zero_point}, {low}, {high}"
        )
    sums = np.asarray(acc)
    wide = sums.dtype != np.int32 and sums.size
    if wide and (sums.min() < -(1 << 31) or sums.max() >= 1 << 31):
        raise ValueError("Accumulators must fit in 32 bits")
    return m, s


def _shift_right_even(magnitude: NDArray[np.int64], shift: NDArray[np.int64]) -> NDArray[np.int64]:
    """``magnitude / 2**shift`` rounded to nearest, ties to even; magnitudes are not negative.

    A magnitude stays below 2**56 and a shift below 64, so no sum here leaves int64.
    """
    half = np.where(shift > 0, np.left_shift(1, np.maximum(shift - 1, 0)), 0)
    # A tie goes up only if the bit that becomes the last one is odd.
    odd = np.right_shift(magnitude, shift) & 1
    return np.where(shift > 0, np.right_shift(magnitude + half - 1 + odd, shift), magnitude)


def _to_significand(magnitude: NDArray[np.int64]) -> NDArray[np.int64]:
    """Round to 24 significant bits, nearest, ties to even: what storing a float32 does."""
    # At most 48 bits are significant, so float64 holds it; frexp's exponent is the bit length.
    length = np.frexp(magnitude.astype(np.float64))[1].astype(np.int64)
    excess = np.maximum(length - MANTISSA_BITS, 0)
    return np.left_shift(_shift_right_even(magnitude, excess), excess)
