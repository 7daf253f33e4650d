# SPDX-License-Identifier: Apache-2.0
"""Runs of ``ohmtwin train``: they resume to the same bits, and bad input leaves nothing behind."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ohmtwin.arch.errors import InputError
from ohmtwin.arch.tomlconfig import build_model
from ohmtwin.host.cli import app
from ohmtwin.host.training.checkpoint import load_checkpoint, save_checkpoint
from ohmtwin.host.training.config import TrainConfig, config_hash, load_config
from ohmtwin.host.training.data import load_samples
from ohmtwin.host.training.trainer import Trainer

TEXT = """
[data]
name = "digits"
train = 100
test = 30
[network]
layers = [64, 12, 10]
[train]
epochs = {epochs}
rate = 0.05
decay = 0.9
[device]
base = "rpu"
[checkpoint]
every = 30
"""


def write_config(folder: Path, text: str = TEXT, epochs: int = 4) -> Path:
    path = folder / "run.toml"
    path.write_text(text.replace("{epochs}", str(epochs)), encoding="utf-8")
    return path


def assert_same(one: Path, other: Path) -> None:
    with np.load(one) as first, np.load(other) as second:
        assert set(first.files) == set(second.files)
        for name in first.files:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.parametrize("stop", [1, 30, 77, 100, 130, 399])
def test_a_resumed_run_ends_as_one_that_went_on(stop: int, tmp_path: Path) -> None:
    config = load_config(TEXT.replace("{epochs}", "4"))
    samples = load_samples(config)
    whole = Trainer(config, samples)
    whole.run()
    first = Trainer(config, samples)
    first.run(stop)
    save_checkpoint(tmp_path / "c.npz", first.checkpoint())
    second = Trainer(config, samples)
    second.resume(tmp_path / "c.npz")
    assert second.sample == stop
    second.run()
    saved = whole.core.save()
    for name, values in second.core.save().items():
        np.testing.assert_array_equal(values, saved[name], err_msg=name)
    np.testing.assert_array_equal(second.curve.array(), whole.curve.array())
    assert len(whole.curve.points) == 4


def test_a_killed_run_loses_nothing_but_its_last_steps(tmp_path: Path) -> None:
    """SIGKILL at some moment after the first checkpoint; what is there is whole, and goes on."""
    config = write_config(tmp_path, epochs=30)
    command = [sys.executable, "-m", "ohmtwin.host.cli", "train", str(config), "--no-baseline"]
    process = subprocess.Popen([*command, "--out", "killed"], cwd=tmp_path)
    checkpoint = tmp_path / "killed" / "checkpoint.npz"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    found = load_checkpoint(checkpoint, config_hash(load_config(config)))
    print(f"killed after {found.sample} samples")
    assert 0 < found.sample < 3000
    assert found.sample % 30 == 0
    assert not (tmp_path / "killed" / "result.json").exists()
    run = CliRunner().invoke
    resumed = run(app, ["train", str(config), "--no-baseline", "--resume", str(checkpoint)])
    assert resumed.exit_code == 0, resumed.output
    whole = run(app, ["train", str(config), "--no-baseline", "--out", str(tmp_path / "whole")])
    assert whole.exit_code == 0, whole.output
    assert_same(checkpoint, tmp_path / "whole" / "checkpoint.npz")
    results = [json.loads((tmp_path / f / "result.json").read_text()) for f in ("killed", "whole")]
    for result in results:
        del result["seconds_per_epoch"]
    assert results[0] == results[1]


def test_a_run_writes_its_files_and_prints_json(tmp_path: Path) -> None:
    config = write_config(tmp_path, epochs=2)
    out = tmp_path / "run"
    result = CliRunner().invoke(app, ["train", str(config), "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told == json.loads((out / "result.json").read_text())
    assert [point["samples"] for point in told["curve"]] == [100, 200]
    assert len(told["float_curve"]) == 2
    assert 0 <= told["test_accuracy"] <= 1
    assert min(told["pulses"]) > 0
    assert (out / "curve.svg").read_text().startswith("<?xml")
    again = CliRunner().invoke(app, ["train", str(config), "--out", str(out)])
    assert again.exit_code == 2
    assert "there already" in again.output


def test_more_epochs_may_be_added(tmp_path: Path) -> None:
    write_config(tmp_path, epochs=2)
    out = str(tmp_path / "run")
    run = CliRunner().invoke
    assert run(app, ["train", str(tmp_path / "run.toml"), "--out", out]).exit_code == 0
    config = write_config(tmp_path, epochs=3)
    checkpoint = str(tmp_path / "run" / "checkpoint.npz")
    more = run(app, ["train", str(config), "--resume", checkpoint, "--no-baseline"])
    assert more.exit_code == 0, more.output
    whole = run(app, ["train", str(config), "--out", str(tmp_path / "whole"), "--no-baseline"])
    assert whole.exit_code == 0
    assert_same(tmp_path / "run" / "checkpoint.npz", tmp_path / "whole" / "checkpoint.npz")


BAD: list[tuple[str, str, str]] = [
    ("rate = 0.05", "rate = 1e-13", "can be expressed by no pulse in layer"),
    ("rate = 0.05", "rate = 2e5", "can be expressed by no pulse in layer"),
    ("rate = 0.05", "rate = 0", "'train.rate' is wrong"),
    ("decay = 0.9", "decay = 1e-6", "can be expressed by no pulse in layer"),
    ("rate = 0.05", "rate = 0.05\nslots = 32", "31 at most"),
    ("rate = 0.05", "rate = nan", "train.rate"),
    ('base = "rpu"', 'base = "flash"', "no 'write.response'"),
    ('base = "rpu"', 'base = "nothing.toml"', "nothing.toml"),
    ('base = "rpu"', 'base = "rpu"\nstep = 3', "unknown key 'step'"),
    ("[device]", "[cells]\nbounds = [0.5, -0.5]\n[device]", "wrong way round"),
    ("rate = 0.05", 'rate = 0.05\nalgorithm = "mixed"\nscheme = "serial"', "of its own"),
    ("[64, 12, 10]", "[60, 12, 10]", "begins with 60"),
    ("[64, 12, 10]", "[64, 12, 9]", "outputs"),
    ("[64, 12, 10]", "[64, 600, 10]", "512 outputs at most"),
    ('"digits"', '"nowhere.npz"', "no file nowhere.npz"),
    ("every = 30", "every = 0", "checkpoint.every"),
    ("[train]", "[trian]", "unknown key 'trian'"),
]


@pytest.mark.parametrize(("old", "new", "message"), BAD, ids=[new for _, new, _ in BAD])
def test_bad_input_is_named_before_anything_is_written(
    old: str, new: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path, TEXT.replace(old, new), epochs=6)
    result = CliRunner().invoke(app, ["train", str(config), "--out", "out", "--no-baseline"])
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.toml"]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((10, 4)), np.array([0.0, 1, np.nan, *[1] * 7]), "label 2 is nan"),
        (np.ones((10, 4)), np.array([0.0, 1, 0.5, *[1] * 7]), "label 2 is 0.5"),
        (np.ones((10, 4)), np.arange(10), "labels 0 to 9"),
        (np.ones((10, 4)), -np.ones(10), "labels -1"),
        (np.ones((10, 4)), np.ones(9), "one label for each"),
        (np.full((10, 4), np.inf), np.ones(10), "infinite"),
        (-np.ones((10, 4)), np.ones(10), "0 or more"),
        (np.ones((10, 5)), np.ones(10), "samples of 5 values"),
    ],
)
def test_data_that_cannot_be_trained_with(
    x: Any, y: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", x=x, y=y)
    text = '[data]\nname = "d.npz"\n[network]\nlayers = [4, 3, 2]\n'
    Path("c.toml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["train", "c.toml"])
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.toml", "d.npz"]


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    config = build_model({"data": {"train": 20, "test": 10}}, TrainConfig, "test")
    trainer = Trainer(config, load_samples(config))
    save_checkpoint(tmp_path / "c.npz", trainer.checkpoint())
    other = build_model(
        {"data": {"train": 20, "test": 10}, "device": {"base": "ideal", "steps": 999}},
        TrainConfig,
        "test",
    )
    with pytest.raises(InputError, match="another configuration"):
        Trainer(other, load_samples(other)).resume(tmp_path / "c.npz")
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="no checkpoint"):
        trainer.resume(tmp_path / "x.npz")
    whole = (tmp_path / "c.npz").read_bytes()
    (tmp_path / "c.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="truncated"):
        trainer.resume(tmp_path / "c.npz")
