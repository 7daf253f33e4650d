# SPDX-License-Identifier: Apache-2.0
"""Noise-aware retraining: gradients, quantization, and what it gains on a bad device."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from networks import random_network
from numpy.typing import NDArray

from ohmtwin.arch.errors import InputError, ModelError
from ohmtwin.behavioral import devices, golden
from ohmtwin.host.compiler.network import compile_network
from ohmtwin.host.graph import Network, Quantization
from ohmtwin.host.importer.network import load_network
from ohmtwin.host.retrain import FloatLayer, _forward, _gradients, float_layers, quantize_layers
from ohmtwin.host.retrain import retrain as retrain_network
from ohmtwin.host.targets import connect

# What they share is built in one worker.
pytestmark = pytest.mark.xdist_group("retrain")

MODELS = Path(__file__).parents[2] / "examples" / "models"

Data = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]


@pytest.fixture(scope="module")
def digits() -> Data:
    """Training and held-out samples, split as the shipped models were trained."""
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y, cut = x[order].astype(np.float32), y[order].astype(np.int64), len(x) * 4 // 5
    return x[:cut], y[:cut], x[cut:], y[cut:]


def accuracy(network: Network, data: Data, level: str, spread: float = 0.0) -> float:
    """Of the held-out samples, over three chips."""
    codes = network.quantize_input(data[2])
    right = []
    for seed in range(3):
        device = devices.rram(spread=spread)
        one = compile_network(network, chip="tile4", device=device, seed=seed, trace=False)
        with connect(level, one) as target:
            scores = target.run(codes)[network.layers[-1].name]
        right.append((scores.argmax(axis=1) == data[3]).mean())
    return float(np.mean(right))


@pytest.mark.parametrize("name", ["digits_qdq", "digits_qoperator_per_channel"])
def test_real_weights_are_those_of_the_codes(name: str, digits: Data) -> None:
    network = load_network(MODELS / f"{name}.onnx")
    x = digits[2]
    real = _forward(float_layers(network), x.astype(np.float64))
    tensors = golden.run_network(network, network.quantize_input(x))
    for layer, values in zip(network.layers, real[1:], strict=True):
        found = layer.out_quant.dequantize(tensors[layer.name])
        low, high = layer.out_quant.dequantize(np.array([0, 255]))
        error = np.abs(found - np.clip(values, low, high))
        # Rounding of inputs and of hidden codes; both are a small share of the range.
        assert error.max() < 0.02 * (high - low)


def test_quantizing_back_gives_the_same_network(digits: Data) -> None:
    network = load_network(MODELS / "digits_qdq.onnx")
    again = quantize_layers(network, float_layers(network), digits[0])
    for old, new in zip(network.layers, again.layers, strict=True):
        # Largest weights are 127 in both.
        np.testing.assert_array_equal(new.weights, old.weights)
        assert new.out_quant.signed == old.out_quant.signed
        assert new.out_quant.scale == pytest.approx(old.out_quant.scale, rel=0.1)
    assert abs(accuracy(again, digits, "golden") - accuracy(network, digits, "golden")) < 0.01


def test_zero_points_are_folded_in() -> None:
    quant = Quantization(0.0625, 100, signed=False)
    network = random_network(3, (30, 5))
    network = dataclasses.replace(
        network, inputs=(dataclasses.replace(network.inputs[0], quant=quant),)
    )
    x = np.random.default_rng(0).uniform(-6, 9, (50, 30)).astype(np.float32)
    real = _forward(float_layers(network), quant.dequantize(quant.quantize(x)).astype(np.float64))
    again = quantize_layers(network, float_layers(network), x)
    out = again.layers[0].out_quant
    found = out.dequantize(golden.run_network(again, again.quantize_input(x))["fc0"])
    # Weights of all outputs share a scale now.
    assert np.abs(found - real[1]).max() < 0.03 * real[1].max()
    # Read back, they are what the codes round, and nothing else.
    inputs = quant.dequantize(quant.quantize(x)).astype(np.float64)
    high = float(out.dequantize(255))
    exact = np.clip(_forward(float_layers(again), inputs)[1], 0, high)
    assert np.abs(found - exact).max() < 0.51 * out.scale


def test_gradients_are_those_of_the_loss() -> None:
    random = np.random.default_rng(0)
    layers = [
        FloatLayer(random.normal(size=(6, 5)), random.normal(size=6), True),
        FloatLayer(random.normal(size=(4, 6)), random.normal(size=4), False),
    ]
    x, y = random.normal(size=(7, 5)), random.integers(0, 4, 7)

    def loss() -> float:
        scores = _forward(layers, x)[-1]
        share = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        return float(-np.log(share[np.arange(7), y]).mean())

    parts = [part for layer in layers for part in (layer.weights, layer.bias)]
    found = _gradients(layers, x, y)
    assert len(found) == len(parts)
    for part, gradient in zip(parts, found, strict=True):
        for at in np.ndindex(part.shape):
            kept, step = part[at], 1e-6
            part[at] = kept + step
            high = loss()
            part[at] = kept - step
            slope = (high - loss()) / (2 * step)
            part[at] = kept
            assert gradient[at] == pytest.approx(slope, abs=1e-6)


def test_training_with_noise_helps_on_a_bad_device(digits: Data) -> None:
    network = load_network(MODELS / "digits_qdq.onnx")
    trained = retrain_network(network, digits[0], digits[1], noise=0.2, epochs=30)
    assert accuracy(trained, digits, "golden") > accuracy(network, digits, "golden") - 0.02
    before, after = (accuracy(n, digits, "fast", spread=0.2) for n in (network, trained))
    assert after > before + 0.04
    # It is the noise that helps, not the training.
    quiet = retrain_network(network, digits[0], digits[1], noise=0.0, epochs=30)
    assert after > accuracy(quiet, digits, "fast", spread=0.2) + 0.04


def test_the_same_call_gives_the_same_network(digits: Data) -> None:
    network = load_network(MODELS / "digits_qdq.onnx")
    runs = [
        retrain_network(network, digits[0][:200], digits[1][:200], noise=0.1, epochs=2, seed=seed)
        for seed in (4, 4, 5)
    ]
    for one, same, other in zip(*(n.layers for n in runs), strict=True):
        np.testing.assert_array_equal(one.weights, same.weights)
        np.testing.assert_array_equal(one.bias, same.bias)
        assert (one.weights != other.weights).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": -0.1}, "noise of 0 or more"),
        ({"noise": float("nan")}, "noise of 0 or more"),
        ({"epochs": 0}, "epochs and batch of 1 or more"),
        ({"x": np.zeros((2, 63), np.float32)}, r"samples \[n, 64\]"),
        ({"y": np.array([0, 10])}, "classes 0 to 9"),
        ({"x": np.full((2, 64), np.nan, np.float32)}, "finite samples"),
    ],
)
def test_bad_training(change: dict[str, object], message: str) -> None:
    network = load_network(MODELS / "digits_qdq.onnx")
    given: dict[str, object] = {
        "x": np.zeros((2, 64), np.float32),
        "y": np.array([0, 1]),
        "noise": 0.1,
    }
    with pytest.raises(InputError, match=message):
        retrain_network(network, **(given | change))


def test_networks_with_tables_cannot_be_retrained() -> None:
    with pytest.raises(ModelError, match="'fc0' of network 'random1' ends in a table"):
        float_layers(random_network(1, (21, 7, 5), table_after=0))
