# SPDX-License-Identifier: Apache-2.0
"""Operators that only move values: reshapes, transpositions, slices."""

import math
from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

from ...arch.errors import ModelError
from ..graph import Slice, Transpose
from ..graph.operators import Shape
from .build import Build, unsupported
from .values import Codes
from .view import MAX_VALUES, describe

__all__ = ["VIEWS", "apply_view"]

VIEWS = frozenset(
    {
        "Dropout", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze",
        "Transpose", "Unsqueeze",
    }
)  # fmt: skip


def apply_view(build: Build, node: NodeProto, source: Codes, outputs: Sequence[str]) -> list[Codes]:
    """What a view makes of codes: one result for each of its outputs."""
    kind = node.op_type
    if kind in ("Identity", "Dropout"):
        if (
            kind == "Dropout"
            and len(node.output) > 1
            and any(
                build.graph.consumers(o) or o in build.graph.outputs for o in node.output[1:] if o
            )
        ):
            raise unsupported(node, "gives its mask too", "export the model for inference")
        return [source] * len(outputs)
    if kind == "Transpose":
        return [_transpose(build, node, source, outputs[0])]
    if kind in ("Slice", "Split", "Gather"):
        return _slices(build, node, source, outputs)
    to = _TARGETS[kind](build, node, source.shape)
    if to == source.shape:
        return [source]
    return [build.reshape(node, source, to, outputs[0])]


def _flatten(build: Build, node: NodeProto, shape: Shape) -> Shape:
    axis = build.graph.integer(node, "axis", 1)
    axis = axis + len(shape) + 1 if axis < 0 else axis
    if not 1 <= axis <= len(shape) + 1 or math.prod(shape[: axis - 1]) != 1:
        raise unsupported(
            node,
            f"is not supported with axis {build.graph.integer(node, 'axis', 1)}, as it mixes "
            "samples",
            "flatten with axis 1",
        )
    return (math.prod(shape[axis - 1 :]),)


def _numbers(build: Build, node: NodeProto, index: int, attribute: str) -> list[int] | None:
    """Integers that newer operator sets take as an operand, older ones as an attribute."""
    graph = build.graph
    if graph.operand(node, index):
        array = graph.constant(node, index, attribute)
        if array.dtype.kind not in "iu" or array.size > 64:
            raise ModelError(
                f"The {attribute} of the {describe(node)} must be at most 64 integers, not "
                f"{array.dtype} {list(array.shape)}"
            )
        return [int(v) for v in array.ravel()]
    values = graph.integers(node, attribute)
    return None if values is None else list(values)


