# SPDX-License-Identifier: Apache-2.0
"""Import a quantized ONNX model: any acyclic graph of the operators below (DESIGN section 6).

Read are QDQ and QOperator models of ONNX Runtime's quantizer, QONNX (Quant, BipolarQuant) and
Brevitas (QuantizeLinear, Clip, DequantizeLinear) models of 1 to 8 bits. What follows the last
quantized tensor (Softmax, ArgMax, Cast, ...) is left to the host.

Every code equals ONNX Runtime's, except where :attr:`Network.notes` says otherwise: ONNX Runtime
computes some QDQ patterns in float (Relu or Clip that the quantizer has not folded into the zero
point, a bias in float, a mean), and there a code may differ by one in rare cases.

A float tensor is not computed: it is kept as an expression until a quantizer reads it, and the
expression as a whole is then matched (:mod:`~.qdq`). Nodes that work on codes (QLinearConv, ...)
are built as they come (:mod:`~.qoperator`).
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto

from ...arch.errors import ModelError
from ..graph import Network, NetworkInput, State
from .build import Build
from .file import read_model
from .finish import finish_layers
from .host import host_nodes, result_tensors
from .qdq import Quantizer
from .qoperator import QOPERATORS, build_qoperator
from .refuse import check_operators, refuse_operator
from .values import Codes, Floating, FloatInput, Grid, Real, Value
from .view import GraphView, describe
from .views import VIEWS, apply_view
from .weights import WeightCache

__all__ = ["load_network"]

_NO_STATES: Mapping[str, str] = {}


def load_network(path: str | Path, states: Mapping[str, str] = _NO_STATES) -> Network:
    """Import a quantized model.

    Parameters
    ----------
    path : str or Path
        An ONNX file with weights of at most 8 bits and activations of at most 8 bits.
    states : mapping
        For a step model: input -> output that feeds it from one step to the next.

    Raises
    ------
    ModelError
        If the file cannot be read, or holds something that is not supported.
    CapacityError
        If an accumulator could leave 32 bits.
    """
    path = Path(path)
    graph = GraphView(read_model(path, external=False), path)
    check_operators(graph, path)
    # Scales at the ends of float32 overflow here as they do in ONNX Runtime; codes are clipped.
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        return _Import(graph, path.stem, states).run()


class _Import:
    """One pass over the graph: each tensor becomes a :data:`~.values.Value`."""

    def __init__(self, graph: GraphView, name: str, states: Mapping[str, str]) -> None:
        self._graph = graph
        self._name = name
        self._states = states
        batches = {i.batch for i in graph.inputs}
        batch = batches.pop() if len(batches) == 1 else 0
        self._build = Build(graph, batch, WeightCache(graph))
        self._values: dict[str, Value] = {}
        self._quantizer = Quantizer(self._build)

    def run(self) -> Network:
        """Build the network."""
        graph, build = self._graph, self._build
        self._check_states()
        for given in graph.inputs:
            if given.kind == TensorProto.FLOAT:
                self._values[given.name] = FloatInput(given.name, given.shape)
            else:
                self._values[given.name] = self._quantizer.integer_input(given)
        left = host_nodes(graph)
        for node in graph.order:
            if all(not o or o in graph.fixed for o in node.output):
                continue
            operands = tuple(self._values.get(t) if t else None for t in node.input)
            if node.output[0] in left:
                self._float(node, operands)
            else:
                self._node(node, operands)
        entries = {i.tensor for i in build.inputs}
        outputs = [t for t in result_tensors(graph, self._values, self._name) if t not in entries]
        states = self._state_tensors()
        fed_back = {s.output for s in states}
        results = [t for t in outputs if t not in fed_back] or list(outputs)
        layers, names = finish_layers(
            build.layers, [*outputs, *fed_back], {i.tensor: i.shape for i in build.inputs}
        )
        if not layers:
            raise ModelError(f"{self._name} has no quantized layer; nothing to compute")
        return Network(
            name=self._name,
            inputs=self._ordered_inputs({s.input for s in states}),
            layers=layers,
            outputs=tuple(dict.fromkeys(names[t] for t in results)),
            states=tuple(replace(s, output=names[s.output]) for s in states),
            notes=tuple(build.notes),
        )

    def _float(self, node: NodeProto, operands: tuple[Value | None, ...]) -> None:
        for output in node.output:
            if output:
                self._values[output] = Floating(node, operands)

    def _node(self, node: NodeProto, operands: tuple[Value | None, ...]) -> None:
        """What one node makes."""
        build, values = self._build, self._values
        kind = node.op_type
        if not operands:
            raise ModelError(f"The {describe(node)} has no input; the file is damaged")
        outputs = list(node.output)
        first = operands[0] if operands else None
        if kind == "QuantizeLinear":
            values[outputs[0]] = self._quantizer.quantize_linear(node, first)
        elif kind in ("Quant", "IntQuant", "BipolarQuant"):
            values[outputs[0]] = Real(self._quantizer.quant(node, first))
        elif kind == "DequantizeLinear":
            values[outputs[0]] = self._quantizer.dequantize(node, first)
        elif kind in QOPERATORS:
            values[outputs[0]] = build_qoperator(build, node, operands)
        elif kind in VIEWS and isinstance(first, Codes | Real):
            codes = first.codes if isinstance(first, Real) else first
            made = apply_view(build, node, codes, outputs)
            for output, result in zip(outputs, made, strict=True):
                if output:
                    values[output] = Real(result) if isinstance(first, Real) else result
        elif isinstance(first, Codes) or any(isinstance(o, Codes) for o in operands):
            values[outputs[0]] = self._quantizer.on_codes(node, operands)
        else:
            refuse_operator(node)
            self._float(node, operands)

    def _check_states(self) -> None:
        inputs = [i.name for i in self._graph.inputs]
        for source, output in self._states.items():
            if source not in inputs:
                raise ModelError(
                    f"State {source!r} is no input of the model; its inputs are {', '.join(inputs)}"
                )
            if output not in self._graph.outputs:
                raise ModelError(
                    f"State {source!r} is fed by {output!r}, which is no output of the model; its "
                    f"outputs are {', '.join(self._graph.outputs)}"
                )
        if self._states and set(inputs) <= set(self._states):
            raise ModelError(
                "All inputs of the model are states; a step model needs an input that is fed"
            )

    def _state_tensors(self) -> tuple[State, ...]:
        """States as pairs of quantized tensors."""
        result = []
        for source, output in self._states.items():
            value = self._values.get(output)
            if not isinstance(value, Real | Codes):
                raise ModelError(
                    f"Output {output!r}, which feeds state {source!r}, is not quantized; quantize "
                    "the outputs of the step model too"
                )
            codes = value.codes if isinstance(value, Real) else value
            if codes.tensor in {i.tensor for i in self._build.inputs}:  # a delay: a copy of its own
                node = self._graph.producers.get(output, NodeProto(name=output))
                same = np.arange(256, dtype=np.uint8)
                codes = self._build.table(node, codes, same, codes.grid, f"{output}_copy")
            targets = [i for i in self._build.inputs if i.name == source]
            if not targets:
                raise ModelError(f"State {source!r} is not used by the model")
            for target in targets:
                if codes.shape != target.shape:
                    raise ModelError(
                        f"State {source!r} has the shape {list(target.shape)}, but output "
                        f"{output!r}, which feeds it, has {list(codes.shape)}"
                    )
                grid = Grid(target.quant)
                table = None if codes.quant == target.quant else grid.requantize(codes.grid)
                initial = int(target.quant.quantize(np.zeros(1, np.float32))[0])
                result.append(State(target.tensor, codes.tensor, table, initial))
        return tuple(result)

    def _ordered_inputs(self, states: set[str]) -> tuple[NetworkInput, ...]:
        """In the order of the model; those that are fed first."""
        order = {given.name: k for k, given in enumerate(self._graph.inputs)}
        inputs = sorted(self._build.inputs, key=lambda i: order[i.name])
        return tuple(sorted(inputs, key=lambda i: i.tensor in states))
