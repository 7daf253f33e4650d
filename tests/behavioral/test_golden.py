# SPDX-License-Identifier: Apache-2.0
"""The integer requantizer against float32 arithmetic, and the dense operator against int64."""

from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from ohmtwin.arch.formats import RequantScale
from ohmtwin.behavioral.golden import (
    dense_accumulate,
    requantize,
    requantize_integers,
    run_network,
)

BOTH = (requantize, requantize_integers)
"""The requantizer by float32 and, as hardware has it, by integers: they must not differ."""


def _split(scales: NDArray[np.float32]) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    parts = [RequantScale.from_float(float(s)) for s in scales]
    return (
        np.array([p.mantissa for p in parts], dtype=np.uint32),
        np.array([p.shift for p in parts], dtype=np.uint8),
    )


def _float32(
    acc: NDArray[np.int32], scale: NDArray[np.float32], zero_point: int, low: int, high: int
) -> NDArray[np.uint8]:
    """What ONNX Runtime computes: one float32 product, rounded to nearest even."""
    scaled = np.rint(acc.astype(np.float32) * scale).astype(np.float64)
    return np.clip(scaled + zero_point, low, high).astype(np.uint8)


def _accumulators(kind: str, rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.int32]:
    if kind == "any":
        acc = rng.integers(-(1 << 31), 1 << 31, shape)
    elif kind == "small":
        acc = rng.integers(-5000, 5000, shape)
    elif kind == "significand":  # either side of 2**24, where the accumulator itself is rounded
        acc = (1 << 24) + rng.integers(-64, 64, shape)
        acc *= rng.choice([-1, 1], shape)
    else:  # halves of the accumulator's last float32 bit: ties of the first rounding
        power = rng.integers(24, 31, shape)
        acc = (1 << power) + (2 * rng.integers(0, 64, shape) + 1) * (1 << (power - 24))
    return acc.astype(np.int32)


@pytest.mark.parametrize("kind", ["any", "small", "significand", "halves"])
@pytest.mark.parametrize("range_", [(-40, 22), (-32, -18), (-14, -2)])
def test_requantize_equals_float32(kind: str, range_: tuple[int, int]) -> None:
    rng = np.random.default_rng([*kind.encode(), abs(range_[0])])
    scale = np.exp2(rng.uniform(*range_, 500)).astype(np.float32)
    acc = _accumulators(kind, rng, (500, 500))
    mantissa, shift = _split(scale)
    for zero_point, low, high in [(0, 0, 255), (128, 0, 255), (200, 200, 255), (37, 3, 250)]:
        expected = _float32(acc, scale, zero_point, low, high)
        for definition in BOTH:
            actual = definition(acc, mantissa, shift, zero_point, low, high)
            np.testing.assert_array_equal(actual, expected)


def test_requantize_equals_float32_where_nothing_clips() -> None:
    # Random factors clip most accumulators; here the factor is chosen so that codes spread.
    rng = np.random.default_rng(7)
    acc = rng.integers(-(1 << 31), 1 << 31, (4000, 512)).astype(np.int32)
    acc >>= rng.integers(0, 24, 512).astype(np.int32)
    span = np.abs(acc.astype(np.int64)).max(axis=0)
    scale = (rng.uniform(40, 400, 512) / span).astype(np.float32)
    mantissa, shift = _split(scale)
    for definition in BOTH:
        actual = definition(acc, mantissa, shift, 128, 0, 255)
        np.testing.assert_array_equal(actual, _float32(acc, scale, 128, 0, 255))
    assert len(np.unique(actual)) == 256


def test_requantize_near_ties_of_the_product() -> None:
    # For each code boundary, the accumulators whose product falls closest to k + 1/2: there the
    # rounding of the product to 24 bits decides, and a plain wide multiplier goes wrong.
    rng = np.random.default_rng(11)
    scale = rng.uniform(2.0**-17, 2.0**-16, 4000).astype(np.float32)
    boundary = rng.integers(-120, 120, (64, 4000)) + 0.5
    acc = np.rint(boundary / scale.astype(np.float64)).astype(np.int32)
    scale = (boundary[0] / acc[0]).astype(np.float32)  # product within half a bit of the boundary
    mantissa, shift = _split(scale)
    rows = acc[:1]
    for definition in BOTH:
        actual = definition(rows, mantissa, shift, 128, 0, 255)
        np.testing.assert_array_equal(actual, _float32(rows, scale, 128, 0, 255))
    # Python rounds a Fraction to nearest even: the same product without the rounding to 24 bits.
    wide = np.array(
        [
            round(Fraction(int(a) * int(m), 1 << int(s)))
            for a, m, s in zip(rows[0], mantissa, shift, strict=True)
        ]
    )
    assert (np.clip(wide + 128, 0, 255) != actual).any(), "these accumulators decide nothing"


@pytest.mark.parametrize(
    ("acc", "expected"),
    [(1, 128), (3, 130), (5, 130), (-1, 128), (-3, 126), (-5, 126), (2, 129), (7, 132), (0, 128)],
)
def test_ties_go_to_even(acc: int, expected: int) -> None:
    half = RequantScale.from_float(0.5)
    for definition in BOTH:
        result = definition(np.array([acc], np.int32), half.mantissa, half.shift, 128, 0, 255)
        assert result.tolist() == [expected]


