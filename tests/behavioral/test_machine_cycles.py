# SPDX-License-Identifier: Apache-2.0
"""The fast machine on random programs: against the model that lives cycle by cycle, and itself."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tile_model import TileModel

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.isa import Instruction, Opcode, Reg, Source
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.behavioral.machine import Machine
from ohmtwin.behavioral.program import ArraySpec, InputLayout, OutputSegment, TileProgram

CHIPS = (
    Chip(cores=3, rows=48, cols=32, lanes=8, rows_per_read=8, data_words=64),
    Chip(cores=2, rows=24, cols=16, cell_bits=1, lanes=2, rows_per_read=4, data_words=64),
    Chip(cores=1, rows=40, cols=16, cell_bits=4, adc_bits=8, lanes=16, rows_per_read=16),
    Chip(cores=4, rows=64, cols=24, cell_bits=4, adc_bits=9, lanes=2, rows_per_read=32),
)


@dataclass
class Writer:
    """Writes a program that is right by construction, keeping count of what it sends."""

    chip: Chip
    rng: np.random.Generator
    again: bool
    """Whether an array may make several products a sample."""
    code: list[Instruction] = field(default_factory=list)
    words: int = 1
    """Accumulator words that products fill."""
    times: int = 1
    sent: int = 0

    def put(self, op: Opcode, **fields: int) -> None:
        self.code.append(Instruction.make(op, **fields))

    def pick(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def cores(self) -> int:
        return self.pick(1, (1 << self.chip.cores) - 1)

    def prologue(self) -> None:
        self.words = self.pick(1, self.chip.acc_words)
        self.put(Opcode.SET, reg=Reg.SCHEDULE, value=self.pick(0, 1))
        most = self.pick(1, self.chip.rows_per_read)
        self.put(Opcode.SET, reg=Reg.ROWS_PER_READ, value=most)
        self.put(Opcode.SET, reg=Reg.PLANES, value=self.pick(1, 8))
        self.put(Opcode.LOOP, body=2, count=2)
        self.put(Opcode.SYNC)
        self.put(Opcode.NOP)

    def body(self, received: int) -> None:
        chip = self.chip
        everyone = (1 << chip.cores) - 1
        self.put(Opcode.SYNC, in_words=received, out_words=chip.fifo_words)
        self.put(Opcode.SET, reg=Reg.A0, value=0)
        self.put(Opcode.SET, reg=Reg.A1, value=0)
        self.put(Opcode.RECV, addr=0, words=chip.rows // 8)
        split = self.pick(1, chip.rows // 8 - 1)
        self.put(Opcode.LOAD, addr=1, addr_step=1, bytes=8 * split, cores=everyone)
        rest = chip.rows - 8 * split - self.pick(0, 7)
        host = self.pick(0, 1)
        self.put(Opcode.LOAD, addr=1, source=host, bytes=rest, row_word=split, cores=everyone)
        if not host:
            self.put(Opcode.RECV, addr=0, words=-(-rest // 8))
        self.quant()
        mask = self.cores()
        self.product(mask)
        if self.again:
            self.product(self.cores())
        elif everyone ^ mask:
            self.product(everyone ^ mask)
        else:
            mask = everyone
        for _ in range(self.pick(1, 6)):
            self.action(mask)
        if self.again and self.rng.random() < 0.5:
            self.loop(mask)
            self.put(Opcode.NOP)

    def action(self, mask: int) -> None:
        kind = self.pick(0, 7)
        if kind == 0:
            self.requantize(mask)
        elif kind == 1:
            self.send()
        elif kind == 2:
            self.load()
        elif kind == 3:
            self.quant()
        elif kind == 4:
            self.put(Opcode.SYNC)
        elif kind == 7 and self.times == 1:
            # While codes may still be on their way through the vector unit.
            self.put(Opcode.LOAD, source=1, bytes=self.pick(1, 16), cores=self.cores())
        elif kind == 5 and self.again:
            self.product(mask)
        else:
            self.put(Opcode.NOP)

    def loop(self, mask: int) -> None:
        count = self.pick(1, 3)
        at = len(self.code)
        self.times = count
        for _ in range(self.pick(1, 3)):
            self.action(mask)
        body = self.code[at:]
        self.code[at:] = [Instruction.make(Opcode.LOOP, body=len(body), count=count), *body]
        self.times = 1

    def quant(self) -> None:
        low, high = sorted(self.rng.integers(0, 256, 2).tolist())
        value = self.pick(0, 255) | low << 8 | high << 16
        self.put(Opcode.SET, reg=Reg.QUANT, value=value)

    def product(self, mask: int) -> None:
        # As many columns each time, so that any later REQ finds what it drains.
        beats = self.words * self.chip.beats_per_word
        self.put(Opcode.MVM, rows=self.pick(1, self.chip.rows), beats=beats, cores=mask)

    def load(self) -> None:
        words = self.pick(1, self.chip.rows // 8 - 1)
        back = self.pick(0, 5)
        self.put(Opcode.SET, reg=Reg.A2, value=back)
        self.put(Opcode.ADD, reg=Reg.A2, value=-back)
        row = self.pick(0, self.chip.rows // 8 - words)
        bytes_ = 8 * words - self.pick(0, 7)
        self.put(Opcode.LOAD, addr=2, bytes=bytes_, row_word=row, cores=self.cores())

    def send(self) -> None:
        words = self.pick(1, self.chip.rows // 8)
        self.put(Opcode.SET, reg=Reg.A3, value=0)
        self.put(Opcode.SEND, addr=3, words=words)
        self.sent += words * self.times

    def requantize(self, mask: int) -> None:
        beats, width = self.pick(1, self.words), self.chip.outputs_per_beat
        self.put(Opcode.SET, reg=Reg.A4, value=self.pick(0, 1))
        self.put(Opcode.SET, reg=Reg.A5, value=self.pick(0, 2))
        tap, table = self.pick(0, 1), self.pick(0, 3)
        self.put(
            Opcode.REQ,
            dest=4,
            dest_step=1,
            param=5,
            param_step=1,
            tap=tap,
            table_on=self.pick(0, 1),
            table=table,
            beats=beats,
            cores=mask,
        )
        self.sent += tap * beats * -(-width // 2) * self.times


def make_program(seed: int, again: bool) -> TileProgram:
    rng = np.random.default_rng([seed, again])
    chip = CHIPS[seed % len(CHIPS)]
    writer = Writer(chip, rng, again)
    writer.prologue()
    start = len(writer.code)
    received = 0
    writer.body(0)
    # The words of a sample are what its instructions take.
    for i in writer.code[start:]:
        if i.op is Opcode.RECV:
            received += i["words"]
        elif i.op is Opcode.LOAD and i["source"] == Source.HOST:
            received += -(-i["bytes"] // 8)
    sync = {"in_words": received, "out_words": chip.fifo_words}
    writer.code[start] = Instruction(Opcode.SYNC, sync)
    body = writer.code[start:]
    code = [*writer.code[:start], Instruction.make(Opcode.LOOP, body=len(body), count=0), *body]
    size = (chip.acc_words + 2) * chip.outputs_per_beat
    bias = rng.integers(0, 1 << 32, size, dtype=np.uint64) & np.uint64(0x80007FFF)
    bias = np.where(bias >> np.uint64(31), bias | np.uint64(0x7FFF8000), bias)
    mantissa = rng.integers(1 << 23, 1 << 24, size, dtype=np.uint64)
    shift = rng.integers(28, 36, size, dtype=np.uint64)
    outputs: tuple[OutputSegment, ...] = ()
    if writer.sent:
        index = np.arange(8 * writer.sent)
        outputs = (OutputSegment("out", "uint8", writer.sent, index),)
    return TileProgram(
        chip=chip,
        instructions=tuple(code),
        params=bias | mantissa << np.uint64(32) | shift << np.uint64(56),
        tables=rng.integers(0, 256, (4, 256), dtype=np.uint8),
        arrays=tuple(
            ArraySpec(
                c, rng.integers(0, 1 << chip.cell_bits, (chip.rows, chip.cols), dtype=np.uint8)
            )
            for c in range(chip.cores)
        ),
        input=InputLayout.plain(8 * received),
        outputs=outputs,
    )


def make_arrays(program: TileProgram) -> list[Crossbar]:
    """Noisy arrays, so that a read out of order shows."""
    chip = program.chip
    return [
        Crossbar(
            ArrayImage(
                spec.levels.astype(np.int32) << 12,
                np.zeros(chip.rows, dtype=np.int32),
                v0=1 << 22,
                adc_bits=chip.adc_bits,
                lanes=chip.lanes,
            ),
            seed=3,
            array=spec.core,
        )
        for spec in program.arrays
    ]


def make_inputs(program: TileProgram, n: int, seed: int) -> NDArray[np.uint64]:
    """Samples of different density, an empty one among them."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (n, 8 * program.input_words), dtype=np.uint8)
    codes &= rng.integers(0, 256, codes.shape, dtype=np.uint8)
    codes[0] = 0
    codes[-1, ::3] = 0
    return program.pack_inputs(codes)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.booleans())
