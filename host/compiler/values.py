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
    states = {state.input: state for state in network.states}

    for tensor, state in states.items():
        kept = np.full((*shape, *network.shape(tensor)), state.initial, np.uint8)
        found[tensor] = kept.reshape(count, *network.shape(tensor))

    def after(tensor: str, step: int) -> NDArray[np.uint8]:
        """Codes of a tensor at a step."""
        if tensor not in found and tensor in makers and is_view(makers[tensor]):
            return view(makers[tensor], after(makers[tensor].sources[0], step))
        codes = value(tensor).reshape(*shape, *network.shape(tensor))
        return codes[:, step]

    def value(tensor: str) -> NDArray[np.uint8]:
        if tensor not in found:
            found[tensor] = made(tensor)
        return found[tensor]

    def made(tensor: str) -> NDArray[np.uint8]:
        layer = makers[tensor]
        if isinstance(layer, Constant):
            return np.broadcast_to(layer.codes, (count, *layer.codes.shape))
        if is_view(layer):
            return view(layer, value(layer.sources[0]))
        if layer.name in tensors:
            codes = np.asarray(tensors[layer.name], np.uint8)
            return codes.reshape(count, *network.shape(tensor))
        return run_layer(layer, [value(s) for s in layer.sources])[""]

    for step in range(1, shape[1] if states else 0):
        for tensor, state in states.items():
            before = after(state.output, step - 1)
            moved = before if state.table is None else state.table[before]
            found[tensor].reshape(*shape, *network.shape(tensor))[:, step] = moved
    for layer in network.layers:
        value(layer.output)
    return found
