# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin quantize``: what comes out is the float model in 8 bits."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from float_models import (
    FEATURES,
    HIDDEN,
    STEPS,
    Arrays,
    command,
    constants,
    conv_net,
    float_model,
    lstm_net,
    numbers,
    quantized,
    scales,
    step_net,
    two_inputs,
)
from numpy.typing import NDArray
from onnx import ModelProto, helper
from typer.testing import CliRunner

from ohmtwin.arch.errors import ModelError
from ohmtwin.host.cli import app
from ohmtwin.host.float_model import float_nodes
from ohmtwin.host.normalization import fold_normalization
from ohmtwin.host.quantize import Calibration, Settings, quantize

runtime: Any = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")


def run(model: ModelProto, feeds: Arrays) -> dict[str, NDArray[Any]]:
    """All outputs by name."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(model.SerializeToString(), options)
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


@pytest.mark.parametrize(
    ("form", "per_channel", "activations"),
    list(itertools.product(("qdq", "qoperator"), (False, True), ("uint8", "int8"))),
)
def test_a_convolution_in_all_forms(
    tmp_path: Path, form: str, per_channel: bool, activations: str
) -> None:
    source, x = conv_net(), numbers(20, 64, 2, 6, 6)
    options = ["--format", form, "--activations", activations]
    made = quantized(tmp_path, source, {"x": x}, *options, *["--per-channel"] * per_channel)
    known = constants(made)
    operators = {n.op_type for n in made.graph.node}
    assert ("QLinearConv" in operators) == (form == "qoperator")
    assert ("DequantizeLinear" in operators and "Conv" in operators) == (form == "qdq")
    assert not operators & {"BatchNormalization", "Relu"}
    weight = next(v for v in known.values() if v.shape == (3, 2, 3, 3))
    name = next(k for k, v in known.items() if v is weight)
    assert weight.dtype == np.int8
    assert np.abs(weight).max() == 127
    # Symmetric: the zero point of the weights is zero.
    zero = known[name.replace("_quantized", "_zero_point")]
    assert zero.dtype == np.int8
    assert not zero.any()
    assert known[name.replace("_quantized", "_scale")].size == (3 if per_channel else 1)
    assert sum(v.dtype == np.int32 and v.size > 1 for v in known.values()) >= 2
    entry = next(n for n in made.graph.node if n.op_type == "QuantizeLinear")
    assert known[entry.input[2]].dtype == np.dtype(activations)
    assert float_nodes(made) == []
    expected, actual = run(source, {"x": x})["y"], run(made, {"x": x})["y"]
    assert np.abs(actual - expected).max() < 0.06 * np.abs(expected).max()


def test_versions_that_any_onnx_runtime_reads(tmp_path: Path) -> None:
    source = conv_net()
    source.ir_version = 14  # what onnx 1.23 writes; ONNX Runtime 1.31 loads at most 13
    made = quantized(tmp_path, source, {"x": numbers(20, 8, 2, 6, 6)})
    assert made.ir_version <= 10
    assert {o.domain for o in made.opset_import} == {""}
    made = quantized(tmp_path, source, {"x": numbers(20, 8, 2, 6, 6)}, "--format", "qoperator")
    assert {o.domain for o in made.opset_import} == {"", "com.microsoft"}


def test_old_operator_sets_are_brought_up(tmp_path: Path) -> None:
    x = numbers(20, 32, 2, 6, 6)
    made = quantized(tmp_path, conv_net(opset=9), {"x": x}, "--per-channel")
    assert max(o.version for o in made.opset_import) >= 13
    expected, actual = run(conv_net(), {"x": x})["y"], run(made, {"x": x})["y"]
    assert np.abs(actual - expected).max() < 0.06 * np.abs(expected).max()


@pytest.mark.parametrize("count", [1, 4, 7])
def test_a_fixed_batch(tmp_path: Path, count: int) -> None:
    x = numbers(20, count, 2, 6, 6)
    fixed = scales(quantized(tmp_path, conv_net(batch=4), {"x": x}))
    assert fixed == scales(quantized(tmp_path, conv_net(), {"x": x}))


def test_the_file_is_named_after_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(conv_net(), tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=numbers(20, 4, 2, 6, 6))
    result = CliRunner().invoke(app, ["quantize", "net.onnx", "--data", "data.npz"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("wrote net_int8.onnx: QDQ, int8 weights per tensor, uint8")
    assert float_nodes(onnx.load(tmp_path / "net_int8.onnx")) == []


def test_only_the_first_samples_count(tmp_path: Path) -> None:
    x = numbers(20, 10, 2, 6, 6)
    x[6:] *= 100
    few = scales(quantized(tmp_path, conv_net(), {"x": x}, "--samples", "6"))
    assert few == scales(quantized(tmp_path, conv_net(), {"x": x[:6]}))
    assert scales(quantized(tmp_path, conv_net(), {"x": x}))["x"][0] > 50 * few["x"][0]


def test_flat_pictures_and_integers_are_taken(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 17, (9, 72)).astype(np.uint8)
    made = quantized(tmp_path, conv_net(), {"x": x})
    assert scales(made)["x"] == (pytest.approx(x.max() / 255), 0)


def test_several_inputs_by_name(tmp_path: Path) -> None:
    feeds = {"left": numbers(2, 30, 5), "right": numbers(3, 30, 3, spread=7)}
    made = quantized(tmp_path, two_inputs(), feeds)
    assert scales(made)["right"][0] > 4 * scales(made)["left"][0]
    expected, actual = run(two_inputs(), feeds)["y"], run(made, feeds)["y"]
    assert np.abs(actual - expected).max() < 0.03 * np.abs(expected).max()


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_layers_that_share_a_bias(form: str) -> None:
    """The quantizer to QOperator takes the first layer's scale for the bias of both."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["a"], name="first"),
        helper.make_node("Gemm", ["a", "v", "b"], ["y"], name="second"),
    ]
    known = {"w": numbers(1, 4, 4, spread=9), "v": numbers(2, 4, 4), "b": numbers(3, 4, spread=9)}
    source = float_model(nodes, known, {"x": ["n", 4]}, {"y": ["n", 4]})
    x = numbers(4, 50, 4)
    made = quantize(source, Calibration({"x": x}), Settings(form))
    expected, actual = run(source, {"x": x})["y"], run(made, {"x": x})["y"]
    assert np.abs(actual - expected).max() < 0.04 * np.abs(expected).max()


