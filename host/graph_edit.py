# SPDX-License-Identifier: Apache-2.0
"""Small changes of ONNX graphs: constants as initializers, new names, no dead ends."""

from collections.abc import Iterable, Mapping
from typing import Any

import onnx
from onnx import ModelProto, NodeProto

from ..arch.errors import ModelError

__all__ = ["integers", "prune", "put", "rename", "shapes", "with_initializers"]


def integers(node: NodeProto, name: str) -> list[int]:
    """A list attribute; empty if it is left out."""
    return next(([int(i) for i in a.ints] for a in node.attribute if a.name == name), [])


def put(target: Any, values: Iterable[Any]) -> None:
    """Replace what a repeated field holds."""
    kept = list(values)
    del target[:]
    target.extend(kept)


def with_initializers(model: ModelProto) -> ModelProto:
    """A copy with Constant nodes turned into initializers."""
    copy = ModelProto()
    copy.CopyFrom(model)
    kept = []
    for node in copy.graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            value.name = node.output[0]
            copy.graph.initializer.append(value)
        else:
            kept.append(node)
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    return copy


def shapes(model: ModelProto) -> dict[str, list[int]]:
    """Shapes as far as they can be inferred; 0 for a dimension that may vary."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"The shapes in the model do not fit: {' '.join(str(error).split())}"
        ) from None
    return {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*graph.input, *graph.value_info, *graph.output)
    }


def rename(nodes: list[NodeProto], names: Mapping[str, str]) -> None:
    for node in nodes:
        node.input[:] = [names.get(i, i) for i in node.input]
        node.output[:] = [names.get(o, o) for o in node.output]


def prune(model: ModelProto) -> None:
    """Drop nodes and constants that no output depends on."""
    graph = model.graph
    wanted = {o.name for o in graph.output}
    kept = []
    for node in reversed(graph.node):
        if any(o in wanted for o in node.output):
            wanted |= set(node.input)
            kept.append(node)
    nodes, constants = kept[::-1], [t for t in graph.initializer if t.name in wanted]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.initializer[:]
    graph.initializer.extend(constants)
