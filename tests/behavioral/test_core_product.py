# SPDX-License-Identifier: Apache-2.0
"""A core's product: exact when ideal, equal in C and Python, and timed as worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ohmtwin.behavioral import cengine, core
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.core import MvmConfig
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.image import ArrayImage


def ideal_image(levels: np.ndarray, adc_bits: int = 12) -> ArrayImage:
    return ArrayImage(
        g=(levels.astype(np.int32) * 4096),
        ref=np.zeros(len(levels), np.int32),
        adc_bits=adc_bits,
    )


def both(image, x, config):
    """Run Python and C, hold every field equal, and return the result."""
    numpy, c = Crossbar(image, 1, 2), CCrossbar(image, 1, 2)
    expected, got = core.core_mvm(numpy, x, config), cengine.core_mvm(c, x, config)
    for field in ("acc", "reads", "active", "stall"):
        left, right = getattr(expected, field), getattr(got, field)
        assert left.dtype == right.dtype
        assert np.array_equal(left, right), field
    assert numpy.reads == c.reads == expected.reads.sum()
    return got


CONFIGS = st.fixed_dictionaries(
    {
        "rows": st.sampled_from([8, 24, 64, 128, 200, 256]),
        "used": st.floats(0, 1),
        "outputs": st.integers(1, 8),
        "rows_per_read": st.one_of(st.integers(1, 20), st.integers(1, 256)),
        "zero_skip": st.booleans(),
        "group": st.one_of(st.integers(1, 20), st.integers(1, 256)),
        "weights": st.sampled_from([1, 2, 3, 4, 8]).flatmap(
            lambda n: st.tuples(*n * [st.integers(-65535, 65535)])
        ),
        "beats": st.one_of(st.integers(1, 4), st.integers(1, 40)),
        "planes": st.integers(1, 8),
        "tail": st.integers(0, 5),
        "density": st.floats(0, 1),
        "noisy": st.booleans(),
        "seed": st.integers(0, 2**32 - 1),
    }
)


@given(CONFIGS)
@settings(max_examples=300, deadline=None)
def test_c_equals_python(draw):
    random = np.random.default_rng(draw["seed"])
    rows, cols = draw["rows"], 64
    image = ArrayImage(
        g=random.integers(-500, 13000, (rows, cols), dtype=np.int32),
        ref=random.integers(0, 400, rows, dtype=np.int32),
        q=random.integers(0, 9000, (rows, cols), dtype=np.int32) if draw["noisy"] else None,
        v0=40000 if draw["noisy"] else 0,
        v1=100000 if draw["noisy"] else 0,
        adc_bits=8,
    )
    names = ("outputs", "rows_per_read", "zero_skip", "group", "weights", "beats")
    config = MvmConfig(
        rows_used=max(1, round(draw["used"] * rows)),
        planes=draw["planes"],
        tail=draw["tail"],
        **{name: draw[name] for name in names},
    )
    x = random.integers(0, 256, (2, rows)).astype(np.uint8)
    x[random.random(x.shape) > draw["density"]] = 0
    x[0] &= 0x81  # empty planes in the middle
    both(image, x, config)


@pytest.mark.parametrize("zero_skip", [False, True])
@pytest.mark.parametrize("rows_per_read", [1, 7, 16, 128])
@pytest.mark.parametrize(("slices", "cell_bits"), [(8, 1), (4, 2), (2, 4), (3, 3)])
def test_ideal_product_is_the_integer_product(zero_skip, rows_per_read, slices, cell_bits):
    random = np.random.default_rng(1)
    used, outputs = 100, 16
    weights = random.integers(0, 1 << (slices * cell_bits), (128, outputs))
    shifts = np.arange(slices) * cell_bits
    levels = (weights[:, :, None] >> shifts & ((1 << cell_bits) - 1)).reshape(128, -1)
    x = random.integers(0, 256, (5, 128)).astype(np.uint8)
    config = MvmConfig(
        rows_used=used,
        outputs=outputs,
        rows_per_read=rows_per_read,
        zero_skip=zero_skip,
        group=16,
        weights=tuple(1 << (s * cell_bits) for s in range(slices)),
        beats=8,
    )
    result = both(ideal_image(levels), x, config)
    assert np.array_equal(result.acc, x[:, :used].astype(np.int64) @ weights[:used])
    # The bound of DESIGN section 7: reads are never more than the schedule needs.
    planes = [(x[:, :used] >> p & 1).sum(axis=1, dtype=np.int64) for p in range(8)]
    bound = sum(-(-(n if zero_skip else np.full(5, used)) // rows_per_read) for n in planes)
    assert np.array_equal(result.reads, bound)


def timed(x, *, tail=0, **parameters):
    """Reads, active and stall cycles of one input vector of 32 rows."""
    image = ideal_image(np.ones((32, 8), dtype=np.int64))
    inputs = np.zeros((1, 32), dtype=np.uint8)
    for row, value in x.items():
        inputs[0, row] = value
    defaults = {"rows_used": 32, "outputs": 8, "weights": (1,), "group": 8}
    result = both(image, inputs, MvmConfig(**(defaults | parameters), tail=tail))
    return int(result.reads[0]), int(result.active[0]), int(result.stall[0])


# Worked by hand. s: the planner's last step for a read; a: the read is accepted.
TIMINGS = [
    # One bit in one plane: s = 1, a = 2, last beat ends at 2 + 4.
    ({0: 1}, {"planes": 1, "beats": 4}, (1, 6, 0)),
    # Then an empty plane, done long before the conversion ends.
    ({0: 1}, {"planes": 2, "beats": 4}, (1, 6, 0)),
    # Seven empty planes outlast it: 1 + 7 against 2 + 1.
    ({0: 1}, {"planes": 8, "beats": 1}, (1, 8, 0)),
    # Seven empty planes first: s = 8, a = 9.
    ({0: 128}, {"planes": 8, "beats": 1}, (1, 10, 0)),
    # Nothing at all: eight steps, and the tail.
    ({}, {"planes": 8, "beats": 4, "tail": 3}, (0, 11, 0)),
    # Four groups hold one bit each: four steps, one read.
    ({0: 1, 8: 1, 16: 1, 24: 1}, {"planes": 1, "beats": 2}, (1, 7, 0)),
    # Two reads of two groups; s = 2, a = 3; s = 4, a = max(5, 4): the ADC waits one cycle.
    ({0: 1, 8: 1, 16: 1, 24: 1}, {"planes": 1, "beats": 1, "rows_per_read": 2}, (2, 6, 1)),
    # With longer conversions it does not: a = 3, 3 + 6.
    ({0: 1, 8: 1, 16: 1, 24: 1}, {"planes": 1, "beats": 6, "rows_per_read": 2}, (2, 15, 0)),
    # A group that a read leaves unfinished is touched again by the next one.
    ({0: 1, 1: 1, 2: 1, 8: 1}, {"planes": 1, "beats": 1, "rows_per_read": 2}, (2, 5, 1)),
    # Four reads of one step each: s = 1, 2, 6, 10; a = 2, 6, 10, 14: the plan slot holds one.
    (dict.fromkeys(range(4), 1), {"planes": 1, "beats": 4, "rows_per_read": 1}, (4, 18, 0)),
    # Three reads of a group, then one of four: s = 1, 2, 4 and 4 + 4; a = 2, 4, 6, 9. Had the
    # planner run on while the plan slot was taken, it would have been ready at 7, and a = 8.
    (
        dict.fromkeys([1, 2, 3, 5, 6, 7, 9, 10, 11], 1) | {0: 3, 4: 3, 8: 3, 12: 2},
        {"planes": 2, "beats": 2, "rows_per_read": 4, "group": 4},
        (4, 11, 1),
    ),
    # Three reads of one step, two empty planes, then a read: its steps are counted from s = 6.
    # s = 1, 2, 6; a = 2, 6, 10. Two empty steps and its own: s = max(6 + 3, 10), a = 14.
    (
        {0: 9, 1: 1, 2: 1},
        {"planes": 4, "beats": 4, "rows_per_read": 1},
        (4, 18, 0),
    ),
]


@pytest.mark.parametrize(("x", "parameters", "expected"), TIMINGS)
def test_cycles_worked_by_hand(x, parameters, expected):
    defaults = {"zero_skip": True, "rows_per_read": 16}
    assert timed(x, **(defaults | parameters)) == expected


def test_baseline_reads_rows_that_are_not_driven():
    # Two planes of 32 rows, 16 a read, 8 a group: two steps a read; a = 3, 5, 7, 9 with a beat of
    # one, so the ADC waits a cycle before each read but the first.
    parameters = {"zero_skip": False, "rows_per_read": 16, "planes": 2, "beats": 1}
    assert timed({}, **parameters) == (4, 10, 3)
    assert timed({0: 3, 31: 2}, **parameters) == (4, 10, 3)


def test_inputs_beyond_the_rows_used_are_ignored():
    parameters = {"zero_skip": True, "rows_per_read": 16, "planes": 1, "beats": 1, "rows_used": 5}
    assert timed({4: 1, 5: 1, 31: 255}, **parameters) == timed({4: 1}, **parameters)


GOOD = {
    "rows_used": 16,
    "outputs": 8,
    "rows_per_read": 4,
    "zero_skip": True,
    "group": 8,
    "weights": (1,),
    "beats": 1,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows_used": 0}, "rows_used must be 1 to 256, not 0"),
        ({"planes": 9}, "planes must be 1 to 8, not 9"),
        ({"group": 257}, "group must be 1 to 256, not 257"),
        ({"beats": 0}, "beats must be 1 to 512, not 0"),
        ({"weights": (1,) * 17}, "1 to 16 columns, not 17"),
        ({"weights": (1, -65536)}, "16 bits and a sign, not -65536"),
    ],
)
def test_config_errors(change, message):
    with pytest.raises(ValueError, match=message):
        MvmConfig(**(GOOD | change))


@pytest.mark.parametrize(
    ("change", "shape", "dtype", "message"),
    [
        ({"rows_used": 24}, (1, 16), np.uint8, "uses 24 rows of an array that has 16"),
        ({"weights": (1, 2)}, (1, 16), np.uint8, "needs 8 x 2 columns of an array that has 8"),
        ({}, (1, 15), np.uint8, r"uint8 \[batch, 16\], not uint8 \[1, 15\]"),
        ({}, (1, 16), np.int64, "not int64"),
    ],
)
def test_mvm_errors(change, shape, dtype, message):
    image = ideal_image(np.ones((16, 8), dtype=np.int64))
    config = MvmConfig(**(GOOD | change))
    for crossbar, run in ((Crossbar, core.core_mvm), (CCrossbar, cengine.core_mvm)):
        with pytest.raises(ValueError, match=message):
            run(crossbar(image, 0, 0), np.zeros(shape, dtype), config)