# States and recurrence


def follow(model: ModelProto, x: NDArray[Any], state: Mapping[str, str]) -> list[dict[str, Any]]:
    """Outputs of each step over sequences [n, steps, features]."""
    now: dict[str, Any] = {name: np.zeros((len(x), HIDDEN), np.float32) for name in state}
    found = []
    for step in range(x.shape[1]):
        found.append(run(model, {"x": x[:, step], **now}))
        now = {name: found[-1][output] for name, output in state.items()}
    return found


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_states_are_met_as_in_the_sequences(tmp_path: Path, form: str) -> None:
    source, x = step_net(), numbers(5, 20, STEPS, FEATURES)
    x[:, -1] *= 4  # so the last state, which no step meets, is the largest
    made = quantized(tmp_path, source, {"x": x}, "--state", "h=h_out", "--format", form)
    steps = follow(source, x, {"h": "h_out"})
    states = np.concatenate([step["h_out"] for step in steps])
    scale, zero = scales(made)["h"]
    met = np.concatenate([step["h_out"] for step in steps[:-1]])
    assert met.max() - met.min() < 0.95 * (states.max() - states.min())
    # The range of h and h_out together: of all states there are, the last ones too.
    assert scale == pytest.approx((states.max() - states.min()) / 255, rel=1e-5)
    assert scales(made)["h_out"] == (scale, zero)
    last, actual = steps[-1]["y"], follow(made, x, {"h": "h_out"})[-1]["y"]
    assert np.abs(actual - last).max() < 0.1 * np.abs(last).max()


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
@pytest.mark.parametrize("way", ["--step", "--unroll"])
def test_lstm_operators(tmp_path: Path, form: str, way: str) -> None:
    source, x = lstm_net(), numbers(5, 40, STEPS, FEATURES)
    result = command(tmp_path, source, {"x": x}, way, "--format", form)
    assert result.exit_code == 0, result.output
    made = onnx.load(tmp_path / "out.onnx")
    assert float_nodes(made) == []
    expected = run(source, {"x": x})["logits"]
    if way == "--step":
        assert "run it with --state h=h_out --state c=c_out" in result.output
        actual = follow(made, x, {"h": "h_out", "c": "c_out"})[-1]["logits"]
    else:
        actual = run(made, {"x": x})["logits"]
    # Six steps in 8 bits.
    assert np.abs(actual - expected).max() < 0.1 * np.abs(expected).max()
    assert np.abs(actual - expected).mean() < 0.02 * np.abs(expected).max()


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_unrolled_steps_have_the_same_integers(tmp_path: Path, form: str) -> None:
    made = quantized(
        tmp_path, lstm_net(), {"x": numbers(5, 40, STEPS, FEATURES)}, "--unroll", "--format", form
    )
    known = constants(made)
    gates = [v for v in known.values() if v.dtype == np.int8 and v.shape == (16, 9)]
    assert len(gates) == 1
    biases = [v for v in known.values() if v.dtype == np.int32 and v.shape == (16,)]
    assert len(biases) == STEPS
    assert all(np.array_equal(b, biases[0]) for b in biases)


# Batch normalisation


