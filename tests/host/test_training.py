# SPDX-License-Identifier: Apache-2.0
"""Networks that train in arrays: updates are gradients, runs resume, bad input is refused."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ohmtwin.arch.tomlconfig import build_model
from ohmtwin.behavioral.learning.device import HALF
from ohmtwin.behavioral.learning.trains import LFSR_TABLE
from ohmtwin.host.training.compile import activate, derivative
from ohmtwin.host.training.config import TrainConfig
from ohmtwin.host.training.data import load_samples
from ohmtwin.host.training.trainer import Trainer

FINE = {"base": "ideal", "steps": 4000, "weight_max": 2.0, "output_bound": 16, "adc_bits": 14}
RATE = 0.005


def make_config(**sections: Any) -> TrainConfig:
    data = {"name": "digits", "train": 200, "test": 50}
    return build_model({"data": data, "device": FINE} | sections, TrainConfig, "test")


def layer_weights(trainer: Trainer) -> list[NDArray[np.float64]]:
    """What the arrays of each layer hold together: float64 [inputs + 1, outputs]."""
    found = []
    for layer in trainer.compiled.layers:
        total = np.zeros((layer.rows, layer.cols))
        for number, factor in enumerate(layer.factors):
            spec, array = (
                trainer.compiled.arrays[layer.first + number],
                trainer.arrays[layer.first + number],
            )
            held = array.weights()[: layer.rows, : layer.cols]
            total += factor * held * (spec.device.weight_max / HALF)
        found.append(total)
    return found


def random_feedback(config: TrainConfig, layer: int, n: int, fan: int) -> NDArray[np.float64]:
    """What FEED multiplies with: float64 [n, fan]."""
    state, values = 0x80000000 | layer << 16 | config.train.seed & 0xFFFF, []
    for _ in range(n * fan):
        low = state & 255
        values.append(low - 256 if low > 127 else low)
        state = state >> 8 ^ int(LFSR_TABLE[low])
    return np.array(values).reshape(n, fan) * config.train.feedback / 128


def gradients(
    config: TrainConfig, weights: list[NDArray[np.float64]], x: NDArray[np.float64], label: int
) -> list[NDArray[np.float64]]:
    """What one sample should change, in real numbers."""
    name, last = config.network.activation, len(weights) - 1
    inputs, sums = [np.append(x, 1.0)], []
    for i, w in enumerate(weights):
        sums.append(inputs[-1] @ w)
        if i < last:
            inputs.append(np.append(activate(name, sums[-1]), 1.0))
    error = np.exp(sums[-1] - sums[-1].max())
    error /= error.sum()
    error[label] -= 1
    output, found = error, []
    for i in range(last, -1, -1):
        found.append(-config.train.rate * np.outer(inputs[i], error))
        if i:
            n, slope = weights[i].shape[0] - 1, derivative(name, sums[i - 1])
            if config.train.algorithm == "fa":
                error = random_feedback(config, i, n, error.size) @ error * slope
            elif config.train.algorithm == "dfa":
                error = random_feedback(config, i, n, output.size) @ output * slope
            else:
                error = weights[i][:-1] @ error * slope
    return found[::-1]


def mean_change(trainer: Trainer, trials: int) -> list[NDArray[np.float64]]:
    """What the next sample changes, on average over the states of the trains' generators."""
    before, saved, words = layer_weights(trainer), trainer.core.save(), trainer.next_words(1)
    total = [np.zeros_like(w) for w in before]
    random = np.random.default_rng(5)
    for _ in range(trials):
        saved["lfsr"] = random.integers(1, 1 << 32, saved["lfsr"].shape, np.uint32)
        trainer.core.restore(saved)
        trainer.core.run(words)
        for i, (now, then) in enumerate(zip(layer_weights(trainer), before, strict=True)):
            total[i] += (now - then) / trials
    trainer.core.restore(saved)
    return total


