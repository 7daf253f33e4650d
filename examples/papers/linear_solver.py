# SPDX-License-Identifier: Apache-2.0
"""Ax = b with an array for the inexact products: refinements and reads against the array's noise.

Le Gallo et al. 2018, "Mixed-precision in-memory computing". 64 equations, symmetric and positive
definite, condition number 100, to a relative residual of 1e-10; medians over five systems, each
written by pulses that noisy reads verify. Ten products make a correction.

    python linear_solver.py [FIGURE.svg]
"""

import sys
from pathlib import Path

import numpy as np

from ohmtwin.behavioral.learning.device import LearnDevice
from ohmtwin.host.plots.figures import COLOURS, canvas, save
from ohmtwin.host.training.solver import Solution, solve

__all__ = ["NOISES", "draw", "main", "run"]

NOISES = (0.0, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1)
"""Sigma of an output over the product of the largest weight and the largest input."""

SEEDS = (1, 2, 3, 4, 5)


def run(noise: float, seed: int) -> Solution:
    """One system."""
    random = np.random.default_rng(seed)
    q, _ = np.linalg.qr(random.standard_normal((64, 64)))
    matrix = q @ np.diag(np.geomspace(1, 0.01, 64)) @ q.T
    device = LearnDevice(steps=1000, cycle=0.3, device=0.1, output_noise=noise, output_bound=4)
    return solve(matrix, random.standard_normal(64), 1e-10, device, seed=seed, inner=10)


def draw(found: dict[float, list[Solution]], path: Path) -> None:
    """Both against noise, and the residuals of the first system."""
    with canvas(1000, 400) as figure:
        left, right = figure.subplots(1, 2)
        noises = [100 * noise for noise in found]
        for values, name, colour in (
            ([[s.refinements for s in all_of] for all_of in found.values()], "refinements", 0),
            ([[s.reads for s in all_of] for all_of in found.values()], "reads of the array", 1),
        ):
            left.plot(noises, np.median(values, axis=1), "o-", color=COLOURS[colour], label=name)
        left.set_yscale("log")
        left.set_xlabel("noise of an output, % of the largest weight and input")
        left.legend()
        for i, (noise, all_of) in enumerate(found.items()):
            colour = COLOURS[i % len(COLOURS)]
            right.semilogy(all_of[0].residuals, color=colour, label=f"{100 * noise:g} %")
        right.set_xlabel("refinements")
        right.set_ylabel("relative residual")
        right.legend()
        save(figure, path)


def main(arguments: list[str]) -> int:
    found = {noise: [run(noise, seed) for seed in SEEDS] for noise in NOISES}
    print("noise  refinements  reads  converged")
    for noise, all_of in found.items():
        refinements = np.median([s.refinements for s in all_of])
        reads = np.median([s.reads for s in all_of])
        done = sum(s.converged for s in all_of)
        print(f"{100 * noise:4.1f} %  {refinements:6.0f}  {reads:9.0f}  {done} of {len(all_of)}")
    if arguments:
        draw(found, Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
