# SPDX-License-Identifier: Apache-2.0
"""Train the 784-128-10 network on 4000 MNIST images and write its quantized forms.

    python train_mnist.py [FOLDER]

The result depends on the versions of scikit-learn, NumPy's BLAS and ONNX Runtime; with the same
ones, the files come out the same byte for byte.
"""

import numpy as np
from make_data import mnist_split
from quantize_mlp import float_mlp, output_folder, quantize, train

__all__ = ["main"]


def main() -> None:
    """Train once, quantize both ways."""
    folder = output_folder("Train and quantize the MNIST network")
    (x, y), _ = mnist_split()
    pixels = x.astype(np.float32)
    model = float_mlp(train(pixels, y, hidden=128, peak=255.0), "mnist")
    for name, qdq in {"mnist_qdq": True, "mnist_qoperator": False}.items():
        path = folder / f"{name}.onnx"
        quantize(model, pixels[:500], path, qdq=qdq)
        print(path)


if __name__ == "__main__":
    main()
