# SPDX-License-Identifier: Apache-2.0
"""Sums, products, means and tables against ONNX Runtime's own kernels, over all their codes."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ohmtwin.arch.formats import RequantScale
from ohmtwin.behavioral.golden import run_layer, run_network
from ohmtwin.host.graph import Combine, Multiply, Quantization, check_accumulators
from ohmtwin.host.importer.combine import add_codes, fit_sum, requantize
from ohmtwin.host.importer.elementwise import scalar_side
from ohmtwin.host.importer.multiply import Product, fit_product, multiply_codes
from ohmtwin.host.importer.network import load_network
from ohmtwin.host.importer.values import Grid

ALL = np.arange(256)
Codes = NDArray[Any]


def session(model: onnx.ModelProto, signed: bool) -> Any:
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    key = "session.qdqisint8allowed" if signed else "session.x64quantprecision"
    options.add_session_config_entry(key, "1")
    return runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def kernel(operator: str, quants: dict[str, Quantization], **attributes: Any) -> Any:
    """A session of one QLinear operator; ``quants`` of its operands, then of its result."""
    signed = next(iter(quants.values())).signed
    dtype, kind = (np.int8, TensorProto.INT8) if signed else (np.uint8, TensorProto.UINT8)
    constants, names, given = [], [], []
    for name, quant in quants.items():
        constants.append(numpy_helper.from_array(np.array(quant.scale, np.float32), f"{name}_s"))
        constants.append(numpy_helper.from_array(np.array(quant.zero_point, dtype), f"{name}_z"))
        if name != "y":
            given.append(helper.make_tensor_value_info(name, kind, None))
            names.append(name)
        names += [f"{name}_s", f"{name}_z"]
    node = helper.make_node(operator, names, ["y"], domain="com.microsoft", **attributes)
    result = helper.make_tensor_value_info("y", kind, None)
    graph = helper.make_graph([node], "kernel", given, [result], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return session(helper.make_model(graph, opset_imports=opsets, ir_version=8), signed)


def stored(codes: Codes, quant: Quantization) -> Codes:
    """Internal codes in the type of the ONNX tensor."""
    return quant.to_onnx_codes(codes.astype(np.uint8))


def internal(codes: Codes, quant: Quantization) -> Codes:
    return quant.from_onnx_codes(codes)


def random_quants(rng: np.random.Generator, names: str, equal: bool) -> dict[str, Quantization]:
    signed = bool(rng.integers(2))
    low = -128 if signed else 0
    scales = 10 ** rng.uniform(-2.5, -0.5, len(names))
    if equal:
        scales[:] = scales[0]
    return {
        name: Quantization(float(np.float32(scale)), int(rng.integers(low, low + 256)), signed)
        for name, scale in zip(names, scales, strict=True)
    }


def sum_of(quants: dict[str, Quantization], target: Codes) -> Any:
    """The integers chosen for a sum."""
    a, b, y = (quants[name] for name in "aby")
    ratios = (a.scale / y.scale, b.scale / y.scale)
    fixed = (
        y.internal_zero_point
        - ratios[0] * a.internal_zero_point
        - ratios[1] * b.internal_zero_point
    )
    return fit_sum(target, ALL[:, None], ALL[None, :], ratios, fixed, Grid(y))


@pytest.mark.parametrize("equal", [False, True])
def test_sums_of_all_pairs(equal: bool) -> None:
    """65,536 pairs for each choice of scales: the formula of MLAS, and our integers."""
    rng = np.random.default_rng([1, equal])
    rows, cols = np.meshgrid(ALL, ALL, indexing="ij")
    for _ in range(40):
        quants = random_quants(rng, "aby", equal)
        a, b, y = (quants[name] for name in "aby")
        run = kernel("QLinearAdd", quants)
        expected = internal(run.run(None, {"a": stored(rows, a), "b": stored(cols, b)})[0], y)
        formula = add_codes(ALL[:, None], a, ALL[None, :], b, Grid(y))
        np.testing.assert_array_equal(formula, expected, err_msg=f"{quants}")
        found = sum_of(quants, expected)
        acc = found.factors[0] * rows + found.factors[1] * cols + found.offset
        np.testing.assert_array_equal(requantize(acc, found.shift, Grid(y)), expected)
        assert found.wrong == 0
        assert max(abs(f) for f in found.factors) < 1 << 23
        bound = 255 * (abs(found.factors[0]) + abs(found.factors[1])) + abs(found.offset)
        assert np.abs(acc).max() < 1 << 31
        assert bound < 1 << 31


@pytest.mark.parametrize("which", ["a", "b"])
def test_sums_with_one_value_for_a_row(which: str) -> None:
    """MLAS swaps the operands if the first one is broadcast, and rounds in between."""
    rng = np.random.default_rng([2, *which.encode()])
    other_path = 0
    for _ in range(60):
        quants = random_quants(rng, "aby", False)
        a, b, y = (quants[name] for name in "aby")
        run = kernel("QLinearAdd", quants)
        single = rng.permutation(256)
        long = np.broadcast_to(ALL, (256, 256))
        operands = {"a": single[:, None], "b": long} if which == "a" else {
            "a": long, "b": single[:, None]
        }  # fmt: skip
        stored_operands = {n: stored(operands[n], quants[n]) for n in "ab"}
        expected = internal(run.run(None, stored_operands)[0], y)
        row_of_b = which == "a"
        formula = add_codes(operands["a"], a, operands["b"], b, Grid(y), row_of_b)
        np.testing.assert_array_equal(formula, expected)
        other = add_codes(operands["a"], a, operands["b"], b, Grid(y), not row_of_b)
        other_path += (other != expected).sum()
    assert other_path > 0


@pytest.mark.parametrize(
    ("shape", "other", "scalar"),
    [
        ((4, 1, 1), (4, 6, 6), True),
        ((4, 6, 6), (4, 1, 1), False),
        ((1, 6, 6), (4, 6, 6), False),
        ((4, 1, 1), (4, 6, 1), True),
        ((6,), (4, 6), False),
        ((1,), (5,), True),
        ((4, 6), (4, 6), False),
    ],
)
def test_where_onnx_runtime_meets_one_value_for_a_row(
    shape: tuple[int, ...], other: tuple[int, ...], scalar: bool
) -> None:
    assert scalar_side(shape, other) == scalar


def test_integers_are_searched_where_rounding_is_not_enough() -> None:
    """The nearest integers alone miss some pairs; those next to them give all."""
    rng = np.random.default_rng(3)
    searched = 0
    for _ in range(60):
        quants = random_quants(rng, "aby", False)
        a, b, y = (quants[name] for name in "aby")
        target = add_codes(ALL[:, None], a, ALL[None, :], b, Grid(y))
        found = sum_of(quants, target)
        assert found.wrong == 0
        unit = 2.0**found.shift
        nearest = (round(a.scale / y.scale * unit), round(b.scale / y.scale * unit))
        searched += found.factors != nearest
    assert searched > 3


def test_products_of_all_pairs() -> None:
    rng = np.random.default_rng(4)
    rows, cols = np.meshgrid(ALL, ALL, indexing="ij")
    for number in range(30):
        quants = random_quants(rng, "aby", False)
        if number % 3 == 0:  # products end in exact ties, which the zero point decides
            scale = np.float32(quants["a"].scale * quants["b"].scale * 16)
            quants["y"] = replace(quants["y"], scale=float(scale))
        a, b, y = (quants[name] for name in "aby")
        run = kernel("QLinearMul", quants)
        expected = internal(run.run(None, {"a": stored(rows, a), "b": stored(cols, b)})[0], y)
        formula = multiply_codes(ALL[:, None], a, ALL[None, :], b, Grid(y))
        np.testing.assert_array_equal(formula, expected)


def product_of(quants: dict[str, Quantization], target: Codes) -> Product:
    """The integers chosen for a product."""
    a, b, y = (quants[name] for name in "aby")
    zeros = (a.internal_zero_point, b.internal_zero_point)
    factor = np.float32(a.scale) * np.float32(b.scale) / np.float32(y.scale)
    return fit_product(target, ALL[:, None], ALL[None, :], zeros, factor, Grid(y))


def multiplied(quants: dict[str, Quantization], found: Product, rows: Codes, cols: Codes) -> Codes:
    """Golden's codes of a layer with these integers; the layer proves what its sums need."""
    a, b, y = (quants[name] for name in "aby")
    scale = RequantScale.from_float(float(found.factor))
    layer = Multiply(
        name="m",
        sources=("a", "b"),
        output="y",
        zero_points=(a.internal_zero_point, b.internal_zero_point),
        gains=found.gains,
        offset=found.offset,
        mantissa=scale.mantissa,
        shift=scale.shift,
        zero_point=found.zero_point,
        clip_low=0,
        clip_high=255,
        out_quant=y,
    )
    check_accumulators(layer)
    return run_layer(layer, [rows.astype(np.uint8), cols.astype(np.uint8)])[""]


