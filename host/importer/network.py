# SPDX-License-Identifier: Apache-2.0
"""Import a quantized ONNX multi-layer perceptron, QDQ or QOperator (DESIGN section 6).

What is read, from the model's one float input to its last quantized tensor:

- QOperator: QuantizeLinear, QGemm, QLinearMatMul, QLinearSigmoid, QLinearLeakyRelu;
- QDQ: Gemm or MatMul (with an Add for the bias) between DequantizeLinear and QuantizeLinear, with a
  Relu or Clip between product and QuantizeLinear; Relu, Clip, Sigmoid, Tanh and LeakyRelu between
  two quantized tensors;
- Flatten, Reshape, Squeeze, Identity and Dropout that only change the shape of a sample.

What follows the last quantized tensor (Softmax, ArgMax, Cast, ...) is left to the host.

Every code equals ONNX Runtime's, except where :attr:`Network.notes` says otherwise: ONNX Runtime
computes some QDQ patterns in float (Relu or Clip that the quantizer has not folded into the zero
point, or a bias in float), and there a code may differ by one in rare cases.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ...arch.errors import ModelError
from ..graph import Dense, Network, Quantization
from .dense import (
    Weights,
    bias_of_qdq,
    bias_of_qgemm,
    build_dense,
    weights_of_qdq,
    weights_of_qoperator,
)
from .file import read_model
from .tables import TABLE_OPERATORS, activation_table, leaky_relu, relu, sigmoid, tanh
from .view import GraphView, describe

__all__ = ["load_network"]

_SUPPORTED = (
    "supported are QuantizeLinear, DequantizeLinear, Gemm, MatMul, Add (bias), QGemm, "
    "QLinearMatMul, Relu, Clip, Sigmoid, Tanh, LeakyRelu, QLinearSigmoid, QLinearLeakyRelu, "
    "Flatten, Reshape, Squeeze and Identity"
)
_SHAPE_OPERATORS = {"Flatten", "Reshape", "Squeeze", "Identity", "Dropout"}
_HOST_OPERATORS = _SHAPE_OPERATORS | {
    "ArgMax", "ArrayFeatureExtractor", "Cast", "DequantizeLinear", "LabelEncoder", "LogSoftmax",
    "Normalizer", "QLinearSoftmax", "QuantizeLinear", "ReduceMax", "Softmax", "TopK", "Unsqueeze",
    "ZipMap",
}  # fmt: skip
_QUANTIZED_OPERATORS = {"QuantizeLinear", "DequantizeLinear", "QGemm", "QLinearMatMul"}


def load_network(path: str | Path) -> Network:
    """Import a quantized model.

    Parameters
    ----------
    path : str or Path
        An ONNX file with int8 weights and uint8 or int8 activations.

    Raises
    ------
    ModelError
        If the file cannot be read, or holds something that is not supported.
    CapacityError
        If an accumulator could leave 32 bits.
    """
    graph = GraphView(read_model(path))
    operators = {node.op_type for node in graph.nodes}
    dynamic = operators & {"DynamicQuantizeLinear", "MatMulInteger", "DynamicQuantizeMatMul"}
    if dynamic:
        raise ModelError(
            f"{path} is quantized dynamically ({sorted(dynamic)[0]}), so its scales are not known "
            "before it runs; quantize it with onnxruntime.quantization.quantize_static"
        )
    if not operators & _QUANTIZED_OPERATORS:
        raise ModelError(
            f"{path} is a float model; quantize it first with "
            "onnxruntime.quantization.quantize_static"
        )
    return _Walk(graph, Path(path).stem).run()


class _Walk:
    """Follows the chain of nodes from the input; the state is the tensor it has come to."""

    def __init__(self, graph: GraphView, name: str) -> None:
        self._graph = graph
        self._name = name
        self._tensor = graph.input_name
        self._shape = graph.input_shape
        # Meaning of the codes at this point; None while the tensor is still the float input.
        self._quant: Quantization | None = None
        self._codes = ""  # the quantized tensor that the current one holds, shape apart
        self._is_float = True
        self._input: tuple[str, Quantization] | None = None
        self._layers: list[Dense] = []
        self._notes: list[str] = []

    def run(self) -> Network:
        """Walk to the end of the quantized part."""
        seen: set[str] = set()
        while not self._at_end():
            if self._tensor in seen:
                raise ModelError(f"Tensor {self._tensor!r} depends on itself; the file is damaged")
            seen.add(self._tensor)
            self._step(self._next(self._tensor))
        start = self._input
        if start is None or not self._layers:
            raise ModelError(f"{self._name} has no quantized Gemm or MatMul; nothing to compute")
        last = self._layers[-1]
        return Network(
            name=self._name,
            input_name=start[0],
            input_shape=self._graph.input_shape,
            input_quant=start[1],
            layers=tuple(self._layers),
            output_quant=last.out_quant,
            output_name=last.output,
            notes=tuple(self._notes),
        )

    def _at_end(self) -> bool:
        if self._quant is None:
            return False
        following = self._graph.downstream(self._tensor)
        nodes = self._graph.consumers(self._tensor)
        if len(nodes) == 1 and nodes[0].op_type == "DequantizeLinear" and not self._is_float:
            return False  # its scale is still to be checked
        if following <= _HOST_OPERATORS and self._layers:
            return True
        # An activation whose result is not quantized again is the host's business too.
        return (
            bool(self._layers)
            and self._is_float
            and len(nodes) == 1
            and nodes[0].op_type in TABLE_OPERATORS
            and self._tensor_after(nodes[0], "QuantizeLinear") is None
            and following <= _HOST_OPERATORS | set(TABLE_OPERATORS)
        )

    def _next(self, tensor: str) -> NodeProto:
        """The one node that reads a tensor."""
        nodes = self._graph.consumers(tensor)
        if len(nodes) > 1:
            names = ", ".join(describe(n) for n in nodes)
            raise ModelError(
                f"Tensor {tensor!r} feeds {len(nodes)} nodes ({names}); only a chain of layers is "
                "supported"
            )
        if not nodes:
            raise ModelError(
                f"The chain from the input ends at {tensor!r} without a quantized result; the "
                "output of the last layer must be quantized (QuantizeLinear) too"
            )
        return nodes[0]

    def _tensor_after(self, node: NodeProto, operator: str) -> NodeProto | None:
        """The only reader of a node's result, if it is an ``operator``."""
        readers = self._graph.consumers(node.output[0])
        return readers[0] if len(readers) == 1 and readers[0].op_type == operator else None

    def _step(self, node: NodeProto) -> None:
        kind = node.op_type
        self._first_operand(node, self._tensor)
        if kind in _SHAPE_OPERATORS:
            self._reshape(node)
        elif kind == "QuantizeLinear":
            self._quantize(node)
        elif self._quant is None:
            known = kind in _QUANTIZED_OPERATORS or kind in ("Gemm", "MatMul", *TABLE_OPERATORS)
            raise self._unsupported(node, "before the input is quantized" if known else "")
        elif kind == "DequantizeLinear" and not self._is_float:
            self._same_quant(node, self._graph.activation(node, 1, 2, self._quant.signed))
            self._move(node.output[0], is_float=True)
        elif kind in ("QGemm", "QLinearMatMul") and not self._is_float:
            self._qoperator(node)
        elif kind in ("QLinearSigmoid", "QLinearLeakyRelu") and not self._is_float:
            self._same_quant(node, self._graph.activation(node, 1, 2, self._quant.signed))
            after = self._graph.activation(node, 3, 4, self._quant.signed)
            self._table(node, after, node.output[0])
        elif kind in ("Gemm", "MatMul") and self._is_float:
            self._qdq(node)
        elif kind in TABLE_OPERATORS and self._is_float:
            reader = self._tensor_after(node, "QuantizeLinear")
            if reader is None:
                raise ModelError(
                    f"The result of the {describe(node)} is not quantized; each activation must "
                    "be followed by QuantizeLinear"
                )
            self._table(node, self._graph.activation(reader, 1, 2), reader.output[0])
        else:
            raise self._unsupported(node)

    def _unsupported(self, node: NodeProto, where: str = "") -> ModelError:
        domain = f" of domain {node.domain!r}" if node.domain else ""
        place = f" {where}" if where else ""
        return ModelError(f"The {describe(node)}{domain} is not supported{place}; {_SUPPORTED}")

    def _first_operand(self, node: NodeProto, tensor: str) -> None:
        """Activations come first among a node's operands; the others are constants."""
        if self._graph.operand(node, 0) != tensor:
            raise self._unsupported(node, f"with {tensor!r} as an operand other than its first")

    def _move(self, tensor: str, *, is_float: bool) -> None:
        self._tensor, self._is_float = tensor, is_float

    def _same_quant(self, node: NodeProto, quant: Quantization) -> None:
        """Codes must mean the same to the node that reads them as to the one that made them."""
        if quant != self._quant:
            raise ModelError(
                f"The {describe(node)} reads tensor {self._tensor!r} with scale {quant.scale!r} "
                "and a zero point or type other than the ones it was quantized with; quantize the "
                "model again"
            )

    def _quantize(self, node: NodeProto) -> None:
        """The input's QuantizeLinear, or one that follows DequantizeLinear and changes nothing."""
        quant = self._graph.activation(node, 1, 2)
        if not self._is_float:
            raise self._unsupported(node, "on a tensor that is quantized already")
        if self._quant is None:
            self._input = (node.output[0], quant)
            self._codes = node.output[0]
        else:
            self._same_quant(node, quant)
        self._quant = quant
        self._move(node.output[0], is_float=False)

    def _reshape(self, node: NodeProto) -> None:
        """Nodes that keep the order of a sample's values."""
        shape, size = self._shape, math.prod(self._shape)
        if node.op_type == "Flatten":
            axis = self._graph.integer(node, "axis", 1)
            if axis not in (1, -len(shape)):
                raise self._unsupported(node, f"with axis {axis}, as it mixes samples")
            shape = (size,)
        elif node.op_type == "Reshape":
            target = self._graph.constant(node, 1, "shape").ravel().tolist()
            sample = [int(d) for d in target[1:]]
            if sample.count(-1) == 1 and target[0] != -1:
                known = math.prod(d for d in sample if d != -1)
                sample = [d if d != -1 else size // max(known, 1) for d in sample]
            if not sample or min(sample) < 1 or math.prod(sample) != size:
                raise ModelError(
                    f"The {describe(node)} to {target} does not keep the {size} values of a "
                    "sample together; reshape to [-1, features]"
                )
            shape = tuple(sample)
        elif node.op_type == "Squeeze":
            shape = self._squeeze(node)
        self._shape = shape
        self._move(node.output[0], is_float=self._is_float)

    def _squeeze(self, node: NodeProto) -> tuple[int, ...]:
        axes = self._graph.attributes(node).get("axes")
        if axes is None and self._graph.operand(node, 1):
            axes = self._graph.constant(node, 1, "axes").ravel().tolist()
        rank = len(self._shape) + 1
        wanted = {int(a) % rank for a in axes} if isinstance(axes, list | tuple) else {0}
        if 0 in wanted or any(self._shape[a - 1] != 1 for a in wanted):
            raise self._unsupported(node, "unless its axes are given, of size 1 and not the batch")
        return tuple(d for i, d in enumerate(self._shape, start=1) if i not in wanted)

    def _qoperator(self, node: NodeProto) -> None:
        """QGemm and QLinearMatMul."""
        graph, gemm = self._graph, node.op_type == "QGemm"
        y_index = 7 if gemm else 6
        if not graph.operand(node, y_index):
            raise ModelError(
                f"The {describe(node)} gives a float result; quantize the outputs of all layers"
            )
        if gemm:
            self._plain_gemm(node)
        x_quant = graph.activation(node, 1, 2)
        self._same_quant(node, x_quant)
        weights = weights_of_qoperator(graph, node, bool(graph.integer(node, "transB", 0)) and gemm)
        bias = np.zeros(1, np.int64)
        if gemm:
            bias = bias_of_qgemm(graph, node, len(weights.values))
        y_quant = graph.activation(node, y_index, y_index + 1, x_quant.signed)
        self._append(node, weights, bias, node.output[0], y_quant)

    def _plain_gemm(self, node: NodeProto) -> None:
        """Gemm computes ``alpha * A' @ B' + beta * C``; only the plain product is a layer."""
        for name, wanted in (("alpha", 1.0), ("beta", 1.0), ("transA", 0.0)):
            value = self._graph.real(node, name, wanted)
            if value != wanted:
                raise ModelError(
                    f"The {describe(node)} has {name}={value:g}, but only {wanted:g} is supported; "
                    "fold it into the weights"
                )

    def _qdq(self, node: NodeProto) -> None:
        """Gemm or MatMul between DequantizeLinear and QuantizeLinear."""
        graph, gemm = self._graph, node.op_type == "Gemm"
        if gemm:
            self._plain_gemm(node)
        weights = weights_of_qdq(graph, node, bool(graph.integer(node, "transB", 0)) and gemm)
        bias, exact = np.zeros(1, np.int64), True
        if gemm and graph.operand(node, 2):
            bias, exact = self._bias(node, 2, weights)
        reached = node.output[0]
        tail = self._next(reached)
        if tail.op_type == "Add" and not gemm:
            index = 1 if tail.input[0] == reached else 0
            bias, exact = self._bias(tail, index, weights)
            reached = tail.output[0]
            tail = self._next(reached)
        if not exact:
            self._notes.append(f"The bias of the {describe(node)} is float and is rounded to int32")
        bounds: list[NodeProto] = []
        while tail.op_type in ("Relu", "Clip"):
            self._first_operand(tail, reached)
            bounds.append(tail)
            reached = tail.output[0]
            tail = self._next(reached)
        if tail.op_type in TABLE_OPERATORS:
            raise ModelError(
                f"The {describe(tail)} follows the {describe(node)} directly; quantize the tensor "
                "between them too (quantize_static does)"
            )
        if tail.op_type != "QuantizeLinear":
            raise self._unsupported(tail, f"behind the {describe(node)}")
        self._first_operand(tail, reached)
        quant = graph.activation(tail, 1, 2)
        self._append(node, weights, bias, tail.output[0], quant)
        for bound in bounds:
            self._clip(bound, quant)

    def _bias(
        self, node: NodeProto, index: int, weights: Weights
    ) -> tuple[NDArray[np.int64], bool]:
        if self._quant is None:
            raise self._unsupported(node)
        return bias_of_qdq(self._graph, node, index, self._quant, weights)

    def _clip_bounds(self, node: NodeProto) -> tuple[float, float]:
        """Lower and upper bound of Relu or Clip, as reals."""
        if node.op_type == "Relu":
            return 0.0, math.inf
        bounds = []
        for index, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
            if self._graph.operand(node, index):
                value = self._graph.constant(node, index, name)
                if value.size != 1 or not np.isfinite(value.astype(np.float64)).all():
                    raise ModelError(f"The {name} of the {describe(node)} must be a finite number")
                bounds.append(float(value.ravel()[0]))
            elif name in self._graph.attributes(node):
                bounds.append(self._graph.real(node, name, 0.0))
            else:
                bounds.append(default)
        if bounds[0] > bounds[1]:
            raise ModelError(
                f"The {describe(node)} has a lower bound {bounds[0]:g} above its upper bound "
                f"{bounds[1]:g}"
            )
        return bounds[0], bounds[1]

    def _clip(self, node: NodeProto, quant: Quantization) -> None:
        """Relu and Clip between product and QuantizeLinear: bounds on the codes.

        Rounding is monotone, so clipping codes equals clipping reals.
        """
        low, high = (int(c) for c in quant.quantize(self._clip_bounds(node)))
        layer = self._layers[-1]
        if (low, high) != (0, 255):
            self._notes.append(
                f"ONNX Runtime computes the {describe(node)} behind layer {layer.name!r} in float"
            )
        low, high = max(low, layer.clip_low), min(high, layer.clip_high)
        self._layers[-1] = replace(layer, clip_low=min(low, high), clip_high=high)

    def _append(
        self,
        node: NodeProto,
        weights: Weights,
        bias: NDArray[np.int64],
        output: str,
        y_quant: Quantization,
    ) -> None:
        """Add a layer and move on to its output."""
        outputs, inputs = weights.values.shape
        if self._shape != (inputs,):
            raise ModelError(
                f"The {describe(node)} takes {inputs} values a sample, but tensor "
                f"{self._tensor!r} has the shape {list(self._shape)}; flatten it first, or check "
                "the weights"
            )
        if self._quant is None:
            raise self._unsupported(node)
        name = self._unique(node)
        self._layers.append(
            build_dense(node, name, self._codes, self._quant, weights, bias, output, y_quant)
        )
        self._quant, self._codes, self._shape = y_quant, output, (outputs,)
        self._move(output, is_float=False)

    def _unique(self, node: NodeProto) -> str:
        """A short name that no other layer has: the node's, without the quantizer's suffix."""
        base = node.name.removesuffix("_quant") or f"layer{len(self._layers) + 1}"
        taken = {layer.name for layer in self._layers}
        name, count = base, 1
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        return name

    def _table(self, node: NodeProto, after: Quantization, output: str) -> None:
        """An activation between two quantized tensors: a table on the layer before it."""
        before = self._quant
        if before is None or not self._layers or self._layers[-1].table is not None:
            raise self._unsupported(node, "unless it follows a layer directly")
        layer = self._layers[-1]
        self._layers[-1] = replace(
            layer,
            table=activation_table(self._function(node), before, after),
            pre_quant=before,
            pre_output=layer.output,
            out_quant=after,
            output=output,
        )
        self._quant, self._codes = after, output
        self._move(output, is_float=False)

    def _function(self, node: NodeProto) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        """The float32 function of an activation node."""
        kind = node.op_type.removeprefix("QLinear")
        if kind == "LeakyRelu":
            return leaky_relu(self._graph.real(node, "alpha", 0.01))
        if kind == "Clip":
            low, high = (np.float32(b) for b in self._clip_bounds(node))
            return lambda x: np.clip(x, low, high)
        return {"Sigmoid": sigmoid, "Tanh": tanh, "Relu": relu}[kind]
