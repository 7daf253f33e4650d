# SPDX-License-Identifier: Apache-2.0
"""How many refinements a linear system takes, against the noise of the array that helps.

Le Gallo et al. 2018, "Mixed-precision in-memory computing": 64 equations of condition number 100,
solved to a relative residual of 1e-10.

    python solver.py [FIGURE.svg]
"""

import sys
from pathlib import Path

import numpy as np

from ohmtwin.behavioral.learning.device import LearnDevice
from ohmtwin.host.plots.figures import COLOURS, canvas, save
from ohmtwin.host.solver import Solution, example_matrix, solve

__all__ = ["NOISES", "PROGRAMMING", "main", "measure"]

NOISES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1)
PROGRAMMING = (0.0, 0.003, 0.01)
SYSTEMS = 5


def measure(noise: float, programming: float, seed: int) -> Solution:
    """Solve one system.

    Parameters
    ----------
    noise : float
        Sigma of an output, relative to the largest weight at the largest input.
    programming : float
        Sigma of the cells' errors, relative to the largest weight.
    seed : int
        Of the system and the noise.
    """
    device = LearnDevice(name="solver", adc_bits=12, output_noise=noise, output_bound=2)
    right = np.random.default_rng(seed).standard_normal(64)
    matrix = example_matrix(64, 100, seed)
    return solve(matrix, right, device, programming=programming, seed=seed, limit=600)


def main() -> None:
    """Command line."""
    print("| noise | " + " | ".join(f"cells off by {p:.1%}" for p in PROGRAMMING) + " |")
    print("|---|" + "---|" * len(PROGRAMMING))
    counts: dict[float, list[float]] = {p: [] for p in PROGRAMMING}
    for noise in NOISES:
        cells = []
        for programming in PROGRAMMING:
            runs = [measure(noise, programming, seed) for seed in range(1, 1 + SYSTEMS)]
            solved = [run.refinements for run in runs if run.converged]
            mean = float(np.mean(solved)) if len(solved) == SYSTEMS else np.nan
            counts[programming].append(mean)
            products = np.mean([run.products for run in runs])
            cells.append(f"{mean:.0f} ({products:.0f})" if solved else "not in 600")
        print(f"| {noise:.1%} | " + " | ".join(cells) + " |")
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
        with canvas(640, 400) as figure:
            axes = figure.add_subplot()
            for colour, (programming, means) in zip(COLOURS, counts.items(), strict=False):
                axes.plot(
                    [max(noise, 3e-4) for noise in NOISES],
                    means,
                    "o-",
                    color=colour,
                    label=f"cells off by {programming:.1%}",
                )
            axes.set(xscale="log", yscale="log")
            axes.set_xlabel("noise of an output, relative to the largest weight (left: none)")
            axes.set_ylabel("refinements to 1e-10")
            axes.set_title("64 equations, condition number 100, 20 array products a refinement")
            axes.legend()
            save(figure, path)
        print(f"\n{path}")


if __name__ == "__main__":
    main()
