# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation at inference is a scale and a shift a channel: fold it into its layer."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from ..arch.errors import ModelError
from .graph_edit import prune, put
from .importer.view import describe

__all__ = ["fold_normalization"]

Reals = NDArray[np.float64]


def fold_normalization(model: ModelProto) -> None:
    """Take all BatchNormalization nodes out of a float model, in place.

    One behind a Conv or Gemm with constant weights that nothing else reads goes into the weights
    and bias, ``w * a`` and ``(b - mean) * a + shift`` with ``a = scale / sqrt(variance +
    epsilon)`` (Ioffe and Szegedy, "Batch Normalization", section 3.1), computed in float64. Any
    other becomes a Mul and an Add.

    Raises
    ------
    ModelError
        If a node is in training mode, or its statistics are no constants.
    """
    graph = model.graph
    arrays = {t.name: t for t in graph.initializer}
    producers = {o: n for n in graph.node for o in n.output}
    readers: dict[str, int] = {}
    for name in (i for n in graph.node for i in n.input):
        readers[name] = readers.get(name, 0) + 1
    for output in graph.output:
        readers[output.name] = readers.get(output.name, 0) + 1
    taken = {*arrays, *producers, *(i.name for i in graph.input)}

    def constant(name: str, values: NDArray[Any]) -> str:
        while name in taken:
            name += "_"
        taken.add(name)
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type != "BatchNormalization":
            nodes.append(node)
            continue
        factor, shift = _factors(node, arrays)
        layer = producers.get(node.input[0])
        if layer is not None and readers[node.input[0]] == 1 and _is_layer(layer, arrays):
            _fold(layer, factor, shift, arrays, constant)
            layer.output[0] = node.output[0]
            continue
        rank = _rank(model, node.input[0])
        form = (-1, *[1] * (rank - 2))
        scaled = f"{node.output[0]}_scaled"
        taken.add(scaled)
        name = node.name or node.output[0]
        operands = [
            constant(f"{name}_{role}", values.reshape(form))
            for role, values in (("factor", factor), ("shift", shift))
        ]
        nodes += [
            helper.make_node("Mul", [node.input[0], operands[0]], [scaled], name=f"{name}_mul"),
            helper.make_node("Add", [scaled, operands[1]], [node.output[0]], name=f"{name}_add"),
        ]
    put(graph.node, nodes)
    prune(model)


def _factors(node: NodeProto, arrays: dict[str, Any]) -> tuple[Reals, Reals]:
    """Factor and shift of each channel."""
    if any(a.name == "training_mode" and a.i for a in node.attribute) or len(node.output) > 1:
        raise ModelError(
            f"The {describe(node)} is in training mode; export the model in evaluation mode"
        )
    if any(name not in arrays for name in node.input[1:5]) or len(node.input) < 5:
        raise ModelError(
            f"The {describe(node)} has statistics that are no constants; export the model in "
            "evaluation mode, with constant folding"
        )
    scale, shift, mean, variance = (
        numpy_helper.to_array(arrays[name]).astype(np.float64) for name in node.input[1:5]
    )
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    if not (variance + epsilon > 0).all():  # not the other way round: NaN is refused as well
        raise ModelError(
            f"The {describe(node)} has a variance that is not positive; export the model again"
        )
    factor = scale / np.sqrt(variance + epsilon)
    return factor, shift - mean * factor


def _is_layer(layer: NodeProto, arrays: dict[str, Any]) -> bool:
    """Whether a scale and a shift can go into the constants of a layer."""
    if layer.op_type not in ("Conv", "Gemm") or layer.input[1] not in arrays:
        return False
    if len(layer.input) > 2 and layer.input[2] and layer.input[2] not in arrays:
        return False
    plain = {"alpha": 1.0, "beta": 1.0}
    return all(a.f == plain[a.name] for a in layer.attribute if a.name in plain)


def _fold(
    layer: NodeProto, factor: Reals, shift: Reals, arrays: dict[str, Any], constant: Any
) -> None:
    weight = numpy_helper.to_array(arrays[layer.input[1]]).astype(np.float64)
    transposed = any(a.name == "transB" and a.i for a in layer.attribute)
    along = layer.op_type == "Conv" or transposed
    weight = weight * (factor.reshape(-1, *[1] * (weight.ndim - 1)) if along else factor)
    name = layer.name or layer.output[0]
    bias = np.zeros(len(factor))
    if len(layer.input) > 2 and layer.input[2]:
        given = numpy_helper.to_array(arrays[layer.input[2]]).astype(np.float64)
        bias = np.broadcast_to(given.ravel(), bias.shape)
    operands = [
        layer.input[0],
        constant(f"{name}_folded_weight", weight),
        constant(f"{name}_folded_bias", bias * factor + shift),
    ]
    put(layer.input, operands)


def _rank(model: ModelProto, tensor: str) -> int:
    """Number of axes of a tensor."""
    from .graph_edit import shapes

    return len(shapes(model).get(tensor) or [0, 0])
