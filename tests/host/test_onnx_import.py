# SPDX-License-Identifier: Apache-2.0
"""Imported networks against ONNX Runtime: no code of any quantized tensor may differ."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from compare_onnx import compare
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx_models import Builder, qdq_layer, qgemm_layer, random_bias, random_weights

from ohmtwin.host.graph import Dense, Network, Operator, Reshape
from ohmtwin.host.importer.network import load_network

X_SCALE, M_SCALE, Y_SCALE = np.float32(0.0237), np.float32(0.1713), np.float32(0.7171)


def samples(count: int = 5000, shape: tuple[int, ...] = (12,)) -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(-3.5, 3.5, (count, *shape)).astype(np.float32)


def differences(path: Path, x: NDArray[np.float32]) -> dict[str, int]:
    """Number of codes that differ from ONNX Runtime's, for each of its quantized tensors."""
    result = compare(path, x)
    for name, codes in result.codes.items():
        assert len(np.unique(codes)) > 20, f"too few different codes in {name} to show anything"
    views = {layer.output for layer in result.network.layers if isinstance(layer, Reshape)}
    aliases = {"flat", "xc"}  # other names of the input, which a reshape of it has
    assert result.missing <= views | aliases
    return result.wrong


def dense(layer: Operator) -> Dense:
    """A layer that must be a Dense."""
    assert isinstance(layer, Dense)
    return layer


def zero(value: int, dtype: Any) -> int:
    """A zero point given as uint8, in the type asked for."""
    return value - 128 if dtype == np.int8 else value


def weight_codes(w: NDArray[Any], dtype: Any) -> NDArray[Any]:
    return w if dtype == np.int8 else (w.astype(np.int16) + 128).astype(np.uint8)


def w_scale(per_channel: bool, outputs: int, rng: np.random.Generator) -> Any:
    return rng.uniform(0.005, 0.02, outputs) if per_channel else 0.0137


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(
    ("x_dtype", "w_dtype"),
    [(np.uint8, np.int8), (np.uint8, np.uint8), (np.int8, np.int8)],
)
def test_qgemm(tmp_path: Path, x_dtype: Any, w_dtype: Any, per_channel: bool) -> None:
    rng, b = np.random.default_rng(2), Builder()
    xq = b.quant("x", X_SCALE, zero(117, x_dtype), x_dtype)
    mq = b.quant("m", M_SCALE, zero(0, x_dtype), x_dtype)
    yq = b.quant("y", Y_SCALE, zero(131, x_dtype), x_dtype)
    b.node("QuantizeLinear", ["x", *xq], "xc")
    for name, source, sq, dq, outputs, inputs in [
        ("fc1", "xc", xq, mq, 20, 12),
        ("fc2", "fc1", mq, yq, 7, 20),
    ]:
        weights = weight_codes(random_weights(rng, outputs, inputs), w_dtype)
        scale = w_scale(per_channel, outputs, rng)
        qgemm_layer(b, name, source, sq, dq, weights, scale, random_bias(rng, outputs), w_dtype)
    b.node("DequantizeLinear", ["fc2", *yq], "y")
    path = b.save(tmp_path, "y")
    assert differences(path, samples()) == {"xc": 0, "fc1": 0, "fc2": 0}
    network = load_network(path)
    assert network.notes == ()
    assert [layer.name for layer in network.layers] == ["fc1", "fc2"]
    assert dense(network.layers[0]).clip_low == 0
    assert network.layers[0].out_quant.signed == (x_dtype == np.int8)


def test_qlinear_matmul(tmp_path: Path) -> None:
    rng, b = np.random.default_rng(3), Builder()
    xq = b.quant("x", X_SCALE, 100, np.uint8)
    yq = b.quant("y", M_SCALE, 90, np.uint8)
    w = b.constant("w", random_weights(rng, 20, 12).T, np.int8)
    wq = b.quant("w", rng.uniform(0.005, 0.02, 20), np.zeros(20), np.int8)
    b.node("QuantizeLinear", ["x", *xq], "xc")
    b.node("QLinearMatMul", ["xc", *xq, w, *wq, *yq], "yc")
    b.node("DequantizeLinear", ["yc", *yq], "y")
    assert differences(b.save(tmp_path, "y"), samples()) == {"xc": 0, "yc": 0}


