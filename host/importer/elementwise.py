# SPDX-License-Identifier: Apache-2.0
"""Sums, differences and products of two quantized tensors, and tables of one."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ...arch.errors import ModelError
from ..graph import Combine, Constant, Multiply, Quantization
from ..graph.operators import Shape
from .build import Build, unsupported
from .combine import add_codes, fit_sum, float_codes
from .multiply import fit_product, multiply_codes
from .products import requantizer
from .values import Codes, Grid
from .view import Array, describe

__all__ = [
    "Fixed",
    "build_multiply",
    "build_sum",
    "constant_layer",
    "fixed_operand",
    "scalar_side",
]

Table = NDArray[np.uint8]


class Fixed:
    """A constant operand: codes in the layout of a sample, and what they mean.

    Parameters
    ----------
    codes : uint8
        Internal codes.
    grid : Grid
    """

    def __init__(self, codes: NDArray[np.uint8], grid: Grid) -> None:
        self.codes = codes
        self.grid = grid


def fixed_operand(node: NodeProto, codes: Array, quant: Quantization, rank: int) -> Fixed:
    """Bring a constant tensor to the axes of a sample (``rank`` of them) or fewer."""
    if codes.dtype != (np.int8 if quant.signed else np.uint8):
        raise ModelError(
            f"A constant that the {describe(node)} reads is {codes.dtype}, but its zero point is "
            f"{'int8' if quant.signed else 'uint8'}; both must have the same type"
        )
    if codes.size == 0:
        raise ModelError(f"A constant that the {describe(node)} reads is empty")
    internal = (codes.astype(np.int16) + (128 if quant.signed else 0)).astype(np.uint8)
    if internal.ndim > rank:
        if internal.ndim != rank + 1 or internal.shape[0] != 1:
            raise ModelError(
                f"A constant that the {describe(node)} reads has the shape {list(codes.shape)}, "
                "which differs from sample to sample; give it a first axis of 1"
            )
        internal = internal[0]
    return Fixed(internal, Grid(quant))


def constant_layer(build: Build, node: NodeProto, fixed: Fixed, tensor: str) -> Codes:
    """A constant as a tensor of the network."""
    layer = Constant(
        name=build.tensor(f"{build.name(node)}.constant"),
        output=build.claim(tensor),
        codes=np.ascontiguousarray(fixed.codes),
        out_quant=fixed.grid.quant,
    )
    return build.add(layer, [], fixed.grid)


def scalar_side(shape: Shape, other: Shape) -> bool:
    """Whether ONNX Runtime meets one value of ``shape`` for a run of values of ``other``.

    It walks along the trailing axes on which both agree or one has size 1.
    """
    rank = max(len(shape), len(other))
    mine = (1,) * (rank - len(shape)) + shape
    theirs = (1,) * (rank - len(other)) + other
    for a, b in zip(reversed(mine), reversed(theirs), strict=True):
        if a == b == 1:
            continue
        return a == 1
    return False


def _reached(source: "Codes | Fixed") -> NDArray[np.int64]:
    """The internal codes that an operand can have."""
    if isinstance(source, Fixed):
        return np.unique(source.codes).astype(np.int64)
    return np.arange(source.grid.low, source.grid.high + 1)


def build_sum(
    build: Build,
    node: NodeProto,
    operands: "tuple[Codes | Fixed, Codes | Fixed]",
    grid: Grid,
    output: str,
    *,
    fused: bool,
    sign: int = 1,
) -> Codes:
    """``a + b`` or ``a - b``.

    Parameters
    ----------
    fused : bool
        Whether ONNX Runtime adds the codes (QLinearAdd), or the dequantized values in float.
    """
    first, second = operands
    shapes = [o.codes.shape if isinstance(o, Fixed) else o.shape for o in operands]
    quants = [o.grid.quant for o in operands]
    if len({q.signed for q in (*quants, grid.quant)}) > 1:
        fused = False
    row_of_b = scalar_side(shapes[0], shapes[1])
    if isinstance(first, Fixed) and first.codes.size == 1:
        row_of_b = True

    def table(a: NDArray[np.int64], b: NDArray[np.int64]) -> Table:
        if fused:
            return add_codes(a, quants[0], b, quants[1], grid, row_of_b)
        return float_codes(a, quants[0], b, quants[1], grid, sign)

    single = _by_table(build, node, operands, shapes, table, grid, output)
    if single is not None:
        return single
    a, b = _reached(first)[:, None], _reached(second)[None, :]
    scale = grid.quant.scale
    ratios = (quants[0].scale / scale, sign * quants[1].scale / scale)
    if max(abs(r) for r in ratios) > 2.0**14 or max(abs(r) for r in ratios) < 2.0**-14:
        raise unsupported(
            node, "combines scales that lie too far apart", "quantize the model again"
        )
    fixed = grid.quant.internal_zero_point - sum(
        r * q.internal_zero_point for r, q in zip(ratios, quants, strict=True)
    )
    fit = fit_sum(table(a, b), a, b, ratios, fixed, grid)
    if fit.wrong:
        build.note(
            f"The {describe(node)} differs from ONNX Runtime by one code for {fit.wrong} of "
            f"{fit.pairs} pairs of codes"
        )
    sources = [
        o if isinstance(o, Codes) else constant_layer(build, node, o, f"{output}_constant")
        for o in operands
    ]
    layer = Combine(
        name=build.name(node),
        sources=tuple(s.tensor for s in sources),
        output=build.claim(output),
        factors=fit.factors,
        offset=fit.offset,
        mantissa=1 << 23,
        shift=23 + fit.shift,
        # It is part of the offset: ties must be even with it, not without.
        zero_point=0,
        clip_low=grid.low,
        clip_high=grid.high,
        out_quant=grid.quant,
    )
    return build.add(layer, sources, grid)


def _by_table(
    build: Build,
    node: NodeProto,
    operands: "tuple[Codes | Fixed, Codes | Fixed]",
    shapes: list[Shape],
    table: Callable[[NDArray[np.int64], NDArray[np.int64]], Table],
    grid: Grid,
    output: str,
) -> Codes | None:
    """A table of one operand: the other is a constant of a single value, or the same tensor."""
    codes = np.arange(256)
    if operands[0] == operands[1] and isinstance(operands[0], Codes):
        entries = np.diagonal(table(codes[:, None], codes[None, :]))
        return build.table(node, operands[0], np.ascontiguousarray(entries), grid, output)
    for index, constant in enumerate(operands):
        other = operands[1 - index]
        if not isinstance(constant, Fixed) or not isinstance(other, Codes):
            continue
        if constant.codes.size != 1 or np.broadcast_shapes(*shapes) != other.shape:
            continue
        value = constant.codes.astype(np.int64).reshape(1, 1)
        if index == 1:
            entries = table(codes[:, None], value)[:, 0]
        else:
            entries = table(value, codes[None, :])[0]
        return build.table(node, other, np.ascontiguousarray(entries), grid, output)
    return None


def build_multiply(
    build: Build,
    node: NodeProto,
    operands: "tuple[Codes | Fixed, Codes | Fixed]",
    grid: Grid,
    output: str,
    *,
    fused: bool,
) -> Codes:
    """``a * b``."""
    shapes = [o.codes.shape if isinstance(o, Fixed) else o.shape for o in operands]
    quants = [o.grid.quant for o in operands]
    if len({q.signed for q in (*quants, grid.quant)}) > 1:
        fused = False
    # The order of ONNX Runtime (MLAS, qlmul.cpp), each step in float32.
    with np.errstate(over="ignore", under="ignore"):
        factor = (
            np.float32(quants[0].scale) * np.float32(quants[1].scale) / np.float32(grid.quant.scale)
        )
    requantizer(node, np.array([factor], np.float32), 1)  # says so if it is out of range

    def wanted(a: NDArray[np.int64], b: NDArray[np.int64]) -> Table:
        if fused:
            return multiply_codes(a, quants[0], b, quants[1], grid)
        return grid.quantize(quants[0].dequantize(a) * quants[1].dequantize(b))

    single = _by_table(build, node, operands, shapes, wanted, grid, output)
    if single is not None:
        return single
    a, b = _reached(operands[0])[:, None], _reached(operands[1])[None, :]
    zeros = (quants[0].internal_zero_point, quants[1].internal_zero_point)
    target = wanted(a, b)
    fit = fit_product(target, a, b, zeros, factor, grid)
    mantissa, shift = requantizer(node, np.array([fit.factor], np.float32), 1)
    if fit.wrong:
        build.note(
            f"The {describe(node)} differs from ONNX Runtime by one code for {fit.wrong} of "
            f"{fit.pairs} pairs of codes"
        )
    sources = [
        o if isinstance(o, Codes) else constant_layer(build, node, o, f"{output}_constant")
        for o in operands
    ]
    layer = Multiply(
        name=build.name(node),
        sources=(sources[0].tensor, sources[1].tensor),
        output=build.claim(output),
        zero_points=zeros,
        gains=fit.gains,
        offset=fit.offset,
        mantissa=int(mantissa[0]),
        shift=int(shift[0]),
        zero_point=fit.zero_point,
        clip_low=grid.low,
        clip_high=grid.high,
        out_quant=grid.quant,
    )
    return build.add(layer, sources, grid)
