# SPDX-License-Identifier: Apache-2.0
"""The tile against the model of its manual: results, cycles and every counter."""

import numpy as np
import pytest
from manual_model import TileModel, param_word
from numpy.typing import NDArray
from tile_host import Host, run_tile, small_chip

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.formats import RequantScale
from ohmtwin.arch.isa import Instruction, Opcode, Reg, Source, assemble
from ohmtwin.arch.messages import Kind
from ohmtwin.arch.registers import (
    ID_MAGIC,
    ID_VERSION,
    Control,
    Status,
    TileRegister,
)
from ohmtwin.rtl.tile import Tile


def _levels(chip: Chip, rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    shape = (chip.rows, chip.cols)
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
    tables = rng.integers(0, 256, (4, 256)).astype(np.uint8)
    model = TileModel(chip, levels, params, tables, list(inputs))
    model.run(program)
    # What the program leaves would fill the FIFO and hold up the messages behind it.
    inputs = inputs[: len(inputs) - len(model.inputs)]

    async def body(host: Host) -> None:
        host.program(program, params, tables)
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
    LOOP body=14 count=0
      SYNC in_words=2
      LOAD source=HOST bytes=16 cores=3
      MVM rows=16 beats=4 cores=3
      SET reg=A0 value=3
      SET reg=A1 value=0
      SYNC out_words=9
      REQ dest=A0 param=A1 param_step=1 beats=4 cores=1 tap=1
      REQ dest=A0 param=A1 param_step=1 beats=4 cores=3
      LOAD addr=A0 bytes=8 cores=4
      MVM rows=8 beats=4 cores=4
      SET reg=A2 value=7
      REQ dest=A2 param=A1 beats=4 cores=4 table_on=1 table=2 tap=1
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


class _Writer:
    """A random program: blocks of load, product and drain on random cores, in random loops."""

    def __init__(self, chip: Chip, rng: np.random.Generator) -> None:
        self.chip, self.rng, self.lines = chip, rng, list[Instruction]()

    def add(self, op: Opcode, **fields: int) -> None:
        self.lines.append(Instruction.make(op, **fields))

    def pick(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def filler(self) -> None:
        for _ in range(self.pick(0, 2)):
            kind = self.pick(0, 5)
            if kind == 0:
                self.add(Opcode.NOP)
            elif kind == 1:
                low = self.pick(0, 40)
                quant = self.pick(0, 255) | low << 8 | self.pick(low, 255) << 16
                self.add(Opcode.SET, reg=Reg.QUANT, value=quant)
            elif kind == 2:
                self.add(Opcode.SET, reg=Reg.ROWS_PER_READ, value=self.pick(1, 8))
            elif kind == 3:
                self.add(Opcode.SET, reg=Reg.SCHEDULE, value=self.pick(0, 1))
            elif kind == 4:
                self.add(Opcode.SET, reg=Reg.PLANES, value=self.pick(1, 8))
            else:
                self.add(Opcode.LOOP, body=1, count=self.pick(1, 3))
                self.add(Opcode.ADD, reg=self.pick(4, 7), value=self.pick(-3, 3))

    def block(self) -> None:
        chip, pick = self.chip, self.pick
        cores = pick(1, (1 << chip.cores) - 1)
        self.add(Opcode.SET, reg=Reg.A0, value=pick(0, 4))
        self.add(Opcode.SET, reg=Reg.A1, value=pick(8, 16))
        groups = chip.param_words // chip.outputs_per_beat
        self.add(Opcode.SET, reg=Reg.A2, value=pick(0, max(0, groups - 3 * chip.acc_words)))
        if pick(0, 1):
            words = pick(1, 4)
            self.add(Opcode.SYNC, in_words=words)
            self.add(Opcode.RECV, addr=0, addr_step=pick(0, 1), words=words)
        self.filler()
        source = Source(pick(0, 1))
        row = 0
        while row < 2:
            bytes_ = pick(1, 16 - 8 * row)
            if source is Source.HOST:
                self.add(Opcode.SYNC, in_words=-(-bytes_ // 8))
            self.add(
                Opcode.LOAD, source=source, addr=pick(0, 1), addr_step=pick(0, 1), row_word=row,
                bytes=bytes_, cores=cores,
            )  # fmt: skip
            row += pick(1, 2) + bytes_ // 9
        words = pick(1, chip.acc_words)
        product = pick(0, 3)
        if product:
            beats = words * chip.beats_per_word
            self.add(Opcode.MVM, rows=pick(1, 16), beats=beats, cores=cores)
        else:
            words = 0
        self.filler()
        for _ in range(pick(1, 2)):
            tap = pick(0, 1)
            if tap:
                self.add(Opcode.SYNC, out_words=words * -(-chip.outputs_per_beat // 2))
            self.add(
                Opcode.REQ, dest=1, dest_step=pick(0, 1), param=2, param_step=pick(0, 1), tap=tap,
                table_on=pick(0, 1), table=pick(0, 3), beats=words, cores=cores,
            )  # fmt: skip
            self.filler()
        if pick(0, 1):
            words = pick(1, 6)
            self.add(Opcode.SYNC, out_words=words)
            self.add(Opcode.SET, reg=Reg.A3, value=pick(0, 20))
            self.add(Opcode.SEND, addr=3, words=words)

    def program(self) -> list[Instruction]:
        for _ in range(3):
            start = len(self.lines)
            self.block()
            if self.pick(0, 1):
                body = self.lines[start:]
                self.lines[start:] = [
                    Instruction.make(Opcode.LOOP, body=len(body) + 1, count=2),
                    *body,
                    Instruction.make(Opcode.NOP),
                ]
        self.add(Opcode.HALT)
        return self.lines


CHIPS = {
    "W=2, three cores": small_chip(cores=3),
    "W=1": small_chip(lanes=4),
    "W=1, two beats a word": small_chip(lanes=2, cores=2),
    "W=4, cells of 4 bits": small_chip(cell_bits=4, adc_bits=7, cores=2),
    "W=8, one word": small_chip(lanes=32),
}


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("seed", [0, 1])
def test_random_programs(name: str, seed: int) -> None:
    chip = CHIPS[name].with_(program_words=128)
    rng = np.random.default_rng([seed, *name.encode()])
    program = _Writer(chip, rng).program()
    inputs = [int(w) for w in rng.integers(0, 1 << 63, 100)]
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
        SET reg=A0 value=5
        LOOP body=4 count=0
          SYNC out_words=16
          SEND addr=A0 words=6
          REQ dest=A0 beats=4 cores=1 tap=1
          SEND addr=A0 words=6
    """)
    short = _named("""
        SET reg=A1 value=7
        SYNC in_words=1 out_words=2
        RECV addr=A1 addr_step=1 words=1
        ADD reg=A1 value=-1
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
        Tile(chip=4)  # type: ignore[arg-type]
