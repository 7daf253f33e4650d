# SPDX-License-Identifier: Apache-2.0
"""The codes of all tensors of a network, from what a run has returned."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...behavioral.golden import run_layer, view
from ..graph import Constant, Network
from .tensors import is_view

__all__ = ["Tensors", "tensor_codes"]

Tensors = Mapping[str, NDArray[Any]]


def tensor_codes(
    network: Network, codes: Tensors | NDArray[np.uint8], tensors: Tensors
) -> dict[str, NDArray[np.uint8]]:
    """Codes by tensor, one entry a sample (a step of a sample, of networks with states).

    Parameters
    ----------
    network : Network
    codes : mapping of str to uint8 [n, (steps,) \\*shape], or an array
        Of the inputs; an array is that of the first one.
    tensors : mapping
        What a run returned. What it lacks is computed from what it has.

    Returns
    -------
    dict
        uint8 [n * steps, \\*shape] by tensor. States are those that each step began with.
    """
    lead = 2 if network.states else 1
    given = codes if isinstance(codes, Mapping) else {network.fed[0].tensor: codes}
    found: dict[str, NDArray[np.uint8]] = {}
    shape: tuple[int, ...] = ()
    for entry in network.fed:
        array = given[entry.tensor]
        shape = array.shape[:lead] if array.ndim > len(entry.shape) else array.shape[:1]
        found[entry.tensor] = array.reshape(-1, *entry.shape)
    count = int(np.prod(shape))
    makers = {layer.output: layer for layer in network.layers}
    for state in network.states:
        made = np.asarray(tensors[makers[state.output].name], np.uint8)
        moved = made if state.table is None else state.table[made]
        begun = np.full_like(moved, state.initial)
        begun[:, 1:] = moved[:, :-1]
        found[state.input] = begun.reshape(count, *network.shape(state.input))
    for layer in network.layers:
        if isinstance(layer, Constant):
            found[layer.output] = np.broadcast_to(layer.codes, (count, *layer.codes.shape))
        elif is_view(layer):
            found[layer.output] = view(layer, found[layer.sources[0]])
        elif layer.name in tensors:
            values = np.asarray(tensors[layer.name], np.uint8)
            found[layer.output] = values.reshape(count, *network.shape(layer.output))
        else:
            found[layer.output] = run_layer(layer, [found[s] for s in layer.sources])[""]
    return found