CASES: list[dict[str, Any]] = [
    {"train": {"rate": RATE}},
    {"train": {"rate": RATE}, "network": {"layers": (64, 20, 14, 10)}},
    {"train": {"rate": RATE, "update_management": False}, "network": {"activation": "sigmoid"}},
    {"train": {"rate": RATE, "noise_management": False}},
    {"train": {"rate": RATE, "scheme": "shared"}, "network": {"activation": "tanh"}},
    {"train": {"rate": RATE, "algorithm": "fa"}, "network": {"layers": (64, 20, 14, 10)}},
    {"train": {"rate": RATE, "algorithm": "dfa"}, "network": {"layers": (64, 20, 14, 10)}},
    {"train": {"rate": RATE}, "cells": {"kind": "pair", "carry": 4000}},
    {
        "train": {"rate": RATE},
        "cells": {"kind": "pair", "carry": 4000},
        "network": {"activation": "tanh", "layers": (64, 20, 14, 10)},
    },
    {"train": {"rate": RATE}, "cells": {"kind": "multi"}},
    {"train": {"rate": RATE}, "cells": {"kind": "significance", "carry": 4000}},
    {
        "train": {"rate": RATE},
        "cells": {"kind": "transfer", "carry": 4000},
        "capacitor": {"base": "ideal", "steps": 4000},
    },
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_update_is_the_gradient_on_average(case: dict[str, Any]) -> None:
    config = make_config(**case)
    samples = load_samples(config)
    trainer = Trainer(config, samples)
    words = trainer.next_words(1)[0]
    wanted = gradients(config, layer_weights(trainer), words[:-1] / 127, int(words[-1]))
    found = mean_change(trainer, 600)
    for i, (w, f) in enumerate(zip(wanted, found, strict=True)):
        size = float((w * f).sum() / (w * w).sum())
        like = float((w * f).sum() / np.sqrt((w * w).sum() * (f * f).sum()))
        print(i, size, like)
        assert size == pytest.approx(1, abs=0.06), f"layer {i}"
        assert like > 0.97, f"layer {i}"


def weight_change(case: dict[str, Any]) -> tuple[Trainer, list[NDArray[np.float64]]]:
    config = make_config(**case)
    samples = load_samples(config)
    trainer = Trainer(config, samples)
    words = trainer.next_words(1)[0]
    return trainer, gradients(config, layer_weights(trainer), words[:-1] / 127, int(words[-1]))


def test_digital_gradients_become_pulses_and_what_is_left_stays() -> None:
    """Mixed precision: pulses and the rest of chi are the gradient together (Nandakumar)."""
    case = {"train": {"rate": 0.05, "algorithm": "mixed"}, "network": {"range": 4}}
    trainer, wanted = weight_change(case)
    before = layer_weights(trainer)
    start = trainer.core.memory.copy()
    trainer.feed(trainer.next_words(1))
    changed = np.flatnonzero(trainer.core.memory != start)
    assert changed.size > 100
    step = trainer.compiled.arrays[0].device.step
    after = layer_weights(trainer)
    for w, now, then in zip(wanted, after, before, strict=True):
        # Less than a pulse stays behind, and pulses are whole.
        assert np.abs(now - then - w).max() < step + 0.02 * np.abs(w).max()
        assert np.abs(now - then).max() > 2 * step


def test_tiki_taka_learns_in_the_fast_array_and_carries_over() -> None:
    case = {"train": {"rate": RATE, "algorithm": "tiki_taka", "every": 1, "transfer_rate": 1.0}}
    trainer = Trainer(make_config(**case), load_samples(make_config(**case)))
    slow = [trainer.arrays[i].state for i in (1, 3)]
    fast = trainer.arrays[0].weights().astype(float)
    assert not fast.any()
    for _ in range(3 * 65):
        trainer.feed(trainer.next_words(1))
    fast = trainer.arrays[0].weights()[:65, :32].astype(float)
    moved = trainer.arrays[1].state[:65, :32].astype(float) - slow[0][:65, :32]
    assert fast.any()
    assert moved.any()
    # What was carried over has the sign of what the fast array has gathered.
    assert np.corrcoef(fast.ravel(), moved.ravel())[0, 1] > 0.3


def test_overlap_gives_what_the_product_says() -> None:
    """Deterministic trains: within a pulse for each phase, at every cell."""
    trainer, wanted = weight_change({"train": {"rate": RATE, "scheme": "overlap", "slots": 255}})
    before = layer_weights(trainer)
    trainer.feed(trainer.next_words(1))
    step = trainer.compiled.arrays[0].device.step
    for w, now, then in zip(wanted, layer_weights(trainer), before, strict=True):
        assert np.abs(now - then - w).max() < 1.3 * step
        assert np.abs(now - then).max() > 0


RUNS: list[dict[str, Any]] = [
    {"train": {"scheme": "stochastic"}},
    {"train": {"scheme": "shared"}},
    {"train": {"scheme": "overlap", "slots": 255}},
    {"train": {"scheme": "overlap", "slots": 100, "period": 10}},
    {"train": {"scheme": "manhattan"}, "device": {"base": "ideal", "steps": 400}},
    {"train": {"scheme": "serial", "rows": 20}},
    {"train": {"algorithm": "fa"}},
    {"train": {"algorithm": "dfa"}},
    {"train": {"algorithm": "mixed"}, "device": {"base": "rram"}},
    {"train": {"algorithm": "tiki_taka"}, "device": {"base": "rram"}},
    {"cells": {"last": "sram"}},
    {"cells": {"kind": "pair"}, "device": {"base": "pcm", "steps": 400}},
    {"cells": {"kind": "multi"}, "device": {"base": "rpu"}},
    {"cells": {"kind": "significance"}, "device": {"base": "rpu"}},
    {"cells": {"kind": "transfer"}, "device": {"base": "pcm"}},
    {"network": {"activation": "sigmoid"}, "train": {"rate": 0.2}},
    {"network": {"activation": "tanh"}, "cells": {"kind": "pair"}},
]


@pytest.mark.parametrize("case", RUNS, ids=str)
def test_the_loss_falls_and_tests_leave_no_trace(case: dict[str, Any]) -> None:
    case = case | {"data": {"name": "digits", "train": 400, "test": 50}}
    case["train"] = {"rate": 0.05, "epochs": 4} | case.get("train", {})
    case.setdefault("device", {"base": "ideal", "steps": 1000, "weight_max": 2.0})
    config = build_model(case, TrainConfig, "test")
    trainer = Trainer(config, load_samples(config))
    trainer.run()
    losses = [point.loss for point in trainer.curve.points]
    print(losses)
    assert losses[-1] < 0.75 * losses[0]
    saved = trainer.core.save()
    trainer.accuracy()
    for name, values in trainer.core.save().items():
        np.testing.assert_array_equal(values, saved[name], err_msg=name)
