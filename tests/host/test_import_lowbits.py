# SPDX-License-Identifier: Apache-2.0
"""Models of 1 to 6 bits: QONNX, Brevitas QCDQ, and int4 in ONNX itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from qonnx_executor import execute

from ohmtwin.arch.errors import ModelError
from ohmtwin.behavioral.golden import output_codes, run_network
from ohmtwin.host.graph import Conv, Dense, Network
from ohmtwin.host.importer.network import load_network

# Scales are powers of two and biases multiples of their product, so that float64 is exact and every
# tie is a tie in both.
X_SCALE, W_SCALE, Y_SCALE = 2.0**-4, 2.0**-3, 2.0**-2


class Graph:
    """Collects nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        domain = "qonnx.custom_op.general" if kind in ("Quant", "BipolarQuant") else ""
        self.nodes.append(
            helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes)
        )
        return output

    def quant(
        self, source: str, output: str, scale: Any, bits: int, zero: Any = 0.0, **attributes: Any
    ) -> str:
        """A Quant node of QONNX."""
        names = [
            self.constant(f"{output}_{role}", value)
            for role, value in (("scale", scale), ("zero", zero), ("bits", bits))
        ]
        return self.node("Quant", [source, *names], output, **attributes)

    def bipolar(self, source: str, output: str, scale: float) -> str:
        return self.node("BipolarQuant", [source, self.constant(f"{output}_scale", scale)], output)

    def model(self, output: str, shape: tuple[int, ...]) -> ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "few bits",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@dataclass
class Compared:
    """What one model gave."""

    network: Network
    expected: NDArray[np.float64]
    actual: NDArray[np.float64]


def compare(folder: Path, model: ModelProto, output: str, x: NDArray[np.float32]) -> Compared:
    """Reals of the model's output by the specification, and by the network's golden level."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    network = load_network(path)
    golden = run_network(network, network.inputs[0].quantize(x))
    name = network.outputs[0]
    codes = output_codes(network, golden, name)
    quant = network.quant(name)
    actual = (codes.astype(np.int64) - quant.internal_zero_point) * np.float64(quant.scale)
    expected = execute(model, x)[output]
    return Compared(network, expected, actual.reshape(expected.shape))


def samples(count: int, *shape: int) -> NDArray[np.float32]:
    """Whole steps of a quarter of the input's scale: ties and values out of range among them."""
    rng = np.random.default_rng(1)
    steps = rng.integers(-60, 60, (count, *shape))
    return (steps * X_SCALE / 4 * 8).astype(np.float32)


def dense(network: Network, index: int = 0) -> Dense:
    layer = [la for la in network.layers if isinstance(la, Dense)][index]
    return layer


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 8])
def test_qonnx_matmul(tmp_path: Path, bits: int, signed: bool) -> None:
    """Weights and activations of few bits, a Relu between two layers."""
    rng, g = np.random.default_rng(bits), Graph()
    g.quant("x", "xq", X_SCALE * 4, bits + 1 if bits < 8 else 8)
    w1 = g.constant("w1", rng.normal(0, W_SCALE * 2 ** (bits - 1), (12, 20)))
    g.quant(w1, "w1q", W_SCALE, bits, signed=1, narrow=int(bits > 1))
    g.node("MatMul", ["xq", "w1q"], "sum1")
    x = samples(500, 12)
    spread = execute(g.model("sum1", (12,)), x)["sum1"].std()
    relu = not signed or bits > 2
    g.quant(
        g.node("Relu", ["sum1"], "relu") if relu else "sum1",
        "mid",
        2.0 ** np.round(np.log2(spread * 2 / 2**bits)),
        bits,
        signed=int(signed),
    )
    w2 = g.constant("w2", rng.normal(0, W_SCALE * 2 ** (bits - 1), (20, 7)))
    g.quant(w2, "w2q", W_SCALE, bits, signed=1)
    g.node("MatMul", ["mid", "w2q"], "sum2")
    spread = execute(g.model("sum2", (12,)), x)["sum2"].std()
    g.quant("sum2", "y", 2.0 ** np.round(np.log2(spread / 20)), 8)
    result = compare(tmp_path, g.model("y", (12,)), "y", x)
    np.testing.assert_array_equal(result.actual, result.expected)
    first = dense(result.network)
    low = -(2 ** (bits - 1)) + (bits > 1)
    assert first.weights.min() >= low
    assert first.weights.max() <= max(2 ** (bits - 1) - 1, 0)
    offset = 128 if signed else 0
    # Relu, and no code of more bits.
    assert first.clip_low == (offset if relu else offset - 2 ** (bits - 1))
    assert first.clip_high == offset + 2 ** (bits - signed) - 1
    assert len(np.unique(result.actual)) > 3


