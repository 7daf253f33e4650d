# SPDX-License-Identifier: Apache-2.0
"""Crafton et al. 2021, Fig. 12 and its text: errors of a column sum by spread and rows read.

The paper's numbers: spreads of 5, 10 and 20 %; 7 cells on with a 3-bit ADC, 15 with a 4-bit one;
3.5 % for the best devices. Its curves are in a picture only; the law here is exact instead.
"""

import functools

import numpy as np
import pytest
from column_sum import CELLS_ON, SPREADS, column_errors, error_law
from numpy.typing import NDArray
from scipy.stats import chi2

SUMS = 200_000

# Chance that a true law is refused; the seeds are fixed, so a test passes always or never.
LEVEL = 1e-3


@functools.cache
def measured(spread: float, cells: int, adc_bits: int) -> NDArray[np.int64]:
    return column_errors(spread, cells, adc_bits, SUMS)


def chi_square(
    errors: NDArray[np.int64], values: NDArray[np.int64], shares: NDArray[np.float64]
) -> tuple[float, int]:
    """Statistic and bins: a bin for every error, those expected fewer than 10 times in one."""
    observed = np.array([(errors == value).sum() for value in values], float)
    expected = shares * len(errors)
    assert observed.sum() == len(errors)
    rare = expected < 10
    observed = np.append(observed[~rare], observed[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    if expected[-1] < 1:  # too few for a bin: they go to the rarest one that is left
        assert observed[-1] <= 3
        order = np.argmin(expected[:-1])
        observed[order] += observed[-1]
        expected[order] += expected[-1]
        observed, expected = observed[:-1], expected[:-1]
    return float(((observed - expected) ** 2 / expected).sum()), len(expected)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("cells", CELLS_ON)
@pytest.mark.parametrize("extra_bits", [0, 1], ids=["paper's ADC", "a bit more"])
def test_errors_follow_the_rounded_gaussian(spread: float, cells: int, extra_bits: int) -> None:
    """n = 200,000 sums or more of cells of their own, a bin for each error, chi-square at 1e-3.

    With the paper's ADC, all cells on give the highest code: no error is above zero.
    """
    bits = cells.bit_length() + extra_bits
    assert bits == {7: 3, 15: 4}[cells] + extra_bits
    errors = measured(spread, cells, bits)
    assert len(errors) >= SUMS
    values, shares = error_law(spread, cells, bits)
    assert shares.sum() == pytest.approx(1.0)
    statistic, bins = chi_square(errors, values, shares)
    assert bins >= 2
    assert statistic < chi2.isf(LEVEL, bins - 1)
    if not extra_bits:
        assert errors.max() == 0


@pytest.mark.parametrize(
    ("cells", "wrong"),
    [(7, (0.00016, 0.05878, 0.34470)), (15, (0.00982, 0.19671, 0.51861))],
)
def test_share_of_wrong_sums(cells: int, wrong: tuple[float, ...]) -> None:
    """``2 * (1 - Phi(0.5 / (spread * sqrt(cells))))`` by a table of the normal law, 5 sigma."""
    for spread, expected in zip(SPREADS, wrong, strict=True):
        errors = measured(spread, cells, cells.bit_length() + 1)
        sigma = (expected * (1 - expected) / len(errors)) ** 0.5
        assert (errors != 0).mean() == pytest.approx(expected, abs=5 * sigma + 1e-5)
        assert errors.std() ** 2 == pytest.approx(
            _rounded_variance(spread, cells), rel=0.02, abs=1e-4
        )


def _rounded_variance(spread: float, cells: int) -> float:
    values, shares = error_law(spread, cells, cells.bit_length() + 1)
    return float((values**2 * shares).sum())


def test_the_order_of_the_curves() -> None:
    """More spread or more cells: larger errors, at every point of the cumulative curve."""
    for bound in (0, 1):
        within = {
            (cells, spread): (abs(measured(spread, cells, cells.bit_length() + 1)) <= bound).mean()
            for cells in CELLS_ON
            for spread in SPREADS
        }
        for spread in SPREADS:
            assert within[15, spread] <= within[7, spread]
        for cells in CELLS_ON:
            assert within[cells, 0.05] >= within[cells, 0.10] > within[cells, 0.20]


def test_the_best_devices_read_seven_cells_without_error() -> None:
    """At 3.5 % the law has 7e-8 for 7 cells (none seen in 200,000) and 2.3e-4 for 15."""
    assert not column_errors(0.035, 7, 4, SUMS).any()
    errors = column_errors(0.035, 15, 5, SUMS)
    assert (errors != 0).mean() == pytest.approx(2.26e-4, abs=5 * (2.26e-4 / len(errors)) ** 0.5)
