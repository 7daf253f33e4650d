# SPDX-License-Identifier: Apache-2.0
"""Nodes that work on codes: QLinearConv, QGemm, QLinearAdd and the rest of QOperator models."""

from collections.abc import Callable

import numpy as np
from onnx import NodeProto

from ...arch.errors import ModelError
from ..graph import Quantization
from .build import Build
from .elementwise import Fixed, build_multiply, build_sum, constant_layer, fixed_operand
from .pools import (
    build_average_pool,
    build_concat,
    build_global_average_pool,
    build_softmax,
)
from .products import (
    Factors,
    build_product,
    check_gemm,
    exact_factor,
    no_product_of_activations,
    product_layout,
)
from .tables import leaky_relu, sigmoid
from .values import Codes, Grid, Value
from .view import describe
from .weights import bias_of_qoperator

__all__ = ["QOPERATORS", "build_qoperator", "check_quant"]

Operands = tuple[Value | None, ...]


def build_qoperator(build: Build, node: NodeProto, operands: Operands) -> Codes:
    """The layer of a QOperator node."""
    return QOPERATORS[node.op_type](build, node, operands)


def check_quant(node: NodeProto, codes: Codes, quant: Quantization) -> None:
    """Codes must mean the same to the node that reads them as to the one that made them."""
    if quant != codes.quant:
        raise ModelError(
            f"The {describe(node)} reads tensor {codes.tensor!r} with scale {quant.scale!r} "
            "and a zero point or type other than the ones it was quantized with; quantize the "
            "model again"
        )


def _signed(operands: Operands) -> bool:
    """Type of codes where a zero point is left out: that of the first operand."""
    return any(isinstance(o, Codes) and o.quant.signed for o in operands)


def _source(build: Build, node: NodeProto, operands: Operands, index: int) -> Codes:
    """The codes of an operand that is followed by its scale and zero point."""
    value = operands[index] if index < len(operands) else None
    if value is None and build.graph.operand(node, index) in build.graph.fixed:
        raise ModelError(
            f"The {describe(node)} reads the constant {node.input[index]!r} where its activations "
            "belong; fold constants before quantizing"
        )
    if not isinstance(value, Codes):
        raise ModelError(
            f"The {describe(node)} reads {build.graph.operand(node, index)!r}, which is not "
            "quantized; it must come from QuantizeLinear or another quantized node"
        )
    quant = build.graph.activation(node, index + 1, index + 2, value.quant.signed)
    check_quant(node, value, quant)
    return value


def _product(build: Build, node: NodeProto, operands: Operands) -> Codes:
    """QLinearConv, QGemm, QLinearMatMul."""
    graph, gemm = build.graph, node.op_type == "QGemm"
    y_index = 7 if gemm else 6
    if not graph.operand(node, y_index):
        raise ModelError(
            f"The {describe(node)} gives a float result; quantize the outputs of all layers"
        )
    if gemm:
        check_gemm(build, node)
    if graph.operand(node, 3) not in graph.fixed and len(operands) > 3 and operands[3] is not None:
        raise no_product_of_activations(node)
    source = _source(build, node, operands, 0)
    weights = build.weights.of_qoperator(node, 3, product_layout(build, node))
    bias = np.zeros(1, np.int64)
    if node.op_type != "QLinearMatMul":
        bias = bias_of_qoperator(graph, node, 6 if gemm else 8, len(weights.values))
    y_quant = graph.activation(node, y_index, y_index + 1, source.quant.signed)
    factors = Factors(exact_factor(source.quant, weights, y_quant), bias)
    return build_product(build, node, source, weights, factors, Grid(y_quant), node.output[0])


def _pair(
    build: Build, node: NodeProto, operands: Operands
) -> tuple[tuple[Codes | Fixed, Codes | Fixed], Grid]:
    """Both operands of QLinearAdd and QLinearMul, one of which may be constant."""
    graph = build.graph
    rank = max((len(o.shape) for o in operands if isinstance(o, Codes)), default=0)
    found: list[Codes | Fixed] = []
    if len(operands) < 7:
        raise ModelError(
            f"The {describe(node)} has {len(operands)} operands, but needs 7; the file is damaged"
        )
    for index in (0, 3):
        if operands[index] is None and graph.operand(node, index) in graph.fixed:
            codes = graph.constant(node, index, "constant")
            quant = graph.activation(node, index + 1, index + 2, codes.dtype == np.int8)
            found.append(fixed_operand(node, codes, quant, rank))
        else:
            found.append(_source(build, node, operands, index))
    grid = Grid(graph.activation(node, 6, 7, _signed(operands)))
    return (found[0], found[1]), grid


