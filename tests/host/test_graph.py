# SPDX-License-Identifier: Apache-2.0
"""Quantization, the accumulator proof and the checks of the network graph."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from ohmtwin.arch.errors import CapacityError, ModelError
from ohmtwin.host.graph import (
    Dense,
    Network,
    NetworkInput,
    Quantization,
    State,
    check_accumulators,
)

UNSIGNED = Quantization(0.5, 10, signed=False)
SIGNED = Quantization(0.5, -118, signed=True)


def dense(weights: list[list[int]], bias: list[int], name: str = "a", to: str = "y") -> Dense:
    outputs = len(weights)
    return Dense(
        name=name,
        input="x",
        output=to,
        weights=np.array(weights, np.int8),
        bias=np.array(bias, np.int32),
        mantissa=np.full(outputs, 1 << 23, np.uint32),
        shift=np.full(outputs, 30, np.uint8),
        zero_point=128,
        clip_low=0,
        clip_high=255,
        out_quant=UNSIGNED,
    )


def test_int8_and_uint8_share_their_internal_codes() -> None:
    x = np.linspace(-10, 130, 999, dtype=np.float32)
    np.testing.assert_array_equal(UNSIGNED.quantize(x), SIGNED.quantize(x))
    codes = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(UNSIGNED.dequantize(codes), SIGNED.dequantize(codes))
    onnx_codes = SIGNED.to_onnx_codes(codes)
    assert onnx_codes.dtype == np.int8
    assert onnx_codes.tolist() == list(range(-128, 128))
    np.testing.assert_array_equal(SIGNED.from_onnx_codes(onnx_codes), codes)
    np.testing.assert_array_equal(UNSIGNED.from_onnx_codes(UNSIGNED.to_onnx_codes(codes)), codes)
    assert (SIGNED.internal_zero_point, UNSIGNED.internal_zero_point) == (10, 10)


def test_quantize_by_hand() -> None:
    q = Quantization(2.0, 3, signed=False)
    values = [0.0, 1.0, 3.0, 5.0, -1.0, -3.0, -1e30, 1e30, 503.9, 504.1, 505.0]
    assert q.quantize(values).tolist() == [3, 3, 5, 5, 3, 1, 0, 255, 255, 255, 255]
    codes = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(q.quantize(q.dequantize(codes)), codes)


@pytest.mark.parametrize(
    ("scale", "zero", "signed", "message"),
    [
        (0.0, 0, False, "finite and positive, not 0.0"),
        (float("nan"), 0, False, "finite and positive, not nan"),
        (0.1, 0, False, "must be a float32 value"),
        (0.5, 256, False, "uint8 codes must lie between 0 and 255, not 256"),
        (0.5, -1, False, "between 0 and 255, not -1"),
        (0.5, 128, True, "int8 codes must lie between -128 and 127, not 128"),
    ],
)
def test_quantization_refuses(scale: float, zero: int, signed: bool, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Quantization(scale, zero, signed)


def test_accumulator_range_is_exact() -> None:
    """Against all partial sums, in every order, of a small layer at the extreme inputs."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        weights = rng.integers(-128, 128, 4)
        bias = int(rng.integers(-50000, 50000))
        layer = dense([weights.tolist()], [bias])
        sums = []
        for codes in itertools.product([0, 255], repeat=4):
            terms = [*(int(w) * c for w, c in zip(weights, codes, strict=True)), bias]
            for order in itertools.permutations(terms):
                sums.extend(itertools.accumulate(order))
        low, high = layer.accumulator_range()
        assert (min(*sums, 0), max(*sums, 0)) == (int(low[0]), int(high[0]))


