# SPDX-License-Identifier: Apache-2.0
"""The shipped ternary and binary networks, on chips that hold nothing wider."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from qonnx_executor import execute

from ohmtwin.arch.chip import Chip
from ohmtwin.behavioral.golden import output_codes, run_network
from ohmtwin.host.compiler.network import compile_network
from ohmtwin.host.graph import Dense
from ohmtwin.host.importer.network import load_network
from ohmtwin.host.targets import connect

EXAMPLES = Path(__file__).parents[2] / "examples"
MODELS = EXAMPLES / "models" / "lowbits"
CHIP = Chip(
    cores=4,
    rows=128,
    cell_bits=1,
    adc_bits=5,
    program_words=256,
    data_words=256,
    param_words=128,
    tables=1,
)
CHIPS = {
    "digits_ternary": CHIP.with_(weight_encoding="ternary", weight_bits=2),
    "digits_binary": CHIP.with_(weight_encoding="xnor", weight_bits=1, row_schedule="baseline"),
}


def pictures() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Those that training has not seen."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        from make_data import digits, split
    finally:
        sys.path.remove(str(EXAMPLES))
    x, y = split(*digits())[1]
    return x.astype(np.float32), y


@pytest.mark.parametrize("name", CHIPS)
def test_shipped_networks(name: str) -> None:
    """Golden is what the QONNX operators say, ideal arrays give golden, noisy ones nearly so."""
    x, y = pictures()
    path = MODELS / f"{name}.onnx"
    network = load_network(path)
    held = [-1, 0, 1] if name == "digits_ternary" else [-1, 1]
    for layer in network.layers:
        assert isinstance(layer, Dense)
        assert np.unique(layer.weights).tolist() == held
    codes = network.inputs[0].quantize(x)
    golden = run_network(network, codes)
    out = network.outputs[0]
    quant = network.quant(out)
    found = output_codes(network, golden, out).astype(np.int64) - quant.internal_zero_point
    expected = execute(onnx.load(path), x)["logits"]
    np.testing.assert_array_equal(found * np.float64(quant.scale), expected)
    assert (found.argmax(axis=1) == y).mean() > 0.9
    for device, least in (("ideal", 1.0), ("rram", 0.97)):
        compiled = compile_network(network, chip=CHIPS[name], device=device, seed=1)
        with connect("fast", compiled) as fast:
            tensors = fast.run(codes)
        if device == "ideal":
            assert compiled.tensors == tuple(tensors)
            for tensor, values in tensors.items():
                np.testing.assert_array_equal(values, golden[tensor], err_msg=tensor)
        last = tensors[network.layers[-1].name].reshape(len(x), -1).argmax(axis=1)
        assert (last == found.argmax(axis=1)).mean() >= least
