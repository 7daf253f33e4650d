# SPDX-License-Identifier: Apache-2.0
"""Is the change of a network's outputs under weight noise Gaussian? Yan, Hu, Shi, Sect. 5.2.

Their Table 1: one image, 10,000 instances of weight noise at sigma 0.04, a histogram of 100 bins of
each output against the Gaussian that fits it; mean squared error below 1e-3 and chi-square below
0.1, both averaged over the outputs. Here the network is the shipped digits MLP 64-32-10, twice: in
float with independent noise on every weight (:func:`float_changes`), and on arrays of RRAM cells of
4 % spread, written anew for every instance (:func:`array_changes`).

    python output_change.py [FIGURE.png]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ohmtwin.arch.formats import WEIGHT_OFFSET
from ohmtwin.behavioral import devices, golden
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.programming import program
from ohmtwin.host.graph import Dense, Network
from ohmtwin.host.importer.network import load_network

__all__ = ["BINS", "MODEL", "array_changes", "float_changes", "main", "picture", "similarity"]

MODEL = Path(__file__).parents[1] / "models" / "digits_qdq.onnx"
BINS = 100
"""The survey's granularity N."""
REACH = 4.0
"""Sigmas that the histogram covers on each side; what is beyond counts in the outermost bins."""
SIGMA = 0.04
CELL_BITS, SLICES = 2, 4


def picture(network: Network, number: int = 0) -> NDArray[np.uint8]:
    """A handwritten digit as input codes: uint8 [1, 64]."""
    from sklearn.datasets import load_digits

    x, _ = load_digits(return_X_y=True)
    return network.quantize_input(x[number : number + 1].astype(np.float32))


def float_changes(
    network: Network, codes: NDArray[np.uint8], sigma: float, instances: int, seed: int = 1
) -> NDArray[np.float64]:
    """Changes of the logits of a float network under noise on its weights.

    Parameters
    ----------
    network : Network
        Dense layers with ReLU between; weights and biases are taken as real numbers, in units of
        their codes.
    codes : uint8 array [1, inputs]
    sigma : float
        Of every weight, relative to the largest weight of its layer.
    instances : int
    seed : int

    Returns
    -------
    float64 array [instances, outputs]
        Eq. 6: output without noise, less output with it.
    """
    random = np.random.default_rng(seed)
    changes = []
    chunk = 500
    exact = _float_run(network, codes, [layer.weights[None] * 1.0 for layer in network.layers])
    for _ in range(0, instances, chunk):
        weights = []
        for layer in network.layers:
            scale = sigma * float(np.abs(layer.weights).max())
            noise = scale * random.standard_normal((chunk, *layer.weights.shape))
            weights.append(layer.weights + noise)
        changes.append(exact - _float_run(network, codes, weights))
    return np.concatenate(changes)[:instances]


