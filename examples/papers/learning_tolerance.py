# SPDX-License-Identifier: Apache-2.0
"""What devices that train a network may do wrong: noise of reads, noise of updates, asymmetry.

Tsai et al. 2018 quote of Gokmen and Vlasov 2016 that training tolerates up to 150 % of noise in
the updates and up to 10 % in the reads, and needs steps up and down that are alike. Their network
and devices are taken here: the specification of the RPU (its bound of 0.6 is the 100 % of the
noise of reads), stochastic trains of 10 slots, and one figure at a time changed.

    python learning_tolerance.py [FIGURE.svg]
"""

import sys
from pathlib import Path

import numpy as np

from ohmtwin.host.plots.figures import COLOURS, canvas, save
from ohmtwin.host.training.config import TrainConfig
from ohmtwin.host.training.data import load_samples
from ohmtwin.host.training.trainer import Trainer

__all__ = ["ASYMMETRY", "READ_NOISE", "UPDATE_NOISE", "last_accuracy", "main"]

READ_NOISE = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Sigma of an output over the bound of a weight, 0.6; the network of digits."""

UPDATE_NOISE = (0.0, 0.3, 1.0, 1.5, 3.0, 4.0)
"""Sigma of a pulse over its step; the network of digits."""

ASYMMETRY = (0.0, 0.02, 0.05, 0.1, 0.2)
"""Steps up less steps down over their mean; MNIST, whose pulses are many more."""

_BOUND = 0.6
_LAST = 5


def last_accuracy(
    device: dict[str, float], *, mnist: bool = False, epochs: int = 20, seed: int = 1
) -> float:
    """Mean accuracy of the test over the last five epochs.

    Parameters
    ----------
    device : dict
        Fields in which it differs from the specification.
    mnist : bool
        784-128-10 on MNIST at a rate of 0.005, else 64-32-10 on digits at 0.02.
    epochs, seed : int
    """
    config = TrainConfig.model_validate(
        {
            "data": {"name": "mnist" if mnist else "digits"},
            "network": {"layers": (784, 128, 10) if mnist else (64, 32, 10)},
            "train": {
                "rate": 0.005 if mnist else 0.02,
                "slots": 10,
                "epochs": epochs,
                "seed": seed,
            },
            "device": {"base": "rpu"} | device,
        }
    )
    trainer = Trainer(config, load_samples(config))
    trainer.run()
    return float(np.mean([point.test_accuracy for point in trainer.curve.points[-_LAST:]]))


def main() -> None:
    """Command line."""
    sweeps = (
        ("noise of reads", READ_NOISE, "output_noise", _BOUND, False, 20),
        ("noise of updates", UPDATE_NOISE, "cycle", 1.0, False, 20),
        ("asymmetry", ASYMMETRY, "asymmetry", 1.0, True, 30),
    )
    found = {}
    for name, values, field, unit, mnist, epochs in sweeps:
        found[name] = [
            last_accuracy({field: value * unit}, mnist=mnist, epochs=epochs) for value in values
        ]
        print(f"| {name} | " + " | ".join(f"{value:.0%}" for value in values) + " |")
        print("|---|" + "---|" * len(values))
        print("| accuracy | " + " | ".join(f"{a:.1%}" for a in found[name]) + " |\n", flush=True)
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
        with canvas(960, 320) as figure:
            panels = figure.subplots(1, 3, sharey=True)
            for axes, colour, (name, values, _, _, mnist, _) in zip(
                panels, COLOURS, sweeps, strict=False
            ):
                axes.plot([100 * v for v in values], [100 * a for a in found[name]], "o-", c=colour)
                axes.set(xlabel=f"{name}, %", title="MNIST" if mnist else "digits", ylim=(0, 100))
            panels[0].set_ylabel("test accuracy, %")
            save(figure, path)
        print(path)


if __name__ == "__main__":
    main()
