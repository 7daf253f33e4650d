# SPDX-License-Identifier: Apache-2.0
"""Wear: a cell survives so many pulses."""

import numpy as np
from numpy.typing import NDArray

from ..devices.model import Device
from .faults import STUCK_OFF, STUCK_ON
from .streams import Stream, Streams, normal

__all__ = ["pulse_limits", "wear_out"]


def pulse_limits(shape: tuple[int, int], device: Device, streams: Streams) -> NDArray[np.float64]:
    """Pulses that each cell survives: lognormal about ``cycles``.

    Yan, Hu, Shi, Sect. 4.5 and Crafton et al. 2021, Table 1 give typical numbers; the survey says
    that after them a cell is stuck at a value.
    """
    given = device.endurance
    if given is None:
        return np.full(shape, np.inf)
    if not given.spread:
        return np.full(shape, given.cycles)
    draws = normal(streams.generator(Stream.ENDURANCE), shape)
    limits: NDArray[np.float64] = given.cycles * np.exp(given.spread * draws)
    return limits


def wear_out(
    stuck: NDArray[np.int8],
    pulses: NDArray[np.int64],
    limits: NDArray[np.float64],
    device: Device,
    streams: Streams,
) -> NDArray[np.int8]:
    """The yield map with cells added that had more pulses than they survive."""
    given = device.endurance
    if given is None:
        return stuck
    worn = (stuck == 0) & (pulses > limits)
    if not worn.any():
        return stuck
    # Epoch 1: how a cell fails is drawn once for life, apart from when.
    draw = streams.generator(Stream.ENDURANCE, 1).random(stuck.shape)
    end = np.where(draw < given.to_on, STUCK_ON, STUCK_OFF)
    return np.where(worn, end, stuck).astype(np.int8)
