# SPDX-License-Identifier: Apache-2.0
"""Cell levels of weights in each encoding of ``arch/encodings.py``, and which columns to flip."""

import numpy as np
from numpy.typing import NDArray

from ..arch.encodings import CellCode, WeightEncoding

__all__ = ["array_levels", "choose_flips", "largest_sums", "weight_levels"]


def weight_levels(code: CellCode, weights: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Levels of the cells of weights, none of their columns flipped.

    Parameters
    ----------
    code : CellCode
    weights : int [...]
        Within ``code.weight_range``.

    Returns
    -------
    uint8 [..., columns]
    """
    shifts = np.arange(code.slices) * code.cell_bits
    if code.paired:
        halves = [np.maximum(weights.astype(np.int64) * sign, 0) for sign in (1, -1)]
        levels = np.concatenate([half[..., None] >> shifts & code.top for half in halves], axis=-1)
    elif code.encoding is WeightEncoding.XNOR and code.weight_bits == 1:
        levels = (np.asarray(weights)[..., None] > 0) + 0 * shifts
    else:
        stored = (weights.astype(np.int64) + code.offset) * code.factor
        levels = stored[..., None] >> shifts & code.top
    return levels.astype(np.uint8)


def array_levels(
    code: CellCode,
    weights: NDArray[np.integer],
    shape: tuple[int, int],
    used: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Levels of an array, none of its columns flipped.

    Parameters
    ----------
    code : CellCode
    weights : int [inputs, outputs]
    shape : tuple of int
        Rows and columns of the array.
    used : bool [outputs], optional
        Outputs that there are: the cells of the others stay at level 0.

    Returns
    -------
    uint8 [rows, cols]
    """
    inputs = len(weights)
    cells = weight_levels(code, weights)
    first: NDArray[np.bool_] = np.ones(cells.shape[1], np.bool_) if used is None else used
    width = cells.shape[1] * cells.shape[2]
    levels = np.zeros(shape, dtype=np.uint8)
    levels[:inputs, :width] = np.where(first[:, None], cells, 0).reshape(inputs, width)
    if code.complement_rows:
        half = shape[0] // 2
        other = np.where(first[:, None], code.top - cells, 0)
        levels[half : half + inputs, :width] = other.reshape(inputs, width)
    return levels


def largest_sums(
    levels: NDArray[np.uint8], rows_per_read: int, zero_skip: bool
) -> NDArray[np.int64]:
    """The largest sum of each column that a read of some rows can make.

    Parameters
    ----------
    levels : uint8 [rows in use, cols]
    rows_per_read : int
    zero_skip : bool
        A read may drive any so many rows; otherwise neighbouring ones, from a multiple on.

    Returns
    -------
    int64 [cols]
    """
    rows = len(levels)
    if zero_skip:
        top = np.sort(levels, axis=0)[max(0, rows - rows_per_read) :]
        sums: NDArray[np.int64] = top.sum(axis=0, dtype=np.int64)
        return sums
    starts = np.arange(0, rows, rows_per_read)
    found: NDArray[np.int64] = np.add.reduceat(levels.astype(np.int64), starts).max(axis=0)
    return found


def choose_flips(
    levels: NDArray[np.uint8], top: int, rows_per_read: int, zero_skip: bool
) -> NDArray[np.bool_]:
    """Columns whose complement makes the smaller largest sum; of equals the plain one.

    Parameters
    ----------
    levels : uint8 [rows in use, cols]
        None of them flipped.
    top : int
        Highest level of a cell.
    rows_per_read : int
    zero_skip : bool

    Returns
    -------
    bool [cols]
    """
    plain = largest_sums(levels, rows_per_read, zero_skip)
    other = largest_sums((top - levels).astype(np.uint8), rows_per_read, zero_skip)
    flips: NDArray[np.bool_] = other < plain
    return flips
