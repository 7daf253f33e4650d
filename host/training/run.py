# SPDX-License-Identifier: Apache-2.0
"""A run as ``ohmtwin train`` does it: all checks first, then samples, then its files."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...arch.errors import InputError
from ..files import write_text
from .baseline import float_training
from .checkpoint import save_checkpoint
from .config import TrainConfig
from .curve import Curve, draw_curves
from .data import load_samples
from .trainer import Progress, Trainer

__all__ = ["CHECKPOINT", "CURVE", "RESULT", "TrainResult", "train"]

CHECKPOINT, RESULT, CURVE = "checkpoint.npz", "result.json", "curve.svg"
"""Files of a run, in its folder."""


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    ``seconds`` is of training alone, tests of accuracy included; ``pulses`` is how many each array
    got; ``instructions`` is the length of the program of a sample.
    """

    config: TrainConfig
    hash: str
    samples: int
    curve: Curve
    float_curve: Curve | None
    seconds_per_epoch: float
    pulses: tuple[int, ...]
    instructions: int

    def data(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "config": self.config.model_dump(mode="json"),
            "hash": self.hash,
            "level": "fast",
            "samples": self.samples,
            "test_accuracy": self.curve.accuracy,
            "float_accuracy": None if self.float_curve is None else self.float_curve.accuracy,
            "seconds_per_epoch": self.seconds_per_epoch,
            "pulses": list(self.pulses),
            "instructions": self.instructions,
            "curve": self.curve.data(),
            "float_curve": None if self.float_curve is None else self.float_curve.data(),
        }


def train(
    config: TrainConfig,
    folder: Path | None,
    *,
    resume: Path | None = None,
    overwrite: bool = False,
    baseline: bool = True,
    count: int | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Run a configuration to its end, or on from a checkpoint.

    Parameters
    ----------
    config : TrainConfig
    folder : Path, optional
        Gets the checkpoint, the curve and the result; it is made if need be.
    resume : Path, optional
        A checkpoint.
    overwrite : bool
        Whether a checkpoint that is in the folder already may be lost.
    baseline : bool
        Also train in float64.
    count : int, optional
        Samples to run, instead of all that are left.
    progress : callable, optional

    Raises
    ------
    InputError
        If something cannot be used; then nothing has been written.
    """
    samples = load_samples(config)
    trainer = Trainer(config, samples)
    if resume is not None:
        trainer.resume(resume)
    if folder is not None:
        _check_folder(folder, resume, overwrite)
        folder.mkdir(exist_ok=True)
    first, start = trainer.sample, time.perf_counter()
    save = None if folder is None else folder / CHECKPOINT
    try:
        until = None if count is None else first + count
        trainer.run(until, save=save, progress=progress)
    except KeyboardInterrupt:
        if save is not None:
            save_checkpoint(save, trainer.checkpoint())
        raise
    done = (trainer.sample - first) / len(samples.x)
    seconds = (time.perf_counter() - start) / done if done else 0.0
    if progress is not None and baseline:
        progress("float baseline", 0, 0)
    result = TrainResult(
        config=config,
        hash=trainer.hash,
        samples=trainer.sample,
        curve=trainer.curve,
        float_curve=float_training(config, samples) if baseline else None,
        seconds_per_epoch=seconds,
        pulses=tuple(int(a.numbers.astype(np.int64).sum()) for a in trainer.arrays),
        instructions=len(trainer.compiled.train.instructions),
    )
    if folder is not None:
        write_text(folder / RESULT, json.dumps(result.data(), indent=2) + "\n")
        curves = {_name(config): result.curve}
        if result.float_curve is not None:
            curves["float64"] = result.float_curve
        draw_curves(curves, folder / CURVE, _title(config))
    return result


def _check_folder(folder: Path, resume: Path | None, overwrite: bool) -> None:
    parent = folder.absolute().parent
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file; name a folder")
    if not parent.is_dir():
        raise InputError(f"--out {folder} cannot be made: there is no folder {parent}")
    if not os.access(folder if folder.is_dir() else parent, os.W_OK):
        raise InputError(f"--out {folder} cannot be written: it is read-only")
    there = folder / CHECKPOINT
    if there.exists() and resume is None and not overwrite:
        raise InputError(
            f"{there} is there already; go on from it with --resume, start anew with --overwrite,"
            " or name another folder with --out"
        )


def _name(config: TrainConfig) -> str:
    device = str(config.device.get("base", "ideal"))
    return f"{config.train.algorithm}, {Path(device).stem}"


def _title(config: TrainConfig) -> str:
    widths = "-".join(str(n) for n in config.network.layers)
    data = Path(config.data.name).stem
    return f"{data}, {widths}, cells {config.cells.kind}, trains {config.train.scheme}"
