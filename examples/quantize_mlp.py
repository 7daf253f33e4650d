# SPDX-License-Identifier: Apache-2.0
"""Shared by the training scripts: train a small MLP, write it as float ONNX, quantize it.

The models take raw pixel values as float32; the normalisation is folded into the first layer's
weights, so that a dataset file holds plain pixels.
"""

import argparse
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    QuantFormat,
    QuantType,
    quantize_static,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

__all__ = ["MODELS", "Calibration", "float_mlp", "output_folder", "quantize", "train"]

MODELS = Path(__file__).parent / "models"

Layers = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


def train(
    x: NDArray[np.float32], y: NDArray[np.int64], *, hidden: int, peak: float, epochs: int
) -> Layers:
    """Train ``inputs-hidden-classes`` with ReLU; returns (weights [out, in], bias [out]) a layer.

    ``peak`` is the largest pixel value; the network is trained on ``x / peak``, and its first
    weights are divided by ``peak`` afterwards.
    """
    mlp = MLPClassifier((hidden,), alpha=1e-2, batch_size=64, max_iter=epochs, random_state=0)
    with warnings.catch_warnings():
        # The number of epochs is fixed, so that the result does not hang on a stopping rule.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mlp.set_params(n_iter_no_change=epochs).fit(x / np.float32(peak), y)
    layers = [
        (w.T.astype(np.float32), b.astype(np.float32))
        for w, b in zip(mlp.coefs_, mlp.intercepts_, strict=True)
    ]
    first, bias = layers[0]
    return [(first / np.float32(peak), bias), *layers[1:]]


def float_mlp(layers: Layers, name: str) -> onnx.ModelProto:
    """Gemm, Relu, ..., Gemm over ``pixels`` [n, inputs] to ``logits`` [n, classes]."""
    nodes, constants, tensor = [], [], "pixels"
    for i, (weights, bias) in enumerate(layers, start=1):
        last = i == len(layers)
        out = "logits" if last else f"fc{i}_sum"
        constants.append(numpy_helper.from_array(weights, f"fc{i}_weight"))
        constants.append(numpy_helper.from_array(bias, f"fc{i}_bias"))
        operands = [tensor, f"fc{i}_weight", f"fc{i}_bias"]
        nodes.append(helper.make_node("Gemm", operands, [out], name=f"fc{i}", transB=1))
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"fc{i}_relu"], name=f"relu{i}"))
            tensor = f"fc{i}_relu"
    inputs, classes = layers[0][0].shape[1], layers[-1][0].shape[0]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", inputs])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])],
        constants,
    )
    # Opset 17 and IR 8 load in every ONNX Runtime since 1.12.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Calibration:
    """Training samples for the quantizer, 100 at a time: a CalibrationDataReader by its method."""

    def __init__(self, x: NDArray[np.float32]) -> None:
        self._batches: Iterator[NDArray[np.float32]] = iter(np.split(x, range(100, len(x), 100)))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next batch, or None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {"pixels": batch}


def quantize(
    model: onnx.ModelProto,
    calibration: NDArray[np.float32],
    path: Path,
    *,
    qdq: bool = True,
    per_channel: bool = False,
    signed: bool = False,
) -> None:
    """Quantize ``model`` statically to int8 weights and 8-bit activations, and write ``path``."""
    # The quantizer advises a pre-processing step that changes nothing in Gemm and Relu.
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "float.onnx"
        onnx.save(model, source)
        quantize_static(
            source,
            path,
            Calibration(calibration),
            quant_format=QuantFormat.QDQ if qdq else QuantFormat.QOperator,
            per_channel=per_channel,
            activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def output_folder(description: str) -> Path:
    """Parse the command line: an optional folder to write to; it is made if need be."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", nargs="?", type=Path, default=MODELS, help="where to write")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    return folder
