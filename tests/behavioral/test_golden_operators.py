# SPDX-License-Identifier: Apache-2.0
"""Golden operators against ONNX Runtime's integer kernels, on random shapes and codes."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ohmtwin.arch.formats import RequantScale
from ohmtwin.behavioral.golden import run_layer, run_network
from ohmtwin.host.graph import (
    AveragePool,
    Combine,
    Concat,
    Constant,
    Conv,
    Dense,
    MaxPool,
    Multiply,
    Network,
    NetworkInput,
    Operator,
    Pad,
    Quantization,
    Reshape,
    Slice,
    State,
    Sum,
    Transpose,
)

Array = NDArray[Any]
Codes = NDArray[np.uint8]


def runtime(
    op: str, x: list[Array], constants: list[Array | None], domain: str = "", **attributes: Any
) -> Array:
    """One node in ONNX Runtime: its inputs are ``x``, then constants (None for one left out)."""
    names = [f"x{i}" for i in range(len(x))]
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in zip(names, x, strict=True)
    ]
    weights = [
        numpy_helper.from_array(c, f"c{i}") for i, c in enumerate(constants) if c is not None
    ]
    all_names = iter(["" if c is None else f"c{i}" for i, c in enumerate(constants)])
    # x[0] stands first; where there is a second it follows the first's scale and zero point.
    order = [names[0], *(next(all_names) for _ in range(2 if op != "MaxPool" else 0)), *names[1:]]
    node = helper.make_node(op, [*order, *all_names], ["y"], domain=domain, **attributes)
    kind = helper.np_dtype_to_tensor_dtype(x[0].dtype)
    graph = helper.make_graph(
        [node], "one", inputs, [helper.make_tensor_value_info("y", kind, None)], weights
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if x[0].dtype == np.uint8:
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    result: Array = session.run(None, dict(zip(names, x, strict=True)))[0]
    return result


def scale(value: float) -> NDArray[np.float32]:
    return np.array(value, np.float32)


def factor(x: Array, w: Array, y: Array) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """The factors of ONNX Runtime: x * w / y in float32."""
    parts = [RequantScale.from_float(float(f)) for f in np.atleast_1d(x * w / y)]
    mantissas = np.array([p.mantissa for p in parts], np.uint32)
    return mantissas, np.array([p.shift for p in parts], np.uint8)


def quant(signed: bool, step: float, zero: int) -> Quantization:
    """``zero`` is an internal code."""
    return Quantization(float(np.float32(step)), zero - 128 if signed else zero, signed=signed)


def random_codes(rng: np.random.Generator, *shape: int) -> Codes:
    return rng.integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("signed", [False, True], ids=["uint8", "int8"])
@pytest.mark.parametrize("seed", range(40))
def test_conv_equals_qlinearconv(seed: int, signed: bool) -> None:
    rng = np.random.default_rng([seed, 1])
    groups = int(rng.choice([1, 1, 2, 3, 5]))
    # Every third one is depthwise; some are long enough for sums beyond 2**24.
    per_group = 1 if seed % 3 == 0 else int(rng.integers(1, 90 if seed % 5 == 0 else 8))
    outputs = groups * int(rng.integers(1, 5))
    kernel, strides, dilations = (tuple(rng.integers(1, 4, 2).tolist()) for _ in range(3))
    pads = tuple(rng.integers(0, 3, 4).tolist())
    size = [
        d * (k - 1) + 1 + int(rng.integers(0, 6)) for k, d in zip(kernel, dilations, strict=True)
    ]
    x = random_codes(rng, 2, groups * per_group, *size)
    x[0, :, 0] = 255
    weights = rng.integers(-127, 128, (outputs, per_group, *kernel)).astype(np.int8)
    bias = rng.integers(-3000, 3000, outputs).astype(np.int32)
    x_quant = quant(signed, rng.uniform(0.01, 0.1), int(rng.integers(0, 256)))
    y_quant = quant(signed, rng.uniform(4, 9) * np.sqrt(weights[0].size), int(rng.integers(0, 256)))
    channels = bool(seed % 2)
    w_scale = rng.uniform(0.5, 1.5, outputs if channels else 1).astype(np.float32)
    codes = x_quant.to_onnx_codes(x)
    kind = codes.dtype
    given = runtime(
        "QLinearConv",
        [codes],
        [
            scale(x_quant.scale), np.array(x_quant.zero_point, kind),
            weights, w_scale if channels else w_scale.reshape(()),
            np.zeros(outputs, np.int8) if channels else np.array(0, np.int8),
            scale(y_quant.scale), np.array(y_quant.zero_point, kind), bias,
        ],
        strides=strides, pads=pads, dilations=dilations, group=groups,
    )  # fmt: skip
    sums = weights.astype(np.int64).sum(axis=(1, 2, 3))
    mantissa, shift = factor(scale(x_quant.scale), w_scale, scale(y_quant.scale))
    layer = Conv(
        name="c", input="x", output="y", weights=weights,
        bias=(bias - x_quant.internal_zero_point * sums).astype(np.int32),
        mantissa=np.broadcast_to(mantissa, outputs).copy(),
        shift=np.broadcast_to(shift, outputs).copy(),
        zero_point=y_quant.internal_zero_point, clip_low=0, clip_high=255, out_quant=y_quant,
        strides=strides, pads=pads, dilations=dilations, groups=groups,
        pad_code=x_quant.internal_zero_point,
    )  # fmt: skip
    found = run_layer(layer, [x])
    assert layer.shape(x.shape[1:]) == found[""].shape[1:]
    np.testing.assert_array_equal(y_quant.to_onnx_codes(found[""]), given)
    low, high = layer.accumulator_range()
    assert (found["acc"].min(axis=(0, 2, 3)) >= low).all()
    assert (found["acc"].max(axis=(0, 2, 3)) <= high).all()
    assert ((found[""] > 0) & (found[""] < 255)).mean() > 0.2, "clipped codes check little"


def test_conv_sums_are_exact_where_float32_would_round() -> None:
    """One window of the largest codes: sums either side of 2**24, all weights of one sign."""
    for inputs in (513, 514, 515, 516, 700):
        weights = np.full((2, inputs, 1, 1), -128, np.int8)
        weights[1, -1] = 127
        layer = Conv(
            name="c", input="x", output="y", weights=weights, bias=np.array([1, 0], np.int32),
            mantissa=np.full(2, 1 << 23, np.uint32), shift=np.full(2, 30, np.uint8), zero_point=0,
            clip_low=0, clip_high=255, out_quant=quant(False, 1, 0),
        )  # fmt: skip
        acc = run_layer(layer, [np.full((1, inputs, 1, 1), 255, np.uint8)])["acc"]
        want = [1 - 128 * 255 * inputs, 255 * 127 - 128 * 255 * (inputs - 1)]
        assert acc[0, :, 0, 0].tolist() == want


def test_conv_takes_samples_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    from ohmtwin.behavioral.golden import products

    rng = np.random.default_rng(3)
    weights = rng.integers(-128, 128, (4, 2, 3, 3)).astype(np.int8)
    layer = Conv(
        name="c", input="x", output="y", weights=weights, bias=np.zeros(4, np.int32),
        mantissa=np.full(4, 1 << 23, np.uint32), shift=np.full(4, 30, np.uint8), zero_point=0,
        clip_low=0, clip_high=255, out_quant=quant(False, 1, 0), pads=(1, 1, 1, 1), pad_code=9,
    )  # fmt: skip
    x = random_codes(rng, 7, 2, 6, 5)
    whole = run_layer(layer, [x])["acc"]
    monkeypatch.setattr(products, "_CHUNK", 2 * 6 * 5 * 2 * 9)
    np.testing.assert_array_equal(run_layer(layer, [x])["acc"], whole)
    # The definition, by hand, at one corner and one inner place.
    padded = np.pad(x.astype(int), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=9)
    for y, c in ((0, 0), (3, 2)):
        want = (padded[:, None, :, y : y + 3, c : c + 3] * weights).sum(axis=(2, 3, 4))
        np.testing.assert_array_equal(whole[:, :, y, c], want)


@pytest.mark.parametrize("signed", [False, True], ids=["uint8", "int8"])
@pytest.mark.parametrize("seed", range(15))
def test_max_pool_equals_maxpool(seed: int, signed: bool) -> None:
    rng = np.random.default_rng([seed, 2])
    kernel, strides, dilations = (tuple(rng.integers(1, 4, 2).tolist()) for _ in range(3))
    pads = tuple(int(rng.integers(0, k)) for k in (*kernel, *kernel))
    size = [
        d * (k - 1) + 1 + int(rng.integers(0, 6)) for k, d in zip(kernel, dilations, strict=True)
    ]
    x = random_codes(rng, 2, 3, *size)
    unit = quant(signed, 1, 128 if signed else 0)
    layer = MaxPool(
        name="m", input="x", output="y", kernel=kernel, strides=strides, pads=pads,
        dilations=dilations, out_quant=unit,
    )  # fmt: skip
    found = run_layer(layer, [x])[""]
    assert layer.shape(x.shape[1:]) == found.shape[1:]
    given = runtime(
        "MaxPool", [unit.to_onnx_codes(x)], [],
        kernel_shape=kernel, strides=strides, pads=pads, dilations=dilations,
    )  # fmt: skip
    np.testing.assert_array_equal(unit.to_onnx_codes(found), given)


@pytest.mark.parametrize("signed", [False, True], ids=["uint8", "int8"])
@pytest.mark.parametrize("seed", range(15))
def test_multiply_equals_qlinearmul(seed: int, signed: bool) -> None:
    rng = np.random.default_rng([seed, 3])
    shapes = [((4, 5), (4, 5)), ((3, 1, 5), (3, 4, 1)), ((6,), (2, 3, 6)), ((2, 3), (1, 1))][
        seed % 4
    ]
    a, b = (random_codes(rng, 2, *shape) for shape in shapes)
    most = max(a.ndim, b.ndim)  # samples stand in front of all axes
    a, b = (c.reshape(2, *[1] * (most - c.ndim), *c.shape[1:]) for c in (a, b))
    quants = [quant(signed, rng.uniform(0.01, 0.1), int(rng.integers(0, 256))) for _ in range(2)]
    y_quant = quant(signed, rng.uniform(0.05, 1), int(rng.integers(0, 256)))
    x = [q.to_onnx_codes(c) for q, c in zip(quants, (a, b), strict=True)]
    kind = x[0].dtype
    constants = [
        v for q in (*quants, y_quant) for v in (scale(q.scale), np.array(q.zero_point, kind))
    ]
    given = runtime("QLinearMul", [*x], [*constants], domain="com.microsoft")
    mantissa, shift = factor(*(scale(q.scale) for q in (*quants, y_quant)))
    layer = Multiply(
        name="m", sources=("a", "b"), output="y",
        zero_points=(quants[0].internal_zero_point, quants[1].internal_zero_point),
        mantissa=int(mantissa[0]), shift=int(shift[0]), zero_point=y_quant.internal_zero_point,
        clip_low=0, clip_high=255, out_quant=y_quant,
    )  # fmt: skip
    found = run_layer(layer, [a, b])
    np.testing.assert_array_equal(y_quant.to_onnx_codes(found[""]), given)
    low, high = layer.accumulator_range()
    assert low[0] <= found["acc"].min() <= found["acc"].max() <= high[0]


@pytest.mark.parametrize("signed", [False, True], ids=["uint8", "int8"])
@pytest.mark.parametrize("size", [(1, 1), (7, 7), (4, 9), (28, 28)])
def test_average_over_all_equals_qlinearglobalaveragepool(
    size: tuple[int, int], signed: bool
) -> None:
    rng = np.random.default_rng([*size, 4])
    x = random_codes(rng, 40, 6, *size)
    x[:, 0] = rng.integers(100, 110, x[:, 0].shape)
    x_quant, y_quant = (quant(signed, s, z) for s, z in ((0.03, 77), (0.011, 140)))
    codes = x_quant.to_onnx_codes(x)
    constants = [
        v for q in (x_quant, y_quant) for v in (scale(q.scale), np.array(q.zero_point, codes.dtype))
    ]
    given = runtime(
        "QLinearGlobalAveragePool", [codes], [*constants], domain="com.microsoft", channels_last=0
    )
    values = size[0] * size[1]
    # MLAS: the factor is x_scale / (y_scale * values), in float32.
    step = scale(x_quant.scale) / (scale(y_quant.scale) * np.float32(values))
    part = RequantScale.from_float(float(step))
    layer = AveragePool(
        name="a", input="x", output="y", kernel=size, input_zero_point=x_quant.internal_zero_point,
        counts=(values,), mantissa=np.array([part.mantissa], np.uint32),
        shift=np.array([part.shift], np.uint8), zero_point=y_quant.internal_zero_point,
        clip_low=0, clip_high=255, out_quant=y_quant,
    )  # fmt: skip
    found = run_layer(layer, [x])
    assert found[""].shape == (40, 6, 1, 1)
    np.testing.assert_array_equal(y_quant.to_onnx_codes(found[""]), given)


@pytest.mark.parametrize("include_pad", [False, True])
def test_average_pool_divides_each_window_by_its_own_count(include_pad: bool) -> None:
    rng = np.random.default_rng(5)
    x = random_codes(rng, 3, 2, 7, 6)
    counts = (9,) if include_pad else (9, 4, 6)  # in no order
    parts = [RequantScale.from_float(float(np.float32(1 / count))) for count in counts]
    unit = quant(False, 1, 50)
    layer = AveragePool(
        name="a", input="x", output="y", kernel=(3, 3), pads=(1, 1, 1, 1), strides=(2, 1),
        input_zero_point=50, counts=counts, count_include_pad=include_pad,
        mantissa=np.array([p.mantissa for p in parts], np.uint32),
        shift=np.array([p.shift for p in parts], np.uint8),
        zero_point=50, clip_low=0, clip_high=255, out_quant=unit,
    )  # fmt: skip
    assert layer.shape((2, 7, 6)) == (2, 4, 6)
    real = x.astype(np.float64) - 50
    padded = np.pad(real, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2]
    total = np.nansum(windows, axis=(4, 5))
    number = 9.0 if include_pad else (~np.isnan(windows)).sum(axis=(4, 5))
    found = run_layer(layer, [x])
    np.testing.assert_array_equal(found["acc"], total)
    assert np.abs(found[""] - (total / number + 50)).max() <= 0.5 + 1e-4
    low, high = layer.accumulator_range()
    assert (low[0], high[0]) == (-450, 9 * 205)


def combine(factors: tuple[int, ...], offset: int, **changes: Any) -> Combine:
    names = tuple("abc"[: len(factors)])
    whole: dict[str, Any] = {
        "name": "k", "sources": names, "output": "y", "factors": factors, "offset": offset,
        "mantissa": 1 << 23, "shift": 23, "zero_point": 0, "clip_low": 0, "clip_high": 255,
        "out_quant": quant(False, 1, 0),
    }  # fmt: skip
    return Combine(**{**whole, **changes})


def test_combine_broadcasts_and_adds() -> None:
    rng = np.random.default_rng(6)
    a, b, c = random_codes(rng, 5, 4), random_codes(rng, 5, 3, 1), random_codes(rng, 5, 2, 1, 1)
    layer = combine((1 << 20, -70000, 3), -(1 << 26), shift=46, zero_point=100)
    found = run_layer(layer, [a, b, c])
    want = (
        (1 << 20) * a[:, None, None].astype(np.int64)
        - 70000 * b[:, None].astype(np.int64)
        + 3 * c.astype(np.int64)
        - (1 << 26)
    )
    np.testing.assert_array_equal(found["acc"], want)
    assert layer.shape((4,), (3, 1), (2, 1, 1)) == (2, 3, 4) == want.shape[1:]
    np.testing.assert_array_equal(found[""], np.clip(np.rint(want / 2.0**23) + 100, 0, 255))
    low, high = layer.accumulator_range()
    assert (int(low[0]), int(high[0])) == (
        -(1 << 26) - 70000 * 255,
        -(1 << 26) + 255 * ((1 << 20) + 3),
    )


def test_a_table_stands_behind_the_requantizer() -> None:
    rng = np.random.default_rng(7)
    table = rng.permutation(256).astype(np.uint8)
    codes = random_codes(rng, 3, 9)
    layer = combine((1,), 5, table=table, pre_quant=quant(False, 1, 0))
    found = run_layer(layer, [codes])
    np.testing.assert_array_equal(found["pre"], np.minimum(codes.astype(int) + 5, 255))
    np.testing.assert_array_equal(found[""], table[found["pre"]])


def test_sum_adds_up_the_last_axis() -> None:
    rng = np.random.default_rng(8)
    hi, lo = random_codes(rng, 4, 3, 50), random_codes(rng, 4, 3, 50)
    layer = Sum(
        name="s", sources=("hi", "lo"), output="y", factors=(256, -1), offset=-9, length=50,
        mantissa=1 << 23, shift=36, zero_point=0, clip_low=0, clip_high=255,
        out_quant=quant(False, 1, 0),
    )  # fmt: skip
    acc = run_layer(layer, [hi, lo])["acc"]
    want = 256 * hi.sum(axis=2, dtype=int) - lo.sum(axis=2, dtype=int) - 9
    np.testing.assert_array_equal(acc[:, :, 0], want)
    assert layer.shape((3, 50), (3, 50)) == acc.shape[1:]
    low, high = layer.accumulator_range()
    assert (int(low[0]), int(high[0])) == (-9 - 255 * 50, -9 + 256 * 255 * 50)


def test_views_concat_and_pad_move_values_as_numpy_does() -> None:
    rng = np.random.default_rng(9)
    x = random_codes(rng, 3, 4, 5, 6)
    unit = quant(False, 1, 0)
    table = rng.permutation(256).astype(np.uint8)
    common: dict[str, Any] = {"name": "v", "input": "x", "output": "y", "out_quant": unit}
    cases: list[tuple[Operator, Codes]] = [
        (Reshape(**common, to=(20, 6)), x.reshape(3, 20, 6)),
        (Transpose(**common, permutation=(2, 0, 1)), x.transpose(0, 3, 1, 2)),
        (
            Slice(**common, starts=(1, 4, 5), steps=(1, -2, -1), counts=(3, 3, 6)),
            x[:, 1:4, 4::-2, ::-1],
        ),
        (
            Pad(**common, before=(0, 1, 2), after=(3, 0, 1), code=7),
            np.pad(x, ((0, 0), (0, 3), (1, 0), (2, 1)), constant_values=7),
        ),
    ]
    for layer, want in cases:
        np.testing.assert_array_equal(run_layer(layer, [x])[""], want)
        assert layer.shape(x.shape[1:]) == want.shape[1:]
    joined = Concat(
        name="c", sources=("x", "x"), output="y", axis=1, tables=(None, table), out_quant=unit
    )
    want = np.concatenate([x, table[x]], axis=2)
    np.testing.assert_array_equal(run_layer(joined, [x, x])[""], want)
    assert joined.shape(x.shape[1:], x.shape[1:]) == want.shape[1:]


def test_constants_and_several_inputs() -> None:
    rng = np.random.default_rng(10)
    unit = quant(False, 1, 0)
    fixed = random_codes(rng, 4)
    layers = (
        Constant(name="k", output="c", codes=fixed, out_quant=unit),
        combine((1, 1), 0, sources=("p", "q"), output="s", name="add"),
        combine((1, -1), 0, sources=("s", "c"), output="y", name="less"),
    )
    inputs = tuple(NetworkInput(n.upper(), n, (4,), unit) for n in ("p", "q"))
    network = Network(name="n", inputs=inputs, layers=layers, outputs=("y",))
    p, q = random_codes(rng, 6, 4) >> 1, random_codes(rng, 6, 4) >> 1
    found = run_network(network, {"p": p, "q": q})
    assert list(found) == ["add.acc", "add", "less.acc", "less"]
    np.testing.assert_array_equal(found["less.acc"], p.astype(int) + q - fixed)
    with pytest.raises(ValueError, match="no codes for input tensor 'q'"):
        run_network(network, p)
    with pytest.raises(ValueError, match="as many samples"):
        run_network(network, {"p": p, "q": q[:2]})


def test_states_go_from_step_to_step_and_begin_anew_with_each_sample() -> None:
    """h' = table[(x + h) / 2], against a loop by hand."""
    rng = np.random.default_rng(11)
    unit = quant(False, 1, 0)
    table = rng.permutation(256).astype(np.uint8)
    layer = combine((1, 1), 0, sources=("x", "h"), output="y", name="half", shift=24)
    inputs = tuple(NetworkInput(n, n, (3,), unit) for n in ("x", "h"))
    network = Network(
        name="n", inputs=inputs, layers=(layer,), outputs=("y",),
        states=(State("h", "y", table, 77),),
    )  # fmt: skip
    x = random_codes(rng, 4, 6, 3)
    found = run_network(network, x)
    assert found["half.acc"].shape == found["half"].shape == (4, 6, 3)
    for sample in range(4):
        h = np.full(3, 77)
        for step in range(6):
            total = x[sample, step].astype(int) + h
            assert found["half.acc"][sample, step].tolist() == total.tolist()
            y = np.rint(total / 2).astype(np.uint8)
            assert found["half"][sample, step].tolist() == y.tolist()
            h = table[y].astype(int)
    with pytest.raises(ValueError, match=r"shape \['n', 'steps', 3\], not \[4, 3\]"):
        run_network(network, x[:, 0])


def test_dense_works_on_the_last_axis() -> None:
    rng = np.random.default_rng(12)
    weights = rng.integers(-128, 128, (5, 7)).astype(np.int8)
    layer = Dense(
        name="d", input="x", output="y", weights=weights, bias=np.arange(5, dtype=np.int32),
        mantissa=np.full(5, 1 << 23, np.uint32), shift=np.full(5, 33, np.uint8), zero_point=128,
        clip_low=0, clip_high=255, out_quant=quant(False, 1, 0),
    )  # fmt: skip
    x = random_codes(rng, 2, 3, 4, 7)
    acc = run_layer(layer, [x])["acc"]
    np.testing.assert_array_equal(acc, x.astype(int) @ weights.T.astype(int) + np.arange(5))
    assert layer.shape(x.shape[1:]) == acc.shape[1:]
