# SPDX-License-Identifier: Apache-2.0
"""Train the 784-128-10 network on 4000 MNIST images and write its quantized forms.

    python train_mnist.py [FOLDER]

The result depends on the versions of scikit-learn, NumPy's BLAS and ONNX Runtime; with the same
ones, the files come out the same byte for byte.
"""

import numpy as np
from make_data import mnist_split
from numpy.typing import NDArray
from quantize_mlp import float_mlp, output_folder, quantize, train

__all__ = ["main", "shifted"]


def shifted(x: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each image [n, 784] as it is and moved by one pixel four ways: [5 * n, 784]."""
    images = x.reshape(-1, 28, 28)
    moves = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]
    return np.concatenate([np.roll(images, move, (1, 2)).reshape(len(x), -1) for move in moves])


def main() -> None:
    """Train once, quantize both ways."""
    folder = output_folder("Train and quantize the MNIST network")
    (x, y), _ = mnist_split()
    pixels = x.astype(np.float32)
    more = shifted(x).astype(np.float32)
    layers = train(more, np.tile(y, 5), hidden=128, peak=255.0, epochs=12)
    model = float_mlp(layers, "mnist")
    for name, qdq in {"mnist_qdq": True, "mnist_qoperator": False}.items():
        path = folder / f"{name}.onnx"
        quantize(model, pixels[:500], path, qdq=qdq)
        print(path)


if __name__ == "__main__":
    main()
