# SPDX-License-Identifier: Apache-2.0
"""Programs on tiles of a Verilated mesh: words, counters, flits, and everything that can hang."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from mesh_chains import CHIP, WORDS, chain, crossbars, vector_program
from numpy.typing import NDArray

from ohmtwin.arch.errors import InputError
from ohmtwin.arch.isa import Instruction, Opcode
from ohmtwin.arch.noc import Node, Port, path
from ohmtwin.arch.noc_interface import Route
from ohmtwin.behavioral.machine import Machine
from ohmtwin.behavioral.program import TileProgram
from ohmtwin.host.compiler.mesh_plan import MeshPlan, Message
from ohmtwin.host.driver import LinkError, TileFaultError, TileTimeoutError, WrongChipError
from ohmtwin.host.mesh_build import build_mesh
from ohmtwin.host.mesh_driver import MeshDriver, MeshStuckError
from ohmtwin.host.mesh_simulation import MeshSimulation

# What they share is built in one worker.
pytestmark = pytest.mark.xdist_group("mesh driver")

ORDER = ((1, 0), (0, 1), (0, 0), (1, 1))
PLAN = chain(ORDER, (WORDS,) * 5, (2, 2))
PROGRAMS = [vector_program(seed, products=1 + seed % 3) for seed in range(4)]


@pytest.fixture(scope="module")
def model() -> Path:
    return build_mesh(CHIP)


def by_place(plan: MeshPlan, programs: Sequence[TileProgram]) -> list[TileProgram]:
    """The program of each tile of the mesh, row by row."""
    columns, rows = plan.shape
    at = {(tile.x, tile.y): k for k, tile in enumerate(plan.tiles)}
    return [programs[at.get((x, y), 0)] for y in range(rows) for x in range(columns)]


def connect(
    model: Path,
    plan: MeshPlan = PLAN,
    programs: Sequence[TileProgram] = PROGRAMS,
    hang: int = 20,
    skip_idle: bool = True,
    confirm: bool = False,
    digest: bool = False,
) -> MeshDriver:
    arrays = crossbars(by_place(plan, programs), model)
    simulation = MeshSimulation(
        model, CHIP, arrays, skip_idle=skip_idle, confirm=confirm, digest=digest
    )
    try:
        return MeshDriver(simulation, plan, programs, hang=hang)
    except BaseException:
        simulation.close()
        raise


@pytest.fixture
def driver(model: Path) -> Iterator[MeshDriver]:
    found = connect(model)
    yield found
    found.close()


def vectors(n: int, seed: int = 0) -> NDArray[np.uint64]:
    random = np.random.default_rng(seed)
    return random.integers(0, 1 << 63, (n, WORDS)).astype(np.uint64)


def machines(plan: MeshPlan = PLAN) -> list[Machine]:
    """The fast machine of each tile of the chain."""
    arrays = crossbars(by_place(plan, PROGRAMS))
    columns = plan.shape[0]
    return [
        Machine(program, arrays[CHIP.cores * at : CHIP.cores * (at + 1)])
        for tile, program in zip(plan.tiles, PROGRAMS, strict=True)
        for at in [tile.y * columns + tile.x]
    ]


def through(chain_of: Sequence[Machine], words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for machine in chain_of:
        words = machine.run(words)
    return words


def test_chain_equals_the_fast_machines_one_after_the_other(driver: MeshDriver) -> None:
    fast = machines()
    told: list[tuple[int, int]] = []
    for seed, n in enumerate((1, 7, 0, 20)):
        words = vectors(n, seed)
        told.clear()
        found = driver.run(n, [words], lambda done, of: told.append((done, of)))
        np.testing.assert_array_equal(found[-1], through(fast, words))
        assert told[-1] == (n, n)
    # Vectors are not all the same in the end, or little would have been compared.
    assert len(np.unique(through(machines(), vectors(20)), axis=0)) > 10
    assert driver.counters() == [machine.counters for machine in fast]


def test_flits_are_those_of_the_messages(driver: MeshDriver) -> None:
    before = driver.link_counts()
    n = 9
    driver.run(n, [vectors(n)])
    counts = driver.link_counts()
    found = counts.flits - before.flits
    shape = driver.shape
    want = np.zeros_like(found)
    message = WORDS + -(-WORDS // CHIP.packet_words)
    stops = [Node(0, 0, True), *(Node(*place) for place in ORDER), Node(0, 0, True)]
    for source, target in itertools.pairwise(stops):
        for x, y, port in path(shape, source, target):
            want[y, x, port, 0] += n * message
        if not target.host:
            for x, y, port in path(shape, target, source):
                want[y, x, port, 1] += n
    np.testing.assert_array_equal(found, want)
    assert (counts.host_flits - before.host_flits).tolist() == [[n * message, 0]]
    tiles = counts.tile_flits - before.tile_flits
    assert (tiles == [n * message, n]).all()
    assert want[0, 0, Port.WEST].tolist() == [n * message, n]


def test_tiles_work_at_the_same_time(driver: MeshDriver) -> None:
    driver.run(1, [vectors(1)])
    assert driver.last_run is not None
    alone = driver.last_run.cycles
    driver.run(20, [vectors(20)])
    assert driver.last_run.samples == 20
    assert driver.last_run.cycles < 20 * alone / 2
    sent = driver.last_run.sent[0]
    came = driver.last_run.came[3, 1]
    assert sent.shape == came.shape == (20, 2)
    assert driver.last_run.first == sent[0, 0]
    assert driver.last_run.last == came[-1, 1]
    assert (np.diff(came.reshape(-1).astype(np.int64)) > 0).all()


def test_leaving_out_idle_routers_changes_nothing(model: Path) -> None:
    found = []
    for skip_idle in (False, True):
        driver = connect(model, skip_idle=skip_idle, digest=True)
        driver.run(5, [vectors(5)])
        found.append(driver.digest)
        driver.close()
    assert found[0] == found[1]


def test_confirmed_control_packets(model: Path) -> None:
    words = vectors(5)
    driver = connect(model, confirm=True)
    np.testing.assert_array_equal(driver.run(5, [words])[-1], through(machines(), words))
    driver.close()


def test_wrong_words(driver: MeshDriver) -> None:
    with pytest.raises(InputError, match=r"feed 0 must be uint64 \[3, 2\], not uint64 \[2, 2\]"):
        driver.run(3, [vectors(2)])
    assert len(driver.run(2, [vectors(2)])[-1]) == 2


# What can hang.


def with_tile(plan: MeshPlan, at: int, **changes: object) -> MeshPlan:
    tiles = list(plan.tiles)
    tiles[at] = dataclasses.replace(tiles[at], **changes)
    return dataclasses.replace(plan, tiles=tuple(tiles))


def test_message_that_nobody_sends(model: Path) -> None:
    # Tile (0, 0) wants its vector on another channel than the one it comes on.
    plan = with_tile(PLAN, 2, takes=((Message(3, 0, WORDS),),))
    driver = connect(model, plan)
    with pytest.raises(MeshStuckError) as caught:
        driver.run(12, [vectors(12)])
    text = str(caught.value)
    assert "Tile (0, 0) waits for a message of 2 words on channel 3" in text
    # Behind it tiles wait for a vector, before it for their consumers.
    assert "Tile (1, 1) waits for a message of 2 words on channel 2" in text
    assert "Tile (0, 1) waits for 1 consumer of route 1 to read the message before" in text
    assert "with 12 messages for the host missing" in text
    with pytest.raises(LinkError, match="The mesh failed before"):
        driver.run(1, [vectors(1)])
    driver.close()


def test_host_that_sends_too_little(model: Path) -> None:
    # A program that wants two vectors for each one that comes.
    greedy = dataclasses.replace(
        PROGRAMS[0],
        instructions=tuple(
            Instruction.make(Opcode.SYNC, in_words=2 * WORDS, out_words=i.fields["out_words"])
            if i.op == Opcode.SYNC
            else i
            for i in PROGRAMS[0].instructions
        ),
    )
    driver = connect(model, programs=[greedy, *PROGRAMS[1:]])
    with pytest.raises(MeshStuckError, match=r"Tile \(1, 0\) waits for a message of 2 words"):
        driver.run(1, [vectors(1)])
    driver.close()


def test_program_that_stops_is_named(model: Path) -> None:
    ending = dataclasses.replace(
        PROGRAMS[1], instructions=(*PROGRAMS[1].instructions[:4], Instruction.make(Opcode.HALT))
    )
    driver = connect(model, programs=[PROGRAMS[0], ending, *PROGRAMS[2:]])
    with pytest.raises(MeshStuckError, match=r"Tile \(0, 1\) has ended at instruction"):
        driver.run(1, [vectors(1)])
    driver.close()


def test_program_that_goes_on_for_ever_is_named(model: Path) -> None:
    turning = dataclasses.replace(
        PROGRAMS[3],
        instructions=(
            *PROGRAMS[3].instructions[:4],
            Instruction.make(Opcode.LOOP, body=1, count=0),
            PROGRAMS[3].instructions[0],
        ),
    )
    with pytest.raises(TileTimeoutError, match=r"send nothing, now Tile \(1, 1\) at instruction"):
        connect(model, programs=[*PROGRAMS[:3], turning])


def test_fault_is_named(model: Path) -> None:
    class Bad(TileProgram):
        @property
        def encoded(self) -> NDArray[np.uint64]:
            words = super().encoded.copy()
            words[5] = 31
            return words

    fields = {f.name: getattr(PROGRAMS[2], f.name) for f in dataclasses.fields(TileProgram)}
    with pytest.raises(TileFaultError, match=r"Tile \(0, 0\) stopped at instruction 5 "):
        connect(model, programs=[*PROGRAMS[:2], Bad(**fields), PROGRAMS[3]])


def test_another_chip_is_refused(model: Path) -> None:
    other = CHIP.with_(data_words=64)
    programs = [vector_program(seed, chip=other) for seed in range(4)]
    with pytest.raises(WrongChipError, match=r"Tile \(1, 0\) was built for another configuration"):
        connect(model, programs=programs)


def test_route_that_leads_out_of_the_mesh_is_refused(model: Path) -> None:
    route = PLAN.tiles[3].routes[0]
    legs = (dataclasses.replace(route, legs=(route.legs[0]._replace(host=False, dst_x=5),)),)
    wrong: tuple[Route, ...] = tuple(dataclasses.replace(r, channel=1, consumers=1) for r in legs)
    with pytest.raises(InputError, match="which a mesh of 2x2 has not"):
        connect(model, with_tile(PLAN, 3, routes=wrong))
