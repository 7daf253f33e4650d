# SPDX-License-Identifier: Apache-2.0
"""The shipped models: no code differs from ONNX Runtime's on all digits and 1000 MNIST images."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ohmtwin.behavioral.golden import run_network
from ohmtwin.host.dataset import Dataset, load_dataset
from ohmtwin.host.importer.network import load_network
from ohmtwin.host.reference import OnnxReference

EXAMPLES = Path(__file__).parents[2] / "examples"
MODELS = sorted(
    p for kind in ("digits", "mnist") for p in (EXAMPLES / "models").glob(f"{kind}_*.onnx")
)

SHAPES = {"digits": [(32, 64), (10, 32)], "mnist": [(128, 784), (10, 128)]}

# One worker writes the data files.
pytestmark = pytest.mark.xdist_group("example data")


def dataset(model: Path, folder: Path) -> Dataset:
    name = "digits.npz" if model.stem.startswith("digits") else "mnist_test.npz"
    return load_dataset(folder / name, load_network(model))


def test_all_models_are_there() -> None:
    assert [m.stem for m in MODELS] == [
        "digits_qdq",
        "digits_qdq_per_channel",
        "digits_qoperator",
        "digits_qoperator_per_channel",
        "mnist_qdq",
        "mnist_qoperator",
    ]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.stem)
def test_import(model: Path) -> None:
    network = load_network(model)
    kind = model.stem.split("_")[0]
    assert [layer.weights.shape for layer in network.layers] == SHAPES[kind]
    assert [layer.name for layer in network.layers] == ["fc1", "fc2"]
    assert network.notes == ()
    per_channel = [len({float(s) for s in layer.scales}) > 1 for layer in network.layers]
    assert per_channel == [model.stem.endswith("per_channel")] * 2
    assert model.stat().st_size < 300_000


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.stem)
def test_every_quantized_tensor_equals_onnx_runtime(model: Path, data: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    network, samples = load_network(model), dataset(model, data)
    assert len(samples) == (1797 if model.stem.startswith("digits") else 1000)
    reference = OnnxReference(model)
    expected = reference.run(samples.x)
    codes = network.quantize_input(samples.x)
    golden = run_network(network, codes)
    actual: dict[str, NDArray[Any]] = {network.input_name: network.input_quant.to_onnx_codes(codes)}
    for layer in network.layers:
        out = golden[layer.name].astype(np.uint8)
        actual[layer.output] = layer.out_quant.to_onnx_codes(out)
    assert set(actual) == set(reference.tensors)
    wrong = {name: int((actual[name] != expected.codes[name]).sum()) for name in actual}
    assert wrong == dict.fromkeys(actual, 0)
    logits = network.output_quant.dequantize(golden[network.layers[-1].name])
    np.testing.assert_array_equal(logits, expected.output)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.stem)
def test_accuracy_on_samples_not_trained_on(model: Path, data: Path) -> None:
    network, samples = load_network(model), dataset(model, data)
    assert samples.y is not None
    digits = model.stem.startswith("digits")
    # make_data.split: the training script sees the first four fifths of this order.
    held_out = (
        np.random.default_rng(0).permutation(1797)[1797 * 4 // 5 :] if digits else slice(None)
    )
    codes = network.quantize_input(samples.x[held_out])
    logits = run_network(network, codes)["fc2"].astype(np.uint8)
    accuracy = float((logits.argmax(axis=1) == samples.y[held_out]).mean())
    assert accuracy >= (0.96 if digits else 0.94)


def test_training_is_reproducible(tmp_path: Path) -> None:
    """Two runs give the same bytes; other library versions may give other bytes."""
    pytest.importorskip("sklearn", reason="scikit-learn, which holds the digits, is missing")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    digests = []
    for run in ("first", "second"):
        folder = tmp_path / run
        command = [sys.executable, EXAMPLES / "train_digits.py", folder]
        subprocess.run(command, check=True, timeout=600)
        files = sorted(folder.glob("*.onnx"))
        assert len(files) == 4
        digests.append([hashlib.sha256(f.read_bytes()).hexdigest() for f in files])
    assert digests[0] == digests[1]
