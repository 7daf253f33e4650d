# SPDX-License-Identifier: Apache-2.0
"""Networks whose arrays take turns: every tensor and counter of the RTL is that of level fast."""

from pathlib import Path

import numpy as np
import pytest
from compiled_runs import assert_golden
from graph_cases import random_inputs
from networks import random_network
from test_mesh_compiler import CASES, CHIP, assert_sound, assert_words
from test_options import OPTIONS

from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.importer.network import load_network
from ohmtwin.host.mesh_build import build_mesh
from ohmtwin.host.mesh_target import MeshTarget
from ohmtwin.host.targets import FastTarget, GoldenTarget, Target, VerilatorTarget
from ohmtwin.host.verilator_build import build_model

MODEL = Path(__file__).parents[2] / "examples" / "models" / "digits_qdq.onnx"

ONE = CHIP.with_(mesh=(1, 1), cores=1, arrays_per_core=5)
"""One core that holds the five blocks of the digits network, four of them of one layer."""

TWO = OPTIONS["three arrays a core"]
"""Two cores that hold a layer of four blocks and one of one: two rounds, of a turn a core."""

MESH = CHIP.with_(cores=2, arrays_per_core=2)
"""3x3 tiles of four arrays, two of which stand behind the same converters."""

SAMPLES = 5


@pytest.fixture(scope="module")
def models() -> dict[str, Path]:
    return {"digits": build_model(ONE), "dense": build_model(TWO), "mesh": build_mesh(MESH)}


def shared_cores(net: CompiledNetwork) -> int:
    """Cores of which more than one array is in use."""
    used = [array for m in net.mapping.layers for array in dict.fromkeys(m.arrays)]
    cores = [core for core, _ in used]
    return sum(cores.count(core) > 1 for core in set(cores))


def compare(net: CompiledNetwork, target: Target, reference: str = "fast") -> None:
    """Runs of several lengths: all tensors; against fast all counters, flits and cycles too."""
    codes = random_inputs(net.network, SAMPLES)
    made = FastTarget(net) if reference == "fast" else GoldenTarget(net)
    with made as known, target:
        for part in (slice(0, 1), slice(1, SAMPLES)):
            given = {name: array[part] for name, array in codes.items()}
            want, found = known.run(given), target.run(given)
            assert set(found) <= set(want)
            assert set(net.tensors) == set(found)
            for name, array in found.items():
                np.testing.assert_array_equal(array, want[name], err_msg=name)
        if not isinstance(known, FastTarget):
            return
        assert target.counters == known.counters
        if isinstance(target, MeshTarget):
            predicted, counted = known.mesh_counters, target.mesh_counters
            assert predicted is not None
            assert (counted.flits, counted.busy) == (predicted.flits, predicted.busy)
            assert abs(counted.cycles / predicted.cycles - 1) <= 0.02


@pytest.mark.parametrize("name", ["digits", "dense"])
@pytest.mark.parametrize(("device", "reference"), [("ideal", "golden"), ("rram", "fast")])
@pytest.mark.chips
def test_one_tile(name: str, device: str, reference: str, models: dict[str, Path]) -> None:
    chip = ONE if name == "digits" else TWO
    network = load_network(MODEL) if name == "digits" else random_network(9, (40, 10, 6))
    net = compile_network(network, chip=chip, device=device, seed=5)
    assert shared_cores(net) == chip.cores
    compare(net, VerilatorTarget(net, library=models[name]), reference)


@pytest.mark.parametrize("case", ["mlp", "residual", "image sums"])
@pytest.mark.parametrize(("device", "reference"), [("ideal", "golden"), ("rram", "fast")])
@pytest.mark.chips
def test_a_mesh(case: str, device: str, reference: str, models: dict[str, Path]) -> None:
    net = compile_network(CASES[case](), chip=MESH, device=device, seed=5)
    assert shared_cores(net) >= 3
    compare(net, MeshTarget(net, library=models["mesh"]), reference)


@pytest.mark.parametrize("turns", [(2, 2), (3, 3), (2, 5)])
@pytest.mark.parametrize("duplicate", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_meshes_compute_what_networks_do(
    case: str, duplicate: bool, turns: tuple[int, int]
) -> None:
    cores, each = turns
    chip = CHIP.with_(cores=cores, arrays_per_core=each)
    net = compile_network(CASES[case](), chip=chip, device="ideal", duplicate=duplicate)
    assert_sound(net)
    assert_golden(net, 3)
    assert_words(net, 3)
