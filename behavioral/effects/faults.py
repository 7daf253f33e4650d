# SPDX-License-Identifier: Apache-2.0
"""Cells that do not react to writes."""

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import ConfigError
from ..devices.model import Device
from .streams import Stream, Streams

__all__ = ["STUCK_OFF", "STUCK_ON", "check_map", "seeded_map", "stuck_conductance"]

STUCK_ON, STUCK_OFF = 1, -1
"""Values of a yield map; 0 is a good cell."""


def seeded_map(shape: tuple[int, int], device: Device, streams: Streams) -> NDArray[np.int8]:
    """Draw a yield map int8 [rows, cols]: every cell on its own, with the device's shares.

    Yan et al. 2019, Table 1 (yield) and Fig. 7a (stuck-on and stuck-off cells of a 64x64 array).
    The reference column is tested and repaired: it has no stuck cells.
    """
    stuck = np.zeros(shape, np.int8)
    if device.faults is None:
        return stuck
    rows, cols = shape
    draw = streams.generator(Stream.FAULTS).random((rows, cols - 1))
    cells = stuck[:, :-1]
    cells[draw < device.faults.stuck_on] = STUCK_ON
    cells[draw >= 1.0 - device.faults.stuck_off] = STUCK_OFF
    return stuck


def check_map(given: NDArray[np.int8], rows: int, cols: int) -> NDArray[np.int8]:
    """A given yield map [rows, cols] with its reference column.

    Raises
    ------
    ConfigError
        If it has another shape or holds anything but -1, 0 and 1.
    """
    given = np.asarray(given)
    if given.shape != (rows, cols):
        raise ConfigError(f"A yield map must be [{rows}, {cols}], not {list(given.shape)}")
    bad = np.argwhere(~np.isin(given, (STUCK_OFF, 0, STUCK_ON)))
    if len(bad):
        row, col = bad[0]
        raise ConfigError(
            f"A yield map holds 1 (stuck on), -1 (stuck off) and 0, not {given[row, col]} at row"
            f" {row}, column {col}"
        )
    return np.column_stack([given.astype(np.int8), np.zeros(rows, np.int8)])


def stuck_conductance(
    g: NDArray[np.float64], stuck: NDArray[np.int8], device: Device
) -> NDArray[np.float64]:
    """Conductances with those of stuck cells put in: ``g_on`` or ``g_off``."""
    if not stuck.any():
        return g
    return np.where(stuck == 0, g, np.where(stuck > 0, device.g_on, device.g_off))
