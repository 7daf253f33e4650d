# SPDX-License-Identifier: Apache-2.0
"""Random networks on random meshes: the words that tiles send make what golden has."""

import numpy as np
import pytest
from graph_cases import GRAPH_CHIP
from graph_random import random_graph
from test_mesh_compiler import CASES, CHIP, assert_sound, assert_words

from ohmtwin.arch.chip import Chip
from ohmtwin.host.compiler import mesh
from ohmtwin.host.compiler.mesh_check import StuckError, check_mesh, waits_of
from ohmtwin.host.compiler.mesh_plan import MeshPlan
from ohmtwin.host.compiler.network import compile_network

# Copies whose readers take turns of their own; halos; inputs that are sent as they came; others.
SEEDS = (33, 83, 136, 138, 149, 153, 160, 186, 260, *range(300, 312))


def random_chip(random: np.random.Generator) -> Chip:
    sizes = {
        "cores": (2, 3, 4, 6),
        "slot_words": (16, 32),
        "fifo_words": (64, 128),
        "data_words": (256, 512, 1024),
        "packet_words": (4, 16),
        "buffer_flits": (8, 16),
        "channels": (4, 8, 15),
        "routes": (4, 8, 15),
    }
    shapes = ((2, 2), (3, 2), (4, 3), (4, 4))
    chosen = {name: int(random.choice(values)) for name, values in sizes.items()}
    return GRAPH_CHIP.with_(mesh=shapes[int(random.integers(4))], **chosen)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks(seed: int) -> None:
    random = np.random.default_rng(seed)
    network, chip = random_graph(seed), random_chip(random)
    print(f"seed {seed}, {chip}")
    net = compile_network(
        network,
        chip=chip,
        device="ideal",
        trace=bool(random.integers(2)),
        duplicate=bool(random.integers(2)),
    )
    assert_sound(net)
    assert_words(net, int(random.integers(1, 7)), int(random.integers(0, 9)))


def test_tiles_that_could_get_stuck_take_everything_first(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []

    def refuse_once(plan: MeshPlan, programs: object) -> None:
        checked.append(plan)
        if len(checked) == 1:
            raise StuckError("as if")
        check_mesh(plan, programs)

    monkeypatch.setattr(mesh, "check_mesh", refuse_once)
    net = compile_network(CASES["residual"](), chip=CHIP, device="ideal", duplicate=False)
    assert len(checked) == 2
    for tile in net.tiles:
        waits = waits_of(tile.program)
        given = [at for at, wait in enumerate(waits) if wait.out_words]
        taken = [at for at, wait in enumerate(waits) if wait.in_words]
        # What is given with the last input is given behind it.
        assert min(given) >= max(taken)
    assert_words(net)