@pytest.mark.parametrize("mode", ["ROUND", "FLOOR", "CEIL", "ROUND_TO_ZERO"])
def test_rounding_modes_of_weights(tmp_path: Path, mode: str) -> None:
    rng, g = np.random.default_rng(5), Graph()
    g.quant("x", "xq", X_SCALE * 4, 8)
    w = g.constant("w", rng.integers(-40, 40, (12, 9)) * W_SCALE / 4)  # ties among them
    g.quant(w, "wq", W_SCALE, 4, rounding_mode=mode)
    g.quant(g.node("MatMul", ["xq", "wq"], "sum"), "y", Y_SCALE * 8, 8)
    result = compare(tmp_path, g.model("y", (12,)), "y", samples(100, 12))
    np.testing.assert_array_equal(result.actual, result.expected)


def test_qonnx_convolution_with_batch_normalization(tmp_path: Path) -> None:
    """Scale for each channel, BatchNormalization folded: negative gains flip the weights."""
    rng, g = np.random.default_rng(6), Graph()
    g.quant("x", "xq", X_SCALE * 4, 6)
    w = g.constant("w", rng.normal(0, 0.4, (5, 3, 3, 3)))
    scales = 2.0 ** rng.integers(-4, -1, 5)
    g.quant(w, "wq", scales.reshape(5, 1, 1, 1), 4, narrow=1)
    g.node("Conv", ["xq", "wq"], "sum", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 1])
    gamma = rng.choice([-1.0, 0.5, 2.0], 5)
    parts = [("gamma", gamma), ("beta", rng.integers(-8, 8, 5) * 0.25),
             ("mean", rng.integers(-8, 8, 5) * 0.25), ("variance", np.full(5, 0.75))]  # fmt: skip
    names = [g.constant(name, value) for name, value in parts]
    g.node("BatchNormalization", ["sum", *names], "normal", epsilon=0.25)
    g.quant(g.node("Relu", ["normal"], "relu"), "y", 0.5, 4, signed=0)
    result = compare(tmp_path, g.model("y", (3, 6, 7)), "y", samples(60, 3, 6, 7))
    np.testing.assert_array_equal(result.actual, result.expected)
    (conv,) = [la for la in result.network.layers if isinstance(la, Conv)]
    stored = execute(g.model("y", (3, 6, 7)), samples(1, 3, 6, 7))["wq"] / scales.reshape(
        -1, 1, 1, 1
    )
    sign = np.where(gamma < 0, -1, 1).reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(conv.weights, (stored * sign).astype(np.int8))
    assert any("BatchNormalization node 'normal'" in note for note in result.network.notes)


def test_bias_and_scale_behind_a_product_keep_their_order(tmp_path: Path) -> None:
    rng, g = np.random.default_rng(8), Graph()
    g.quant("x", "xq", X_SCALE * 4, 8)
    g.quant(g.constant("w", rng.normal(0, 0.5, (12, 7))), "wq", W_SCALE, 4)
    g.node("Add", [g.node("MatMul", ["xq", "wq"], "sum"), g.constant("b", [3.0] * 7)], "biased")
    g.node("Mul", ["biased", g.constant("k", 2.0 ** rng.integers(-2, 2, 7))], "scaled")
    g.node("Sub", ["scaled", g.constant("d", [1.5])], "moved")
    g.quant(g.node("Div", ["moved", g.constant("e", 4.0)], "divided"), "y", 0.125, 6)
    result = compare(tmp_path, g.model("y", (12,)), "y", samples(300, 12))
    np.testing.assert_array_equal(result.actual, result.expected)
    assert len(np.unique(result.actual)) > 30


