# SPDX-License-Identifier: Apache-2.0
"""Loss of the programmed state over time, sped up by heat."""

import math

import numpy as np
from numpy.typing import NDArray

from ..devices.model import Device
from .streams import Stream, Streams, normal

__all__ = ["lose_state", "retention_times"]


def retention_times(
    shape: tuple[int, int], device: Device, streams: Streams
) -> NDArray[np.float64]:
    """Seconds that each cell retains its state, at the retention temperature: lognormal."""
    given = device.retention
    if given is None or not given.loss:
        return np.full(shape, np.inf)
    if not given.spread:
        return np.full(shape, given.time)
    draws = normal(streams.generator(Stream.RETENTION), shape)
    times: NDArray[np.float64] = given.time * np.exp(given.spread * draws)
    return times


def lose_state(
    g: NDArray[np.float64], times: NDArray[np.float64], seconds: float, device: Device
) -> NDArray[np.float64]:
    """``g_off + (g - g_off) * (1 - loss) ** ((t / time) ** shape)``.

    A (stretched) exponential whose time obeys Arrhenius: the extrapolation by which retention is
    quoted (Huang et al., cited as analytic retention model by Yan et al. 2019, Sect. 5). ``t`` is
    the time felt at the retention temperature (:mod:`.aging`). Only cells above ``g_off`` lose.
    """
    given = device.retention
    if given is None or not given.loss or seconds == 0:
        return g
    kept = np.exp((seconds / times) ** given.shape * math.log1p(-given.loss))
    return np.where(g > device.g_off, device.g_off + (g - device.g_off) * kept, g)
