# SPDX-License-Identifier: Apache-2.0
"""Noise-aware retraining of the shipped MNIST network, and what it gains on worse devices.

    python retrain_mnist.py [--noise 0.2] [--epochs 10] [--samples 1000]

Trains on with errors in the weights (4000 images, some seconds), then runs held-out images at the
fast level on RRAM of growing spread, before and after; see docs/drift.md.
"""

import argparse
from pathlib import Path

import numpy as np
from make_data import mnist_split

import ohmtwin as ot
from ohmtwin.host.retrain import retrain

__all__ = ["SPREADS", "main"]

MODEL = Path(__file__).parent / "models" / "mnist_qdq.onnx"

SPREADS = (0.03, 0.1, 0.2, 0.3)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Retrain the MNIST network with noise")
    parser.add_argument("--noise", type=float, default=0.2, help="in largest weights of a layer")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--samples", type=int, default=1000)
    given = parser.parse_args()
    (x, y), (test_x, test_y) = mnist_split()
    images, labels = test_x[: given.samples].astype(np.float32), test_y[: given.samples]

    def score(network: ot.Network, level: str, spread: float) -> float:
        right = []
        for seed in (1, 2, 3):
            device = ot.devices.rram(spread=spread)
            net = ot.compile(network, device=device, seed=seed, trace=False)
            with ot.connect(level, net) as target:
                scores = target.run(network.quantize_input(images))[network.layers[-1].name]
            right.append(float((scores.argmax(axis=1) == labels).mean()))
        return float(np.mean(right))

    before = ot.load_network(MODEL)
    after = retrain(before, x.astype(np.float32), y, noise=given.noise, epochs=given.epochs)
    print("| level | before | after |\n|---|---|---|")
    print(f"| golden | {score(before, 'golden', 0):.1%} | {score(after, 'golden', 0):.1%} |")
    for spread in SPREADS:
        row = [f"{score(network, 'fast', spread):.1%}" for network in (before, after)]
        print(f"| rram, spread {spread:.0%} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