def _float_run(
    network: Network, codes: NDArray[np.uint8], weights: list[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Logits [instances, outputs] for weights [instances, outputs, inputs] of each layer."""
    first, last = network.layers
    x = codes[0].astype(np.float64)
    # The bias holds the exact weights' share of the zero point: noise is on top of w * (x - zx).
    zero = network.input_quant.internal_zero_point
    bias = first.bias + zero * first.weights.sum(axis=1)
    factor = first.mantissa * 2.0 ** -first.shift.astype(np.float64)
    hidden = np.maximum(weights[0] @ (x - zero) + bias, 0.0) * factor
    inner = first.out_quant.internal_zero_point
    bias = last.bias + inner * last.weights.sum(axis=1)
    logits: NDArray[np.float64] = np.einsum("noi,ni->no", weights[1], hidden) + bias
    return logits


def array_changes(
    network: Network,
    codes: NDArray[np.uint8],
    spread: float,
    instances: int,
    *,
    adc: bool,
    first: int = 0,
) -> NDArray[np.float64]:
    """Changes of the logits when every cell of the arrays has a spread.

    Each instance is a chip of its own: both layers are written (offset encoding, four cells of two
    bits a weight), read bit by bit with all rows at once, and requantized between the layers.

    Parameters
    ----------
    network : Network
    codes : uint8 array [1, inputs]
    spread : float
        Sigma over mean of the conductance of a cell.
    instances : int
    adc : bool
        Whether sums go through 8-bit ADCs, one code a level; if not, they are taken as they are
        on the wires (1/4096 of a level), as in the survey, which has no converters.
    first : int
        Seed of the first instance; the others follow.

    Returns
    -------
    float64 array [instances, outputs]
        Golden accumulators less those of the chip.
    """
    device = devices.rram(variation={"device": spread}).only("variation")
    exact = golden.run_network(network, codes)[f"{network.layers[-1].name}.acc"][0]
    result = np.empty((instances, network.layers[-1].outputs))
    cells = [_levels(layer) for layer in network.layers]
    for instance in range(instances):
        seed = first + instance
        x = codes[0]
        for array, (layer, levels) in enumerate(zip(network.layers, cells, strict=True)):
            image = program(levels, device, cell_bits=CELL_BITS, seed=seed, array=array, adc_bits=8)
            planes = (x >> np.arange(8)[:, None] & 1).astype(np.bool_)
            if adc:
                sums = CCrossbar(image, seed, array).read_many(planes).astype(float)
            else:
                sums = Crossbar(image, seed, array).analog(planes).x / 4096
            slices = (2.0 ** np.arange(8) @ sums).reshape(layer.outputs, SLICES)
            acc = slices @ 4.0 ** np.arange(SLICES) - WEIGHT_OFFSET * int(x.sum()) + layer.bias
            x = golden.requantize(
                np.rint(acc).astype(np.int64),
                layer.mantissa,
                layer.shift,
                layer.zero_point,
                layer.clip_low,
                layer.clip_high,
            )
        result[instance] = exact - acc
    return result


def _levels(layer: Dense) -> NDArray[np.uint8]:
    """Levels of a layer's cells, uint8 [inputs, outputs * slices]."""
    stored = (layer.weights.astype(np.int16) + WEIGHT_OFFSET).T
    cells = (stored[:, :, None] >> np.arange(SLICES) * CELL_BITS) & ((1 << CELL_BITS) - 1)
    return cells.reshape(layer.inputs, -1).astype(np.uint8)


def similarity(changes: NDArray[np.float64]) -> tuple[float, float]:
    """Mean squared error and chi-square of a sample against its Gaussian, Eqs. 7 and 8.

    The survey compares "in the form of probability density" and does not say in what unit. Here
    the sample is standardised by its own mean and sigma, and cut into 100 bins of 0.08 sigma. The
    mean squared error is of the densities (1 / sigma). Chi-square is of the shares of the bins,
    ``sum((o - e)**2 / e)``, which no unit enters: the usual statistic over the sample size. A
    perfect Gaussian of 10,000 samples gives 1.6e-4 and 0.0097. (Densities in Eq. 8 would give
    0.12 for it, more than any figure of the survey.)

    Parameters
    ----------
    changes : float64 array [n]

    Returns
    -------
    mse, chi_square : float
    """
    from scipy.special import ndtr

    z = (changes - changes.mean()) / changes.std()
    inner = np.linspace(-REACH, REACH, BINS + 1)[1:-1]
    observed = np.bincount(np.searchsorted(inner, z), minlength=BINS) / len(z)
    expected = np.diff(ndtr(inner), prepend=0.0, append=1.0)
    width = 2 * REACH / BINS
    mse = float(np.mean((observed - expected) ** 2) / width**2)
    return mse, float(np.sum((observed - expected) ** 2 / expected))


def main() -> int:
    """Print the figures of both; draw the first output of each if a file is named."""
    parser = argparse.ArgumentParser(description="Gaussian output change under weight noise")
    parser.add_argument("figure", nargs="?", type=Path)
    parser.add_argument("--instances", type=int, default=10_000)
    arguments = parser.parse_args()
    network = load_network(MODEL)
    codes = picture(network)
    found = {
        "float, noise on weights": float_changes(network, codes, SIGMA, arguments.instances),
        "arrays, spread of cells": array_changes(
            network, codes, SIGMA, arguments.instances, adc=False
        ),
        "arrays, behind ADCs": array_changes(network, codes, SIGMA, arguments.instances, adc=True),
    }
    for name, changes in found.items():
        each = np.array([similarity(column) for column in changes.T])
        sys.stdout.write(
            f"{name}: n = {len(changes)}, MSE {each[:, 0].mean():.2e} (worst output "
            f"{each[:, 0].max():.2e}), chi-square {each[:, 1].mean():.4f} (worst "
            f"{each[:, 1].max():.4f})\n"
        )
    if arguments.figure is not None:
        _draw(arguments.figure, found)
    return 0


def _draw(figure: Path, found: dict[str, NDArray[np.float64]]) -> None:
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(12, 4), layout="constrained")
    edges = np.linspace(-REACH, REACH, BINS + 1)
    for axes, (name, changes) in zip(
        drawing.subplots(1, 3, sharey=True), found.items(), strict=True
    ):
        z = (changes[:, 0] - changes[:, 0].mean()) / changes[:, 0].std()
        axes.hist(z, edges, density=True, color="0.7")
        axes.plot(edges, np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi))
        axes.set(title=name, xlabel="change of the first logit (sigma)")
    drawing.axes[0].set_ylabel("probability density")
    drawing.savefig(figure)


if __name__ == "__main__":
    sys.exit(main())
