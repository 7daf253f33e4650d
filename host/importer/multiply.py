# SPDX-License-Identifier: Apache-2.0
"""Integers that multiply two quantized tensors as ONNX Runtime does, proven pair by pair.

ONNX Runtime (MLAS, qlmul.cpp) computes ``rint(fl(fl(acc * factor) + zero))`` with
``acc = (a - za) * (b - zb)``, where ``fl`` rounds to float32: the zero point is added before the
code is rounded. That makes ties of sums next to one, and ties go to the even *code*. The tile
computes ``rint(fl(fl(gain * acc + offset) * f)) + z``. With ``z`` the zero point, gain 1 and offset
0, the two differ for a few pairs of codes next to ties, and for half of all ties if the zero point
is odd.

Where that is so, part or all of the zero point moves into the offset, ``(zero - z) * gain /
factor``. Gains, those that make it a whole number first, and the offsets and factors around the
nearest are tried on the products that lie next to ties; the best choice is proven on all pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...arch.formats import ACC_BITS
from ..graph import Quantization
from .values import Grid

__all__ = ["Product", "fit_product", "multiply_codes"]

_NEIGHBOURS = 11
"""How many float32 values on each side of the factor are tried without gains."""

_SLACK = 2.0**-10
"""Products this near to a tie, in codes, decide: all tried choices give others the same code."""

_TOP_GAIN = 128
"""Of one operand: 128 * 255 fits the 16 bits that the tile multiplies."""

_SMALLEST = 2.0**-40
"""Factors below are none of the requantizer's."""

_RESIDUE = 2.0**-13
"""What an offset that is no whole number may move a product by, in codes."""

_GAIN_PRODUCTS = np.unique(np.outer(np.arange(1, _TOP_GAIN + 1), np.arange(1, _TOP_GAIN + 1)))

Table = NDArray[np.uint8]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Product:
    """``code = clip(rint((gains[0] * gains[1] * acc + offset) * factor) + zero_point)``.

    ``wrong`` of ``pairs`` pairs of codes get another code than in the table that was asked for.
    """

    gains: tuple[int, int]
    offset: int
    factor: np.float32
    zero_point: int
    wrong: int
    pairs: int


@dataclass(frozen=True)
class _Effort:
    """How many gains an octave, offsets and factors on each side are tried, and on how many
    products at most."""

    gains: int
    offsets: int
    factors: int
    budget: int


_EFFORTS = (_Effort(2, 6, 4, 4_000_000), _Effort(6, 12, 5, 4_000_000))
"""The first one is enough for nearly all scales. Budgets bound the time, in a few tens of ms."""


@dataclass(frozen=True)
class _Near:
    """Products next to ties, the codes they shall get, and by how many pairs they are met."""

    acc: Ints
    codes: NDArray[np.float32]
    pairs: NDArray[np.float64]


def multiply_codes(
    a: Ints, a_quant: Quantization, b: Ints, b_quant: Quantization, grid: Grid
) -> Table:
    """QLinearMul of internal codes, as MLAS computes it, its zero point added before rounding."""
    factor = np.float32(a_quant.scale) * np.float32(b_quant.scale) / np.float32(grid.quant.scale)
    acc = (a - a_quant.internal_zero_point) * (b - b_quant.internal_zero_point)
    out = grid.quant
    value = acc.astype(np.float32) * factor + np.float32(out.zero_point)
    codes = np.rint(value).astype(np.float64) + (128 if out.signed else 0)
    result: Table = np.clip(codes, grid.low, grid.high).astype(np.uint8)
    return result


def fit_product(
    target: Table, a: Ints, b: Ints, zeros: tuple[int, int], factor: np.float32, grid: Grid
) -> Product:
    """What multiplies as a table of codes says, at as many pairs as can be found.

    Parameters
    ----------
    target : uint8 [n, m]
        Codes wanted for ``a[i, 0]`` and ``b[0, j]``.
    a, b : int64 [n, 1], [1, m]
        Internal codes that occur.
    zeros : (za, zb)
        Internal zero points.
    factor : float32
        The nearest to the scales' quotient, within the requantizer's range.

    Returns
    -------
    Product
        With gains 1 and offset 0 unless others give more pairs.
    """
    acc = (a - zeros[0]) * (b - zeros[1])
    zero = grid.quant.internal_zero_point
    near = _near(acc, factor, target, grid)
    # Nearest first: argmin takes the first of equals.
    factors = _around(factor, _NEIGHBOURS)
    counts = _wrong(near, 1, np.zeros(1, np.int64), factors, zero, grid)[0]
    plain = Product((1, 1), 0, factors[int(counts.argmin())], zero, 0, target.size)
    best = _proven(plain, acc, target, grid)
    for effort in _EFFORTS:
        if not best.wrong:
            break
        found = _search(near, zeros, factor, grid, effort)
        if found is not None:
            proven = _proven(found, acc, target, grid)
            best = proven if proven.wrong < best.wrong else best
    return best


