# SPDX-License-Identifier: Apache-2.0
"""How conductance follows the temperature of the moment."""

import numpy as np
from numpy.typing import NDArray

from ..devices.model import Device
from .drift import log_share

__all__ = ["temperature_factor"]


def temperature_factor(
    g: NDArray[np.float64], temperature: float, device: Device
) -> NDArray[np.float64]:
    """``exp(tc(g) * (T - T_device))``, which is ``1 + tc dT`` for small changes and never below 0.

    A conducting filament is metallic (tc below 0), a ruptured or amorphous one semiconducting
    (above 0): Ielmini, Waser, "Resistive Switching", 2016. The coefficient goes linearly in log g
    from ``off`` to ``on``. Temperature also enters thermal noise (:mod:`.noise`) and speeds drift,
    retention and traps up (:mod:`.aging`).
    """
    given = device.temperature_coefficients
    if given is None or temperature == device.temperature:
        return np.ones_like(g)
    coefficient = given.off + (given.on - given.off) * log_share(g, device)
    factor: NDArray[np.float64] = np.exp(coefficient * (temperature - device.temperature))
    return factor
