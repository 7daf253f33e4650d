# SPDX-License-Identifier: Apache-2.0
"""Softmax in fixed point: how far it is from the real one, and that its operators are the same."""

from collections.abc import Iterator

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ohmtwin.arch.errors import ModelError
from ohmtwin.behavioral.golden import plan_softmax, run_network, softmax
from ohmtwin.host.graph import Network, NetworkInput, Quantization, Softmax, lower_softmax
from ohmtwin.host.graph.operators import Shape

Codes = NDArray[np.uint8]

UINT8 = Quantization(1 / 256, 0, signed=False)
INT8 = Quantization(1 / 256, -128, signed=True)


def layer(scale: float, out: Quantization = UINT8) -> Softmax:
    return Softmax(name="s", input="x", output="y", scale=float(np.float32(scale)), out_quant=out)


def real(codes: Codes, scale: float) -> NDArray[np.float64]:
    x = (codes.astype(np.float64) - codes.max(axis=-1, keepdims=True)) * float(np.float32(scale))
    e = np.exp(x)
    result: NDArray[np.float64] = e / e.sum(axis=-1, keepdims=True)
    return result


def cases(length: int, count: int) -> Iterator[Codes]:
    """Codes uint8 [count, length]: flat, spread, with one or two peaks."""
    rng = np.random.default_rng(length)
    for spread in (2, 8, 30, 90, 256):
        yield rng.integers(0, spread, (count, length)).astype(np.uint8)
    peaks = rng.integers(0, 60, (count, length))
    for _ in range(2):
        peaks[np.arange(count), rng.integers(0, length, count)] += rng.integers(0, 190, count)
    yield np.minimum(peaks, 255).astype(np.uint8)


SCALES = [0.003, 0.012, 0.03, 0.06, 0.11, 0.25, 0.6, 2.0]


@pytest.mark.parametrize("length", [1, 2, 3, 6, 7, 10, 42, 43, 200, 1000, 2000])
def test_codes_are_within_one_of_the_real_softmax(length: int) -> None:
    """Against the real softmax rounded to codes; before that rounding they are within 1.6."""
    for scale in SCALES:
        for codes in cases(length, 20000 // length + 20):
            found = softmax(codes, layer(scale)).astype(np.float64)
            exact = np.clip(real(codes, scale) * 256, 0, 255)
            assert np.abs(found - np.rint(exact)).max() <= 1
            assert np.abs(found - exact).max() <= 1.6


def test_all_pairs_of_codes() -> None:
    """D = 2 depends on the difference alone; D = 3 on two: all of them."""
    differences = np.arange(256, dtype=np.uint8)
    pairs = np.stack([np.full(256, 255, np.uint8), differences], axis=1)
    grid = np.stack(np.meshgrid(differences, differences), axis=-1).reshape(-1, 2)
    triples = np.concatenate([np.full((len(grid), 1), 255, np.uint8), grid], axis=1)
    for scale in SCALES:
        for codes in (pairs, triples):
            exact = np.rint(np.clip(real(codes, scale) * 256, 0, 255))
            assert np.abs(softmax(codes, layer(scale)) - exact).max() <= 1


def test_the_ranges_join_up() -> None:
    """Summed over ranges, the tables give 1/S for each S: rising totals never raise it."""
    for length in (1, 2, 6, 42, 300, 1806):
        plan = plan_softmax(0.05, length, 1 / 256)
        totals = np.linspace(1, max(length, 2), 20001)
        r = np.full(totals.shape, -plan.spare)
        for part in plan.ranges:
            # offset takes the CENTRE of lo off, which a total in real numbers does not have.
            code = np.rint((totals * 65280 + part.offset + 128 * length) * float(part.scale))
            r += part.reciprocal[np.clip(code, 0, 255).astype(int)]
        assert (np.diff(r) <= 0).all()
        assert np.abs(r - 255 / totals).max() <= 1.01, "half a step and a rounding, each half of 1"
    assert [len(plan_softmax(0.1, n, 1 / 256).ranges) for n in (2, 6, 7, 42, 43, 1806)] == [
        1, 2, 3, 3, 4, 4,
    ]  # fmt: skip


def qlinear_softmax(codes: Codes, scale: float, out: Quantization) -> Codes:
    kind = np.int8 if out.signed else np.uint8
    entry = Quantization(float(np.float32(scale)), -3 if out.signed else 125, out.signed)
    x = entry.to_onnx_codes(codes)
    constants = [
        numpy_helper.from_array(np.array(value, dtype), name)
        for name, value, dtype in (
            ("xs", entry.scale, np.float32),
            ("xz", entry.zero_point, kind),
            ("ys", out.scale, np.float32),
            ("yz", out.zero_point, kind),
        )
    ]
    node = helper.make_node(
        "QLinearSoftmax", ["x", "xs", "xz", "ys", "yz"], ["y"], domain="com.microsoft", axis=-1,
        opset=13,
    )  # fmt: skip
    element = TensorProto.INT8 if out.signed else TensorProto.UINT8
    graph = helper.make_graph(
        [node], "one",
        [helper.make_tensor_value_info("x", element, list(x.shape))],
        [helper.make_tensor_value_info("y", element, None)], constants,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return out.from_onnx_codes(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("out", [UINT8, INT8], ids=["uint8", "int8"])
@pytest.mark.parametrize("length", [2, 10, 100])
def test_codes_are_within_one_of_qlinearsoftmax(length: int, out: Quantization) -> None:
    """ONNX Runtime divides whole numbers, which a tile cannot; the results are as near as this."""
    for scale in SCALES:
        for codes in cases(length, 200):
            given = qlinear_softmax(codes, scale, out).astype(int)
            assert np.abs(softmax(codes, layer(scale, out)) - given).max() <= 1


@pytest.mark.parametrize("out", [UINT8, INT8], ids=["uint8", "int8"])
@pytest.mark.parametrize("shape", [(5,), (1,), (3, 4), (2, 3, 7), (1, 6, 50)])
def test_its_operators_compute_the_same(shape: Shape, out: Quantization) -> None:
    inputs = (NetworkInput("x", "x", shape, Quantization(0.0625, 9, signed=False)),)
    whole = Network(name="n", inputs=inputs, layers=(layer(0.0625, out),), outputs=("y",))
    parts = lower_softmax(whole)
    assert parts.shape("y") == shape
    assert not [la for la in parts.layers if isinstance(la, Softmax)]
    for codes in cases(int(np.prod(shape)), 50):
        want = run_network(whole, codes)["s"]
        found = run_network(parts, codes)["s"]
        np.testing.assert_array_equal(found.reshape(want.shape), want)
    assert lower_softmax(parts) is parts


def test_what_cannot_be_computed_is_refused() -> None:
    inputs = (NetworkInput("x", "x", (4,), UINT8),)
    with pytest.raises(ModelError, match="scale of layer 's' must be finite and positive, not nan"):
        layer(float("nan"))
    tiny = Quantization(float(np.float32(1e-30)), 0, signed=False)
    with pytest.raises(ModelError, match=r"Layer 's' cannot be computed: .* between 2"):
        Network(name="n", inputs=inputs, layers=(layer(0.1, tiny),), outputs=("y",))
