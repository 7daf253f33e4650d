# SPDX-License-Identifier: Apache-2.0
"""All layers of a network, in order; step models over whole sequences."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from . import elementwise
from .operators import (
    AveragePoolLike,
    CombineLike,
    ConcatLike,
    ConstantLike,
    ConvLike,
    DenseLike,
    LayerLike,
    MaxPoolLike,
    MultiplyLike,
    NetworkLike,
    PadLike,
    Requantized,
    ReshapeLike,
    SliceLike,
    SoftmaxLike,
    StateLike,
    SumLike,
    TransposeLike,
)
from .products import conv_accumulate, dense_accumulate
from .requantizer import requantize
from .softmax import softmax

__all__ = ["VIEWS", "output_codes", "run_layer", "run_network", "tensor_codes", "view"]

Codes = NDArray[np.uint8]
Tensors = dict[str, NDArray[Any]]

VIEWS = ("Reshape", "Transpose", "Slice")
"""Kinds that only rename and reorder values."""


def view(layer: LayerLike, codes: Codes) -> Codes:
    """A view of codes uint8 [n, ...], by a layer of one of the kinds :data:`VIEWS`."""
    if layer.kind == "Reshape":
        return codes.reshape(len(codes), *cast(ReshapeLike, layer).to)
    if layer.kind == "Transpose":
        order = cast(TransposeLike, layer).permutation
        return codes.transpose(0, *(axis + 1 for axis in order))
    cut = cast(SliceLike, layer)
    for axis, (start, step, count) in enumerate(
        zip(cut.starts, cut.steps, cut.counts, strict=True)
    ):
        codes = codes.take(np.arange(count) * step + start, axis=axis + 1)
    return codes


def _accumulate(layer: LayerLike, sources: Sequence[Codes]) -> NDArray[np.int32] | None:
    """The sums of a layer, None if it is none that sums."""
    match layer.kind:
        case "Dense":
            return dense_accumulate(sources[0], cast(DenseLike, layer))
        case "Conv":
            return conv_accumulate(sources[0], cast(ConvLike, layer))
        case "Combine":
            return elementwise.combine_accumulate(sources, cast(CombineLike, layer))
        case "Sum":
            return elementwise.sum_accumulate(sources, cast(SumLike, layer))
        case "Multiply":
            return elementwise.multiply_accumulate(sources, cast(MultiplyLike, layer))
        case "AveragePool":
            return elementwise.average_accumulate(sources[0], cast(AveragePoolLike, layer))
    return None


def _factors(
    layer: LayerLike, shape: tuple[int, ...]
) -> tuple[NDArray[np.uint32] | int, NDArray[np.uint8] | int]:
    """Mantissa and shift of a layer's requantizer, to broadcast with its sums."""
    if layer.kind == "Conv":
        conv = cast(ConvLike, layer)
        return conv.mantissa[:, None, None], conv.shift[:, None, None]
    if layer.kind == "AveragePool":
        pool = cast(AveragePoolLike, layer)
        if len(pool.counts) == 1:
            return pool.mantissa, pool.shift
        found = elementwise.window_counts(
            shape[1:], pool.kernel, pool.strides, pool.pads, pool.count_include_pad
        )
        order = np.argsort(pool.counts)
        index = order[np.searchsorted(np.asarray(pool.counts)[order], found)]
        return pool.mantissa[index], pool.shift[index]
    whole = cast(CombineLike | DenseLike, layer)
    return whole.mantissa, whole.shift


