# SPDX-License-Identifier: Apache-2.0
"""The shipped networks beyond the MLPs are what their training scripts say, run in ONNX Runtime."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from ohmtwin.host.float_model import float_nodes
from ohmtwin.host.quantize import Calibration, Settings, quantize

runtime: Any = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

# One worker writes the data files.
pytestmark = pytest.mark.xdist_group("example data")

EXAMPLES = Path(__file__).parents[2] / "examples"
MODELS = EXAMPLES / "models"

FORMS = ("qdq", "qdq_per_channel", "qoperator", "qoperator_per_channel")
SIGNED = {
    "lenet": ("qdq_per_channel",),
    "resnet": ("qdq", "qoperator_per_channel"),
    "autoencoder": ("qdq_per_channel", "qoperator"),
    "vowels_conv": ("qdq", "qoperator_per_channel"),
    "vowels_lstm_step": ("qdq_per_channel", "qoperator"),
}
NAMES = [f"{network}_{form}" for network in SIGNED for form in FORMS]
STATE = {"h": "h_out", "c": "c_out"}

# Operators of the float model that its quantized forms are made from.
OPERATORS = {
    "lenet": {"Conv", "Flatten", "Gemm", "MaxPool", "Relu"},
    "resnet": {
        "Add", "BatchNormalization", "Clip", "Conv", "Flatten", "Gemm", "GlobalAveragePool", "Relu",
    },
    "autoencoder": {"Gemm", "Relu", "Sigmoid"},
    "vowels_conv": {"Conv", "Flatten", "Gemm", "GlobalAveragePool", "MaxPool", "Relu"},
    "vowels_lstm_step": {"Add", "Concat", "Gemm", "Mul", "Sigmoid", "Split", "Tanh"},
}  # fmt: skip

Pair = tuple[NDArray[np.float32], NDArray[np.int64]]


@cache
def load(name: str) -> ModelProto:
    return onnx.load(MODELS / f"{name}.onnx")


def parts(name: str) -> tuple[str, str]:
    """Network and form of a file's name."""
    network = next(n for n in SIGNED if name.startswith(f"{n}_"))
    return network, name.removeprefix(f"{network}_")


@cache
def session(name: str) -> Any:
    """With exact integer kernels only; see the options' descriptions in ONNX Runtime."""
    network, form = parts(name)
    signed = form in SIGNED[network]
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", str(int(not signed)))
    options.add_session_config_entry("session.qdqisint8allowed", str(int(signed)))
    return runtime.InferenceSession(str(MODELS / f"{name}.onnx"), options)


@pytest.fixture(scope="module")
def pictures(data: Path) -> dict[str, Pair]:
    """Held-out digits and MNIST images, as the script for the data writes them."""
    found = {}
    for name in ("digits", "mnist_test"):
        with np.load(data / f"{name}.npz") as arrays:
            found[name] = arrays["x"].astype(np.float32), arrays["y"]
    x, y = found["digits"]
    order = np.random.default_rng(0).permutation(len(x))  # as make_data.split
    cut = len(x) * 4 // 5
    found["digits"] = x[order[cut:]], y[order[cut:]]
    found["training"] = x[order[:cut]], y[order[:cut]]
    return found


def sequences(name: str) -> Pair:
    with np.load(MODELS / f"{name}.npz") as data:
        return data["x"], data["y"]


