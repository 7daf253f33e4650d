# SPDX-License-Identifier: Apache-2.0
"""Runs compiled networks on the fast machine and compares them with golden."""

from typing import Any

import numpy as np
from graph_cases import random_inputs
from numpy.typing import NDArray

from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.golden import run_network
from ohmtwin.behavioral.machine import Counters, Machine
from ohmtwin.host.compiler.network import CompiledNetwork

__all__ = ["assert_golden", "run_fast"]

Tensors = dict[str, NDArray[Any]]


def run_fast(
    compiled: CompiledNetwork, codes: dict[str, NDArray[np.uint8]]
) -> tuple[Tensors, list[Counters]]:
    """All tensors that a run returns, and the counters of each tile."""
    counters = []

    def run(part: CompiledNetwork, given: dict[str, NDArray[np.uint8]]) -> Tensors:
        program = part.program
        arrays = [
            CCrossbar(image, part.seed, part.array_base + number)
            for number, image in zip(program.array_numbers, part.images, strict=True)
        ]
        machine = Machine(program, arrays)
        flat = [given[entry.tensor] for entry in part.network.fed]
        n = len(flat[0])
        packed = program.pack_inputs(np.concatenate([a.reshape(n, -1) for a in flat], axis=1))
        found = program.unpack_outputs(machine.run(packed))
        counters.append(machine.counters)
        return found

    return compiled.run_parts(codes, run), counters


def assert_golden(compiled: CompiledNetwork, n: int = 2, steps: int | None = None) -> None:
    """With ideal arrays every tensor equals golden's, and none is missing."""
    network = compiled.network
    codes = random_inputs(network, n, steps=steps)
    found, counters = run_fast(compiled, codes)
    wanted = run_network(network, codes)
    assert tuple(found) == compiled.tensors
    for name in compiled.tensors:
        if name in wanted:
            np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
    computing = {x.name for x in network.layers if x.name in wanted}
    if compiled.trace:
        assert computing <= set(found)
        if compiled.partition is None:
            assert 0 < compiled.reads_bound(codes, found) <= counters[0].reads or (
                not compiled.mapping.layers
            )
    else:
        assert set(found) <= computing