def run_layer(layer: LayerLike, sources: Sequence[Codes]) -> Tensors:
    """One operator on codes uint8 [n, ...], n the same for all sources.

    Returns
    -------
    dict
        ``"acc"`` int32 and, with a table, ``"pre"`` uint8, for operators that sum; ``""``, the
        codes uint8, for all; of a share of a layer, its sums, four bytes each.

    Raises
    ------
    ValueError
        If shapes do not fit, a sum leaves 32 bits, or the operator is unknown.
    """
    acc = _accumulate(layer, sources)
    if acc is not None:
        if getattr(layer, "share", False):
            return {"acc": acc, "": acc.astype("<i4")[..., None].view(np.uint8)}
        for partial in sources[1:] if getattr(layer, "partials", ()) else ():
            acc = acc + np.ascontiguousarray(partial).view("<i4")[..., 0]
        summing = cast(Requantized, layer)
        out = requantize(
            acc,
            *_factors(layer, sources[0].shape),
            summing.zero_point,
            summing.clip_low,
            summing.clip_high,
        )
        if summing.table is None:
            return {"acc": acc, "": out}
        return {"acc": acc, "pre": out, "": summing.table[out]}
    if layer.kind in VIEWS:
        return {"": view(layer, sources[0])}
    match layer.kind:
        case "MaxPool":
            return {"": elementwise.max_pool(sources[0], cast(MaxPoolLike, layer))}
        case "Concat":
            return {"": elementwise.concat(sources, cast(ConcatLike, layer))}
        case "Pad":
            return {"": elementwise.pad(sources[0], cast(PadLike, layer))}
        case "Softmax":
            return {"": softmax(sources[0], cast(SoftmaxLike, layer))}
    raise ValueError(f"Layer {layer.name!r} is of the unknown kind {layer.kind!r}")


def _run_once(network: NetworkLike, tensors: dict[str, Codes], n: int) -> Tensors:
    """All layers on n samples, one step of them; adds every tensor to ``tensors`` by its name."""
    result: Tensors = {}
    for layer in network.layers:
        if layer.kind == "Constant":
            codes = cast(ConstantLike, layer).codes
            tensors[layer.output] = np.broadcast_to(codes, (n, *codes.shape))
            continue
        made = run_layer(layer, [tensors[source] for source in layer.sources])
        tensors[layer.output] = made[""]
        if layer.kind not in VIEWS:
            result |= {f"{layer.name}.{key}" if key else layer.name: a for key, a in made.items()}
    return result


def _inputs(network: NetworkLike, codes: Mapping[str, Codes] | Codes) -> dict[str, Codes]:
    """Codes of the inputs that are fed, of their full shapes: [n, (steps,) \\*shape]."""
    kept = {state.input for state in network.states}
    fed = [entry for entry in network.inputs if entry.tensor not in kept]
    given = codes if isinstance(codes, Mapping) else {fed[0].tensor: codes}
    lead = 2 if network.states else 1
    found: dict[str, Codes] = {}
    for entry in fed:
        if entry.tensor not in given:
            raise ValueError(f"There are no codes for input tensor {entry.tensor!r}")
        array = given[entry.tensor]
        if array.ndim < lead or math.prod(array.shape[lead:]) != math.prod(entry.shape):
            axes = ["n", "steps"][:lead]
            raise ValueError(
                f"Codes of {entry.tensor!r} must have the shape {[*axes, *entry.shape]}, "
                f"not {list(array.shape)}"
            )
        found[entry.tensor] = array.reshape(*array.shape[:lead], *entry.shape)
    if len({array.shape[:lead] for array in found.values()}) > 1:
        raise ValueError("All inputs must have as many samples and steps")
    return found


