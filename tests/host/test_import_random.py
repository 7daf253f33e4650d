# SPDX-License-Identifier: Apache-2.0
"""Random graphs against ONNX Runtime: no code of any quantized tensor may differ."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from compare_onnx import compare
from random_graphs import random_inputs, random_model

from ohmtwin.host.graph import AveragePool, Multiply

GRAPHS, CHUNK = 500, 50


@pytest.mark.parametrize("first", range(0, GRAPHS, CHUNK))
def test_random_graphs_equal_onnx_runtime(tmp_path: Path, first: int) -> None:
    path = tmp_path / "model.onnx"
    values = 0
    for seed in range(first, first + CHUNK):
        made = random_model(seed)
        onnx.save(made.model, path)
        shape = tuple(d.dim_value for d in made.model.graph.input[0].type.tensor_type.shape.dim[1:])
        result = compare(path, random_inputs(seed, shape, 40))
        values += result.values
        wrong = {name: count for name, count in result.wrong.items() if count}
        told = f"seed {seed}: {made.operators}: {wrong} {result.network.notes}"
        if not result.network.notes:
            assert not wrong, told
            continue
        # A mean in float, or a product whose zero point moves a tie: noted, and rare.
        assert any(isinstance(layer, AveragePool | Multiply) for layer in result.network.layers)
        assert sum(wrong.values()) <= max(result.values // 200, 2), told
    assert values > 20_000


def test_the_same_seed_gives_the_same_model() -> None:
    first, second = (random_model(7).model.SerializeToString() for _ in range(2))
    assert first == second
    assert first != random_model(8).model.SerializeToString()


def test_graphs_are_of_many_kinds() -> None:
    made = [random_model(seed) for seed in range(200)]
    operators = {kind for m in made for kind in m.operators}
    assert {"Conv", "Gemm", "MatMul", "Add", "Mul", "Concat", "MaxPool", "AveragePool",
            "GlobalAveragePool", "Sigmoid", "Tanh", "LeakyRelu", "Relu", "HardSwish", "Flatten",
            "Transpose", "Slice", "Split", "Pad"} <= operators  # fmt: skip
    nodes = [n.op_type for m in made for n in m.model.graph.node]
    assert {"QLinearConv", "QGemm", "QLinearAdd", "Conv", "Add"} <= set(nodes)
    constants = [t for m in made for t in m.model.graph.initializer]
    kinds = {t.data_type for t in constants}
    assert {onnx.TensorProto.INT8, onnx.TensorProto.UINT8} <= kinds
    assert np.mean([len(m.operators) for m in made]) > 4
