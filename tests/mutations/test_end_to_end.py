# SPDX-License-Identifier: Apache-2.0
"""A planted bug anywhere breaks fast == verilator, and the report names the layer it shows in."""

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bugs import COMBINE, NOISE_KEY_C, REQUANTIZER, SCHEDULER
from plant import Mutation, planted, planted_in_c
from tile_networks import TILE_CHIP, samples, small_network

import ohmtwin as ot
from ohmtwin.behavioral.golden import run_network
from ohmtwin.host import verilator_build
from ohmtwin.host.compiler.network import CompiledNetwork
from ohmtwin.host.report import Divergence
from ohmtwin.host.targets import Target, VerilatorTarget, connect
from ohmtwin.host.verilating import SV
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
    macro = SV / "crossbar_macro_dpi.sv"
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


def located(report: ot.Report) -> Divergence:
    """The first difference between verilator and fast, where there must be one."""
    assert not report.agree
    assert report.levels["fast"].mismatches == 0, "the fast level has no bug"
    assert report.levels["verilator"].mismatches > 0
    first = report.levels["verilator"].first_divergence
    assert first is not None
    return first


@pytest.mark.parametrize("bug", [list(SCHEDULER)[1], next(iter(COMBINE))])
def test_a_bug_before_the_sums_is_found_in_the_first_layer(
    bug: str, model: Callable[[Path], None]
) -> None:
    model(mutant({**SCHEDULER, **COMBINE}[bug]))
    first = located(levels_agree(small_network(noisy=False)))
    assert (first.tensor, first.layer, first.cores) == ("first.acc", "first", (0, 1))
    assert (first.expected ^ first.got) >> first.bit & 1


def test_a_bug_in_the_requantizer_is_found_where_the_first_tie_is(
    model: Callable[[Path], None],
) -> None:
    compiled = small_network(noisy=False)
    exact = run_network(compiled.network, samples(COUNT))
    places = []
    for number, layer in enumerate(compiled.network.layers):
        magnitude = np.abs(exact[f"{layer.name}.acc"].astype(np.int64))
        # By 2**-9: a tie whose even neighbour is the nearer one to zero, unless it is clipped.
        tie = (magnitude % 1024 == 256) & (layer.mantissa == 1 << 23)
        code = exact[layer.name]
        tie &= (code > layer.clip_low) & (code < layer.clip_high)
        places += [(int(sample), number, int(index)) for sample, index in np.argwhere(tie)]
    sample, number, index = min(places)

    model(mutant(next(iter(REQUANTIZER.values()))))
    first = located(levels_agree(compiled))
    name = compiled.network.layers[number].name
    assert (first.sample, first.tensor, first.index) == (sample, name, index)
    assert abs(first.expected - first.got) == 1


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
