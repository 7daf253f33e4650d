# SPDX-License-Identifier: Apache-2.0
"""Small quantized models for tests, written node by node so that nothing depends on a quantizer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import NodeProto, TensorProto, helper, numpy_helper

__all__ = ["Builder", "qdq_layer", "qgemm_layer", "random_bias", "random_weights"]


@dataclass
class Builder:
    """Collects nodes and constants; ``save`` writes the model."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def constant(self, name: str, value: ArrayLike, dtype: DTypeLike) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def quant(self, name: str, scale: ArrayLike, zero: ArrayLike, dtype: DTypeLike) -> list[str]:
        """Constants of a scale and a zero point; returns both names."""
        return [
            self.constant(f"{name}_scale", scale, np.float32),
            self.constant(f"{name}_zero", zero, dtype),
        ]

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        domain = (
            "com.microsoft" if operator in ("QGemm", "QLinearSigmoid", "QLinearLeakyRelu") else ""
        )
        self.nodes.append(
            helper.make_node(
                operator, list(inputs), [output], name=output, domain=domain, **attributes
            )
        )
        return output

    def model(
        self,
        output: str,
        shape: Sequence[int | str] = ("n", 12),
        output_type: int = TensorProto.FLOAT,
        input_type: int = TensorProto.FLOAT,
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info("x", input_type, list(shape))],
            [helper.make_tensor_value_info(output, output_type, None)],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def save(self, folder: Path, output: str, **options: Any) -> Path:
        path = folder / "model.onnx"
        onnx.save(self.model(output, **options), path)
        return path


def random_weights(rng: np.random.Generator, outputs: int, inputs: int) -> np.ndarray[Any, Any]:
    """int8 [outputs, inputs]."""
    return rng.integers(-127, 128, (outputs, inputs)).astype(np.int8)


def random_bias(rng: np.random.Generator, outputs: int) -> np.ndarray[Any, Any]:
    """int32 [outputs], of the size of the sums of a small layer."""
    return rng.integers(-20000, 20000, outputs).astype(np.int32)


def qgemm_layer(
    b: Builder,
    name: str,
    source: str,
    x_quant: Sequence[str],
    y_quant: Sequence[str],
    weights: ArrayLike,
    w_scale: ArrayLike,
    bias: ArrayLike | None,
    w_dtype: DTypeLike = np.int8,
) -> str:
    """One QGemm with ``weights`` [outputs, inputs]; returns the name of its output."""
    zero = np.full(np.shape(w_scale), 0 if w_dtype == np.int8 else 128)
    w = b.constant(f"{name}_w", weights, w_dtype)
    w_quant = b.quant(f"{name}_w", w_scale, zero, w_dtype)
    c = "" if bias is None else b.constant(f"{name}_b", bias, np.int32)
    inputs = [source, *x_quant, w, *w_quant, c, *y_quant]
    return b.node("QGemm", inputs, name, transB=1)


def qdq_layer(
    b: Builder,
    name: str,
    source: str,
    weights: ArrayLike,
    w_scale: ArrayLike,
    bias: ArrayLike,
    x_scale: float,
    w_dtype: DTypeLike = np.int8,
) -> str:
    """DequantizeLinear of weights and bias and a Gemm; returns the name of the float sum."""
    zero = np.full(np.shape(w_scale), 0 if w_dtype == np.int8 else 128)
    w = b.constant(f"{name}_w", weights, w_dtype)
    w_real = b.node(
        "DequantizeLinear", [w, *b.quant(f"{name}_w", w_scale, zero, w_dtype)], f"{name}_wr", axis=0
    )
    scale = np.float32(x_scale) * np.asarray(w_scale, np.float32)
    c = b.constant(f"{name}_b", bias, np.int32)
    c_scale = b.constant(f"{name}_b_scale", scale, np.float32)
    c_real = b.node("DequantizeLinear", [c, c_scale], f"{name}_br", axis=0)
    return b.node("Gemm", [source, w_real, c_real], f"{name}_sum", transB=1)
