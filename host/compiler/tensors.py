# SPDX-License-Identifier: Apache-2.0
"""Tensors in data memory: buffers, and views as arrays of addresses.

A view holds the address of every element, int64 of the tensor's logical shape, so that Reshape,
Transpose and Slice are NumPy operations on addresses. Until memory is planned, addresses are
virtual: the number of a buffer in the high half, the offset in it in the low half.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..graph import Conv, Dense, Operator, Reshape, Shape, Slice, Transpose

__all__ = [
    "Buffer",
    "Buffers",
    "Image",
    "Ints",
    "Kind",
    "Pads",
    "alike",
    "apply_view",
    "buffer_of",
    "channels_last",
    "elements",
    "is_share",
    "is_view",
    "padded",
    "steady",
]

Ints = NDArray[np.int64]
Pads = tuple[int, int, int, int]
"""Top, left, bottom, right."""

Kind = Literal["host", "input", "made", "constant", "state"]

_OFFSET_BITS = 32
_DATA = -1


@dataclass(eq=False)
class Buffer:
    """Consecutive bytes of data memory.

    Parameters
    ----------
    number : int
    name : str
    kind : str
        ``"host"`` is none in memory: its elements go from the FIFO straight to row registers.
    fill : int16 [size]
        The code that a byte always holds (halos of padded tensors), -1 for bytes of elements.
    pitch, pixel : int
        Bytes from row to row and from column to column, 0 if it is no image.
    content : uint8 [size], optional
        Of constants.
    """

    number: int
    name: str
    kind: Kind
    fill: NDArray[np.int16]
    pitch: int = 0
    pixel: int = 0
    content: NDArray[np.uint8] | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.fill)

    @property
    def base(self) -> int:
        """Virtual address of the first byte."""
        return self.number << _OFFSET_BITS

    @property
    def lasting(self) -> bool:
        """Whether its bytes must hold from sample to sample."""
        return self.kind in ("constant", "state")

    @property
    def has_halo(self) -> bool:
        return bool((self.fill != _DATA).any())


def buffer_of(addresses: Ints) -> Ints:
    """Numbers of the buffers that virtual addresses lie in."""
    found: Ints = addresses >> _OFFSET_BITS
    return found


@dataclass
class Buffers:
    """All buffers of a program."""

    all: list[Buffer] = field(default_factory=list)

    def new(
        self,
        name: str,
        kind: Kind,
        fill: NDArray[np.int16] | int,
        pitch: int = 0,
        pixel: int = 0,
        content: NDArray[np.uint8] | None = None,
    ) -> Buffer:
        """A buffer of the size of ``fill``, or of so many bytes of elements."""
        if isinstance(fill, int):
            fill = np.full(fill, _DATA, np.int16)
        made = Buffer(len(self.all), name, kind, fill, pitch, pixel, content)
        self.all.append(made)
        return made

    def of(self, addresses: Ints) -> list[Buffer]:
        """The buffers that a view reaches into."""
        return [self.all[n] for n in np.unique(buffer_of(addresses)).tolist()]

    def physical(self, addresses: Ints, bases: Sequence[int]) -> Ints:
        """Byte addresses, once each buffer has its own."""
        numbers = buffer_of(addresses)
        table = np.array(bases, np.int64)
        found: Ints = table[numbers] + (addresses - (numbers << _OFFSET_BITS))
        return found


def is_view(layer: Operator) -> bool:
    """Whether a layer only renames and reorders elements."""
    return isinstance(layer, Reshape | Transpose | Slice)


def is_share(layer: Operator) -> bool:
    """Whether what a layer gives are sums that another tile adds up."""
    return isinstance(layer, Dense | Conv) and layer.share


def apply_view(layer: Operator, elements: Ints) -> Ints:
    """What a view makes of elements (their addresses or numbers) of its input."""
    if isinstance(layer, Reshape):
        return elements.reshape(layer.to)
    if isinstance(layer, Transpose):
        return elements.transpose(layer.permutation)
    if isinstance(layer, Slice):
        for axis, (start, step, count) in enumerate(
            zip(layer.starts, layer.steps, layer.counts, strict=True)
        ):
            elements = elements.take(start + step * np.arange(count), axis=axis)
        return elements
    raise TypeError(f"{layer.name} is no view")


@dataclass(frozen=True, eq=False)
class Image:
    """Bytes of an image that lies in memory channels last."""

    extended: Ints
    """Of each channel, row and column, those of the halo included."""
    offsets: Ints
    """Without the halo."""
    fill: NDArray[np.int16]
    pitch: int
    pixel: int


def channels_last(
    shape: Shape, pads: Pads = (0, 0, 0, 0), code: int = 0, *, apart: bool = False
) -> Image:
    """An image (channels, rows, columns) with a halo of ``code``.

    The halo to the right of a row is also the one to the left of the next row, unless ``apart``.
    """
    channels, rows, cols = shape
    top, left, bottom, right = pads
    pitch = (cols + (left + right if apart else max(left, right))) * channels
    extended = (
        np.arange(channels, dtype=np.int64)[:, None, None]
        + np.arange(rows + top + bottom)[:, None] * pitch
        + np.arange(cols + left + right) * channels
    )
    offsets = extended[:, top : top + rows, left : left + cols]
    fill = np.full(int(extended.max()) + 1, code, np.int16)
    fill[offsets.ravel()] = _DATA
    return Image(extended, offsets, fill, pitch, channels)


def _strides(view: Ints, buffer: Buffer) -> tuple[int, int]:
    """Bytes from row to row and from column to column of a view (channels, rows, columns)."""
    rows = int(view[0, 1, 0] - view[0, 0, 0]) if view.shape[1] > 1 else buffer.pitch
    cols = int(view[0, 0, 1] - view[0, 0, 0]) if view.shape[2] > 1 else buffer.pixel
    return rows, cols


def padded(view: Ints, pads: Pads, code: int, buffers: Buffers) -> Ints | None:
    """A view (channels, rows, columns) with the halo around it.

    Returns
    -------
    int64 (channels, rows + top + bottom, columns + left + right), or None if there is no halo of
    this size and code, or elements do not lie in rows and columns.
    """
    if not any(pads):
        return view
    found = buffers.of(view)
    if len(found) != 1:
        return None
    (buffer,) = found
    row, col = _strides(view, buffer)
    top, left, bottom, right = pads
    _, rows, cols = view.shape
    y = np.arange(-top, rows + bottom)[:, None] * row
    x = np.arange(-left, cols + right) * col
    extended: Ints = view[:, :1, :1] + y + x
    inside = (slice(None), slice(top, top + rows), slice(left, left + cols))
    if not np.array_equal(extended[inside], view):
        return None
    border = np.ones(extended.shape, np.bool_)
    border[inside] = False
    offsets = extended[border] - buffer.base
    if offsets.min() < 0 or offsets.max() >= buffer.size:
        return None
    if not (buffer.fill[offsets] == code).all():
        return None
    return extended


def elements(shape: Shape) -> Ints:
    """The number of each element of a tensor."""
    return np.arange(math.prod(shape), dtype=np.int64).reshape(shape)


def alike(positions: Ints) -> bool:
    """Whether addresses [positions, n] move by the same distance from position to position."""
    whole = buffer_of(positions) == buffer_of(positions[:1])
    moved = positions[:1] + (positions[:, :1] - positions[0, 0])
    return bool(whole.all()) and np.array_equal(positions, moved)


def steady(image: Ints) -> bool:
    """Whether all channels step alike from row to row and from column to column."""
    row = image[0, 1, 0] - image[0, 0, 0] if image.shape[1] > 1 else 0
    col = image[0, 0, 1] - image[0, 0, 0] if image.shape[2] > 1 else 0
    y = np.arange(image.shape[1])[:, None] * row
    x = np.arange(image.shape[2]) * col
    whole = buffer_of(image) == buffer_of(image[:, :1, :1])
    return bool(whole.all()) and np.array_equal(image, image[:, :1, :1] + y + x)
