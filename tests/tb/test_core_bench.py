# SPDX-License-Identifier: Apache-2.0
"""One core, four ways to serve its macro, one result: every sum, every read, every counter."""

from pathlib import Path

import numpy as np
import pytest
from cases import CHIPS, core_products
from core_check import check_core
from designs import build_core

from ohmtwin.arch.errors import ToolError
from ohmtwin.tb import runner
from ohmtwin.tb.coverage import Coverage

# What they share is built in one worker.
pytestmark = pytest.mark.xdist_group("core bench")

SERVED = ("verilator-numpy", "verilator-c", "verilator-dpi", "icarus-numpy")

TESTED = {"wide", "narrow", "turning", "sliced"}
"""Chips with tests of their own."""

LONG = {"unary": 2, "stochastic": 2}
"""Products that are enough where one takes long."""


def built_for(served: str, chip: str) -> tuple[runner.Build, str]:
    simulator, engine = served.split("-")
    try:
        runner.find_simulator(simulator)
    except ToolError as error:
        pytest.skip(str(error))
    return build_core(simulator, chip, "dpi" if engine == "dpi" else "cocotb"), engine


@pytest.mark.parametrize("noise", [0.0, 0.6], ids=["ideal", "noisy"])
@pytest.mark.parametrize("served", SERVED)
def test_core_equals_the_behavioral_core(served: str, noise: float, tmp_path: Path) -> None:
    built, engine = built_for(served, "wide")
    products = core_products(CHIPS["wide"], seed=11)
    check_core(built, "wide", engine, products, tmp_path, noise=noise)


@pytest.mark.parametrize("stalls", ["sometimes", "often", "bursts"])
@pytest.mark.parametrize("served", ["verilator-c", "icarus-numpy"])
def test_stalls_change_no_result(served: str, stalls: str, tmp_path: Path) -> None:
    built, engine = built_for(served, "wide")
    products = core_products(CHIPS["wide"], seed=12, count=12)
    check_core(built, "wide", engine, products, tmp_path, stalls=stalls, noise=0.6, seed=4)


@pytest.mark.parametrize("stalls", ["never", "often"])
def test_fewer_lanes_than_slices(stalls: str, tmp_path: Path) -> None:
    built, engine = built_for("icarus-numpy", "narrow")
    products = core_products(CHIPS["narrow"], seed=13, count=8)
    check_core(built, "narrow", engine, products, tmp_path, stalls=stalls, noise=0.4)


@pytest.mark.parametrize("served", ["verilator-c", "verilator-dpi", "icarus-numpy"])
def test_arrays_that_take_turns(served: str, tmp_path: Path) -> None:
    """Each with cells, noise and read numbers of its own; some products add to those before."""
    built, engine = built_for(served, "turning")
    products = core_products(CHIPS["turning"], seed=17, count=12)
    assert {product.array for product in products} == {0, 1, 2}
    assert any(product.keep for product in products)
    stalls = "never" if engine == "dpi" else "sometimes"
    check_core(built, "turning", engine, products, tmp_path, stalls=stalls, noise=0.6)


@pytest.mark.parametrize("served", ["verilator-dpi", "icarus-numpy"])
def test_reads_of_one_slice(served: str, tmp_path: Path) -> None:
    built, engine = built_for(served, "sliced")
    products = core_products(CHIPS["sliced"], seed=18, count=8)
    stalls = "never" if engine == "dpi" else "sometimes"
    check_core(built, "sliced", engine, products, tmp_path, stalls=stalls, noise=0.6)


@pytest.mark.parametrize("chip", sorted(CHIPS.keys() - TESTED))
def test_options(chip: str, tmp_path: Path) -> None:
    """Every option of a core. Random cells are no codewords: sums of a code have any remainder."""
    built, engine = built_for("icarus-numpy", chip)
    products = core_products(CHIPS[chip], seed=15, count=LONG.get(chip, 8))
    check_core(built, chip, engine, products, tmp_path, stalls="sometimes", noise=0.6)


@pytest.mark.parametrize("chip", ["coded clip", "coded budgets"])
def test_events_are_counted(chip: str, tmp_path: Path) -> None:
    """None of the counters that options add stays at 0."""
    built, engine = built_for("icarus-numpy", chip)
    products = core_products(CHIPS[chip], seed=16, count=4)
    check_core(built, chip, engine, products, tmp_path, noise=0.6)
    events = np.load(tmp_path / "found.npz")["events"]
    assert events.shape[1] == len(CHIPS[chip].events)
    assert (events.sum(axis=0) > 0).all()


def test_products_cover_what_they_are_for(tmp_path: Path) -> None:
    """The other tests prove little if their products never do what is hard."""
    built, engine = built_for("verilator-c", "wide")
    total: Coverage | None = None
    for stalls in ("never", "often"):
        folder = tmp_path / stalls
        products = core_products(CHIPS["wide"], seed=11)
        check_core(built, "wide", engine, products, folder, stalls=stalls)
        seen = Coverage.load(folder / "coverage.json")
        if total is None:
            total = seen
        else:
            total.merge(seen)
    assert total is not None
    print(total.report())
    total.check()
