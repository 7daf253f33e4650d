# SPDX-License-Identifier: Apache-2.0
"""The integer operators of a network, beside :class:`~.dense.Dense`.

All work on internal codes (uint8) of one sample; shapes are those of ONNX without the batch axis:
channels before rows before columns. Each operator has a unique ``name``, names of the tensors it
reads (``sources``) and of the one it makes (``output``), and tells the shape of its output.
Those that sum have a requantizer: ``code = clip(round(acc * mantissa * 2**-shift) + zero_point)``,
then ``table[code]`` if there is a table.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import ModelError
from .quantization import Quantization

__all__ = [
    "AveragePool",
    "Combine",
    "Concat",
    "Constant",
    "Conv",
    "MaxPool",
    "Multiply",
    "Operator",
    "Pad",
    "Reshape",
    "Shape",
    "Slice",
    "Softmax",
    "Transpose",
    "window_outputs",
]

Shape = tuple[int, ...]


class Operator(Protocol):
    """What all operators have."""

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
    """

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

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.input,)

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
        (source,) = sources
        channels = self.weights.shape[1] * self.groups
        if len(source) != 3 or source[0] != channels:
            raise ModelError(
                f"Layer {self.name!r} takes {channels} channels of two axes, but tensor "
                f"{self.input!r} has the shape {list(source)}"
            )
        return (self.outputs, *self._positions(source))

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


@dataclass(frozen=True, eq=False, kw_only=True)
class Constant:
    """A tensor that never changes: ``codes`` uint8 of the tensor's shape."""

    name: str
    output: str
    codes: NDArray[np.uint8]
    out_quant: Quantization

    @property
    def sources(self) -> tuple[str, ...]:
        return ()

    def shape(self, *sources: Shape) -> Shape:
        return self.codes.shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Combine:
    """Element by element, ``acc = sum of factors[i] * source i + offset``: Add, Sub, and with one
    source a requantization or a table.

    Sources broadcast as in NumPy. Behind it stands the requantizer with one factor.

    Parameters
    ----------
    factors : tuple of int
        Signed 24 bits, one a source.
    offset : int
        Signed 32 bits.
    mantissa, shift : int
        Of :class:`~ohmtwin.arch.formats.RequantScale`.
    """

    name: str
    sources: tuple[str, ...]
    output: str
    factors: tuple[int, ...]
    offset: int
    mantissa: int
    shift: int
    zero_point: int
    clip_low: int
    clip_high: int
    out_quant: Quantization
    table: NDArray[np.uint8] | None = None
    pre_quant: Quantization | None = None
    pre_output: str | None = None

    def shape(self, *sources: Shape) -> Shape:
        return _broadcast(self.name, sources)


@dataclass(frozen=True, eq=False, kw_only=True)
class Multiply:
    """Element by element, ``acc = (a - za) * (b - zb)``, then the requantizer with one factor.

    Parameters
    ----------
    zero_points : (za, zb)
        Internal codes.
    """

    name: str
    sources: tuple[str, str]
    output: str
    zero_points: tuple[int, int]
    mantissa: int
    shift: int
    zero_point: int
    clip_low: int
    clip_high: int
    out_quant: Quantization
    table: NDArray[np.uint8] | None = None
    pre_quant: Quantization | None = None
    pre_output: str | None = None

    def shape(self, *sources: Shape) -> Shape:
        return _broadcast(self.name, sources)


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool:
    """The largest code of each window; padding never wins."""

    name: str
    input: str
    output: str
    kernel: tuple[int, int]
    out_quant: Quantization
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)

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

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.input,)

    def shape(self, *sources: Shape) -> Shape:
        return _pooled(self.name, sources[0], self.kernel, self.strides, self.pads, (1, 1))


@dataclass(frozen=True, kw_only=True)
class Reshape:
    """The same values in another shape."""

    name: str
    input: str
    output: str
    to: Shape
    out_quant: Quantization

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.input,)

    def shape(self, *sources: Shape) -> Shape:
        if math.prod(sources[0]) != math.prod(self.to):
            raise ModelError(
                f"{self.name!r} makes the shape {list(self.to)} of {math.prod(sources[0])} values"
            )
        return self.to


@dataclass(frozen=True, kw_only=True)
class Transpose:
    """Axis k of the output is axis ``permutation[k]`` of the input."""

    name: str
    input: str
    output: str
    permutation: tuple[int, ...]
    out_quant: Quantization

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.input,)

    def shape(self, *sources: Shape) -> Shape:
        if sorted(self.permutation) != list(range(len(sources[0]))):
            raise ModelError(
                f"{self.name!r} permutes {list(self.permutation)}, its input has "
                f"{len(sources[0])} axes"
            )
        return tuple(sources[0][axis] for axis in self.permutation)


@dataclass(frozen=True, kw_only=True)
class Slice:
    """``counts[k]`` entries of axis k, from ``starts[k]`` on, ``steps[k]`` (not 0) apart."""

    name: str
    input: str
    output: str
    starts: tuple[int, ...]
    steps: tuple[int, ...]
    counts: tuple[int, ...]
    out_quant: Quantization

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.input,)

    def shape(self, *sources: Shape) -> Shape:
        axes = zip(sources[0], self.starts, self.steps, self.counts, strict=True)
        for size, start, step, count in axes:
            last = start + step * (count - 1)
            if count < 1 or not 0 <= start < size or not 0 <= last < size:
                raise ModelError(f"{self.name!r} leaves its input of shape {list(sources[0])}")
        return self.counts


@dataclass(frozen=True, eq=False, kw_only=True)
class Concat:
    """Sources one after another along an axis, each through its table if it has one."""

    name: str
    sources: tuple[str, ...]
    output: str
    axis: int
    tables: tuple[NDArray[np.uint8] | None, ...]
    out_quant: Quantization

    def shape(self, *sources: Shape) -> Shape:
        first = sources[0]
        rest = {s[: self.axis] + s[self.axis + 1 :] for s in sources}
        if not 0 <= self.axis < len(first) or len(rest) != 1:
            raise ModelError(
                f"{self.name!r} joins shapes {[list(s) for s in sources]} along axis {self.axis}"
            )
        joined = sum(s[self.axis] for s in sources)
        return (*first[: self.axis], joined, *first[self.axis + 1 :])


@dataclass(frozen=True, kw_only=True)
class Pad:
    """``before[k]`` and ``after[k]`` entries of ``code`` around axis k."""

    name: str
    input: str
    output: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    code: int
    out_quant: Quantization

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.input,)

    def shape(self, *sources: Shape) -> Shape:
        axes = zip(sources[0], self.before, self.after, strict=True)
        return tuple(size + before + after for size, before, after in axes)


@dataclass(frozen=True, eq=False, kw_only=True)
class Softmax:
    """Over the last axis, by tables and fixed point; :mod:`~ohmtwin.behavioral.golden` defines it.

    Parameters
    ----------
    scale : float
        Of the input codes.
    """

    name: str
    input: str
    output: str
    scale: float
    out_quant: Quantization

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.input,)

    def shape(self, *sources: Shape) -> Shape:
        return sources[0]


def _broadcast(name: str, sources: tuple[Shape, ...]) -> Shape:
    try:
        return np.broadcast_shapes(*sources)
    except ValueError:
        raise ModelError(
            f"The shapes {[list(s) for s in sources]} that {name!r} combines do not fit each other"
        ) from None


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
    return (source[0], rows, cols)
