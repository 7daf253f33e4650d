# SPDX-License-Identifier: Apache-2.0
"""Two tiles on a mesh compute one after the other; the fast machine says what must come out."""

from random import Random

import numpy as np
from amaranth.sim import SimulatorContext
from noc_plan import HOST, Plan
from noc_world import Interfaces, World, network_chip
from simulate import simulate

from ohmtwin.arch.isa import assemble
from ohmtwin.arch.messages import Header, Kind, message
from ohmtwin.arch.noc import Node
from ohmtwin.arch.registers import Control, TileRegister
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.behavioral.machine import Machine
from ohmtwin.behavioral.program import ArraySpec, InputLayout, OutputSegment, TileProgram
from ohmtwin.rtl.macro import IdealMacro
from ohmtwin.rtl.noc.mesh_tile import MeshTile

CHIP = network_chip(
    mesh=(2, 1), rows=16, cols=32, cell_bits=2, lanes=8, adc_bits=6, rows_per_read=8,
    program_words=64, data_words=32, param_words=32, fifo_words=16,
)  # fmt: skip
FIRST, SECOND = Node(0, 0), Node(1, 0)

DENSE = """
SET reg=SCHEDULE value=1
SET reg=ROWS_PER_READ value=8
LOOP body=8 count=0
SYNC in_words=2 out_words=5
LOAD source=HOST bytes=16 cores=1
MVM rows=16 beats=4 cores=1
SET reg=QUANT value=0xff0003
SET reg=A1 value=32
SET reg=A2 value=0
REQ dest=1 param=2 tap=1 outputs=8 cores=1
SEND addr=1 words=1
"""
"""Two words in; four of sums and one of codes out."""


def _program(rng: np.random.Generator) -> TileProgram:
    scale = np.uint64((1 << 23 | 0x1234) << 32 | 34 << 56)
    bias = rng.integers(-5000, 5000, 8).astype(np.int32).view(np.uint32).astype(np.uint64)
    return TileProgram(
        chip=CHIP,
        instructions=tuple(assemble(DENSE)),
        params=bias | scale,
        tables=np.zeros((4, 256), dtype=np.uint8),
        arrays=(ArraySpec(0, rng.integers(0, 4, (16, 32)).astype(np.uint8)),),
        input=InputLayout.plain(16),
        outputs=(
            OutputSegment("sums", "int32", 4, np.arange(8)),
            OutputSegment("codes", "uint8", 1, np.arange(8)),
        ),
    )


def _machine(program: TileProgram) -> Machine:
    image = ArrayImage(
        program.arrays[0].levels.astype(np.int32) << 12,
        np.zeros(CHIP.rows, dtype=np.int32),
        v0=0,
        adc_bits=CHIP.adc_bits,
        lanes=CHIP.lanes,
    )
    return Machine(program, [Crossbar(image, 1, 0)])


def test_two_tiles_compute_what_the_fast_machine_says() -> None:
    """The second tile takes a word from the first and one from the host; both give to the host."""
    samples = 5
    rng = np.random.default_rng(8)
    programs = {tile: _program(rng) for tile in (FIRST, SECOND)}
    machines = {tile: _machine(program) for tile, program in programs.items()}
    x = rng.integers(0, 1 << 63, (samples, 3), dtype=np.uint64)
    first = machines[FIRST].run(x[:, :2])
    second = machines[SECOND].run(np.stack([first[:, 4], x[:, 2]], axis=1))

    plan = Plan([FIRST, SECOND], samples)
    feed = plan.add_route(HOST, [FIRST], channel=1)
    side = plan.add_route(HOST, [SECOND], channel=2)
    sums = plan.add_route(FIRST, [HOST], channel=0)
    codes = plan.add_route(FIRST, [SECOND], channel=1)
    result = plan.add_route(SECOND, [HOST], channel=0)
    for node, number, words in (
        (HOST, feed, 2), (FIRST, sums, 4), (FIRST, codes, 1), (HOST, side, 1), (SECOND, result, 5),
    ):  # fmt: skip
        plan.add_message(node, number, words)
    plan.words = {
        HOST: [int(w) for w in x.reshape(-1)],
        FIRST: [int(w) for w in first.reshape(-1)],
        SECOND: [int(w) for w in second.reshape(-1)],
    }
    _, results = plan.expected()

    tiles = {
        tile: MeshTile(
            chip=CHIP,
            macros=lambda core, p=program: IdealMacro(chip=CHIP, levels=p.arrays[core].levels),
        )
        for tile, program in programs.items()
    }
    dut = Interfaces(CHIP, mesh=True, tiles=tiles)

    async def bench(ctx: SimulatorContext) -> None:
        world = World(ctx, dut, CHIP, plan, Random(8), pace=0.9)
        host = world.host
        for tile, program in programs.items():
            host.configure(tile)
            host.words(tile, message(Kind.WRITE_PROGRAM, [int(w) for w in program.encoded]))
            host.words(tile, message(Kind.WRITE_PARAMS, [int(w) for w in program.params]))
            host.control(tile, Control.CLEAR)
        await world.quiet()
        host.start()
        await world.quiet()
        print(f"{world.cycle} cycles")
        assert host.results == results
        for tile, machine in machines.items():
            host.words(tile, [Header(Kind.READ_REG, 6, TileRegister.CYCLES).encode()])
            await world.quiet()
            node, address, values = host.replies.pop()
            assert (node, address) == (tile, TileRegister.CYCLES)
            expected = machine.counters
            assert values[:2] == [expected.cycles, expected.instructions]
            assert values[4:] == [expected.core_stalls, expected.vector_stalls]

    simulate(dut, bench, cycles=6000)
