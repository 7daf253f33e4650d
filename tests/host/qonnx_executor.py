# SPDX-License-Identifier: Apache-2.0
"""Runs small QONNX and QCDQ graphs in float64, by the formulas of the QONNX specification.

ONNX Runtime has no Quant and no BipolarQuant. Quant gives ``(q - zero) * scale`` with
``q = round(clip(x / scale + zero, low, high))``; BipolarQuant gives ``scale`` where ``x >= 0``,
else ``-scale``. Values are kept in float64, so that sums of products are exact.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

__all__ = ["execute"]

Reals = NDArray[np.float64]


def _quant(node: NodeProto, x: Reals, scale: Reals, zero: Reals, bits: Reals) -> Reals:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    width, narrow = int(bits.item()), bool(attributes.get("narrow", 0))
    if attributes.get("signed", 1):
        low, high = -(2 ** (width - 1)) + narrow, 2 ** (width - 1) - 1
    else:
        low, high = 0, 2**width - 1 - narrow
    mode = attributes.get("rounding_mode", b"ROUND").decode()
    rounding: Callable[[Reals], Reals] = {
        "ROUND": np.rint, "FLOOR": np.floor, "CEIL": np.ceil, "ROUND_TO_ZERO": np.trunc,
    }[mode]  # fmt: skip
    return (rounding(np.clip(x / scale + zero, low, high)) - zero) * scale


def _convolve(node: NodeProto, x: Reals, w: Reals) -> Reals:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    rows, cols = attributes.get("strides", [1, 1])
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
    result: Reals = np.einsum("ncyxij,ocij->noyx", windows[:, :, ::rows, ::cols], w)
    return result


def _node(node: NodeProto, v: list[Any]) -> Reals:
    kind = node.op_type
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if kind == "Quant":
        return _quant(node, *v)
    if kind == "BipolarQuant":
        return np.where(v[0] >= 0, v[1], -v[1])
    if kind == "QuantizeLinear":
        low, high = (-128, 127) if v[2].dtype == np.int8 else (0, 255)
        return np.clip(np.rint(v[0] / v[1]) + v[2], low, high)
    if kind == "DequantizeLinear":
        return (v[0] - v[2].astype(np.float64)) * v[1]
    if kind == "Clip":
        return np.clip(v[0], v[1], v[2])
    if kind == "Conv":
        bias = v[2].reshape(1, -1, 1, 1) if len(v) > 2 else 0.0
        return _convolve(node, v[0], v[1]) + bias
    if kind == "MatMul":
        return v[0] @ v[1]
    if kind == "Gemm":
        w = v[1].T if attributes.get("transB", 0) else v[1]
        return v[0] @ w + (v[2] if len(v) > 2 else 0.0)
    if kind == "BatchNormalization":
        x, gamma, beta, mean, variance = v
        shape = (1, -1, *[1] * (x.ndim - 2))
        gamma = gamma / np.sqrt(variance + attributes.get("epsilon", 1e-5))
        return x * gamma.reshape(shape) + (beta - mean * gamma).reshape(shape)
    if kind == "Transpose":
        return v[0].transpose(attributes["perm"])
    if kind == "Flatten":
        return v[0].reshape(len(v[0]), -1)
    return {
        "Relu": lambda x: np.maximum(x, 0),
        "Add": np.add,
        "Mul": np.multiply,
        "Sub": np.subtract,
        "Div": np.divide,
    }[kind](*v)


def execute(model: onnx.ModelProto, x: NDArray[np.float32]) -> dict[str, Reals]:
    """All tensors of a graph whose nodes are in order, for samples ``x`` of its first input."""
    values: dict[str, Any] = {}
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        whole = array.dtype.kind in "iu"
        values[tensor.name] = array if whole else array.astype(np.float64)
    values[model.graph.input[0].name] = x.astype(np.float64)
    for node in model.graph.node:
        values[node.output[0]] = _node(node, [values[name] for name in node.input])
    return values
