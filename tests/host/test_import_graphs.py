# SPDX-License-Identifier: Apache-2.0
"""Graphs: shared weights, several inputs, states, ends left to the host, large and lazy weights."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from compare_onnx import compare
from onnx import numpy_helper
from qdq_models import SCALE, ZERO, Model, samples

from ohmtwin.arch.errors import ModelError
from ohmtwin.host.graph import (
    AveragePool,
    Concat,
    Constant,
    Conv,
    Dense,
    MaxPool,
    Network,
    Slice,
    Softmax,
)
from ohmtwin.host.importer.network import load_network


def kinds(network: Network) -> list[str]:
    return [type(layer).__name__ for layer in network.layers]


def exact(path: Path, x: Any, **options: Any) -> Network:
    """Compare with ONNX Runtime; the network."""
    result = compare(path, x, **options)
    assert result.wrong
    assert not any(result.wrong.values()), result.wrong
    return result.network


def test_one_initializer_gives_one_array(tmp_path: Path) -> None:
    """Two layers of the same weights, a third of the same weights transposed."""
    m = Model()
    first = m.input("x", 12)
    w = m.weights("w", 12, 12)
    second = m.quantized(m.node("Gemm", [first, w], "a", transB=1), "ac")
    third = m.quantized(m.node("Gemm", [second, w], "b", transB=1), "bc")
    fourth = m.quantized(m.node("MatMul", [third, w], "c"), "cc")
    m.quantized(m.node("MatMul", [fourth, w], "d"), "dc")
    network = exact(m.save(tmp_path, "dc_r"), samples(200, 12))
    a, b, c, d = (layer.weights for layer in network.layers if isinstance(layer, Dense))
    assert a is b
    assert c is d
    assert a is not c
    np.testing.assert_array_equal(a, c.T)


def test_a_model_with_two_inputs(tmp_path: Path) -> None:
    m = Model()
    left, right = m.input("left", 6), m.input("right", 4)
    joined = m.quantized(m.node("Concat", [left, right], "j", axis=1), "jc")
    m.quantized(m.node("Gemm", [joined, m.weights("w", 5, 10)], "y", transB=1), "yc")
    x = {"left": samples(100, 6), "right": samples(100, 4, seed=2)}
    network = exact(m.save(tmp_path, "yc_r"), x)
    assert [i.name for i in network.inputs] == ["left", "right"]
    assert [i.shape for i in network.fed] == [(6,), (4,)]


def test_a_step_model_keeps_its_state(tmp_path: Path) -> None:
    m = Model()
    x, h = m.input("x", 3), m.input("h", 5)
    joined = m.quantized(m.node("Concat", [h, x], "j", axis=1), "jc")
    total = m.quantized(m.node("Gemm", [joined, m.weights("w", 5, 8)], "t", transB=1), "tc")
    out = m.quantized(m.node("Tanh", [total], "a"), "ac")
    m.quantized(m.node("Gemm", [out, m.weights("v", 4, 5)], "y", transB=1), "yc")
    path = m.save(tmp_path, "yc_r", "ac_r")
    network = exact(path, samples(30, 9, 3), states={"h": "ac_r"})
    (state,) = network.states
    assert (state.input, state.output, state.table, state.initial) == ("h_c", "ac", None, ZERO)
    assert network.outputs == ("yc",)
    assert [i.name for i in network.inputs] == ["x", "h"]
    for states, message in [
        ({"g": "ac_r"}, "State 'g' is no input of the model; its inputs are x, h"),
        ({"h": "ac"}, "State 'h' is fed by 'ac', which is no output of the model; its outputs"),
        ({"h": "yc_r"}, r"State 'h' has the shape \[5\], but output 'yc_r', .* has \[4\]"),
        ({"h": "ac_r", "x": "ac_r"}, "All inputs of the model are states"),
    ]:
        with pytest.raises(ModelError, match=message):
            load_network(path, states)


def test_a_delayed_input_is_a_state(tmp_path: Path) -> None:
    """The state is the input of the step before, which no layer makes."""
    m = Model()
    x, h = m.input("x", 3), m.input("h", 3)
    joined = m.quantized(m.node("Concat", [h, x], "j", axis=1), "jc")
    m.quantized(m.node("Gemm", [joined, m.weights("w", 4, 6)], "y", transB=1), "yc")
    path = m.save(tmp_path, "yc_r", "x_c_r")
    network = exact(path, samples(20, 6, 3), states={"h": "x_c_r"})
    assert network.states[0].output in {layer.output for layer in network.layers}


@pytest.mark.parametrize("tail", ["", "Relu"])
@pytest.mark.parametrize("kind", ["Sub", "Add", "Mul"])
def test_two_inputs_element_by_element(tmp_path: Path, kind: str, tail: str) -> None:
    """Sub, and what a Relu follows, ONNX Runtime computes in float."""
    m = Model()
    x, y = m.input("x", 40), m.input("y", 40)
    real = m.node(kind, [x, y], "q")
    if tail:
        real = m.node(tail, [real], "tail")
    out = [
        m.constant("os", SCALE * (4.1 if kind == "Mul" else 1.37)),
        m.constant("oz", 90, np.uint8),
    ]
    m.node("QuantizeLinear", [real, *out], "qc")
    m.node("DequantizeLinear", ["qc", *out], "qr")
    path = m.save(tmp_path, "qr")
    x_real, y_real = samples(2000, 40), samples(2000, 40, seed=2)
    network = exact(path, {"x": x_real, "y": y_real})
    (layer,) = network.layers
    assert getattr(layer, "clip_low", None) == (90 if tail else 0)


def test_residual_with_depthwise_and_broadcast_scale(tmp_path: Path) -> None:
    """A branch, groups, a constant for each channel, a mean over the image."""
    m = Model()
    x = m.input("x", 4, 6, 6)
    deep = m.node("Conv", [x, m.weights("w", 4, 1, 3, 3)], "d", group=4, pads=[1, 1, 1, 1])
    added = m.quantized(m.node("Add", [x, m.quantized(deep, "dc")], "a"), "ac")
    m.constant("k", m.rng.integers(0, 256, (4, 1, 1)), np.uint8)
    factor = m.node("DequantizeLinear", ["k", m.constant("ks", 0.0113), "z"], "kr")
    scaled = m.quantized(m.node("Mul", [added, factor], "m"), "mc")
    mean = m.quantized(m.node("GlobalAveragePool", [scaled], "g"), "gc")
    m.quantized(m.node("Flatten", [mean], "f"), "fc")
    network = exact(m.save(tmp_path, "fc_r"), samples(50, 4, 6, 6))
    assert kinds(network) == ["Conv", "Combine", "Constant", "Multiply", "AveragePool", "Reshape"]
    conv, *_ = (layer for layer in network.layers if isinstance(layer, Conv))
    assert conv.groups == 4
    assert conv.pad_code == ZERO
    (constant,) = (layer for layer in network.layers if isinstance(layer, Constant))
    assert constant.codes.shape == (4, 1, 1)


def test_a_constant_of_one_value_is_a_table_of_the_layer_before(tmp_path: Path) -> None:
    m = Model()
    x = m.input("x", 12)
    first = m.quantized(m.node("Gemm", [x, m.weights("w", 7, 12)], "g", transB=1), "gc")
    m.constant("k", [200], np.uint8)
    shift = m.node("DequantizeLinear", ["k", *m.quant], "kr")
    m.quantized(m.node("Add", [first, shift], "a"), "ac")
    network = exact(m.save(tmp_path, "ac_r"), samples(300, 12))
    (layer,) = network.layers
    assert isinstance(layer, Dense)
    assert layer.table is not None
    assert (layer.pre_output, layer.output) == ("gc", "ac")


def test_a_table_with_another_reader_stands_alone(tmp_path: Path) -> None:
    """The codes before the table are needed too, so it cannot be part of the layer before."""
    m = Model()
    x = m.input("x", 12)
    first = m.quantized(m.node("Gemm", [x, m.weights("w", 7, 12)], "g", transB=1), "gc")
    gate = m.quantized(m.node("Sigmoid", [first], "gate"), "gate_c")
    m.quantized(m.node("Mul", [first, gate], "m"), "mc")
    network = exact(m.save(tmp_path, "mc_r"), samples(300, 12))
    assert kinds(network) == ["Dense", "Combine", "Multiply"]


def test_a_table_behind_a_reshape_with_two_readers_stands_alone(tmp_path: Path) -> None:
    m = Model()
    x = m.input("x", 3, 20)
    conv = m.node("Conv", [x, m.weights("w", 6, 3, 5)], "c")
    first = m.quantized(conv, "cc")
    gate = m.quantized(m.node("Sigmoid", [first], "gate"), "gate_c")
    m.quantized(m.node("Mul", [first, gate], "m"), "mc")
    network = exact(m.save(tmp_path, "mc_r"), samples(60, 3, 20))
    conv_layer = network.layers[1]
    assert isinstance(conv_layer, Conv)
    assert conv_layer.table is None


def test_a_state_in_another_quantization_has_a_table(tmp_path: Path) -> None:
    """The output that feeds a state has a scale of its own."""
    m = Model()
    x = m.input("x", 3)
    m.inputs["h"] = ["n", 5]
    other = [m.constant("hs", SCALE * 1.7), m.constant("hz", 31, np.uint8)]
    m.node("QuantizeLinear", ["h", *other], "hc")
    h = m.node("DequantizeLinear", ["hc", *other], "hr")
    joined = m.quantized(m.node("Concat", [h, x], "j", axis=1), "jc")
    m.quantized(m.node("Gemm", [joined, m.weights("w", 5, 8)], "t", transB=1), "tc")
    network = exact(m.save(tmp_path, "tc_r"), samples(30, 9, 3), states={"h": "tc_r"})
    (state,) = network.states
    assert state.initial == 31
    assert state.table is not None
    assert state.table[ZERO] == 31
    assert network.outputs == ("tc",)


def test_one_axis_runs_as_one_row(tmp_path: Path) -> None:
    """Convolution, table and pool along time, without reshapes between them."""
    m = Model()
    x = m.input("x", 3, 20)
    w = m.weights("w", 6, 3, 5)
    conv = m.node("Conv", [x, w], "c", pads=[4, 0], dilations=[1], strides=[2])
    table = m.quantized(m.node("Tanh", [m.quantized(conv, "cc")], "t"), "tc")
    pool = m.node("MaxPool", [table], "p", kernel_shape=[2], strides=[2])
    m.quantized(m.node("Flatten", [m.quantized(pool, "pc")], "f"), "fc")
    network = exact(m.save(tmp_path, "fc_r"), samples(60, 3, 20))
    assert kinds(network) == ["Reshape", "Conv", "MaxPool", "Reshape"]
    layer = network.layers[1]
    assert isinstance(layer, Conv)
    assert layer.weights.shape == (6, 3, 1, 5)
    assert (layer.pads, layer.strides) == ((0, 4, 0, 0), (1, 2))
    assert layer.table is not None


@pytest.mark.parametrize(
    ("kind", "more", "attributes", "shape", "expected"),
    [
        ("Gather", [3], {"axis": 2}, (4, 6), (4, 1)),
        ("Gather", 2, {"axis": 1}, (4, 6), (6,)),
        ("Gather", [0, 2], {"axis": 1}, (4, 6), (2, 6)),
        ("Unsqueeze", [1, 3], {}, (4, 6), (1, 4, 1, 6)),
        ("Unsqueeze", [-1], {}, (4, 6), (4, 6, 1)),
        ("Squeeze", [-1], {}, (4, 1), (4,)),
        ("Reshape", [0, 0, 3, -1], {}, (4, 6), (4, 3, 2)),
        ("Reshape", [-1, 24], {}, (4, 6), (24,)),
        ("Transpose", None, {"perm": [0, 2, 1]}, (4, 6), (6, 4)),
    ],
)
def test_views(
    tmp_path: Path, kind: str, more: Any, attributes: dict[str, Any], shape: tuple[int, ...],
    expected: tuple[int, ...],
) -> None:  # fmt: skip
    m = Model()
    x = m.input("x", *shape)
    operands = [] if more is None else [m.constant("k", more, np.int64)]
    view = m.quantized(m.node(kind, [x, *operands], "v", **attributes), "vc")
    m.quantized(m.node("Tanh", [view], "t"), "tc")
    network = exact(m.save(tmp_path, "tc_r"), samples(40, *shape))
    assert network.shape("tc") == expected


@pytest.mark.parametrize("kind", ["MaxPool", "Flatten", "Pad", "Concat"])
def test_moves_between_two_scales_take_a_table(tmp_path: Path, kind: str) -> None:
    """A quantizer's MaxPool has one scale on both sides; others' need not."""
    m = Model()
    x = m.input("x", 3, 6, 6)
    m.constant("pads", [0, 0, 1, 1, 0, 0, 0, 0], np.int64)
    attributes = {"MaxPool": {"kernel_shape": [2, 2]}, "Concat": {"axis": 1}}.get(kind, {})
    sources = {"Pad": [x, "pads"], "Concat": [x, x]}.get(kind, [x])
    out = [m.constant("os", SCALE * 0.77), m.constant("oz", 40, np.uint8)]
    m.node("QuantizeLinear", [m.node(kind, sources, "m", **attributes), *out], "mc")
    m.node("DequantizeLinear", ["mc", *out], "mr")
    network = exact(m.save(tmp_path, "mr"), samples(50, 3, 6, 6))
    assert network.output_quant.zero_point == 40
    tables = [
        t
        for layer in network.layers
        for t in getattr(layer, "tables", (getattr(layer, "table", None),))
    ]
    assert any(t is not None for t in tables)


@pytest.mark.parametrize(
    ("pads", "ceil", "stride"),
    [([0, 0, 0, 0], 1, 2), ([1, 0, 0, 1], 1, 3), ([1, 1, 1, 1], 1, 3), ([1, 1, 1, 1], 0, 2)],
)
@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_pools(tmp_path: Path, kind: str, pads: list[int], ceil: int, stride: int) -> None:
    m = Model()
    x = m.input("x", 3, 8, 7)
    pool = m.node(kind, [x], "p", kernel_shape=[3, 2], pads=pads, ceil_mode=ceil,
                  strides=[stride, 2])  # fmt: skip
    m.quantized(pool, "pc")
    path = m.save(tmp_path, "pc_r")
    network = load_network(path)
    result = compare(path, samples(100, 3, 8, 7))
    if not network.notes:
        assert result.wrong["pc"] == 0
    assert result.wrong["pc"] <= result.values // 50
    (layer,) = network.layers
    assert isinstance(layer, MaxPool | AveragePool)


def test_batch_normalization_of_a_quantized_layer_is_folded_and_noted(tmp_path: Path) -> None:
    m = Model()
    x = m.input("x", 3, 6, 6)
    conv = m.node("Conv", [x, m.weights("w", 4, 3, 3, 3)], "c")
    parts = [m.constant(n, v) for n, v in (("gamma", [1.0, 2.0, -0.5, 0.0]), ("beta", [1.0] * 4),
                                           ("mean", [0.2] * 4), ("var", [1.5] * 4))]  # fmt: skip
    m.quantized(m.node("BatchNormalization", [conv, *parts], "b"), "bc")
    path = m.save(tmp_path, "bc_r")
    result = compare(path, samples(60, 3, 6, 6))
    assert result.wrong["bc"] <= result.values // 500
    assert any("BatchNormalization node 'b'" in note for note in result.network.notes)


def test_softmax_between_layers_and_at_the_end(tmp_path: Path) -> None:
    """At the end it is the host's; before another layer it is computed, and noted."""
    m = Model()
    x = m.input("x", 12)
    first = m.quantized(m.node("Gemm", [x, m.weights("w", 6, 12)], "g", transB=1), "gc")
    quant = [m.constant("ps", 1 / 256), m.constant("pz", 0, np.uint8)]
    m.node("QuantizeLinear", [m.node("Softmax", [first], "p", axis=1), *quant], "pc")
    m.node("DequantizeLinear", ["pc", *quant], "pr")
    network = load_network(m.save(tmp_path, "pr"))
    assert kinds(network) == ["Dense"]
    assert network.outputs == ("gc",)
    m.quantized(m.node("Gemm", ["pr", m.weights("v", 3, 6)], "y", transB=1), "yc")
    network = load_network(m.save(tmp_path, "yc_r"))
    assert any("Softmax node 'p'" in note for note in network.notes)
    assert "Dense" in kinds(network)
    assert not any(isinstance(layer, Softmax) and layer.scale <= 0 for layer in network.layers)


