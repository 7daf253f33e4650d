# SPDX-License-Identifier: Apache-2.0
"""The tile against the model of its manual: results, cycles and every counter."""

import numpy as np
import pytest
from manual_model import TileModel, param_word
from numpy.typing import NDArray
from program_writer import ProgramWriter
from tile_host import Host, run_tile, small_chip

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.formats import RequantScale
from ohmtwin.arch.isa import Instruction, Opcode, assemble
from ohmtwin.arch.messages import CORE_FLAGS, Kind
from ohmtwin.arch.registers import (
    ID_MAGIC,
    ID_VERSION,
    Control,
    Status,
    TileRegister,
)
from ohmtwin.rtl.tile import Tile


def _levels(chip: Chip, rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    shape = (chip.rows * chip.arrays_per_core, chip.cols)
    return [rng.integers(0, 1 << chip.cell_bits, shape).astype(np.uint8) for _ in range(chip.cores)]


def _params(chip: Chip, rng: np.random.Generator) -> list[int]:
    words = []
    for scale in np.exp2(rng.uniform(-11, -8, chip.param_words)).astype(np.float32):
        part = RequantScale.from_float(float(scale))
        words.append(param_word(int(rng.integers(-20000, 20000)), part.mantissa, part.shift))
    return words


def _compare(
    chip: Chip,
    program: list[Instruction],
    inputs: list[int],
    *,
    seed: int = 0,
    pace: float = 1.0,
) -> TileModel:
    """Run a program on the RTL and on the model; everything visible must be equal."""
    rng = np.random.default_rng(seed)
    levels, params = _levels(chip, rng), _params(chip, rng)
    tables = rng.integers(0, 256, (chip.tables, 256)).astype(np.uint8)
    data = rng.integers(0, 256, 8 * chip.data_words).astype(np.uint8)
    flags = [rng.random(chip.cols) < 0.5 for _ in range(chip.cores)] if chip.flag_words else []
    model = TileModel(chip, levels, params, tables, list(inputs), flags)
    model.data[:] = data
    model.run(program)
    # What the program leaves would fill the FIFO and hold up the messages behind it.
    inputs = inputs[: len(inputs) - len(model.inputs)]

    async def body(host: Host) -> None:
        host.program(program, params, tables)
        host.send(Kind.WRITE_DATA, [int(w) for w in data.view("<u8")])
        for core, columns in enumerate(flags):
            words = np.zeros(64 * CORE_FLAGS, np.bool_)
            words[: chip.cols] = columns
            packed = np.packbits(words, bitorder="little").view("<u8")
            host.send(Kind.WRITE_FLAGS, [int(w) for w in packed], CORE_FLAGS * core)
        host.control(Control.RUN, Control.CLEAR)
        host.send(Kind.INPUT, inputs)
        status = await host.settle()
        assert not status & (Status.FAULT | Status.LINK_FAULT)
        counters, cores = await host.counters()
        assert host.outputs == model.outputs
        assert {name: counters[name] for name in model.names} == model.counters
        assert cores == model.core_counters

    run_tile(chip, levels, body, seed=seed, pace=pace)
    return model


MLP = """
    SET reg=SCHEDULE value=1
    SET reg=ROWS_PER_READ value=8
    LOOP body=15 count=0
      SYNC in_words=2
      LOAD source=HOST bytes=16 cores=3
      MVM rows=16 beats=4 cores=3
      SET reg=A0 value=24
      SET reg=A1 value=0
      SYNC out_words=9
      REQ dest=A0 param=A1 param_step=1 outputs=8 cores=1 tap=1
      REQ dest=A0 param=A1 param_step=1 outputs=8 cores=3
      SYNC
      LOAD addr=A0 bytes=8 cores=4
      MVM rows=8 beats=4 cores=4
      SET reg=A2 value=56
      REQ dest=A2 param=A1 outputs=8 cores=4 table_on=1 table=2 tap=1
      SEND addr=A2 words=1
      NOP
"""


def _named(text: str) -> list[Instruction]:
    """A listing in which address registers may be written A0 to A7."""
    for k in range(8):
        for name in ("dest", "param", "addr"):
            text = text.replace(f"{name}=A{k}", f"{name}={k}")
    return assemble(text)


@pytest.mark.parametrize("pace", [1.0, 0.3])
def test_two_layers(pace: float) -> None:
    rng = np.random.default_rng(1)
    inputs = [int(w) for w in rng.integers(0, 1 << 63, 6)]
    model = _compare(small_chip(cores=3), _named(MLP), inputs, seed=1, pace=pace)
    assert len(model.outputs) == 3 * 9


SCHEDULES = """
    SYNC in_words=2
    LOAD source=HOST bytes=16 cores=3
    SET reg=ROWS_PER_READ value=8
    SET reg=SCHEDULE value=1
    MVM rows=16 beats=4 cores=1
    SET reg=SCHEDULE value=0
    MVM rows=16 beats=4 cores=2
    SET reg=SCHEDULE value=1
    MVM rows=16 beats=4 cores=3
    HALT
"""


def test_a_schedule_holds_for_the_next_product() -> None:
    """Set in the instruction before, for one core or for both; all-zero rows tell them apart."""
    _compare(small_chip(cores=2), _named(SCHEDULES), [0x0100, 0], seed=1, pace=1.0)


CHIPS = {
    "W=2, three cores": small_chip(cores=3),
    "W=1": small_chip(lanes=4, tables=1, rows=24),
    "W=1, two beats a word": small_chip(lanes=2, cores=2),
    "W=4, cells of 4 bits": small_chip(cell_bits=4, adc_bits=7, cores=2, tables=16),
    "W=8, one word": small_chip(lanes=32, rows=40),
    "three arrays a core": small_chip(arrays_per_core=3, cores=2),
    "differential": small_chip(weight_encoding="differential", cores=2),
    "flipped": small_chip(weight_encoding="flipped", cols=80, cores=3),
    "xnor": small_chip(
        weight_encoding="xnor", cell_bits=1, rows=32, row_schedule="baseline", cores=2
    ),
}


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("seed", [0, 1])
def test_random_programs(name: str, seed: int) -> None:
    chip = CHIPS[name].with_(program_words=128, data_words=64, param_words=128)
    rng = np.random.default_rng([seed, *name.encode()])
    program = ProgramWriter(chip, rng).program()
    inputs = [int(w) for w in rng.integers(0, 1 << 63, 400)]
    _compare(chip, program, inputs, seed=seed, pace=0.7)


def test_cycles_do_not_depend_on_the_host() -> None:
    chip, program = small_chip(cores=3), _named(MLP)
    rng = np.random.default_rng(4)
    levels, params = _levels(chip, rng), _params(chip, rng)
    inputs = [int(w) for w in rng.integers(0, 1 << 63, 6)]
    seen = []

    async def body(host: Host) -> None:
        host.program(program, params)
        host.control(Control.RUN, Control.CLEAR)
        host.out_pace = 0.1 * host.pace
        for word in inputs:
            host.send(Kind.INPUT, [word])
        await host.settle()
        seen.append((await host.counters(), host.outputs))

    for seed, pace in enumerate([1.0, 0.15]):
        run_tile(chip, levels, body, seed=seed, pace=pace)
    stalls = [counters.pop("host_in_stalls") for (counters, _), _ in seen]
    full = [counters.pop("host_out_stalls") for (counters, _), _ in seen]
    assert seen[0] == seen[1]
    assert stalls[0] != stalls[1], "both hosts were as slow"
    assert full[1] > 0, "the output FIFO was never full"


def test_stop_restart_fault_and_registers() -> None:
    chip = small_chip()
    endless = _named("""
        SET reg=A0 value=40
        LOOP body=4 count=0
          SYNC out_words=16
          SEND addr=A0 words=6
          REQ dest=A0 outputs=8 cores=1 tap=1
          SEND addr=A0 words=6
    """)
    short = _named("""
        SET reg=A1 value=56
        SYNC in_words=1 out_words=2
        RECV addr=A1 addr_step=1 words=1
        ADD reg=A1 value=-8
        SEND addr=A1 words=1
        SEND addr=A0 words=1
        HALT
    """)

    async def body(host: Host) -> None:
        assert await host.read(TileRegister.ID, 2) == [
            ID_MAGIC << 32 | ID_VERSION,
            chip.structure_hash,
        ]
        assert await host.status() == 0

        # Stopped anywhere, the messages of the output FIFO included.
        host.program(endless)
        host.out_pace = 0.5 * host.pace
        for delay in range(40, 250, 5):
            host.control(Control.RUN, Control.CLEAR)
            for _ in range(delay):
                await host.tick()
            host.control(Control.STOP)
            while host.to_send:
                await host.tick()
            under_way = bool(host.received) or host.ctx.get(host.tile.o.valid)
            before = host.messages
            while host.idle < 30:
                await host.tick()
            assert not host.received, "a message was cut by STOP"
            assert host.messages == before + under_way, "words left after STOP"
        host.out_pace = host.pace
        host.control(Control.RUN)
        assert await host.status() & ~Status.WAITING == Status.RUNNING
        host.send(Kind.WRITE_DATA, [1])
        host.control(Control.STOP)
        assert await host.status() == 0, "STOP clears the link fault of writing while running"
        for _ in range(100):
            await host.tick()

        # Then another program.
        host.send(Kind.WRITE_DATA, [0x1234])
        host.program(short)
        host.outputs.clear()
        host.control(Control.RUN, Control.CLEAR)
        assert await host.settle() == Status.RUNNING | Status.WAITING
        assert await host.read(TileRegister.PC) == [1]
        host.send(Kind.INPUT, [0x99])
        assert await host.settle() == 0
        # A0 is 0 again: RUN resets the registers.
        assert host.outputs == [0x99, 0x1234]
        counters, _ = await host.counters()
        # Fetch and execute of 7 instructions; nothing waits but the host.
        assert (counters["cycles"], counters["instructions"]) == (14, 7)
        assert counters["host_in_stalls"] > 0
        host.control(Control.CLEAR)
        counters, cores = await host.counters()
        assert set(counters.values()) == {0}
        assert cores == [[0] * 4]

        # Words that are no instruction, at an address of its own.
        for bad in (31, Instruction.make(Opcode.LOOP, body=0).encode()):
            host.send(Kind.WRITE_PROGRAM, [0, 0, bad])
            host.control(Control.RUN, Control.CLEAR)
            assert await host.settle() == Status.FAULT
            assert await host.read(TileRegister.PC) == [2]
            counters, _ = await host.counters()
            assert (counters["cycles"], counters["instructions"]) == (6, 2)
        deep = [Instruction.make(Opcode.LOOP, body=10, count=1).encode()] * 5
        host.send(Kind.WRITE_PROGRAM, deep)
        host.control(Control.RUN)
        assert await host.settle() == Status.FAULT
        assert await host.read(TileRegister.PC) == [4]
        host.control(Control.STOP)
        assert await host.status() == 0

        # Messages that cannot be obeyed are dropped to their last word.
        for kind, address in [
            (Kind.WRITE_PROGRAM, chip.program_words),
            (Kind.WRITE_PARAMS, chip.param_words),
            (Kind.WRITE_TABLE, 128),
            (Kind.WRITE_DATA, chip.data_words),
            (Kind.WRITE_REG, TileRegister.STATUS),
            (0, 0),
            (8, 0),
            (200, 0),
        ]:
            host.to_send += [int(kind) | 3 << 16 | int(address) << 32, 7, 7, 7]
            assert await host.status() == Status.LINK_FAULT, kind
            host.control(Control.STOP)
            assert await host.status() == 0
        assert await host.read(1 << 10, 3) == [0, 0, 0]
        assert await host.read(TileRegister.ID, 0) == []

    levels = _levels(chip, np.random.default_rng(5))
    for seed, pace in enumerate([1.0, 0.4]):
        run_tile(chip, levels, body, seed=seed, pace=pace)


def test_tile_refuses_what_is_no_chip() -> None:
    with pytest.raises(TypeError, match="Chip must be a Chip, not 4"):
        Tile(chip=4)