def scales_of(kind: str, rng: np.random.Generator) -> dict[str, Quantization]:
    """Random scales, whose products meet few ties, or such that meet many."""
    quants = random_quants(rng, "aby", False)
    if kind == "powers of two":
        # Of eight significant bits, so that products of scales are exact.
        first, second = (float(rng.integers(128, 256)) / 2**13 for _ in "ab")
        scales = [first, second, first * second * 2.0 ** int(rng.integers(-1, 14))]
    elif kind == "decimals":
        scales = (rng.integers(1, 100, 3) / 1000).tolist()
    else:
        return quants
    return {
        name: replace(quant, scale=float(np.float32(scale)))
        for (name, quant), scale in zip(quants.items(), scales, strict=True)
    }


@pytest.mark.parametrize(
    ("kind", "count", "least", "most"),
    [("random", 300, 1, 0), ("powers of two", 60, 10, 0), ("decimals", 60, 5, 100)],
)
def test_integers_multiply_all_pairs(kind: str, count: int, least: int, most: int) -> None:
    """65,536 pairs for each choice of scales: ONNX Runtime's kernel, and golden with our integers.

    At least ``least`` of the layers need gains or an offset, and at most ``most`` pairs of all
    layers differ, each of them counted.
    """
    rng = np.random.default_rng([12, *kind.encode()])
    rows, cols = np.meshgrid(ALL, ALL, indexing="ij")
    helped = wrong = 0
    for _ in range(count):
        quants = scales_of(kind, rng)
        a, b, y = (quants[name] for name in "aby")
        run = kernel("QLinearMul", quants)
        expected = internal(run.run(None, {"a": stored(rows, a), "b": stored(cols, b)})[0], y)
        found = product_of(quants, expected)
        codes = multiplied(quants, found, rows, cols)
        assert (codes != expected).sum() == found.wrong, f"{quants}"
        assert found.pairs == codes.size
        helped += found.gains != (1, 1) or found.offset != 0
        wrong += found.wrong
    assert helped >= least
    assert wrong <= most


