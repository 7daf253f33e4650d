# SPDX-License-Identifier: Apache-2.0
"""A product with what follows it channel by channel: bias, scale, BatchNormalization.

In a QDQ model of ONNX Runtime's quantizer, at most a bias follows, and the layer is exact. Scales
and BatchNormalization between a product and its quantizer (QONNX, Brevitas) are folded into the
factor and the bias of each output; the bias is rounded to units of the accumulator.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ...arch.errors import ModelError
from ..graph import Quantization
from .build import Build, unsupported
from .lowbits import fold_quant
from .products import (
    Factors,
    build_product,
    check_gemm,
    exact_factor,
    no_product_of_activations,
    product_layout,
)
from .values import Codes, Floating, Grid, Real
from .view import describe
from .weights import Weights, bias_of_qdq, round_bias

__all__ = ["BIPOLAR", "PRODUCTS", "Chain", "affine_chain", "build_affine"]

PRODUCTS = ("Conv", "Gemm", "MatMul")
_AFFINE = ("Add", "Sub", "Mul", "Div", "BatchNormalization")

BIPOLAR = Grid(Quantization(1.0, 0, True))
"""Sums as they are, so that their sign survives the requantizer."""


@dataclass(frozen=True, eq=False)
class Chain:
    """A product and the nodes that follow it channel by channel, the first behind it first.

    ``signs``: only the sign of the sum counts, so that biases are rounded down.
    """

    product: Floating
    posts: tuple[Floating, ...]
    signs: bool = field(default=False)


def affine_chain(build: Build, value: Floating) -> Chain | None:
    """The chain that ends in ``value``; None if it does not begin with a product."""
    posts: list[Floating] = []
    current = value
    while current.node.op_type in _AFFINE:
        computed = [o for o in current.operands if o is not None]
        if len(computed) != 1 or not isinstance(computed[0], Floating):
            return None
        posts.append(current)
        current = computed[0]
    if current.node.op_type not in PRODUCTS:
        return None
    return Chain(current, tuple(reversed(posts)))


def build_affine(build: Build, chain: Chain, grid: Grid, output: str, sole: bool = True) -> Codes:
    """The layer of a chain."""
    node, graph = chain.product.node, build.graph
    if node.op_type == "Gemm":
        check_gemm(build, node)
    first, *others = chain.product.operands
    if others and others[0] is not None:
        raise no_product_of_activations(node)
    if not isinstance(first, Real):
        before = (
            f"follows the {describe(first.node)} directly"
            if isinstance(first, Floating)
            else "reads a tensor that is not quantized"
        )
        raise unsupported(
            node, before, "quantize the tensor between them too (ohmtwin quantize does)"
        )
    source = first.codes
    weights = build.weights.of_qdq(node, 1, product_layout(build, node))
    bias, exact = np.zeros(1, np.int64), True
    posts = list(chain.posts)
    real: NDArray[np.float64] | float = 0.0
    if node.op_type != "MatMul" and graph.operand(node, 2):
        if (posts or chain.signs) and not _is_exact(build, node, 2):
            real = _channels(build, node, 2, node, len(weights.values))  # rounded once, at the end
        else:
            bias, exact = bias_of_qdq(graph, node, 2, source.quant, weights)
    elif node.op_type != "Conv" and _is_bias(chain):
        add = posts[0]
        index = 0 if add.operands[0] is None else 1
        bias, exact = bias_of_qdq(graph, add.node, index, source.quant, weights)
        posts = []
    if not exact:
        build.note(f"The bias of the {describe(node)} is float and is rounded to int32")
    elif sole and source.quant.signed != grid.quant.signed:
        build.note(
            f"ONNX Runtime computes the {describe(node)} in float, as its input and its result are "
            "of different types"
        )
    last = posts[-1].node if posts else (chain.posts[-1].node if chain.posts else node)
    if len(graph.consumers(last.output[0])) > 1 or last.output[0] in graph.outputs:
        build.note(
            f"ONNX Runtime computes the {describe(node)} in float, as its result has other readers "
            "beside its quantizer"
        )
    factors = Factors(exact_factor(source.quant, weights, grid.quant), bias)
    if posts or chain.signs:
        weights, factors = _fold(build, node, chain, source, weights, bias, real, grid)
        if posts and not chain.signs:
            build.note(
                f"The {describe(posts[-1].node)} behind the {describe(node)} is folded into its "
                "factors; ONNX Runtime computes it in float"
            )
    return build_product(build, node, source, weights, factors, grid, output)


def _is_bias(chain: Chain) -> bool:
    """Whether all that follows a product is the addition of its bias."""
    return len(chain.posts) == 1 and chain.posts[0].node.op_type == "Add" and not chain.signs


def _is_exact(build: Build, node: NodeProto, index: int) -> bool:
    """Whether a bias is stored as int32, in units of the accumulator."""
    maker = build.graph.producers.get(build.graph.operand(node, index))
    return maker is not None and maker.op_type == "DequantizeLinear"


def _fold(
    build: Build,
    node: NodeProto,
    chain: Chain,
    source: Codes,
    weights: Weights,
    bias: NDArray[np.int64],
    real: NDArray[np.float64] | float,
    grid: Grid,
) -> tuple[Weights, Factors]:
    """Gains and offsets of each output into weights, factors and biases.

    The bias of the product is ``bias`` in units of the accumulator, plus ``real``.
    """
    outputs = len(weights.values)
    unit = np.float64(source.quant.scale) * weights.scale.astype(np.float64)
    unit = np.broadcast_to(unit, outputs).copy()
    offset = np.broadcast_to(bias * unit + real, outputs).copy()
    gain = np.ones(outputs)
    for post in chain.posts:
        scale, shift = _step(build, post, node, outputs)
        gain, offset = gain * scale, offset * scale + shift
    values = weights.values
    if (gain < 0).any():
        if (values[gain < 0] == -128).any():
            raise unsupported(
                node,
                "has weights of -128 whose channel is scaled by a negative number",
                "quantize its weights to -127 .. 127",
            )
        sign = np.where(gain < 0, -1, 1).astype(np.int8)
        values = values * sign.reshape(-1, *[1] * (values.ndim - 1))
    if (gain == 0).any():  # a channel that is its offset alone
        values = values.copy()
        values[gain == 0] = 0
    size = np.where(gain == 0, np.float64(grid.quant.scale) * 2.0**-16, np.abs(gain) * unit)
    if chain.signs:
        with np.errstate(over="ignore"):
            exact = np.floor(offset / size)
        if not (np.abs(exact) < 2.0**31).all():
            raise ModelError(f"The bias of the {describe(node)} is too large for 32 bits")
        return replace(weights, values=values), Factors(
            np.ones(outputs, np.float32), exact.astype(np.int64)
        )
    rounded = round_bias(node, offset, size.astype(np.float32))
    factor = (size / np.float64(grid.quant.scale)).astype(np.float32)
    return replace(weights, values=values), Factors(factor, rounded)


def _step(
    build: Build, post: Floating, product: NodeProto, outputs: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gain and offset of one node."""
    node, graph = post.node, build.graph
    one, zero = np.ones(outputs), np.zeros(outputs)
    if node.op_type == "BatchNormalization":
        gamma, beta, mean, variance = (
            _channels(build, node, k, product, outputs) for k in (1, 2, 3, 4)
        )
        if (variance < 0).any():
            raise ModelError(f"The {describe(node)} has a negative variance; the file is damaged")
        scale = gamma / np.sqrt(variance + graph.real(node, "epsilon", 1e-5))
        return scale, beta - mean * scale
    index = 0 if post.operands[0] is None else 1
    constant = _channels(build, node, index, product, outputs)
    if node.op_type == "Add":
        return one, constant
    if node.op_type == "Mul":
        return constant, zero
    if node.op_type == "Sub":
        return (one, -constant) if index == 1 else (-one, constant)
    if index == 0 or (constant == 0).any():
        raise unsupported(node, "divides by a product or by zero", "multiply by a constant instead")
    return one / constant, zero