def run_network(network: NetworkLike, codes: Mapping[str, Codes] | Codes) -> Tensors:
    """Run all layers on internal codes and return every tensor.

    Parameters
    ----------
    network : NetworkLike
    codes : mapping of str to uint8 [n, \\*shape], or one array
        Internal codes by quantized input tensor, flat samples allowed; an array is that of the
        first input. With states uint8 [n, steps, \\*shape]: a sample is a sequence, and each
        begins with the initial states.

    Returns
    -------
    dict
        For each layer, in order: ``"<layer>.acc"`` int32 of those that sum; if it has a table,
        ``"<layer>.pre"`` uint8, the codes before the table; and ``"<layer>"`` uint8, its codes;
        nothing for views and constants. Shapes [n, \\*shape], with states [n, steps, \\*shape].

    Raises
    ------
    ValueError
        If the codes do not fit the network.
    """
    given = _inputs(network, codes)
    first = next(iter(given.values()))
    n = len(first)
    if not network.states:
        return _run_once(network, dict(given), n)
    if not first.shape[1]:
        raise ValueError("A sequence must have at least one step")
    shapes = {entry.tensor: entry.shape for entry in network.inputs}
    kept = {
        state.input: np.full((n, *shapes[state.input]), state.initial, np.uint8)
        for state in network.states
    }
    steps: list[Tensors] = []
    for step in range(first.shape[1]):
        tensors = {name: array[:, step] for name, array in given.items()} | kept
        steps.append(_run_once(network, tensors, n))
        kept = {
            s.input: tensors[s.output] if s.table is None else s.table[tensors[s.output]]
            for s in network.states
        }
    return {name: np.stack([made[name] for made in steps], axis=1) for name in steps[0]}


def tensor_codes(
    network: NetworkLike,
    tensors: Mapping[str, NDArray[Any]],
    wanted: Sequence[str],
    inputs: Mapping[str, Codes] = MappingProxyType({}),
) -> dict[str, Codes]:
    """Codes of tensors by their own names, from what a run at any level returned by layer.

    What a level did not return is made from what it did, as long as no product is needed: a view,
    or digital work that is the same at every level.

    Parameters
    ----------
    network : NetworkLike
    tensors : mapping
        As :func:`run_network` returns them, not necessarily all.
    wanted : sequence of str
        Names of tensors.
    inputs : mapping of str to uint8, optional
        Codes of fed inputs, by tensor, of their full shapes.

    Returns
    -------
    dict
        uint8 [n, \\*shape], with states [n, steps, \\*shape].

    Raises
    ------
    ValueError
        If one rests on something that the run did not return.
    """
    makers = {layer.output: layer for layer in network.layers}
    lead = 2 if network.states else 1
    known = [*tensors.values(), *inputs.values()]
    front = known[0].shape[:lead] if known else (0,) * lead
    kept = {state.input: state for state in network.states}
    found: dict[str, Codes] = {}
    pending: set[str] = set()

    def held(state: StateLike) -> Codes:
        """What a state was in each step: the output of the step before."""
        fed = resolve(state.output)
        steps = fed.reshape(*front, *fed.shape[1:])
        before = np.full_like(steps, state.initial)
        before[:, 1:] = steps[:, :-1] if state.table is None else state.table[steps[:, :-1]]
        return before.reshape(fed.shape)

    def resolve(name: str) -> Codes:
        """Codes of a tensor with samples and steps in one axis."""
        if name in found:
            return found[name]
        if name in pending:
            raise ValueError(f"The run returned nothing that tensor {name!r} can be made of")
        pending.add(name)
        maker = makers.get(name)
        given = inputs.get(name) if maker is None else tensors.get(maker.name)
        if given is not None:
            codes = given.reshape(math.prod(front), *given.shape[lead:])
        elif name in kept:
            codes = held(kept[name])
        elif maker is None or maker.kind in ("Dense", "Conv"):
            raise ValueError(f"The run returned nothing that tensor {name!r} can be made of")
        elif maker.kind == "Constant":
            fixed = cast(ConstantLike, maker).codes
            codes = np.broadcast_to(fixed, (math.prod(front), *fixed.shape))
        else:
            codes = run_layer(maker, [resolve(source) for source in maker.sources])[""]
        found[name] = codes
        return codes

    return {name: (c := resolve(name)).reshape(*front, *c.shape[1:]) for name in wanted}


def output_codes(network: NetworkLike, tensors: Mapping[str, NDArray[Any]], output: str) -> Codes:
    """Codes of an output tensor: :func:`tensor_codes` for one."""
    return tensor_codes(network, tensors, [output])[output]
