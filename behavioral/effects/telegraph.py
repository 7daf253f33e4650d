# SPDX-License-Identifier: Apache-2.0
"""Random telegraph noise: a trap in a cell takes a carrier and gives it back.

Yan, Hu, Shi, Sect. 4.3: a Markov process of two values that lowers the conductance for a while.
Ambrogio et al., "Statistical fluctuations in HfOx resistive-switching memory: part II - random
telegraph noise", IEEE TED 61 (2014) 2920: the relative amplitude grows with resistance, then
saturates; times scatter over decades.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..devices.model import Device
from .streams import Stream, Streams, normal

__all__ = ["Traps", "amplitudes", "draw_traps", "evolve", "fast_variance", "mean_factor"]


class Traps(NamedTuple):
    """Traps of an array's cells, float64 [rows, cols + 1].

    ``scale`` multiplies the amplitude (0: no active trap), ``capture`` and ``emission`` are mean
    seconds in the empty and in the full state, at the device's temperature.
    """

    scale: NDArray[np.float64]
    capture: NDArray[np.float64]
    emission: NDArray[np.float64]

    @property
    def occupancy(self) -> NDArray[np.float64]:
        """Share of time that a trap is full."""
        return self.emission / (self.capture + self.emission)

    @property
    def correlation(self) -> NDArray[np.float64]:
        """Seconds ``1 / (1 / capture + 1 / emission)``."""
        return self.capture * self.emission / (self.capture + self.emission)


def draw_traps(
    shape: tuple[int, int], device: Device, streams: Streams
) -> tuple[Traps, NDArray[np.bool_]]:
    """The traps of an array, for life, and which are full at first (with their occupancy)."""
    given = device.telegraph
    if given is None:
        one = np.ones(shape)
        return Traps(np.zeros(shape), one, one), np.zeros(shape, np.bool_)
    random = streams.generator(Stream.TRAPS)
    active = random.random(shape) < given.fraction
    scale = np.where(active, np.exp(given.amplitude_spread * normal(random, shape)), 0.0)
    times = np.exp(given.time_spread * normal(random, shape))
    traps = Traps(scale, given.capture * times, given.emission * times)
    full = streams.generator(Stream.TRAP_STATE).random(shape) < traps.occupancy
    return traps, full & active


def evolve(
    full: NDArray[np.bool_], traps: Traps, seconds: float, streams: Streams, epoch: int
) -> NDArray[np.bool_]:
    """States after some time: full with ``p + (s - p) e**(-t / tau)``, exact for any t.

    ``p`` is the occupancy, s the state before, tau the correlation time; the solution of the
    two-state chain, so that two stretches have the distribution of their sum.
    """
    p = traps.occupancy
    chance = p + (full - p) * np.exp(-seconds / traps.correlation)
    draw = streams.generator(Stream.TRAP_STATE, epoch).random(full.shape)
    return (draw < chance) & (traps.scale > 0)


def amplitudes(g: NDArray[np.float64], traps: Traps, device: Device) -> NDArray[np.float64]:
    """Loss while full: ``min(scale * amplitude * (g_on / g)**exponent, max_amplitude)``."""
    given = device.telegraph
    if given is None:
        return np.zeros_like(g)
    relative = traps.scale * given.amplitude
    if given.exponent:
        relative = relative * (device.g_on / np.maximum(g, 1e-30)) ** given.exponent
    limited: NDArray[np.float64] = np.minimum(relative, given.max_amplitude)
    return limited


def _slow(traps: Traps, device: Device) -> NDArray[np.bool_]:
    threshold = np.inf if device.telegraph is None else device.telegraph.slow_above
    return traps.correlation >= threshold


def mean_factor(
    loss: NDArray[np.float64], full: NDArray[np.bool_], traps: Traps, device: Device
) -> NDArray[np.float64]:
    """Factor on the conductance: of a slow trap its state, of a quick one the mean."""
    return 1.0 - loss * np.where(_slow(traps, device), full, traps.occupancy)


def fast_variance(loss: NDArray[np.float64], traps: Traps, device: Device) -> NDArray[np.float64]:
    """Variance of quick traps, relative to the squared conductance: ``loss**2 p (1 - p)``.

    Their two values become a Gaussian of the same variance: a column sums many cells.
    """
    p = traps.occupancy
    return np.where(_slow(traps, device), 0.0, loss**2 * p * (1.0 - p))
