# SPDX-License-Identifier: Apache-2.0
"""Operators and attributes that are refused: which node, which attribute, what to do."""

from pathlib import Path
from typing import Any

import pytest
from qdq_models import Model

from ohmtwin.arch.errors import ModelError
from ohmtwin.host.importer.network import load_network


def refused(folder: Path, m: Model, message: str, *outputs: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_network(m.save(folder, *outputs))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "attributes", "message"),
    [
        ("ConvTranspose", {}, "ConvTranspose node 'q' is not supported; use Conv, with the input"),
        ("LayerNormalization", {}, "LayerNormalization node 'q' is not supported; use BatchNorm"),
        ("Resize", {}, "Resize node 'q' is not supported; use a Conv with strides"),
        ("NonZero", {}, "NonZero node 'q' is not supported; supported are Conv, Gemm, MatMul"),
        ("MaxPool", {"kernel_shape": [2]}, "'kernel_shape' of the MaxPool node 'q' must be 2 num"),
        ("MaxPool", {"kernel_shape": [2, 2], "pads": [2, 0, 0, 0]}, "as large as its kernel"),
        ("MaxPool", {"kernel_shape": [2, 2], "auto_pad": "FULL"}, "has auto_pad='FULL'; support"),
        ("MaxPool", {}, "MaxPool node 'q' has no kernel_shape"),
        ("AveragePool", {"kernel_shape": [2, 2], "dilations": [2, 1]}, r"has dilations \(|\["),
        ("Transpose", {"perm": [1, 0, 2, 3]}, r"perm \[1, 0, 2, 3\], as it moves the batch; keep"),
        ("Flatten", {"axis": 3}, "Flatten node 'q' is not supported with axis 3, as it mixes"),
        ("Softmax", {"axis": 0}, "Softmax node 'q' has axis 0, which mixes samples"),
        ("ReduceMean", {"axes": [1]}, r"ReduceMean node 'q' has axes \[1\]; only the mean over"),
        ("Pad", {"pads": [0, 0, 0, 0], "mode": "constant"}, "do not fit 4 axes; give two for"),
        ("Pad", {"pads": [0] * 6 + [-1, 0]}, "pads must not be negative"),
        ("Pad", {"pads": [0] * 8, "mode": "edge"}, "has mode='edge'; only mode='constant'"),
        ("Split", {"axis": 0}, "Split node 'q' is not supported along axis 0, as it mixes samples"),
        ("LSTM", {"hidden_size": 3}, "LSTM node 'q' .* ohmtwin quantize .* --unroll, .* --step"),
        ("GRU", {"hidden_size": 3}, "GRU node 'q' .* --unroll, or make a model of one step .*--st"),
    ],
)
def test_attributes_and_operators_that_are_refused(
    tmp_path: Path, kind: str, attributes: dict[str, Any], message: str
) -> None:
    m = Model()
    x = m.input("x", 3, 6, 6)
    out = m.quantized(m.node(kind, [x], "q", **attributes), "qc")
    refused(tmp_path, m, message, m.quantized(m.node("Tanh", [out], "t"), "tc"))


def test_products_of_two_computed_tensors_are_refused(tmp_path: Path) -> None:
    m = Model()
    x, y = m.input("x", 4, 4), m.input("y", 4, 4)
    out = m.quantized(m.node("MatMul", [x, y], "q"), "qc")
    refused(tmp_path, m, "MatMul node 'q' multiplies two computed tensors, which arrays", out)


def test_convolutions_that_are_refused(tmp_path: Path) -> None:
    for attributes, message in [
        ({"kernel_shape": [2, 2]}, r"'kernel_shape' .* is \[2, 2\], but its weights have .*\[3, 3"),
        ({"group": 2}, r"has 2 groups of 3 channels for 4 outputs, but tensor 'x_c' has the shape"),
        ({"strides": [0, 1]}, r"'strides' of the Conv node 'q' must be 2 numbers from 1 to 65536"),
        ({"pads": [1, 1, 1]}, "'pads' of the Conv node 'q' must be 4 numbers from 0"),
        ({"dilations": [4, 1]}, "does not fit"),
    ]:
        m = Model()
        x = m.input("x", 3, 6, 6)
        conv = m.node("Conv", [x, m.weights("w", 4, 3, 3, 3)], "q", **attributes)
        refused(tmp_path, m, message, m.quantized(conv, "qc"))


def test_residual_without_a_quantizer_between_is_refused(tmp_path: Path) -> None:
    m = Model()
    x = m.input("x", 12)
    product = m.node("Gemm", [x, m.weights("w", 12, 12)], "g", transB=1)
    out = m.quantized(m.node("Add", [product, x], "a"), "ac")
    refused(tmp_path, m, "Add node 'a' follows the Gemm node 'g' directly; quantize the ten", out)
