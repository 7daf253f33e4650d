# SPDX-License-Identifier: Apache-2.0
"""Softmax in 8-bit codes, by tables and fixed point, out of steps that a tile's vector unit does.

Over an axis of D values x (codes of step ``scale``), all of it integers:

1. ``m = max x`` (a maximum over the axis)
2. ``d = x - m + 255``, the codes 0 to 255 of ``scale * (x - m)``, never above zero
3. ``hi = exp_hi[d]``, ``lo = exp_lo[d]``: ``exp(scale * (d - 255))`` as 255ths, rounded, and what
   the rounding left, as 65280ths plus 128
4. for each range i of the total ``S = sum over the axis of exp`` (1 <= S <= D):
   ``t[i] = reciprocal[i][code of S]``, where the code of S is
   ``clip(round((256 * sum hi + sum lo + offset[i]) * factor[i]))``: S - B[i] in steps of
   (B[i+1] - B[i]) / 255
5. ``r = sum of t[i] - spare``, 1/S as 255ths: each range's table ends in the value that the next
   one begins with, so that all but the range that S lies in are constant
6. ``y = clip(round(hi * r * factor) + zero_point)``

The ranges begin at B[0] = 1 and are as long as their steps stay harmless: half a step of S moves
1/S by 1/510 at most. Hence 2 ranges for D to 6, 3 to 42, 4 to 1806. Before the last rounding the
error of a result is at most 1/510 (of hi) + 1/255 (of r: its step of S, and its own rounding), in
practice about half of it; tests measure the largest difference from the real softmax in codes.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...arch.formats import RequantScale
from .operators import SoftmaxLike
from .requantizer import requantize

__all__ = ["SoftmaxPlan", "SoftmaxRange", "plan_softmax", "softmax"]

ONE = 255
"""The code of 1 in exponentials and reciprocals."""

FINE = 256
"""Steps of ``lo`` in one of ``hi``."""

CENTRE = 128
"""``lo`` where the rounding of ``hi`` left nothing."""


@dataclass(frozen=True, eq=False)
class SoftmaxRange:
    """A range of the total: ``offset`` and ``scale`` of its code, and 1/S of each code."""

    offset: int
    scale: RequantScale
    reciprocal: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class SoftmaxPlan:
    """The constants of the steps above.

    Parameters
    ----------
    exp_hi, exp_lo : uint8 [256]
    ranges : tuple of SoftmaxRange
    spare : int
        What the tables of ranges that S does not lie in add up to.
    scale : RequantScale
        From ``hi * r`` to codes of the result.
    """

    exp_hi: NDArray[np.uint8]
    exp_lo: NDArray[np.uint8]
    ranges: tuple[SoftmaxRange, ...]
    spare: int
    scale: RequantScale


def _bounds(length: int) -> list[float]:
    """Where the ranges of the total begin, and the end of the last one."""
    bounds = [1.0]
    while bounds[-1] < length or len(bounds) < 2:
        # Half a step, (next - b) / 510, moves 1/S by that over b squared.
        bounds.append(bounds[-1] + bounds[-1] ** 2)
    bounds[-1] = max(min(bounds[-1], float(length)), 2.0)
    return bounds


@lru_cache(maxsize=64)
def plan_softmax(scale: float, length: int, out_scale: float) -> SoftmaxPlan:
    """Tables and factors for an axis of ``length`` values.

    Parameters
    ----------
    scale, out_scale : float
        Steps of the codes of input and result.
    length : int

    Raises
    ------
    ValueError
        If the length is below 1, or a factor is out of the requantizer's range.
    """
    if length < 1:
        raise ValueError(f"Softmax needs an axis of at least one value, not {length}")
    real = np.exp((np.arange(256) - 255.0) * scale)
    hi = np.rint(real * ONE)
    lo = np.clip(np.rint(real * ONE * FINE) - hi * FINE + CENTRE, 0, 255)
    bounds = _bounds(length)
    ranges = []
    spare = 0
    last = ONE
    for begin, end in itertools.pairwise(bounds):
        unit = ONE * FINE
        factor = RequantScale.from_float(float(np.float32(255 / ((end - begin) * unit))))
        totals = begin + np.arange(256) / (float(factor) * unit)
        reciprocal = np.rint(ONE / totals)  # begins with what the last range ended in
        spare += 0 if begin == 1.0 else last
        last = round(ONE / end)
        reciprocal[255] = last
        offset = -CENTRE * length - round(begin * unit)
        ranges.append(SoftmaxRange(offset, factor, _frozen(reciprocal)))
    result = RequantScale.from_float(float(np.float32(1 / (ONE * ONE * out_scale))))
    return SoftmaxPlan(_frozen(hi), _frozen(lo), tuple(ranges), spare, result)


def _frozen(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    table = values.astype(np.uint8)
    table.setflags(write=False)
    return table


def softmax(codes: NDArray[np.uint8], layer: SoftmaxLike) -> NDArray[np.uint8]:
    """The steps above on codes uint8 [n, ..., D].

    ``ohmtwin.host.graph.lower_softmax`` has them as operators.

    Raises
    ------
    ValueError
        If there is no axis but that of the samples.
    """
    if codes.ndim < 2:
        raise ValueError(f"Softmax needs codes [n, ..., values], not {list(codes.shape)}")
    length = codes.shape[-1]
    plan = plan_softmax(layer.scale, length, layer.out_quant.scale)
    below = codes.astype(np.int32) - codes.max(axis=-1, keepdims=True) + 255
    hi, lo = plan.exp_hi[below], plan.exp_lo[below]
    total = FINE * hi.sum(axis=-1, keepdims=True, dtype=np.int64)
    total += lo.sum(axis=-1, keepdims=True, dtype=np.int64)
    r = np.full(total.shape, -plan.spare, np.int32)
    for part in plan.ranges:
        code = requantize(total + part.offset, part.scale.mantissa, part.scale.shift, 0, 0, 255)
        r += part.reciprocal[code]
    zero = layer.out_quant.internal_zero_point
    return requantize(hi * r, plan.scale.mantissa, plan.scale.shift, zero, 0, 255)
