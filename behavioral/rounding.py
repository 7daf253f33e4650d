# SPDX-License-Identifier: Apache-2.0
"""From physical values to the integers of an image: rounded once, here."""

import math

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import ConfigError

__all__ = ["compact_variance", "to_int32"]


def compact_variance(q: NDArray[np.float64]) -> NDArray[np.int32]:
    """Round cell variances so that engines can sum them in 16 bits.

    They become multiples of the smallest power of two for which no column's sum needs more, at
    least 1. What rounding takes from a cell goes to the next of its column: no sum over rows 0 to
    r is off by more than half a multiple, ``2**-16`` of the column's sum.

    Parameters
    ----------
    q : float64 array [rows, cols]
        0 or more, units squared.

    Raises
    ------
    ConfigError
        If a value does not fit an image.
    """
    largest = float(q.sum(axis=0).max())
    to_int32("cell variances", q)
    shift = max(0, math.ceil(math.log2(max(largest, 1.0) / 65535.0)))
    whole = np.rint(np.cumsum(q, axis=0) / (1 << shift))
    return to_int32("cell variances", np.diff(whole, axis=0, prepend=0.0) * (1 << shift))


def to_int32(what: str, values: NDArray[np.float64]) -> NDArray[np.int32]:
    """Round values of an image.

    Raises
    ------
    ConfigError
        If one does not fit 32 bits.
    """
    if values.size and not np.abs(values).max() < 2**31:
        raise ConfigError(
            f"The {what} of the device do not fit an image (32 bits); raise its on_off_ratio or"
            " lower its noise"
        )
    return np.ascontiguousarray(np.rint(values), dtype=np.int32)