def test_what_is_not_needed_is_left_out(tmp_path: Path) -> None:
    m = Model()
    x = m.input("x", 12)
    m.quantized(m.node("Gemm", [x, m.weights("v", 6, 12)], "unused", transB=1), "uc")
    m.quantized(m.node("Gemm", [x, m.weights("w", 6, 12)], "g", transB=1), "gc")
    network = exact(m.save(tmp_path, "gc_r"), samples(40, 12))
    assert [layer.name for layer in network.layers] == ["g"]


def test_split_slice_and_join(tmp_path: Path) -> None:
    m = Model()
    x = m.input("x", 10, 4)
    sizes = m.constant("sizes", [3, 7], np.int64)
    m.node("Split", [x, sizes], "a", "b", axis=1)
    last = [m.constant(f"i{k}", [v], np.int64) for k, v in enumerate((-1, -8, 1, -3))]
    backwards = m.quantized(m.node("Slice", [m.quantized("b", "bc"), *last], "l"), "lc")
    parts = [m.quantized("a", "ac"), backwards]
    m.quantized(m.node("Concat", parts, "j", axis=1), "jc")
    network = exact(m.save(tmp_path, "jc_r"), samples(40, 10, 4))
    slices = [layer for layer in network.layers if isinstance(layer, Slice)]
    assert [s.steps[0] for s in slices] == [1, 1, -3]
    assert any(isinstance(layer, Concat) for layer in network.layers)


