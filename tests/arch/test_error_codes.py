# SPDX-License-Identifier: Apache-2.0
"""AN codes: the known smallest A, collisions by name, tables, and what double errors do."""

import re

import numpy as np
import pytest

from ohmtwin.arch.ancode import (
    AnCode,
    ErrorModel,
    collision,
    double_errors,
    largest_product,
    nearest_a,
    single_errors,
    smallest_a,
    smallest_detecting_a,
)
from ohmtwin.arch.chip import Chip
from ohmtwin.behavioral.ancode import decode

POWERS = ErrorModel.POWER_OF_TWO
SLICE = ErrorModel.SLICE

# Word bits, smallest A for powers of two, for 2-bit cells off by up to 3, and the smallest that
# detects every double error of powers of two.
KNOWN = [(16, 37, 69, 185), (20, 47, 69, 267), (24, 53, 119, 393), (32, 67, 137, 555)]


def test_errors() -> None:
    assert single_errors(POWERS, 3) == (1, -1, 2, -2, 4, -4)
    assert single_errors(SLICE, 4, 2) == (1, -1, 2, -2, 3, -3, 4, -4, 8, -8, 12, -12)
    assert len(single_errors(SLICE, 16, 2)) == 48
    assert single_errors(SLICE, 16, 1) == single_errors(POWERS, 16)
    with pytest.raises(ValueError, match=r"^A word must be a whole number of cells, not 6 bits in"):
        single_errors(SLICE, 6, 4)


@pytest.mark.parametrize(("bits", "powers", "slices", "detecting"), KNOWN)
def test_known_smallest_a(bits: int, powers: int, slices: int, detecting: int) -> None:
    assert smallest_a(single_errors(POWERS, bits)) == powers
    assert smallest_a(single_errors(SLICE, bits, 2)) == slices
    assert smallest_detecting_a(bits) == detecting


@pytest.mark.parametrize(
    ("bits", "miscorrected"), [(16, 0.762), (20, 0.765), (24, 0.839), (32, 0.908)]
)
def test_double_errors(bits: int, miscorrected: float) -> None:
    """The smallest A miscorrects 76 to 91 % of double errors, the larger one none at all."""
    _, small, _, large = next(known for known in KNOWN if known[0] == bits)
    rates = double_errors(AnCode(small, 1, POWERS, bits))
    assert rates.miscorrected == pytest.approx(miscorrected, abs=0.001)
    assert rates.missed == 0
    better = double_errors(AnCode(large, 1, POWERS, bits))
    assert (better.miscorrected, better.missed) == (0, 0)
    assert better.harmless == rates.harmless, "what cancels, or is a single error after all"
    assert better.detected == pytest.approx(1 - rates.harmless)


@pytest.mark.parametrize(("b", "miscorrected"), [(1, 0.762), (3, 0.141), (5, 0.0), (7, 0.188)])
def test_b_detects(b: int, miscorrected: float) -> None:
    """With A = 37 a factor 5 finds every double error of powers of two: 185 in another way."""
    rates = double_errors(AnCode(37, b, POWERS, 16))
    assert rates.miscorrected == pytest.approx(miscorrected, abs=0.001)
    assert rates.harmless + rates.miscorrected + rates.detected + rates.missed == pytest.approx(1)


def test_collision() -> None:
    assert collision(37, single_errors(POWERS, 16)) is None
    errors = single_errors(SLICE, 16, 2)
    assert collision(68, errors) == (-4, 64)
    assert collision(3, [1, 3]) == (0, 3)
    assert nearest_a(68, errors, 257) == 69
    assert nearest_a(70, errors, 257) == 71, "the larger of two as near"
    assert nearest_a(68, errors, 68) is None
    assert largest_product(16, 8) == 257


