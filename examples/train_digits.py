# SPDX-License-Identifier: Apache-2.0
"""Train the 64-32-10 network for scikit-learn's digits and write its quantized forms.

    python train_digits.py [FOLDER]

The result depends on the versions of scikit-learn, NumPy's BLAS and ONNX Runtime; with the same
ones, the files come out the same byte for byte.
"""

import numpy as np
from make_data import digits, split
from quantize_mlp import float_mlp, output_folder, quantize, train

__all__ = ["main"]

# Between them these cover both formats, both kinds of scale and both activation types.
VARIANTS = {
    "digits_qdq": {"qdq": True, "signed": True},
    "digits_qoperator": {"qdq": False},
    "digits_qdq_per_channel": {"qdq": True, "per_channel": True},
    "digits_qoperator_per_channel": {"qdq": False, "per_channel": True, "signed": True},
}


def main() -> None:
    """Train once, quantize four ways."""
    folder = output_folder("Train and quantize the digits network")
    (x, y), _ = split(*digits())
    pixels = x.astype(np.float32)
    model = float_mlp(train(pixels, y, hidden=32, peak=16.0, epochs=60), "digits")
    for name, options in VARIANTS.items():
        path = folder / f"{name}.onnx"
        quantize(model, pixels[:500], path, **options)
        print(path)


if __name__ == "__main__":
    main()
