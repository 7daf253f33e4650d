# SPDX-License-Identifier: Apache-2.0
"""What the rows of a layer's matrix are given, and the fewest reads that takes."""

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import Chip
from ...behavioral.inputs import reads_made
from ..graph import Conv, Dense
from .mapping import LayerMap

__all__ = ["reads_bound", "windows"]


def windows(layer: Dense | Conv, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What the rows of a layer's matrix are given.

    Parameters
    ----------
    layer : Dense or Conv
    codes : uint8 [n, \\*shape of its input]

    Returns
    -------
    uint8 [n, positions, rows]
    """
    n = len(codes)
    if isinstance(layer, Dense):
        return codes.reshape(n, -1, layer.inputs)
    top, left, bottom, right = layer.pads
    border = ((0, 0), (0, 0), (top, bottom), (left, right))
    image = np.pad(codes, border, constant_values=layer.pad_code)
    reach = [d * (k - 1) + 1 for k, d in zip(layer.kernel, layer.dilations, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(image, reach, axis=(2, 3))
    seen = seen[:, :, :: layer.strides[0], :: layer.strides[1]]
    seen = seen[..., :: layer.dilations[0], :: layer.dilations[1]]
    rows, cols = seen.shape[2:4]
    found: NDArray[np.uint8] = seen.transpose(0, 2, 3, 1, 4, 5).reshape(n, rows * cols, -1)
    return found


def reads_bound(mapping: LayerMap, codes: NDArray[np.uint8], chip: Chip) -> int:
    """Fewest reads that products of ``codes`` uint8 [n, \\*shape of the input] can take.

    Zero-skip: the sum over passes and blocks of ``ceil(popcount / N)``; baseline:
    ``ceil(rows in the block / N)`` a pass (DESIGN section 7).
    """
    total = 0
    seen = windows(mapping.layer, codes)
    seen = seen.reshape(-1, seen.shape[-1])[:, mapping.input_order]
    for row in mapping.row_parts:
        part = seen[:, row[0].rows.start : row[0].rows.stop]
        total += int(reads_made(part, chip, mapping.zero).sum()) * len(row)
    return total
