# SPDX-License-Identifier: Apache-2.0
"""What golden asks of a layer; the operators of ``ohmtwin.host.graph`` have it.

``kind`` names the operator, and with it the protocol that holds.
"""

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AveragePoolLike",
    "CombineLike",
    "ConcatLike",
    "ConstantLike",
    "ConvLike",
    "DenseLike",
    "InputLike",
    "LayerLike",
    "MaxPoolLike",
    "MultiplyLike",
    "NetworkLike",
    "PadLike",
    "QuantLike",
    "ReshapeLike",
    "SliceLike",
    "SoftmaxLike",
    "StateLike",
    "SumLike",
    "TransposeLike",
]

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]


class QuantLike(Protocol):
    """Meaning of codes: ``real = (code - internal_zero_point) * scale``."""

    @property
    def scale(self) -> float: ...
    @property
    def internal_zero_point(self) -> int: ...


class LayerLike(Protocol):
    """An operator: ``sources`` to ``output``, tensors by name."""

    kind: ClassVar[str]

    @property
    def name(self) -> str: ...
    @property
    def sources(self) -> Sequence[str]: ...
    @property
    def output(self) -> str: ...


class Requantized(LayerLike, Protocol):
    """An operator that sums, with a requantizer and perhaps a table behind it."""

    @property
    def zero_point(self) -> int: ...
    @property
    def clip_low(self) -> int: ...
    @property
    def clip_high(self) -> int: ...
    @property
    def table(self) -> NDArray[np.uint8] | None: ...


class _PerOutput(Requantized, Protocol):
    @property
    def weights(self) -> NDArray[np.int8]: ...
    @property
    def bias(self) -> NDArray[np.int32]: ...
    @property
    def mantissa(self) -> NDArray[np.uint32]: ...
    @property
    def shift(self) -> NDArray[np.uint8]: ...


class DenseLike(_PerOutput, Protocol):
    """A fully connected layer over the last axis."""


class ConvLike(_PerOutput, Protocol):
    """A 2-D convolution."""

    @property
    def strides(self) -> Pair: ...
    @property
    def pads(self) -> Pads: ...
    @property
    def dilations(self) -> Pair: ...
    @property
    def groups(self) -> int: ...
    @property
    def pad_code(self) -> int: ...


class CombineLike(Requantized, Protocol):
    """A sum of factors times sources, element by element."""

    @property
    def factors(self) -> Sequence[int]: ...
    @property
    def offset(self) -> int: ...
    @property
    def mantissa(self) -> int: ...
    @property
    def shift(self) -> int: ...


class SumLike(CombineLike, Protocol):
    """A sum of factors times the sums of sources over their last axis."""


class MultiplyLike(Requantized, Protocol):
    """A product of two sources, element by element."""

    @property
    def zero_points(self) -> Pair: ...
    @property
    def gains(self) -> Pair: ...
    @property
    def offset(self) -> int: ...
    @property
    def mantissa(self) -> int: ...
    @property
    def shift(self) -> int: ...


class _Windowed(LayerLike, Protocol):
    @property
    def kernel(self) -> Pair: ...
    @property
    def strides(self) -> Pair: ...
    @property
    def pads(self) -> Pads: ...


class MaxPoolLike(_Windowed, Protocol):
    """The largest code of a window."""

    @property
    def dilations(self) -> Pair: ...


class AveragePoolLike(_Windowed, Requantized, Protocol):
    """The mean of a window."""

    @property
    def input_zero_point(self) -> int: ...
    @property
    def counts(self) -> Sequence[int]: ...
    @property
    def count_include_pad(self) -> bool: ...
    @property
    def mantissa(self) -> NDArray[np.uint32]: ...
    @property
    def shift(self) -> NDArray[np.uint8]: ...


class ConcatLike(LayerLike, Protocol):
    """Sources one after another."""

    @property
    def axis(self) -> int: ...
    @property
    def tables(self) -> Sequence[NDArray[np.uint8] | None]: ...


class PadLike(LayerLike, Protocol):
    """A border of one code."""

    @property
    def before(self) -> Sequence[int]: ...
    @property
    def after(self) -> Sequence[int]: ...
    @property
    def code(self) -> int: ...


class SoftmaxLike(LayerLike, Protocol):
    """Softmax over the last axis."""

    @property
    def scale(self) -> float: ...
    @property
    def out_quant(self) -> QuantLike: ...


class ConstantLike(LayerLike, Protocol):
    """A tensor that never changes."""

    @property
    def codes(self) -> NDArray[np.uint8]: ...


class ReshapeLike(LayerLike, Protocol):
    """The same values in another shape."""

    @property
    def to(self) -> tuple[int, ...]: ...


class TransposeLike(LayerLike, Protocol):
    """Axes in another order."""

    @property
    def permutation(self) -> Sequence[int]: ...


class SliceLike(LayerLike, Protocol):
    """Some entries of each axis."""

    @property
    def starts(self) -> Sequence[int]: ...
    @property
    def steps(self) -> Sequence[int]: ...
    @property
    def counts(self) -> Sequence[int]: ...


class InputLike(Protocol):
    """An input of a network: a tensor and its shape, of one sample."""

    @property
    def tensor(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


class StateLike(Protocol):
    """A tensor kept from step to step."""

    @property
    def input(self) -> str: ...
    @property
    def output(self) -> str: ...
    @property
    def table(self) -> NDArray[np.uint8] | None: ...
    @property
    def initial(self) -> int: ...


class NetworkLike(Protocol):
    """What a network must offer: its layers in topological order, joined by tensor names."""

    @property
    def inputs(self) -> Sequence[InputLike]: ...
    @property
    def layers(self) -> Sequence[LayerLike]: ...
    @property
    def states(self) -> Sequence[StateLike]: ...