def _near(acc: Ints, factor: np.float32, target: Table, grid: Grid) -> _Near:
    real = acc * np.float64(factor) + grid.quant.internal_zero_point
    distance = np.abs(real - np.floor(real) - 0.5)
    chosen = (distance < _SLACK) & (real > grid.low - 1) & (real < grid.high + 1)
    # In float ONNX Runtime may give one product two codes, so both are part of the key.
    keys, pairs = np.unique((acc[chosen] << 8) | target[chosen], return_counts=True)
    return _Near(keys >> 8, (keys & 255).astype(np.float32), pairs.astype(np.float64))


def _around(factor: np.float32, steps: int) -> NDArray[np.float32]:
    """The factor and its float32 neighbours, the nearest first and the lower of two first."""
    bits = int(np.asarray(factor, np.float32).view(np.uint32))
    distances = sorted(range(-steps, steps + 1), key=lambda step: (abs(step), step))
    return np.array([bits + step for step in distances], np.uint32).view(np.float32)


def _requantized(
    sums: Ints, factor: NDArray[np.float32] | np.float32, zero: int, grid: Grid
) -> NDArray[np.float32]:
    """The tile's requantizer: 24 significant bits, a float32 product, ties to even, zero point."""
    codes = sums.astype(np.float32) * factor
    np.rint(codes, out=codes)
    np.clip(codes, grid.low - zero, grid.high - zero, out=codes)
    codes += np.float32(zero)
    return codes


def _wrong(
    near: _Near, gain: int, offsets: Ints, factors: NDArray[np.float32], zero: int, grid: Grid
) -> Ints:
    """Pairs that get another code: int64 [offsets, factors]."""
    sums = (near.acc * gain + offsets[:, None])[:, None, :]
    codes = _requantized(sums, factors[:, None], zero, grid)
    counts = (codes != near.codes).astype(np.float64) @ near.pairs  # exact: below 2**53
    wrong: Ints = counts.astype(np.int64)
    return wrong


def _proven(product: Product, acc: Ints, target: Table, grid: Grid) -> Product:
    """Count the pairs that get another code."""
    gain = product.gains[0] * product.gains[1]
    codes = _requantized(acc * gain + product.offset, product.factor, product.zero_point, grid)
    wrong = int((codes != target).sum())
    return Product(
        product.gains, product.offset, product.factor, product.zero_point, wrong, target.size
    )


def _search(
    near: _Near, zeros: tuple[int, int], factor: np.float32, grid: Grid, effort: _Effort
) -> Product | None:
    """The choice that gives most of the products next to ties; None if there is nothing to try."""
    best: Product | None = None
    spent = 0
    for zero, gain, offsets, factors in _choices(zeros, float(factor), grid, effort):
        spent += len(offsets) * len(factors) * (len(near.acc) + 50)
        if spent > effort.budget:
            break
        counts = _wrong(near, gain, offsets, factors, zero, grid)
        row, column = np.unravel_index(int(counts.argmin()), counts.shape)
        wrong = int(counts[row, column])
        if best is None or wrong < best.wrong:
            split = _split(gain)
            best = Product(split, int(offsets[row]), factors[column], zero, wrong, 0)
        if not wrong:
            break
    return best


def _choices(
    zeros: tuple[int, int], factor: float, grid: Grid, effort: _Effort
) -> Iterator[tuple[int, int, Ints, NDArray[np.float32]]]:
    """Zero points with gains, and the offsets and factors to try with them."""
    own = grid.quant.internal_zero_point
    # Sums with the whole of what MLAS adds are rounded as its own are; an even zero point keeps
    # even what is even.
    candidates = (128 if grid.quant.signed else 0, own, own - 1, own + 1)
    largest = max(zeros[0], 255 - zeros[0]) * max(zeros[1], 255 - zeros[1])
    for zero in dict.fromkeys(z for z in candidates if 0 <= z <= 255):
        moved = (own - zero) / factor
        # What the offsets add around the nearest stays below _SLACK.
        reach = _GAIN_PRODUCTS * (largest + abs(moved) + _SLACK / factor) + 1
        fits = (reach < 2.0 ** (ACC_BITS - 1)) & (factor / _GAIN_PRODUCTS > 2 * _SMALLEST)
        gains = _GAIN_PRODUCTS[fits]
        exact = moved * gains
        residue = np.abs(exact - np.rint(exact)) * factor / gains
        for gain in _best_of_octaves(gains, residue, effort.gains):
            unit = factor / gain
            step = max(1.0, 2.0**-18 / unit)
            around = np.arange(-effort.offsets, effort.offsets + 1) * step
            around = around[np.abs(around) * unit < _SLACK / 2]
            offsets = np.unique(np.rint(moved * gain + around).astype(np.int64))
            yield zero, gain, offsets, _around(np.float32(unit), effort.factors)


def _best_of_octaves(gains: Ints, residue: NDArray[np.float64], count: int) -> list[int]:
    """For each power of two, gains from there to the next one that leave little to round."""
    found: list[int] = []
    for octave in range(int(gains[-1]).bit_length() if gains.size else 0):
        inside = np.flatnonzero((gains >> octave == 1) & (residue < _RESIDUE))
        order = np.argsort(residue[inside], kind="stable")[:count]
        found += gains[inside[order]].tolist()
    return found


def _split(gain: int) -> tuple[int, int]:
    """Two factors of a gain, 128 at most, the first one as large as possible."""
    first = next(d for d in range(_TOP_GAIN, 0, -1) if gain % d == 0)
    return first, gain // first
