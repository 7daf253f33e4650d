# SPDX-License-Identifier: Apache-2.0
"""From samples to the codes that targets take, and from tensors to the codes of outputs."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arch.errors import InputError
from .graph import Network

__all__ = ["Codes", "Samples", "check_data", "flat_codes", "input_codes", "quantize", "values_of"]

Codes = NDArray[np.uint8]
Samples = dict[str, NDArray[np.float32]]


def values_of(network: Network) -> int:
    """Values that the host feeds for a sample, or for a step of it with states."""
    return sum(math.prod(entry.shape) for entry in network.fed)


def check_data(
    network: Network, x: ArrayLike | Mapping[str, ArrayLike], y: ArrayLike | None
) -> tuple[Samples, NDArray[np.int64] | None]:
    """Samples of each input as float32 [n, \\*shape], and labels as int64.

    Parameters
    ----------
    network : Network
    x : array or mapping of str to array
        By name of the input; one array for a network with one. With states [n, steps, ...].
    y : array, optional
        Class of each sample [n]; with states also of each step [n, steps].

    Raises
    ------
    InputError
        If they do not fit the network or each other, or a value is not finite.
    """
    lead = 2 if network.states else 1
    names = [entry.name for entry in network.fed]
    given = x if isinstance(x, Mapping) else {names[0]: x}
    samples: Samples = {}
    for entry in network.fed:
        if entry.name not in given:
            raise InputError(
                f"Network '{network.name}' needs samples for its inputs {', '.join(names)}; there "
                f"are none for '{entry.name}'"
            )
        array = np.asarray(given[entry.name], dtype=np.float32)
        front = array.shape[:lead]
        values = math.prod(front) * math.prod(entry.shape)
        if array.ndim < lead or 0 in front or array.size != values:
            axes = ["n", "steps"][:lead]
            of = "" if len(names) == 1 else f" of '{entry.name}'"
            raise InputError(
                f"Network '{network.name}' takes samples{of} of shape {[*axes, *entry.shape]}, "
                f"not {list(array.shape)}"
            )
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).reshape(len(array), -1).any(axis=1).argmax())
            raise InputError(f"Sample {bad} holds NaN or infinite values; remove it")
        samples[entry.name] = array.reshape(*front, *entry.shape)
    fronts = [array.shape[:lead] for array in samples.values()]
    if len(set(fronts)) > 1:
        raise InputError(
            f"Network '{network.name}' needs as many samples of each input, not "
            f"{[list(front) for front in fronts]}"
        )
    if y is None:
        return samples, None
    labels = np.asarray(y, dtype=np.int64)
    if labels.shape not in (fronts[0][:1], fronts[0]):
        steps = f" or one a step {list(fronts[0])}" if lead == 2 else ""
        raise InputError(
            f"The labels have the shape {list(labels.shape)}, one a sample are needed: "
            f"[{fronts[0][0]}]{steps}"
        )
    classes = math.prod(network.shape(network.output_name))
    if labels.max() >= classes or labels.min() < 0:
        raise InputError(
            f"The labels hold classes {int(labels.min())} to {int(labels.max())}, but network "
            f"'{network.name}' tells 0 to {classes - 1} apart; correct y or leave it out"
        )
    return samples, labels


def quantize(network: Network, samples: Mapping[str, NDArray[np.float32]]) -> dict[str, Codes]:
    """Codes of samples as :func:`check_data` gives them, by quantized tensor."""
    return {entry.tensor: entry.quant.quantize(samples[entry.name]) for entry in network.fed}


def input_codes(network: Network, codes: Mapping[str, Codes] | Codes) -> dict[str, Codes]:
    """Codes of each fed input, by quantized tensor: uint8 [n, (steps,) \\*shape].

    Parameters
    ----------
    network : Network
    codes : uint8 array or mapping of str to such
        By quantized tensor; a bare array is that of the one input. Samples may be flat.

    Raises
    ------
    InputError
        If one is missing, or has another type or shape.
    """
    fed = network.fed
    given = codes if isinstance(codes, Mapping) else {fed[0].tensor: codes}
    lead = 2 if network.states else 1
    found: dict[str, Codes] = {}
    for entry in fed:
        if entry.tensor not in given:
            raise InputError(
                f"Network '{network.name}' needs codes of its inputs "
                f"{', '.join(e.tensor for e in fed)}; there are none of '{entry.tensor}'"
            )
        array = given[entry.tensor]
        size = math.prod(entry.shape)
        front = array.shape[:lead]
        flat = array.ndim == lead + 1 and array.shape[lead] == size
        fits = array.ndim > lead and (flat or array.shape[lead:] == entry.shape)
        if array.dtype != np.uint8 or not fits or 0 in front[1:]:
            of = "" if len(fed) == 1 else f" of '{entry.tensor}'"
            axes = ", ".join(["n", "steps"][:lead])
            raise InputError(
                f"Input codes{of} must be uint8 [{axes}, {size}] for network '{network.name}', "
                f"not {array.dtype} {list(array.shape)}"
            )
        found[entry.tensor] = array.reshape(*front, *entry.shape)
    fronts = {array.shape[:lead] for array in found.values()}
    if len(fronts) > 1:
        raise InputError(
            f"Network '{network.name}' needs as many samples and steps of each input, not "
            f"{sorted(list(front) for front in fronts)}"
        )
    return found


def flat_codes(network: Network, codes: Mapping[str, Codes]) -> Codes:
    """All fed inputs of a sample in one row, as an :class:`~.InputLayout` counts elements.

    The inputs stand one after another in the network's order; of a network with states, each with
    all of its steps.

    Parameters
    ----------
    codes : mapping
        As :func:`input_codes` gives them.

    Returns
    -------
    uint8 [n, values]
    """
    arrays = [codes[entry.tensor] for entry in network.fed]
    rows = [array.reshape(len(array), math.prod(array.shape[1:])) for array in arrays]
    return np.concatenate(rows, axis=1)
