# SPDX-License-Identifier: Apache-2.0
"""The end of a model that is left to the host: what follows the last quantized tensor."""

from collections.abc import Mapping

from ...arch.errors import ModelError
from .expression import ELEMENTWISE
from .values import Codes, Floating, FloatInput, Real, Value
from .view import GraphView, describe
from .views import VIEWS

__all__ = ["host_nodes", "result_tensors"]

# What ends a network: the host computes it, and all behind it, unless a layer follows.
_ENDS = frozenset(
    {"ArgMax", "ArgMin", "ArrayFeatureExtractor", "Cast", "LabelEncoder", "LogSoftmax",
     "Normalizer", "QLinearSoftmax", "ReduceMax", "Softmax", "TopK", "ZipMap"}
)  # fmt: skip
_BETWEEN = frozenset({"DequantizeLinear", "QuantizeLinear", *VIEWS})


def host_nodes(graph: GraphView) -> frozenset[str]:
    """First outputs of the nodes that are the host's."""
    last: set[str] = set()
    for node in reversed(graph.order):
        readers = [r for o in node.output for r in graph.consumers(o) if o]
        follows = all(r.output[0] in last for r in readers if r.output[0] in graph.producers)
        if node.op_type in _ENDS | _BETWEEN and follows:
            last.add(node.output[0])
    found: set[str] = set()
    for node in graph.order:
        behind = any(t in found for t in node.input)
        if node.output[0] in last and (node.op_type in _ENDS or behind):
            found.update(o for o in node.output if o)
    return frozenset(found)


def result_tensors(graph: GraphView, values: Mapping[str, Value], name: str) -> tuple[str, ...]:
    """The quantized tensors that the model's outputs are made of, in order, each once.

    Raises
    ------
    ModelError
        If an output depends on a tensor that is computed in float.
    """
    found: dict[str, None] = {}
    for output in graph.outputs:
        pending: list[Value | None] = [values.get(output)]
        while pending:
            value = pending.pop()
            if isinstance(value, Codes):
                found[value.tensor] = None
            elif isinstance(value, Real):
                found[value.codes.tensor] = None
            elif isinstance(value, FloatInput):
                raise ModelError(
                    f"Output {output!r} depends on the input {value.name!r}, which is not "
                    "quantized; quantize the inputs too"
                )
            elif isinstance(value, Floating):
                kind = value.node.op_type
                if kind not in _ENDS | _BETWEEN | ELEMENTWISE:
                    raise ModelError(
                        f"The {describe(value.node)} gives a float result, without a quantized "
                        "result behind it; the output of the last layer must be quantized "
                        "(QuantizeLinear) too"
                    )
                pending.extend(reversed(value.operands))
    if not found:
        raise ModelError(f"{name} has no quantized result; nothing to compute")
    return tuple(found)
