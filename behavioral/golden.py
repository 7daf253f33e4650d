# SPDX-License-Identifier: Apache-2.0
"""The golden level: quantized operators in exact integer arithmetic, with no analog limit at all.

This is the readable definition that every other level is compared with (DESIGN sections 1 and 3).
It equals the QLinear operators of ONNX Runtime bit for bit, which multiply the int32 accumulator
by a float32 factor; here that product is a soft float made of integers, as the hardware builds it.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..arch.formats import MANTISSA_BITS, MAX_SHIFT

__all__ = ["DenseLike", "NetworkLike", "dense_accumulate", "requantize", "run_network"]


class DenseLike(Protocol):
    """What a fully connected layer must offer; ``ohmtwin.host.graph.Dense`` does."""

    @property
    def name(self) -> str: ...
    @property
    def input(self) -> str: ...
    @property
    def output(self) -> str: ...
    @property
    def weights(self) -> NDArray[np.int8]: ...
    @property
    def bias(self) -> NDArray[np.int32]: ...
    @property
    def mantissa(self) -> NDArray[np.uint32]: ...
    @property
    def shift(self) -> NDArray[np.uint8]: ...
    @property
    def zero_point(self) -> int: ...
    @property
    def clip_low(self) -> int: ...
    @property
    def clip_high(self) -> int: ...
    @property
    def table(self) -> NDArray[np.uint8] | None: ...


class NetworkLike(Protocol):
    """What a network must offer: its layers in topological order, joined by tensor names."""

    @property
    def input_name(self) -> str: ...
    @property
    def layers(self) -> Sequence[DenseLike]: ...


def _shift_right_even(magnitude: NDArray[np.int64], shift: NDArray[np.int64]) -> NDArray[np.int64]:
    """``magnitude / 2**shift`` rounded to nearest, ties to even; magnitudes are not negative.

    A magnitude stays below 2**50 and a shift below 64, so no sum here leaves int64.
    """
    half = np.where(shift > 0, np.left_shift(1, np.maximum(shift - 1, 0)), 0)
    # A tie goes up only if the bit that becomes the last one is odd.
    odd = np.right_shift(magnitude, shift) & 1
    return np.where(shift > 0, np.right_shift(magnitude + half - 1 + odd, shift), magnitude)


def _to_significand(magnitude: NDArray[np.int64]) -> NDArray[np.int64]:
    """Round to 24 significant bits, nearest, ties to even: what storing a float32 does."""
    # frexp is exact below 2**53; its exponent is the bit length.
    length = np.frexp(magnitude.astype(np.float64))[1].astype(np.int64)
    excess = np.maximum(length - MANTISSA_BITS, 0)
    return np.left_shift(_shift_right_even(magnitude, excess), excess)


def requantize(
    acc: NDArray[np.int32] | NDArray[np.int64],
    mantissa: NDArray[np.uint32] | int,
    shift: NDArray[np.uint8] | int,
    zero_point: int,
    low: int,
    high: int,
) -> NDArray[np.uint8]:
    """Scale accumulators to 8-bit codes as float32 does, in integers only (DESIGN section 3).

    The accumulator is rounded to 24 significant bits, multiplied by the 24-bit mantissa, the
    product is rounded to 24 significant bits and shifted right, each time to nearest with ties to
    even; then the zero point is added and the result clipped.

    Parameters
    ----------
    acc : int32 or int64 [..., outputs]
        Accumulators, each within ``-2**31 .. 2**31 - 1``.
    mantissa, shift : uint32 and uint8 [outputs], or int
        The factor ``mantissa * 2**-shift`` (:class:`~ohmtwin.arch.formats.RequantScale`).
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
    m = np.asarray(mantissa, dtype=np.int64)
    s = np.asarray(shift, dtype=np.int64)
    a = np.asarray(acc, dtype=np.int64)
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
    if a.size and (a.min() < -(1 << 31) or a.max() >= 1 << 31):
        raise ValueError("Accumulators must fit in 32 bits")
    product = _to_significand(_to_significand(np.abs(a)) * m)
    magnitude = _shift_right_even(product, np.broadcast_to(s, product.shape))
    scaled = np.where(a < 0, -magnitude, magnitude)
    codes: NDArray[np.uint8] = np.clip(scaled + zero_point, low, high).astype(np.uint8)
    return codes


def dense_accumulate(codes: NDArray[np.uint8], layer: DenseLike) -> NDArray[np.int32]:
    """``codes @ weights.T + bias``, exact, through floating-point BLAS.

    Parameters
    ----------
    codes : uint8 [n, inputs]
        Internal activation codes.
    layer : DenseLike
        Its weights are int8 [outputs, inputs]; its bias int32 [outputs] holds the zero-point term.

    Returns
    -------
    int32 [n, outputs]
        The compiler has proven that no sum leaves 32 bits.

    Raises
    ------
    ValueError
        If the shape of ``codes`` does not fit, or a sum leaves 32 bits.
    """
    outputs, inputs = layer.weights.shape
    if codes.ndim != 2 or codes.shape[1] != inputs:
        raise ValueError(f"Codes must have the shape [n, {inputs}], not {list(codes.shape)}")
    # BLAS adds in an order of its own; no order matters while every partial sum is exact:
    # below 2**53 in float64, and below 2**24 in float32, which is twice as fast.
    exact32 = inputs * 255 * 128 < 1 << 24
    kind = np.float32 if exact32 else np.float64
    total = (codes.astype(kind) @ layer.weights.T.astype(kind)).astype(np.int64) + layer.bias
    result: NDArray[np.int32] = total.astype(np.int32)
    if not np.array_equal(result, total):
        raise ValueError(f"A sum of layer {layer.name!r} ({outputs} outputs) leaves 32 bits")
    return result


def run_network(network: NetworkLike, codes: NDArray[np.uint8]) -> dict[str, NDArray[np.generic]]:
    """Run all layers on internal codes and return every tensor.

    Parameters
    ----------
    network : NetworkLike
    codes : uint8 [n, inputs]
        Internal codes of the network's input.

    Returns
    -------
    dict
        For each layer, in order: ``"<layer>.acc"`` int32 [n, outputs]; if it has a table,
        ``"<layer>.pre"`` uint8 [n, outputs], the codes before the table; and ``"<layer>"``
        uint8 [n, outputs], its output codes.
    """
    tensors: dict[str, NDArray[np.uint8]] = {network.input_name: codes}
    result: dict[str, NDArray[np.generic]] = {}
    for layer in network.layers:
        acc = dense_accumulate(tensors[layer.input], layer)
        out = requantize(
            acc, layer.mantissa, layer.shift, layer.zero_point, layer.clip_low, layer.clip_high
        )
        result[f"{layer.name}.acc"] = acc
        if layer.table is not None:
            result[f"{layer.name}.pre"] = out
            out = layer.table[out]
        result[layer.name] = tensors[layer.output] = out
    return result
