# SPDX-License-Identifier: Apache-2.0
"""Imported networks against ONNX Runtime, tensor by tensor."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ohmtwin.behavioral.golden import run_network
from ohmtwin.host.graph import Network
from ohmtwin.host.importer.network import load_network
from ohmtwin.host.reference import OnnxReference

__all__ = ["Comparison", "compare", "golden_codes", "spread_samples"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Codes that differ from ONNX Runtime's.

    Parameters
    ----------
    network : Network
    wrong : dict of str to int
        For each quantized tensor that both have: how many codes differ.
    missing : set of str
        Quantized tensors of ONNX Runtime that no computing layer makes: inputs and views.
    values : int
        Codes compared.
    codes : mapping
        ONNX Runtime's.
    """

    network: Network
    wrong: dict[str, int]
    missing: set[str]
    values: int
    codes: Mapping[str, NDArray[Any]]


def golden_codes(network: Network, codes: Mapping[str, NDArray[np.uint8]]) -> dict[str, Any]:
    """Codes of the network's inputs and computing layers, in the types of the ONNX model."""
    golden = run_network(network, codes)
    result: dict[str, Any] = {
        i.tensor: i.quant.to_onnx_codes(codes[i.tensor])
        for i in network.inputs
        if i.tensor in codes
    }
    for layer in network.layers:
        pre_output, pre_quant = (getattr(layer, f, None) for f in ("pre_output", "pre_quant"))
        if pre_output and pre_quant is not None:
            pre = golden[f"{layer.name}.pre"].astype(np.uint8)
            result[pre_output] = pre_quant.to_onnx_codes(pre)
        if layer.name in golden:
            out = golden[layer.name].astype(np.uint8)
            result[layer.output] = layer.out_quant.to_onnx_codes(out)
    return result


def compare(
    path: Path,
    x: NDArray[np.float32] | Mapping[str, NDArray[np.float32]],
    states: Mapping[str, str] = MappingProxyType({}),
) -> Comparison:
    """Run a model in ONNX Runtime and its network at the golden level, on the same samples."""
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    network = load_network(path, states)
    expected = OnnxReference(path, states).run(x)
    arrays = x if isinstance(x, Mapping) else {network.fed[0].name: x}
    codes = {i.tensor: i.quant.quantize(arrays[i.name]) for i in network.fed}
    actual = golden_codes(network, codes)
    both = [name for name in actual if name in expected.codes]
    wrong = {}
    for name in both:
        assert actual[name].dtype == expected.codes[name].dtype
        shaped = actual[name].reshape(expected.codes[name].shape)
        wrong[name] = int((shaped != expected.codes[name]).sum())
    return Comparison(
        network,
        wrong,
        set(expected.codes) - set(both),
        sum(actual[name].size for name in both),
        expected.codes,
    )


def spread_samples(
    network: Network, seed: int, count: int, steps: int | None = None
) -> dict[str, NDArray[np.float32]]:
    """Samples for each fed input whose codes spread over all of 0 to 255 and a little beyond."""
    rng = np.random.default_rng(seed)
    result = {}
    for entry in network.fed:
        zero, scale = entry.quant.internal_zero_point, entry.quant.scale
        shape = (count, *entry.shape) if steps is None else (count, steps, *entry.shape)
        codes = rng.uniform(-8, 263, shape)
        result[entry.name] = ((codes - zero) * scale).astype(np.float32)
    return result
