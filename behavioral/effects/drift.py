# SPDX-License-Identifier: Apache-2.0
"""Drift of phase-change cells: a power law of time."""

import math

import numpy as np
from numpy.typing import NDArray

from ..devices.model import Device
from .streams import Stream, Streams, normal

__all__ = ["drift_exponents", "drift_factor", "log_share"]


def log_share(g: NDArray[np.float64], device: Device) -> NDArray[np.float64]:
    """Where conductances lie between ``g_off`` (0) and ``g_on`` (1), on a logarithmic scale."""
    if math.isinf(device.on_off_ratio):
        return np.ones_like(g)
    with np.errstate(divide="ignore"):
        share = np.log(g / device.g_off) / math.log(device.on_off_ratio)
    clipped: NDArray[np.float64] = np.clip(share, 0.0, 1.0)
    return clipped


def drift_exponents(
    programmed: NDArray[np.float64], device: Device, streams: Streams, epoch: int
) -> NDArray[np.float64]:
    """Exponent of every cell: ``max(nu(g) + nu_spread * N, 0)``, drawn by every write.

    Nandakumar et al., ICECS 2019: exponents of a cell scatter, and grow towards the amorphous,
    less conductive states.
    """
    drift = device.drift
    if drift is None:
        return np.zeros_like(programmed)
    off = drift.nu if drift.nu_off is None else drift.nu_off
    nu = off + (drift.nu - off) * log_share(programmed, device)
    rows, cols = programmed.shape
    draws = normal(streams.generator(Stream.DRIFT, epoch), (rows, cols))
    exponents: NDArray[np.float64] = np.maximum(nu + drift.nu_spread * draws, 0.0)
    return exponents


def drift_factor(
    exponents: NDArray[np.float64], seconds: float, device: Device
) -> NDArray[np.float64]:
    """``g(t) / g(t0) = (t / t0) ** -nu`` at ``t = t0 + seconds``.

    Crafton et al. 2021, section on phase-change memory, and Le Gallo, Sebastian, J. Phys. D 53
    (2020) 213002, Eq. 3. The programmed conductance is that at t0, when the cell was verified.
    Closed in time: two stretches are the same as their sum.
    """
    if device.drift is None or seconds == 0:
        return np.ones_like(exponents)
    ratio = 1.0 + seconds / device.drift.t0
    factor: NDArray[np.float64] = np.exp(exponents * -math.log(ratio))
    return factor
