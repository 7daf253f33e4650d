# SPDX-License-Identifier: Apache-2.0
"""A read-only view of an ONNX graph: who makes and uses a tensor, and what its constants hold."""

import math
from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

from ...arch.errors import ModelError
from ..graph import Quantization

__all__ = ["GraphView", "describe"]

Array = NDArray[np.generic]


def describe(node: NodeProto) -> str:
    """How messages call a node: its name if it has one, else what it produces."""
    if node.name:
        return f"{node.op_type} node {node.name!r}"
    return f"{node.op_type} node that produces {(list(node.output) or [''])[0]!r}"


class GraphView:
    """Look-ups in one graph.

    Parameters
    ----------
    model : onnx.ModelProto

    Raises
    ------
    ModelError
        If the model does not have exactly one float input with a fixed sample shape.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.name: str = graph.name or "network"
        self.nodes: list[NodeProto] = list(graph.node)
        self.outputs: set[str] = {o.name for o in graph.output}
        self._constants: dict[str, TensorProto] = {t.name: t for t in graph.initializer}
        self.producers: dict[str, NodeProto] = {}
        self._consumers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            value = next((a for a in node.attribute if a.name == "value"), None)
            if node.op_type == "Constant" and node.output and value is not None:
                self._constants[node.output[0]] = value.t
                continue
            for tensor in node.output:
                if tensor in self.producers:
                    raise ModelError(f"Tensor {tensor!r} is produced twice; the file is damaged")
                if tensor:
                    self.producers[tensor] = node
            if not node.output:
                raise ModelError(f"The {describe(node)} has no output; the file is damaged")
            for tensor in dict.fromkeys(t for t in node.input if t):  # empty: left out
                self._consumers.setdefault(tensor, []).append(node)
        self.input_name, self.input_shape = self._find_input(graph)

    def _find_input(self, graph: onnx.GraphProto) -> tuple[str, tuple[int, ...]]:
        """The one input that is no initializer, and the shape of one sample."""
        inputs = [i for i in graph.input if i.name not in self._constants]
        if len(inputs) != 1:
            names = ", ".join(repr(i.name) for i in inputs) or "none"
            raise ModelError(
                f"The model must have exactly one input, but it has {len(inputs)} ({names}); "
                "export it with a single input tensor"
            )
        kind = inputs[0].type.tensor_type
        name = inputs[0].name
        if kind.elem_type != TensorProto.FLOAT:
            raise ModelError(
                f"Input {name!r} must be float32, not {_type_name(kind.elem_type)}; let the model "
                "begin with QuantizeLinear"
            )
        dims = list(kind.shape.dim)
        if not kind.HasField("shape") or len(dims) < 2:
            raise ModelError(
                f"Input {name!r} must have a batch dimension and at least one more, not "
                f"{len(dims)} dimensions; export the model with the shape [n, features]"
            )
        for position, dim in enumerate(dims[1:], start=1):
            if dim.dim_value <= 0:
                raise ModelError(
                    f"Dimension {position} of input {name!r} is dynamic "
                    f"({dim.dim_param or 'unknown'!r}); only the batch dimension may be, so export "
                    "the model with fixed feature dimensions"
                )
        return name, tuple(int(d.dim_value) for d in dims[1:])

    def consumers(self, tensor: str) -> list[NodeProto]:
        """Nodes that read a tensor, each once."""
        return self._consumers.get(tensor, [])

    def downstream(self, tensor: str) -> set[str]:
        """Operators of all nodes that depend on a tensor."""
        found: set[str] = set()
        seen: set[str] = set()
        pending = [tensor]
        while pending:
            for node in self.consumers(pending.pop()):
                found.add(node.op_type)
                fresh = [o for o in node.output if o not in seen]
                seen.update(fresh)
                pending.extend(fresh)
        return found

    def operand(self, node: NodeProto, index: int) -> str:
        """Name of an input of a node; empty if it is left out."""
        return node.input[index] if index < len(node.input) else ""

    def attributes(self, node: NodeProto) -> dict[str, object]:
        """Attributes of a node as Python values."""
        return dict(self._attributes(node))

    @staticmethod
    def _attributes(node: NodeProto) -> Iterator[tuple[str, object]]:
        for attribute in node.attribute:
            try:
                yield attribute.name, helper.get_attribute_value(attribute)
            except ValueError:
                kind = AttributeProto.AttributeType.Name(attribute.type)
                raise ModelError(
                    f"Attribute {attribute.name!r} of the {describe(node)} has no usable value "
                    f"(type {kind}); the file is damaged"
                ) from None

    def integer(self, node: NodeProto, name: str, default: int) -> int:
        """An integer attribute."""
        value = self.attributes(node).get(name, default)
        if not isinstance(value, int):
            raise ModelError(f"Attribute {name!r} of the {describe(node)} must be an integer")
        return value

    def real(self, node: NodeProto, name: str, default: float) -> float:
        """A floating-point attribute; it must be finite."""
        value = self.attributes(node).get(name, default)
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ModelError(f"Attribute {name!r} of the {describe(node)} must be a finite number")
        return float(value)

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor is an initializer or the output of a Constant node."""
        return tensor in self._constants

    def constant(self, node: NodeProto, index: int, role: str) -> Array:
        """A constant operand of a node.

        Raises
        ------
        ModelError
            If it is missing, computed at run time, damaged, or of a type that is not supported.
        """
        name = self.operand(node, index)
        tensor = self._constants.get(name)
        if tensor is None:
            state = "is computed at run time" if name in self.producers else "is missing"
            raise ModelError(
                f"The {role} ({name!r}) of the {describe(node)} {state}; it must be an "
                "initializer of the model, so export the model with constant folding"
            )
        try:
            array = numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError, OverflowError, MemoryError):
            raise ModelError(
                f"Initializer {name!r} is damaged: its data do not fit its type and shape "
                f"{list(tensor.dims)}; export or copy the model again"
            ) from None
        if array.dtype.kind not in "iuf" or array.dtype.type.__module__ != "numpy":
            raise ModelError(
                f"Initializer {name!r} has the type {_type_name(tensor.data_type)}, which is not "
                "supported; use 8-bit quantization"
            )
        stored = np.array(tensor.int32_data, dtype=np.int64)
        if array.dtype.itemsize == 1 and stored.size:
            bounds = np.iinfo(array.dtype)
            if stored.min() < bounds.min or stored.max() > bounds.max:
                raise ModelError(
                    f"Initializer {name!r} must hold values {bounds.min} to {bounds.max}, but has "
                    f"{int(stored.min())} to {int(stored.max())}; the file is damaged"
                )
        return array

    def scale(self, node: NodeProto, index: int) -> NDArray[np.float32]:
        """A scale operand, flat, float32; every entry finite and positive."""
        array = self.constant(node, index, "scale")
        name = self.operand(node, index)
        if array.dtype != np.float32 or array.size == 0:
            raise ModelError(
                f"Scale {name!r} of the {describe(node)} must be float32, not {array.dtype} of "
                f"shape {list(array.shape)}"
            )
        values: NDArray[np.float32] = array.astype(np.float32).ravel()
        bad = values[~(np.isfinite(values) & (values > 0))]
        if bad.size:
            raise ModelError(
                f"Scale {name!r} of the {describe(node)} must be finite and positive, not "
                f"{float(bad[0])!r}; quantize the model again"
            )
        return values

    def zero_point(self, node: NodeProto, index: int) -> Array | None:
        """A zero-point operand, flat; None if it is left out."""
        if not self.operand(node, index):
            return None
        return self.constant(node, index, "zero point").ravel()

    def activation(
        self, node: NodeProto, scale_index: int, zero_index: int, signed: bool = False
    ) -> Quantization:
        """Scale and zero point of an activation; ``signed`` is taken if the latter is left out."""
        if self.integer(node, "block_size", 0):
            raise ModelError(
                f"The {describe(node)} quantizes in blocks, which is not supported; quantize "
                "activations per tensor"
            )
        scale = self.scale(node, scale_index)
        zero = self.zero_point(node, zero_index)
        if zero is None:
            zero = np.zeros(1, np.int8 if signed else np.uint8)
        if scale.size != 1 or zero.size != 1:
            raise ModelError(
                f"The {describe(node)} has {scale.size} scales and {zero.size} zero points for an "
                "activation; quantize activations per tensor"
            )
        if zero.dtype not in (np.int8, np.uint8):
            raise ModelError(
                f"The {describe(node)} uses {zero.dtype} activations, which are not supported; "
                "quantize them to uint8 or int8"
            )
        return Quantization(float(scale[0]), int(zero[0]), zero.dtype == np.int8)


def _type_name(kind: int) -> str:
    """An ONNX element type in words."""
    known = TensorProto.DataType.values()
    return str(TensorProto.DataType.Name(kind)).lower() if kind in known else f"type {kind}"
