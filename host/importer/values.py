# SPDX-License-Identifier: Apache-2.0
"""What a tensor of an ONNX graph is to the importer."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import NodeProto

from ..graph import Quantization
from ..graph.operators import Shape

__all__ = ["Codes", "FloatInput", "Floating", "Grid", "Real", "Value"]


@dataclass(frozen=True)
class Grid:
    """The codes that a quantizer gives: a quantization and the codes it can reach.

    Parameters
    ----------
    quant : Quantization
    low, high : int
        Internal codes; 0 and 255 at 8 bits, closer together at fewer.
    """

    quant: Quantization
    low: int = 0
    high: int = 255

    def quantize(self, x: ArrayLike) -> NDArray[np.uint8]:
        """Real values to internal codes."""
        codes: NDArray[np.uint8] = np.clip(self.quant.quantize(x), self.low, self.high)
        return codes

    def requantize(self, other: "Grid") -> NDArray[np.uint8]:
        """Table uint8 [256] from the codes of ``other`` to codes of this grid."""
        return self.quantize(other.quant.dequantize(np.arange(256)))


@dataclass(frozen=True)
class Codes:
    """A quantized tensor of the network."""

    tensor: str
    shape: Shape
    grid: Grid

    @property
    def quant(self) -> Quantization:
        """What its codes mean."""
        return self.grid.quant


@dataclass(frozen=True)
class Real:
    """A float tensor that holds the real values of codes."""

    codes: Codes


@dataclass(frozen=True)
class FloatInput:
    """A float input of the model, not quantized yet."""

    name: str
    shape: Shape


@dataclass(frozen=True, eq=False)
class Floating:
    """A float tensor that is only known once it is quantized.

    Parameters
    ----------
    node : NodeProto
        What computes it.
    operands : tuple of Value or None
        None where an operand is constant or left out.
    readers : int
        How many nodes read it.
    """

    node: NodeProto
    operands: "tuple[Value | None, ...]"
    readers: int = field(default=1)


Value = Codes | Real | FloatInput | Floating