def qdq_model(
    form: str, x_dtype: Any, w_dtype: Any, per_channel: bool, relu_zero: int = 0
) -> Builder:
    """Two layers: ``form`` says how the first is written; the second is a plain Gemm."""
    rng, b = np.random.default_rng(4), Builder()
    xq = b.quant("x", X_SCALE, zero(117, x_dtype), x_dtype)
    mq = b.quant("m", M_SCALE, zero(relu_zero, x_dtype), x_dtype)
    yq = b.quant("y", Y_SCALE, zero(131, x_dtype), x_dtype)
    b.node("QuantizeLinear", ["x", *xq], "xc")
    b.node("DequantizeLinear", ["xc", *xq], "xr")
    w1, b1 = weight_codes(random_weights(rng, 20, 12), w_dtype), random_bias(rng, 20)
    s1 = w_scale(per_channel, 20, rng)
    if form.startswith("matmul"):
        wz = np.full(np.shape(s1), 0 if w_dtype == np.int8 else 128)
        w = b.constant("w1", w1.T, w_dtype)
        wr = b.node("DequantizeLinear", [w, *b.quant("w1", s1, wz, w_dtype)], "wr", axis=1)
        out = b.node("MatMul", ["xr", wr], "fc1")
        if form == "matmul_add":
            c = b.constant("b1", b1, np.int32)
            unit = b.constant("b1_scale", X_SCALE * np.asarray(s1, np.float32), np.float32)
            out = b.node("Add", [b.node("DequantizeLinear", [c, unit], "br", axis=0), out], "sum")
    else:
        out = qdq_layer(b, "fc1", "xr", w1, s1, b1, float(X_SCALE), w_dtype)
        if form == "relu":
            out = b.node("Relu", [out], "relu")
        elif form == "clip":
            bounds = [b.constant("low", -1.3, np.float32), b.constant("high", 9.0, np.float32)]
            out = b.node("Clip", [out, *bounds], "clip")
    b.node("QuantizeLinear", [out, *mq], "mc")
    b.node("DequantizeLinear", ["mc", *mq], "mr")
    w2, b2 = weight_codes(random_weights(rng, 7, 20), w_dtype), random_bias(rng, 7)
    out = qdq_layer(b, "fc2", "mr", w2, w_scale(per_channel, 7, rng), b2, float(M_SCALE), w_dtype)
    b.node("QuantizeLinear", [out, *yq], "yc")
    b.node("DequantizeLinear", ["yc", *yq], "y")
    return b


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("w_dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("x_dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("form", ["gemm", "relu", "matmul", "matmul_add"])
def test_qdq(tmp_path: Path, form: str, x_dtype: Any, w_dtype: Any, per_channel: bool) -> None:
    path = qdq_model(form, x_dtype, w_dtype, per_channel).save(tmp_path, "y")
    assert differences(path, samples()) == {"xc": 0, "mc": 0, "yc": 0}
    assert load_network(path).notes == ()


@pytest.mark.parametrize(("form", "low"), [("relu", 100), ("clip", 92)])
def test_activations_that_onnx_runtime_computes_in_float(
    tmp_path: Path, form: str, low: int
) -> None:
    """Within one code in rare cases, and the network says so."""
    path = qdq_model(form, np.uint8, np.int8, False, relu_zero=100).save(tmp_path, "y")
    network = load_network(path)
    assert any("in float" in note for note in network.notes)
    assert dense(network.layers[0]).clip_low == low
    assert dense(network.layers[0]).clip_high == (153 if form == "clip" else 255)
    wrong = differences(path, samples())
    assert wrong["xc"] == 0
    assert wrong["mc"] <= 5
    assert wrong["yc"] <= 5 * 7


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize(
    ("operator", "qoperator"),
    [  # ONNX Runtime has no QLinearTanh and no QLinearRelu
        ("Sigmoid", False),
        ("Sigmoid", True),
        ("LeakyRelu", False),
        ("LeakyRelu", True),
        ("Tanh", False),
        ("Relu", False),
    ],
)
def test_tables(tmp_path: Path, operator: str, dtype: Any, qoperator: bool) -> None:
    rng, b = np.random.default_rng(5), Builder()
    xq = b.quant("x", X_SCALE, zero(117, dtype), dtype)
    mq = b.quant("m", np.float32(0.0473), zero(123, dtype), dtype)
    out_scale = 0.05 if "Relu" in operator else 1 / 127
    yq = b.quant("y", np.float32(out_scale), zero(64, dtype), dtype)
    zq = b.quant("z", np.float32(0.2), zero(99, dtype), dtype)
    b.node("QuantizeLinear", ["x", *xq], "xc")
    attributes = {"alpha": 0.1} if operator == "LeakyRelu" else {}
    w, c = random_weights(rng, 20, 12), random_bias(rng, 20)
    w2, c2 = random_weights(rng, 8, 20), random_bias(rng, 8)
    if qoperator:
        qgemm_layer(b, "mc", "xc", xq, mq, w, 0.0137, c)
        b.node(f"QLinear{operator}", ["mc", *mq, *yq], "yc", **attributes)
        qgemm_layer(b, "zc", "yc", yq, zq, w2, 0.0137, c2)
    else:
        b.node("DequantizeLinear", ["xc", *xq], "xr")
        b.node(
            "QuantizeLinear", [qdq_layer(b, "fc", "xr", w, 0.0137, c, float(X_SCALE)), *mq], "mc"
        )
        b.node("DequantizeLinear", ["mc", *mq], "mr")
        b.node("QuantizeLinear", [b.node(operator, ["mr"], "act", **attributes), *yq], "yc")
        b.node("DequantizeLinear", ["yc", *yq], "yr")
        sums = qdq_layer(b, "fd", "yr", w2, 0.0137, c2, float(np.float32(out_scale)))
        b.node("QuantizeLinear", [sums, *zq], "zc")
    b.node("DequantizeLinear", ["zc", *zq], "z")
    path = b.save(tmp_path, "z")
    assert differences(path, samples()) == {"xc": 0, "mc": 0, "yc": 0, "zc": 0}
    table = dense(load_network(path).layers[0]).table
    assert table is not None
    assert (np.diff(table.astype(int)) >= 0).all()


def one_layer(b: Builder, source: str) -> None:
    """QGemm from the quantized tensor ``source`` to the float tensor 'y'."""
    rng = np.random.default_rng(6)
    xq = ["x_scale", "x_zero"]
    yq = b.quant("y", M_SCALE, 90, np.uint8)
    qgemm_layer(b, "yc", source, xq, yq, random_weights(rng, 20, 12), 0.0137, random_bias(rng, 20))
    b.node("DequantizeLinear", ["yc", *yq], "y")


@pytest.mark.parametrize(
    ("operator", "operands", "attributes", "shape"),
    [
        ("Flatten", [], {}, (3, 4)),
        ("Flatten", [], {"axis": -2}, (3, 4)),
        ("Reshape", [-1, 12], {}, (3, 4)),
        ("Reshape", [0, -1], {}, (1, 3, 4)),
        ("Squeeze", [1], {}, (1, 12)),
        ("Identity", None, {}, (12,)),
    ],
)
@pytest.mark.parametrize("where", ["float", "codes"])
def test_nodes_that_change_only_the_shape(
    tmp_path: Path, operator: str, operands: list[int] | None, attributes: dict[str, int],
    shape: tuple[int, ...], where: str,
) -> None:  # fmt: skip
    if operator == "Flatten" and attributes and len(shape) == 2:
        attributes = {"axis": -len(shape)}
    b = Builder()
    xq = b.quant("x", X_SCALE, 117, np.uint8)
    more = [b.constant("more", operands, np.int64)] if operands else []
    if where == "float":
        b.node(operator, ["x", *more], "flat", **attributes)
        b.node("QuantizeLinear", ["flat", *xq], "xc")
        one_layer(b, "xc")
    else:
        b.node("QuantizeLinear", ["x", *xq], "xc")
        b.node(operator, ["xc", *more], "flat", **attributes)
        one_layer(b, "flat")
    path = b.save(tmp_path, "y", shape=("n", *shape))
    network = load_network(path)
    assert network.input_shape == shape
    x = samples(shape=shape)
    wrong = differences(path, x)
    assert "yc" in wrong
    assert not any(wrong.values())
    assert [type(layer).__name__ for layer in network.layers][-1] == "Dense"


def tail(tmp_path: Path, *nodes: tuple[str, dict[str, Any]]) -> Network:
    b = Builder()
    b.node("QuantizeLinear", ["x", *b.quant("x", X_SCALE, 117, np.uint8)], "xc")
    one_layer(b, "xc")
    last = "y"
    for i, (operator, attributes) in enumerate(nodes):
        last = b.node(operator, [last], f"tail{i}", **attributes)
    return load_network(b.save(tmp_path, last))


def test_what_follows_the_logits_is_cut(tmp_path: Path) -> None:
    plain = tail(tmp_path)
    for nodes in (
        [("Softmax", {"axis": 1})],
        [("ArgMax", {"axis": 1}), ("Cast", {"to": TensorProto.FLOAT})],
        [("Sigmoid", {})],
    ):
        network = tail(tmp_path, *nodes)
        assert (network.output_name, len(network.layers)) == (plain.output_name, 1)
        assert dense(network.layers[0]).table is None


def test_constant_nodes_and_old_style_inputs(tmp_path: Path) -> None:
    """Scales as Constant nodes, and initializers that are listed as inputs too (IR 3)."""
    b = Builder()
    b.node("QuantizeLinear", ["x", *b.quant("x", X_SCALE, 117, np.uint8)], "xc")
    one_layer(b, "xc")
    model = b.model("y")
    scale = next(t for t in model.graph.initializer if t.name == "x_scale")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["x_scale"], value=scale))
    model.graph.initializer.remove(scale)
    for tensor in model.graph.initializer:
        info = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        model.graph.input.append(info)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    assert load_network(path).input_quant.scale == float(X_SCALE)
    assert differences(path, samples()) == {"xc": 0, "yc": 0}


