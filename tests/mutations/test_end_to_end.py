# SPDX-License-Identifier: Apache-2.0
"""A planted bug anywhere breaks fast == verilator, and the report names the layer it shows in."""

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bugs import COMBINE, NOISE_KEY_C, REQUANTIZER, SCHEDULER
from networks import TILE_CHIP, samples, small_network
from plant import Mutation, planted, planted_in_c

import ohmtwin as ot
from ohmtwin.host import verilator_build
from ohmtwin.host.compiler import CompiledNetwork
from ohmtwin.host.targets import Target, VerilatorTarget, connect
from ohmtwin.rtl.emit import emit_verilog
from ohmtwin.rtl.tile import Tile

verify_module = importlib.import_module("ohmtwin.host.verify")

COUNT = 40


def levels_agree(compiled: CompiledNetwork) -> ot.Report:
    return ot.verify(
        compiled, samples(COUNT).astype(np.float32), levels=("golden", "fast", "verilator")
    )


def mutant(mutation: Mutation) -> Path:
    """A model of the tile with a bug in its RTL."""
    with planted(mutation):
        text = emit_verilog(Tile(chip=TILE_CHIP), "tile")
    macro = verilator_build._SV / "crossbar_macro_dpi.sv"
    return verilator_build.build_verilog(text, [macro], lambda what, done, of: None, dpi=True)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Call it to run level "verilator" on another model."""

    def install(library: Path) -> None:
        def instead(level: str, compiled: CompiledNetwork, progress: object = None) -> Target:
            if level == "verilator":
                return VerilatorTarget(compiled, library=library, patience=100_000)
            return connect(level, compiled)

        monkeypatch.setattr(verify_module, "connect", instead)

    return install


@pytest.mark.parametrize("noisy", [False, True], ids=["ideal", "noisy"])
def test_levels_agree_without_a_bug(noisy: bool) -> None:
    report = levels_agree(small_network(noisy=noisy))
    assert report.agree
    assert report.levels["verilator"].values == COUNT * 2 * (8 + 4)


# The tensor in which a bug shows first. A requantizer is behind the sums: these must stay right.
BUGS = [
    pytest.param(SCHEDULER, 1, "first.acc", id="scheduler"),
    pytest.param(COMBINE, 0, "first.acc", id="slice combine"),
    pytest.param(REQUANTIZER, 0, "first", id="requantizer"),
]


@pytest.mark.parametrize(("bugs", "which", "tensor"), BUGS)
def test_a_bug_in_the_rtl_is_found_and_located(
    bugs: dict[str, Mutation], which: int, tensor: str, model: Callable[[Path], None]
) -> None:
    model(mutant(list(bugs.values())[which]))
    report = levels_agree(small_network(noisy=False))
    assert not report.agree
    verilator = report.levels["verilator"]
    assert verilator.mismatches > 0
    assert verilator.first_divergence is not None
    assert verilator.first_divergence.tensor == tensor
    assert verilator.first_divergence.layer == "first"
    assert verilator.first_divergence.cores == (0, 1)
    assert report.levels["fast"].mismatches == 0


@pytest.mark.parametrize("bug", NOISE_KEY_C)
def test_another_noise_key_at_one_level_is_found(bug: str, tmp_path: Path) -> None:
    """Here the fast level has the bug: noise that is as good as the other, and not the same."""
    with planted_in_c(NOISE_KEY_C[bug], tmp_path):
        report = levels_agree(small_network(noisy=True))
        assert not report.agree
        first = report.levels["verilator"].first_divergence
        assert first is not None
        assert first.layer == "first"
        assert first.tensor == "first.acc"
        # Without noise there is no key.
        assert levels_agree(small_network(noisy=False)).agree
