# SPDX-License-Identifier: Apache-2.0
"""Shared by the training scripts: write float ONNX models node by node."""

from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from train_autograd import BatchNorm, Value

__all__ = ["FloatGraph"]

Shape = tuple[int | str, ...]


@dataclass
class FloatGraph:
    """A float graph under construction; every method gives the name of what it adds.

    Parameters
    ----------
    name : str
        Of the graph.
    inputs : dict
        Shape of each float32 input by name; a string is a dimension that may vary.
    """

    name: str
    inputs: dict[str, Shape]
    _nodes: list[onnx.NodeProto] = field(default_factory=list)
    _constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, name: str, array: NDArray[np.generic]) -> str:
        """An initializer."""
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, op: str, inputs: list[str], name: str, **attributes: object) -> str:
        """A node of one output, which bears the node's name."""
        self._nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def add_many(
        self, op: str, inputs: list[str], outputs: list[str], name: str, **attributes: object
    ) -> None:
        """A node of several outputs; an empty name leaves one out."""
        self._nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))

    def gemm(self, x: str, name: str, weight: Value, bias: Value) -> str:
        """``x @ weight.T + bias``."""
        constants = [
            self.constant(f"{name}_weight", weight.data),
            self.constant(f"{name}_bias", bias.data),
        ]
        return self.add("Gemm", [x, *constants], name, transB=1)

    def conv(
        self,
        x: str,
        name: str,
        weight: NDArray[np.float32],
        bias: Value | None,
        **attributes: object,
    ) -> str:
        """Convolution; ``kernel_shape`` follows from the weights."""
        operands = [x, self.constant(f"{name}_weight", weight)]
        if bias is not None:
            operands.append(self.constant(f"{name}_bias", bias.data))
        return self.add("Conv", operands, name, kernel_shape=weight.shape[2:], **attributes)

    def normalize(self, x: str, name: str, norm: BatchNorm) -> str:
        """Batch normalisation by the running statistics."""
        arrays = {
            "scale": norm.scale.data,
            "shift": norm.shift.data,
            "mean": norm.mean,
            "variance": norm.variance,
        }
        names = [self.constant(f"{name}_{k}", v.astype(np.float32)) for k, v in arrays.items()]
        return self.add("BatchNormalization", [x, *names], name, epsilon=norm.epsilon)

    def model(self, outputs: dict[str, Shape]) -> onnx.ModelProto:
        """The finished model, checked."""
        graph = helper.make_graph(
            self._nodes,
            self.name,
            [
                helper.make_tensor_value_info(k, TensorProto.FLOAT, s)
                for k, s in self.inputs.items()
            ],
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in outputs.items()],
            self._constants,
        )
        # Opset 17 and IR 8 load in every ONNX Runtime since 1.12.
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model