def test_accumulators_are_proven_at_the_limit() -> None:
    top = (1 << 31) - 1
    check_accumulators(dense([[127, -128]], [top - 127 * 255]))
    with pytest.raises(
        CapacityError,
        match=r"^Output 1 of layer 'a' can sum to -32640 \.\. 2147483648, .* 32-bit accumulator",
    ):
        check_accumulators(dense([[0, 0], [127, -128]], [0, top - 127 * 255 + 1]))
    check_accumulators(dense([[127, -128]], [-(1 << 31) + 128 * 255]))
    with pytest.raises(CapacityError, match=r"-2147483649 \.\. 32385"):
        check_accumulators(dense([[127, -128]], [-(1 << 31) + 128 * 255 - 1]))
    with pytest.raises(CapacityError, match="16-bit accumulator"):
        check_accumulators(dense([[127, 127]], [0]), bits=16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": np.zeros((0, 2), np.int8)}, r"matrix \[outputs, inputs\], not of shape"),
        ({"weights": np.zeros((1, 2), np.int16)}, r"weights of layer 'a' must be int8 \[1, 2\]"),
        (
            {"bias": np.zeros(2, np.int32)},
            r"bias of layer 'a' must be int32 \[1\], not int32 \[2\]",
        ),
        ({"mantissa": np.zeros(1, np.int64)}, "mantissa of layer 'a' must be uint32"),
        ({"clip_low": 9, "clip_high": 8}, "low <= high, not 128, 9, 8"),
        ({"zero_point": 256}, "codes 0 to 255"),
        ({"table": np.zeros(256, np.uint8)}, "needs pre_quant exactly if it has a table"),
        ({"table": np.zeros(255, np.uint8), "pre_quant": UNSIGNED}, r"uint8 \[256\]"),
    ],
)
def test_dense_refuses(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        replace(dense([[1, 2]], [0]), **changes)


def test_arrays_are_frozen() -> None:
    layer = dense([[1, 2]], [0])
    with pytest.raises(ValueError, match="read-only"):
        layer.weights[0, 0] = 5
    assert [float(s) for s in layer.scales] == [2.0**-7]


def network(*layers: Dense, output: str = "y") -> Network:
    inputs = (NetworkInput("image", "x", (2,), UNSIGNED),)
    return Network(name="net", inputs=inputs, layers=layers, outputs=(output,))


def test_network_refuses_what_does_not_join_up() -> None:
    a = dense([[1, 2]], [0])
    with pytest.raises(ModelError, match="Network 'net' has no layer"):
        network()
    with pytest.raises(ModelError, match="Layer 'a' reads tensor 'z', which no layer before it"):
        network(replace(a, input="z"))
    with pytest.raises(ModelError, match="Two layers of network 'net' are named 'a'"):
        network(a, replace(a, output="w"))
    with pytest.raises(ModelError, match="Tensor 'y' is produced twice"):
        network(a, replace(a, name="b"))
    with pytest.raises(
        ModelError, match=r"Layer 'b' takes 2 values, but tensor 'y' .* shape \[1\]"
    ):
        network(a, replace(a, name="b", input="y", output="w"))
    with pytest.raises(ModelError, match="No layer produces the output tensor 'w'"):
        network(a, output="w")
    with pytest.raises(CapacityError, match="32-bit"):
        network(dense([[127, 127]], [(1 << 31) - 1]))
    with pytest.raises(ModelError, match="No layer produces the output tensor 'x'"):
        network(a, output="x")
    assert network(a).quantize_input(np.zeros((3, 2), np.float32)).tolist() == [[10, 10]] * 3


def stepper(state: State, **changes: object) -> Network:
    """Two inputs, x and h, of two values each; h is kept."""
    inputs = tuple(NetworkInput(n, n, (2,), UNSIGNED) for n in ("x", "h"))
    layer = dense([[1, 2], [3, 4]], [0, 0])
    whole = {"name": "net", "inputs": inputs, "layers": (layer,), "outputs": ("y",)}
    return Network(**{**whole, "states": (state,), **changes})


def test_states_must_join_an_output_to_an_input() -> None:
    good = State("h", "y", None, 10)
    assert [i.name for i in stepper(good).fed] == ["x"]
    for bad, message in (
        (replace(good, input="z"), "'z', which is no input or fed twice"),
        (replace(good, output="z"), "No layer produces 'z', which feeds 'h'"),
        (replace(good, initial=256), "initial of layer 'net' must be 0 to 255, not 256"),
        (replace(good, table=np.zeros(3, np.uint8)), r"table of layer 'net' must be uint8 \[256\]"),
    ):
        with pytest.raises(ModelError, match=message):
            stepper(bad)
    with pytest.raises(ModelError, match="no input or fed twice"):
        stepper(good, states=(good, good))
    with pytest.raises(ModelError, match="All inputs of network 'net' are states"):
        stepper(good, states=(good, replace(good, input="x")))
    with pytest.raises(ModelError, match=r"'h' has the shape \[2\], but 'y', .* has \[1\]"):
        stepper(good, layers=(dense([[1, 2]], [0]),))
    twice = (NetworkInput("x", "x", (2,), UNSIGNED),) * 2
    with pytest.raises(ModelError, match="Two inputs of network 'net' have the name 'x'"):
        stepper(good, inputs=twice)
