# SPDX-License-Identifier: Apache-2.0
"""Bad input to ``ohmtwin quantize``: exit code 2, one clear sentence, nothing written."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from float_models import (
    FEATURES,
    STEPS,
    Arrays,
    command,
    conv_net,
    lstm_net,
    numbers,
    quantized,
    scales,
    step_net,
    two_inputs,
)
from onnx import ModelProto, TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from ohmtwin.host.cli import app
from ohmtwin.host.quantize import Calibration, Settings, quantize

pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")


def integer_input() -> ModelProto:
    source = conv_net()
    source.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    source.graph.node.insert(0, helper.make_node("Cast", ["x"], ["real"], to=TensorProto.FLOAT))
    source.graph.node[1].input[0] = "real"
    return source


def training() -> ModelProto:
    source = conv_net()
    source.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    source.graph.node[1].output.extend(["running_mean", "running_variance"])
    return source


def already(form: str) -> ModelProto:
    return quantize(conv_net(), Calibration({"x": numbers(1, 4, 2, 6, 6)}), Settings(form))


def unknown(domain: str) -> ModelProto:
    source = conv_net()
    source.graph.node[2].op_type, source.graph.node[2].domain = "Mystery", domain
    if domain:
        source.opset_import.append(helper.make_opsetid(domain, 1))
    return source


def with_nan() -> ModelProto:
    source = conv_net()
    weight = next(t for t in source.graph.initializer if t.name == "v")
    weight.CopyFrom(numpy_helper.from_array(numbers(1, 4, 3) * np.float32("nan"), "v"))
    return source


def out_of_order() -> ModelProto:
    source = conv_net()
    source.graph.node.append(source.graph.node[0])
    del source.graph.node[0]
    return source


X = {"x": numbers(1, 4, 2, 6, 6)}
SEQUENCES = {"x": numbers(1, 4, STEPS, FEATURES)}
BAD: dict[str, tuple[Callable[[], ModelProto], Arrays, list[str], str]] = {
    "qdq": (lambda: already("qdq"), X, [], "is quantized already (it has the"),
    "qoperator": (lambda: already("qoperator"), X, [], "is quantized already (it has the"),
    "format": (conv_net, X, ["--format", "qonnx"], "--format must be qdq or qoperator, not"),
    "type": (conv_net, X, ["--activations", "int4"], "--activations must be uint8 or int8, not"),
    "no array": (conv_net, {"z": X["x"]}, [], "has no array 'x' for the model's input"),
    "no second array": (
        two_inputs, {"left": numbers(1, 3, 5)}, [], "has no array 'right' for the model's input"
    ),
    "lengths": (
        two_inputs, {"left": numbers(1, 3, 5), "right": numbers(1, 4, 3)}, [],
        "have different numbers of samples: left [3], right [4]",
    ),
    "shape": (conv_net, {"x": numbers(1, 4, 9)}, [], "but the model takes [samples, 2, 6, 6]"),
    "empty": (conv_net, {"x": numbers(1, 0, 2, 6, 6)}, [], "with at least one of each"),
    "text": (conv_net, {"x": np.array(["a"])}, [], "must hold numbers, not <U1"),
    "nan": (conv_net, {"x": X["x"] * np.float32("nan")}, [], "holds NaN or infinite values"),
    "none": (conv_net, X, ["--samples", "0"], "The number of samples must be 1 to 4"),
    "many": (conv_net, X, ["--samples", "5"], "The number of samples must be 1 to 4"),
    "integers": (integer_input, X, [], "must be float32, not int64"),
    "operator": (lambda: unknown(""), X, [], "is not a valid ONNX model: No Op registered"),
    "domain": (lambda: unknown("mine"), X, [], "ONNX Runtime cannot load the model: "),
    "nan weights": (with_nan, X, [], "Initializer 'v' of"),
    "order": (out_of_order, X, [], "is not a valid ONNX model: Nodes in a graph must be"),
    "training": (training, X, [], "in training mode; export the model in evaluation mode"),
    "recurrent": (lstm_net, SEQUENCES, [], "add --step to make a model of one step"),
    "both": (lstm_net, SEQUENCES, ["--step", "--unroll"], "exclude each other; choose one"),
    "step and state": (
        lstm_net, SEQUENCES, ["--step", "--state", "h=h_out"], "names the states itself"
    ),
    "nothing to unroll": (conv_net, X, ["--unroll"], "The model has no LSTM or GRU node"),
    "steps vary": (lambda: lstm_net("t"), SEQUENCES, ["--unroll"], "give it with --shape"),
    "dynamic": (
        lambda: lstm_net("t"), SEQUENCES, ["--step", "--shape", "y=n,6,5"],
        "the model has no input 'y'; it has x",
    ),
    "no shape": (conv_net, X, ["--shape", "x"], "--shape must be INPUT=n,1,28,28"),
    "odd shape": (conv_net, X, ["--shape", "x=n,-2,6,6"], "--shape must be INPUT=n,1,28,28"),
    "late n": (conv_net, X, ["--shape", "x=4,n,6,6"], "only the first dimension may be n"),
    "contradiction": (
        conv_net, X, ["--shape", "x=n,3,6,6"], "contradicts the model, which has [?, 2, 6, 6]"
    ),
    "no such input": (step_net, SEQUENCES, ["--state", "c=h_out"], "has no input 'c'"),
    "no such output": (step_net, SEQUENCES, ["--state", "h=c"], "has no output 'c'"),
    "odd state": (step_net, SEQUENCES, ["--state", "h"], "--state must be INPUT=OUTPUT"),
    "other shape": (step_net, SEQUENCES, ["--state", "h=y"], "has the shape [?, 3], but"),
    "state twice": (
        step_net, SEQUENCES, ["--state", "h=h_out"] * 2, "names the input 'h' twice"
    ),
    "no sequence": (
        step_net, {"x": numbers(1, 4, FEATURES)}, ["--state", "h=h_out"],
        "but the model takes [samples, steps, 5]",
    ),
    "state as sample": (step_net, SEQUENCES, [], "has no array 'h' for the model's input"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(tmp_path: Path, case: str) -> None:
    make, data, options, message = BAD[case]
    result = command(tmp_path, make(), data, *options)
    assert_refused(result, tmp_path, message)


def assert_refused(result: Any, tmp_path: Path, message: str) -> None:
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1
    assert not (tmp_path / "out.onnx").exists()


def test_a_varying_dimension_needs_a_shape(tmp_path: Path) -> None:
    source = conv_net()
    source.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "width"
    assert_refused(command(tmp_path, source, X), tmp_path, "fix them with --shape x=n,2,6,?")
    made = quantized(tmp_path, source, X, "--shape", "x=n,2,6,6")
    shape = made.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in shape] == [0, 2, 6, 6]
    assert scales(made) == scales(quantized(tmp_path, conv_net(), X))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert_refused(command(tmp_path, missing, X), tmp_path, f"There is no file {missing}")
    assert_refused(command(tmp_path, conv_net(), missing), tmp_path, f"There is no file {missing}")
    text = tmp_path / "text.onnx"
    text.write_text("no model at all")
    assert_refused(command(tmp_path, text, X), tmp_path, f"{text} ")
    assert_refused(command(tmp_path, conv_net(), text), tmp_path, "is not an .npz file")


def test_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    onnx.save(conv_net(), tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", **X)
    before = (tmp_path / "model.onnx").read_bytes()
    for output, message in (
        (tmp_path / "none" / "out.onnx", "there is no folder"),
        (tmp_path, "is a folder"),
        (tmp_path / "model.onnx", "is the model itself"),
    ):
        arguments = ["quantize", "model.onnx", "--data", "data.npz", "-o", output]
        named = [
            str(tmp_path / a) if str(a) in ("model.onnx", "data.npz") else str(a) for a in arguments
        ]
        result = CliRunner().invoke(app, named)
        assert result.exit_code == 2
        assert message in result.output
    assert (tmp_path / "model.onnx").read_bytes() == before


def test_without_onnx_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = command(tmp_path, conv_net(), X)
    assert_refused(result, tmp_path, "pip install 'ohmtwin[reference]'")
