# SPDX-License-Identifier: Apache-2.0
"""Programming error of one write without verification."""

import numpy as np
from numpy.typing import NDArray

from ..devices.model import Device
from .streams import Stream, Streams, normal

__all__ = ["open_loop", "relative_spread"]


def relative_spread(target: NDArray[np.float64], device: Device) -> NDArray[np.float64]:
    """Sigma over mean at some conductances: ``spread``, or the measured ``spread_table``."""
    if device.spread_table is None:
        return np.full_like(target, device.spread)
    table = device.spread_table
    return np.interp(target, table.conductance, table.relative)


def open_loop(
    target: NDArray[np.float64], device: Device, streams: Streams, epoch: int
) -> NDArray[np.float64]:
    """Factor on every conductance: ``max(1 + sigma(g) * N(0, 1), 0)``.

    Yan, Hu, Shi, Sect. 4.4 and 5.1: a zero-mean Gaussian whose sigma depends on the target; the
    values by state are Table 1 of Yan et al. 2019.
    """
    if not device.spread and device.spread_table is None:
        return np.ones_like(target)
    draws = normal(streams.generator(Stream.OPEN_LOOP, epoch), _shape(target))
    factor: NDArray[np.float64] = np.maximum(1.0 + relative_spread(target, device) * draws, 0.0)
    return factor


def _shape(target: NDArray[np.float64]) -> tuple[int, int]:
    rows, cols = target.shape
    return rows, cols
