# SPDX-License-Identifier: Apache-2.0
"""Networks as stochastic streams compute them.

A stream of fewer passes than there are codes gives ``sum of counts[x] * w`` in place of
``sum of x * w``, with ``counts[x]`` the passes in which ``x`` drives its row: about ``x`` times
``passes / 255``. Biases are scaled by that, and requantizers by its inverse. The result is a
network in exact integers of its own, which every level of the twin computes alike; how far it is
from the exact one is for whoever chooses a stream to look at (``docs/encodings.md``).
"""

import dataclasses

import numpy as np

from ...arch.chip import Chip
from ...arch.errors import CapacityError
from ...arch.formats import RequantScale
from ...arch.inputs import MAX_PASSES
from ..graph import Conv, Dense, Network, Operator

__all__ = ["stream_network"]


def stream_network(network: Network, chip: Chip) -> Network:
    """The network that a chip computes: the same one but for stochastic streams.

    Raises
    ------
    CapacityError
        If a layer's factor, grown by what a short stream lacks, is past the requantizer's range.
    """
    if chip.input_code.exact:
        return network
    layers = [
        _streamed(layer, chip) if isinstance(layer, Dense | Conv) else layer
        for layer in network.layers
    ]
    note = (
        f"activations are streams of {chip.passes} passes: golden and all levels behind it compute "
        f"with those, float with the activations themselves"
    )
    return dataclasses.replace(network, layers=tuple(layers), notes=(*network.notes, note))


def _streamed(layer: Dense | Conv, chip: Chip) -> Operator:
    """A layer with counts in place of codes."""
    share = chip.passes / MAX_PASSES
    scales = []
    for mantissa, shift in zip(layer.mantissa.tolist(), layer.shift.tolist(), strict=True):
        factor = float(np.float32(float(RequantScale(mantissa, shift)) / share))
        try:
            scales.append(RequantScale.from_float(factor))
        except ValueError as error:
            raise CapacityError(
                f"Layer '{layer.name}' cannot be computed with streams of {chip.passes} passes: "
                f"{error}; raise stream_length"
            ) from None
    return dataclasses.replace(
        layer,
        bias=np.rint(layer.bias * share).astype(np.int32),
        mantissa=np.array([scale.mantissa for scale in scales], dtype=np.uint32),
        shift=np.array([scale.shift for scale in scales], dtype=np.uint8),
        counts=np.array(chip.input_code.counts, dtype=np.uint8),
    )