def test_equals_the_model_cycle_by_cycle(seed: int, again: bool) -> None:
    program = make_program(seed, again)
    words = make_inputs(program, 3, seed)
    arrays = make_arrays(program)
    model = TileModel(program, make_arrays(program), np.random.default_rng(seed))
    machine = Machine(program, arrays)
    out = np.concatenate([machine.run(words[:2]), machine.run(words[2:])])
    model.run([int(w) for w in words.reshape(-1)])
    np.testing.assert_array_equal(out.reshape(-1), np.array(model.host_out, dtype=np.uint64))
    assert machine.counters == model.counters
    assert [a.reads for a in arrays] == [core.reads for core in model.cores.values()]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.booleans())
def test_batch_equals_sample_by_sample(seed: int, again: bool) -> None:
    program = make_program(seed, again)
    words = make_inputs(program, 5, seed)
    together = Machine(program, make_arrays(program))
    single = Machine(program, make_arrays(program))
    out = together.run(words)
    np.testing.assert_array_equal(out, np.concatenate([single.run(w[None]) for w in words]))
    assert together.counters == single.counters


def test_programs_cover_both_ways() -> None:
    """The random programs above run side by side as well as one by one."""
    found = set()
    for again in (False, True):
        for seed in range(8):
            program = make_program(seed, again)
            machine = Machine(program, make_arrays(program))
            machine.run(make_inputs(program, 2, seed))
            found.add((machine._trace().independent, program.chip.name, seed % len(CHIPS)))
    assert {way for way, _, _ in found} == {False, True}