@pytest.mark.parametrize(
    ("a", "model", "message"),
    [
        (
            68,
            SLICE,
            "A = 68 does not tell an error of -4 from one of +64: both leave 64 modulo 68; the "
            "nearest A that is valid for 'slice' errors of 16-bit words in 2-bit cells is 69",
        ),
        (
            32,
            POWERS,
            "A = 32 does not tell an error of +16 from one of -16: both leave 16 modulo 32; the "
            "nearest A that is valid for 'power_of_two' errors of 16-bit words in 2-bit cells "
            "is 37",
        ),
        (
            2,
            POWERS,
            "A = 2 does not tell an error of +1 from one of -1: both leave 1 modulo 2; the nearest "
            "A that is valid for 'power_of_two' errors of 16-bit words in 2-bit cells is 37",
        ),
        (
            3,
            SLICE,
            "A = 3 does not tell an error of -1 from one of +2: both leave 2 modulo 3; the nearest "
            "A that is valid for 'slice' errors of 16-bit words in 2-bit cells is 69",
        ),
    ],
)
def test_a_that_is_not_valid(a: int, model: ErrorModel, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        AnCode(a, 1, model)


def test_bad_tables() -> None:
    good = list(AnCode(37, 1, POWERS).error_table)
    with pytest.raises(ValueError, match=r"^The table of corrections has 36 entries, A = 37 needs"):
        AnCode(37, 1, POWERS, table=tuple(good[1:]))
    wrong = good.copy()
    wrong[5] = 6
    with pytest.raises(
        ValueError, match=r"^Entry 5 of the table of corrections takes off 6, which"
    ):
        AnCode(37, 1, POWERS, table=tuple(wrong))
    wrong[5] = 5 + 37 * 900
    with pytest.raises(
        ValueError, match=r"takes off 33305, more than 32768, the largest of the 'power_of_two' err"
    ):
        AnCode(37, 1, POWERS, table=tuple(wrong))
    wrong[5] = 5
    with pytest.raises(
        ValueError,
        match=r"^Entry 5 of the table of corrections takes off 5, and entry 32 32; they share a pl",
    ):
        AnCode(37, 1, POWERS, table=tuple(wrong))
    with pytest.raises(ValueError, match=r"^A must be at least 2 and B at least 1, not 1 and 0$"):
        AnCode(1, 0)


@pytest.mark.parametrize(("a", "b"), [(37, 1), (37, 5), (69, 3), (47, 4), (185, 1), (74, 2)])
def test_table(a: int, b: int) -> None:
    """Every entry, put into a sum with that remainder, gives the sum without its error."""
    code = AnCode(a, b, POWERS if a != 69 else SLICE)
    assert len(code.corrections) == len(code.words) == code.entries == a // 2 + 1
    for residue, (error, entry) in enumerate(
        zip(code.error_table[: code.entries], code.corrections, strict=True)
    ):
        assert entry.detected == bool(residue and not error)
        if entry.detected:
            continue
        for sign in (1, -1):
            total = 1000 * code.product + sign * error
            n, rest = divmod(total - sign * residue + b // 2 * a, code.product)
            t, left = divmod(rest, a)
            assert left == 0
            assert (t - b // 2 - sign * entry.digit) % b == 0
            more = (t - b // 2 - sign * entry.digit) // b
            assert n + more + sign * entry.step == 1000
            assert code.error_of(total) == sign * error
        assert -((b - 1) // 2) <= entry.digit <= b // 2
    for word in code.words:
        assert 0 <= word < 1 << code.entry_bits
    digits = [word & (1 << code.digit_bits) - 1 for word in code.words]
    assert digits == [b if c.detected else c.digit % b for c in code.corrections]
    sign_bit = 1 << code.step_bits - 1
    steps = [(word >> code.digit_bits ^ sign_bit) - sign_bit for word in code.words]
    assert steps == [entry.step for entry in code.corrections]


@pytest.mark.parametrize(
    ("a", "b", "model"), [(69, 3, SLICE), (37, 5, POWERS), (185, 1, POWERS), (37, 1, POWERS)]
)
def test_no_decoded_sum_leaves_the_range_of_a_read(a: int, b: int, model: ErrorModel) -> None:
    """Accumulators are proven wide enough by it; a correction may take a sum past what was read."""
    chip = Chip(code_a=a, code_b=b, code_errors=model)
    assert chip.an_code is not None
    low, high = chip.sum_range
    values = decode(chip.an_code, np.arange(low, high + 1)).values
    least, most = chip.read_range
    assert least <= values.min() < 0
    assert high // chip.stored_factor < values.max() <= most
