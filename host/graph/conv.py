# SPDX-License-Identifier: Apache-2.0
"""The convolution."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import ModelError
from .checks import (
    check_arrays,
    check_at_least,
    check_factor,
    check_range,
    check_requantizer,
    shape_of_sums,
)
from .dense import weighted_range
from .operators import Shape, window_outputs
from .quantization import Quantization

__all__ = ["Conv"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv:
    """A 2-D convolution; 1-D ones run over an axis of one row.

    ``acc[o, y, x] = bias[o] + sum over c, i, j of weights[o, c, i, j] * code[...]``, positions in
    the padding holding ``pad_code``.

    Parameters
    ----------
    weights : int8 [outputs, channels / groups, kernel rows, kernel columns]
    bias : int32 [outputs]
        Includes ``-zx * sum(w)``; the padding holds zx, so that it adds nothing.
    mantissa, shift : uint32 and uint8 [outputs]
    strides, dilations : (rows, columns)
    pads : (top, left, bottom, right)
    pad_code : int
        The internal zero point of the input.
    counts : uint8 [256], optional
        As those of :class:`~.dense.Dense`.
    """

    kind: ClassVar[str] = "Conv"

    name: str
    input: str
    output: str
    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    mantissa: NDArray[np.uint32]
    shift: NDArray[np.uint8]
    zero_point: int
    clip_low: int
    clip_high: int
    out_quant: Quantization
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    pad_code: int = 0
    table: NDArray[np.uint8] | None = None
    pre_quant: Quantization | None = None
    pre_output: str | None = None
    partials: tuple[str, ...] = ()
    share: bool = False
    counts: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        shape = self.weights.shape
        if self.weights.ndim != 4 or 0 in shape:
            raise ModelError(
                f"The weights of layer {self.name!r} must have the shape [outputs, channels, rows, "
                f"columns], not {list(shape)}"
            )
        check_arrays(
            self.name,
            {
                "weights": (self.weights, np.int8, shape),
                "bias": (self.bias, np.int32, (self.outputs,)),
                "mantissa": (self.mantissa, np.uint32, (self.outputs,)),
                "shift": (self.shift, np.uint8, (self.outputs,)),
            },
        )
        check_factor(self.name, self.mantissa, self.shift)
        check_requantizer(self.name, self.zero_point, self.clip_low, self.clip_high, self.table)
        check_range(self.name, "pad_code", (self.pad_code,), 0, 255)
        check_at_least(self.name, "strides", self.strides, 1)
        check_at_least(self.name, "dilations", self.dilations, 1)
        check_at_least(self.name, "pads", self.pads, 0)
        if self.groups < 1 or self.outputs % self.groups:
            raise ModelError(
                f"The groups of layer {self.name!r} must divide its {self.outputs} outputs, not "
                f"be {self.groups}"
            )

    def accumulator_range(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Exact bounds of every sum, partial or total, as :meth:`.Dense.accumulator_range`.

        Padding is a code like any other.

        Returns
        -------
        low, high : int64 [outputs]
        """
        return weighted_range(self.weights.reshape(self.outputs, -1), self.bias)

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.input, *self.partials)

    @property
    def outputs(self) -> int:
        """Output channels."""
        return int(self.weights.shape[0])

    @property
    def inputs(self) -> int:
        """Products in a sum: rows that an output takes of arrays."""
        return math.prod(self.weights.shape[1:])

    @property
    def kernel(self) -> tuple[int, int]:
        return int(self.weights.shape[2]), int(self.weights.shape[3])

    def shape(self, *sources: Shape) -> Shape:
        source, *partials = sources
        channels = self.weights.shape[1] * self.groups
        if len(source) != 3 or source[0] != channels:
            raise ModelError(
                f"Layer {self.name!r} takes {channels} channels of two axes, but tensor "
                f"{self.input!r} has the shape {list(source)}"
            )
        found = (self.outputs, *self._positions(source))
        return shape_of_sums(self.name, found, partials, share=self.share)

    def _positions(self, source: Shape) -> Shape:
        top, left, bottom, right = self.pads
        size = (
            window_outputs(n, k, s, before, after, d)
            for n, k, s, before, after, d in zip(
                source[1:],
                self.kernel,
                self.strides,
                (top, left),
                (bottom, right),
                self.dilations,
                strict=True,
            )
        )
        result = tuple(size)
        if min(result) < 1:
            raise ModelError(
                f"The kernel {list(self.kernel)} of layer {self.name!r} does not fit into tensor "
                f"{self.input!r} of shape {list(source)}"
            )
        return result
