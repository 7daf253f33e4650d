# SPDX-License-Identifier: Apache-2.0
"""Integers that add two quantized tensors as ONNX Runtime does in float32, proven pair by pair.

ONNX Runtime adds codes in float32 (MLAS, qladd_avx2.cpp): ``fixed = zc - fma(za, ra, rb*zb)`` with
the ratios ``ra = sa/sc`` and ``rb = sb/sc``, then ``fma(a, ra, fma(b, rb, fixed))``, rounded to
even and clipped. The tile adds integers: ``fa*a + fb*b + offset``, rounded to 24 significant bits
as a float32 is, then shifted right with ties to even. Both are tables of 65,536 entries; the
integers next to ``ra * 2**s`` and ``rb * 2**s`` are tried until the tables are equal.

This is what ONNX Runtime does on x86 with AVX2. Its Arm kernels add in fixed point of 22 bits, and
may give another code where a sum lies next to a tie.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..graph import Quantization
from .values import Grid

__all__ = ["Sum", "add_codes", "fit_sum", "float_codes"]

_REACH = 24
"""How far from the nearest integer a factor is looked for."""

_TRIES = 24
"""Candidates that are proven on the full table."""

_FACTOR_LIMIT = (1 << 23) - 1
_ACC_LIMIT = (1 << 31) - 1
_MAX_SHIFT = 40

Table = NDArray[np.uint8]
Reals = NDArray[np.float32]


@dataclass(frozen=True)
class Sum:
    """``code = clip(round((sum of factors * codes + offset) * 2**-shift))``.

    ``wrong`` of ``pairs`` pairs of codes get another code than in the table that was asked for.
    """

    factors: tuple[int, int]
    offset: int
    shift: int
    wrong: int
    pairs: int


def _fma(a: NDArray[np.generic], factor: np.float32, c: NDArray[np.generic]) -> Reals:
    # Codes have 8 bits and factors 24: the product is exact in float64, and so is the sum unless
    # the exponents lie 20 bits apart.
    exact = a.astype(np.float64) * np.float64(factor) + c.astype(np.float64)
    return exact.astype(np.float32)


def add_codes(
    a: NDArray[np.int64],
    a_quant: Quantization,
    b: NDArray[np.int64],
    b_quant: Quantization,
    grid: Grid,
    row_of_b: bool = False,
) -> Table:
    """QLinearAdd of internal codes ``a`` [n, 1] and ``b`` [1, m], as MLAS computes it.

    Parameters
    ----------
    row_of_b : bool
        Whether ``a`` is one value for a row of ``b``: MLAS then swaps them.
    """
    if row_of_b:
        return add_codes(b, b_quant, a, a_quant, grid)
    out = grid.quant
    ra = np.float32(np.float32(a_quant.scale) / np.float32(out.scale))
    rb = np.float32(np.float32(b_quant.scale) / np.float32(out.scale))
    shift = 128 if out.signed else 0
    x, y = a - (128 if a_quant.signed else 0), b - (128 if b_quant.signed else 0)
    za, zb = np.float32(a_quant.zero_point), np.float32(b_quant.zero_point)
    # The compiler contracts ra*za + rb*zb into one fused multiply-add.
    fixed = np.asarray(
        np.float32(out.zero_point) - _fma(np.asarray(za), ra, np.asarray(rb * zb)), np.float32
    )
    total = _fma(x, ra, _fma(y, rb, fixed))
    codes = np.rint(total).astype(np.float64) + shift
    result: Table = np.clip(codes, grid.low, grid.high).astype(np.uint8)
    return result


def float_codes(
    a: NDArray[np.int64],
    a_quant: Quantization,
    b: NDArray[np.int64],
    b_quant: Quantization,
    grid: Grid,
    sign: int = 1,
) -> Table:
    """Sum or difference of dequantized codes in float32, quantized: what is not fused."""
    x, y = a_quant.dequantize(a), b_quant.dequantize(b)
    return grid.quantize(x + y if sign > 0 else x - y)


def requantize(acc: NDArray[np.int64], shift: int, grid: Grid) -> Table:
    """The tile's requantizer with mantissa ``2**23``: 24 significant bits, then ties to even."""
    rounded = acc.astype(np.float32).astype(np.float64)  # 24 significant bits, ties to even
    codes = np.rint(np.ldexp(rounded, -shift))
    result: Table = np.clip(codes, grid.low, grid.high).astype(np.uint8)
    return result


