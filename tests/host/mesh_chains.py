# SPDX-License-Identifier: Apache-2.0
"""Programs for tiles that pass vectors on, and plans that make chains of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ohmtwin.arch.chip import Chip, RowSchedule
from ohmtwin.arch.isa import Instruction, Opcode, Reg, Source
from ohmtwin.arch.noc_interface import Leg, Route
from ohmtwin.behavioral.cengine import CCrossbar, library
from ohmtwin.behavioral.program import ArraySpec, InputLayout, OutputSegment, TileProgram
from ohmtwin.bench.simulation import rram_arrays
from ohmtwin.host.compiler.mesh_plan import HostFeed, HostResult, MeshPlan, Message, TilePlan
from ohmtwin.host.mesh_simulation import load_mesh_library

# Two cores of 16 rows and 8 outputs; a vector is two words in, one out of each core.
CHIP = Chip(
    name="tiny mesh",
    cores=2,
    rows=16,
    cols=32,
    cell_bits=2,
    lanes=8,
    adc_bits=6,
    rows_per_read=16,
    program_words=32,
    data_words=32,
    param_words=32,
    tables=1,
    fifo_words=32,
    mesh=(2, 2),
    channels=3,
    routes=3,
    slot_words=16,
    packet_words=2,
    buffer_flits=4,
)
WORDS = CHIP.rows // 8


def vector_program(seed: int, products: int = 1, chip: Chip = CHIP) -> TileProgram:
    """Multiplies a vector of ``chip.rows`` codes by two arrays; as many codes come out."""
    make = Instruction.make
    words = chip.rows // 8
    random = np.random.default_rng(seed)
    outputs = chip.outputs
    each = -(-outputs // 8)
    sample = [
        make(Opcode.SYNC, in_words=words, out_words=each * chip.cores),
        make(Opcode.LOAD, source=Source.HOST, bytes=chip.rows, cores=(1 << chip.cores) - 1),
        make(Opcode.LOOP, body=1, count=products),
        make(Opcode.MVM, rows=chip.rows, beats=chip.beats, cores=(1 << chip.cores) - 1),
    ]
    for core in range(chip.cores):
        sample += [
            make(Opcode.SET, reg=2, value=8 * each * core),
            make(Opcode.REQ, dest=2, param=1, outputs=outputs, cores=1 << core),
        ]
    sample.append(make(Opcode.SEND, addr=0, words=each * chip.cores))
    setup = [
        make(Opcode.SET, reg=Reg.SCHEDULE, value=int(chip.row_schedule == RowSchedule.ZERO_SKIP)),
        make(Opcode.SET, reg=Reg.ROWS_PER_READ, value=chip.rows_per_read),
        make(Opcode.SET, reg=Reg.PLANES, value=8),
        make(Opcode.SET, reg=Reg.QUANT, value=128 | 255 << 16),
    ]
    loop = make(Opcode.LOOP, body=len(sample), count=0)
    codes = each * chip.cores * 8
    return TileProgram(
        chip=chip,
        instructions=(*setup, loop, *sample),
        # Mantissa 2**23 and shift 32: a factor of 2**-9.
        params=np.full(outputs, 32 << 56 | 1 << 55, dtype=np.uint64),
        tables=np.zeros((chip.tables, 256), np.uint8),
        arrays=tuple(
            ArraySpec(core, random.integers(0, 4, (chip.rows, chip.cols)).astype(np.uint8))
            for core in range(chip.cores)
        ),
        input=InputLayout.plain(chip.rows),
        outputs=(OutputSegment("codes", "uint8", each * chip.cores, np.arange(codes)),),
        shapes={"codes": (codes,)},
    )


def crossbars(programs: Sequence[TileProgram], path: Path | None = None) -> list[CCrossbar]:
    """An array for each core of each tile, numbered over all tiles, in the library at ``path``."""
    lib = library() if path is None else load_mesh_library(path)
    return rram_arrays(programs, 5, lib)


def chain(
    order: Sequence[tuple[int, int]], words: Sequence[int], mesh: tuple[int, int]
) -> MeshPlan:
    """A plan in which a vector goes from tile to tile and then to the host.

    ``words`` are those of a message into each tile and, last, of one to the host.
    """
    tiles = []
    for at, (x, y) in enumerate(order):
        last = at == len(order) - 1
        leg = Leg(0, 0, 0, True) if last else Leg(*order[at + 1])
        route = Route(number=1, legs=(leg,), channel=0 if last else 2, consumers=0 if last else 1)
        tiles.append(
            TilePlan(
                x,
                y,
                at,
                at,
                0,
                1,
                (route,),
                ((Message(2, 0, words[at]),),),
                ((Message(1, 0, words[at + 1]),),),
            )
        )
    feed = HostFeed(
        0, (Leg(*order[0]),), 2, 1, (0,), "x", InputLayout.plain(words[0] * 8), (words[0],)
    )
    result = HostResult(len(order) - 1, ((Message(1, 0, words[-1]),),), ("codes",))
    return MeshPlan(mesh, tuple(tiles), (feed,), (result,))


def star(places: Sequence[tuple[int, int]], words: int, mesh: tuple[int, int]) -> MeshPlan:
    """A plan in which the host sends each tile a vector, and all of them send theirs back."""
    route = Route(number=1, legs=(Leg(0, 0, 0, True),), channel=0, consumers=0)
    turn = ((Message(1, 0, words),),)
    tiles = tuple(
        TilePlan(x, y, at, at, 0, 1, (route,), ((Message(2, 0, words),),), turn)
        for at, (x, y) in enumerate(places)
    )
    layout = InputLayout.plain(words * 8)
    feeds = tuple(
        HostFeed(at, (Leg(x, y),), 2, 1, (at,), "x", layout, (words,))
        for at, (x, y) in enumerate(places)
    )
    results = tuple(HostResult(at, turn, ("codes",)) for at in range(len(places)))
    return MeshPlan(mesh, tiles, feeds, results)
