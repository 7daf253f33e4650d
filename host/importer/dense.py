# SPDX-License-Identifier: Apache-2.0
"""Build a :class:`~ohmtwin.host.graph.Dense` from the quantized matrix products of ONNX."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ...arch.errors import CapacityError, ModelError
from ...arch.formats import RequantScale
from ..graph import Dense, Quantization
from .view import Array, GraphView, describe

__all__ = ["Weights", "bias_of_qdq", "build_dense", "weights_of_qdq", "weights_of_qoperator"]


@dataclass(frozen=True, eq=False)
class Weights:
    """int8 weights [outputs, inputs] and their float32 scales, flat: one, or one an output."""

    values: NDArray[np.int8]
    scale: NDArray[np.float32]


def _matrix(
    node: NodeProto, codes: Array, zero: Array | None, scale: NDArray[np.float32], transposed: bool
) -> Weights:
    """Check weight codes and bring them to int8 [outputs, inputs]."""
    if codes.ndim != 2 or codes.size == 0:
        raise ModelError(
            f"The weights of the {describe(node)} must be a matrix, not of shape "
            f"{list(codes.shape)}"
        )
    if codes.dtype not in (np.int8, np.uint8):
        raise ModelError(
            f"The weights of the {describe(node)} are {codes.dtype}; quantize them to int8"
        )
    if zero is not None and zero.dtype != codes.dtype:
        raise ModelError(
            f"The weights of the {describe(node)} are {codes.dtype}, but their zero point is "
            f"{zero.dtype}; both must have the same type"
        )
    centre = 0 if codes.dtype == np.int8 else 128
    actual = np.zeros(1, np.int64) if zero is None else zero.astype(np.int64)
    if (actual != centre).any():
        wrong = int(actual[actual != centre][0])
        raise ModelError(
            f"The weights of the {describe(node)} have the zero point {wrong}, but only symmetric "
            f"weights are supported ({centre} for {codes.dtype}); quantize with weight_type=QInt8 "
            "and WeightSymmetric=True"
        )
    outputs = codes.shape[0] if transposed else codes.shape[1]
    for count, what in ((scale.size, "scales"), (actual.size, "zero points")):
        if count not in (1, outputs):
            raise ModelError(
                f"The weights of the {describe(node)} have {count} {what} for {outputs} outputs; "
                "quantize them per tensor or per output channel"
            )
    values = (codes.astype(np.int16) - centre).astype(np.int8)
    return Weights(np.ascontiguousarray(values if transposed else values.T), scale)


def weights_of_qoperator(graph: GraphView, node: NodeProto, transposed: bool) -> Weights:
    """Weights of QGemm and QLinearMatMul: operands 3, 4 and 5."""
    codes = graph.constant(node, 3, "weights")
    return _matrix(node, codes, graph.zero_point(node, 5), graph.scale(node, 4), transposed)


def weights_of_qdq(graph: GraphView, node: NodeProto, transposed: bool) -> Weights:
    """Weights of Gemm and MatMul: operand 1, a DequantizeLinear of a constant.

    The constant may also be float behind a QuantizeLinear, as PyTorch's exporter writes it.
    """
    source = graph.producers.get(graph.operand(node, 1))
    if source is None or source.op_type != "DequantizeLinear":
        raise ModelError(
            f"The weights of the {describe(node)} are not quantized (no DequantizeLinear before "
            "them); quantize them to int8 with onnxruntime.quantization.quantize_static"
        )
    scale, zero = graph.scale(source, 1), graph.zero_point(source, 2)
    if graph.integer(source, "block_size", 0):
        raise ModelError(
            f"The weights of the {describe(node)} are quantized in blocks; quantize them per "
            "tensor or per output channel"
        )
    maker = graph.producers.get(graph.operand(source, 0))
    if maker is not None and maker.op_type == "QuantizeLinear":
        codes = _fold_quantize(graph, maker)
    else:
        codes = graph.constant(source, 0, "weights")
    if scale.size > 1 and codes.ndim == 2:
        axis = graph.integer(source, "axis", 1) % 2
        if axis != (0 if transposed else 1):
            raise ModelError(
                f"The weights of the {describe(node)} are quantized along their inputs; quantize "
                "them per tensor or per output channel"
            )
    return _matrix(node, codes, zero, scale, transposed)


def _fold_quantize(graph: GraphView, node: NodeProto) -> Array:
    """QuantizeLinear of a constant float matrix, in float32 as ONNX Runtime folds it."""
    values = graph.constant(node, 0, "weights")
    scale, zero = graph.scale(node, 1), graph.zero_point(node, 2)
    if zero is None:
        zero = np.zeros(1, np.uint8)
    if values.dtype != np.float32 or values.ndim != 2 or zero.dtype not in (np.int8, np.uint8):
        raise ModelError(
            f"The {describe(node)} must quantize a float32 matrix to 8 bits, not {values.dtype} "
            f"{list(values.shape)} to {zero.dtype}"
        )
    axis = graph.integer(node, "axis", 1) % 2
    if {scale.size, zero.size} - {1, values.shape[axis]}:
        raise ModelError(
            f"The {describe(node)} has {scale.size} scales and {zero.size} zero points for "
            f"{values.shape[axis]} channels"
        )
    shape = (-1, 1) if axis == 0 else (1, -1)
    low = -128 if zero.dtype == np.int8 else 0
    codes = np.rint(values.astype(np.float32) / scale.reshape(shape))
    codes = codes + zero.reshape(shape).astype(np.float32)
    result: Array = np.clip(codes, low, low + 255).astype(zero.dtype)
    return result


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
    if graph.is_constant(name):
        real = graph.constant(node, index, "bias")
        if real.dtype != np.float32 or not np.isfinite(real.astype(np.float64)).all():
            raise ModelError(f"The bias of the {describe(node)} must hold finite float32 values")
        _check_bias_shape(node, real, len(weights.values))
        rounded = np.rint(real.astype(np.float64).ravel() / unit.astype(np.float64))
        if np.abs(rounded).max() >= 2.0**31:
            raise ModelError(
                f"The bias of the {describe(node)} is too large for 32 bits at the scale "
                f"{float(unit.min())!r}; quantize the model again with its bias as int32"
            )
        return rounded.astype(np.int64), False
    source = graph.producers.get(name)
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
    _check_bias_shape(node, codes, len(weights.values))
    # ONNX Runtime adds the codes to the accumulator and ignores their scale.
    if scale.size not in (1, unit.size) or not np.allclose(scale, unit, rtol=1e-5, atol=0.0):
        raise ModelError(
            f"The bias of the {describe(node)} has the scale {float(scale[0])!r}, which is not the "
            f"input's times the weights' ({float(unit[0])!r}); quantize the model again"
        )
    return codes.astype(np.int64).ravel(), True


def _check_bias_shape(node: NodeProto, bias: Array, outputs: int) -> None:
    """A bias has one value, or one an output along the last axis."""
    if bias.size not in (1, outputs) or bias.ndim > 2 or (bias.ndim == 2 and bias.shape[0] != 1):
        raise ModelError(
            f"The bias of the {describe(node)} must have {outputs} values, not the shape "
            f"{list(bias.shape)}"
        )


def bias_of_qgemm(graph: GraphView, node: NodeProto, outputs: int) -> NDArray[np.int64]:
    """Bias of QGemm, operand 6: int32, in units of the accumulator."""
    if not graph.operand(node, 6):
        return np.zeros(1, np.int64)
    codes = graph.constant(node, 6, "bias")
    if codes.dtype != np.int32:
        raise ModelError(f"The bias of the {describe(node)} must be int32, not {codes.dtype}")
    _check_bias_shape(node, codes, outputs)
    return codes.astype(np.int64).ravel()


def build_dense(
    node: NodeProto,
    name: str,
    source: str,
    x_quant: Quantization,
    weights: Weights,
    bias: NDArray[np.int64],
    output: str,
    y_quant: Quantization,
) -> Dense:
    """Fold the zero point into the bias and the three scales into one factor an output.

    Raises
    ------
    CapacityError
        If a folded bias does not fit 32 bits.
    ModelError
        If a factor is out of the requantizer's range.
    """
    outputs = len(weights.values)
    folded = bias - x_quant.internal_zero_point * weights.values.astype(np.int64).sum(axis=1)
    if folded.min() < -(1 << 31) or folded.max() >= 1 << 31:
        raise CapacityError(
            f"The bias of the {describe(node)} leaves 32 bits once its input's zero point is "
            "folded in; use smaller weights or biases"
        )
    # The order of ONNX Runtime (quant_gemm.cc, ComputeOutputScale), each step in float32.
    with np.errstate(over="ignore", under="ignore"):
        factor = np.float32(x_quant.scale) * weights.scale / np.float32(y_quant.scale)
    try:
        scales = [RequantScale.from_float(float(f)) for f in factor]
    except ValueError as error:
        raise ModelError(
            f"The scales of the {describe(node)} give no usable factor: {error}; quantize the "
            "model again"
        ) from None
    return Dense(
        name=name,
        input=source,
        output=output,
        weights=weights.values,
        bias=folded.astype(np.int32),
        mantissa=np.resize(np.array([s.mantissa for s in scales], np.uint32), outputs),
        shift=np.resize(np.array([s.shift for s in scales], np.uint8), outputs),
        zero_point=y_quant.internal_zero_point,
        clip_low=0,
        clip_high=255,
        out_quant=y_quant,
    )
