# SPDX-License-Identifier: Apache-2.0
"""Speed of sixteen Verilated tiles in lock step, beside one tile alone on the same machine.

A vector goes from tile to tile of a mesh; each tile hands it on and keeps its cores busy with it,
noise on, so that all tiles and the network work all the time. Runs of both are interleaved, so that
whatever else the machine does weighs on both alike. Times are processor times of one thread.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

import numpy as np

from ..arch.chip import Chip
from ..arch.errors import ToolError
from ..arch.isa import Instruction, Opcode, Source
from ..arch.noc_interface import Leg, Route
from ..behavioral.program import InputLayout, OutputSegment, TileProgram
from ..host.compiler.mesh_plan import HostFeed, HostResult, MeshPlan, Message, TilePlan
from ..host.mesh_build import build_mesh
from ..host.mesh_driver import MeshDriver
from ..host.mesh_simulation import MeshSimulation, load_mesh_library
from .memory import peak_gib
from .simulation import CHIP_16, RunningTile, busy_program, rram_arrays

__all__ = ["CHIP", "build_seconds", "chain_plan", "mesh_speed", "relay_program"]

CHIP = CHIP_16.with_(mesh=(4, 4))
"""Four cores a tile, sixteen tiles."""

_CHANNEL = 1
_ROUTE = 1


def relay_program(chip: Chip) -> TileProgram:
    """:func:`.simulation.busy_program`, with the vector from memory, and sent on as it came."""
    busy = busy_program(chip)
    words = chip.rows // 8
    make = Instruction.make
    sample: list[Instruction] = []
    for instruction in busy.instructions:
        if instruction.op == Opcode.SYNC:
            sample += [
                make(Opcode.SYNC, in_words=words, out_words=words),
                make(Opcode.RECV, addr=0, words=words),
            ]
        elif instruction.op == Opcode.LOAD:
            cores = instruction.fields["cores"]
            sample.append(make(Opcode.LOAD, source=Source.DATA, bytes=chip.rows, cores=cores))
        elif instruction.op == Opcode.REQ:
            # Behind the vector, by another register.
            sample.append(Instruction(Opcode.REQ, {**instruction.fields, "dest": 2}))
        elif instruction.op == Opcode.SEND:
            sample.append(make(Opcode.SEND, addr=0, words=words))
        elif instruction.op == Opcode.LOOP and instruction.fields["count"] == 0:
            sample.append(make(Opcode.SET, reg=2, value=chip.rows))
            body = instruction.fields["body"] + 1
            sample.append(make(Opcode.LOOP, body=body, count=0))
        else:
            sample.append(instruction)
    codes = np.arange(chip.rows)
    return replace(
        busy,
        instructions=tuple(sample),
        outputs=(OutputSegment("codes", "uint8", words, codes),),
        shapes={"codes": (chip.rows,)},
    )


def chain_plan(chip: Chip) -> MeshPlan:
    """From the host through all tiles, row by row and back and forth, to the host."""
    columns, rows = chip.mesh
    words = chip.rows // 8
    places = [
        (x if y % 2 == 0 else columns - 1 - x, y) for y in range(rows) for x in range(columns)
    ]
    turn = ((Message(_ROUTE, 0, words),),)
    tiles = []
    for at, (x, y) in enumerate(places):
        if at + 1 < len(places):
            legs, channel, consumers = (Leg(*places[at + 1]),), _CHANNEL, 1
        else:
            legs, channel, consumers = (Leg(0, 0, 0, True),), 0, 0
        route = Route(number=_ROUTE, legs=legs, channel=channel, consumers=consumers)
        takes = ((Message(_CHANNEL, 0, words),),)
        tiles.append(TilePlan(x, y, at, at, 0, 1, (route,), takes, turn))
    layout = InputLayout.plain(chip.rows)
    feed = HostFeed(0, (Leg(*places[0]),), _CHANNEL, 1, (0,), "x", layout, (words,))
    result = HostResult(len(places) - 1, turn, ("codes",))
    return MeshPlan(chip.mesh, tuple(tiles), (feed,), (result,))


class _RunningMesh:
    """The mesh with its chain, ready to be timed."""

    def __init__(self, chip: Chip) -> None:
        path = build_mesh(chip)
        lib = load_mesh_library(path)
        program = relay_program(chip)
        arrays = rram_arrays([program] * chip.tiles, 1, lib)
        self._tiles = chip.tiles
        self._simulation = MeshSimulation(path, chip, arrays)
        self._driver = MeshDriver(self._simulation, chain_plan(chip), [program] * chip.tiles)
        codes = np.random.default_rng(1).integers(0, 256, (3 * chip.tiles, chip.rows))
        self._words = program.pack_inputs(codes.astype(np.uint8))
        self.run()

    def run(self) -> float:
        """Tile-cycles a second of processor time, over a run that fills all tiles."""
        begin, cycles = time.process_time(), self._simulation.cycles
        self._driver.run(len(self._words), [self._words])
        spent = time.process_time() - begin
        return (self._simulation.cycles - cycles) * self._tiles / spent

    @property
    def occupancy(self) -> float:
        """Share of the tiles' cycles in which their programs did not wait."""
        return statistics.mean(self._driver.mesh_counters().occupancy)

    def close(self) -> None:
        self._driver.close()


def mesh_speed(runs: int = 5) -> dict[str, float]:
    """Time the mesh and one tile, in turn.

    Returns
    -------
    dict
        ``tile_cycles_per_s``, the median; ``ratio``, the median ratio to the cycles a second of a
        tile alone; ``occupancy`` of the tiles of the mesh; ``gib``, memory of this process at its
        peak; ``runs``.

    Raises
    ------
    ToolError
        If a model cannot be built.
    """
    mesh = _RunningMesh(CHIP)
    tile = RunningTile(CHIP.with_(mesh=(1, 1)), "dpi", None)
    pairs = []
    for _ in range(runs):
        before = tile.run(0.5)
        speed = mesh.run()
        pairs.append((speed, (before + tile.run(0.5)) / 2))
    found = {
        "tile_cycles_per_s": statistics.median(speed for speed, _ in pairs),
        "ratio": statistics.median(speed / alone for speed, alone in pairs),
        "occupancy": mesh.occupancy,
        "gib": peak_gib(),
        "runs": runs,
    }
    mesh.close()
    tile.close()
    return found


def build_seconds() -> float:
    """Seconds to build the mesh from nothing, in a process and a cache of its own.

    Raises
    ------
    ToolError
        If that fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            [sys.executable, "-m", __name__],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "XDG_CACHE_HOME": folder},
        )
    if ran.returncode:
        raise ToolError(f"The mesh was not built: {ran.stderr.strip()[-400:]}")
    return float(json.loads(ran.stdout))


def _main() -> None:
    begin = time.perf_counter()
    build_mesh(CHIP)
    sys.stdout.write(json.dumps(time.perf_counter() - begin) + "\n")


if __name__ == "__main__":
    _main()
