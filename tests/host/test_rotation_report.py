# SPDX-License-Identifier: Apache-2.0
"""What compile, explain and mesh show tell of arrays that share converters."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_runs import run_fast
from graph_cases import random_inputs
from typer.testing import CliRunner

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import CapacityError
from ohmtwin.host.cli import app
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.compiler.profile import profile_tile
from ohmtwin.host.compiler.rotation_report import (
    Plain,
    compile_plain,
    describe_rotation,
    rotation_lines,
)
from ohmtwin.host.importer.network import load_network

MODELS = Path(__file__).parents[2] / "examples" / "models"
DIGITS = str(MODELS / "digits_qdq.onnx")

TURNING = """
name = "turning"
cores = 2
arrays_per_core = 3
rows = 32
cols = 64
lanes = 8
"""
"""Two cores, one of three arrays and one of two, hold the five blocks of the digits network."""

CHIP = Chip(name="turning", cores=2, arrays_per_core=3, rows=32, cols=64, lanes=8)


@pytest.fixture
def chip(tmp_path: Path) -> str:
    path = tmp_path / "turning.toml"
    path.write_text(TURNING)
    return str(path)


def invoke(*arguments: str) -> str:
    told = CliRunner().invoke(app, list(arguments))
    assert told.exit_code == 0, told.output
    return told.stdout


def compiled(chip: Chip) -> CompiledNetwork:
    return compile_network(load_network(DIGITS), chip=chip, device="ideal")


def test_explain_tells_who_shares_and_what_it_costs(chip: str, tmp_path: Path) -> None:
    folder = str(tmp_path / "out")
    report = json.loads(invoke("compile", DIGITS, "--chip", chip, "--json", "-o", folder))
    rotation = report["rotation"]
    assert rotation["shared"] == [
        {"tile": 0, "core": 0, "arrays": 3, "layers": {"fc1": 2, "fc2": 1}},
        {"tile": 0, "core": 1, "arrays": 2, "layers": {"fc1": 2}},
    ]
    assert rotation["cycles"] == report["cycles"]
    wide = json.loads(invoke("compile", DIGITS, "--chip", six_cores(tmp_path), "--json"))
    assert rotation["plain"] == {"cores": 6, "cycles": wide["cycles"]}
    assert wide["rotation"] is None
    slowdown = report["cycles"] / wide["cycles"]
    assert slowdown > 1.1
    assert rotation["slowdown"] == pytest.approx(slowdown, abs=1e-3)
    for told in (invoke("explain", folder), Path(folder, "mapping.md").read_text()):
        assert "Up to 3 arrays take turns behind the converters of a core." in told
        assert f"rotation takes {slowdown:.2f} times as long" in told
        assert "| 0 | 0 | 3 | fc1 (2), fc2 |\n| 0 | 1 | 2 | fc1 (2) |" in told


def six_cores(folder: Path) -> str:
    path = folder / "six.toml"
    path.write_text(TURNING.replace("cores = 2", "cores = 6").replace("arrays_per_core = 3", ""))
    return str(path)


def test_the_listing_has_arrays_and_cycles(chip: str) -> None:
    lines = invoke("compile", DIGITS, "--chip", chip).splitlines()
    assert "cycles a sample (predicted)" in lines[0]
    assert "# core  0 array 2: fc2 inputs 0..31, outputs 0..9" in lines
    assert any(line.startswith("# fc2: ") and "cycles a sample" in line for line in lines)


def test_the_prediction_is_what_the_machine_counts() -> None:
    """A sample more of the same costs what was predicted for it."""
    net = compiled(CHIP)
    codes = random_inputs(net.network, 1)
    twice = {name: np.concatenate([array, array]) for name, array in codes.items()}
    counted = [run_fast(net, given)[1][0].cycles for given in (codes, twice)]
    assert profile_tile(net, codes).total == pytest.approx(counted[1] - counted[0], rel=0.02)


def test_a_mesh_tells_the_same_of_its_pace(chip: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    options = ("--chip", chip, "--mesh", "2x1")
    report = json.loads(invoke("compile", DIGITS, *options, "--json", "-o", str(folder)))
    rotation = report["rotation"]
    assert rotation["cycles"] == report["mesh"]["pace"]
    assert rotation["plain"]["cycles"] < rotation["cycles"]
    assert {(core["x"], core["y"]) for core in rotation["shared"]} <= {(0, 0), (1, 0)}
    assert "a sample every" in invoke("explain", str(folder)).splitlines()[0]
    rng = np.random.default_rng(3)
    np.savez(tmp_path / "d.npz", x=rng.random((6, 64), dtype=np.float32))
    shown = ("mesh", "show", DIGITS, "--data", str(tmp_path / "d.npz"), *options)
    told: dict[str, Any] = json.loads(invoke(*shown, "--json"))
    assert told["rotation"]["cycles"] == told["cycles"] // 6
    assert told["rotation"]["slowdown"] > 1
    assert "(6 cores a tile)" in invoke(*shown)
    assert "Weight rotation" not in invoke(*shown[:-4], "--chip", "tile4", "--mesh", "2x1")


def test_there_may_be_nothing_to_compare_with() -> None:
    def refuse(chip: Chip) -> CompiledNetwork:
        raise CapacityError(f"no, not {chip.cores} cores")

    alone = CHIP.with_(cores=6, arrays_per_core=1)
    assert compile_plain(alone, refuse) is None
    assert describe_rotation(compiled(alone), 9, None, None) is None
    assert list(rotation_lines(None)) == []
    net = compiled(CHIP)
    plain = compile_plain(CHIP, compiled)
    assert plain is not None
    assert plain.compiled is not None
    assert plain.compiled.chip == alone
    for made, why in (
        (compile_plain(CHIP, refuse), "the network does not fit tiles of 6 cores with one array"),
        (compile_plain(CHIP.with_(arrays_per_core=17), refuse), "no tile has 34 cores"),
    ):
        assert isinstance(made, Plain)
        found = describe_rotation(net, 900, made, None)
        assert found is not None
        assert (found["plain"], found["slowdown"]) == (None, None)
        assert f"nothing to compare it with: {why}." in "\n".join(rotation_lines(found))


def test_cores_that_hold_the_same_are_told_together() -> None:
    chip = CHIP.with_(cores=4, arrays_per_core=8, mesh=(1, 1), data_words=1024)
    net = compile_network(
        load_network(MODELS / "mnist_qdq.onnx"),
        chip=chip.with_(rows=128, cols=128, arrays_per_core=8),
        device="ideal",
    )
    found = describe_rotation(net, 1, None, None)
    text = list(rotation_lines(found))
    assert "| 0 | 1 to 3 | 7 | fc1 (7) |" in text
    assert "| 0 | 0 | 8 | fc1 (7), fc2 |" in text
