# SPDX-License-Identifier: Apache-2.0
"""Sums and products of codes, element by element and over windows, exact; all codes [n, ...]."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .operators import (
    AveragePoolLike,
    CombineLike,
    ConcatLike,
    MaxPoolLike,
    MultiplyLike,
    PadLike,
    SumLike,
)

__all__ = [
    "average_accumulate",
    "combine_accumulate",
    "concat",
    "max_pool",
    "multiply_accumulate",
    "pad",
    "sum_accumulate",
    "window_counts",
]

Codes = NDArray[np.uint8]
Pair = tuple[int, int]
Pads = tuple[int, int, int, int]


def _to_sums(total: NDArray[np.int64], name: str) -> NDArray[np.int32]:
    if total.size and (total.min() < -(1 << 31) or total.max() >= 1 << 31):
        raise ValueError(f"A sum of layer {name!r} leaves 32 bits")
    return total.astype(np.int32)


def _aligned(sources: Sequence[Codes]) -> list[Codes]:
    """Sources with as many axes as the largest: samples broadcast behind the first axis."""
    most = max(source.ndim for source in sources)
    return [s.reshape(len(s), *[1] * (most - s.ndim), *s.shape[1:]) for s in sources]


def combine_accumulate(sources: Sequence[Codes], layer: CombineLike) -> NDArray[np.int32]:
    """``offset + sum of factors[i] * source i``: int32 of the broadcast shape.

    Raises
    ------
    ValueError
        If a sum leaves 32 bits.
    """
    total: NDArray[np.int64] = np.full(1, layer.offset, np.int64)
    for factor, source in zip(layer.factors, _aligned(sources), strict=True):
        total = total + np.int64(factor) * source
    return _to_sums(total, layer.name)


def sum_accumulate(sources: Sequence[Codes], layer: SumLike) -> NDArray[np.int32]:
    """``offset + sum of factors[i] * (sum of source i over its last axis)``: int32 [..., 1].

    Raises
    ------
    ValueError
        If a sum leaves 32 bits.
    """
    total: NDArray[np.int64] = np.full(1, layer.offset, np.int64)
    for factor, source in zip(layer.factors, _aligned(sources), strict=True):
        total = total + factor * source.sum(axis=-1, keepdims=True, dtype=np.int64)
    return _to_sums(total, layer.name)


def multiply_accumulate(sources: Sequence[Codes], layer: MultiplyLike) -> NDArray[np.int32]:
    """``ga * (a - za) * gb * (b - zb) + offset``: int32 of the broadcast shape.

    Raises
    ------
    ValueError
        If a sum leaves 32 bits.
    """
    a, b = (
        gain * (source.astype(np.int64) - zero)
        for source, zero, gain in zip(
            _aligned(sources), layer.zero_points, layer.gains, strict=True
        )
    )
    return _to_sums(a * b + layer.offset, layer.name)


def _windows(
    codes: Codes, kernel: Pair, strides: Pair, pads: Pads, dilations: Pair, fill: int
) -> Iterator[Codes]:
    """What each position of the kernel meets: uint8 [n, channels, rows, columns] a position."""
    top, left, bottom, right = pads
    border = ((0, 0), (0, 0), (top, bottom), (left, right))
    padded = np.pad(codes, border, constant_values=fill) if any(pads) else codes
    reach = [d * (k - 1) for k, d in zip(kernel, dilations, strict=True)]
    rows, cols = (size - r for size, r in zip(padded.shape[2:], reach, strict=True))
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            y, x = i * dilations[0], j * dilations[1]
            yield padded[:, :, y : y + rows : strides[0], x : x + cols : strides[1]]


def max_pool(codes: Codes, layer: MaxPoolLike) -> Codes:
    """The largest code of each window; padding counts as 0, which never wins."""
    windows = _windows(codes, layer.kernel, layer.strides, layer.pads, layer.dilations, 0)
    result = next(windows).copy()
    for window in windows:
        np.maximum(result, window, out=result)
    return result


def window_counts(
    shape: tuple[int, ...], kernel: Pair, strides: Pair, pads: Pads, include_pad: bool
) -> NDArray[np.int64]:
    """Values that the mean of each window divides by: int64 [rows, columns].

    ``shape`` is (channels, rows, columns) of the input.
    """
    ones = np.ones((1, 1, *shape[1:]), np.uint8)
    windows = _windows(ones, kernel, strides, pads, (1, 1), int(include_pad))
    counts: NDArray[np.int64] = next(windows)[0, 0].astype(np.int64)
    for window in windows:
        counts += window[0, 0]
    return counts


def average_accumulate(codes: Codes, layer: AveragePoolLike) -> NDArray[np.int32]:
    """``sum of (code - input_zero_point)`` of each window: int32 [n, channels, rows, columns]."""
    zero = layer.input_zero_point
    windows = _windows(codes, layer.kernel, layer.strides, layer.pads, (1, 1), zero)
    total = next(windows).astype(np.int32)
    for window in windows:
        total += window
    total -= zero * layer.kernel[0] * layer.kernel[1]
    return total


def concat(sources: Sequence[Codes], layer: ConcatLike) -> Codes:
    """Sources, each through its table, one after another."""
    parts = [
        source if table is None else table[source]
        for source, table in zip(sources, layer.tables, strict=True)
    ]
    return np.concatenate(parts, axis=layer.axis + 1)


def pad(codes: Codes, layer: PadLike) -> Codes:
    """A border of ``layer.code``."""
    border = ((0, 0), *zip(layer.before, layer.after, strict=True))
    return np.pad(codes, border, constant_values=layer.code)
