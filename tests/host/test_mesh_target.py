# SPDX-License-Identifier: Apache-2.0
"""Networks on a Verilated mesh: every tensor and counter equals the fast level."""

from collections.abc import Callable

import numpy as np
import pytest
from graph_cases import random_inputs
from test_mesh_compiler import CASES, CHIP

from ohmtwin.arch.errors import InputError
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.graph import Network
from ohmtwin.host.mesh_target import MeshTarget
from ohmtwin.host.targets import ClosedTargetError, FastTarget, GoldenTarget, connect

SAMPLES = 6


def on_mesh(make: Callable[[], Network], **options: object) -> CompiledNetwork:
    given = {"chip": CHIP, "device": "rram", "seed": 3, **options}
    return compile_network(make(), **given)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.chips
def test_tensors_and_counters_are_those_of_the_fast_level(case: str) -> None:
    net = on_mesh(CASES[case])
    codes = random_inputs(net.network, SAMPLES)
    with FastTarget(net) as fast, connect("verilator", net) as mesh:
        assert isinstance(mesh, MeshTarget)
        for part in (slice(0, 1), slice(1, 1), slice(1, SAMPLES)):
            given = {name: array[part] for name, array in codes.items()}
            want, found = fast.run(given), mesh.run(given)
            assert list(found) == list(want)
            for name, array in want.items():
                np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert mesh.counters == fast.counters
        predicted, counted = fast.mesh_counters, mesh.mesh_counters
        assert predicted is not None
        assert counted.flits == predicted.flits
        assert counted.busy == predicted.busy
        assert abs(counted.cycles / predicted.cycles - 1) < 0.05


@pytest.mark.parametrize("duplicate", [False, True])
def test_ideal_arrays_give_what_golden_gives_without_a_trace(duplicate: bool) -> None:
    net = on_mesh(CASES["images"], device="ideal", trace=False, duplicate=duplicate)
    codes = random_inputs(net.network, SAMPLES)
    with GoldenTarget(net) as golden, connect("verilator", net) as mesh:
        want, found = golden.run(codes), mesh.run(codes)
    assert len(found) == 1
    for name, array in found.items():
        np.testing.assert_array_equal(array, want[name], err_msg=name)


def test_arrays_and_refusals() -> None:
    net = on_mesh(CASES["mlp"])
    codes = random_inputs(net.network, 2)
    with FastTarget(net) as fast, connect("verilator", net) as mesh:
        assert mesh.crossbars().keys() == fast.crossbars().keys()
        fast.run(codes)
        mesh.run(codes)
        for number, array in mesh.crossbars().items():
            assert array.reads == fast.crossbars()[number].reads > 0
        with pytest.raises(InputError, match="must be uint8"):
            mesh.run(np.zeros((1, 100), np.int8))
        assert mesh.run(codes).keys() == fast.run(codes).keys()
    with pytest.raises(ClosedTargetError):
        mesh.run(codes)
