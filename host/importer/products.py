# SPDX-License-Identifier: Apache-2.0
"""Build :class:`~ohmtwin.host.graph.Dense` and :class:`~ohmtwin.host.graph.Conv` layers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ...arch.errors import CapacityError, ModelError
from ...arch.formats import RequantScale
from ..graph import Concat, Conv, Dense, Quantization
from .build import Build, unsupported
from .values import Codes, Grid
from .view import describe
from .weights import Weights
from .windows import Window, conv_window

__all__ = [
    "Factors",
    "build_product",
    "check_gemm",
    "exact_factor",
    "no_product_of_activations",
    "product_layout",
    "requantizer",
]


@dataclass(frozen=True, eq=False)
class Factors:
    """The requantizer of each output: ``real factors`` float32 and a bias in accumulator units."""

    factor: NDArray[np.float32]
    bias: NDArray[np.int64]


def product_layout(build: Build, node: NodeProto) -> str:
    """How the weights of a product lie: "conv", "out_in" or "in_out"."""
    if node.op_type in ("Conv", "QLinearConv"):
        return "conv"
    gemm = node.op_type in ("Gemm", "QGemm")
    return "out_in" if gemm and build.graph.integer(node, "transB", 0) else "in_out"


def check_gemm(build: Build, node: NodeProto) -> None:
    """Gemm computes ``alpha * A' @ B' + beta * C``; only the plain product is a layer."""
    for name, wanted in (("alpha", 1.0), ("beta", 1.0), ("transA", 0.0)):
        value = build.graph.real(node, name, wanted)
        if value != wanted:
            raise ModelError(
                f"The {describe(node)} has {name}={value:g}, but only {wanted:g} is supported; "
                "fold it into the weights"
            )


def exact_factor(x: Quantization, weights: Weights, y: Quantization) -> NDArray[np.float32]:
    """The factor of each output in the order of ONNX Runtime, each step in float32.

    ONNX Runtime, quant_gemm.cc and qlinearconv.cc, ComputeOutputScale.
    """
    with np.errstate(over="ignore", under="ignore"):
        factor: NDArray[np.float32] = np.float32(x.scale) * weights.scale / np.float32(y.scale)
    return factor


def requantizer(
    node: NodeProto, factors: NDArray[np.float32], outputs: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Mantissas and shifts of float32 factors.

    Raises
    ------
    ModelError
        If a factor is out of the requantizer's range.
    """
    try:
        scales = [RequantScale.from_float(float(f)) for f in factors]
    except ValueError as error:
        raise ModelError(
            f"The scales of the {describe(node)} give no usable factor: {error}; quantize the "
            "model again"
        ) from None
    return (
        np.resize(np.array([s.mantissa for s in scales], np.uint32), outputs),
        np.resize(np.array([s.shift for s in scales], np.uint8), outputs),
    )


def build_product(
    build: Build,
    node: NodeProto,
    source: Codes,
    weights: Weights,
    factors: Factors,
    grid: Grid,
    output: str,
) -> Codes:
    """A fully connected layer or a convolution.

    Parameters
    ----------
    factors : Factors
        Biases without the input's zero point, which is folded in here.

    Raises
    ------
    CapacityError
        If a folded bias does not fit 32 bits.
    ModelError
        If shapes do not fit, or a factor is out of the requantizer's range.
    """
    values = weights.values
    outputs = len(values)
    zero = source.quant.internal_zero_point
    sums = values.reshape(outputs, -1).sum(axis=1, dtype=np.int64)
    folded = factors.bias - zero * sums
    if folded.min() < -(1 << 31) or folded.max() >= 1 << 31:
        raise CapacityError(
            f"The bias of the {describe(node)} leaves 32 bits once its input's zero point is "
            "folded in; use smaller weights or biases"
        )
    mantissa, shift = requantizer(node, factors.factor, outputs)
    bias = folded.astype(np.int32)
    if weights.copies > 1:
        source = _repeated(build, node, source, weights.copies, output)
    if node.op_type in ("Conv", "QLinearConv"):
        window = conv_window(build.graph, node, source.shape, values.shape)
        return _conv(build, node, source, values, bias, mantissa, shift, window, grid, output)
    inputs = values.shape[1]
    gemm = node.op_type in ("Gemm", "QGemm")
    if not source.shape or source.shape[-1] != inputs or (gemm and len(source.shape) != 1):
        raise ModelError(
            f"The {describe(node)} takes {inputs} values a sample, but tensor {source.tensor!r} "
            f"has the shape {list(source.shape)}; flatten it first, or check the weights"
        )
    dense = Dense(
        name=build.name(node),
        input=source.tensor,
        output=build.claim(output),
        weights=values,
        bias=bias,
        mantissa=mantissa,
        shift=shift,
        zero_point=grid.quant.internal_zero_point,
        clip_low=grid.low,
        clip_high=grid.high,
        out_quant=grid.quant,
    )
    return build.add(dense, [source], grid)


def _repeated(build: Build, node: NodeProto, source: Codes, copies: int, output: str) -> Codes:
    """A tensor several times: along its channels, or the axis that a matrix works on."""
    axis = 0 if node.op_type in ("Conv", "QLinearConv") else len(source.shape) - 1
    layer = Concat(
        name=build.name(node),
        sources=(source.tensor,) * copies,
        output=build.claim(f"{output}_copies"),
        axis=axis,
        tables=(None,) * copies,
        out_quant=source.quant,
    )
    return build.add(layer, [source] * copies, source.grid)


def _conv(
    build: Build,
    node: NodeProto,
    source: Codes,
    values: NDArray[np.int8],
    bias: NDArray[np.int32],
    mantissa: NDArray[np.uint32],
    shift: NDArray[np.uint8],
    window: Window,
    grid: Grid,
    output: str,
) -> Codes:
    """One axis runs as one row of two, between two reshapes."""
    flat = len(source.shape) == 2
    image = source
    if flat:
        to = (source.shape[0], 1, source.shape[1])
        image = build.reshape(node, source, to, f"{output}_rows")
    groups = build.graph.integer(node, "group", 1)
    outputs, channels = values.shape[:2]
    if groups < 1 or outputs % groups or channels * groups != image.shape[0]:
        raise ModelError(
            f"The {describe(node)} has {groups} groups of {channels} channels for {outputs} "
            f"outputs, but tensor {source.tensor!r} has the shape {list(source.shape)}; check the "
            "weights"
        )
    conv = Conv(
        name=build.name(node),
        input=image.tensor,
        output=build.claim(output),
        weights=values,
        bias=bias,
        mantissa=mantissa,
        shift=shift,
        zero_point=grid.quant.internal_zero_point,
        clip_low=grid.low,
        clip_high=grid.high,
        out_quant=grid.quant,
        strides=window.strides,
        pads=window.pads,
        dilations=window.dilations,
        groups=groups,
        pad_code=source.quant.internal_zero_point,
    )
    result = build.add(conv, [image], grid)
    if flat:
        result = build.reshape(node, result, (outputs, result.shape[2]), f"{output}_flat")
    return result


def no_product_of_activations(node: NodeProto) -> ModelError:
    """Arrays hold weights, which do not change while a network runs."""
    return unsupported(
        node,
        "multiplies two computed tensors, which arrays cannot",
        "one operand must be constant weights; element by element, use Mul",
    )
