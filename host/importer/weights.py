# SPDX-License-Identifier: Apache-2.0
"""Quantized weights and biases: from initializers to int8 matrices and int32 vectors.

One initializer that several nodes read gives one array, however often it is transposed, so that
layers which share weights also share arrays.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ...arch.errors import ModelError
from ..graph import Quantization
from .lowbits import fold_quant
from .view import Array, GraphView, describe

__all__ = [
    "FixedCodes",
    "WeightCache",
    "Weights",
    "bias_of_qdq",
    "bias_of_qoperator",
    "round_bias",
]


@dataclass(frozen=True, eq=False)
class Weights:
    """int8 weights, output channels first, and their float32 scales: one, or one an output.

    Asymmetric weights of uint8 can need 9 bits. They are then the sum of ``copies`` matrices side
    by side, and the layer reads its input as often.
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    copies: int = 1


@dataclass(frozen=True, eq=False)
class FixedCodes:
    """Quantized constants as the graph holds them.

    Parameters
    ----------
    key : tuple
        What they come from: equal keys mean equal codes.
    codes : int8 or uint8 array
    zero : int64, flat
    scale : float32, flat
    axis : int
        Along which scales lie, if there are several.
    """

    key: tuple[object, ...]
    codes: Array
    zero: NDArray[np.int64]
    scale: NDArray[np.float32]
    axis: int


