# SPDX-License-Identifier: Apache-2.0
"""What reads do to the cells they read."""

import math

import numpy as np
from numpy.typing import NDArray

from ..devices.model import Device

__all__ = ["count_reads", "disturb"]


def count_reads(
    counts: NDArray[np.int64], reads: NDArray[np.int64], device: Device
) -> NDArray[np.int64]:
    """Counts int64 [2, rows] of both polarities after more reads of each row.

    With alternating polarity, reads of even number have the usual one, those of odd number the
    other.
    """
    if device.disturb is None or not device.disturb.alternate:
        return np.stack([counts[0] + reads, counts[1]])
    before = counts.sum(axis=0)
    after = before + reads
    return np.stack(
        [counts[0] + (after + 1) // 2 - (before + 1) // 2, counts[1] + after // 2 - before // 2]
    )


def disturb(
    g: NDArray[np.float64], counts: NDArray[np.int64], device: Device
) -> NDArray[np.float64]:
    """Each read takes ``rate`` off the distance to the end state, each reverse read back.

    ``g_end + (g - g_end) e**-x`` with ``x = -n ln(1 - rate) + n_reverse ln(1 - reverse_rate)``, and
    towards the other end of the range where x is below 0. Yan et al. 2019, Sect. 5 and Fig. 7b:
    reads push a cell one way, and alternating their direction mitigates it.
    """
    given = device.disturb
    if given is None or not counts.any():
        return g
    forward, reverse = counts.astype(np.float64)
    x = forward * -math.log1p(-given.rate) - reverse * -math.log1p(-given.reverse_rate)
    ends = (device.g_off, device.g_on)
    if given.towards == "on":
        ends = (device.g_on, device.g_off)
    end = np.where(x >= 0, *ends)[:, None]
    moved: NDArray[np.float64] = end + (g - end) * np.exp(-np.abs(x))[:, None]
    return moved
