# SPDX-License-Identifier: Apache-2.0
"""Time as a cell feels it: heat makes it pass faster."""

import numpy as np
from numpy.typing import NDArray

from ..devices.model import BOLTZMANN, ELEMENTARY_CHARGE

__all__ = ["acceleration", "felt_seconds"]


def acceleration(activation_energy: float, temperature: float, reference: float) -> float:
    """Arrhenius: ``exp(Ea / k * (1 / T_ref - 1 / T))``; Ea in electronvolt, T in kelvin.

    At 0 K a thermally activated process stands still.
    """
    if activation_energy == 0:
        return 1.0
    if temperature == 0:
        return 0.0
    per_kelvin = activation_energy * ELEMENTARY_CHARGE / BOLTZMANN
    exponent = per_kelvin * (1.0 / reference - 1.0 / temperature)
    return float(np.exp(np.clip(exponent, -700.0, 700.0)))


def felt_seconds(
    seconds: NDArray[np.float64],
    temperatures: NDArray[np.float64],
    activation_energy: float,
    reference: float,
) -> float:
    """Seconds at ``reference`` that weigh as much as a history of stretches at temperatures."""
    return sum(
        float(s) * acceleration(activation_energy, float(t), reference)
        for s, t in zip(seconds, temperatures, strict=True)
    )
