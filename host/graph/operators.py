# SPDX-License-Identifier: Apache-2.0
"""What the operators of a network have in common.

All work on internal codes (uint8) of one sample; shapes are those of ONNX without the batch axis:
channels before rows before columns. Each operator has a unique ``name``, names of the tensors it
reads (``sources``) and of the one it makes (``output``), and tells the shape of its output.
Those that sum have a requantizer: ``code = clip(round(acc * mantissa * 2**-shift) + zero_point)``,
then ``table[code]`` if there is a table.
"""

from typing import ClassVar, Protocol

from .quantization import Quantization

__all__ = ["Operator", "Shape", "window_outputs"]

Shape = tuple[int, ...]


class Operator(Protocol):
    """What all operators have."""

    kind: ClassVar[str]
    """Its class, by name: :mod:`ohmtwin.behavioral.golden` goes by it."""

    @property
    def name(self) -> str: ...
    @property
    def sources(self) -> tuple[str, ...]: ...
    @property
    def output(self) -> str: ...
    @property
    def out_quant(self) -> Quantization: ...
    def shape(self, *sources: Shape) -> Shape:
        """Shape of the output. Raises ModelError if the shapes of the sources do not fit."""
        ...


def window_outputs(
    size: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1
) -> int:
    """Positions of a window along an axis; 0 or less if it does not fit."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1
