# SPDX-License-Identifier: Apache-2.0
"""A stretch of a run on the Verilated RTL, beside level fast: everything is compared."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..learning_sim import LearningSimulation
from .checkpoint import load_checkpoint
from .config import TrainConfig
from .data import load_samples
from .trainer import Progress, Trainer

__all__ = ["Replay", "differences", "replay"]

_STRETCH = 100
"""Samples between two comparisons."""


@dataclass(frozen=True)
class Replay:
    """What came of a comparison.

    Parameters
    ----------
    first, samples : int
        The first sample of the run, and how many from there on.
    cells : int
        Cells of all arrays; all are compared every 100 samples.
    pulses : int
        That they got.
    differing : mapping of str to int
        Cells, words or numbers that ever differed, by what they are of.
    cycles : int
        Of the core's clock.
    seconds : float
        Of the RTL.
    """

    first: int
    samples: int
    cells: int
    pulses: int
    differing: Mapping[str, int]
    cycles: int
    seconds: float

    @property
    def agree(self) -> bool:
        """Whether all is equal."""
        return not any(self.differing.values())

    def data(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "level": "verilator",
            "first": self.first,
            "samples": self.samples,
            "cells": self.cells,
            "pulses": self.pulses,
            "differing": dict(self.differing),
            "cycles": self.cycles,
            "seconds": self.seconds,
        }


def differences(
    one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]
) -> dict[str, int]:
    """How much differs of what two cores came to: cells, words, registers, generators, reads."""
    kinds = {"state": "cells", "numbers": "cells", "reads": "reads"}
    found = dict.fromkeys(("cells", "reads", "memory", "registers", "lfsr"), 0)
    for name, values in one.items():
        kind = kinds.get(name.split("_")[0], name)
        found[kind] += int((np.asarray(values) != np.asarray(other[name])).sum())
    return found


def replay(
    config: TrainConfig,
    *,
    resume: Path | None = None,
    samples: int | None = None,
    progress: Progress | None = None,
) -> Replay:
    """Run samples on the RTL and at level fast, from the start or a checkpoint on.

    Parameters
    ----------
    config : TrainConfig
    resume : Path, optional
    samples : int, optional
        How many; by default all that are left.
    progress : callable, optional

    Raises
    ------
    InputError
        If something cannot be used.
    ToolError
        If the model cannot be built or fails.
    """
    given = load_samples(config)
    fast = Trainer(config, given)
    if resume is not None:
        load_checkpoint(resume, fast.hash)
    rtl = Trainer(config, given)
    if progress is not None:
        progress("Verilator's model", 0, 0)
    with_rtl = LearningSimulation(
        rtl.compiled.chip, rtl.compiled.train, rtl.arrays, config.train.seed
    )
    rtl.core = with_rtl
    try:
        return _compare(fast, rtl, with_rtl, resume, samples, progress)
    finally:
        with_rtl.close()


def _compare(
    fast: Trainer,
    rtl: Trainer,
    simulation: LearningSimulation,
    resume: Path | None,
    samples: int | None,
    progress: Progress | None,
) -> Replay:
    if resume is not None:
        fast.resume(resume)
        rtl.resume(resume)
    first, size = fast.sample, len(fast.samples.x)
    end = fast.total if samples is None else min(fast.total, first + samples)
    before = sum(int(a.numbers.astype(np.int64).sum()) for a in fast.arrays)
    total = differences(fast.core.save(), rtl.core.save())
    outputs, seconds = 0, 0.0
    while fast.sample < end:
        stop = min(end, fast.sample + _STRETCH, (fast.sample // size + 1) * size)
        words = fast.next_words(stop - fast.sample)
        expected = fast.feed(words)
        start = time.perf_counter()
        found = rtl.feed(words)
        seconds += time.perf_counter() - start
        outputs += int((found != expected).sum())
        for name, count in differences(fast.core.save(), rtl.core.save()).items():
            total[name] = max(total[name], count)
        if progress is not None:
            progress("samples at both levels", fast.sample - first, end - first)
    pulses = sum(int(a.numbers.astype(np.int64).sum()) for a in fast.arrays) - before
    return Replay(
        first,
        fast.sample - first,
        sum(a.state.size for a in fast.arrays),
        pulses,
        {"outputs": outputs, **total},
        simulation.cycles,
        seconds,
    )
