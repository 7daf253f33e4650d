# SPDX-License-Identifier: Apache-2.0
"""What networks reach that train in their own arrays: digits, 64-32-10, as in examples/training."""

import statistics
import time
from pathlib import Path

from ..arch.errors import InputError
from ..host.training.baseline import float_training
from ..host.training.config import TrainConfig, load_config
from ..host.training.data import load_samples
from ..host.training.trainer import Trainer

__all__ = [
    "FOLDER",
    "SEEDS",
    "accuracy",
    "epoch_seconds",
    "float_accuracy",
    "load_example",
    "median",
]

FOLDER = Path(__file__).parents[1] / "examples" / "training"

SEEDS = (1, 2, 3)
"""Of weights, order of samples, devices and pulses; medians count."""


def load_example(name: str, seed: int = 1) -> TrainConfig:
    """A configuration of the examples, with another seed.

    Raises
    ------
    InputError
        If the sources' examples are missing.
    """
    path = FOLDER / f"{name}.toml"
    if not path.is_file():
        raise InputError(f"This figure needs {path}; run it from a source checkout")
    config = load_config(path)
    return config.model_copy(update={"train": config.train.model_copy(update={"seed": seed})})


def accuracy(name: str, seed: int) -> float:
    """Share of the test that a network gets right after its training, at level fast."""
    config = load_example(name, seed)
    trainer = Trainer(config, load_samples(config))
    trainer.run()
    return trainer.curve.accuracy


def float_accuracy(name: str, seed: int) -> float:
    """The same of float64."""
    config = load_example(name, seed)
    return float_training(config, load_samples(config)).accuracy


def median(values: list[float]) -> float:
    """In per cent."""
    return 100 * statistics.median(values)


def epoch_seconds(name: str) -> float:
    """Wall time of the second epoch, its test included."""
    config = load_example(name)
    trainer = Trainer(config, load_samples(config))
    count = len(trainer.samples.x)
    trainer.run(count)
    start = time.perf_counter()
    trainer.run(2 * count)
    return time.perf_counter() - start
