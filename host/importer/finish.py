# SPDX-License-Identifier: Apache-2.0
"""Last pass: draw tables into the layers before them, join reshapes, drop what nothing reads."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..graph import (
    AveragePool,
    Combine,
    Concat,
    Constant,
    Conv,
    Dense,
    MaxPool,
    Multiply,
    Operator,
    Pad,
    Reshape,
    Slice,
    Softmax,
    Sum,
    Transpose,
)
from ..graph.operators import Shape
from .build import IDENTITY

__all__ = ["finish_layers"]

_OfOne = Dense | Conv | MaxPool | AveragePool | Softmax | Reshape | Transpose | Slice | Pad
_WITH_TABLE = (Dense, Conv, Combine, Multiply, AveragePool)


def finish_layers(
    layers: Sequence[Operator], outputs: Sequence[str], inputs: Mapping[str, Shape]
) -> tuple[tuple[Operator, ...], dict[str, str]]:
    """The layers that the outputs need.

    Parameters
    ----------
    layers : sequence of Operator
        In topological order.
    outputs : sequence of str
        Tensors that must stay.
    inputs : mapping
        Shape of each input.

    Returns
    -------
    layers : tuple of Operator
    renamed : dict of str to str
        Outputs that another tensor stands for now.
    """
    kept = _needed(layers, set(outputs))
    kept, renamed = _draw_in_tables(kept, set(outputs))
    kept, joined = _join_reshapes(kept, inputs)
    final = {o: joined.get(renamed.get(o, o), renamed.get(o, o)) for o in outputs}
    return tuple(_needed(kept, set(final.values()))), final


def _needed(layers: Sequence[Operator], outputs: set[str]) -> list[Operator]:
    needed = set(outputs)
    kept: list[Operator] = []
    for layer in reversed(layers):
        if layer.output in needed:
            kept.append(layer)
            needed.update(layer.sources)
    return kept[::-1]


def _reading(layer: Operator, names: Mapping[str, str]) -> Operator:
    """A layer whose sources have other names."""
    if isinstance(layer, Constant) or not any(s in names for s in layer.sources):
        return layer
    if isinstance(layer, Combine | Sum | Concat):
        return replace(layer, sources=tuple(names.get(s, s) for s in layer.sources))
    if isinstance(layer, Multiply):
        first, second = layer.sources
        return replace(layer, sources=(names.get(first, first), names.get(second, second)))
    if not isinstance(layer, _OfOne):
        raise TypeError(f"Layers '{layer.kind}' have no one source that could be renamed")
    return replace(layer, input=names.get(layer.input, layer.input))


def _is_table(layer: Operator) -> bool:
    return (
        isinstance(layer, Combine)
        and layer.table is not None
        and layer.factors == (1,)
        and layer.offset == 0
        and (layer.mantissa, layer.shift) == IDENTITY
        and layer.pre_output is None
    )


def _draw_in_tables(
    layers: list[Operator], outputs: set[str]
) -> tuple[list[Operator], dict[str, str]]:
    """A table whose source has no other reader joins the layer that makes it.

    Between the two may stand reshapes, with which a table commutes: the table's output is then the
    layer's, and its readers read behind the last reshape.
    """
    readers = Counter(source for layer in layers for source in layer.sources)
    makers = {layer.output: k for k, layer in enumerate(layers)}
    result: list[Operator | None] = list(layers)
    renamed: dict[str, str] = {}
    for k, original in enumerate(layers):
        table = _reading(original, renamed)
        result[k] = table
        if not isinstance(table, Combine) or not _is_table(table):
            continue
        chain: list[int] = []
        tensor = table.sources[0]
        maker = makers.get(tensor)
        while maker is not None and readers[tensor] == 1 and tensor not in outputs:
            layer = result[maker]
            if not isinstance(layer, Reshape):
                break
            chain.append(maker)
            tensor = layer.input
            maker = makers.get(tensor)
        if maker is None or readers[tensor] != 1 or tensor in outputs:
            continue
        layer = result[maker]
        if not isinstance(layer, _WITH_TABLE) or layer.table is not None:
            continue
        result[maker] = replace(
            layer,
            table=table.table,
            pre_quant=layer.out_quant,
            pre_output=layer.output,
            out_quant=table.out_quant,
            output=table.output,
        )
        result[k] = None
        makers[table.output] = maker
        source = table.output
        for index in reversed(chain):
            view = result[index]
            if isinstance(view, Reshape):
                result[index] = replace(view, input=source, out_quant=table.out_quant)
                source = view.output
        if chain:
            renamed[table.output] = source
            readers[source] = readers[table.output]
            readers[table.output] = 1
    return [layer for layer in result if layer is not None], renamed


def _join_reshapes(
    layers: list[Operator], inputs: Mapping[str, Shape]
) -> tuple[list[Operator], dict[str, str]]:
    """Reshapes of reshapes read what the first one reads; those that do nothing are left out."""
    shapes = dict(inputs)
    renamed: dict[str, str] = {}
    origins: dict[str, str] = {}
    result: list[Operator] = []
    for original in layers:
        layer = _reading(original, renamed)
        if isinstance(layer, Reshape):
            source = origins.get(layer.input, layer.input)
            if shapes.get(source) == layer.to:
                renamed[layer.output] = source
                continue
            origins[layer.output] = source
            if source != layer.input:
                layer = replace(layer, input=source)
        shapes[layer.output] = layer.shape(*(shapes[s] for s in layer.sources))
        result.append(layer)
    return result, renamed
