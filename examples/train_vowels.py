# SPDX-License-Identifier: Apache-2.0
"""Train an LSTM and a 1-D convolution network that tell who speaks, on JapaneseVowels.

    python train_vowels.py [FOLDER]

The sequences come from the wheel of aeon (``pip install --no-deps aeon``). Besides the quantized
forms it writes the float LSTM as an operator over whole sequences, from which the step model is
made, and the 200 test sequences that are shipped: [n, steps, features] for the LSTM, [n, features,
steps] for the convolutions. About a minute on one core.
"""

import numpy as np
import onnx
from make_data import vowels
from numpy.typing import NDArray
from quantize_mlp import output_folder
from quantize_network import Trained, batches, write_variants
from train_autograd import (
    Adam,
    Value,
    concat,
    conv,
    cross_entropy,
    he_normal,
    linear,
    max_pool,
    spatial_mean,
)
from train_graph import FloatGraph

from ohmtwin.host.recurrent import to_step

__all__ = ["main", "train_convolutions", "train_lstm"]

HIDDEN, CLASSES, BATCH = 32, 9, 27
LSTM_EPOCHS, CONV_EPOCHS = 60, 100
# Of the 370 test sequences, as many as are shipped beside the models.
SHIPPED = 200

Parameters = list[tuple[Value, Value]]
Reals = NDArray[np.float32]


def lstm_step(parameters: Parameters, x: Value, h: Value, c: Value) -> tuple[Value, Value]:
    """One step; gates in the order input, output, forget, cell, as ONNX has them."""
    gates = linear(concat([x, h]), *parameters[0])
    i, o, f = (gates.columns(k * HIDDEN, (k + 1) * HIDDEN).sigmoid() for k in range(3))
    c = f * c + i * gates.columns(3 * HIDDEN, 4 * HIDDEN).tanh()
    return o * c.tanh(), c


def train_lstm(x: Reals, y: NDArray[np.int64]) -> Parameters:
    """Train on sequences [n, steps, features]: the class at the last step counts."""
    generator = np.random.default_rng(0)
    spread = np.float32(1 / np.sqrt(HIDDEN))
    gates = generator.uniform(-spread, spread, (4 * HIDDEN, x.shape[2] + HIDDEN))
    bias = np.zeros(4 * HIDDEN, np.float32)
    bias[2 * HIDDEN : 3 * HIDDEN] = 1  # forget little at first (Jozefowicz et al. 2015)
    parameters = [
        (Value(gates.astype(np.float32)), Value(bias)),
        (he_normal(generator, CLASSES, HIDDEN), Value(np.zeros(CLASSES, np.float32))),
    ]
    plan = batches(len(x), BATCH, LSTM_EPOCHS, generator)
    adam = Adam([v for pair in parameters for v in pair], len(plan), rate=1e-2)
    for chosen in plan:
        noisy = x[chosen] + generator.normal(0, 0.05, x[chosen].shape).astype(np.float32)
        h = c = Value(np.zeros((len(chosen), HIDDEN), np.float32))
        for step in range(x.shape[1]):
            h, c = lstm_step(parameters, Value(noisy[:, step]), h, c)
        adam.step(cross_entropy(linear(h, *parameters[1]), y[chosen]))
    return parameters


def conv_forward(parameters: Parameters, x: Reals) -> Value:
    """Sequences [n, features, 1, steps] to logits."""
    conv1, conv2, dense = parameters
    value = max_pool(conv(Value(x), *conv1, pad=(0, 2)).relu(), (1, 2))
    return linear(spatial_mean(conv(value, *conv2, pad=(0, 1)).relu()), *dense)


