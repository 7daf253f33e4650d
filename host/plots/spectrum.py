# SPDX-License-Identifier: Apache-2.0
"""Power spectral density of the current noise of one cell, from the models of a read's noise."""

import math

import numpy as np
from numpy.typing import NDArray

from ...behavioral.devices import Device
from ...behavioral.devices.model import BOLTZMANN, ELEMENTARY_CHARGE

__all__ = ["SLOW", "band", "spectrum"]

SLOW = "telegraph, slow"
"""Part that is no noise within a read: such traps keep their state from read to read."""

_LOWEST = 1.0
"""Hertz at which a spectrum begins where 1/f noise does not begin below it."""

_NODES = np.linspace(-6.0, 6.0, 241)
"""Standard normal values over which what scatters from cell to cell is averaged."""

_WEIGHTS = np.exp(-0.5 * _NODES**2) / np.exp(-0.5 * _NODES**2).sum()


def band(device: Device) -> tuple[float, float]:
    """Lowest and highest frequency of interest, in hertz.

    From 1 Hz, or from where 1/f noise begins, to the bandwidth of the read. A device without a
    bandwidth ends where its 1/f noise does, or three decades above the corner of its median trap.
    """
    low = _LOWEST if device.flicker is None else min(_LOWEST, device.flicker.f_low)
    high = max(device.bandwidth, device.flicker_band)
    if not high and device.telegraph is not None:
        rate = 1 / device.telegraph.capture + 1 / device.telegraph.emission
        high = 1e3 * rate / (2 * math.pi)
    return low, max(high, 10 * low)


def spectrum(
    device: Device, g: float, frequencies: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """One-sided densities of the current noise of a cell, by part and in all.

    With I the current of the cell, ``g`` times the read voltage, without what traps take off:

    - thermal: ``4kT g``, and ``4kT / R`` of the amplifier; shot: ``2qI`` (Yan, Hu, Shi, Sect. 4.1
      and 4.2). Both are white, up to the bandwidth.
    - 1/f: ``K I**2 / f`` from ``f_low`` to ``f_high`` (``effects/flicker.py``).
    - telegraph: ``4 (aI)**2 p (1 - p) tau / (1 + (2 pi f tau)**2)``, with a the amplitude, p the
      occupancy, ``1 / tau = 1 / capture + 1 / emission``: the Lorentzian of Machlup, "Noise in
      semiconductors: spectrum of a two-parameter random signal", J. Appl. Phys. 25 (1954) 341.
      It is the mean over cells: over amplitudes, times and cells without a trap.

    Integrals over frequency are the variances that an image holds; a Lorentzian's is
    ``(aI)**2 p (1 - p)`` over all frequencies, all of which a read takes, whatever its bandwidth.

    ``read_noise`` is not here: it stands for noise of which no spectrum is known.

    Parameters
    ----------
    g : float
        Siemens, above 0.
    frequencies : float64 [n]
        Hertz, above 0.

    Returns
    -------
    dict
        float64 [n], A**2/Hz, by name: the parts that are on, then ``total``, which leaves out
        :data:`SLOW`.
    """
    current = g * device.read_voltage
    active = device.active
    white: NDArray[np.float64] = (frequencies <= device.bandwidth).astype(np.float64)
    parts: dict[str, NDArray[np.float64]] = {}
    if "thermal" in active:
        four = 4.0 * BOLTZMANN * device.temperature
        if math.isfinite(device.amplifier_resistance):
            parts["thermal, amplifier"] = four / device.amplifier_resistance * white
        parts["thermal, cell"] = four * g * white
    if "shot" in active:
        parts["shot"] = 2.0 * ELEMENTARY_CHARGE * current * white
    slow = None
    if device.telegraph is not None:
        quick, slow = _telegraph(device, g, frequencies)
        if quick.any():
            parts["telegraph"] = quick
    if device.flicker is not None:
        within = (frequencies >= device.flicker.f_low) & (frequencies <= device.flicker_band)
        parts["1/f"] = device.flicker.coefficient * current**2 / frequencies * within
    total = np.sum(list(parts.values()), axis=0) if parts else np.zeros_like(frequencies)
    if slow is not None and slow.any():
        parts[SLOW] = slow
    return parts | {"total": total}


def _telegraph(
    device: Device, g: float, frequencies: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean Lorentzian of a cell's quick and of its slow traps: two of float64 [n], A**2/Hz."""
    given = device.telegraph
    if given is None:
        return np.zeros_like(frequencies), np.zeros_like(frequencies)
    median = given.amplitude * (device.g_on / g) ** given.exponent
    loss = np.minimum(median * np.exp(given.amplitude_spread * _NODES), given.max_amplitude)
    p = given.emission / (given.capture + given.emission)
    swing = given.fraction * float(_WEIGHTS @ loss**2) * (g * device.read_voltage) ** 2
    # Both times of a cell scale together, so that its occupancy stays.
    middle = p * given.capture
    tau = middle * np.exp(given.time_spread * _NODES)
    shape = tau / (1.0 + (2 * np.pi * frequencies[:, None] * tau) ** 2)
    quick = np.full_like(_NODES, middle < given.slow_above)
    if given.time_spread and given.slow_above:
        # A node stands for all between it and its neighbours: the threshold may cut it in two.
        edge = math.log(given.slow_above / middle) / given.time_spread
        quick = np.clip((edge - _NODES) / (_NODES[1] - _NODES[0]) + 0.5, 0.0, 1.0)
    scale = 4.0 * swing * p * (1 - p)
    return scale * (shape @ (_WEIGHTS * quick)), scale * (shape @ (_WEIGHTS * (1.0 - quick)))
