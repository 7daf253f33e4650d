# SPDX-License-Identifier: Apache-2.0
"""Train a LeNet on 4000 MNIST images and write it as float ONNX and in its quantized forms.

    python train_lenet.py [FOLDER]

LeCun et al., "Gradient-Based Learning Applied to Document Recognition", section II.B, with ReLU and
maxima in place of scaled tanh and trained sums. About a minute on one core.
"""

import numpy as np
import onnx
from make_data import mnist_split
from numpy.typing import NDArray
from quantize_mlp import output_folder
from quantize_network import Trained, batches, write_variants
from train_autograd import Adam, Value, conv, cross_entropy, he_normal, linear, max_pool
from train_graph import FloatGraph

__all__ = ["main", "train"]

EPOCHS, BATCH, PEAK = 12, 50, 255.0


Parameters = list[tuple[Value, Value]]


def forward(parameters: Parameters, images: NDArray[np.float32]) -> Value:
    """[n, 1, 28, 28] to logits [n, 10]."""
    conv1, conv2, fc1, fc2, fc3 = parameters
    x = max_pool(conv(Value(images), *conv1, pad=(2, 2)).relu(), (2, 2))
    x = max_pool(conv(x, *conv2).relu(), (2, 2)).flatten()
    return linear(linear(linear(x, *fc1).relu(), *fc2).relu(), *fc3)


def train(images: NDArray[np.float32], labels: NDArray[np.int64]) -> Parameters:
    """Train on images [n, 1, 28, 28] of 0 to 1, each moved by up to 2 pixels at random."""
    generator = np.random.default_rng(0)
    shapes = ((6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84))
    parameters = [
        (he_normal(generator, *shape), Value(np.zeros(shape[0], np.float32))) for shape in shapes
    ]
    plan = batches(len(images), BATCH, EPOCHS, generator)
    adam = Adam([value for pair in parameters for value in pair], len(plan), rate=3e-3)
    for chosen in plan:
        move = tuple(int(i) for i in generator.integers(-2, 3, 2))
        moved = np.roll(images[chosen], move, (2, 3))
        adam.step(cross_entropy(forward(parameters, moved), labels[chosen]))
    return parameters


def float_model(parameters: Parameters) -> onnx.ModelProto:
    """``pixels`` [n, 1, 28, 28] of 0 to 255 to ``logits`` [n, 10]."""
    conv1, conv2, fc1, fc2, fc3 = parameters
    g = FloatGraph("lenet", {"pixels": ("n", 1, 28, 28)})
    # The division by the largest pixel goes into the first weights: data files hold plain pixels.
    first = conv1[0].data / np.float32(PEAK)
    x = g.add("Relu", [g.conv("pixels", "conv1", first, conv1[1], pads=[2, 2, 2, 2])], "relu1")
    x = g.add("MaxPool", [x], "pool1", kernel_shape=[2, 2], strides=[2, 2])
    x = g.add("Relu", [g.conv(x, "conv2", conv2[0].data, conv2[1])], "relu2")
    x = g.add("MaxPool", [x], "pool2", kernel_shape=[2, 2], strides=[2, 2])
    x = g.add("Flatten", [x], "flat", axis=1)
    x = g.add("Relu", [g.gemm(x, "fc1", *fc1)], "relu3")
    x = g.add("Relu", [g.gemm(x, "fc2", *fc2)], "relu4")
    g.gemm(x, "logits", *fc3)
    return g.model({"logits": ("n", 10)})


def main() -> None:
    """Train once, write all forms."""
    folder = output_folder("Train and quantize a LeNet for MNIST")
    (x, y), _ = mnist_split()
    images = x.astype(np.float32).reshape(-1, 1, 28, 28)
    model = float_model(train(images / np.float32(PEAK), y))
    trained = Trained("lenet", model, {"pixels": images[:200]}, signed=("qdq_per_channel",))
    for path in write_variants(trained, folder):
        print(path)


if __name__ == "__main__":
    main()
