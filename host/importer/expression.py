# SPDX-License-Identifier: Apache-2.0
"""Float expressions of one quantized tensor, element by element: they become tables.

Whatever stands between two quantized tensors and works element by element, with constants of one
value, is a function of 256 codes: GELU written out with Erf, HardSwish, x * sigmoid(x).
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ...arch.errors import ModelError
from .build import Build
from .tables import FUNCTIONS, Reals
from .values import Codes, Floating, Real, Value
from .view import describe

__all__ = ["ELEMENTWISE", "clip_bounds", "evaluate", "leaves", "scalar_of"]

_BINARY: dict[str, Callable[[Reals, Reals], Reals]] = {
    "Add": np.add,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "Pow": np.power,
    "Sub": np.subtract,
}

ELEMENTWISE = frozenset(
    {*FUNCTIONS, *_BINARY, "Clip", "Elu", "HardSigmoid", "LeakyRelu", "PRelu", "ThresholdedRelu"}
)
"""Operators that a table can hold."""


def scalar_of(build: Build, node: NodeProto, index: int) -> float | None:
    """A constant operand of one value, in reals; None if it is none."""
    graph = build.graph
    name = graph.operand(node, index)
    if not name or name not in graph.fixed:
        return None
    if not graph.is_constant(name):
        fixed = build.weights.fixed_codes(node, name)
        if fixed is None or fixed.codes.size != 1:
            return None
        centred = int(fixed.codes.astype(np.int64).ravel()[0] - fixed.zero[0])
        return float(np.float32(centred) * fixed.scale[0])
    array = graph.constant(node, index, "constant")
    if array.size != 1 or array.dtype.kind not in "iuf":
        return None
    value = float(array.ravel()[0])
    if not math.isfinite(value):
        raise ModelError(f"The constant that the {describe(node)} reads must be finite")
    return value


def clip_bounds(build: Build, node: NodeProto) -> tuple[float, float]:
    """Lower and upper bound of Relu or Clip, as reals."""
    if node.op_type == "Relu":
        return 0.0, math.inf
    graph = build.graph
    bounds = []
    for index, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        if graph.operand(node, index):
            value = scalar_of(build, node, index)
            if value is None:
                graph.constant(node, index, name)  # says why it is none
                raise ModelError(f"The {name} of the {describe(node)} must be a finite number")
            bounds.append(value)
        elif name in graph.attributes(node):
            bounds.append(graph.real(node, name, 0.0))
        else:
            bounds.append(default)
    if bounds[0] > bounds[1]:
        raise ModelError(
            f"The {describe(node)} has a lower bound {bounds[0]:g} above its upper bound "
            f"{bounds[1]:g}"
        )
    return bounds[0], bounds[1]


def leaves(build: Build, value: Value | None, depth: int = 0) -> set[Codes] | None:
    """The quantized tensors that an elementwise expression reads; None if it is none."""
    if isinstance(value, Real):
        return {value.codes}
    if not isinstance(value, Floating) or value.node.op_type not in ELEMENTWISE or depth > 64:
        return None
    found: set[Codes] = set()
    for index in range(len(value.node.input)):
        operand = value.operands[index]
        if operand is None:
            bound = value.node.op_type == "Clip" and index > 0
            if (
                value.node.input[index]
                and not bound
                and scalar_of(build, value.node, index) is None
            ):
                return None
            continue
        inner = leaves(build, operand, depth + 1)
        if inner is None:
            return None
        found |= inner
    return found


def evaluate(build: Build, value: Value, codes: NDArray[np.int64]) -> Reals:
    """The value of an elementwise expression for internal codes of its one leaf, in float32."""
    if isinstance(value, Real):
        return value.codes.quant.dequantize(codes)
    if not isinstance(value, Floating):
        raise ModelError("An expression holds a tensor that is not quantized")
    node, graph = value.node, build.graph
    operands: list[Reals] = []
    for index in range(len(node.input) if node.op_type != "Clip" else 1):
        operand = value.operands[index]
        if operand is not None:
            operands.append(evaluate(build, operand, codes))
        elif node.input[index]:
            scalar = scalar_of(build, node, index)
            operands.append(np.full(len(codes), scalar, np.float32))
    kind = node.op_type
    with np.errstate(all="ignore"):
        result = _apply(build, node, kind, operands, graph.attributes(node))
    result = result.astype(np.float32)
    if not np.isfinite(result).all():
        raise ModelError(
            f"The {describe(node)} gives infinite values or NaN for some codes of its input; "
            "clip its input, or quantize the model again"
        )
    return result


def _apply(
    build: Build, node: NodeProto, kind: str, x: list[Reals], attributes: dict[str, object]
) -> Reals:
    graph = build.graph
    if kind in _BINARY:
        result: Reals = x[0]
        for other in x[1:]:
            result = _BINARY[kind](result, other)
        return result
    if kind == "Clip":
        low, high = (np.float32(b) for b in clip_bounds(build, node))
        return np.clip(x[0], low, high)
    if kind in ("LeakyRelu", "PRelu"):
        slope = x[1] if kind == "PRelu" else np.float32(graph.real(node, "alpha", 0.01))
        sloped: Reals = np.where(x[0] >= 0, x[0], slope * x[0])
        return sloped
    if kind == "Elu":
        alpha = np.float32(graph.real(node, "alpha", 1.0))
        curved: Reals = np.where(x[0] >= 0, x[0], alpha * FUNCTIONS["Exp"](x[0]) - alpha)
        return curved
    if kind == "ThresholdedRelu":
        alpha = np.float32(graph.real(node, "alpha", 1.0))
        kept: Reals = np.where(x[0] > alpha, x[0], np.float32(0))
        return kept
    if kind == "HardSigmoid":
        alpha = np.float32(graph.real(node, "alpha", 0.2))
        beta = np.float32(graph.real(node, "beta", 0.5))
        gate: Reals = np.clip(alpha * x[0] + beta, np.float32(0), np.float32(1))
        return gate
    if kind == "Gelu" and graph.text(node, "approximate", "none") == "tanh":
        return FUNCTIONS["FastGelu"](x[0])
    return FUNCTIONS[kind](x[0])
