# SPDX-License-Identifier: Apache-2.0
"""Train a 64-32-8-32-64 autoencoder for scikit-learn's digits.

    python train_autoencoder.py [FOLDER]

Its output is the picture again, its pixels as fractions of the largest. Some seconds on one core.
"""

from itertools import pairwise

import numpy as np
import onnx
from make_data import digits, split
from numpy.typing import NDArray
from quantize_mlp import output_folder
from quantize_network import Trained, batches, write_variants
from train_autograd import Adam, Value, he_normal, linear, mean_square
from train_graph import FloatGraph

__all__ = ["main", "train"]

EPOCHS, BATCH, PEAK = 150, 36, 16.0
SIZES = (64, 32, 8, 32, 64)


Parameters = list[tuple[Value, Value]]


def train(x: NDArray[np.float32]) -> Parameters:
    """Train on pictures [n, 64] of 0 to 1."""
    generator = np.random.default_rng(0)
    parameters = [
        (he_normal(generator, out, inputs), Value(np.zeros(out, np.float32)))
        for inputs, out in pairwise(SIZES)
    ]
    plan = batches(len(x), BATCH, EPOCHS, generator)
    adam = Adam([value for pair in parameters for value in pair], len(plan), rate=5e-3, decay=0.0)
    for chosen in plan:
        pictures = x[chosen]
        value = Value(pictures)
        for pair in parameters[:-1]:
            value = linear(value, *pair).relu()
        adam.step(mean_square(linear(value, *parameters[-1]).sigmoid(), pictures))
    return parameters


def float_model(parameters: Parameters) -> onnx.ModelProto:
    """``pixels`` [n, 64] of 0 to 16 to ``picture`` [n, 64] of 0 to 1."""
    g = FloatGraph("autoencoder", {"pixels": ("n", 64)})
    weight, bias = parameters[0]
    parameters = [(Value(weight.data / np.float32(PEAK)), bias), *parameters[1:]]
    x = "pixels"
    for number, pair in enumerate(parameters[:-1], start=1):
        x = g.add("Relu", [g.gemm(x, f"fc{number}", *pair)], f"relu{number}")
    g.add("Sigmoid", [g.gemm(x, f"fc{len(parameters)}", *parameters[-1])], "picture")
    return g.model({"picture": ("n", 64)})


def main() -> None:
    """Train once, write all forms."""
    folder = output_folder("Train and quantize an autoencoder for the digits")
    (x, _), _ = split(*digits())
    pixels = x.astype(np.float32)
    model = float_model(train(pixels / np.float32(PEAK)))
    signed = ("qdq_per_channel", "qoperator")
    trained = Trained("autoencoder", model, {"pixels": pixels[:500]}, signed)
    for path in write_variants(trained, folder):
        print(path)


if __name__ == "__main__":
    main()
