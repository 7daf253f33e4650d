# SPDX-License-Identifier: Apache-2.0
"""QDQ models in uint8, written node by node: every tensor has one scale and zero point."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

__all__ = ["SCALE", "ZERO", "Model", "samples"]

SCALE = 0.0421
ZERO = 117


class Model:
    """A QDQ model in uint8, written node by node; every tensor has one scale and zero point."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.inputs: dict[str, list[int | str]] = {}
        self.rng = np.random.default_rng(0)
        self.quant = [self.constant("s", SCALE), self.constant("z", ZERO, np.uint8)]

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, kind: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        self.nodes.append(
            helper.make_node(kind, inputs, list(outputs), name=outputs[0], **attributes)
        )
        return outputs[0]

    def input(self, name: str, *shape: int) -> str:
        """A quantized input; returns its dequantized tensor."""
        self.inputs[name] = ["n", *shape]
        return self.quantized(name, f"{name}_c")

    def quantized(self, real: str, name: str) -> str:
        """QuantizeLinear and DequantizeLinear of a real tensor; returns the latter's result."""
        self.node("QuantizeLinear", [real, *self.quant], name)
        return self.node("DequantizeLinear", [name, *self.quant], f"{name}_r")

    def weights(self, name: str, *shape: int) -> str:
        """int8 weights and their DequantizeLinear."""
        self.constant(name, self.rng.integers(-127, 128, shape), np.int8)
        scale = self.constant(f"{name}_s", 0.9 / (74 * np.prod(shape[1:]) ** 0.5))
        zero = self.constant(f"{name}_z", 0, np.int8)
        return self.node("DequantizeLinear", [name, scale, zero], f"{name}_r")

    def save(self, folder: Path, *outputs: str) -> Path:
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in self.inputs.items()
            ],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path = folder / "model.onnx"
        onnx.save(model, path)
        return path


def samples(*shape: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 2.0, shape).astype(np.float32)
