# SPDX-License-Identifier: Apache-2.0
"""Pools and element-wise layers as work for the vector unit."""

from collections.abc import Sequence

import numpy as np

from ...arch.isa import VecOp
from ...behavioral.golden import window_counts
from ..graph import AveragePool, Combine, MaxPool, Multiply, Shape, Sum
from .tasks import Requantizer, Term, Vector
from .tensors import Ints

__all__ = ["average_tasks", "combine_task", "max_task", "multiply_task", "sum_task"]


def _requantizer(layer: Combine | Multiply | Sum, bias: int = 0) -> Requantizer:
    return Requantizer(
        layer.mantissa, layer.shift, layer.zero_point, layer.clip_low, layer.clip_high, bias
    )


def combine_task(layer: Combine, sources: Sequence[Ints], target: Ints) -> Vector:
    """Sources are addresses, already broadcast to the shape of ``target``."""
    terms: list[Term] = []
    for factor, source in zip(layer.factors, sources, strict=True):
        op, offset = (VecOp.ADD, 0) if terms else (VecOp.PUT, layer.offset)
        terms.append(Term(op, factor, offset, source.ravel()))
    return Vector(layer.name, target.ravel(), tuple(terms), _requantizer(layer), layer.table)


def multiply_task(layer: Multiply, sources: Sequence[Ints], target: Ints) -> Vector:
    """As :func:`combine_task`; both operands stay within the 16 bits that MUL takes.

    The offset comes behind the product, so it is a bias of REQ.
    """
    terms = tuple(
        Term(op, gain, -gain * zero, source.ravel())
        for op, gain, zero, source in zip(
            (VecOp.PUT, VecOp.MUL), layer.gains, layer.zero_points, sources, strict=True
        )
    )
    requantizer = _requantizer(layer, layer.offset)
    return Vector(layer.name, target.ravel(), terms, requantizer, layer.table)


def sum_task(layer: Sum, sources: Sequence[Ints], target: Ints) -> Vector:
    """Sums over the last axis of each source."""
    terms: list[Term] = []
    for factor, source in zip(layer.factors, sources, strict=True):
        for entry in range(layer.length):
            op, offset = (VecOp.ADD, 0) if terms else (VecOp.PUT, layer.offset)
            terms.append(Term(op, factor, offset, source[..., entry].ravel()))
    return Vector(layer.name, target.ravel(), tuple(terms), _requantizer(layer), layer.table)


def _windows(
    layer: MaxPool | AveragePool, source: Ints, rows: int, cols: int, dilations: tuple[int, int]
) -> list[Ints]:
    """Addresses (channels, rows, columns) of what each place of the kernel meets."""
    found = []
    for i in range(layer.kernel[0]):
        for j in range(layer.kernel[1]):
            y, x = i * dilations[0], j * dilations[1]
            part = source[
                :,
                y : y + (rows - 1) * layer.strides[0] + 1 : layer.strides[0],
                x : x + (cols - 1) * layer.strides[1] + 1 : layer.strides[1],
            ]
            found.append(part)
    return found


def max_task(layer: MaxPool, source: Ints, target: Ints) -> Vector:
    """``source`` is padded with 0, which never wins."""
    windows = _windows(layer, source, target.shape[1], target.shape[2], layer.dilations)
    terms = tuple(
        Term(VecOp.MAX if number else VecOp.PUT, 1, 0, window.ravel())
        for number, window in enumerate(windows)
    )
    return Vector(layer.name, target.ravel(), terms)


def average_tasks(layer: AveragePool, source: Ints, target: Ints, shape: Shape) -> list[Vector]:
    """A task for each count of a window; ``source`` is padded with the zero point."""
    windows = _windows(layer, source, target.shape[1], target.shape[2], (1, 1))
    counts = window_counts(shape, layer.kernel, layer.strides, layer.pads, layer.count_include_pad)
    tasks = []
    for number, count in enumerate(layer.counts):
        # One factor serves all counts if there is but one.
        where = np.broadcast_to(
            counts == count if len(layer.counts) > 1 else np.True_, target.shape
        )
        if not where.any():
            continue
        terms = tuple(
            Term(
                VecOp.ADD if term else VecOp.PUT, 1, -layer.input_zero_point, window[where].ravel()
            )
            for term, window in enumerate(windows)
        )
        requantizer = Requantizer(
            int(layer.mantissa[number]),
            int(layer.shift[number]),
            layer.zero_point,
            layer.clip_low,
            layer.clip_high,
        )
        tasks.append(Vector(layer.name, target[where].ravel(), terms, requantizer, layer.table))
    return tasks
