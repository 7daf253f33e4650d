# SPDX-License-Identifier: Apache-2.0
"""Pools, and what joins or borders tensors: Concat, Pad, Softmax."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ...arch.errors import ModelError
from ..graph import AveragePool, Concat, MaxPool, Pad, Softmax, Transpose
from ..graph.operators import Shape
from .averages import count_differences
from .build import Build, unsupported
from .products import requantizer
from .values import Codes, Grid
from .view import describe
from .windows import Window, pool_window

__all__ = [
    "build_average_pool",
    "build_concat",
    "build_global_average_pool",
    "build_max_pool",
    "build_pad",
    "build_softmax",
]


def _image(build: Build, node: NodeProto, source: Codes, output: str) -> Codes:
    """A tensor of one axis behind the channels becomes one row of two axes."""
    if len(source.shape) != 2:
        return source
    return build.reshape(node, source, (source.shape[0], 1, source.shape[1]), f"{output}_rows")


def _check_layout(build: Build, node: NodeProto) -> None:
    if build.graph.integer(node, "channels_last", 0):
        raise unsupported(
            node,
            "has channels_last=1",
            "only channels-first tensors are supported; export the model before optimizing it",
        )


def build_max_pool(build: Build, node: NodeProto, source: Codes, output: str) -> Codes:
    """MaxPool: codes keep their meaning."""
    if (
        len(node.output) > 1
        and node.output[1]
        and (build.graph.consumers(node.output[1]) or node.output[1] in build.graph.outputs)
    ):
        raise unsupported(node, "gives its indices too", "use its first output only")
    window = pool_window(build.graph, node, source.shape)
    image = _image(build, node, source, output)
    flat = image is not source
    layer = MaxPool(
        name=build.name(node),
        input=image.tensor,
        output=build.claim(output),
        kernel=window.kernel,
        out_quant=source.quant,
        strides=window.strides,
        pads=window.pads,
        dilations=window.dilations,
    )
    _check_padding(node, window)
    result = build.add(layer, [image], source.grid)
    if flat:
        result = build.reshape(node, result, (result.shape[0], result.shape[2]), f"{output}_flat")
    return result


def _check_padding(node: NodeProto, window: Window) -> None:
    """A window that lies in the padding alone has no largest and no mean value."""
    for axis in (0, 1):
        reach = window.dilations[axis] * (window.kernel[axis] - 1) + 1
        before, after = window.pads[axis], window.pads[axis + 2] - window.extra[axis]
        if max(before, after) >= reach:
            raise unsupported(
                node,
                f"has pads {list(window.pads)} as large as its kernel {list(window.kernel)}",
                "use smaller pads",
            )


def _counts(size: int, kernel: int, stride: int, before: int, after: int) -> NDArray[np.int64]:
    """How many positions inside the tensor each window covers along an axis."""
    starts = np.arange(0, size + before + after - kernel + 1, stride) - before
    covered: NDArray[np.int64] = np.minimum(starts + kernel, size) - np.maximum(starts, 0)
    return covered


def build_average_pool(
    build: Build, node: NodeProto, source: Codes, grid: Grid, output: str
) -> Codes:
    """AveragePool: ONNX Runtime sums dequantized values in float, one after the other."""
    _check_layout(build, node)
    window = pool_window(build.graph, node, source.shape)
    if window.dilations != (1, 1):
        raise unsupported(node, f"has dilations {list(window.dilations)}", "only 1 is supported")
    include = bool(build.graph.integer(node, "count_include_pad", 0))
    if include and any(window.extra):
        raise unsupported(
            node, "has ceil_mode and count_include_pad", "pad with a Pad node before it"
        )
    _check_padding(node, window)
    rows, cols = ((1, *source.shape[1:]) if len(source.shape) == 2 else source.shape[1:])[:2]
    top, left, bottom, right = window.pads
    size = math.prod(window.kernel)
    if include:
        counts: tuple[int, ...] = (size,)
    else:
        per_row = _counts(rows, window.kernel[0], window.strides[0], top, bottom)
        per_col = _counts(cols, window.kernel[1], window.strides[1], left, right)
        counts = tuple(np.unique(np.multiply.outer(per_row, per_col)).tolist())
    if not counts:
        raise ModelError(
            f"The window {list(window.kernel)} of the {describe(node)} does not fit "
            f"{list(source.shape)}"
        )
    x, y = source.quant, grid.quant
    with np.errstate(over="ignore", under="ignore"):
        ratio = np.float64(x.scale) / np.float64(y.scale)
        factors = (ratio / np.array(counts, np.float64)).astype(np.float32)
    wrong, cases, example = count_differences(source, grid, size, counts, include)
    nudge = 0
    padded = include and any(window.pads)
    if wrong and x.scale == y.scale and y.internal_zero_point % 2 and not padded:
        # ONNX Runtime adds the zero point before it rounds ties to even. With an even one they
        # fall as they should; the mean makes up for it.
        other = -1 if x.internal_zero_point else 1
        if y.internal_zero_point + other <= 255:
            fewer = count_differences(source, grid, size, counts, include, other)
            if fewer[0] < wrong:
                nudge, (wrong, cases, example) = other, fewer
    if wrong:
        build.note(
            f"ONNX Runtime averages the {describe(node)} in float: {wrong} of {cases} random "
            f"windows get another code{example}"
        )
    return _average(build, node, source, grid, output, window, counts, factors, include, nudge)


def build_global_average_pool(
    build: Build, node: NodeProto, source: Codes, grid: Grid, output: str, *, fused: bool
) -> Codes:
    """GlobalAveragePool: ONNX Runtime sums codes as integers if it is fused."""
    _check_layout(build, node)
    if len(source.shape) not in (2, 3):
        raise unsupported(
            node,
            f"reads a tensor of shape {list(source.shape)} a sample",
            "supported are one or two axes behind the channels",
        )
    kernel = (1, source.shape[1]) if len(source.shape) == 2 else source.shape[1:3]
    size = math.prod(kernel)
    x, y = source.quant, grid.quant
    with np.errstate(over="ignore", under="ignore"):
        factor = np.float32(x.scale) / (np.float32(y.scale) * np.float32(size))
    if not fused:
        build.note(f"ONNX Runtime averages the {describe(node)} in float; a code may differ by one")
    window = Window((kernel[0], kernel[1]), (1, 1), (0, 0, 0, 0), (1, 1))
    factors = np.array([factor], np.float32)
    return _average(build, node, source, grid, output, window, (size,), factors, False)


def _average(
    build: Build,
    node: NodeProto,
    source: Codes,
    grid: Grid,
    output: str,
    window: Window,
    counts: tuple[int, ...],
    factors: NDArray[np.float32],
    include: bool,
    nudge: int = 0,
) -> Codes:
    image = _image(build, node, source, output)
    flat = image is not source
    mantissa, shift = requantizer(node, factors, len(counts))
    layer = AveragePool(
        name=build.name(node),
        input=image.tensor,
        output=build.claim(output),
        kernel=window.kernel,
        input_zero_point=source.quant.internal_zero_point + nudge,
        counts=counts,
        mantissa=mantissa,
        shift=shift,
        zero_point=grid.quant.internal_zero_point + nudge,
        clip_low=grid.low,
        clip_high=grid.high,
        out_quant=grid.quant,
        strides=window.strides,
        pads=window.pads,
        count_include_pad=include,
    )
    result = build.add(layer, [image], grid)
    if flat:
        result = build.reshape(node, result, (result.shape[0], result.shape[2]), f"{output}_flat")
    return result


def build_concat(
    build: Build, node: NodeProto, sources: Sequence[Codes], grid: Grid, output: str
) -> Codes:
    """Concat: each source through a table to the codes of the result."""
    if len({len(s.shape) for s in sources}) != 1:
        raise ModelError(
            f"The {describe(node)} joins shapes {[list(s.shape) for s in sources]}; all must have "
            "as many axes"
        )
    rank = len(sources[0].shape) + 1
    axis = build.graph.integer(node, "axis", 0)
    if not -rank <= axis < rank or axis % rank == 0:
        raise unsupported(
            node, f"is not supported along axis {axis}, as it mixes samples", "use another axis"
        )
    # The tables of ONNX Runtime (qlinear_concat.cc): copied if scale and zero point are equal.
    tables = tuple(None if s.grid == grid else grid.requantize(s.grid) for s in sources)
    layer = Concat(
        name=build.name(node),
        sources=tuple(s.tensor for s in sources),
        output=build.claim(output),
        axis=axis % rank - 1,
        tables=tables,
        out_quant=grid.quant,
    )
    return build.add(layer, sources, grid)


def build_pad(
    build: Build, node: NodeProto, source: Codes, real: float | None, code: int | None, output: str
) -> Codes:
    """Pad with a constant: ``real`` before quantization, or an internal ``code``."""
    graph = build.graph
    mode = graph.text(node, "mode", "constant")
    if mode != "constant":
        raise unsupported(node, f"has mode={mode!r}", "only mode='constant' is supported")
    rank = len(source.shape) + 1
    if graph.operand(node, 1):
        array = graph.constant(node, 1, "pads")
        pads = [int(p) for p in array.ravel()[:64]] if array.dtype.kind == "i" else []
    else:
        pads = list(graph.integers(node, "pads") or ())
    axes = list(range(rank))
    if graph.operand(node, 3):
        axes = [int(a) for a in graph.constant(node, 3, "axes").ravel()[:64]]
    if len(pads) != 2 * len(axes) or any(not -rank <= a < rank for a in axes):
        raise ModelError(
            f"The pads {pads} of the {describe(node)} do not fit {rank} axes; give two for each"
        )
    before, after = [0] * rank, [0] * rank
    for k, axis in enumerate(axes):
        before[axis], after[axis] = pads[k], pads[k + len(axes)]
    if min(pads, default=0) < 0 or max(pads, default=0) >= 1 << 24 or before[0] or after[0]:
        raise unsupported(
            node,
            f"has pads {pads}",
            "pads must not be negative (use Slice) and must leave the batch alone",
        )
    if not any(pads):
        return source
    if code is None:
        code = int(source.grid.quantize(np.float32(0.0 if real is None else real)))
    layer = Pad(
        name=build.name(node),
        input=source.tensor,
        output=build.claim(output),
        before=tuple(before[1:]),
        after=tuple(after[1:]),
        code=code,
        out_quant=source.quant,
    )
    return build.add(layer, [source], source.grid)


def build_softmax(
    build: Build, node: NodeProto, source: Codes, grid: Grid, output: str, axis: int
) -> Codes:
    """Softmax by tables and fixed point; ONNX Runtime computes it in float."""
    rank = len(source.shape) + 1
    if not -rank <= axis < rank or axis % rank == 0:
        raise unsupported(node, f"has axis {axis}, which mixes samples", "use the last axis")
    sample_axis = axis % rank - 1
    inner = source
    order = [k for k in range(rank - 1) if k != sample_axis] + [sample_axis]
    moved = sample_axis != rank - 2
    if moved:
        inner = _transposed(build, node, source, tuple(order), f"{output}_moved")
    layer = Softmax(
        name=build.name(node),
        input=inner.tensor,
        output=build.claim(f"{output}_last" if moved else output),
        scale=source.quant.scale,
        out_quant=grid.quant,
    )
    build.note(
        f"The {describe(node)} is computed with tables, ONNX Runtime's in float; codes may differ"
    )
    result = build.add(layer, [inner], grid)
    if moved:
        back = tuple(int(k) for k in np.argsort(order))
        result = _transposed(build, node, result, back, output)
    return result


def _transposed(
    build: Build, node: NodeProto, source: Codes, permutation: Shape, output: str
) -> Codes:
    layer = Transpose(
        name=build.name(node),
        input=source.tensor,
        output=build.claim(output),
        permutation=permutation,
        out_quant=source.quant,
    )
    return build.add(layer, [source], source.grid)
