# SPDX-License-Identifier: Apache-2.0
"""Shared by the training scripts: write a trained network as it is and in four quantized forms.

The four are QDQ and QOperator, each with a weight scale a tensor and a weight scale a channel; a
script's variants say which of them have int8 activations in place of uint8 ones. The quantizing is
that of ``ohmtwin quantize``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from ohmtwin.host.quantize import Calibration, Settings, quantize

__all__ = ["Trained", "batches", "write_variants"]


@dataclass(frozen=True)
class Trained:
    """A float model, and how to quantize it.

    Parameters
    ----------
    name : str
        How its files begin.
    model : ModelProto
    feeds : mapping
        Calibration samples float32 [n, ...] for each input; for a step model [n, steps, ...].
    signed : tuple of str
        The forms with int8 activations.
    state : mapping
        Of a step model, the output that feeds each input of the state.
    """

    name: str
    model: onnx.ModelProto
    feeds: Mapping[str, NDArray[np.float32]]
    signed: tuple[str, ...]
    state: Mapping[str, str] = field(default_factory=dict)


def write_variants(trained: Trained, folder: Path) -> Iterator[Path]:
    """Write ``NAME_float.onnx``, ``NAME_qdq.onnx``, ``NAME_qdq_per_channel.onnx`` and so on."""
    path = folder / f"{trained.name}_float.onnx"
    onnx.save(trained.model, path)
    yield path
    calibration = Calibration(trained.feeds, trained.state)
    for form in ("qdq", "qoperator"):
        for suffix in ("", "_per_channel"):
            variant = form + suffix
            activations = "int8" if variant in trained.signed else "uint8"
            settings = Settings(form, per_channel=bool(suffix), activations=activations)
            path = folder / f"{trained.name}_{variant}.onnx"
            onnx.save(quantize(trained.model, calibration, settings), path)
            yield path


def batches(
    count: int, size: int, epochs: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Indices of all batches of all epochs, each epoch shuffled; what is left over is dropped."""
    found = []
    for _ in range(epochs):
        order = generator.permutation(count)
        found += [order[i : i + size] for i in range(0, count - size + 1, size)]
    return found
