# SPDX-License-Identifier: Apache-2.0
"""Weights of several devices: carries and resets move what is held, and keep the sum."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ohmtwin.arch.tomlconfig import build_model
from ohmtwin.behavioral.learning.device import HALF
from ohmtwin.host.training.config import TrainConfig
from ohmtwin.host.training.data import load_samples
from ohmtwin.host.training.trainer import Trainer

QUIET = {"cycle": 0, "device": 0, "output_noise": 0, "adc_bits": 14}
STATE = 256
"""Units of a state to one of an image."""


def make_trainer(cells: dict[str, Any], device: dict[str, Any], **more: Any) -> Trainer:
    """One whose updates give next to no pulse."""
    values = {
        "data": {"name": "digits", "train": 200, "test": 10},
        "network": {"layers": (64, 12, 10)},
        "train": {"rate": 1e-6, "epochs": 4},
        "cells": cells,
        "device": device | QUIET,
    }
    config = build_model(values | more, TrainConfig, "test")
    return Trainer(config, load_samples(config))


def total_weights(trainer: Trainer) -> NDArray[np.float64]:
    """Of the first layer: float64 [65, 12]."""
    layer = trainer.compiled.layers[0]
    total = np.zeros((layer.rows, layer.cols))
    for number, factor in enumerate(layer.factors):
        spec = trainer.compiled.arrays[number]
        held = trainer.arrays[number].weights()[: layer.rows, : layer.cols]
        total += factor * held * (spec.device.weight_max / HALF)
    return total


def add_to_state(trainer: Trainer, number: int, change: NDArray[np.float64] | int) -> None:
    array = trainer.arrays[number]
    state = array.state.astype(np.int64)
    state[:65, :12] += np.rint(np.asarray(change)).astype(np.int64)
    top = array.cells.model.high
    array.load(np.clip(state, 0, top).astype(np.int32), array.numbers, array.reads)


@pytest.mark.parametrize("reset", [True, False])
def test_full_pairs_are_reset_and_keep_their_weight(reset: bool) -> None:
    """PCM at one blow, others by a train of pulses down; a row each sample (Suri's refresh)."""
    device = {"base": "pcm" if reset else "ideal", "steps": 400}
    trainer = make_trainer({"kind": "pair", "saturated": 0.7, "carry": 1}, device)
    for number in (0, 1):
        # Both near the top: 0.25 of the range at first, and what the weight adds.
        add_to_state(trainer, number, 2 * HALF * STATE * 0.6)
    before = total_weights(trainer)
    full = max(trainer.arrays[n].state[:65, :12].max() for n in (0, 1)) / (2 * HALF * STATE)
    assert full > 0.8
    trainer.run(66)
    after = total_weights(trainer)
    for number in (0, 1):
        assert trainer.arrays[number].state[:65, :12].max() < 0.72 * 2 * HALF * STATE
    assert np.abs(after - before).max() < 0.15 * np.abs(before).max()
    assert np.corrcoef(after.ravel(), before.ravel())[0, 1] > 0.99


def test_pairs_that_are_not_full_are_left_alone() -> None:
    trainer = make_trainer({"kind": "pair", "carry": 1}, {"base": "pcm"})
    before = [trainer.arrays[n].numbers for n in (0, 1)]
    trainer.run(66)
    pulses = sum(int((trainer.arrays[n].numbers - before[n]).sum(dtype=np.int64)) for n in (0, 1))
    assert pulses < 20


@pytest.mark.parametrize("kind", ["significance", "transfer"])
def test_a_carry_moves_weight_to_where_it_counts_more(kind: str) -> None:
    """What the learning cells have gathered goes to the others; the sum stays within a pulse."""
    base = {"base": "ideal" if kind == "significance" else "pcm", "steps": 400}
    trainer = make_trainer(
        {"kind": kind, "factor": 4, "carry": 1},
        base,
        capacitor={"base": "ideal", "steps": 1000} | QUIET,
    )
    learns = trainer.compiled.layers[0].learns
    change = np.random.default_rng(1).uniform(-0.4, 0.4, (65, 12)) * HALF * STATE
    add_to_state(trainer, learns, change)
    before = total_weights(trainer)
    gathered = np.abs(trainer.arrays[learns].weights()[:65, :12]).mean()
    trainer.run(6 * 65)
    left = np.abs(trainer.arrays[learns].weights()[:65, :12]).mean()
    pulse = 4 * trainer.compiled.arrays[0].device.step / 2 * HALF
    after = total_weights(trainer)
    print(gathered, left, pulse, np.abs(after - before).max())
    assert left < 0.2 * gathered
    assert np.abs(after - before).mean() < 0.15 * np.abs(change).mean() / (HALF * STATE)


def test_devices_take_turns() -> None:
    trainer = make_trainer(
        {"kind": "multi", "count": 3}, {"base": "ideal"}, train={"rate": 0.05, "slots": 31}
    )
    seen = []
    for _ in range(6):
        before = [int(a.numbers.sum(dtype=np.int64)) for a in trainer.arrays[:3]]
        trainer.feed(trainer.next_words(1))
        after = [int(a.numbers.sum(dtype=np.int64)) for a in trainer.arrays[:3]]
        moved = [i for i in range(3) if after[i] != before[i]]
        assert len(moved) == 1
        seen += moved
    assert seen == [0, 1, 2, 0, 1, 2]


def test_bounds_end_the_weights() -> None:
    trainer = make_trainer(
        {"bounds": (-0.2, 0.3)}, {"base": "ideal", "steps": 200}, train={"rate": 0.2}
    )
    trainer.run(200)
    held = trainer.arrays[0].weights() / HALF
    assert held.min() == pytest.approx(-0.2, abs=1e-3)
    assert held.max() == pytest.approx(0.3, abs=1e-3)