def run_steps(run: Any, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits after the last step of sequences [n, steps, features]."""
    state = {name: np.zeros((len(x), 32), np.float32) for name in STATE}
    logits = np.zeros(0, np.float32)
    for step in range(x.shape[1]):
        outputs = ["logits", *STATE.values()]
        logits, *new = run.run(outputs, {"x": x[:, step], **state})
        state = dict(zip(STATE, new, strict=True))
    return logits


def score(logits: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    return float((logits.argmax(axis=1) == y).mean())


def test_all_models_are_there() -> None:
    there = {p.stem for p in MODELS.glob("*.onnx")}
    floats = {f"{network}_float" for network in (*SIGNED, "vowels_lstm")}
    assert {n for n in there if not n.startswith(("digits_", "mnist_"))} == {*NAMES, *floats}
    assert all(p.stat().st_size < 300_000 for p in MODELS.iterdir())


@pytest.mark.parametrize("network", SIGNED)
def test_float_models(network: str) -> None:
    model = load(f"{network}_float")
    assert {n.op_type for n in model.graph.node} == OPERATORS[network]


def test_the_residual_network_is_as_described() -> None:
    convolutions = [n for n in load("resnet_float").graph.node if n.op_type == "Conv"]
    groups = [next((a.i for a in n.attribute if a.name == "group"), 1) for n in convolutions]
    strides = [next(list(a.ints) for a in n.attribute if a.name == "strides") for n in convolutions]
    assert groups.count(16) == 2
    assert strides.count([2, 2]) == 2
    assert sum(n.op_type == "Add" for n in load("resnet_float").graph.node) == 2


@pytest.mark.parametrize("name", NAMES)
def test_quantized_forms(name: str) -> None:
    model, (network, form) = load(name), parts(name)
    known = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    operators = {n.op_type for n in model.graph.node}
    qoperator = {"QGemm", "QLinearConv", "QLinearAdd", "QLinearMul"}
    assert bool(operators & qoperator) == form.startswith("qoperator")
    assert model.ir_version <= 10
    assert not operators & {"BatchNormalization", "Clip", "Relu"}
    assert float_nodes(model) == []
    entries = [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    wanted = np.int8 if form in SIGNED[network] else np.uint8
    assert {known[n.input[2]].dtype for n in entries} == {np.dtype(wanted)}
    weights = [
        t for t in model.graph.initializer if t.data_type == TensorProto.INT8 and len(t.dims) > 1
    ]
    layers = sum(n.op_type in ("Conv", "Gemm") for n in load(f"{network}_float").graph.node)
    assert len(weights) == layers
    for tensor in weights:
        zero = known[tensor.name.replace("_quantized", "_zero_point")]
        scale = known[tensor.name.replace("_quantized", "_scale")]
        assert not zero.any()
        assert scale.size == (tensor.dims[0] if form.endswith("per_channel") else 1)
    biases = [v for v in known.values() if v.dtype == np.int32 and v.size > 1 and v.any()]
    assert len(biases) == layers


@pytest.mark.parametrize("form", [*FORMS, "float"])
def test_lenet(pictures: dict[str, Pair], form: str) -> None:
    x, y = pictures["mnist_test"]
    assert len(x) == 1000
    logits = session(f"lenet_{form}").run(None, {"pixels": x.reshape(-1, 1, 28, 28)})[0]
    assert score(logits, y) >= 0.965


@pytest.mark.parametrize("form", [*FORMS, "float"])
def test_residual_network(pictures: dict[str, Pair], form: str) -> None:
    x, y = pictures["digits"]
    logits = session(f"resnet_{form}").run(None, {"pixels": x.reshape(-1, 1, 8, 8)})[0]
    assert score(logits, y) >= 0.95


@pytest.mark.parametrize("form", [*FORMS, "float"])
def test_autoencoder(pictures: dict[str, Pair], form: str) -> None:
    x, _ = pictures["digits"]
    picture = session(f"autoencoder_{form}").run(None, {"pixels": x})[0]
    error = float(np.sqrt(np.mean((picture - x / 16) ** 2)))
    # The mean picture, which needs no network, is 0.27 off.
    assert error <= 0.15


@pytest.mark.parametrize("form", [*FORMS, "float"])
def test_convolutions_over_sequences(form: str) -> None:
    x, y = sequences("vowels_channels")
    assert x.shape == (200, 12, 29)
    assert score(session(f"vowels_conv_{form}").run(None, {"x": x})[0], y) >= 0.95


@pytest.mark.parametrize("form", [*FORMS, "float"])
def test_lstm_over_sequences(form: str) -> None:
    x, y = sequences("vowels_steps")
    assert x.shape == (200, 29, 12)
    assert score(run_steps(session(f"vowels_lstm_step_{form}"), x), y) >= 0.95


def test_the_step_model_is_the_operator() -> None:
    x, _ = sequences("vowels_steps")
    whole = runtime.InferenceSession(str(MODELS / "vowels_lstm_float.onnx"))
    expected = whole.run(None, {"x": x})[0]
    actual = run_steps(session("vowels_lstm_step_float"), x)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("form", FORMS)
def test_a_state_goes_in_with_the_codes_it_came_out_with(form: str) -> None:
    model = load(f"vowels_lstm_step_{form}")
    known = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    makers = {o: n for n in model.graph.node for o in n.output}
    for name, output in STATE.items():
        into = next(n for n in model.graph.node if name in n.input[:1])
        back = makers[output]
        assert (into.op_type, back.op_type) == ("QuantizeLinear", "DequantizeLinear")
        for index in (1, 2):
            assert known[into.input[index]] == known[back.input[index]]


def test_the_two_files_of_sequences_are_the_same() -> None:
    (steps, labels), (channels, same) = sequences("vowels_steps"), sequences("vowels_channels")
    np.testing.assert_array_equal(steps.transpose(0, 2, 1), channels)
    np.testing.assert_array_equal(labels, same)
    assert set(labels) == set(range(9))


@pytest.mark.parametrize("form", FORMS)
def test_files_are_what_the_quantizer_gives(pictures: dict[str, Pair], form: str) -> None:
    """Made again from the float model, with room for what another version may round."""
    x = pictures["training"][0][:200].reshape(-1, 1, 8, 8)
    activations = "int8" if form in SIGNED["resnet"] else "uint8"
    settings = Settings(form.split("_")[0], form.endswith("per_channel"), activations)
    again = quantize(load("resnet_float"), Calibration({"pixels": x}), settings)
    shipped = load(f"resnet_{form}")
    assert [n.op_type for n in again.graph.node] == [n.op_type for n in shipped.graph.node]
    known = {t.name: numpy_helper.to_array(t) for t in again.graph.initializer}
    for tensor in shipped.graph.initializer:
        expected, actual = numpy_helper.to_array(tensor), known[tensor.name]
        if expected.dtype == np.float32:
            np.testing.assert_allclose(actual, expected, rtol=1e-4)
        elif expected.dtype != np.int32:
            assert np.abs(actual.astype(int) - expected.astype(int)).max() <= 1
