# SPDX-License-Identifier: Apache-2.0
"""What operators refuse, each in a sentence that names the layer."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ohmtwin.arch.errors import CapacityError, ModelError
from ohmtwin.host.graph import (
    AveragePool,
    Combine,
    Concat,
    Constant,
    Conv,
    MaxPool,
    Multiply,
    Network,
    NetworkInput,
    Operator,
    Pad,
    Quantization,
    Reshape,
    Slice,
    Sum,
    Transpose,
    check_accumulators,
)
from ohmtwin.host.importer.finish import finish_layers

UNIT = Quantization(1.0, 0, signed=False)
ONE = {"mantissa": 1 << 23, "shift": 23}
CODES = {"zero_point": 0, "clip_low": 0, "clip_high": 255, "out_quant": UNIT}


def conv(**changes: Any) -> Conv:
    whole: dict[str, Any] = {
        "name": "c", "input": "x", "output": "y", "weights": np.ones((4, 3, 2, 2), np.int8),
        "bias": np.zeros(4, np.int32), "mantissa": np.full(4, 1 << 23, np.uint32),
        "shift": np.full(4, 23, np.uint8), **CODES,
    }  # fmt: skip
    return Conv(**{**whole, **changes})


def combine(**changes: Any) -> Combine:
    whole: dict[str, Any] = {
        "name": "k", "sources": ("a", "b"), "output": "y", "factors": (1, 2), "offset": 0,
        **ONE, **CODES,
    }  # fmt: skip
    return Combine(**{**whole, **changes})


def average(**changes: Any) -> AveragePool:
    whole: dict[str, Any] = {
        "name": "p", "input": "x", "output": "y", "kernel": (2, 2), "input_zero_point": 3,
        "counts": (4,), "mantissa": np.full(1, 1 << 23, np.uint32),
        "shift": np.full(1, 23, np.uint8), **CODES,
    }  # fmt: skip
    return AveragePool(**{**whole, **changes})


MULTIPLY = Multiply(name="m", sources=("a", "b"), output="y", zero_points=(1, 2), **ONE, **CODES)
SUM = Sum(name="s", sources=("a",), output="y", factors=(1,), offset=0, length=5, **ONE, **CODES)
POOL = MaxPool(name="p", input="x", output="y", kernel=(2, 3), out_quant=UNIT)
CONCAT = Concat(
    name="j", sources=("a", "b"), output="y", axis=0, tables=(None, None), out_quant=UNIT
)
PAD = Pad(name="d", input="x", output="y", before=(1, 0), after=(0, 0), code=0, out_quant=UNIT)
SLICE = Slice(name="t", input="x", output="y", starts=(0,), steps=(1,), counts=(2,), out_quant=UNIT)


@pytest.mark.parametrize(
    ("layer", "changes", "message"),
    [
        (conv(), {"weights": np.ones((4, 3, 2), np.int8)}, r"must have the shape \[outputs, chan"),
        (conv(), {"weights": np.ones((4, 3, 2, 2), np.int16)}, "weights of layer 'c' must be int8"),
        (conv(), {"bias": np.zeros(3, np.int32)}, r"bias of layer 'c' must be int32 \[4\], not"),
        (conv(), {"shift": np.full(4, 64, np.uint8)}, "shift of layer 'c' must be 0 to 63, not 64"),
        (conv(), {"mantissa": np.ones(4, np.uint32)}, "mantissa of layer 'c' must be 8388608 to"),
        (conv(), {"strides": (1, 0)}, "strides of layer 'c' must be 1 or more, not 0"),
        (conv(), {"dilations": (0, 1)}, "dilations of layer 'c' must be 1 or more, not 0"),
        (conv(), {"pads": (0, -1, 0, 0)}, "pads of layer 'c' must be 0 or more, not -1"),
        (conv(), {"pad_code": 256}, "pad_code of layer 'c' must be 0 to 255, not 256"),
        (conv(), {"groups": 3}, "groups of layer 'c' must divide its 4 outputs, not be 3"),
        (conv(), {"clip_high": 256}, "of layer 'c' must be codes 0 to 255"),
        (conv(), {"table": np.zeros(9, np.uint8)}, r"table of layer 'c' must be uint8 \[256\]"),
        (combine(), {"factors": (1,)}, "a factor for each of its 2 sources, at least one, not 1"),
        (combine(), {"factors": (), "sources": ()}, "at least one, not 0"),
        (combine(), {"factors": (1, 1 << 23)}, "factors of layer 'k' must be -8388608 to 8388607"),
        (combine(), {"offset": -(1 << 31) - 1}, "offset of layer 'k' must be -2147483648 to"),
        (combine(), {"mantissa": 1 << 24}, "mantissa of layer 'k'"),
        (MULTIPLY, {"zero_points": (0, -1)}, "zero_points of layer 'm' must be 0 to 255, not -1"),
        (MULTIPLY, {"sources": ("a",)}, "multiplies two tensors, not 1"),
        (MULTIPLY, {"gains": (1,)}, "'m' needs two gains, not 1"),
        (MULTIPLY, {"gains": (1, 129)}, "gains of layer 'm' must be 1 to 128, not 129"),
        (MULTIPLY, {"gains": (0, 1)}, "gains of layer 'm' must be 1 to 128, not 0"),
        (MULTIPLY, {"offset": 1 << 31}, "offset of layer 'm' must be -2147483648 to 2147483647"),
        (SUM, {"length": 0}, "length of layer 's' must be 1 or more, not 0"),
        (POOL, {"kernel": (0, 1)}, "kernel of layer 'p' must be 1 or more, not 0"),
        (POOL, {"dilations": (1, 0)}, "dilations of layer 'p' must be 1 or more, not 0"),
        (average(), {"counts": (4, 4)}, "must be different and at least one"),
        (average(), {"counts": (4, 2)}, r"mantissa of layer 'p' must be uint32 \[2\]"),
        (average(), {"input_zero_point": 256}, "input_zero_point of layer 'p'"),
        (CONCAT, {"tables": (None,)}, "a table or None for each of its 2 sources"),
        (CONCAT, {"tables": (None, np.zeros(2, np.uint8))}, "table of layer 'j'"),
        (PAD, {"after": (0, -1)}, "after of layer 'd' must be 0 or more, not -1"),
        (PAD, {"code": 300}, "code of layer 'd' must be 0 to 255, not 300"),
        (SLICE, {"steps": ()}, "'t' needs a start, a step and a count for each axis"),
    ],
)  # fmt: skip
def test_wrong_fields_are_refused(layer: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        replace(layer, **changes)


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (conv(), [(2, 5, 5)], r"takes 3 channels of two axes, but tensor 'x' .* \[2, 5, 5\]"),
        (conv(), [(3, 5)], "takes 3 channels"),
        (conv(), [(3, 1, 5)], r"kernel \[2, 2\] of layer 'c' does not fit into tensor 'x'"),
        (conv(groups=2), [(3, 5, 5)], "takes 6 channels"),
        (combine(), [(3,), (4,)], "'k' combines do not fit each other"),
        (SUM, [(3, 4)], r"sums sources of one shape over a last axis of 5, not \[\[3, 4\]\]"),
        (POOL, [(2, 2)], "pools two axes behind the channels"),
        (POOL, [(1, 1, 5)], r"window \[2, 3\] of 'p' does not fit"),
        (replace(POOL, pads=(2, 0, 0, 0)), [(1, 5, 5)], "holds nothing but padding"),
        (average(pads=(1, 0, 0, 0)), [(1, 4, 4)], r"windows of 2 values, .* counts are \[4\]"),
        (CONCAT, [(2, 3), (2, 4)], r"joins shapes \[\[2, 3\], \[2, 4\]\] along axis 0"),
        (PAD, [(3,)], "pads 2 axes, its input has 1"),
        (SLICE, [(3, 3)], "cuts 1 axes, its input has 2"),
        (SLICE, [(1,)], "leaves its input"),
        (replace(SLICE, steps=(0,)), [(3,)], "leaves its input"),
        (Reshape(name="r", input="x", output="y", to=(5,), out_quant=UNIT), [(4,)], r"\[5\] of 4"),
        (
            Transpose(name="r", input="x", output="y", permutation=(0, 0), out_quant=UNIT),
            [(4, 2)],
            r"permutes \[0, 0\], its input has 2 axes",
        ),
    ],
)
def test_wrong_shapes_are_refused(
    layer: Operator, shapes: list[tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        layer.shape(*shapes)


def test_arrays_are_frozen() -> None:
    fixed = Constant(name="k", output="c", codes=np.zeros(3, np.uint8), out_quant=UNIT)
    for array in (fixed.codes, conv().weights, average().mantissa):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_sums_are_proven_at_the_limit() -> None:
    top = (1 << 31) - 1
    check_accumulators(combine(offset=top - 3 * 255))
    with pytest.raises(CapacityError, match=r"^Layer 'k' can sum to 2147482883 \.\. 2147483648, "):
        check_accumulators(combine(offset=top - 3 * 255 + 1))
    check_accumulators(combine(factors=(-1, -2), offset=-(1 << 31) + 3 * 255))
    with pytest.raises(CapacityError, match=r"-2147483649 \.\. -2147482884"):
        check_accumulators(combine(factors=(-1, -2), offset=-(1 << 31) + 3 * 255 - 1))
    # 255 * 4210752 * 2 = 2**31 - 128
    check_accumulators(replace(SUM, factors=(4210752,), offset=127, length=2))
    with pytest.raises(CapacityError, match=r"Layer 's' can sum to 128 \.\. 2147483648"):
        check_accumulators(replace(SUM, factors=(4210752,), offset=128, length=2))
    # Products reach 128 * 254 * 128 * 253 and -128 * 254 * 128 * 2.
    product = replace(MULTIPLY, gains=(128, 128), offset=top - 128 * 254 * 128 * 253)
    check_accumulators(product)
    with pytest.raises(CapacityError, match=r"Layer 'm' can sum to .* \.\. 2147483648"):
        check_accumulators(replace(product, offset=product.offset + 1))
    least = replace(product, offset=-(1 << 31) + 128 * 254 * 128 * 2)
    check_accumulators(least)
    with pytest.raises(CapacityError, match=r"can sum to -2147483649 \.\."):
        check_accumulators(replace(least, offset=least.offset - 1))
    check_accumulators(conv(bias=np.full(4, top - 12 * 255, np.int32)))
    bias = np.array([0, 0, top - 12 * 255 + 1, 0], np.int32)
    with pytest.raises(CapacityError, match=r"^Output 2 of layer 'c'"):
        check_accumulators(conv(bias=bias))
    for layer in (MULTIPLY, average()):
        check_accumulators(layer, bits=18)
        with pytest.raises(CapacityError, match="10-bit accumulator"):
            check_accumulators(layer, bits=10)


def test_a_network_proves_the_sums_of_all_its_operators() -> None:
    inputs = tuple(NetworkInput(n, n, (4,), UNIT) for n in "ab")
    with pytest.raises(CapacityError, match="Layer 'k'"):
        Network(name="n", inputs=inputs, layers=(combine(offset=(1 << 31) - 1),), outputs=("y",))


def test_layers_read_what_an_idle_reshape_read() -> None:
    view = Reshape(name="r", input="x", output="a", to=(5,), out_quant=UNIT)
    layers, _ = finish_layers((view, SUM), ("y",), {"x": (5,)})
    assert [layer.sources for layer in layers] == [("x",)]