def test_bipolar_network(tmp_path: Path) -> None:
    """Weights and activations of -1 and 1: signs of sums are exact."""
    rng, g = np.random.default_rng(7), Graph()
    g.quant("x", "xq", X_SCALE * 4, 8)
    g.bipolar(g.constant("w1", rng.normal(0, 1, (12, 33))), "w1q", 0.5)
    g.node("MatMul", ["xq", "w1q"], "sum1")
    g.node("Add", ["sum1", g.constant("b1", rng.integers(-9, 9, 33) * 0.3)], "biased")
    g.bipolar("biased", "mid", 0.25)
    g.bipolar(g.constant("w2", rng.normal(0, 1, (33, 6))), "w2q", 1.0)
    g.quant(g.node("MatMul", ["mid", "w2q"], "sum2"), "y", 0.25, 8)
    model = g.model("y", (12,))
    result = compare(tmp_path, model, "y", samples(500, 12))
    np.testing.assert_array_equal(result.actual, result.expected)
    assert set(np.unique(dense(result.network).weights)) == {-1, 1}
    signs = execute(model, samples(500, 12))["mid"]
    assert 0.1 < (signs > 0).mean() < 0.9


def test_the_sign_of_zero_is_positive(tmp_path: Path) -> None:
    g = Graph()
    g.quant("x", "xq", 1.0, 8)
    g.bipolar(g.constant("w", [[1.0], [-1.0]]), "wq", 1.0)
    g.bipolar(g.node("MatMul", ["xq", "wq"], "sum"), "mid", 1.0)
    g.bipolar(g.constant("v", [[1.0]]), "vq", 1.0)
    g.quant(g.node("MatMul", ["mid", "vq"], "last"), "y", 1.0, 4)
    x = np.array([[3, 3], [3, 4], [4, 3], [0, 0]], np.float32)
    result = compare(tmp_path, g.model("y", (2,)), "y", x)
    np.testing.assert_array_equal(result.actual.ravel(), [1, -1, 1, 1])
    np.testing.assert_array_equal(result.actual, result.expected)


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_brevitas_qcdq(tmp_path: Path, bits: int) -> None:
    """QuantizeLinear, Clip, DequantizeLinear; weights float or as codes."""
    rng, g = np.random.default_rng(10 + bits), Graph()
    low, high = -(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1

    def qcdq(source: str, name: str, scale: Any, bounds: tuple[int, int], axis: int) -> str:
        dtype = np.int8 if bounds[0] < 0 else np.uint8
        quant = [g.constant(f"{name}_s", scale), g.constant(f"{name}_z", 0 * scale, dtype)]
        codes = g.node("QuantizeLinear", [source, *quant], f"{name}_q", axis=axis)
        limits = [g.constant(f"{name}_{k}", b, dtype) for k, b in zip("lh", bounds, strict=True)]
        clipped = g.node("Clip", [codes, *limits], f"{name}_c")
        return g.node("DequantizeLinear", [clipped, *quant], name, axis=axis)

    one = np.float32(1)
    qcdq("x", "xr", one * X_SCALE * 4, (low, high), 1)
    w1 = g.constant("w1", rng.normal(0, W_SCALE * high, (20, 12)))
    qcdq(w1, "w1r", one * W_SCALE, (low, high), 0)
    g.node("Relu", [g.node("Gemm", ["xr", "w1r"], "sum1", transB=1)], "relu")
    qcdq("relu", "mid", one * Y_SCALE * 2, (0, 2**bits - 1), 1)
    w2 = g.constant("w2", rng.integers(low, high + 1, (6, 20)), np.int8)
    quant = [g.constant("w2_s", W_SCALE), g.constant("w2_z", 0, np.int8)]
    g.node("DequantizeLinear", [w2, *quant], "w2r")
    g.node("Gemm", ["mid", g.node("Transpose", ["w2r"], "w2t", perm=[1, 0])], "sum2")
    qcdq("sum2", "y", one * Y_SCALE * 4, (-128, 127), 1)
    result = compare(tmp_path, g.model("y", (12,)), "y", samples(500, 12))
    np.testing.assert_array_equal(result.actual, result.expected)
    first, second = dense(result.network), dense(result.network, 1)
    assert (first.weights.min(), first.weights.max()) == (low, high)
    assert second.weights.shape == (6, 20)
    assert first.table is not None
    assert first.table.max() == 2**bits - 1


@pytest.mark.parametrize("signed", [True, False])
def test_int4_initializers_and_activations(tmp_path: Path, signed: bool) -> None:
    """Opset 21: int4 weights, and activations that QuantizeLinear makes int4 or uint4."""
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    rng, g = np.random.default_rng(20), Graph()
    kind = TensorProto.INT4 if signed else TensorProto.UINT4
    zero = 1 if signed else 3
    g.constants.append(helper.make_tensor("z", kind, [], [zero]))
    quant = [g.constant("s", X_SCALE * 8), "z"]
    g.node("QuantizeLinear", ["x", *quant], "xc")
    g.node("DequantizeLinear", ["xc", *quant], "xr")
    weights = rng.integers(-8, 8, (12, 7))
    g.constants.append(helper.make_tensor("w", TensorProto.INT4, [12, 7], weights.ravel()))
    g.constants.append(helper.make_tensor("wz", TensorProto.INT4, [], [0]))
    g.node("DequantizeLinear", ["w", g.constant("ws", W_SCALE), "wz"], "wr")
    y_quant = [g.constant("ys", Y_SCALE * 2), g.constant("yz", 120, np.uint8)]
    g.node("QuantizeLinear", [g.node("MatMul", ["xr", "wr"], "sum"), *y_quant], "yc")
    g.node("DequantizeLinear", ["yc", *y_quant], "y")
    model = g.model("y", (12,))
    model.opset_import[0].version = 21
    model.ir_version = 10
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    network = load_network(path)
    np.testing.assert_array_equal(dense(network).weights, weights.T)
    x = samples(200, 12)
    golden = run_network(network, network.inputs[0].quantize(x))
    codes = output_codes(network, golden, network.outputs[0])
    del model.opset_import[1:]
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, {"x": x})[0]
    np.testing.assert_array_equal(network.output_quant.dequantize(codes), expected)