class WeightCache:
    """Reads weights; keeps one array for each initializer and layout."""

    def __init__(self, graph: GraphView) -> None:
        self._graph = graph
        self._values: dict[tuple[object, ...], NDArray[np.int8]] = {}

    def of_qoperator(self, node: NodeProto, index: int, layout: str) -> Weights:
        """Weights of a QOperator node: operands ``index`` to ``index + 2``."""
        graph = self._graph
        codes = graph.constant(node, index, "weights")
        scale, zero = graph.scale(node, index + 1), graph.zero_point(node, index + 2)
        _check_zero_type(node, codes, zero)
        axis = codes.ndim - 1 if layout == "in_out" else 0
        fixed = FixedCodes((graph.operand(node, index),), codes, _wide(zero), scale, axis)
        return self._finish(node, fixed, layout)

    def of_qdq(self, node: NodeProto, index: int, layout: str) -> Weights:
        """Weights of a float node: an operand that is dequantized from constants."""
        fixed = self.fixed_codes(node, self._graph.operand(node, index))
        if fixed is None:
            raise ModelError(
                f"The weights of the {describe(node)} are not quantized (no DequantizeLinear "
                "before them); quantize them to int8 with ohmtwin quantize MODEL.onnx --data "
                "calib.npz"
            )
        return self._finish(node, fixed, layout)

    def fixed_codes(self, reader: NodeProto, name: str) -> FixedCodes | None:
        """Constants behind DequantizeLinear, Quant or BipolarQuant; None if there is none.

        They may be float behind a QuantizeLinear (PyTorch), clipped (Brevitas) and transposed.
        """
        graph = self._graph
        source = graph.producers.get(name)
        if source is None:
            return None
        if source.op_type in ("Quant", "BipolarQuant", "IntQuant"):
            folded = fold_quant(graph, source)
            return FixedCodes(
                (graph.operand(source, 0), source.op_type, folded.scale.tobytes(), folded.key),
                folded.codes,
                folded.zero,
                folded.scale,
                folded.axis,
            )
        if source.op_type == "Transpose":
            inner = self.fixed_codes(source, graph.operand(source, 0))
            if inner is None:
                return None
            permutation = graph.integers(source, "perm") or tuple(range(inner.codes.ndim))[::-1]
            if sorted(permutation) != list(range(inner.codes.ndim)):
                raise ModelError(
                    f"The {describe(source)} permutes the axes {list(permutation)} of weights "
                    f"that have {inner.codes.ndim}"
                )
            return FixedCodes(
                (*inner.key, "transposed", permutation),
                inner.codes.transpose(permutation),
                inner.zero,
                inner.scale,
                permutation.index(inner.axis) if inner.axis < len(permutation) else 0,
            )
        if source.op_type != "DequantizeLinear":
            return None
        if graph.integer(source, "block_size", 0):
            raise ModelError(
                f"The weights of the {describe(reader)} are quantized in blocks; quantize them "
                "per tensor or per output channel"
            )
        scale, zero = graph.scale(source, 1), graph.zero_point(source, 2)
        codes, key = self._stored_codes(source, 0)
        _check_zero_type(reader, codes, zero)
        axis = graph.integer(source, "axis", 1)
        return FixedCodes(key, codes, _wide(zero), scale, axis % max(codes.ndim, 1))

    def _stored_codes(self, node: NodeProto, index: int) -> tuple[Array, tuple[object, ...]]:
        """Codes of a constant, through QuantizeLinear and Clip, and their key."""
        graph = self._graph
        name = graph.operand(node, index)
        maker = graph.producers.get(name)
        if maker is not None and maker.op_type == "QuantizeLinear":
            return _fold_quantize(graph, maker), (graph.operand(maker, 0), "quantized", name)
        if maker is not None and maker.op_type == "Clip":
            codes, key = self._stored_codes(maker, 0)
            for bound, combine in ((1, np.maximum), (2, np.minimum)):
                if graph.operand(maker, bound):
                    limit = graph.constant(maker, bound, "bound")
                    if limit.size != 1 or limit.dtype != codes.dtype:
                        raise ModelError(
                            f"The bounds of the {describe(maker)} must be single {codes.dtype} "
                            f"values, not {limit.dtype} {list(limit.shape)}"
                        )
                    codes = combine(codes, limit.ravel()[0])
            return codes, (*key, "clipped", *maker.input[1:])
        return graph.constant(node, index, "weights"), (name,)

    def _finish(self, node: NodeProto, fixed: FixedCodes, layout: str) -> Weights:
        """Check codes and bring them to int8, outputs first."""
        codes = fixed.codes
        if layout == "conv":
            if codes.ndim not in (3, 4) or codes.size == 0:
                raise ModelError(
                    f"The weights of the {describe(node)} must have the shape [outputs, channels, "
                    f"kernel...] with one or two kernel axes, not {list(codes.shape)}"
                )
        elif codes.ndim != 2 or codes.size == 0:
            raise ModelError(
                f"The weights of the {describe(node)} must be a matrix, not of shape "
                f"{list(codes.shape)}"
            )
        if codes.dtype not in (np.int8, np.uint8):
            raise ModelError(
                f"The weights of the {describe(node)} are {codes.dtype}; quantize them to int8"
            )
        along = 1 if layout == "in_out" else 0
        outputs = codes.shape[along]
        several = max(fixed.scale.size, fixed.zero.size)
        if several > 1 and fixed.axis != along:
            raise ModelError(
                f"The weights of the {describe(node)} are quantized along their inputs; quantize "
                "them per tensor or per output channel"
            )
        for count, what in ((fixed.scale.size, "scales"), (fixed.zero.size, "zero points")):
            if count not in (1, outputs):
                raise ModelError(
                    f"The weights of the {describe(node)} have {count} {what} for {outputs} "
                    "outputs; quantize them per tensor or per output channel"
                )
        key = (*fixed.key, fixed.zero.tobytes(), layout)
        values = self._values.get(key)
        if values is None:
            if codes.dtype == np.int8 and not fixed.zero.any():
                values = codes.astype(np.int8, copy=False)
                values = np.ascontiguousarray(values.T if along else values)
            else:
                wide = _centred(codes, fixed.zero, along)
                wide = wide.T if along else wide
                if wide.min() < -128 or wide.max() > 127:
                    groups = self._graph.integer(node, "group", 1) if layout == "conv" else 1
                    values = _parts(node, wide, groups)
                else:
                    values = np.ascontiguousarray(wide.astype(np.int8))
            if layout == "conv" and values.ndim == 3:
                values = values[:, :, None, :]
            values.setflags(write=False)
            self._values[key] = values
        inputs = codes.shape[0] if along else codes.shape[1]
        return Weights(values, fixed.scale, values.shape[1] // inputs)


def _wide(zero: Array | None) -> NDArray[np.int64]:
    return np.zeros(1, np.int64) if zero is None else zero.astype(np.int64)


def _check_zero_type(node: NodeProto, codes: Array, zero: Array | None) -> None:
    if zero is not None and zero.dtype != codes.dtype:
        raise ModelError(
            f"The weights of the {describe(node)} are {codes.dtype}, but their zero point is "
            f"{zero.dtype}; both must have the same type"
        )


def _centred(codes: Array, zero: NDArray[np.int64], along: int) -> NDArray[np.int16]:
    """``codes - zero``, which is what counts: -255 to 255."""
    shape = [1] * codes.ndim
    shape[along] = -1
    values: NDArray[np.int16] = codes.astype(np.int16) - zero.astype(np.int16).reshape(shape)
    return values


def _parts(node: NodeProto, values: NDArray[np.int16], groups: int) -> NDArray[np.int8]:
    """Weights of 9 bits as two or three int8 ones, side by side along the inputs (axis 1)."""
    if groups != 1:
        raise ModelError(
            f"The weights of the {describe(node)} reach {int(values.min())} to "
            f"{int(values.max())} around their zero point, but only -128 to 127 fit where there "
            "are groups; quantize with weight_type=QInt8 and WeightSymmetric=True"
        )
    parts = []
    rest = values
    while rest.any():
        part = np.clip(rest, -128, 127)
        parts.append(part.astype(np.int8))
        rest = rest - part
    return np.concatenate(parts, axis=1)


def _fold_quantize(graph: GraphView, node: NodeProto) -> Array:
    """QuantizeLinear of constant floats, in float32 as ONNX Runtime folds it."""
    values = graph.constant(node, 0, "weights")
    scale, zero = graph.scale(node, 1), graph.zero_point(node, 2)
    if zero is None:
        zero = np.zeros(1, np.uint8)
    if values.dtype != np.float32 or values.ndim == 0 or zero.dtype not in (np.int8, np.uint8):
        raise ModelError(
            f"The {describe(node)} must quantize float32 weights to 8 bits, not {values.dtype} "
            f"{list(values.shape)} to {zero.dtype}"
        )
    if not np.isfinite(values).all():
        raise ModelError(f"The weights that the {describe(node)} quantizes must be finite")
    axis = graph.integer(node, "axis", 1) % values.ndim
    if {scale.size, zero.size} - {1, values.shape[axis]}:
        raise ModelError(
            f"The {describe(node)} has {scale.size} scales and {zero.size} zero points for "
            f"{values.shape[axis]} channels"
        )
    shape = [1] * values.ndim
    shape[axis] = -1
    low, high = (-128, 127) if zero.dtype == np.int8 else (0, 255)
    if graph.four_bits(node, 2):
        low, high = (-8, 7) if zero.dtype == np.int8 else (0, 15)
    with np.errstate(over="ignore"):
        codes = np.rint(
            values.astype(np.float32)
            / scale.reshape(shape if scale.size > 1 else [1] * values.ndim)
        )
    codes = codes + zero.reshape(shape if zero.size > 1 else [1] * values.ndim).astype(np.float32)
    result: Array = np.clip(codes, low, high).astype(zero.dtype)
    return result


def _check_bias_shape(node: NodeProto, bias: Array, outputs: int) -> None:
    """A bias has one value, or one an output along the last axis."""
    if bias.size not in (1, outputs) or (bias.ndim and bias.size != bias.shape[-1]):
        raise ModelError(
            f"The bias of the {describe(node)} must have {outputs} values, not the shape "
            f"{list(bias.shape)}"
        )


def bias_of_qoperator(
    graph: GraphView, node: NodeProto, index: int, outputs: int
) -> NDArray[np.int64]:
    """Bias of QGemm and QLinearConv: int32, in units of the accumulator."""
    if not graph.operand(node, index):
        return np.zeros(1, np.int64)
    codes = graph.constant(node, index, "bias")
    if codes.dtype != np.int32:
        raise ModelError(f"The bias of the {describe(node)} must be int32, not {codes.dtype}")
    _check_bias_shape(node, codes, outputs)
    return codes.astype(np.int64).ravel()


def bias_of_qdq(
    graph: GraphView, node: NodeProto, index: int, x_quant: Quantization, weights: Weights
) -> tuple[NDArray[np.int64], bool]:
    """Bias of a QDQ layer in units of the accumulator.

    Returns
    -------
    bias : int64 [outputs] or [1]
    exact : bool
        False if the model holds the bias in float: it is rounded here, while ONNX Runtime then
        computes the whole layer in float.
    """
    unit = np.float32(x_quant.scale) * weights.scale
    name = graph.operand(node, index)
    outputs = len(weights.values)
    if graph.is_constant(name):
        real = graph.constant(node, index, "bias")
        if real.dtype != np.float32 or not np.isfinite(real.astype(np.float64)).all():
            raise ModelError(f"The bias of the {describe(node)} must hold finite float32 values")
        _check_bias_shape(node, real, outputs)
        return round_bias(node, real.astype(np.float32).ravel(), unit), False
    source = graph.producers.get(name)
    if source is not None and source.op_type in ("Quant", "IntQuant") and name in graph.fixed:
        folded = fold_quant(graph, source)
        _check_bias_shape(node, folded.codes, outputs)
        return round_bias(node, folded.real().ravel(), unit), False
    if source is None or source.op_type != "DequantizeLinear":
        raise ModelError(
            f"The bias ({name!r}) of the {describe(node)} is missing or computed at run time; it "
            "must be an initializer, or the DequantizeLinear of one"
        )
    codes = graph.constant(source, 0, "bias")
    zero = graph.zero_point(source, 2)
    scale = graph.scale(source, 1)
    if codes.dtype != np.int32 or (zero is not None and zero.any()):
        raise ModelError(
            f"The bias of the {describe(node)} must be int32 with zero point 0, not {codes.dtype}"
        )
    _check_bias_shape(node, codes, outputs)
    # ONNX Runtime adds the codes to the accumulator and ignores their scale.
    if scale.size not in (1, outputs) or not np.allclose(scale, unit, rtol=1e-5, atol=0.0):
        raise ModelError(
            f"The bias of the {describe(node)} has the scale {float(scale[0])!r}, which is not the "
            f"input's times the weights' ({float(unit[0])!r}); quantize the model again"
        )
    return codes.astype(np.int64).ravel(), True


def round_bias(
    node: NodeProto, real: NDArray[np.floating[Any]], unit: NDArray[np.float32]
) -> NDArray[np.int64]:
    """A bias in reals, rounded to units of the accumulator."""
    with np.errstate(over="ignore", divide="ignore"):
        rounded: NDArray[np.float64] = np.rint(real.astype(np.float64) / unit.astype(np.float64))
    if not (np.abs(rounded) < 2.0**31).all():
        raise ModelError(
            f"The bias of the {describe(node)} is too large for 32 bits at the scale "
            f"{float(unit.min())!r}; quantize the model again with its bias as int32"
        )
    return rounded.astype(np.int64)
