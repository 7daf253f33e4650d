# SPDX-License-Identifier: Apache-2.0
"""Models in lock step against one model of the same mesh, cycle by cycle."""

from pathlib import Path

import numpy as np
import pytest
from mesh_chains import CHIP, WORDS, chain, crossbars, star, vector_program
from numpy.typing import NDArray

from ohmtwin.host.mesh_build import build_mesh
from ohmtwin.host.mesh_driver import MeshDriver
from ohmtwin.host.mesh_simulation import LinkCounts, MeshSimulation
from ohmtwin.host.mesh_whole import build_whole_mesh

# What they share is built in one worker.
pytestmark = [pytest.mark.xdist_group("mesh whole"), pytest.mark.chips]

PROGRAMS = [vector_program(seed, products=1 + seed % 3) for seed in range(4)]
PLACES = ((1, 1), (0, 0), (0, 1), (1, 0))
PLANS = {
    "chain": chain(PLACES, (WORDS,) * 5, (2, 2)),
    # All results want the one link to the host.
    "star": star(PLACES, WORDS, (2, 2)),
}
BY_PLACE = [PROGRAMS[1], PROGRAMS[3], PROGRAMS[2], PROGRAMS[0]]


@pytest.fixture(scope="module")
def whole() -> Path:
    return build_whole_mesh(CHIP)


def ran(
    model: Path, plan: str
) -> tuple[int, int, list[NDArray[np.uint64]], LinkCounts, list[object]]:
    """Digest, cycles, words, link counters and tiles' states after some runs."""
    simulation = MeshSimulation(model, CHIP, crossbars(BY_PLACE, model), digest=True)
    driver = MeshDriver(simulation, PLANS[plan], PROGRAMS)
    random = np.random.default_rng(7)
    words = []
    for n in (1, 9, 4):
        given = random.integers(0, 1 << 63, (n, WORDS)).astype(np.uint64)
        words += driver.run(n, [given] * len(PLANS[plan].host_in))
    states: list[object] = [driver.state(at) for at in range(4)]
    found = (simulation.digest, simulation.cycles, words, simulation.link_counts(), states)
    driver.close()
    return found


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("single_eval", [True, False])
def test_lock_step_equals_one_model(whole: Path, single_eval: bool, plan: str) -> None:
    want = ran(whole, plan)
    found = ran(build_mesh(CHIP, single_eval=single_eval), plan)
    for a, b in zip(found[2], want[2], strict=True):
        np.testing.assert_array_equal(a, b)
    assert found[4] == want[4]
    assert found[1] == want[1]
    # Everything on all links of tiles and of the host, in each of thousands of cycles.
    assert found[1] > 3000
    assert found[0] == want[0]


def test_counters_of_links_are_those_of_the_routers(whole: Path) -> None:
    want, found = ran(whole, "star")[3], ran(build_mesh(CHIP), "star")[3]
    # The routers of the one model count both classes together.
    np.testing.assert_array_equal(found.flits.sum(-1), want.flits.sum(-1))
    np.testing.assert_array_equal(found.blocked.sum(-1), want.blocked.sum(-1))
    np.testing.assert_array_equal(found.shared, want.shared)
    np.testing.assert_array_equal(found.contended, want.contended)
    for name in ("tile_flits", "tile_blocked", "host_flits", "host_blocked"):
        np.testing.assert_array_equal(getattr(found, name), getattr(want, name))
    assert found.flits.sum() > 1000
    assert found.contended.sum() > 0