def normalized(middle: list[onnx.NodeProto], more: Arrays, rank: int = 4) -> ModelProto:
    """Nodes from ``x`` to ``y`` with the statistics of 3 channels as constants."""
    norm = {
        "scale": numbers(1, 3), "shift": numbers(2, 3), "mean": numbers(3, 3),
        "variance": np.abs(numbers(4, 3)) + np.float32(0.1),
    }  # fmt: skip
    shape: list[Any] = ["n", 3, 5, 5][:rank]
    return float_model(middle, {**norm, **more}, {"x": shape}, {"y": shape})


NORM = ["scale", "shift", "mean", "variance"]


def batch_norm(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("BatchNormalization", [source, *NORM], [target], epsilon=1e-3)


FOLDED: dict[str, tuple[list[onnx.NodeProto], dict[str, NDArray[Any]], int, set[str]]] = {
    "conv": (
        [helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4), batch_norm("a", "y")],
        {"w": numbers(5, 3, 3, 3, 3)}, 4, {"Conv"},
    ),
    "conv with bias": (
        [helper.make_node("Conv", ["x", "w", "b"], ["a"], pads=[1] * 4), batch_norm("a", "y")],
        {"w": numbers(5, 3, 3, 3, 3), "b": numbers(6, 3)}, 4, {"Conv"},
    ),
    "depthwise": (
        [helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4, group=3), batch_norm("a", "y")],
        {"w": numbers(5, 3, 1, 3, 3)}, 4, {"Conv"},
    ),
    "gemm": (
        [helper.make_node("Gemm", ["x", "w", "b"], ["a"]), batch_norm("a", "y")],
        {"w": numbers(5, 3, 3), "b": numbers(6, 3)}, 2, {"Gemm"},
    ),
    "gemm transposed": (
        [helper.make_node("Gemm", ["x", "w"], ["a"], transB=1), batch_norm("a", "y")],
        {"w": numbers(5, 3, 3)}, 2, {"Gemm"},
    ),
    "gemm scaled": (
        [helper.make_node("Gemm", ["x", "w"], ["a"], alpha=2.0), batch_norm("a", "y")],
        {"w": numbers(5, 3, 3)}, 2, {"Gemm", "Mul", "Add"},
    ),
    "alone": ([batch_norm("x", "y")], {}, 4, {"Mul", "Add"}),
    "two readers": (
        [
            helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4), batch_norm("a", "n"),
            helper.make_node("Add", ["a", "n"], ["y"]),
        ],
        {"w": numbers(5, 3, 3, 3, 3)}, 4, {"Conv", "Mul", "Add"},
    ),
    "shared weights": (
        [
            helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4), batch_norm("a", "n"),
            helper.make_node("Conv", ["n", "w"], ["y"], pads=[1] * 4),
        ],
        {"w": numbers(5, 3, 3, 3, 3)}, 4, {"Conv"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDED)
def test_folding_changes_nothing(case: str) -> None:
    nodes, more, rank, left = FOLDED[case]
    source = normalized(nodes, more, rank)
    folded = ModelProto()
    folded.CopyFrom(source)
    fold_normalization(folded)
    onnx.checker.check_model(folded, full_check=True)
    assert {n.op_type for n in folded.graph.node} == left
    x = numbers(7, 4, 3, 5, 5) if rank == 4 else numbers(7, 4, 3)
    expected = run(source, {"x": x})["y"]
    np.testing.assert_allclose(run(folded, {"x": x})["y"], expected, rtol=1e-4, atol=1e-5)


def test_normalization_in_training_mode_is_refused() -> None:
    node = batch_norm("x", "y")
    node.attribute.append(helper.make_attribute("training_mode", 1))
    with pytest.raises(ModelError, match="in training mode; export the model in evaluation mode"):
        fold_normalization(normalized([node], {}))


def test_normalization_without_variance_is_refused() -> None:
    with pytest.raises(ModelError, match="a variance that is not positive"):
        fold_normalization(
            normalized([batch_norm("x", "y")], {"variance": -np.ones(3, np.float32)})
        )


# What stays in float


def test_operators_without_8_bit_forms_are_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"]),
        helper.make_node("Erf", ["a"], ["e"]),
        helper.make_node("Gemm", ["e", "w"], ["y"]),
    ]
    source = float_model(nodes, {"w": numbers(1, 4, 4)}, {"x": ["n", 4]}, {"y": ["n", 4]})
    nodes[1].op_type = "Erf"
    result = command(tmp_path, source, {"x": numbers(2, 9, 4)})
    assert result.exit_code == 0
    made = onnx.load(tmp_path / "out.onnx")
    left = {n.op_type for n in float_nodes(made)}
    assert ("left in float: " in result.output) == bool(left)
    # Between two quantized tensors, which it is not unless the quantizer makes it so.
    assert left <= {"Erf", "Gemm"}
