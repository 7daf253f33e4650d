# SPDX-License-Identifier: Apache-2.0
"""A read-only view of an ONNX graph: who makes and uses a tensor, and what its constants hold."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

from ...arch.errors import ModelError
from ..graph import Quantization
from .file import load_external

__all__ = ["MAX_VALUES", "Array", "GraphInput", "GraphView", "describe", "type_name"]

Array = NDArray[np.generic]

MAX_VALUES = 1 << 31
"""Most values of one tensor: what a damaged or hostile file declares beyond is refused."""


def describe(node: NodeProto) -> str:
    """How messages call a node: its name if it has one, else what it produces."""
    if node.name:
        return f"{node.op_type} node {node.name!r}"
    return f"{node.op_type} node that produces {(list(node.output) or [''])[0]!r}"


def type_name(kind: int) -> str:
    """An ONNX element type in words."""
    known = TensorProto.DataType.values()
    return str(TensorProto.DataType.Name(kind)).lower() if kind in known else f"type {kind}"


@dataclass(frozen=True)
class GraphInput:
    """An input of the model that is no initializer.

    Parameters
    ----------
    name : str
    shape : tuple of int
        Of one sample: the first axis, the batch, is left out.
    batch : int
        Fixed size of the batch, 0 if it is free.
    kind : int
        The ONNX element type: float32, uint8 or int8.
    """

    name: str
    shape: tuple[int, ...]
    batch: int
    kind: int


class GraphView:
    """Look-ups in one graph.

    Parameters
    ----------
    model : onnx.ModelProto
    path : Path, optional
        Where external data lie that are not in the model yet.

    Raises
    ------
    ModelError
        If an input has no fixed sample shape, or a tensor is produced twice.
    """

    def __init__(self, model: onnx.ModelProto, path: Path | None = None) -> None:
        graph = model.graph
        self.name: str = graph.name or "network"
        self.nodes: list[NodeProto] = list(graph.node)
        self.outputs: dict[str, None] = {o.name: None for o in graph.output if o.name}
        self._path = path
        self._constants: dict[str, TensorProto] = {t.name: t for t in graph.initializer}
        self._folded: dict[str, Array] = {}
        self.producers: dict[str, NodeProto] = {}
        self._consumers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            if not node.output:
                raise ModelError(f"The {describe(node)} has no output; the file is damaged")
            if node.op_type == "Constant" and self._take_constant(node):
                continue
            for tensor in node.output:
                if tensor in self.producers:
                    raise ModelError(f"Tensor {tensor!r} is produced twice; the file is damaged")
                if tensor:
                    self.producers[tensor] = node
            for tensor in dict.fromkeys(t for t in node.input if t):  # empty: left out
                self._consumers.setdefault(tensor, []).append(node)
        self.inputs: tuple[GraphInput, ...] = tuple(
            _read_input(i) for i in graph.input if i.name not in self._constants
        )
        if not self.inputs:
            raise ModelError("The model has no input; export it with its input tensor")

    def _take_constant(self, node: NodeProto) -> bool:
        """Remember the value of a Constant node."""
        for attribute in node.attribute:
            name = node.output[0]
            if attribute.name == "value":
                self._constants[name] = attribute.t
            elif attribute.name in ("value_float", "value_floats"):
                values = attribute.floats if attribute.name[-1] == "s" else attribute.f
                self._folded[name] = np.asarray(values, np.float32)
            elif attribute.name in ("value_int", "value_ints"):
                numbers = attribute.ints if attribute.name[-1] == "s" else attribute.i
                self._folded[name] = np.asarray(numbers, np.int64)
            else:
                continue
            return True
        return False

    @property
    def input_name(self) -> str:
        """Name of the first input."""
        return self.inputs[0].name

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a sample of the first input."""
        return self.inputs[0].shape

    def consumers(self, tensor: str) -> list[NodeProto]:
        """Nodes that read a tensor, each once."""
        return self._consumers.get(tensor, [])

    @cached_property
    def order(self) -> tuple[NodeProto, ...]:
        """The nodes that the model's outputs depend on, each behind those that it reads.

        Raises
        ------
        ModelError
            If a node reads a tensor that nothing produces, or one that depends on itself.
        """
        given = {i.name for i in self.inputs}
        done: dict[str, bool] = {}  # False while the producer's inputs are being followed
        result: list[NodeProto] = []
        for output in self.outputs:
            if output not in self.producers and output not in given:
                if self.is_constant(output):
                    continue
                raise ModelError(
                    f"Output {output!r} is produced by no node; the graph is damaged or cut, so "
                    "export the model again"
                )
            pending = [output]
            while pending:
                tensor = pending[-1]
                node = self.producers.get(tensor)
                if node is None or done.get(node.output[0]):
                    pending.pop()
                    continue
                key = node.output[0]
                if key not in done:
                    done[key] = False
                    for source in reversed([t for t in node.input if t]):
                        self._check_source(node, source, given)
                        maker = self.producers.get(source)
                        if maker is None or done.get(maker.output[0]):
                            continue
                        if maker.output[0] in done:
                            raise ModelError(
                                f"Tensor {source!r}, which the {describe(node)} reads, depends on "
                                "itself: the graph is cyclic; feed states back with --state"
                            )
                        pending.append(source)
                else:
                    done[key] = True
                    result.append(node)
                    pending.pop()
        return tuple(result)

    def _check_source(self, node: NodeProto, source: str, given: set[str]) -> None:
        if source not in self.producers and source not in given and not self.is_constant(source):
            raise ModelError(
                f"The {describe(node)} reads tensor {source!r}, which is missing: no node, input "
                "or initializer has that name; export the model again"
            )

    @cached_property
    def fixed(self) -> frozenset[str]:
        """Tensors that depend on no input."""
        known = set(self._constants) | set(self._folded)
        for node in self.order:
            if node.op_type != "Constant" and all(not t or t in known for t in node.input):
                known.update(t for t in node.output if t)
        return frozenset(known)

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

    def integers(self, node: NodeProto, name: str) -> tuple[int, ...] | None:
        """An attribute that lists integers, of at most 31 bits; None if it is left out."""
        value = self.attributes(node).get(name)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not all(isinstance(v, int) for v in value):
            raise ModelError(f"Attribute {name!r} of the {describe(node)} must list integers")
        if any(abs(v) >= MAX_VALUES for v in value):
            raise ModelError(
                f"Attribute {name!r} of the {describe(node)} must hold numbers below "
                f"{MAX_VALUES}, not {list(value)}"
            )
        return tuple(value)

    def text(self, node: NodeProto, name: str, default: str) -> str:
        """A text attribute."""
        value = self.attributes(node).get(name, default)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if not isinstance(value, str):
            raise ModelError(f"Attribute {name!r} of the {describe(node)} must be a text")
        return value

    def real(self, node: NodeProto, name: str, default: float) -> float:
        """A floating-point attribute; it must be finite."""
        value = self.attributes(node).get(name, default)
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ModelError(f"Attribute {name!r} of the {describe(node)} must be a finite number")
        return float(value)

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor is an initializer or the output of a Constant node."""
        return tensor in self._constants or tensor in self._folded

    def constant(self, node: NodeProto, index: int, role: str) -> Array:
        """A constant operand of a node.

        Raises
        ------
        ModelError
            If it is missing, computed at run time, damaged, or of a type that is not supported.
        """
        name = self.operand(node, index)
        if name in self._folded:
            return self._folded[name]
        tensor = self._constants.get(name)
        if tensor is None:
            state = "is computed at run time" if name in self.producers else "is missing"
            raise ModelError(
                f"The {role} ({name!r}) of the {describe(node)} {state}; it must be an "
                "initializer of the model, so export the model with constant folding"
            )
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor = load_external(tensor, self._path or Path())
        try:
            array = numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError, OverflowError, MemoryError):
            raise ModelError(
                f"Initializer {name!r} is damaged: its data do not fit its type and shape "
                f"{list(tensor.dims)}; export or copy the model again"
            ) from None
        if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4):
            array = array.astype(np.int8 if tensor.data_type == TensorProto.INT4 else np.uint8)
        if array.dtype.kind not in "iufb" or array.dtype.type.__module__ != "numpy":
            raise ModelError(
                f"Initializer {name!r} has the type {type_name(tensor.data_type)}, which is not "
                "supported; use 8-bit quantization"
            )
        stored = np.array(tensor.int32_data, dtype=np.int64)
        if array.dtype.itemsize == 1 and stored.size and array.dtype.kind != "b":
            bounds = np.iinfo(array.dtype)
            packed = tensor.data_type in (TensorProto.INT4, TensorProto.UINT4)
            if not packed and (stored.min() < bounds.min or stored.max() > bounds.max):
                raise ModelError(
                    f"Initializer {name!r} must hold values {bounds.min} to {bounds.max}, but has "
                    f"{int(stored.min())} to {int(stored.max())}; the file is damaged"
                )
        return array

    def four_bits(self, node: NodeProto, index: int) -> bool:
        """Whether a constant operand is int4 or uint4."""
        tensor = self._constants.get(self.operand(node, index))
        return tensor is not None and tensor.data_type in (TensorProto.INT4, TensorProto.UINT4)

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


def _read_input(value: onnx.ValueInfoProto) -> GraphInput:
    """Name, type and sample shape of an input."""
    kind, name = value.type.tensor_type, value.name
    allowed = (TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8)
    if kind.elem_type not in allowed:
        raise ModelError(
            f"Input {name!r} must be float32, uint8 or int8, not {type_name(kind.elem_type)}; let "
            "the model begin with QuantizeLinear"
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
    shape = tuple(int(d.dim_value) for d in dims[1:])
    if math.prod(shape) >= MAX_VALUES:
        raise ModelError(
            f"Input {name!r} has the shape {list(shape)}, more than {MAX_VALUES} values a sample"
        )
    return GraphInput(name, shape, max(int(dims[0].dim_value), 0), kind.elem_type)
