# SPDX-License-Identifier: Apache-2.0
"""The event model of a mesh against the RTL: flits exactly, cycles exactly or nearly."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from mesh_chains import CHIP, WORDS, chain, crossbars, vector_program
from mesh_random import predict, random_mesh
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip
from ohmtwin.behavioral.machine import Machine
from ohmtwin.behavioral.mesh import MeshRun
from ohmtwin.behavioral.program import TileProgram
from ohmtwin.host.compiler.mesh_plan import MeshPlan
from ohmtwin.host.mesh_build import build_mesh
from ohmtwin.host.mesh_driver import MeshDriver
from ohmtwin.host.mesh_simulation import MeshSimulation
from ohmtwin.host.mesh_timing import run_flits

# What they share is built in one worker.
pytestmark = pytest.mark.xdist_group("mesh timing")

SAMPLES = 12


@pytest.fixture(scope="module")
def library() -> Path:
    return build_mesh(CHIP)


def machines(programs: Sequence[TileProgram]) -> list[Machine]:
    return [Machine(program, crossbars([program])) for program in programs]


def measure(
    library: Path,
    chip: Chip,
    plan: MeshPlan,
    programs: Sequence[TileProgram],
    words: NDArray[np.uint64] | None = None,
) -> MeshDriver:
    """A driver that has run the samples; its tiles were at rest before."""
    columns, rows = chip.mesh
    at = {(tile.x, tile.y): k for k, tile in enumerate(plan.tiles)}
    each = [programs[at.get((x, y), 0)] for y in range(rows) for x in range(columns)]
    simulation = MeshSimulation(library, chip, crossbars(each, library))
    try:
        driver = MeshDriver(simulation, plan, programs)
        driver.counters()
        zeros = [np.zeros((SAMPLES, sum(feed.messages)), np.uint64) for feed in plan.host_in]
        driver.run(SAMPLES, zeros if words is None else [words])
        driver.counters()
    except BaseException:
        simulation.close()
        raise
    return driver


def check(run: MeshRun, driver: MeshDriver, seed: int = 0) -> float:
    """Flits are equal, cycles nearly; the relative error of the cycles."""
    assert run_flits(run) == driver.mesh_counters().flits
    assert driver.last_run is not None
    counted = driver.last_run.cycles
    links = (*run.links.values(), *run.entries.values())
    met = sum(link.held + link.slipped for link in links)
    error = run.cycles / counted - 1
    print(f"seed {seed}: {counted} cycles, off by {100 * error:+.3f} %, met {met}")
    if not met:
        assert run.cycles == counted
    return error


def test_a_chain_is_exact(library: Path) -> None:
    """Message by message: when the host sends and gets them."""
    order = ((1, 0), (0, 1), (0, 0), (1, 1))
    plan = chain(order, (WORDS,) * 5, (2, 2))
    programs = [vector_program(seed, products=1 + seed % 3) for seed in range(4)]
    words = np.random.default_rng(8).integers(0, 1 << 63, (SAMPLES, WORDS), dtype=np.uint64)
    driver = measure(library, CHIP, plan, programs, words)
    try:
        run = predict(CHIP, plan, machines(programs), SAMPLES, words)
        assert check(run, driver) == 0
        stamps = driver.last_run
        assert stamps is not None
        sent = (stamps.sent[0].astype(int) - stamps.first).tolist()
        came = (stamps.came[3, 1].astype(int) - stamps.first).tolist()
        assert [[s.first, s.last] for s in run.sent] == sent
        assert [[s.first, s.last] for s in run.got] == came
        assert [tile.busy for tile in run.tiles] == [
            counters.cycles - machine.start_times.cycles[0]
            for counters, machine in zip(driver.counters(), machines(programs), strict=True)
        ]
    finally:
        driver.close()


@pytest.mark.parametrize("work", [0, 60])
@pytest.mark.parametrize("mesh", [(2, 2), (3, 3)])
def test_random_meshes(library: Path, mesh: tuple[int, int], work: int) -> None:
    """Also where links are full: programs that send as fast as they can."""
    chip = CHIP.with_(mesh=mesh)
    errors = []
    for seed in range(8):
        plan, programs = random_mesh(chip, seed, work)
        driver = measure(library, chip, plan, programs)
        try:
            run = predict(chip, plan, machines(programs), SAMPLES)
            errors.append(check(run, driver, seed))
        finally:
            driver.close()
    assert max(map(abs, errors)) <= (0.02 if work else 0.04)
    # Mostly nothing is off at all, though packets meet in every run.
    assert sum(error == 0 for error in errors) >= (8 if mesh == (2, 2) else 3)


def test_short_messages(library: Path) -> None:
    """Many to a SEND, so that the transmit memory has no room for the next one."""
    for seed in range(6):
        plan, programs = random_mesh(CHIP, seed, 0, 1, longest=3)
        driver = measure(library, CHIP, plan, programs)
        try:
            run = predict(CHIP, plan, machines(programs), SAMPLES)
            assert abs(check(run, driver, seed)) <= 0.02
            assert sum(tile.stalls.half for tile in run.tiles) > 0
        finally:
            driver.close()
