# SPDX-License-Identifier: Apache-2.0
"""How far ONNX Runtime's mean in float lies from the mean of integers."""

import numpy as np
from numpy.typing import NDArray

from .values import Codes, Grid

__all__ = ["average_codes", "count_differences"]

_WINDOWS = 20_000
"""Random windows that are compared for each count."""


def average_codes(
    codes: NDArray[np.int64], source: Grid, grid: Grid, count: int
) -> NDArray[np.uint8]:
    """QLinearAveragePool of windows [n, positions], in float32 as ONNX Runtime (qlinear_pool.cc).

    Dequantized values are summed one after the other and divided by ``count``; the quotient by the
    scale and the zero point are added before rounding.
    """
    real = source.quant.dequantize(codes)
    total = np.zeros(len(codes), np.float32)
    for column in real.T:
        total = total + column
    mean = total / np.float32(count)
    out = grid.quant
    value = mean / np.float32(out.scale) + np.float32(out.zero_point)
    result = np.rint(value).astype(np.float64) + (128 if out.signed else 0)
    clipped: NDArray[np.uint8] = np.clip(result, grid.low, grid.high).astype(np.uint8)
    return clipped


def count_differences(
    source: Codes,
    grid: Grid,
    size: int,
    counts: tuple[int, ...],
    include: bool,
    nudge: int = 0,
) -> tuple[int, int, str]:
    """Random windows whose code differs: how many, of how many, and by how much at most.

    ``nudge`` is added to both zero points; between equal scales the mean stays the same.
    """
    rng = np.random.default_rng(0)
    x, y = source.quant, grid.quant
    wrong, cases, most = 0, 0, 0
    ratio = np.float64(x.scale) / np.float64(y.scale)
    for count in counts:
        positions = min(count, 1024)
        if include:
            positions = min(size, 1024)
        windows = rng.integers(source.grid.low, source.grid.high + 1, (_WINDOWS, positions))
        expected = average_codes(windows, source.grid, grid, count)
        acc = (windows - x.internal_zero_point - nudge).sum(axis=1)
        factor = np.float32(ratio / count)
        product = (acc.astype(np.float64) * np.float64(factor)).astype(np.float32)
        ours = np.rint(product).astype(np.int64) + y.internal_zero_point + nudge
        ours = np.clip(ours, grid.low, grid.high)
        gap = np.abs(ours - expected.astype(np.int64))
        wrong += int((gap != 0).sum())
        cases += _WINDOWS
        most = max(most, int(gap.max()))
    return wrong, cases, "" if most <= 1 else f", by up to {most}"
