# SPDX-License-Identifier: Apache-2.0
"""Small float models for the tests of ``ohmtwin quantize``, and how they are run through it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from ohmtwin.host.cli import app

__all__ = [
    "FEATURES",
    "HIDDEN",
    "STEPS",
    "Arrays",
    "command",
    "constants",
    "conv_net",
    "float_model",
    "lstm_net",
    "numbers",
    "quantized",
    "scales",
    "step_net",
    "two_inputs",
]

Arrays = Mapping[str, NDArray[Any]]

FEATURES, HIDDEN, STEPS = 5, 4, 6


def numbers(seed: int, *shape: int, spread: float = 1.0) -> NDArray[np.float32]:
    """Normal numbers."""
    return np.random.default_rng(seed).normal(0, spread, shape).astype(np.float32)


def float_model(
    nodes: list[NodeProto],
    constants: Mapping[str, NDArray[Any]],
    inputs: Mapping[str, list[Any]],
    outputs: Mapping[str, list[Any]],
    opset: int = 17,
) -> ModelProto:
    """A float model, IR version 8."""
    graph = helper.make_graph(
        nodes,
        "float",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in inputs.items()],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def normalization(channels: int, seed: int) -> dict[str, NDArray[np.float32]]:
    """Scale, shift, mean and variance, each another for each channel."""
    values = {k: numbers(seed + i, channels) for i, k in enumerate(("scale", "shift", "mean"))}
    return {**values, "variance": np.abs(numbers(seed + 3, channels)) + np.float32(0.3)}


def conv_net(batch: int | str = "n", opset: int = 17) -> ModelProto:
    """Conv with normalisation and ReLU, mean over the image, Gemm: ``x`` [n, 2, 6, 6]."""
    norm = {f"norm_{k}": v for k, v in normalization(3, 10).items()}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["sums"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["sums", *norm], ["normal"], name="norm"),
        helper.make_node("Relu", ["normal"], ["active"], name="relu"),
        helper.make_node("GlobalAveragePool", ["active"], ["mean"], name="mean"),
        helper.make_node("Flatten", ["mean"], ["flat"], name="flat"),
        helper.make_node("Gemm", ["flat", "v", "b"], ["y"], name="dense", transB=1),
    ]
    # Channels of very different size show whether scales are per channel.
    w = numbers(1, 3, 2, 3, 3) * np.array([1, 0.2, 4], np.float32)[:, None, None, None]
    constants = {"w": w, "v": numbers(2, 4, 3), "b": numbers(3, 4), **norm}
    return float_model(nodes, constants, {"x": [batch, 2, 6, 6]}, {"y": [batch, 4]}, opset)


def lstm_net(steps: int | str = STEPS) -> ModelProto:
    """An LSTM operator over ``x`` [n, steps, features], and a Gemm on its last state."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        helper.make_node(
            "LSTM", ["xt", "W", "R", "B"], ["", "last"], name="lstm", hidden_size=HIDDEN
        ),
        helper.make_node("Squeeze", ["last", "axis"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "head"], ["logits"], name="logits", transB=1),
    ]
    constants: dict[str, NDArray[Any]] = {
        "W": numbers(4, 1, 4 * HIDDEN, FEATURES),
        "R": numbers(5, 1, 4 * HIDDEN, HIDDEN),
        "B": numbers(6, 1, 8 * HIDDEN),
        "head": numbers(7, 3, HIDDEN),
        "axis": np.array([0]),
    }
    return float_model(nodes, constants, {"x": ["n", steps, FEATURES]}, {"logits": ["n", 3]})


def step_net() -> ModelProto:
    """One step of a recurrent network: ``h_out = tanh(h @ u + x @ w)``, ``y = h_out @ v``."""
    nodes = [
        helper.make_node("Concat", ["x", "h"], ["xh"], name="xh", axis=1),
        helper.make_node("Gemm", ["xh", "wu", "b"], ["sums"], name="sums"),
        helper.make_node("Tanh", ["sums"], ["h_out"], name="h_out"),
        helper.make_node("Gemm", ["h_out", "v"], ["y"], name="y"),
    ]
    constants = {
        "wu": numbers(8, FEATURES + HIDDEN, HIDDEN, spread=0.2),
        "b": numbers(9, HIDDEN, spread=0.1),
        "v": numbers(10, HIDDEN, 3),
    }
    inputs: dict[str, list[Any]] = {"x": ["n", FEATURES], "h": ["n", HIDDEN]}
    return float_model(nodes, constants, inputs, {"y": ["n", 3], "h_out": ["n", HIDDEN]})


def two_inputs() -> ModelProto:
    nodes = [
        helper.make_node("Gemm", ["left", "w"], ["product"]),
        helper.make_node("Add", ["product", "right"], ["y"]),
    ]
    inputs: dict[str, list[Any]] = {"left": ["n", 5], "right": ["n", 3]}
    return float_model(nodes, {"w": numbers(1, 5, 3)}, inputs, {"y": ["n", 3]})


def command(tmp_path: Path, model: ModelProto | Path, data: Arrays | Path, *more: str) -> Any:
    """Run the command; its output file is tmp_path/out.onnx."""
    source, samples = tmp_path / "model.onnx", tmp_path / "data.npz"
    if isinstance(model, ModelProto):
        onnx.save(model, source)
    else:
        source = model
    if isinstance(data, Path):
        samples = data
    else:
        np.savez(samples, **data)
    arguments = ["quantize", source, "--data", samples, "-o", tmp_path / "out.onnx", *more]
    return CliRunner().invoke(app, [str(a) for a in arguments])


def constants(model: ModelProto) -> dict[str, NDArray[Any]]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def scales(model: ModelProto) -> dict[str, tuple[float, int]]:
    """Scale and zero point of each tensor that is quantized from float, by its name."""
    known = constants(model)
    return {
        n.input[0].removesuffix("_QuantizeLinear_Input"): (
            float(known[n.input[1]]),
            int(known[n.input[2]]),
        )
        for n in model.graph.node
        if n.op_type == "QuantizeLinear"
    }


def quantized(tmp_path: Path, model: ModelProto, data: Arrays, *more: str) -> ModelProto:
    result = command(tmp_path, model, data, *more)
    assert result.exit_code == 0, result.output
    assert f"wrote {tmp_path / 'out.onnx'}" in result.output
    made = onnx.load(tmp_path / "out.onnx")
    onnx.checker.check_model(made, full_check=False)
    return made
