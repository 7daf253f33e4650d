# SPDX-License-Identifier: Apache-2.0
"""What write pulses do to a conductance: the pulse response of a cell."""

import numpy as np
from numpy.typing import NDArray

from ..devices.model import Device
from ..devices.sections import PulseResponse

__all__ = ["apply_pulses", "response_curve", "step_size"]


def response_curve(device: Device, response: PulseResponse, *, up: bool) -> NDArray[np.float64]:
    """Conductance after 0, 1, 2, ... pulses from one end of the range; float64 [n], rising.

    The exponential of NeuroSim (Chen, Peng, Yu, IEDM 2017): steps shrink towards the end that the
    pulses lead to. For depression the curve is that of ``g_on + g_off - g``.
    """
    if response.conductance is not None:
        table = np.array(response.conductance)
        return table if up else device.g_on + device.g_off - table[::-1]
    n = np.linspace(0.0, 1.0, response.pulses + 1)
    k = response.nonlinearity
    if not up and response.nonlinearity_down is not None:
        k = response.nonlinearity_down
    share = n if k == 0 else np.expm1(-k * n) / np.expm1(-k)
    return device.g_off + (device.g_on - device.g_off) * share


def _move(
    g: NDArray[np.float64], counts: NDArray[np.float64], device: Device, response: PulseResponse
) -> NDArray[np.float64]:
    """Conductance after ``counts`` equal pulses (negative: depression), without spread."""
    mirrored = device.g_on + device.g_off
    result = g.copy()
    for up in (True, False):
        curve = response_curve(device, response, up=up)
        chosen = counts > 0 if up else counts < 0
        start = g[chosen] if up else mirrored - g[chosen]
        n = np.arange(len(curve), dtype=np.float64)
        at = np.interp(start, curve, n) + np.abs(counts[chosen])
        moved = np.interp(at, n, curve)
        result[chosen] = moved if up else mirrored - moved
    return result


def step_size(
    g: NDArray[np.float64], error: NDArray[np.float64], device: Device, response: PulseResponse
) -> NDArray[np.float64]:
    """Siemens that one pulse towards the sign of ``error`` changes at g; at least 1e-30."""
    return np.maximum(np.abs(_move(g, np.sign(error), device, response) - g), 1e-30)


def apply_pulses(
    g: NDArray[np.float64],
    counts: NDArray[np.int64],
    device: Device,
    response: PulseResponse,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Conductances after trains of pulses.

    Parameters
    ----------
    g : float64 array
        Siemens.
    counts : int64 array of the same shape
        Pulses; negative ones depress.
    device : Device
    response : PulseResponse
    random : Generator
        The spread of n pulses adds up to ``spread * step * sqrt(n)``.
    """
    draws = random.standard_normal(g.shape)
    moved = _move(g, counts.astype(np.float64), device, response) - g
    n = np.maximum(np.abs(counts), 1)
    moved = moved * (1.0 + response.spread / np.sqrt(n) * draws)
    result: NDArray[np.float64] = np.clip(g + moved, device.g_off, device.g_on)
    return result
