# SPDX-License-Identifier: Apache-2.0
"""Train a ternary and a binary 64-32-10 network for scikit-learn's digits; write them as QONNX.

Weights are -1, 0 and 1, or -1 and 1, times one scale a layer, as they are in training: the forward
pass uses the quantized ones, gradients go to the real ones behind them (the straight-through
estimator of Courbariaux et al., "BinaryConnect", 2015; ternary thresholds as in Li et al., "Ternary
weight networks", 2016). Activations have 8 bits. All scales are written as powers of two, which
change no ranking of logits (there are no biases), and make every product exact in floating point.
Chips for them: ``weight_encoding = "ternary"`` with ``weight_bits = 2``, or
``weight_encoding = "xnor"`` with ``weight_bits = 1``.

    python train_lowbits.py [FOLDER]
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from make_data import digits, split
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from quantize_mlp import output_folder

__all__ = ["lowbit_mlp", "main", "train"]

Reals = NDArray[np.float64]

_SIZES = (64, 32, 10)
_EPOCHS, _BATCH, _RATE = 80, 64, 2e-3


def _quantized(weights: Reals, ternary: bool) -> tuple[Reals, float]:
    """Signs of weights, 0 for the smallest third of a ternary layer, and their scale."""
    size = np.abs(weights)
    kept = size > 0.7 * size.mean() if ternary else np.ones(weights.shape, np.bool_)
    signs = np.where(weights < 0, -1.0, 1.0) * kept
    return signs, float(size[kept].mean())


def train(
    x: Reals,
    y: NDArray[np.int64],
    *,
    ternary: bool,
    seed: int = 0,
    sizes: Sequence[int] = _SIZES,
    epochs: int = _EPOCHS,
) -> list[Reals]:
    """Real weights [inputs, outputs] of each layer, to be quantized.

    Parameters
    ----------
    x : float64 [n, inputs]
        Pixels, 0 to 1.
    y : int64 [n]
    ternary : bool
        Weights of 0 too.
    seed : int
    sizes : sequence of int
        Inputs, hidden, outputs.
    epochs : int
    """
    random = np.random.default_rng(seed)
    layers = [
        random.normal(0, inputs**-0.5, (inputs, outputs)) for inputs, outputs in pairwise(sizes)
    ]
    moments = [(np.zeros_like(w), np.zeros_like(w)) for w in layers]
    step = 0
    for _ in range(epochs):
        order = random.permutation(len(x))
        for begin in range(0, len(x), _BATCH):
            part = order[begin : begin + _BATCH]
            made = [signs * scale for signs, scale in (_quantized(w, ternary) for w in layers)]
            hidden = np.maximum(x[part] @ made[0], 0)
            logits = hidden @ made[1]
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            wrong = odds / odds.sum(axis=1, keepdims=True)
            wrong[np.arange(len(part)), y[part]] -= 1
            wrong /= len(part)
            slopes = [
                x[part].T @ ((wrong @ made[1].T) * (hidden > 0)),
                hidden.T @ wrong,
            ]
            step += 1
            # Adam (Kingma and Ba 2015).
            for weights, slope, (mean, square) in zip(layers, slopes, moments, strict=True):
                mean += 0.1 * (slope - mean)
                square += 0.001 * (slope**2 - square)
                size = np.sqrt(square / (1 - 0.999**step)) + 1e-8
                weights -= _RATE * mean / (1 - 0.9**step) / size
    return layers


def lowbit_mlp(
    layers: list[Reals],
    x: NDArray[np.float32],
    *,
    ternary: bool,
    step: float = 2.0**-3,
    title: str = "digits",
) -> onnx.ModelProto:
    """``pixels`` [n, inputs] to ``logits`` [n, 10]; scales of activations from ``x``.

    ``step`` is a pixel's, in eight bits without sign: 1/8 for 0 to 16, 1 for 0 to 255.
    """
    constants: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, value: object) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def node(kind: str, sources: list[str], output: str, **attributes: int) -> str:
        domain = "qonnx.custom_op.general" if kind in ("Quant", "BipolarQuant") else ""
        made = helper.make_node(kind, sources, [output], name=output, domain=domain, **attributes)
        nodes.append(made)
        return output

    def quant(source: str, output: str, scale: float, bits: int, *, signed: bool) -> str:
        roles = (("scale", scale), ("zero", 0), ("bits", bits))
        names = [constant(f"{output}_{role}", value) for role, value in roles]
        return node("Quant", [source, *names], output, signed=int(signed), narrow=int(bits == 2))

    values = x.astype(np.float64)
    tensor = quant("pixels", "pixels_q", step, 8, signed=False)
    for number, weights in enumerate(layers, start=1):
        last = number == len(layers)
        signs, scale = _quantized(weights, ternary)
        scale = float(2.0 ** np.round(np.log2(scale)))
        name = constant(f"w{number}", signs * scale)
        if ternary:
            weight = quant(name, f"w{number}_q", scale, 2, signed=True)
        else:
            weight = node(
                "BipolarQuant", [name, constant(f"w{number}_scale", scale)], f"w{number}_q"
            )
        tensor = node("MatMul", [tensor, weight], f"sum{number}")
        values = values @ (signs * scale)
        if not last:
            tensor = node("Relu", [tensor], f"relu{number}")
            values = np.maximum(values, 0)
        size = float(2.0 ** np.ceil(np.log2(np.abs(values).max() / (127 if last else 255))))
        output = "logits" if last else f"hidden{number}"
        tensor = quant(tensor, output, size, 8, signed=last)
    graph = helper.make_graph(
        nodes,
        f"{title}, {'ternary' if ternary else 'binary'}",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", len(layers[0])])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", layers[-1].shape[1]])],
        constants,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def main() -> None:
    """Train and write both."""
    folder = output_folder("Train ternary and binary networks for the digits") / "lowbits"
    folder.mkdir(exist_ok=True)
    (x, y), _ = split(*digits())
    pixels = x.astype(np.float32)
    for name, ternary in (("digits_ternary", True), ("digits_binary", False)):
        layers = train(x / 16.0, y, ternary=ternary)
        path: Path = folder / f"{name}.onnx"
        onnx.save(lowbit_mlp(layers, pixels, ternary=ternary), path)
        print(path)


if __name__ == "__main__":
    main()
