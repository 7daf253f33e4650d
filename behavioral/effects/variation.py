# SPDX-License-Identifier: Apache-2.0
"""Variation between chips, cells, writes and neighbours, ahead of verification."""

import math

import numpy as np
from numpy.typing import NDArray

from ..devices.model import Device
from .streams import Stream, Streams, normal

__all__ = ["correlated_field", "variation"]


def variation(
    shape: tuple[int, int], device: Device, streams: Streams, epoch: int
) -> NDArray[np.float64]:
    """Factor on every conductance, not below 0.

    Yan, Hu, Shi, Sect. 5.1, Eq. 1: ``g = g0 + global + f(g0, correlated, dynamic)``, here as
    ``1 + die + device + cycle + correlated``. The first is one number for the chip, the second and
    last are kept for life, the third is drawn by every write.
    """
    factor = np.ones(shape)
    given = device.variation
    if given is None:
        return factor
    if given.die:
        factor += given.die * streams.chip(Stream.DIE).standard_normal()
    if given.device:
        factor += given.device * normal(streams.generator(Stream.DEVICE), shape)
    if given.cycle:
        factor += given.cycle * normal(streams.generator(Stream.CYCLE, epoch), shape)
    if given.correlated:
        random = streams.generator(Stream.CORRELATED)
        factor += given.correlated * correlated_field(shape, given.correlation_length, random)
    return np.maximum(factor, 0.0)


def correlated_field(
    shape: tuple[int, int], length: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """A Gaussian field [rows, cols] of unit variance, correlation ``exp(-(d / length)**2)``.

    White noise smoothed by a Gaussian of sigma ``length / 2``, whose autocorrelation that is; the
    noise reaches past the edges, so that the variance is the same everywhere. Neighbouring arrays
    are independent.
    """
    half = math.ceil(2.5 * length) + 1
    kernel = np.exp(-2.0 * (np.arange(-half, half + 1) / length) ** 2)
    kernel /= np.sqrt((kernel**2).sum())
    white = random.standard_normal((shape[0] + 2 * half, shape[1] + 2 * half))
    return _smoother(shape[0], kernel) @ white @ _smoother(shape[1], kernel).T


def _smoother(size: int, kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.zeros((size, size + len(kernel) - 1))
    for i in range(size):
        matrix[i, i : i + len(kernel)] = kernel
    return matrix