def _reshape(build: Build, node: NodeProto, shape: Shape) -> Shape:
    target = _numbers(build, node, 1, "shape")
    size = math.prod(shape)
    if not target:
        raise ModelError(f"The {describe(node)} has no shape to reshape to; the file is damaged")
    full = [0, *shape]
    zeros_copy = not build.graph.integer(node, "allowzero", 0)
    sample = [
        full[i] if d == 0 and zeros_copy and i < len(full) else d
        for i, d in enumerate(target[1:], start=1)
    ]
    if target[0] in (0, build.batch or 0) and sample.count(-1) == 1:
        known = math.prod(d for d in sample if d != -1)
        sample = [d if d != -1 else size // max(known, 1) for d in sample]
    keeps = target[0] in (-1, 0) or (build.batch and target[0] == build.batch)
    if not keeps or not sample or min(sample) < 1 or math.prod(sample) != size:
        raise ModelError(
            f"The {describe(node)} to {target} does not keep the {size} values of a "
            "sample together; reshape to [-1, features]"
        )
    return tuple(sample)


def _axes(build: Build, node: NodeProto, rank: int) -> list[int] | None:
    """Axes of Squeeze and Unsqueeze, counted with the batch; None if they are left out."""
    axes = _numbers(build, node, 1, "axes")
    if axes is None:
        return None
    if any(not -rank <= a < rank for a in axes) or len({a % rank for a in axes}) != len(axes):
        raise ModelError(f"The axes {axes} of the {describe(node)} do not fit {rank} axes")
    return sorted(a % rank for a in axes)


def _squeeze(build: Build, node: NodeProto, shape: Shape) -> Shape:
    axes = _axes(build, node, len(shape) + 1)
    if not axes or 0 in axes or any(shape[a - 1] != 1 for a in axes):
        raise unsupported(
            node,
            "is not supported unless its axes are given, of size 1 and not the batch",
            "reshape to [-1, features]",
        )
    return tuple(d for i, d in enumerate(shape, start=1) if i not in axes)


def _unsqueeze(build: Build, node: NodeProto, shape: Shape) -> Shape:
    wanted = _numbers(build, node, 1, "axes") or []
    axes = _axes(build, node, len(shape) + 1 + len(wanted))
    if not axes or 0 in axes:
        raise unsupported(
            node,
            "is not supported unless its axes are given and lie behind the batch",
            "reshape to [-1, ...]",
        )
    result = list(shape)
    for axis in axes:
        result.insert(axis - 1, 1)
    return tuple(result)


_TARGETS = {
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}


def _transpose(build: Build, node: NodeProto, source: Codes, output: str) -> Codes:
    rank = len(source.shape) + 1
    permutation = build.graph.integers(node, "perm") or tuple(range(rank))[::-1]
    if sorted(permutation) != list(range(rank)):
        raise ModelError(
            f"The {describe(node)} permutes the axes {list(permutation)} of a tensor that has "
            f"{rank}"
        )
    if permutation[0] != 0:
        raise unsupported(
            node,
            f"is not supported with perm {list(permutation)}, as it moves the batch",
            "keep the batch as the first axis (batch_first)",
        )
    inner = tuple(p - 1 for p in permutation[1:])
    if inner == tuple(range(rank - 1)):
        return source
    layer = Transpose(
        name=build.name(node),
        input=source.tensor,
        output=build.claim(output),
        permutation=inner,
        out_quant=source.quant,
    )
    return build.add(layer, [source], source.grid)


def _cut(
    build: Build,
    node: NodeProto,
    source: Codes,
    ranges: dict[int, tuple[int, int, int]],
    output: str,
) -> Codes:
    """A slice: start, step and count for each axis of ``ranges``."""
    whole = [(0, 1, n) for n in source.shape]
    for axis, part in ranges.items():
        whole[axis] = part
    if all(part == (0, 1, n) for part, n in zip(whole, source.shape, strict=True)):
        return source
    starts, steps, counts = zip(*whole, strict=True)
    if min(counts) < 1:
        raise unsupported(
            node,
            f"takes nothing of a tensor of shape {list(source.shape)}",
            "check its starts and ends",
        )
    layer = Slice(
        name=build.name(node),
        input=source.tensor,
        output=build.claim(output),
        starts=starts,
        steps=steps,
        counts=counts,
        out_quant=source.quant,
    )
    return build.add(layer, [source], source.grid)


def _sample_axis(node: NodeProto, axis: int, rank: int) -> int:
    """An axis of the sample from one that counts the batch."""
    if not -rank <= axis < rank:
        raise ModelError(f"Axis {axis} of the {describe(node)} does not fit {rank} axes")
    axis %= rank
    if axis == 0:
        raise unsupported(
            node, "is not supported along axis 0, as it mixes samples", "use another axis"
        )
    return axis - 1


def _slices(build: Build, node: NodeProto, source: Codes, outputs: Sequence[str]) -> list[Codes]:
    if node.op_type == "Split":
        return _split(build, node, source, outputs)
    if node.op_type == "Gather":
        return [_gather(build, node, source, outputs[0])]
    shape, rank = source.shape, len(source.shape) + 1
    old = build.graph.attributes(node).get("starts") is not None
    starts = _numbers(build, node, 1, "starts")
    ends = _numbers(build, node, 2, "ends")
    axes = _numbers(build, node, 3, "axes")
    steps = None if old else _numbers(build, node, 4, "steps")
    if starts is None or ends is None:
        raise ModelError(f"The {describe(node)} has no starts or ends; the file is damaged")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ModelError(
            f"Starts, ends, axes and steps of the {describe(node)} must be equally many and no "
            "step 0"
        )
    ranges: dict[int, tuple[int, int, int]] = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if axis in (0, -rank) and start == 0 and step == 1 and end >= MAX_VALUES - 1:
            continue  # all samples
        k = _sample_axis(node, axis, rank)
        taken = range(*slice(start, end, step).indices(shape[k]))
        ranges[k] = (taken.start, step, len(taken))
    return [_cut(build, node, source, ranges, outputs[0])]


def _split(build: Build, node: NodeProto, source: Codes, outputs: Sequence[str]) -> list[Codes]:
    graph = build.graph
    axis = _sample_axis(node, graph.integer(node, "axis", 0), len(source.shape) + 1)
    sizes = _numbers(build, node, 1, "split")
    size = source.shape[axis]
    if sizes is None:
        part = -(-size // len(outputs))
        sizes = [part] * (len(outputs) - 1)
        sizes.append(size - sum(sizes))
    if len(sizes) != len(outputs) or sum(sizes) != size or min(sizes) < 1:
        raise ModelError(
            f"The {describe(node)} cuts {size} values into {sizes} for {len(outputs)} outputs; "
            "the sizes must add up"
        )
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    return [
        _cut(build, node, source, {axis: (start, 1, count)}, output) if output else source
        for start, count, output in zip(starts, sizes, outputs, strict=True)
    ]


def _gather(build: Build, node: NodeProto, source: Codes, output: str) -> Codes:
    """Indices that lie evenly apart are a slice; a single one drops the axis."""
    graph = build.graph
    axis = _sample_axis(node, graph.integer(node, "axis", 0), len(source.shape) + 1)
    indices = graph.constant(node, 1, "indices")
    size = source.shape[axis]
    flat = [int(i) for i in indices.ravel()[:MAX_VALUES]] if indices.dtype.kind == "i" else []
    flat = [i + size if i < 0 else i for i in flat]
    gaps = set(np.diff(flat).tolist()) if len(flat) > 1 else {1}
    if indices.ndim > 1 or not flat or len(gaps) != 1 or not all(0 <= i < size for i in flat):
        raise unsupported(
            node,
            "is not supported unless its indices are constant, in range and evenly apart",
            "use Slice and Concat",
        )
    step = gaps.pop()
    if step == 0:
        raise unsupported(node, "repeats an index", "use Slice and Concat")
    part = {axis: (flat[0], step, len(flat))}
    if indices.ndim:
        return _cut(build, node, source, part, output)
    cut = _cut(build, node, source, part, f"{output}_slice")
    return build.reshape(node, cut, source.shape[:axis] + source.shape[axis + 1 :], output)
