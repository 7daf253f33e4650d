# SPDX-License-Identifier: Apache-2.0
"""Quantizers of few bits: QONNX's Quant and BipolarQuant.

QONNX, "Quant" (docs/qonnx-custom-ops): ``q = clip(round(x / scale + zero_point), low, high)`` with

- signed: ``low = -2**(bits - 1)``, one more if ``narrow``; ``high = 2**(bits - 1) - 1``;
- unsigned: ``low = 0``; ``high = 2**bits - 1``, one less if ``narrow``;

and the result is ``(q - zero_point) * scale``. BipolarQuant gives ``scale`` where ``x >= 0``, else
``-scale``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ...arch.errors import ModelError
from ..graph import Quantization
from .tables import Reals
from .values import Grid
from .view import Array, GraphView, describe

__all__ = ["FoldedQuant", "bipolar_scale", "fold_quant", "quant_grid"]

_ROUNDING: dict[str, Callable[[Reals], Reals]] = {
    "ROUND": np.rint,
    "HALF_EVEN": np.rint,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "ROUND_TO_ZERO": np.trunc,
    "DOWN": np.trunc,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5),
}
"""Ways of rounding that weights may use; activations round half to even."""


@dataclass(frozen=True, eq=False)
class FoldedQuant:
    """Constants that a Quant node has quantized."""

    codes: Array
    zero: NDArray[np.int64]
    scale: NDArray[np.float32]
    axis: int
    key: tuple[object, ...]

    def real(self) -> NDArray[np.float64]:
        """The values that the codes stand for."""
        shape = [1] * self.codes.ndim
        if self.codes.ndim:
            shape[self.axis] = -1
        scale = self.scale.astype(np.float64)
        scale = scale.reshape(shape) if scale.size > 1 else scale.reshape([1] * self.codes.ndim)
        zero = self.zero.reshape(shape) if self.zero.size > 1 else self.zero.ravel()[0]
        return (self.codes.astype(np.int64) - zero) * scale


def _bounds(graph: GraphView, node: NodeProto) -> tuple[int, int]:
    """Least and largest code of a Quant node."""
    bits = graph.constant(node, 3, "bit width")
    if bits.size != 1 or not 1 <= float(bits.ravel()[0]) <= 8 or float(bits.ravel()[0]) % 1:
        raise ModelError(
            f"The bit width of the {describe(node)} must be one whole number from 1 to 8, not "
            f"{bits.ravel()[:4].tolist()}"
        )
    width = int(bits.ravel()[0])
    signed, narrow = graph.integer(node, "signed", 1), graph.integer(node, "narrow", 0)
    if signed:
        return -(1 << (width - 1)) + bool(narrow), (1 << (width - 1)) - 1
    return 0, (1 << width) - 1 - bool(narrow)


def _per_channel(node: NodeProto, array: Array, rank: int, role: str) -> int:
    """The axis along which a scale of full rank varies."""
    axes = [i for i, n in enumerate(array.shape) if n != 1]
    if len(axes) > 1 or (axes and array.ndim > rank):
        raise ModelError(
            f"The {role} of the {describe(node)} has the shape {list(array.shape)}; quantize the "
            "weights per tensor or per output channel"
        )
    return axes[0] + rank - array.ndim if axes else 0


def _zero(graph: GraphView, node: NodeProto) -> Array:
    zero = graph.constant(node, 2, "zero point")
    whole = zero.astype(np.float64)
    if not np.isfinite(whole).all() or (whole % 1).any() or np.abs(whole).max(initial=0) > 255:
        raise ModelError(
            f"The zero point of the {describe(node)} must hold whole numbers of at most 255, not "
            f"{whole.ravel()[:4].tolist()}"
        )
    return zero


def fold_quant(graph: GraphView, node: NodeProto) -> FoldedQuant:
    """Quant or BipolarQuant of constants."""
    values = graph.constant(node, 0, "weights").astype(np.float64)
    if not np.isfinite(values).all():
        raise ModelError(f"The weights that the {describe(node)} quantizes must be finite")
    scale = graph.scale(node, 1)
    raw_scale = graph.constant(node, 1, "scale")
    axis = _per_channel(node, raw_scale, values.ndim, "scale")
    shape = [1] * values.ndim
    if values.ndim:
        shape[axis] = -1
    if scale.size not in (1, *values.shape[axis : axis + 1]):
        raise ModelError(
            f"The {describe(node)} has {scale.size} scales for weights of shape "
            f"{list(values.shape)}"
        )
    spread = scale.reshape(shape if scale.size > 1 else [1] * values.ndim)
    if node.op_type == "BipolarQuant":
        codes = np.where(values >= 0, 1, -1).astype(np.int8)
        return FoldedQuant(codes, np.zeros(1, np.int64), scale, axis, ("bipolar",))
    low, high = _bounds(graph, node)
    zero = _zero(graph, node)
    mode = graph.text(node, "rounding_mode", "ROUND").upper()
    if mode not in _ROUNDING:
        raise ModelError(
            f"Attribute 'rounding_mode' of the {describe(node)} is {mode!r}; supported are "
            f"{', '.join(_ROUNDING)}"
        )
    if zero.size not in (1, scale.size):
        raise ModelError(
            f"The {describe(node)} has {zero.size} zero points for {scale.size} scales"
        )
    offset = zero.astype(np.float32).reshape(shape if zero.size > 1 else [1] * values.ndim)
    # In float32, as the exporter's own executor computes.
    rounded = _ROUNDING[mode](values.astype(np.float32) / spread + offset)
    codes = np.clip(rounded, low, high).astype(np.uint8 if high > 127 else np.int8)
    key = (low, high, mode, zero.tobytes())
    return FoldedQuant(codes, zero.astype(np.int64).ravel(), scale, axis, key)


def quant_grid(graph: GraphView, node: NodeProto) -> Grid:
    """What a Quant node makes of activations."""
    scale = graph.scale(node, 1)
    zero = _zero(graph, node)
    if scale.size != 1 or zero.size != 1:
        raise ModelError(
            f"The {describe(node)} has {scale.size} scales and {zero.size} zero points for an "
            "activation; quantize activations per tensor"
        )
    mode = graph.text(node, "rounding_mode", "ROUND").upper()
    if mode not in ("ROUND", "HALF_EVEN"):
        raise ModelError(
            f"Attribute 'rounding_mode' of the {describe(node)} is {mode!r}, but activations are "
            "rounded half to even; export the model with rounding_mode='ROUND'"
        )
    low, high = _bounds(graph, node)
    signed = bool(graph.integer(node, "signed", 1))
    offset = 128 if signed else 0
    quant = Quantization(float(scale[0]), int(zero.ravel()[0]), signed)
    return Grid(quant, low + offset, high + offset)


def bipolar_scale(graph: GraphView, node: NodeProto) -> Quantization:
    """What the codes -1 and 1 of a BipolarQuant of activations mean."""
    scale = graph.scale(node, 1)
    if scale.size != 1:
        raise ModelError(
            f"The {describe(node)} has {scale.size} scales for an activation; quantize "
            "activations per tensor"
        )
    return Quantization(float(scale[0]), 0, True)