def _channels(
    build: Build, node: NodeProto, index: int, product: NodeProto, outputs: int
) -> NDArray[np.float64]:
    """A constant operand as one value an output."""
    graph = build.graph
    name = graph.operand(node, index)
    maker = graph.producers.get(name)
    if maker is not None and maker.op_type in ("Quant", "IntQuant") and name in graph.fixed:
        array: NDArray[np.float64] = fold_quant(graph, maker).real()
    elif maker is not None and maker.op_type == "DequantizeLinear" and name in graph.fixed:
        codes = graph.constant(maker, 0, "constant").astype(np.float64)
        zero = graph.zero_point(maker, 2)
        scale = graph.scale(maker, 1).astype(np.float64)
        if scale.size != 1 and codes.ndim != 1:
            raise unsupported(node, "has a constant with several scales", "use a single scale")
        array = (codes - (0.0 if zero is None else zero.astype(np.float64))) * (
            scale if codes.ndim == 1 else scale[0]
        )
    else:
        array = graph.constant(node, index, "constant").astype(np.float64)
    if not np.isfinite(array).all():
        raise ModelError(f"The constants of the {describe(node)} must be finite")
    conv = product.op_type == "Conv"
    axis = array.ndim - 1
    if conv and node.op_type != "BatchNormalization":
        axis = {1: 0 if node is product else -1, 3: 0, 4: 1}.get(array.ndim, -1)
    if array.size == 1:
        return np.full(outputs, float(array.ravel()[0]))
    if axis < 0 or array.size != outputs or array.shape[axis] != outputs:
        raise unsupported(
            node,
            f"has a constant of shape {list(array.shape)} behind the {describe(product)}",
            "constants must have one value for each output channel",
        )
    return array.ravel()