def fit_sum(
    target: Table,
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    ratios: tuple[float, float],
    fixed: float,
    grid: Grid,
) -> Sum:
    """Integers whose sum gives a table of codes.

    Parameters
    ----------
    target : uint8 [n, m]
        Codes wanted for ``a[i, 0]`` and ``b[0, j]``.
    a, b : int64 [n, 1], [1, m]
        Internal codes that occur.
    ratios, fixed : float
        The real sum: ``ratios[0]*a + ratios[1]*b + fixed``, in output codes.
    """
    shift = _shift(ratios, fixed)
    unit = math.ldexp(1.0, shift)
    ra, rb = ratios
    start = (round(ra * unit), round(rb * unit))
    best = _prove(target, a, b, start, round(fixed * unit), shift, grid)
    if not best.wrong:
        return best
    # Only pairs near a tie decide: all others keep their code whatever is chosen here.
    real = ra * a + rb * b + fixed
    slack = (_REACH + 1) * 512 / unit + 2.0**-14
    distance = np.abs(real - np.floor(real) - 0.5)
    near = (distance < slack) & (real > grid.low - 1) & (real < grid.high + 1)
    rows, cols = np.nonzero(near)
    wanted = target[rows, cols].astype(np.float64)
    low = np.where(wanted > grid.low, (wanted - 0.5) * unit, -np.inf)
    high = np.where(wanted < grid.high, (wanted + 0.5) * unit, np.inf)
    x, y = a[rows, 0].astype(np.float64), b[0, cols].astype(np.float64)
    step = np.arange(-_REACH, _REACH + 1)
    candidates: list[tuple[float, int, int, float]] = []
    for da in range(-_REACH, _REACH + 1):
        base = (start[0] + da) * x
        sums = base[None, :] + (start[1] + step)[:, None] * y[None, :]
        least = (low - sums).max(axis=1, initial=-np.inf)
        most = (high - sums).min(axis=1, initial=np.inf)
        candidates += [
            (float(most[k] - least[k]), da, int(step[k]), float(least[k] + most[k]) / 2)
            for k in range(len(step))
            if math.isfinite(least[k] + most[k])
        ]
    candidates.sort(reverse=True)
    for _, da, db, middle in candidates[:_TRIES]:
        factors = (start[0] + da, start[1] + db)
        if max(abs(f) for f in factors) > _FACTOR_LIMIT:
            continue
        found = _prove(target, a, b, factors, round(middle), shift, grid)
        if found.wrong < best.wrong:
            best = found
        if not best.wrong:
            break
    return best


def _shift(ratios: tuple[float, float], fixed: float) -> int:
    """The finest unit at which factors have 24 bits with sign and no sum leaves 32 bits."""
    largest = max(abs(r) for r in ratios)
    reach = 255 * sum(abs(r) for r in ratios) + abs(fixed) + 1
    by_factor = math.floor(math.log2((_FACTOR_LIMIT - _REACH - 1) / largest))
    by_sum = math.floor(math.log2((_ACC_LIMIT - (_REACH + 1) * 512) / reach))
    return max(0, min(by_factor, by_sum, _MAX_SHIFT))


def _prove(
    target: Table,
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    factors: tuple[int, int],
    offset: int,
    shift: int,
    grid: Grid,
) -> Sum:
    """Count the pairs that get another code."""
    acc = factors[0] * a + factors[1] * b + offset
    wrong = int((requantize(acc, shift, grid) != target).sum())
    return Sum(factors, offset, shift, wrong, target.size)
