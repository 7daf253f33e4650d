# SPDX-License-Identifier: Apache-2.0
"""Linear systems solved with an inexact array."""

import numpy as np
import pytest

from ohmtwin.arch.errors import ConfigError
from ohmtwin.behavioral.learning.device import LearnDevice
from ohmtwin.host.solver import ArrayMatrix, example_matrix, solve

B = np.random.default_rng(4).standard_normal(64)


def device(noise: float) -> LearnDevice:
    return LearnDevice(name="solver", adc_bits=12, output_noise=noise, output_bound=2)


@pytest.mark.parametrize(("noise", "programming"), [(0.0, 0.0), (0.01, 0.0), (0.01, 0.01)])
def test_condition_100_is_solved_to_1e_10(noise: float, programming: float) -> None:
    matrix = example_matrix(64, 100, 3)
    assert np.linalg.cond(matrix) == pytest.approx(100, rel=1e-6)
    found = solve(matrix, B, device(noise), programming=programming)
    assert found.converged
    assert np.linalg.norm(matrix @ found.x - B) / np.linalg.norm(B) <= 1e-10
    np.testing.assert_allclose(found.x, np.linalg.solve(matrix, B), rtol=1e-6, atol=1e-7)
    assert list(found.residuals) == sorted(found.residuals, reverse=True)
    assert found.products <= 20 * found.refinements


def test_noise_costs_refinements() -> None:
    matrix = example_matrix(64, 100, 3)
    counts = [solve(matrix, B, device(noise)).refinements for noise in (0.0, 0.01, 0.05)]
    assert counts == sorted(counts)
    assert counts[2] > 3 * counts[0]


def test_a_matrix_that_is_not_symmetric_is_solved_too() -> None:
    random = np.random.default_rng(8)
    matrix = np.eye(30) + 0.1 * random.standard_normal((30, 30))
    found = solve(matrix, B[:30], device(0.01), tolerance=1e-12)
    assert found.converged
    np.testing.assert_allclose(matrix @ found.x, B[:30], atol=1e-10)


def test_what_does_not_converge_says_so() -> None:
    found = solve(example_matrix(64, 1e4, 3), B, device(0.1), limit=5)
    assert not found.converged
    assert found.refinements == 5


def test_products_are_near_the_exact_ones() -> None:
    random = np.random.default_rng(2)
    matrix, vector = random.standard_normal((20, 12)), random.standard_normal(12)
    array = ArrayMatrix(matrix, LearnDevice(adc_bits=16, steps=1000, output_bound=4))
    exact = matrix @ vector
    assert np.abs(array.product(vector) - exact).max() < 2e-3 * np.abs(exact).max()
    assert not array.product(np.zeros(12)).any()


@pytest.mark.parametrize(
    ("matrix", "right", "options", "message"),
    [
        (np.ones((2, 3)), np.ones(2), {}, "square matrix"),
        (np.eye(2), np.ones(3), {}, "as long a vector"),
        (np.eye(2), np.array([1, np.nan]), {}, "right side"),
        (np.eye(2), np.zeros(2), {}, "right side"),
        (np.diag([1, np.inf]), np.ones(2), {}, "matrix is zero or"),
        (np.eye(600), np.ones(600), {}, "1 to 512 rows"),
        (np.eye(2), np.ones(2), {"tolerance": 0.0}, "tolerance of 1e-15"),
        (np.eye(2), np.ones(2), {"programming": 2.0}, "error of programming"),
    ],
)
def test_systems_that_cannot_be_are_refused(
    matrix: np.ndarray, right: np.ndarray, options: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        solve(matrix, right, device(0.0), **options)