def test_products_without_need_have_no_gains() -> None:
    """Where a factor alone gives all pairs, the nearest first, there is nothing else."""
    rng = np.random.default_rng(14)
    rows, cols = np.meshgrid(ALL, ALL, indexing="ij")
    nearest = moved = 0
    for _ in range(250):
        quants = random_quants(rng, "aby", False)
        a, b, y = (quants[name] for name in "aby")
        factor = np.float32(a.scale) * np.float32(b.scale) / np.float32(y.scale)
        target = multiply_codes(ALL[:, None], a, ALL[None, :], b, Grid(y))
        plain = Product((1, 1), 0, factor, y.internal_zero_point, 0, 65536)
        found = product_of(quants, target)
        if np.array_equal(multiplied(quants, plain, rows, cols), target):
            assert found == plain
            nearest += 1
        elif found.offset == 0:
            assert found == replace(plain, factor=found.factor)
            moved += 1
    assert nearest >= 230
    assert moved >= 1


def imported(folder: Any, nodes: list[NodeProto], constants: dict[str, Any], width: int) -> Any:
    """A QDQ model of ``nodes`` from 'xr' to 'yr', and its network."""
    initializers = [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()]
    around = [
        helper.make_node("QuantizeLinear", ["x", "x_s", "x_z"], ["xc"]),
        helper.make_node("DequantizeLinear", ["xc", "x_s", "x_z"], ["xr"]),
        *nodes,
        helper.make_node("QuantizeLinear", ["yr", "y_s", "y_z"], ["yc"]),
        helper.make_node("DequantizeLinear", ["yc", "y_s", "y_z"], ["y"]),
    ]
    graph = helper.make_graph(
        around,
        "table",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializers,
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    path = folder / "model.onnx"
    onnx.save(model, path)
    return model, load_network(path)


def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    domain = "com.microsoft" if kind == "FastGelu" else ""
    return helper.make_node(kind, inputs, [output], domain=domain, **attributes)


EXPRESSIONS: dict[str, tuple[list[NodeProto], dict[str, float]]] = {
    "Sigmoid": ([node("Sigmoid", ["xr"], "yr")], {}),
    "Tanh": ([node("Tanh", ["xr"], "yr")], {}),
    "HardSigmoid": ([node("HardSigmoid", ["xr"], "yr", alpha=1 / 6)], {}),
    "HardSwish": ([node("HardSwish", ["xr"], "yr")], {}),
    "Elu": ([node("Elu", ["xr"], "yr", alpha=0.7)], {}),
    "Erf": ([node("Erf", ["xr"], "yr")], {}),
    "Exp": ([node("Exp", ["xr"], "yr")], {}),
    "Softplus": ([node("Softplus", ["xr"], "yr")], {}),
    "Softsign": ([node("Softsign", ["xr"], "yr")], {}),
    "Gelu": ([node("Gelu", ["xr"], "yr")], {}),
    "Gelu by tanh": ([node("Gelu", ["xr"], "yr", approximate="tanh")], {}),
    "FastGelu": ([node("FastGelu", ["xr"], "yr")], {}),
    "Abs": ([node("Abs", ["xr"], "yr")], {}),
    "Neg": ([node("Neg", ["xr"], "yr")], {}),
    "Clip": ([node("Clip", ["xr", "low", "high"], "yr")], {"low": -0.3, "high": 1.1}),
    "GELU by Erf": (
        [
            node("Div", ["xr", "root"], "d"),
            node("Erf", ["d"], "e"),
            node("Add", ["e", "one"], "f"),
            node("Mul", ["xr", "f"], "g"),
            node("Mul", ["g", "half"], "yr"),
        ],
        {"root": 2**0.5, "one": 1.0, "half": 0.5},
    ),
    "SiLU": ([node("Sigmoid", ["xr"], "s"), node("Mul", ["xr", "s"], "yr")], {}),
    "HardSwish in parts": (
        [
            node("Add", ["xr", "three"], "a"),
            node("Clip", ["a", "zero", "six"], "b"),
            node("Mul", ["xr", "b"], "m"),
            node("Div", ["m", "six"], "yr"),
        ],
        {"three": 3.0, "zero": 0.0, "six": 6.0},
    ),
}


@pytest.mark.parametrize("name", sorted(EXPRESSIONS))
def test_expressions_are_tables(tmp_path: Any, name: str) -> None:
    """All 256 entries, for many scales, of whatever stands between two quantized tensors."""
    nodes, constants = EXPRESSIONS[name]
    rng = np.random.default_rng([*name.encode()])
    for _ in range(25):
        signed = bool(rng.integers(2))
        dtype, low = (np.int8, -128) if signed else (np.uint8, 0)
        x_scale = np.float32(10 ** rng.uniform(-2.5, -1.2))
        values: dict[str, Any] = {key: np.float32(v) for key, v in constants.items()}
        values |= {
            "x_s": x_scale,
            "x_z": np.array(rng.integers(low, low + 256), dtype),
            "y_s": np.float32(10 ** rng.uniform(-2.7, -1.5)),
            "y_z": np.array(rng.integers(low, low + 256), dtype),
        }
        model, network = imported(tmp_path, nodes, values, 256)
        x = (np.arange(low, low + 256) - int(values["x_z"])).astype(np.float32) * x_scale
        model.graph.output.append(onnx.ValueInfoProto(name="yc"))
        expected = session(model, signed).run(["yc"], {"x": x[None]})[0]
        (layer,) = network.layers
        assert isinstance(layer, Combine)
        golden = run_network(network, network.inputs[0].quantize(x[None]))
        actual = network.output_quant.to_onnx_codes(golden[layer.name].astype(np.uint8))
        np.testing.assert_array_equal(actual, expected, err_msg=f"{values}")


@pytest.mark.parametrize("zero", [0, 1, 128, 255])
@pytest.mark.parametrize("scale", [0.125, 0.1])
def test_means_between_equal_scales(tmp_path: Any, scale: float, zero: int) -> None:
    """Ties are every fourth sum of four. With exact scales, no code differs at any zero point."""
    nodes = [
        node("Unsqueeze", ["xr", "axis"], "image"),
        node("AveragePool", ["image"], "yr", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    initial = {"x_s": np.float32(scale), "x_z": np.uint8(zero), "y_s": np.float32(scale),
               "y_z": np.uint8(zero), "axis": np.array([1], np.int64)}  # fmt: skip
    initializers = [numpy_helper.from_array(np.asarray(v), name) for name, v in initial.items()]
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "x_s", "x_z"], ["xc"]),
            helper.make_node("DequantizeLinear", ["xc", "x_s", "x_z"], ["xr"]),
            *nodes,
            helper.make_node("QuantizeLinear", ["yr", "y_s", "y_z"], ["yc"]),
        ],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 32, 32])],
        [helper.make_tensor_value_info("yc", TensorProto.UINT8, None)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    network = load_network(path)
    codes = np.random.default_rng(5).integers(0, 256, (200, 32, 32))
    x = (codes - zero).astype(np.float32) * np.float32(scale)
    expected = session(model, False).run(None, {"x": x})[0]
    golden = run_network(network, network.inputs[0].quantize(x))
    wrong = (golden[network.layers[-1].name].reshape(expected.shape) != expected).mean()
    if scale == 0.125:
        assert wrong == 0
        assert network.notes == ()
    else:  # sums of rounded products fall to either side of a tie
        assert wrong < 0.2
        assert (wrong > 0) <= bool(network.notes)