def _add(build: Build, node: NodeProto, operands: Operands) -> Codes:
    pair, grid = _pair(build, node, operands)
    return build_sum(build, node, pair, grid, node.output[0], fused=True)


def _multiply(build: Build, node: NodeProto, operands: Operands) -> Codes:
    pair, grid = _pair(build, node, operands)
    return build_multiply(build, node, pair, grid, node.output[0], fused=True)


def _concat(build: Build, node: NodeProto, operands: Operands) -> Codes:
    graph = build.graph
    if len(operands) < 5 or (len(operands) - 2) % 3:
        raise ModelError(
            f"The {describe(node)} needs a tensor, a scale and a zero point for each source, not "
            f"{len(operands) - 2} operands"
        )
    grid = Grid(graph.activation(node, 0, 1, _signed(operands)))
    sources: list[Codes] = []
    for index in range(2, len(operands), 3):
        if operands[index] is None and graph.operand(node, index) in graph.fixed:
            codes = graph.constant(node, index, "constant")
            quant = graph.activation(node, index + 1, index + 2, codes.dtype == np.int8)
            rank = max((len(o.shape) for o in operands if isinstance(o, Codes)), default=0)
            fixed = fixed_operand(node, codes, quant, rank)
            sources.append(constant_layer(build, node, fixed, node.input[index]))
        else:
            sources.append(_source(build, node, operands, index))
    return build_concat(build, node, sources, grid, node.output[0])


def _unary(build: Build, node: NodeProto, operands: Operands) -> tuple[Codes, Grid]:
    """Source and result of a node with operands x, x scale, x zero, y scale, y zero."""
    source = _source(build, node, operands, 0)
    return source, Grid(build.graph.activation(node, 3, 4, source.quant.signed))


def _average_pool(build: Build, node: NodeProto, operands: Operands) -> Codes:
    source, grid = _unary(build, node, operands)
    return build_average_pool(build, node, source, grid, node.output[0])


def _global_average_pool(build: Build, node: NodeProto, operands: Operands) -> Codes:
    source, grid = _unary(build, node, operands)
    return build_global_average_pool(build, node, source, grid, node.output[0], fused=True)


def _sigmoid(build: Build, node: NodeProto, operands: Operands) -> Codes:
    source, grid = _unary(build, node, operands)
    table = grid.quantize(sigmoid(source.quant.dequantize(np.arange(256))))
    return build.table(node, source, table, grid, node.output[0])


def _leaky_relu(build: Build, node: NodeProto, operands: Operands) -> Codes:
    source, grid = _unary(build, node, operands)
    function = leaky_relu(build.graph.real(node, "alpha", 0.01))
    table = grid.quantize(function(source.quant.dequantize(np.arange(256))))
    return build.table(node, source, table, grid, node.output[0])


def _softmax(build: Build, node: NodeProto, operands: Operands) -> Codes:
    source, grid = _unary(build, node, operands)
    axis = build.graph.integer(node, "axis", -1)
    return build_softmax(build, node, source, grid, node.output[0], axis)


QOPERATORS: dict[str, Callable[[Build, NodeProto, Operands], Codes]] = {
    "QGemm": _product,
    "QLinearAdd": _add,
    "QLinearAveragePool": _average_pool,
    "QLinearConcat": _concat,
    "QLinearConv": _product,
    "QLinearGlobalAveragePool": _global_average_pool,
    "QLinearLeakyRelu": _leaky_relu,
    "QLinearMatMul": _product,
    "QLinearMul": _multiply,
    "QLinearSigmoid": _sigmoid,
    "QLinearSoftmax": _softmax,
}
"""Operators on codes, and what builds their layers."""