def test_requantize_extremes() -> None:
    acc = np.array([-(1 << 31), (1 << 31) - 1, 0], dtype=np.int32)
    huge = RequantScale.from_float(float(np.float32(2.0**23 * 0.99)))
    tiny = RequantScale.from_float(2.0**-40)
    for definition in BOTH:
        assert definition(acc, huge.mantissa, huge.shift, 9, 0, 255).tolist() == [0, 255, 9]
        assert definition(acc, tiny.mantissa, tiny.shift, 9, 0, 255).tolist() == [9, 9, 9]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(1, np.int32), 1, 0, 0, 0, 255), "Mantissas must lie between 8388608 and"),
        ((np.zeros(1, np.int32), 1 << 23, 64, 0, 0, 255), "Shifts must lie between 0 and 63"),
        ((np.zeros(1, np.int32), 1 << 23, 0, 256, 0, 255), "codes 0 to 255"),
        ((np.zeros(1, np.int32), 1 << 23, 0, 0, 9, 8), "low <= high"),
        ((np.full(1, 1 << 31), 1 << 23, 0, 0, 0, 255), "must fit in 32 bits"),
    ],
)
def test_requantize_refuses(arguments: tuple[object, ...], message: str) -> None:
    for definition in BOTH:
        with pytest.raises(ValueError, match=message):
            definition(*arguments)


@dataclass(frozen=True)
class _Layer:
    """The least that the golden operators ask of a layer."""

    kind: ClassVar[str] = "Dense"

    name: str
    input: str
    output: str
    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    mantissa: NDArray[np.uint32]
    shift: NDArray[np.uint8]
    zero_point: int = 128
    clip_low: int = 0
    clip_high: int = 255
    table: NDArray[np.uint8] | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.input,)


@dataclass(frozen=True)
class _Network:
    inputs: tuple[SimpleNamespace, ...]
    layers: tuple[_Layer, ...]
    states: tuple[SimpleNamespace, ...] = ()


def _layer(name: str, inputs: int, outputs: int, rng: np.random.Generator) -> _Layer:
    mantissa, shift = _split(rng.uniform(1e-5, 1e-3, outputs).astype(np.float32))
    return _Layer(
        name, f"{name}.x", f"{name}.y",
        rng.integers(-128, 128, (outputs, inputs)).astype(np.int8),
        rng.integers(-100000, 100000, outputs).astype(np.int32),
        mantissa, shift,
    )  # fmt: skip


@pytest.mark.parametrize("inputs", [1, 64, 513, 514, 515, 3000])
def test_dense_is_exact(inputs: int) -> None:
    rng = np.random.default_rng(inputs)
    layer = _layer("a", inputs, 9, rng)
    codes = rng.integers(0, 256, (40, inputs)).astype(np.uint8)
    codes[0] = 255
    expected = codes.astype(np.int64) @ layer.weights.T.astype(np.int64) + layer.bias
    actual = dense_accumulate(codes, layer)
    assert actual.dtype == np.int32
    np.testing.assert_array_equal(actual, expected)


def test_dense_extreme_weights_are_exact() -> None:
    # All weights -128 and all codes 255: the largest sum there is, either side of the float32 path.
    for inputs in (513, 514, 515, 60000):
        base = _layer("a", inputs, 2, np.random.default_rng(0))
        weights = np.full((2, inputs), -128, np.int8)
        weights[1, -1] = 127
        layer = _Layer("a", "x", "y", weights, np.zeros(2, np.int32), base.mantissa, base.shift)
        acc = dense_accumulate(np.full((1, inputs), 255, np.uint8), layer)
        assert acc.tolist() == [[-128 * 255 * inputs, -128 * 255 * (inputs - 1) + 127 * 255]]


def test_dense_refuses_a_wrong_shape_and_an_overflow() -> None:
    layer = _layer("a", 4, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"shape \[n, 4\], not \[3, 5\]"):
        dense_accumulate(np.zeros((3, 5), np.uint8), layer)
    full = _Layer(
        "big", "x", "y", np.full((1, 4), 127, np.int8), np.full(1, (1 << 31) - 1, np.int32),
        layer.mantissa[:1], layer.shift[:1],
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"layer 'big' leaves 32 bits"):
        dense_accumulate(np.full((1, 4), 255, np.uint8), full)


def test_run_network_gives_every_tensor() -> None:
    rng = np.random.default_rng(5)
    first, second = _layer("fc1", 12, 7, rng), _layer("fc2", 7, 3, rng)
    table = rng.permutation(256).astype(np.uint8)
    first = _Layer(**{**first.__dict__, "input": "in", "output": "mid", "table": table})
    second = _Layer(**{**second.__dict__, "input": "mid"})
    codes = rng.integers(0, 256, (6, 12)).astype(np.uint8)
    network = _Network((SimpleNamespace(tensor="in", shape=(12,)),), (first, second))
    result = run_network(network, codes)
    assert list(result) == ["fc1.acc", "fc1.pre", "fc1", "fc2.acc", "fc2"]
    np.testing.assert_array_equal(result["fc1"], table[result["fc1.pre"].astype(np.intp)])
    np.testing.assert_array_equal(
        result["fc2.acc"], dense_accumulate(result["fc1"].astype(np.uint8), second)
    )
    assert {str(v.dtype) for k, v in result.items() if k.endswith(".acc")} == {"int32"}