def train_convolutions(x: Reals, y: NDArray[np.int64]) -> Parameters:
    """Train on sequences [n, steps, features]."""
    generator = np.random.default_rng(0)
    images = np.ascontiguousarray(x.transpose(0, 2, 1))[:, :, None]
    shapes = ((24, x.shape[2], 1, 5), (32, 24, 1, 3), (CLASSES, 32))
    parameters = [(he_normal(generator, *s), Value(np.zeros(s[0], np.float32))) for s in shapes]
    plan = batches(len(x), BATCH, CONV_EPOCHS, generator)
    adam = Adam([v for pair in parameters for v in pair], len(plan), rate=5e-3)
    for chosen in plan:
        noisy = images[chosen] + generator.normal(0, 0.05, images[chosen].shape)
        adam.step(cross_entropy(conv_forward(parameters, noisy.astype(np.float32)), y[chosen]))
    return parameters


def lstm_model(parameters: Parameters, features: int) -> onnx.ModelProto:
    """``x`` [n, steps, features] to ``logits`` [n, classes], with the LSTM operator."""
    (gates, bias), dense = parameters
    g = FloatGraph("vowels_lstm", {"x": ("n", "steps", features)})
    constants = [
        g.constant("W", gates.data[None, :, :features]),
        g.constant("R", gates.data[None, :, features:]),
        g.constant("B", np.concatenate([bias.data, np.zeros_like(bias.data)])[None]),
    ]
    x = g.add("Transpose", ["x"], "time_first", perm=[1, 0, 2])
    g.add_many("LSTM", [x, *constants], ["", "last"], "lstm", hidden_size=HIDDEN)
    h = g.add("Squeeze", ["last", g.constant("direction", np.array([0]))], "hidden")
    g.gemm(h, "logits", *dense)
    return g.model({"logits": ("n", CLASSES)})


def conv_model(parameters: Parameters, features: int, steps: int) -> onnx.ModelProto:
    """``x`` [n, features, steps] to ``logits`` [n, classes]."""
    conv1, conv2, dense = parameters
    g = FloatGraph("vowels_conv", {"x": ("n", features, steps)})
    first, second = (layer[0].data[:, :, 0] for layer in (conv1, conv2))
    x = g.add("Relu", [g.conv("x", "conv1", first, conv1[1], pads=[2, 2])], "relu1")
    x = g.add("MaxPool", [x], "pool1", kernel_shape=[2], strides=[2])
    x = g.add("Relu", [g.conv(x, "conv2", second, conv2[1], pads=[1, 1])], "relu2")
    x = g.add("Flatten", [g.add("GlobalAveragePool", [x], "mean")], "flat", axis=1)
    g.gemm(x, "logits", *dense)
    return g.model({"logits": ("n", CLASSES)})


def main() -> None:
    """Train both, write all forms."""
    folder = output_folder("Train and quantize networks for spoken vowels")
    (x, y), (test_x, test_y) = vowels()
    chosen = np.random.default_rng(0).permutation(len(test_x))[:SHIPPED]
    lstm, conv_net = train_lstm(x, y), train_convolutions(x, y)
    whole = lstm_model(lstm, x.shape[2])
    onnx.save(whole, folder / "vowels_lstm_float.onnx")
    step = to_step(whole)
    channels_first = np.ascontiguousarray(x.transpose(0, 2, 1))
    networks = (
        Trained(
            "vowels_lstm_step",
            step.model,
            {"x": x},
            signed=("qdq_per_channel", "qoperator"),
            state=step.state,
        ),
        Trained(
            "vowels_conv",
            conv_model(conv_net, x.shape[2], x.shape[1]),
            {"x": channels_first},
            signed=("qdq", "qoperator_per_channel"),
        ),
    )
    for network in networks:
        for path in write_variants(network, folder):
            print(path)
    for name, samples in {
        "vowels_steps.npz": test_x[chosen],
        "vowels_channels.npz": np.ascontiguousarray(test_x[chosen].transpose(0, 2, 1)),
    }.items():
        np.savez_compressed(folder / name, x=samples, y=test_y[chosen])
        print(folder / name)


if __name__ == "__main__":
    main()
