# SPDX-License-Identifier: Apache-2.0
"""Pools over windows."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import ModelError
from ...behavioral.golden import window_counts
from .checks import check_arrays, check_at_least, check_factor, check_range, check_requantizer
from .operators import Shape, window_outputs
from .quantization import Quantization

__all__ = ["AveragePool", "MaxPool"]


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool:
    """The largest code of each window; padding never wins."""

    kind: ClassVar[str] = "MaxPool"

    name: str
    input: str
    output: str
    kernel: tuple[int, int]
    out_quant: Quantization
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        _check_window(self)
        check_at_least(self.name, "dilations", self.dilations, 1)

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.input,)

    def shape(self, *sources: Shape) -> Shape:
        return _pooled(self.name, sources[0], self.kernel, self.strides, self.pads, self.dilations)


@dataclass(frozen=True, eq=False, kw_only=True)
class AveragePool:
    """The mean of each window: ``acc = sum of (code - input_zero_point)``, padding adding nothing.

    The requantizer's factor holds the division by the count of a window. ``counts`` lists the
    counts that occur (one, unless padding is left out of the mean), ``mantissa`` and ``shift`` the
    factor of each.
    """

    kind: ClassVar[str] = "AveragePool"

    name: str
    input: str
    output: str
    kernel: tuple[int, int]
    input_zero_point: int
    counts: tuple[int, ...]
    mantissa: NDArray[np.uint32]
    shift: NDArray[np.uint8]
    zero_point: int
    clip_low: int
    clip_high: int
    out_quant: Quantization
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    count_include_pad: bool = False
    table: NDArray[np.uint8] | None = None
    pre_quant: Quantization | None = None
    pre_output: str | None = None

    def __post_init__(self) -> None:
        _check_window(self)
        count = (len(self.counts),)
        if not self.counts or len(set(self.counts)) != len(self.counts):
            raise ModelError(
                f"The counts of layer {self.name!r} must be different and at least one, not "
                f"{list(self.counts)}"
            )
        check_arrays(
            self.name,
            {
                "mantissa": (self.mantissa, np.uint32, count),
                "shift": (self.shift, np.uint8, count),
            },
        )
        check_factor(self.name, self.mantissa, self.shift)
        check_range(self.name, "input_zero_point", (self.input_zero_point,), 0, 255)
        check_requantizer(self.name, self.zero_point, self.clip_low, self.clip_high, self.table)

    def accumulator_range(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bounds of every sum, partial or total: int64 [1] each."""
        values = math.prod(self.kernel)
        low, high = -self.input_zero_point * values, (255 - self.input_zero_point) * values
        return np.array([low], np.int64), np.array([high], np.int64)

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.input,)

    def shape(self, *sources: Shape) -> Shape:
        result = _pooled(self.name, sources[0], self.kernel, self.strides, self.pads, (1, 1))
        found = window_counts(
            sources[0], self.kernel, self.strides, self.pads, self.count_include_pad
        )
        missing = sorted({int(c) for c in np.unique(found)} - set(self.counts))
        if missing:
            raise ModelError(
                f"Layer {self.name!r} has windows of {missing[0]} values, for which it has no "
                f"factor; its counts are {list(self.counts)}"
            )
        return result


def _check_window(layer: MaxPool | AveragePool) -> None:
    check_at_least(layer.name, "kernel", layer.kernel, 1)
    check_at_least(layer.name, "strides", layer.strides, 1)
    check_at_least(layer.name, "pads", layer.pads, 0)


def _pooled(
    name: str,
    source: Shape,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int],
) -> Shape:
    if len(source) != 3:
        raise ModelError(f"{name!r} pools two axes behind the channels, not {list(source)}")
    top, left, bottom, right = pads
    rows = window_outputs(source[1], kernel[0], strides[0], top, bottom, dilations[0])
    cols = window_outputs(source[2], kernel[1], strides[1], left, right, dilations[1])
    if min(rows, cols) < 1:
        raise ModelError(f"The window {list(kernel)} of {name!r} does not fit {list(source)}")
    for axis, (before, count) in enumerate(((top, rows), (left, cols))):
        first = np.arange(count) * strides[axis] - before
        at = first[:, None] + np.arange(kernel[axis]) * dilations[axis]
        if not ((at >= 0) & (at < source[1 + axis])).any(axis=1).all():
            raise ModelError(f"A window {list(kernel)} of {name!r} holds nothing but padding")
    return (source[0], rows, cols)
