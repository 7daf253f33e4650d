# SPDX-License-Identifier: Apache-2.0
"""Linear equations whose products come from an array, and whose residual does not."""

import numpy as np
import pytest

from ohmtwin.arch.errors import ConfigError, InputError
from ohmtwin.behavioral.learning.device import LearnDevice
from ohmtwin.host.training.solver import ArrayMatrix, Solution, solve

DEVICE = LearnDevice(steps=1000, cycle=0.3, device=0.1, output_bound=4)


def make_system(
    n: int = 64, condition: float = 100, seed: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """A symmetric positive definite matrix, and a right side."""
    random = np.random.default_rng(seed)
    q, _ = np.linalg.qr(random.standard_normal((n, n)))
    return q @ np.diag(np.geomspace(1, 1 / condition, n)) @ q.T, random.standard_normal(n)


def solve_noisy(noise: float, **options: float) -> Solution:
    matrix, b = make_system()
    device = DEVICE.model_copy(update={"output_noise": noise})
    return solve(matrix, b, 1e-10, device, **{"inner": 10, "limit": 200} | options)


def test_a_noisy_array_helps_to_ten_digits() -> None:
    """64 x 64, condition 100, relative residual 1e-10; more noise takes more refinements."""
    matrix, b = make_system()
    assert np.linalg.cond(matrix) == pytest.approx(100)
    found = {noise: solve_noisy(noise) for noise in (0.0, 0.03)}
    for solution in found.values():
        assert solution.converged
        residual = np.linalg.norm(b - matrix @ solution.x) / np.linalg.norm(b)
        assert residual < 1.01e-10
        np.testing.assert_allclose(solution.x, np.linalg.solve(matrix, b), rtol=0, atol=1e-7)
        assert (np.diff(solution.residuals) <= 0).all()
        # The array cannot do that alone: one refinement brings a digit or two.
        assert solution.residuals[1] > 1e-4
    print({noise: s.refinements for noise, s in found.items()})
    assert found[0.0].refinements < found[0.03].refinements


def test_products_are_those_of_what_the_cells_hold() -> None:
    matrix, b = make_system(24)
    array = ArrayMatrix(matrix, DEVICE)
    held = array.held
    assert np.abs(held - matrix).max() < 2 * DEVICE.step * np.abs(matrix).max()
    for x in (b, 1e-9 * b, -b):
        exact = held @ x
        assert np.abs(array.product(x) - exact).max() < 0.02 * np.abs(exact).max()
    assert not array.product(np.zeros(24)).any()


def test_it_gives_up_and_says_so() -> None:
    solution = solve_noisy(0.03, limit=2)
    assert not solution.converged
    assert solution.refinements == 2
    zero = solve(np.eye(4), np.zeros(4), 1e-10, DEVICE)
    assert zero.converged
    assert not zero.x.any()


def test_systems_that_cannot_be_solved_are_refused() -> None:
    with pytest.raises(InputError, match="square"):
        solve(np.ones((3, 4)), np.ones(3), 1e-6, DEVICE)
    with pytest.raises(InputError, match="NaN"):
        solve(np.eye(3), np.array([1, np.nan, 0]), 1e-6, DEVICE)
    with pytest.raises(InputError, match="finite"):
        solve(np.full((3, 3), np.inf), np.ones(3), 1e-6, DEVICE)
    with pytest.raises(InputError, match="512"):
        solve(np.eye(600), np.ones(600), 1e-6, DEVICE)
    with pytest.raises(ConfigError, match="tolerance"):
        solve(np.eye(3), np.ones(3), 0, DEVICE)
