# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: all that a run is at a sample, in one file that is whole or not there."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import InputError
from ..dataset import read_arrays
from ..files import replacing
from .curve import Curve

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]

_PREFIX = "core_"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A run after ``sample`` samples.

    Parameters
    ----------
    config : str
        Hash of its configuration.
    sample : int
    loss : int
        Sum over the samples of this epoch so far, 2**20 to 1.
    right : int
        Of these, how many were classified as they should.
    curve : Curve
    core : mapping
        What ``save`` of the core gave.
    """

    config: str
    sample: int
    loss: int
    right: int
    curve: Curve
    core: dict[str, NDArray[Any]] = field(default_factory=dict)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint: to the disk under another name, then in the place of the last one.

    Raises
    ------
    InputError
        If the file system refuses.
    """
    arrays: dict[str, Any] = {
        "config": np.array(checkpoint.config),
        "sample": np.array(checkpoint.sample, np.int64),
        "loss": np.array(checkpoint.loss, np.int64),
        "right": np.array(checkpoint.right, np.int64),
        "curve": checkpoint.curve.array(),
        **{_PREFIX + name: values for name, values in checkpoint.core.items()},
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())


class _All:
    """Every name."""

    def __contains__(self, name: object) -> bool:
        return True


def load_checkpoint(path: Path, config: str) -> Checkpoint:
    """Read a checkpoint of a configuration.

    Raises
    ------
    InputError
        If it cannot be read, is none, or is one of another configuration.
    """
    arrays = read_arrays(path, _All())
    missing = {"config", "sample", "loss", "right", "curve"} - arrays.keys()
    if missing:
        raise InputError(
            f"{path} is no checkpoint of a training run: it has no '{min(missing)}'; name a file"
            " that ohmtwin train has written"
        )
    if str(arrays["config"]) != config:
        raise InputError(
            f"{path} is a checkpoint of another configuration; resume it with its own file, or"
            " start anew without --resume"
        )
    core = {n.removeprefix(_PREFIX): v for n, v in arrays.items() if n.startswith(_PREFIX)}
    return Checkpoint(
        config,
        int(arrays["sample"].item()),
        int(arrays["loss"].item()),
        int(arrays["right"].item()),
        Curve.from_array(arrays["curve"].astype(np.float64)),
        core,
    )