def test_asymmetric_weights_are_halved_where_they_do_not_fit(tmp_path: Path) -> None:
    """uint8 weights around 3 reach 252: two int8 matrices side by side."""
    m = Model()
    x = m.input("x", 12)
    m.constant("w", m.rng.integers(0, 256, (12, 7)), np.uint8)
    scale, zero = m.constant("ws", 0.002), m.constant("wz", 3, np.uint8)
    w = m.node("DequantizeLinear", ["w", scale, zero], "wr")
    m.quantized(m.node("MatMul", [x, w], "y"), "yc")
    network = exact(m.save(tmp_path, "yc_r"), samples(300, 12))
    concat, dense = network.layers
    assert isinstance(concat, Concat)
    assert isinstance(dense, Dense)
    assert dense.weights.shape == (7, 24)
    total = dense.weights[:, :12].astype(int) + dense.weights[:, 12:]
    stored = numpy_helper.to_array(next(t for t in m.constants if t.name == "w"))
    np.testing.assert_array_equal(total.T, stored.astype(int) - 3)


def test_external_weights_are_read_one_at_a_time(tmp_path: Path) -> None:
    """Eight matrices of 2 MB: the file's weights are never all in memory beside the network's."""
    m = Model()
    value = m.input("x", 1024)
    for k in range(8):
        w = m.weights(f"w{k}", 1024, 2048) if k % 2 else m.weights(f"w{k}", 2048, 1024)
        value = m.quantized(m.node("Gemm", [value, w], f"g{k}", transB=1), f"c{k}")
    path = m.save(tmp_path, value)
    model = onnx.load(path)
    onnx.save_model(model, path, save_as_external_data=True, location="weights.bin")
    assert path.stat().st_size < 100_000
    size = (tmp_path / "weights.bin").stat().st_size
    tracemalloc.start()
    try:
        network = load_network(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    stored = sum(layer.weights.nbytes for layer in network.layers if isinstance(layer, Dense))
    assert stored == 8 * 2048 * 1024
    assert peak < size + stored  # weights once, and room for one of them at work