def test_weights_quantized_in_the_graph(tmp_path: Path) -> None:
    """PyTorch's exporter keeps float weights behind QuantizeLinear and DequantizeLinear."""
    rng, b = np.random.default_rng(8), Builder()
    xq = b.quant("x", X_SCALE, 117, np.uint8)
    yq = b.quant("y", M_SCALE, 90, np.uint8)
    b.node("QuantizeLinear", ["x", *xq], "xc")
    b.node("DequantizeLinear", ["xc", *xq], "xr")
    w = b.constant("w", rng.normal(0, 0.7, (20, 12)), np.float32)
    wq = b.quant("w", rng.uniform(0.01, 0.02, 20), np.zeros(20), np.int8)
    b.node("QuantizeLinear", [w, *wq], "wc", axis=0)
    b.node("DequantizeLinear", ["wc", *wq], "wr", axis=0)
    b.node("QuantizeLinear", [b.node("Gemm", ["xr", "wr"], "fc", transB=1), *yq], "yc")
    b.node("DequantizeLinear", ["yc", *yq], "y")
    assert differences(b.save(tmp_path, "y"), samples()) == {"xc": 0, "yc": 0}


def test_a_float_bias_is_rounded_and_noted(tmp_path: Path) -> None:
    rng, b = np.random.default_rng(9), Builder()
    xq = b.quant("x", X_SCALE, 117, np.uint8)
    yq = b.quant("y", M_SCALE, 90, np.uint8)
    b.node("QuantizeLinear", ["x", *xq], "xc")
    b.node("DequantizeLinear", ["xc", *xq], "xr")
    w = b.constant("w", random_weights(rng, 20, 12), np.int8)
    b.node("DequantizeLinear", [w, *b.quant("w", 0.0137, 0, np.int8)], "wr")
    c = b.constant("c", rng.normal(0, 3, 20), np.float32)
    b.node("QuantizeLinear", [b.node("Gemm", ["xr", "wr", c], "fc", transB=1), *yq], "yc")
    b.node("DequantizeLinear", ["yc", *yq], "y")
    path = b.save(tmp_path, "y")
    assert load_network(path).notes == (
        "The bias of the Gemm node 'fc' is float and is rounded to int32",
    )
    wrong = differences(path, samples())
    assert wrong["yc"] <= 5000 * 20 // 500
