# SPDX-License-Identifier: Apache-2.0
"""The shipped models: no code of any quantized tensor differs from ONNX Runtime's."""

from pathlib import Path

import pytest
from compare_onnx import compare, spread_samples

from ohmtwin.host.importer.network import load_network

MODELS = sorted((Path(__file__).parents[2] / "examples" / "models").glob("*.onnx"))
QUANTIZED = [p for p in MODELS if "_qdq" in p.stem or "_qoperator" in p.stem]


def states_of(path: Path) -> dict[str, str]:
    return {"h": "h_out", "c": "c_out"} if "_step_" in path.stem else {}


@pytest.mark.parametrize("path", QUANTIZED, ids=lambda p: p.stem)
def test_every_code_equals_onnx_runtime(path: Path) -> None:
    states = states_of(path)
    network = load_network(path, states)
    assert network.notes == ()
    samples = spread_samples(network, 3, 60, 10 if states else None)
    result = compare(path, samples, states)
    assert not any(result.wrong.values()), result.wrong
    made = {layer.output for layer in network.layers} | {i.tensor for i in network.inputs}
    computing = [name for name in result.missing if name in made]
    views = {"Reshape", "Slice", "Transpose"}
    assert all(
        type(layer).__name__ in views for layer in network.layers if layer.output in computing
    )
    assert len(result.wrong) >= 2


@pytest.mark.parametrize("path", [p for p in QUANTIZED if states_of(p)], ids=lambda p: p.stem)
def test_states_of_the_step_model(path: Path) -> None:
    network = load_network(path, states_of(path))
    assert [i.name for i in network.fed] == ["x"]
    assert {i.name for i in network.inputs} == {"x", "h", "c"}
    assert network.inputs[0].name == "x"
    assert len(network.states) == 2
    for state in network.states:
        assert network.shape(state.input) == network.shape(state.output)
        assert state.initial == network.quant(state.input).internal_zero_point
    assert not {s.output for s in network.states} & set(network.outputs)
