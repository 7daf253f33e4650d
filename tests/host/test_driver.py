# SPDX-License-Identifier: Apache-2.0
"""The driver against a tile made of Python: what it sends, and every way in which a tile fails."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import InputError
from ohmtwin.arch.isa import Instruction, Opcode, Source
from ohmtwin.arch.messages import Header, Kind, message
from ohmtwin.arch.registers import (
    ID_MAGIC,
    ID_VERSION,
    Control,
    CoreCounter,
    Status,
    TileRegister,
    core_address,
)
from ohmtwin.behavioral.program import InputLayout, OutputSegment, TileProgram
from ohmtwin.host.driver import (
    LinkError,
    Port,
    ProtocolError,
    SilentLinkError,
    TileDriver,
    TileFaultError,
    TileTimeoutError,
    WrongChipError,
)

CHIP = Chip(
    name="small",
    cores=2,
    rows=16,
    cols=32,
    fifo_words=16,
    data_words=16,
    param_words=16,
    program_words=16,
)


def make_program(inputs: int = 24, words: int = 1) -> TileProgram:
    make = Instruction.make
    n = -(-inputs // 8)
    return TileProgram(
        chip=CHIP,
        instructions=(
            make(Opcode.LOOP, body=3, count=0),
            make(Opcode.SYNC, in_words=n, out_words=words),
            make(Opcode.LOAD, source=Source.HOST, bytes=16, cores=1),
            make(Opcode.SEND, words=words),
        ),
        params=np.arange(5, dtype=np.uint64),
        tables=np.arange(1024, dtype=np.uint16).astype(np.uint8).reshape(4, 256),
        arrays=(),
        input=InputLayout.plain(inputs),
        outputs=(OutputSegment("t", "uint8", words, np.arange(8 * words)),),
        data=np.arange(40, 43, dtype=np.uint64),
        shapes={"t": (8 * words,)},
    )


class FakeTile(Port):
    """Adds up the words of a sample and sends the sum, ``words`` times; keeps what it is told.

    As a tile, it takes no message behind input words that its FIFO has no room for.
    """

    def __init__(self, program: TileProgram) -> None:
        self.program = program
        self.registers = {
            int(TileRegister.ID): ID_MAGIC << 32 | ID_VERSION,
            int(TileRegister.CHIP_HASH): CHIP.structure_hash,
            int(TileRegister.STATUS): 0,
            int(TileRegister.PC): 1,
        }
        self.memory: dict[Kind, dict[int, int]] = {}
        self.controls: list[int] = []
        self.pending: list[int] = []
        self.fifo: list[int] = []
        self.deepest = 0
        self.outgoing: list[int] = []
        self.samples = 0
        self.closed = 0
        self.before_sample: Callable[[int], bool] = lambda number: True
        self.output_chunk = 100
        self.silent = False

    def write(self, words: NDArray[np.uint64]) -> None:
        if not self.silent:
            self.pending += words.tolist()

    def read(self, at_least: int) -> NDArray[np.uint64]:
        self._work()
        # No more than was asked for, so that messages come in pieces.
        taken, self.outgoing = self.outgoing[:at_least], self.outgoing[at_least:]
        return np.array(taken, dtype=np.uint64)

    def close(self) -> None:
        self.closed += 1

    def _work(self) -> None:
        while self.pending:
            header = Header.decode(self.pending[0])
            if header.kind is Kind.INPUT:
                need = header.length
                self.fifo += self.pending[1 : 1 + need]
                del self.pending[: 1 + need]
                self.deepest = max(self.deepest, len(self.fifo))
                self._run()
                if len(self.fifo) > CHIP.fifo_words:
                    return
                continue
            need = 0 if header.kind is Kind.READ_REG else header.length
            payload = self.pending[1 : 1 + need]
            del self.pending[: 1 + need]
            if header.kind is Kind.READ_REG:
                values = [self.registers.get(header.address + i, 0) for i in range(header.length)]
                self.outgoing += message(Kind.REPLY, values)
            elif header.kind is Kind.WRITE_REG:
                assert header.address == TileRegister.CONTROL
                self.controls += payload
                if payload == [Control.RUN]:
                    self.registers[TileRegister.STATUS] = Status.RUNNING | Status.WAITING
            else:
                memory = self.memory.setdefault(header.kind, {})
                memory.update({header.address + i: word for i, word in enumerate(payload)})

    def _run(self) -> None:
        n = self.program.input_words
        while len(self.fifo) >= n and self.before_sample(self.samples):
            total = sum(self.fifo[:n]) & (1 << 64) - 1
            del self.fifo[:n]
            self.samples += 1
            payload = [total + i for i in range(self.program.output_words)]
            for start in range(0, len(payload), self.output_chunk):
                self.outgoing += message(Kind.OUTPUT, payload[start : start + self.output_chunk])


def samples(program: TileProgram, n: int) -> NDArray[np.uint64]:
    random = np.random.default_rng(n)
    return random.integers(0, 1 << 50, (n, program.input_words)).astype(np.uint64)


def test_start_loads_everything_then_runs() -> None:
    program = make_program()
    tile = FakeTile(program)
    TileDriver(tile, program)
    tile.read(0)
    assert list(tile.memory[Kind.WRITE_PROGRAM].items()) == list(
        enumerate(program.encoded.tolist())
    )
    assert list(tile.memory[Kind.WRITE_PARAMS].items()) == list(enumerate(range(5)))
    assert tile.memory[Kind.WRITE_DATA] == {0: 40, 1: 41, 2: 42}
    assert list(tile.memory[Kind.WRITE_TABLE].items()) == list(
        enumerate(program.table_words.tolist())
    )
    assert tile.controls == [Control.STOP, Control.CLEAR, Control.RUN]


@pytest.mark.parametrize("chunk", [1, 2, 100])
@pytest.mark.parametrize(("inputs", "words"), [(24, 1), (8, 5), (128, 3), (200, 2)])
def test_samples_come_back_in_order(inputs: int, words: int, chunk: int) -> None:
    program = make_program(inputs, words)
    tile = FakeTile(program)
    tile.output_chunk = chunk
    driver = TileDriver(tile, program)
    told = []
    for n in (7, 0, 40):
        x = samples(program, n)
        found = driver.run(x, lambda done, total: told.append((done, total)))
        assert found.shape == (n, words)
        want = x.sum(axis=1, dtype=np.uint64)[:, None] + np.arange(words, dtype=np.uint64)
        np.testing.assert_array_equal(found, want)
    assert told[-1] == (40, 40)
    # What is under way fits the FIFO, except for a sample that is longer than it.
    assert tile.deepest <= max(CHIP.fifo_words, program.input_words)


def test_counters_are_put_together() -> None:
    program = make_program()
    tile = FakeTile(program)
    driver = TileDriver(tile, program)
    for register in TileRegister:
        if register >= TileRegister.CYCLES:
            tile.registers[register] = 100 + register
    for core in range(CHIP.cores):
        for counter in CoreCounter:
            tile.registers[core_address(core, counter)] = 1000 * (core + 1) + counter
    found = driver.counters()
    assert (found.cycles, found.instructions) == (108, 109)
    assert (found.core_stalls, found.vector_stalls) == (112, 113)
    assert found.core_reads == (1000, 2000)
    assert found.core_beats == (1001, 2001)
    assert found.core_active == (1002, 2002)
    assert found.core_adc_stalls == (1003, 2003)
    assert found.lanes == CHIP.lanes


@pytest.mark.parametrize(
    ("register", "value", "text"),
    [
        (TileRegister.ID, 0, "is no ohmtwin tile: its ID register holds 0x0000000000000000"),
        (TileRegister.ID, ID_MAGIC << 32 | 99, "version 99 of the register map"),
        (TileRegister.CHIP_HASH, 5, "another configuration than chip 'small' .*0000000000000005"),
    ],
)
def test_wrong_chip(register: TileRegister, value: int, text: str) -> None:
    program = make_program()
    tile = FakeTile(program)
    tile.registers[register] = value
    with pytest.raises(WrongChipError, match=text):
        TileDriver(tile, program)
    assert not tile.memory, "nothing may be written to a chip that is not the right one"


def test_silence() -> None:
    program = make_program()
    tile = FakeTile(program)
    tile.silent = True
    with pytest.raises(SilentLinkError, match="did not answer the read of 2 registers from 0"):
        TileDriver(tile, program)


def _stop_at(tile: FakeTile, number: int, status: int, pc: int) -> None:
    def before(sample: int) -> bool:
        if sample == number:
            tile.registers[TileRegister.STATUS] = status
            tile.registers[TileRegister.PC] = pc
        return sample < number

    tile.before_sample = before


@pytest.mark.parametrize(
    ("status", "pc", "error", "text"),
    [
        (Status.FAULT, 2, TileFaultError, r"instruction 2 \(LOAD .*does not know; 1 output words"),
        (Status.FAULT, 9, TileFaultError, "instruction 9, past the end of the program of 4"),
        (0, 3, TileFaultError, r"program ended at instruction 3 \(SEND"),
        (
            Status.RUNNING | Status.WAITING,
            1,
            TileTimeoutError,
            r"waits for more input at instruction 1 \(SYNC",
        ),
        (Status.RUNNING, 2, TileTimeoutError, r"no progress at instruction 2 \(LOAD"),
    ],
)
def test_tile_that_stops(status: int, pc: int, error: type[LinkError], text: str) -> None:
    program = make_program()
    tile = FakeTile(program)
    driver = TileDriver(tile, program)
    _stop_at(tile, 3, status, pc)
    with pytest.raises(error, match=text):
        driver.run(samples(program, 4))
    # A link in an unknown state is not used again.
    with pytest.raises(LinkError, match=r"failed before: .*instruction"):
        driver.run(samples(program, 1))
    with pytest.raises(LinkError, match="failed before"):
        driver.counters()


def test_tile_that_runs_for_ever() -> None:
    program = make_program()
    tile = FakeTile(program)
    driver = TileDriver(tile, program)
    _stop_at(tile, 0, Status.RUNNING, 2)
    read = tile.read

    def counting(at_least: int) -> NDArray[np.uint64]:
        tile.registers[TileRegister.INSTRUCTIONS] = (
            tile.registers.get(TileRegister.INSTRUCTIONS, 0) + 1
        )
        return read(at_least)

    tile.read = counting
    with pytest.raises(TileTimeoutError, match="runs but sends nothing"):
        driver.run(samples(program, 1))


def test_counters_of_a_tile_that_never_waits() -> None:
    program = make_program()
    tile = FakeTile(program)
    driver = TileDriver(tile, program)
    tile.registers[TileRegister.STATUS] = Status.RUNNING
    tile.read(0)
    tile.registers[TileRegister.STATUS] = Status.RUNNING
    with pytest.raises(TileTimeoutError, match="does not come to wait"):
        driver.counters()


@pytest.mark.parametrize("word", [0, 3 | 1 << 16, 99, 255])
def test_words_that_are_no_message(word: int) -> None:
    program = make_program()
    tile = FakeTile(program)
    driver = TileDriver(tile, program)
    tile.outgoing.append(word)
    with pytest.raises(ProtocolError, match=f"{word:#018x} where a message should begin"):
        driver.run(samples(program, 1))


def test_more_words_than_the_program_has() -> None:
    program = make_program()
    tile = FakeTile(
        dataclasses.replace(program, outputs=make_program(words=2).outputs, shapes={"t": (16,)})
    )
    driver = TileDriver(tile, program)
    driver.run(samples(program, 1))
    # The second word of the sample shows with the next message.
    driver.counters()
    with pytest.raises(ProtocolError, match="sent 1 words for 0 samples of 1 words"):
        driver.run(samples(program, 1))


def test_interrupted_call_closes_the_link() -> None:
    program = make_program()
    tile = FakeTile(program)
    driver = TileDriver(tile, program)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        driver.run(samples(program, 9), interrupt)
    with pytest.raises(LinkError, match="a call was interrupted"):
        driver.run(samples(program, 1))


def test_wrong_input_leaves_the_link_alone() -> None:
    program = make_program()
    driver = TileDriver(FakeTile(program), program)
    with pytest.raises(InputError, match=r"must be uint64 \[n, 3\], not uint64 \[2, 4\]"):
        driver.run(np.zeros((2, 4), np.uint64))
    with pytest.raises(InputError, match=r"not int64 \[2, 3\]"):
        driver.run(np.zeros((2, 3), np.int64))
    assert driver.run(samples(program, 2)).shape == (2, 1)


def test_program_that_returns_nothing() -> None:
    program = dataclasses.replace(make_program(), outputs=(), shapes={})
    with pytest.raises(InputError, match="returns no tensor"):
        TileDriver(FakeTile(program), program)


def test_close_closes_the_port() -> None:
    program = make_program()
    tile = FakeTile(program)
    TileDriver(tile, program).close()
    assert tile.closed == 1
