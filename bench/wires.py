# SPDX-License-Identifier: Apache-2.0
"""Exact IR drop against badcrossbar, a nodal solver that is not ours.

badcrossbar 1.1 (Joksas and Mehonic, SoftwareX 12, 2020, 100617) has the geometry of a forward read
driven from one end, with no driver or sense resistance but the first and last segment.
"""

import logging
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import InputError
from ..behavioral.wires import WireModel, transfer_matrix

__all__ = ["RESISTANCES", "badcrossbar_compute", "max_rel_diff", "solve_s", "speedup"]

RESISTANCES = (0.1, 1.0, 10.0)
"""Ohm a segment: wide copper, a fine pitch, a very fine one."""

SIZE = 128
VECTORS = 16


def badcrossbar_compute() -> Callable[..., Any]:
    """Return ``badcrossbar.compute``, loaded without what it does to logging and warnings.

    Raises
    ------
    InputError
        If badcrossbar is not installed.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        # It warns that its drawing, which needs pycairo, is not there.
        with warnings.catch_warnings(record=True):
            from badcrossbar.compute import compute
    except ImportError as error:
        raise InputError(
            f"The reference for wire networks cannot be loaded ({error}); run"
            " pip install pathvalidate, then pip install --no-deps badcrossbar==1.1.0"
        ) from None
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    logging.getLogger("badcrossbar").setLevel(logging.WARNING)
    found: Callable[..., Any] = compute
    return found


def _problem(size: int, seed: int, vectors: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Random cells [size, size] of 1 to 100 microsiemens and voltages [vectors, size] up to 1 V."""
    random = np.random.default_rng(seed)
    return random.uniform(1e-6, 1e-4, (size, size)), random.uniform(0.0, 1.0, (vectors, size))


def max_rel_diff(sizes: tuple[int, ...] = (32, 64, SIZE)) -> float:
    """Largest difference of a column current, relative to the largest current of its array."""
    compute = badcrossbar_compute()
    worst = 0.0
    for seed, size in enumerate(sizes):
        for resistance in RESISTANCES:
            g, volts = _problem(size, seed, 4)
            found = volts @ transfer_matrix(g, WireModel(r_row=resistance, r_col=resistance))
            solved = compute(
                volts.T, 1.0 / g, r_i=resistance, node_voltages=False, all_currents=False
            )
            expected = solved.currents.output
            worst = max(worst, float(np.abs(found - expected).max() / np.abs(expected).max()))
    return worst


def speedup(runs: int = 5) -> tuple[float, int]:
    """Seconds a vector of badcrossbar over those of ``v @ T`` once solved, at 128 x 128.

    Both get the same vectors at once, which is to badcrossbar's advantage.

    Returns
    -------
    ratio : float
        Of the medians over the runs, processor time.
    vectors : int
        Vectors a call.
    """
    compute = badcrossbar_compute()
    g, volts = _problem(SIZE, 0, VECTORS)
    transfer = transfer_matrix(g, WireModel(r_row=1.0, r_col=1.0))
    repeats = 2000

    def ours() -> None:
        for _ in range(repeats):
            np.matmul(volts, transfer)

    def theirs() -> None:
        compute(volts.T, 1.0 / g, r_i=1.0, node_voltages=False, all_currents=False)

    return _median(theirs, runs) / (_median(ours, runs) / repeats), VECTORS


def solve_s(runs: int = 5) -> float:
    """Seconds for the transfer matrix of 128 x 128 cells, processor time, median."""
    g, _ = _problem(SIZE, 0, 1)
    wires = WireModel(r_row=1.0, r_col=1.0, r_driver=100.0, r_sense=100.0)
    return _median(lambda: transfer_matrix(g, wires), runs)


def _median(run: Callable[[], object], runs: int) -> float:
    run()  # warms caches
    times = []
    for _ in range(runs):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return statistics.median(times)
