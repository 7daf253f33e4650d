# SPDX-License-Identifier: Apache-2.0
"""All 256 entries of activation tables against ONNX Runtime, for many scales."""

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx_models import Builder

from ohmtwin.host.graph import Quantization
from ohmtwin.host.importer.tables import activation_table, leaky_relu, relu, sigmoid, tanh

FUNCTIONS = {"Sigmoid": sigmoid, "Tanh": tanh, "Relu": relu, "LeakyRelu": leaky_relu(0.1)}


def run(model: onnx.ModelProto, x: NDArray[Any]) -> NDArray[Any]:
    """The only output of a model, computed by ONNX Runtime."""
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    result: NDArray[Any] = session.run(None, {"x": x})[0]
    return result


def table_model(
    operator: str, before: Quantization, after: Quantization, qoperator: bool
) -> onnx.ModelProto:
    b = Builder()
    dtype = np.int8 if before.signed else np.uint8
    xq = b.quant("x", before.scale, before.zero_point, dtype)
    yq = b.quant("y", after.scale, after.zero_point, dtype)
    attributes = {"alpha": 0.1} if operator == "LeakyRelu" else {}
    if qoperator:
        b.node(f"QLinear{operator}", ["x", *xq, *yq], "y", **attributes)
    else:
        b.node("DequantizeLinear", ["x", *xq], "xr")
        b.node("QuantizeLinear", [b.node(operator, ["xr"], "yr", **attributes), *yq], "y")
    kind = TensorProto.INT8 if before.signed else TensorProto.UINT8
    return b.model("y", shape=["n"], output_type=kind, input_type=kind)


def random_pair(rng: np.random.Generator, operator: str) -> tuple[Quantization, Quantization]:
    signed = bool(rng.integers(2))
    low = -128 if signed else 0
    zeros = [int(z) for z in rng.integers(low, low + 256, 2)]
    x_scale = np.float32(10 ** rng.uniform(-3, -0.5))
    if "Relu" in operator:
        y_scale = np.float32(x_scale * rng.uniform(0.3, 2))
    else:  # the scales that quantizers choose make exact ties likely, 0.5 * 255 for one
        y_scale = np.float32(
            rng.choice([1 / 255, 1 / 256, 2 / 255, 1 / 128, rng.uniform(2e-3, 1e-2)])
        )
    return (
        Quantization(float(x_scale), zeros[0], signed),
        Quantization(float(y_scale), zeros[1], signed),
    )


@pytest.mark.parametrize(
    ("operator", "qoperator"),
    [
        ("Sigmoid", False),
        ("Sigmoid", True),
        ("Tanh", False),
        ("Relu", False),
        ("LeakyRelu", False),
        ("LeakyRelu", True),
    ],
)
def test_tables_equal_onnx_runtime(operator: str, qoperator: bool) -> None:
    rng = np.random.default_rng([*operator.encode(), qoperator])
    codes = np.arange(256, dtype=np.uint8)
    for _ in range(150):
        before, after = random_pair(rng, operator)
        expected = run(table_model(operator, before, after, qoperator), before.to_onnx_codes(codes))
        actual = after.to_onnx_codes(activation_table(FUNCTIONS[operator], before, after))
        np.testing.assert_array_equal(actual, expected, err_msg=f"{before} {after}")


@pytest.mark.parametrize(
    ("operator", "before", "after"),
    [  # a correctly rounded function gives another code here
        ("Sigmoid", (0.030363550409674644, 77, True), (0.003921568859368563, -62, True)),
        ("Sigmoid", (0.009786793030798435, 0, True), (0.00390625, -127, True)),
        ("Tanh", (0.12310458719730377, 46, False), (0.007843137718737125, 70, False)),
        ("Tanh", (0.09086662530899048, 122, False), (0.007843137718737125, 76, False)),
    ],
)
def test_entries_on_the_edge_between_two_codes(
    operator: str, before: tuple[float, int, bool], after: tuple[float, int, bool]
) -> None:
    def rounded(x: NDArray[np.float32]) -> NDArray[np.float32]:
        wide = x.astype(np.float64)
        exact = np.tanh(wide) if operator == "Tanh" else 1 / (1 + np.exp(-wide))
        return exact.astype(np.float32)

    first, second = Quantization(*before), Quantization(*after)
    codes = first.to_onnx_codes(np.arange(256, dtype=np.uint8))
    expected = run(table_model(operator, first, second, False), codes)
    table = activation_table(FUNCTIONS[operator], first, second)
    np.testing.assert_array_equal(second.to_onnx_codes(table), expected)
    assert (second.to_onnx_codes(activation_table(rounded, first, second)) != expected).any()


@pytest.mark.parametrize("operator", ["Sigmoid", "Tanh"])
def test_float_functions_equal_onnx_runtime(operator: str) -> None:
    x = np.random.default_rng(3).uniform(-20, 20, 100_000).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"])],
        "float",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    # A fused multiply-add is emulated in float64, which rounds twice once in 2**29 cases.
    assert (FUNCTIONS[operator](x) != run(model, x)).sum() <= 1
