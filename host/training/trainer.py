# SPDX-License-Identifier: Apache-2.0
"""A training run: the core does the work, the host feeds samples and keeps checkpoints."""

import ctypes
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arch.learning import LearnProgram
from ...behavioral.learning.carray import CLearnArray
from ...behavioral.learning.cells import LearnCells
from ...behavioral.learning.cprocessor import CLearnProcessor
from ...behavioral.learning.device import HALF, draw_cells
from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .compile import Compiled, compile_training
from .config import TrainConfig, config_hash
from .curve import Curve, Point
from .data import Samples, order_of
from .weights import ArraySpec, bounded

__all__ = ["Core", "Progress", "Trainer", "make_arrays", "make_cells"]

_TEST_READS = 1 << 40
"""Number of the first read of a test: reads of training never get there, so neither changes the
other's noise."""

_ONE = 4096.0

_LOSS_UNIT = 1 << 20


class Core(Protocol):
    """What runs the program: the processor in C, or the RTL."""

    def run(self, words: ArrayLike) -> NDArray[np.int32]: ...

    def change(self, program: LearnProgram) -> None: ...

    def save(self) -> dict[str, NDArray[Any]]: ...

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None: ...


Progress = Callable[[str, int, int], None]


def make_cells(compiled: Compiled, config: TrainConfig, number: int, spec: ArraySpec) -> LearnCells:
    """The cells of an array of a network."""
    chip, quarter = compiled.chip, spec.reference == "quarter"
    weights = spec.weights
    if quarter:
        weights = weights + spec.device.weight_max / 2
    cells = draw_cells(
        spec.device,
        (chip.rows, chip.cols),
        config.train.seed,
        number,
        weights,
        reference="zero" if spec.reference == "quarter" else spec.reference,
        lanes=(chip.lanes, chip.backward_lanes),
    )
    if quarter:
        cells = dataclasses.replace(cells, ref=np.full_like(cells.ref, HALF // 2))
    elif config.cells.bounds is not None:
        cells = bounded(cells, config.cells.bounds, spec.device)
    return cells


def make_arrays(
    compiled: Compiled, config: TrainConfig, lib: ctypes.CDLL | None = None
) -> list[CLearnArray]:
    """The arrays of a network, as they are before training."""
    return [
        CLearnArray(make_cells(compiled, config, i, spec), config.train.seed, i, lib)
        for i, spec in enumerate(compiled.arrays)
    ]


class Trainer:
    """A run at level fast.

    Parameters
    ----------
    config : TrainConfig
    samples : Samples

    Raises
    ------
    ConfigError
        If pulses cannot express the rate, or the network does not fit a core.
    """

    def __init__(self, config: TrainConfig, samples: Samples) -> None:
        self.config = config
        self.samples = samples
        self.hash = config_hash(config)
        self.sample = 0
        self.curve = Curve()
        self._loss = 0
        self._right = 0
        self._epoch = 0
        # Every epoch has its rate, and all of them are checked before any sample is run.
        for epoch in range(1, config.train.epochs if config.train.decay < 1 else 1):
            compile_training(config, epoch)
        self.compiled = compile_training(config)
        self.arrays = make_arrays(self.compiled, config)
        self.core: Core = CLearnProcessor(
            self.compiled.chip, self.compiled.train, self.arrays, config.train.seed
        )
        self._tester: CLearnProcessor | None = None

    @property
    def total(self) -> int:
        """Samples of the whole run."""
        return self.config.train.epochs * len(self.samples.x)

    def checkpoint(self) -> Checkpoint:
        """All that the run is now."""
        return Checkpoint(
            self.hash, self.sample, self._loss, self._right, self.curve, self.core.save()
        )

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises
        ------
        InputError
            If it cannot be read or is of another configuration.
        """
        found = load_checkpoint(path, self.hash)
        self.core.restore(found.core)
        self.sample, self.curve = found.sample, found.curve
        self._loss, self._right = found.loss, found.right
        self._set_epoch()

    def run(
        self,
        until: int | None = None,
        *,
        save: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Train up to a sample of the run, by default the last one.

        Parameters
        ----------
        until : int, optional
        save : Path, optional
            Where checkpoints go; the last one, at the end, too.
        progress : callable, optional
            Called as ``progress(what, done, total)``.
        """
        end = self.total if until is None else min(until, self.total)
        count, every = len(self.samples.x), self.config.checkpoint.every
        while self.sample < end:
            stops = (end, (self.sample // count + 1) * count, (self.sample // every + 1) * every)
            stop = min(stops)
            self.feed(self.next_words(stop - self.sample))
            if save is not None and (self.sample % every == 0 or self.sample == end):
                save_checkpoint(save, self.checkpoint())
            if progress is not None:
                progress("training", self.sample, self.total)

    def next_words(self, count: int) -> NDArray[np.int32]:
        """Words of the next samples, which do not pass the end of an epoch."""
        size = len(self.samples.x)
        at = self.sample % size
        order = order_of(self.config.train.seed, self.sample // size, size)
        return self.samples.words(order[at : at + count])

    def feed(self, words: NDArray[np.int32]) -> NDArray[np.int32]:
        """Train with samples of one epoch; what the core gives."""
        p = self.core.run(words)
        labels = words[:, -1]
        hit = p[np.arange(len(p)), labels]
        # In whole units, whose sum does not hang on where it was interrupted.
        loss = -np.log(np.maximum(hit, 0.5) / _ONE) * _LOSS_UNIT
        self._loss += int(np.rint(loss).astype(np.int64).sum())
        self._right += int((p.argmax(axis=1) == labels).sum())
        self.sample += len(words)
        if self.sample % len(self.samples.x) == 0:
            self._end_epoch()
        return p

    def accuracy(self) -> float:
        """Share of test samples that are classified as they should be, now."""
        if self._tester is None:
            self._tester = CLearnProcessor(
                self.compiled.chip,
                self.compiled.test,
                make_arrays(self.compiled, self.config),
                self.config.train.seed,
            )
        tester = self._tester
        state: dict[str, NDArray[Any]] = self.core.save()
        for i in range(len(self.arrays)):
            state[f"reads_{i}"] = np.array(_TEST_READS, np.uint64)
        tester.restore(state)
        p = tester.run(self.samples.test_words())
        return float((p.argmax(axis=1) == self.samples.test_y).mean())

    def _end_epoch(self) -> None:
        count = len(self.samples.x)
        loss, right = self._loss / _LOSS_UNIT / count, self._right / count
        self.curve.add(Point(self.sample, loss, right, self.accuracy()))
        self._loss, self._right = 0, 0
        self._set_epoch()

    def _set_epoch(self) -> None:
        """The program of the epoch, whose rate it holds."""
        epoch = self.sample // len(self.samples.x)
        if self.config.train.decay < 1 and epoch != self._epoch:
            self.core.change(compile_training(self.config, epoch).train)
        self._epoch = epoch
