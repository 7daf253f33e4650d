# SPDX-License-Identifier: Apache-2.0
"""Stretches of training runs on the Verilated core, every cell compared with level fast."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ohmtwin.arch.tomlconfig import build_model
from ohmtwin.host.cli import app
from ohmtwin.host.training.config import TrainConfig
from ohmtwin.host.training.replay import differences, replay

pytestmark = pytest.mark.xdist_group("learning_core")

NETWORK = {"layers": (64, 12, 10)}
DATA = {"name": "digits", "train": 60, "test": 10}

# All on one chip, so that one model is built.
CASES: list[dict[str, Any]] = [
    {"algorithm": "sgd", "scheme": "stochastic"},
    {"algorithm": "fa", "scheme": "shared"},
    {"algorithm": "dfa", "scheme": "overlap", "slots": 100, "period": 10},
    {"algorithm": "sgd", "scheme": "manhattan"},
]


@pytest.mark.parametrize("train", CASES, ids=str)
@pytest.mark.chips
def test_the_rtl_trains_as_level_fast_does(train: dict[str, Any]) -> None:
    """Across the end of an epoch, whose rate differs."""
    values = {
        "data": DATA,
        "network": NETWORK,
        "train": {"rate": 0.05, "epochs": 2, "decay": 0.7} | train,
        "device": {"base": "rpu"},
    }
    found = replay(build_model(values, TrainConfig, "test"), samples=80)
    assert found.agree, found.differing
    assert found.samples == 80
    assert found.pulses > 500
    assert found.cells == 2 * 65 * 12


def test_a_stretch_starts_from_a_checkpoint_and_writes_nothing(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        "[data]\ntrain = 60\ntest = 10\n[network]\nlayers = [64, 12, 10]\n[train]\nepochs = 2\n"
        '[device]\nbase = "rpu"\n',
        encoding="utf-8",
    )
    run, out = CliRunner().invoke, tmp_path / "out"
    first = run(app, ["train", str(config), "--out", str(out), "--samples", "50"])
    assert first.exit_code == 0, first.output
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    arguments = ["--level", "verilator", "--resume", str(out / "checkpoint.npz"), "--json"]
    result = run(app, ["train", str(config), *arguments, "--samples", "20"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["first"] == 50
    assert told["samples"] == 20
    assert not any(told["differing"].values())
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert run(app, ["train", str(config), "--level", "golden"]).exit_code == 2


def test_what_differs_is_counted() -> None:
    one = {"state_0": np.arange(6), "numbers_0": np.zeros(6), "lfsr": np.ones(3), "reads_0": 5}
    assert not any(differences(one, one).values())
    other = one | {"state_0": np.array([0, 1, 9, 3, 4, 9]), "reads_0": 6}
    assert differences(one, other) == {
        "cells": 2,
        "reads": 1,
        "memory": 0,
        "registers": 0,
        "lfsr": 0,
    }
