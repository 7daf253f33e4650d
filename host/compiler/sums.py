# SPDX-License-Identifier: Apache-2.0
"""How the sums of a share of a layer lie in memory: as REQ sends them, position by position."""

import math
from collections.abc import Mapping

import numpy as np

from ..graph import Conv, Dense, Network, Shape
from .tensors import Ints

__all__ = ["SUM_BYTES", "adder_of", "bytes_of", "partial_sums", "plain_sums"]

SUM_BYTES = 4


def adder_of(network: Network, tensor: str) -> Dense | Conv | None:
    """The layer that adds a tensor of sums to its own; None if it is no such tensor."""
    for layer in network.layers:
        if isinstance(layer, Dense | Conv) and tensor in layer.partials:
            return layer
    return None


def plain_sums(layer: Dense | Conv, shape: Shape) -> tuple[Ints, int]:
    """Offsets of the bytes of sums ``shape`` that come from the host, and how many they take.

    Every position begins with a new word of memory.
    """
    outputs = layer.outputs
    padded = outputs + outputs % 2
    positions = math.prod(shape[:-1]) // outputs
    sums = np.arange(positions)[:, None] * padded + np.arange(outputs)
    if isinstance(layer, Conv):
        sums = sums.T
    offsets = SUM_BYTES * sums.reshape(-1, 1) + np.arange(SUM_BYTES)
    return offsets.reshape(shape), SUM_BYTES * padded * positions


def partial_sums(layer: Dense | Conv, views: Mapping[str, Ints]) -> tuple[Ints, ...]:
    """Addresses [outputs, positions] of the first bytes of sums to be added, share by share."""
    found = []
    for tensor in layer.partials:
        first = views[tensor][..., 0]
        if isinstance(layer, Conv):
            found.append(first.reshape(layer.outputs, -1))
        else:
            found.append(first.reshape(-1, layer.outputs).T)
    return tuple(found)


def bytes_of(sums: Ints) -> Ints:
    """Elements of a tensor of bytes that some sums take; -1 for those of no sum."""
    found = SUM_BYTES * sums[..., None] + np.arange(SUM_BYTES)
    return np.where(sums[..., None] < 0, -1, found).reshape(*sums.shape[:-1], -1)