def qonnx_model(edit: str = "") -> ModelProto:
    """A small QONNX model, with something wrong if ``edit`` says so."""
    g = Graph()
    rounding = {"rounding_mode": edit} if edit.isupper() else {}
    x_scale: Any = np.full((1, 12), X_SCALE) if edit == "scales" else X_SCALE
    g.quant("x", "xq", x_scale, 4, **rounding)
    w = g.constant("w", np.ones((12, 3)))
    w_scale: Any = np.full((12, 3), W_SCALE) if edit == "blocks" else W_SCALE
    if edit == "inputs":
        w_scale = np.linspace(0.1, 0.2, 12).reshape(12, 1)
    bits = {"bits": 9, "half": 2.5}.get(edit, 4)
    g.quant(w, "wq", w_scale, bits, zero=0.5 if edit == "zero" else 0.0)
    g.quant(g.node("MatMul", ["xq", "wq"], "sum"), "y", Y_SCALE, 8)
    return g.model("y", (12,))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ("bits", r"bit width of the Quant node 'wq' must be one whole number from 1 to 8, not \[9"),
        ("half", r"bit width of the Quant node 'wq' must be one whole number from 1 to 8, not \[2"),
        ("zero", "zero point of the Quant node 'wq' must hold whole numbers of at most 255"),
        ("FLOOR", "'rounding_mode' of the Quant node 'xq' is 'FLOOR', but activations are rounded"),
        ("scales", "Quant node 'xq' has 12 scales and 1 zero points for an activation"),
        ("blocks", r"scale of the Quant node 'wq' has the shape \[12, 3\]; quantize the weights"),
        ("inputs", "weights of the MatMul node 'sum' are quantized along their inputs"),
    ],
)
def test_refused(tmp_path: Path, edit: str, message: str) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(qonnx_model(edit), path)
    with pytest.raises(ModelError, match=message):
        load_network(path)
