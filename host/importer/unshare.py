# SPDX-License-Identifier: Apache-2.0
"""Give every reader of int8 constants a copy of its own, for ONNX Runtime alone.

With ``session.x64quantprecision`` ONNX Runtime turns int8 weights to uint8 ones of a new name, once
for each reader, and fails on the second reader of one initializer. An unrolled recurrence has such.
"""

from collections import Counter

import onnx
from onnx import NodeProto, TensorProto

__all__ = ["unshare_weights"]


def unshare_weights(model: onnx.ModelProto) -> None:
    """Copy int8 initializers, and DequantizeLinear nodes of them, that have several readers.

    The model is changed in place; it computes the same.
    """
    graph = model.graph
    stored = {t.name: t for t in graph.initializer if t.data_type == TensorProto.INT8}
    taken = {t.name for t in graph.initializer} | {t for n in graph.node for t in n.output}

    def fresh(name: str) -> str:
        number = 2
        while f"{name}_{number}" in taken:
            number += 1
        taken.add(f"{name}_{number}")
        return f"{name}_{number}"

    outputs = {o.name for o in graph.output}
    makers = {
        n.output[0]: n
        for n in graph.node
        if n.op_type == "DequantizeLinear" and n.input and n.input[0] in stored
    }
    nodes: list[NodeProto] = []
    seen: Counter[str] = Counter()
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name not in makers or name in outputs:
                continue
            seen[name] += 1
            if seen[name] > 1:
                copy = NodeProto()
                copy.CopyFrom(makers[name])
                copy.name = fresh(copy.name or name)
                copy.output[0] = fresh(name)
                node.input[index] = copy.output[0]
                nodes.append(copy)
        nodes.append(node)
    used: Counter[str] = Counter()
    for node in nodes:
        for index, name in enumerate(node.input):
            if name not in stored:
                continue
            used[name] += 1
            if used[name] > 1:
                tensor = TensorProto()
                tensor.CopyFrom(stored[name])
                tensor.name = fresh(name)
                graph.initializer.append(tensor)
                node.input[index] = tensor.name
    ordered = [NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(ordered)
