# SPDX-License-Identifier: Apache-2.0
"""Train a small residual network with depthwise convolutions for scikit-learn's digits.

    python train_resnet.py [FOLDER]

A 3x3 convolution, then two blocks of a depthwise 3x3 and a pointwise 1x1 convolution around which
the input is added (He et al., "Deep Residual Learning", section 3.3, with the projection shortcut
where the size changes; Howard et al., "MobileNets", section 3.1), the mean over the image, and a
dense layer. Batch normalisation after each convolution stays in the float model, so that its
folding is exercised. About a minute on one core.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from make_data import digits, split
from numpy.typing import NDArray
from quantize_mlp import output_folder
from quantize_network import Trained, batches, write_variants
from train_autograd import (
    Adam,
    BatchNorm,
    Value,
    conv,
    cross_entropy,
    he_normal,
    linear,
    spatial_mean,
)
from train_graph import FloatGraph

__all__ = ["main", "train"]

EPOCHS, BATCH, PEAK, CLIP = 40, 36, 16.0, 6.0


@dataclass
class Layer:
    """A convolution without bias, and the normalisation behind it."""

    weight: Value
    norm: BatchNorm
    stride: int = 1

    def __call__(self, x: Value) -> Value:
        pad = self.weight.data.shape[2] // 2
        bias = Value(np.zeros(len(self.weight.data), np.float32))
        out = conv(x, self.weight, bias, pad=(pad, pad), stride=(self.stride, self.stride))
        return self.norm(out)


@dataclass
class Network:
    """All that is trained. The second block halves the image and has a convolution as shortcut."""

    layers: dict[str, Layer]
    dense: tuple[Value, Value]

    def __call__(self, images: NDArray[np.float32]) -> Value:
        layers = self.layers
        x = layers["stem"](Value(images)).relu()
        x = (layers["point1"](layers["depth1"](x).relu(CLIP)) + x).relu()
        shortcut = layers["shortcut"](x)
        x = (layers["point2"](layers["depth2"](x).relu(CLIP)) + shortcut).relu()
        return linear(spatial_mean(x), *self.dense)

    def values(self) -> list[Value]:
        """All parameters."""
        found = [*self.dense]
        for layer in self.layers.values():
            found += [layer.weight, layer.norm.scale, layer.norm.shift]
        return found


def train(images: NDArray[np.float32], labels: NDArray[np.int64]) -> Network:
    """Train on images [n, 1, 8, 8] of 0 to 1, each moved by up to 1 pixel at random."""
    generator = np.random.default_rng(0)
    shapes = {
        "stem": ((16, 1, 3, 3), 1),
        "depth1": ((16, 1, 3, 3), 1),
        "point1": ((16, 16, 1, 1), 1),
        "depth2": ((16, 1, 3, 3), 2),
        "point2": ((24, 16, 1, 1), 1),
        "shortcut": ((24, 16, 1, 1), 2),
    }
    layers = {
        name: Layer(he_normal(generator, *shape), BatchNorm(shape[0]), stride)
        for name, (shape, stride) in shapes.items()
    }
    dense = he_normal(generator, 10, 24), Value(np.zeros(10, np.float32))
    network = Network(layers, dense)
    plan = batches(len(images), BATCH, EPOCHS, generator)
    adam = Adam(network.values(), len(plan), rate=1e-2)
    for chosen in plan:
        move = tuple(int(i) for i in generator.integers(-1, 2, 2))
        moved = np.roll(images[chosen], move, (2, 3))
        adam.step(cross_entropy(network(moved), labels[chosen]))
    return network


def float_model(network: Network) -> onnx.ModelProto:
    """``pixels`` [n, 1, 8, 8] of 0 to 16 to ``logits`` [n, 10]."""
    g = FloatGraph("resnet", {"pixels": ("n", 1, 8, 8)})
    low, high = (g.constant(k, np.float32(v)) for k, v in (("zero", 0.0), ("six", CLIP)))

    def layer(x: str, name: str, factor: float = 1.0) -> str:
        made = network.layers[name]
        weight = made.weight.data * np.float32(factor)
        pad, group = weight.shape[2] // 2, len(weight) if name.startswith("depth") else 1
        strides = [made.stride, made.stride]
        out = g.conv(x, name, weight, None, pads=[pad] * 4, strides=strides, group=group)
        return g.normalize(out, f"{name}_norm", made.norm)

    def block(x: str, number: int, shortcut: str) -> str:
        inner = g.add("Clip", [layer(x, f"depth{number}"), low, high], f"clip{number}")
        total = g.add("Add", [layer(inner, f"point{number}"), shortcut], f"add{number}")
        return g.add("Relu", [total], f"relu{number}")

    x = g.add("Relu", [layer("pixels", "stem", 1 / PEAK)], "relu0")
    x = block(x, 1, x)
    x = block(x, 2, layer(x, "shortcut"))
    x = g.add("Flatten", [g.add("GlobalAveragePool", [x], "mean")], "flat", axis=1)
    g.gemm(x, "logits", *network.dense)
    return g.model({"logits": ("n", 10)})


def main() -> None:
    """Train once, write all forms."""
    folder = output_folder("Train and quantize a residual network for the digits")
    (x, y), _ = split(*digits())
    images = x.astype(np.float32).reshape(-1, 1, 8, 8)
    model = float_model(train(images / np.float32(PEAK), y))
    signed = ("qdq", "qoperator_per_channel")
    trained = Trained("resnet", model, {"pixels": images[:200]}, signed)
    for path in write_variants(trained, folder):
        print(path)


if __name__ == "__main__":
    main()
