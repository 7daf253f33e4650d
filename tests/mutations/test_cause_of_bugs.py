# SPDX-License-Identifier: Apache-2.0
"""A bug planted in the RTL is explained down to the read, or to what stands behind all reads."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from bugs import COMBINE, SCHEDULER
from plant import Mutation, planted
from tile_networks import TILE_CHIP, samples, small_network

import ohmtwin as ot
from ohmtwin.host import cause as cause_module
from ohmtwin.host import verilator_build
from ohmtwin.host.compiler.network import CompiledNetwork
from ohmtwin.host.report import Divergence
from ohmtwin.host.targets import Target, VerilatorTarget, connect
from ohmtwin.host.verilating import SV
from ohmtwin.rtl.emit import emit_verilog
from ohmtwin.rtl.tile import Tile

verify_module = importlib.import_module("ohmtwin.host.verify")


def explained(
    mutation: Mutation, patch: pytest.MonkeyPatch, folder: Path, noisy: bool
) -> Divergence:
    """The first difference between fast and an RTL with a bug in it."""
    with planted(mutation):
        text = emit_verilog(Tile(chip=TILE_CHIP), "tile")
    macro = SV / "crossbar_macro_dpi.sv"
    model = verilator_build.build_verilog(
        text, [macro], lambda what, done, of: None, dpi=True, trace=True
    )

    def instead(level: str, compiled: CompiledNetwork, progress: object = None) -> Target:
        if level == "verilator":
            return VerilatorTarget(compiled, library=model, patience=100_000)
        return connect(level, compiled)

    patch.setattr(verify_module, "connect", instead)
    patch.setattr(cause_module, "build_model", lambda *_, **__: model)
    x = samples(40).astype(np.float32)
    report = ot.verify(
        small_network(noisy=noisy), x, levels=("golden", "fast", "verilator"), trace=folder
    )
    first = report.levels["verilator"].first_divergence
    assert first is not None
    return first


def test_a_row_too_many_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bug = SCHEDULER["the row behind a full read gets lost"]
    first = explained(bug, monkeypatch, tmp_path, noisy=True)
    assert first.tensor == "first.acc"
    assert first.cause is not None
    assert first.cause.kind == "rows"
    assert first.cause.array in first.cores
    assert f"row {first.cause.row}" in str(first)
    assert first.cause.waves is not None
    assert Path(first.cause.waves).stat().st_size > 10_000


def test_a_bug_behind_the_adcs_is_told_from_one_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bug = COMBINE["slices weigh one bit too little"]
    first = explained(bug, monkeypatch, tmp_path, noisy=False)
    assert first.tensor == "first.acc"
    assert first.cause is not None
    assert first.cause.kind == "none"
    assert "arises behind the ADCs" in str(first)
    assert first.cause.waves is not None
