# SPDX-License-Identifier: Apache-2.0
"""Sums and products of tensors, element by element and over an axis."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import ModelError
from .checks import check_at_least, check_factor, check_range, check_requantizer
from .operators import Shape
from .quantization import Quantization

__all__ = ["Combine", "Multiply", "Sum"]

_FACTOR = 1 << 23
"""Factors are SCALE of the tile's VEC: 24 bits, signed."""

_OFFSET = 1 << 31
"""Offsets are OFFSET of the tile's VEC, or a bias of its REQ: 32 bits, signed."""

_GAIN = 128
"""MUL takes 16 bits, signed: 128 times the largest difference of two codes still fits."""


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

    kind: ClassVar[str] = "Combine"

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

    def __post_init__(self) -> None:
        _check_combination(self)

    def accumulator_range(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Exact bounds of the total; the vector unit adds modulo 2**32, so partial ones may wrap.

        Returns
        -------
        low, high : int64 [1]
        """
        return _combination_range(self, 255)

    def shape(self, *sources: Shape) -> Shape:
        return _broadcast(self.name, sources)


@dataclass(frozen=True, eq=False, kw_only=True)
class Sum:
    """``acc = offset + sum of factors[i] * (sum of source i over its last axis)``.

    The last axis stays, with one entry. Sources are of one shape. Behind it stands the requantizer
    with one factor.

    Parameters
    ----------
    factors, offset, mantissa, shift
        As of :class:`Combine`.
    length : int
        Of the last axis.
    """

    kind: ClassVar[str] = "Sum"

    name: str
    sources: tuple[str, ...]
    output: str
    factors: tuple[int, ...]
    offset: int
    length: int
    mantissa: int
    shift: int
    zero_point: int
    clip_low: int
    clip_high: int
    out_quant: Quantization
    table: NDArray[np.uint8] | None = None
    pre_quant: Quantization | None = None
    pre_output: str | None = None

    def __post_init__(self) -> None:
        _check_combination(self)
        check_at_least(self.name, "length", (self.length,), 1)

    def accumulator_range(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Exact bounds of the total: int64 [1] each."""
        return _combination_range(self, 255 * self.length)

    def shape(self, *sources: Shape) -> Shape:
        if len(set(sources)) != 1 or not sources[0] or sources[0][-1] != self.length:
            raise ModelError(
                f"Layer {self.name!r} sums sources of one shape over a last axis of {self.length}, "
                f"not {[list(s) for s in sources]}"
            )
        return (*sources[0][:-1], 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Multiply:
    """Element by element, ``acc = ga * (a - za) * gb * (b - zb) + offset``, then the requantizer
    with one factor.

    Parameters
    ----------
    zero_points : (za, zb)
        Internal codes.
    gains : (ga, gb)
        1 to 128 each. With larger ones, ``offset`` moves products by less than one unit of theirs.
    offset : int
        Signed 32 bits.
    """

    kind: ClassVar[str] = "Multiply"

    name: str
    sources: tuple[str, str]
    output: str
    zero_points: tuple[int, int]
    gains: tuple[int, int] = (1, 1)
    offset: int = 0
    mantissa: int
    shift: int
    zero_point: int
    clip_low: int
    clip_high: int
    out_quant: Quantization
    table: NDArray[np.uint8] | None = None
    pre_quant: Quantization | None = None
    pre_output: str | None = None

    def __post_init__(self) -> None:
        if len(self.sources) != 2:
            raise ModelError(f"Layer {self.name!r} multiplies two tensors, not {len(self.sources)}")
        check_range(self.name, "zero_points", self.zero_points, 0, 255)
        if len(self.gains) != 2:
            raise ModelError(f"Layer {self.name!r} needs two gains, not {len(self.gains)}")
        check_range(self.name, "gains", self.gains, 1, _GAIN)
        check_range(self.name, "offset", (self.offset,), -_OFFSET, _OFFSET - 1)
        check_factor(self.name, self.mantissa, self.shift)
        check_requantizer(self.name, self.zero_point, self.clip_low, self.clip_high, self.table)

    def accumulator_range(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Exact bounds of the sum: int64 [1] each."""
        (a, b) = ((-zero, 255 - zero) for zero in self.zero_points)
        gain = self.gains[0] * self.gains[1]
        ends = [gain * x * y + self.offset for x in a for y in b]
        return np.array([min(ends)], np.int64), np.array([max(ends)], np.int64)

    def shape(self, *sources: Shape) -> Shape:
        return _broadcast(self.name, sources)


def _check_combination(layer: Combine | Sum) -> None:
    name = layer.name
    if not layer.sources or len(layer.sources) != len(layer.factors):
        raise ModelError(
            f"Layer {name!r} needs a factor for each of its {len(layer.sources)} sources, at least "
            f"one, not {len(layer.factors)}"
        )
    check_range(name, "factors", layer.factors, -_FACTOR, _FACTOR - 1)
    check_range(name, "offset", (layer.offset,), -_OFFSET, _OFFSET - 1)
    check_factor(name, layer.mantissa, layer.shift)
    check_requantizer(name, layer.zero_point, layer.clip_low, layer.clip_high, layer.table)


def _combination_range(
    layer: Combine | Sum, top: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    low = layer.offset + top * sum(min(f, 0) for f in layer.factors)
    high = layer.offset + top * sum(max(f, 0) for f in layer.factors)
    return np.array([low], np.int64), np.array([high], np.int64)


def _broadcast(name: str, sources: tuple[Shape, ...]) -> Shape:
    try:
        return np.broadcast_shapes(*sources)
    except ValueError:
        raise ModelError(
            f"The shapes {[list(s) for s in sources]} that {name!r} combines do not fit each other"
        ) from None
