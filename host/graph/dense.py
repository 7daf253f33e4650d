# SPDX-License-Identifier: Apache-2.0
"""The fully connected layer."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import ModelError
from ...arch.formats import RequantScale
from .checks import check_arrays, check_factor, check_requantizer, shape_of_sums
from .quantization import Quantization

__all__ = ["Dense", "weighted_range"]


@dataclass(frozen=True, eq=False)
class Dense:
    """A fully connected layer with its requantizer and an optional table.

    ``acc = weights @ x + bias``; ``pre = clip(round(acc * mantissa * 2**-shift) + zero_point)``;
    the output is ``table[pre]``, or ``pre`` without a table. ReLU is ``clip_low``.

    Parameters
    ----------
    name : str
        Unique in its network.
    input, output : str
        Names of the quantized tensors in the ONNX model.
    weights : int8 [outputs, inputs]
    bias : int32 [outputs]
        Includes ``-zx * sum(w)`` with the internal zero point ``zx`` of the input.
    mantissa, shift : uint32 and uint8 [outputs]
        The factor of each output (:class:`~ohmtwin.arch.formats.RequantScale`).
    zero_point, clip_low, clip_high : int
        Of the codes that leave the requantizer, internal codes.
    out_quant : Quantization
        Meaning of the output codes (behind the table).
    table : uint8 [256], optional
        Internal code to internal code.
    pre_quant : Quantization, optional
        Meaning of the codes before the table; given exactly if there is a table.
    pre_output : str, optional
        Name of the ONNX tensor before the table, if the layer has one.
    partials : tuple of str
        Outputs of shares of the same layer, which are added to its sums.
    share : bool
        The output is the sums themselves, four bytes each (a last axis of 4, the lowest first).
    counts : uint8 [256], optional
        What an input code counts for, where inputs are stochastic streams: the passes that it is
        driven in. Itself by default.

    Raises
    ------
    ModelError
        If shapes, types or ranges do not fit together.
    """

    kind: ClassVar[str] = "Dense"

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
    table: NDArray[np.uint8] | None = None
    pre_quant: Quantization | None = None
    pre_output: str | None = None
    partials: tuple[str, ...] = ()
    share: bool = False
    counts: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or 0 in self.weights.shape:
            raise ModelError(
                f"The weights of layer {self.name!r} must be a matrix [outputs, inputs], "
                f"not of shape {list(self.weights.shape)}"
            )
        check_arrays(
            self.name,
            {
                "weights": (self.weights, np.int8, self.weights.shape),
                "bias": (self.bias, np.int32, (self.outputs,)),
                "mantissa": (self.mantissa, np.uint32, (self.outputs,)),
                "shift": (self.shift, np.uint8, (self.outputs,)),
            },
        )
        check_factor(self.name, self.mantissa, self.shift)
        check_requantizer(self.name, self.zero_point, self.clip_low, self.clip_high, self.table)
        if (self.table is None) != (self.pre_quant is None):
            raise ModelError(f"Layer {self.name!r} needs pre_quant exactly if it has a table")

    @property
    def sources(self) -> tuple[str, ...]:
        """The tensor it reads, and sums that others have made."""
        return (self.input, *self.partials)

    def shape(self, *sources: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the output: the layer works on the last axis, or on all of a flat sample."""
        source, *partials = sources
        if not source or source[-1] != self.inputs:
            raise ModelError(
                f"Layer {self.name!r} takes {self.inputs} values, but tensor "
                f"{self.input!r} has the shape {list(source)}"
            )
        found = (*source[:-1], self.outputs)
        return shape_of_sums(self.name, found, partials, share=self.share)

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return int(self.weights.shape[1])

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return int(self.weights.shape[0])

    @property
    def scales(self) -> tuple[RequantScale, ...]:
        """The requantization factor of each output."""
        pairs = zip(self.mantissa.tolist(), self.shift.tolist(), strict=True)
        return tuple(RequantScale(m, s) for m, s in pairs)

    def accumulator_range(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Exact bounds of every sum, partial or total, in any order, over all uint8 inputs.

        A partial sum takes any subset of the products, with or without the bias. Its least value
        has every negative weight at 255 and every positive one at 0; its largest the reverse.

        Returns
        -------
        low, high : int64 [outputs]
        """
        return weighted_range(self.weights, self.bias)


def weighted_range(
    weights: NDArray[np.int8], bias: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Exact bounds of every sum of weights [outputs, inputs] times codes, partial or total."""
    low = 255 * np.minimum(weights, 0).sum(axis=1, dtype=np.int64) + np.minimum(bias, 0)
    high = 255 * np.maximum(weights, 0).sum(axis=1, dtype=np.int64) + np.maximum(bias, 0)
    return low, high
