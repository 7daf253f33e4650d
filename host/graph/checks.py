# SPDX-License-Identifier: Apache-2.0
"""What operators check of their fields, and the proof that sums fit."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import CapacityError, ModelError
from ...arch.formats import ACC_BITS, MANTISSA_BITS, MAX_SHIFT

__all__ = [
    "Summing",
    "check_accumulators",
    "check_arrays",
    "check_at_least",
    "check_factor",
    "check_range",
    "check_requantizer",
    "shape_of_sums",
]

Wanted = Mapping[str, tuple[NDArray[np.generic], type[np.generic], tuple[int, ...]]]


class Summing(Protocol):
    """An operator with accumulators."""

    @property
    def name(self) -> str: ...
    def accumulator_range(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Least and largest sum of each output, or of all of them in one entry."""
        ...


def check_accumulators(layer: Summing, bits: int = ACC_BITS) -> None:
    """Prove that no accumulator of a layer leaves ``bits`` bits.

    Raises
    ------
    CapacityError
        If some input makes a sum leave the range.
    """
    low, high = layer.accumulator_range()
    limit = 1 << (bits - 1)
    wrong = np.flatnonzero((low < -limit) | (high >= limit))
    if wrong.size:
        worst = int(wrong[0])
        which = f"Output {worst} of layer" if low.size > 1 else "Layer"
        raise CapacityError(
            f"{which} {layer.name!r} can sum to {int(low[worst])} .. {int(high[worst])}, which "
            f"does not fit a {bits}-bit accumulator; split the layer or use smaller weights or "
            "biases"
        )


def check_arrays(name: str, wanted: Wanted) -> None:
    """Arrays have the type and shape given beside them; they cannot be written to from now on.

    Raises
    ------
    ModelError
    """
    for field, (array, dtype, shape) in wanted.items():
        if array.dtype != dtype or array.shape != shape:
            raise ModelError(
                f"{field} of layer {name!r} must be {np.dtype(dtype)} {list(shape)}, "
                f"not {array.dtype} {list(array.shape)}"
            )
        array.setflags(write=False)


def check_range(name: str, field: str, values: Iterable[int], low: int, high: int) -> None:
    """Whole numbers within ``low .. high``.

    Raises
    ------
    ModelError
    """
    for value in values:
        if not low <= value <= high:
            raise ModelError(f"{field} of layer {name!r} must be {low} to {high}, not {value}")


def check_at_least(name: str, field: str, values: Iterable[int], low: int) -> None:
    """Whole numbers of ``low`` or more.

    Raises
    ------
    ModelError
    """
    for value in values:
        if value < low:
            raise ModelError(f"{field} of layer {name!r} must be {low} or more, not {value}")


def check_requantizer(
    name: str,
    zero_point: int,
    clip_low: int,
    clip_high: int,
    table: NDArray[np.uint8] | None,
) -> None:
    """Zero point and bounds are codes, a table has one for each.

    Raises
    ------
    ModelError
    """
    if not 0 <= clip_low <= clip_high <= 255 or not 0 <= zero_point <= 255:
        raise ModelError(
            f"Zero point and clip bounds of layer {name!r} must be codes 0 to 255 with "
            f"low <= high, not {zero_point}, {clip_low}, {clip_high}"
        )
    if table is not None:
        check_arrays(name, {"table": (table, np.uint8, (256,))})


def check_factor(
    name: str,
    mantissa: NDArray[np.uint32] | int,
    shift: NDArray[np.uint8] | int,
) -> None:
    """Mantissas have bit 23 set and none above, shifts fit the requantizer.

    Raises
    ------
    ModelError
    """
    low, high = 1 << (MANTISSA_BITS - 1), (1 << MANTISSA_BITS) - 1
    mantissas, shifts = np.atleast_1d(mantissa), np.atleast_1d(shift)
    check_range(name, "mantissa", (int(mantissas.min()), int(mantissas.max())), low, high)
    check_range(name, "shift", (int(shifts.min()), int(shifts.max())), 0, MAX_SHIFT)


def shape_of_sums(
    name: str, shape: tuple[int, ...], partials: Iterable[tuple[int, ...]], *, share: bool
) -> tuple[int, ...]:
    """The output shape of a layer of products whose sums have a shape; with four bytes a sum of a
    share, and of the partial sums that are added.

    Raises
    ------
    ModelError
        If partial sums have another shape.
    """
    for partial in partials:
        if partial != (*shape, 4):
            raise ModelError(
                f"Layer {name!r} adds partial sums of shape {list(partial)} where it has "
                f"{list(shape)}, four bytes each"
            )
    return (*shape, 4) if share else shape
