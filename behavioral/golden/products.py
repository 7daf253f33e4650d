# SPDX-License-Identifier: Apache-2.0
"""Sums of weights times codes, exact, through floating-point BLAS.

BLAS adds in an order of its own and may fuse multiplications with additions. No order matters
while every partial sum is a whole number that the format holds: below 2**53 in float64, and below
2**24 in float32, which is twice as fast. A partial sum of an output is never larger than 255 times
the sum of its weights' magnitudes, whatever the codes.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .operators import ConvLike, DenseLike

__all__ = ["conv_accumulate", "dense_accumulate"]

_CHUNK = 1 << 23
"""Values of an im2col matrix that are made at a time: bounds memory at 64 MB."""

Floating = NDArray[np.floating[Any]]


def _exact_type(weights: NDArray[np.int8]) -> type[np.float32] | type[np.float64]:
    """The fastest float that holds every partial sum of ``weights`` [outputs, ...] exactly."""
    rows = np.abs(weights.reshape(len(weights), -1).astype(np.int64)).sum(axis=1)
    return np.float32 if 255 * int(rows.max(initial=0)) < 1 << 24 else np.float64


def _to_sums(products: Floating, bias: NDArray[np.int32], name: str) -> NDArray[np.int32]:
    """Whole sums in floats plus bias, as int32; ``bias`` broadcasts."""
    total = products.astype(np.int64)
    total += bias
    result: NDArray[np.int32] = total.astype(np.int32)
    if total.size and (total.min() < -(1 << 31) or total.max() >= 1 << 31):
        raise ValueError(f"A sum of layer {name!r} leaves 32 bits")
    return result


def _counted(codes: NDArray[np.uint8], layer: DenseLike | ConvLike) -> NDArray[np.uint8]:
    """What codes count for: themselves, but for inputs that are stochastic streams."""
    counts: NDArray[np.uint8] | None = getattr(layer, "counts", None)
    return codes if counts is None else counts[codes]


def dense_accumulate(codes: NDArray[np.uint8], layer: DenseLike) -> NDArray[np.int32]:
    """``codes @ weights.T + bias``.

    Parameters
    ----------
    codes : uint8 [..., inputs]
        Internal activation codes.
    layer : DenseLike
        Its weights are int8 [outputs, inputs]; its bias int32 [outputs] holds the zero-point term.

    Returns
    -------
    int32 [..., outputs]
        The compiler has proven that no sum leaves 32 bits.

    Raises
    ------
    ValueError
        If the shape of ``codes`` does not fit, or a sum leaves 32 bits.
    """
    inputs = layer.weights.shape[1]
    if codes.ndim < 2 or codes.shape[-1] != inputs:
        raise ValueError(f"Codes must have the shape [n, {inputs}], not {list(codes.shape)}")
    kind = _exact_type(layer.weights)
    codes = _counted(codes, layer)
    return _to_sums(codes.astype(kind) @ layer.weights.T.astype(kind), layer.bias, layer.name)


def conv_accumulate(codes: NDArray[np.uint8], layer: ConvLike) -> NDArray[np.int32]:
    """A 2-D convolution by im2col: every window a row of a matrix, then one product a group.

    Parameters
    ----------
    codes : uint8 [n, channels, rows, columns]
        Internal activation codes.
    layer : ConvLike
        Its weights are int8 [outputs, channels / groups, kernel rows, kernel columns].

    Returns
    -------
    int32 [n, outputs, rows, columns]

    Raises
    ------
    ValueError
        If the shape of ``codes`` does not fit, or a sum leaves 32 bits.
    """
    outputs, per_group, *kernel = layer.weights.shape
    channels = per_group * layer.groups
    if codes.ndim != 4 or codes.shape[1] != channels:
        raise ValueError(
            f"Codes must have the shape [n, {channels}, rows, columns], not {list(codes.shape)}"
        )
    kind = _exact_type(layer.weights)
    top, left, bottom, right = layer.pads
    border = ((0, 0), (0, 0), (top, bottom), (left, right))
    padded = _counted(np.pad(codes, border, constant_values=layer.pad_code), layer)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, layer.dilations, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))
    (down, right_), (dy, dx) = layer.strides, layer.dilations
    windows = windows[:, :, ::down, ::right_, ::dy, ::dx]
    n, _, height, width, *_ = windows.shape
    # [groups, inputs, outputs of a group]
    matrix: Floating = layer.weights.astype(kind)
    matrix = matrix.reshape(layer.groups, outputs // layer.groups, -1)
    matrix = matrix.transpose(0, 2, 1)
    result = np.empty((n, outputs, height, width), np.int32)
    bias = layer.bias[:, None, None]
    step = max(1, _CHUNK // max(1, height * width * channels * math.prod(kernel)))
    for start in range(0, n, step):
        part = windows[start : start + step]
        count = len(part)
        grouped = part.reshape(count, layer.groups, per_group, height, width, *kernel)
        rows: Floating = grouped.transpose(1, 0, 3, 4, 2, 5, 6).astype(kind, order="C")
        products: Floating = rows.reshape(layer.groups, count * height * width, -1) @ matrix
        products = products.reshape(layer.groups, count, height, width, -1)
        products = products.transpose(1, 0, 4, 2, 3).reshape(count, outputs, height, width)
        result[start : start + step] = _to_sums(products, bias, layer.name)
    return result
