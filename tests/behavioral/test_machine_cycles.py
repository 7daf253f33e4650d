# SPDX-License-Identifier: Apache-2.0
"""The fast machine on random programs: the model that lives cycle by cycle, NumPy and C agree."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tile_model import TileModel

from ohmtwin.arch.budgets import encode_budget
from ohmtwin.arch.chip import Chip
from ohmtwin.arch.isa import Instruction, Opcode, Reg, VecOp
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.behavioral.machine import Machine
from ohmtwin.behavioral.machine_steps import Kind
from ohmtwin.behavioral.machine_times import PassTimes, Touch
from ohmtwin.behavioral.program import ArraySpec, InputLayout, OutputSegment, TileProgram

CHIPS = (
    Chip(cores=3, rows=48, cols=32, lanes=8, rows_per_read=8, data_words=64),
    Chip(cores=2, rows=24, cols=16, cell_bits=1, lanes=2, rows_per_read=4, data_words=64),
    Chip(cores=1, rows=40, cols=16, cell_bits=4, adc_bits=8, lanes=16, rows_per_read=16, tables=16),
    Chip(cores=4, rows=64, cols=24, cell_bits=4, adc_bits=9, lanes=2, rows_per_read=32),
)

DATA = 512
"""Bytes of data memory in use; all of them are written before the start."""
STORED = 320
"""From here on REQ stores its codes."""


@dataclass
class Writer:
    """Writes a program that is right by construction, keeping count of what it takes and sends."""

    chip: Chip
    rng: np.random.Generator
    code: list[Instruction] = field(default_factory=list)
    words: int = 1
    """Accumulator words that products fill."""
    times: int = 1
    taken: int = 0
    stands: int = 0
    """What A2 holds after a gather."""
    sent: list[NDArray[np.bool_]] = field(default_factory=list)
    """For each word that goes out, which of its bytes mean something."""

    def put(self, op: Opcode, /, **fields: int) -> None:
        self.code.append(Instruction.make(op, **fields))

    def set(self, reg: Reg, value: int) -> None:
        self.put(Opcode.SET, reg=reg, value=value)

    def pick(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def cores(self) -> int:
        return self.pick(1, (1 << self.chip.cores) - 1)

    @property
    def everyone(self) -> int:
        return (1 << self.chip.cores) - 1

    def prologue(self) -> None:
        self.words = self.pick(1, self.chip.acc_words)
        self.set(Reg.SCHEDULE, self.pick(0, 1))
        self.set(Reg.ROWS_PER_READ, self.pick(1, self.chip.rows_per_read))
        for _ in range(self.pick(0, 12) if self.chip.row_budgets else 0):
            self.budget()
        self.set(Reg.PLANES, self.pick(1, 8))
        self.put(Opcode.LOOP, body=2, count=2)
        self.put(Opcode.SYNC)
        self.put(Opcode.NOP)
        # All vector accumulators hold something, and so may the cores.
        self.put(Opcode.VEC, bytes=256)
        if self.pick(0, 1):
            self.put(Opcode.LOAD, bytes=self.chip.rows, cores=self.everyone)
            self.product(self.everyone)

    def body(self) -> None:
        chip = self.chip
        words = chip.rows // 8
        split = self.pick(1, words - 1)
        rest = chip.rows - 8 * split - self.pick(0, 7)
        host = self.pick(0, 1)
        self.taken = words + -(-rest // 8)
        self.put(Opcode.SYNC, in_words=self.taken, out_words=chip.fifo_words)
        self.set(Reg.A0, 0)
        self.set(Reg.A1, 0)
        if self.chip.arrays_per_core > 1:
            self.set(Reg.KEEP, 0)
        self.put(Opcode.RECV, addr=0, addr_step=1, words=words)
        self.put(Opcode.LOAD, addr=1, addr_step=1, bytes=8 * split, cores=self.everyone)
        self.put(Opcode.LOAD, addr=1, source=host, bytes=rest, row=8 * split, cores=self.everyone)
        if not host:
            self.put(Opcode.RECV, addr=0, words=-(-rest // 8))
        self.quant()
        self.product(self.everyone)
        for _ in range(self.pick(1, 8)):
            self.action()
        if self.rng.random() < 0.5:
            self.loop()
            self.put(Opcode.NOP)

    def action(self) -> None:
        choices = (
            self.requantize,
            self.requantize,
            self.drain_vector,
            self.send,
            self.load,
            self.load,
            self.vector,
            self.vector,
            self.quant,
            self.receive,
            self.load_host,
            lambda: self.product(self.cores()),
            lambda: self.put(Opcode.SYNC),
            lambda: self.put(Opcode.NOP),
        )
        if self.chip.row_budgets:
            choices = (*choices, self.budget)
        if self.chip.arrays_per_core > 1:
            choices = (*choices, self.keep, self.keep)
        choices[self.pick(0, len(choices) - 1)]()

    def keep(self) -> None:
        """Products and loads add to what is there, from here on or no longer; sums of both kinds
        are seen."""
        self.set(Reg.KEEP, self.pick(0, 1))
        if self.pick(0, 1):
            runs = self.gather(self.chip.rows, 31)
            self.put(Opcode.LOAD, cores=self.everyone, **runs)
        self.product(self.everyone)
        self.requantize()

    def budget(self) -> None:
        """The rows of a read of one plane, also while products run."""
        rows, plane = self.pick(1, self.chip.most_rows), self.pick(0, 7)
        part = self.pick(0, self.chip.read_slices - 1) if self.chip.slice_reads else None
        self.set(Reg.ROWS_PER_READ, encode_budget(rows, plane, part))

    def loop(self) -> None:
        self.times = self.pick(1, 3)
        at, sent = len(self.code), len(self.sent)
        for _ in range(self.pick(1, 3)):
            self.action()
        body = self.code[at:]
        self.code[at:] = [Instruction.make(Opcode.LOOP, body=len(body), count=self.times), *body]
        self.sent += self.sent[sent:] * (self.times - 1)
        self.times = 1

    def quant(self) -> None:
        low, high = sorted(self.rng.integers(0, 256, 2).tolist())
        self.set(Reg.QUANT, self.pick(0, 255) | low << 8 | high << 16)

    def product(self, mask: int) -> None:
        # As many columns each time, so that any later REQ finds what it drains.
        beats = self.chip.beats_of(self.words * self.chip.outputs_per_beat)
        turn = self.pick(0, self.chip.arrays_per_core - 1)
        self.put(Opcode.MVM, rows=self.pick(1, self.chip.rows), beats=beats, array=turn, cores=mask)

    def take(self, words: int) -> None:
        """Wait for words in the middle of a sample."""
        self.put(Opcode.SYNC, in_words=words)
        self.taken += words * self.times

    def receive(self) -> None:
        words = self.pick(1, 3)
        self.take(words)
        self.set(Reg.A0, 8 * self.pick(0, DATA // 8 - words))
        self.put(Opcode.RECV, addr=0, words=words)

    def load_host(self) -> None:
        bytes_ = self.pick(1, 16)
        self.take(-(-bytes_ // 8))
        self.put(Opcode.LOAD, source=1, bytes=bytes_, cores=self.cores())

    def gather(self, room: int, most: int, at: int | None = None) -> dict[str, int]:
        """Runs of at most ``room`` bytes together, from anywhere or from what A2 holds."""
        repeats = self.pick(0, min(most, room - 1)) if self.pick(0, 1) else 0
        count = self.pick(1, room // (repeats + 1))
        limit = DATA
        if self.pick(0, 1):
            limit = STORED  # needs no wait
        else:
            self.put(Opcode.SYNC)
        start, last = self.pick(0, limit - count), self.pick(0, limit - count)
        stays = at is not None and at <= limit - count
        if at is not None and stays:
            start = at
        if repeats:
            # From start towards last, also backwards, and runs may overlap.
            pitch = int((last - start) / repeats)
            self.set(Reg.PITCH, max(-9, min(9, pitch)) if self.pick(0, 1) else pitch)
        if not stays:
            self.set(Reg.A2, start - 5)
            self.put(Opcode.ADD, reg=Reg.A2, value=5)
        step = self.pick(0, 1)
        self.stands = start + step * count
        return {"bytes": count, "repeats": repeats, "addr": 2, "addr_step": step}

    def load(self) -> None:
        mask, row = self.cores(), 8 * self.pick(0, self.chip.rows // 8 - 1)
        at = None
        while True:
            runs = self.gather(self.chip.rows - row, 31, at)
            at = self.stands
            self.put(Opcode.LOAD, row=row, cores=mask, **runs)
            row += runs["bytes"] * (runs["repeats"] + 1)
            if row == self.chip.rows or self.pick(0, 2) == 0:
                return

    def vector(self) -> None:
        element = self.pick(0, 255)
        if self.pick(0, 1):
            self.set(Reg.SCALE, self.pick(-255, 255) << 15 * self.pick(0, 1))
            self.set(Reg.OFFSET, self.pick(-255, 255) << 23 * self.pick(0, 1))
        runs = self.gather(min(256 - element, 64), 255)
        self.put(Opcode.VEC, op=self.pick(0, 4), element=element, **runs)
        if self.pick(0, 1):
            self.words32()

    def words32(self) -> None:
        """Sums of another tile: words of 32 bits, in runs of whole words of memory or alone."""
        element, several = 2 * self.pick(0, 110), self.pick(0, 1)
        count = 8 * self.pick(1, 3) if several else 4 * self.pick(1, 7)
        repeats = self.pick(1, 3) if several else 0
        self.put(Opcode.SYNC)
        room = DATA // 8 - -(-count // 8)
        start = 8 * self.pick(0, room)
        if several:
            pitch = 8 * self.pick(-(start // 8 // repeats), (room - start // 8) // repeats)
            self.set(Reg.PITCH, pitch)
        self.set(Reg.A2, start)
        op = self.pick(VecOp.PUT32, VecOp.ADD32)
        self.put(Opcode.VEC, op=op, element=element, bytes=count, repeats=repeats, addr=2)

    def send(self) -> None:
        words = self.pick(1, self.chip.rows // 8)
        self.set(Reg.A3, 8 * self.pick(0, DATA // 8 - words))
        self.put(Opcode.SEND, addr=3, addr_step=1, words=words)
        self.sent += list(self.rng.random((words, 8)) < 0.9)

    def requantize(self) -> None:
        outputs = self.pick(1, self.words * self.chip.outputs_per_beat)
        self.drain(outputs, cores=self.cores())

    def drain_vector(self) -> None:
        outputs = self.pick(1, self.chip.outputs)
        cores = self.cores() & ~1
        if cores and self.pick(0, 1):
            self.drain(min(outputs, self.words * self.chip.outputs_per_beat), vector=1, cores=cores)
        else:
            self.drain(outputs, vector=1)

    def drain(self, outputs: int, **source: int) -> None:
        width = self.chip.outputs_per_beat
        # Room for one code more.
        self.set(Reg.A4, self.pick(STORED, DATA - outputs - 1))
        self.set(Reg.A5, self.pick(0, 2))
        tap = self.pick(0, 1)
        self.put(
            Opcode.REQ,
            dest=4,
            dest_step=1,
            param=5,
            param_step=1,
            tap=tap,
            table_on=self.pick(0, 1),
            table=self.pick(0, self.chip.tables - 1),
            outputs=outputs,
            same_param=self.pick(0, 1),
            **source,
        )
        if self.pick(0, 1):
            # Goes on where the one before has ended: the next codes share its last word.
            self.put(Opcode.REQ, dest=4, param=5, outputs=1, same_param=1, **source)
        if tap:
            beats, slots = -(-outputs // width), -(-width // 2) * 2
            kept = np.zeros((beats, slots, 4), dtype=np.bool_)
            kept[:, :width] = (np.arange(beats * width) < outputs).reshape(beats, width, 1)
            self.sent += list(kept.reshape(-1, 8))


def make_program(seed: int, chip: Chip | None = None) -> TileProgram:
    rng = np.random.default_rng(seed)
    chip = chip or CHIPS[seed % len(CHIPS)]
    writer = Writer(chip, rng)
    writer.prologue()
    start = len(writer.code)
    writer.body()
    body = writer.code[start:]
    code = [*writer.code[:start], Instruction.make(Opcode.LOOP, body=len(body), count=0), *body]
    size = (chip.acc_words + 5) * chip.outputs_per_beat
    bias = rng.integers(0, 1 << 32, size, dtype=np.uint64) & np.uint64(0x80007FFF)
    bias = np.where(bias >> np.uint64(31), bias | np.uint64(0x7FFF8000), bias)
    mantissa = rng.integers(1 << 23, 1 << 24, size, dtype=np.uint64)
    shift = rng.integers(28, 36, size, dtype=np.uint64)
    outputs: tuple[OutputSegment, ...] = ()
    if writer.sent:
        kept = np.concatenate(writer.sent)
        index = np.where(kept, np.cumsum(kept) - 1, -1)
        outputs = (OutputSegment("out", "uint8", len(writer.sent), index),)
    return TileProgram(
        chip=chip,
        instructions=tuple(code),
        params=bias | mantissa << np.uint64(32) | shift << np.uint64(56),
        tables=rng.integers(0, 256, (chip.tables, 256), dtype=np.uint8),
        arrays=tuple(
            ArraySpec(
                c,
                rng.integers(0, 1 << chip.cell_bits, (chip.rows, chip.cols), dtype=np.uint8),
                array=turn,
            )
            for c in range(chip.cores)
            for turn in range(chip.arrays_per_core)
        ),
        input=InputLayout.plain(8 * writer.taken),
        outputs=outputs,
        data=rng.integers(0, 1 << 64, DATA // 8, dtype=np.uint64),
    )


def make_image(program: TileProgram, spec: ArraySpec) -> ArrayImage:
    """Noisy, so that a read out of order shows."""
    chip = program.chip
    return ArrayImage(
        spec.levels.astype(np.int32) << 12,
        np.zeros(chip.rows, dtype=np.int32),
        v0=1 << 22,
        adc_bits=chip.adc_bits,
        lanes=chip.lanes,
        adc_step=chip.adc_step,
        adc_span=chip.read_slices,
    )


def make_arrays(program: TileProgram) -> list[Crossbar]:
    places = zip(program.arrays, program.array_numbers, strict=True)
    return [Crossbar(make_image(program, s), seed=3, array=n) for s, n in places]


def make_c_arrays(program: TileProgram) -> list[CCrossbar]:
    places = zip(program.arrays, program.array_numbers, strict=True)
    return [CCrossbar(make_image(program, s), seed=3, array=n) for s, n in places]


def make_inputs(program: TileProgram, n: int, seed: int) -> NDArray[np.uint64]:
    """Samples of different density, an empty one among them."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (n, 8 * program.input_words), dtype=np.uint8)
    codes &= rng.integers(0, 256, codes.shape, dtype=np.uint8)
    codes[0] = 0
    codes[-1, ::3] = 0
    return program.pack_inputs(codes)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_equals_the_model_cycle_by_cycle(seed: int) -> None:
    program = make_program(seed)
    words = make_inputs(program, 3, seed)
    arrays = make_arrays(program)
    model = TileModel(program, make_arrays(program), np.random.default_rng(seed))
    machine = Machine(program, arrays)
    out = np.concatenate([machine.run(words[:2]), machine.run(words[2:])])
    model.run([int(w) for w in words.reshape(-1)])
    np.testing.assert_array_equal(out.reshape(-1), np.array(model.host_out, dtype=np.uint64))
    assert machine.counters == model.counters
    assert [a.reads for a in arrays] == [core.reads for core in model.cores.values()]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 1_000_000))
def test_c_equals_numpy(seed: int) -> None:
    program = make_program(seed)
    words = make_inputs(program, 4, seed)
    arrays, c_arrays = make_arrays(program), make_c_arrays(program)
    numpy, c = Machine(program, arrays), Machine(program, c_arrays)
    np.testing.assert_array_equal(c.run(words), numpy.run(words))
    assert c.counters == numpy.counters
    assert [a.reads for a in c_arrays] == [a.reads for a in arrays]
    for name in ("data", "rows", "sums", "acc", "vec"):
        left, right = (getattr(m._executor._memories, name) for m in (c, numpy))
        np.testing.assert_array_equal(left, right, err_msg=name)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_batch_equals_sample_by_sample(seed: int) -> None:
    program = make_program(seed)
    words = make_inputs(program, 5, seed)
    together = Machine(program, make_c_arrays(program))
    single = Machine(program, make_c_arrays(program))
    out = together.run(words)
    np.testing.assert_array_equal(out, np.concatenate([single.run(w[None]) for w in words]))
    assert together.counters == single.counters


def test_programs_cover_the_instruction_set() -> None:
    """The random programs above hold every case that they are meant for."""
    found: set[str] = set()
    for seed in range(60):
        program = make_program(seed)
        machine = Machine(program, make_c_arrays(program))
        for step in machine._trace.steps:
            kind = Kind(int(step["kind"])).name
            if kind in ("LOAD", "VEC"):
                start, pitch = int(step["source"]), int(step["pitch"])
                found.add(f"{kind} byte {start % 8}")
                if step["runs"] > 1:
                    found.add(f"{kind} {'back' if pitch < 0 else 'on'}")
            if kind == "LOAD":
                found.add(f"LOAD row {int(step['place']) % 8}")
            if kind == "VEC":
                found.add(f"VEC {VecOp(int(step['mode'])).name}")
            if kind == "REQ":
                source = "vector" if step["mode"] & 2 else "cores"
                tap = "tap" if step["tap"] >= 0 else "quiet"
                found.add(f"REQ {source} {tap} {'same' if step['mode'] & 1 else 'each'}")
                if step["mode"] & 2 and step["cores"]:
                    found.add("REQ both")
                found.add(f"REQ byte {int(step['place']) % 8}")
                if step["count"] % program.chip.outputs_per_beat:
                    found.add(f"REQ {source} cut")
    wanted = {f"{kind} byte {b}" for kind in ("LOAD", "VEC", "REQ") for b in range(8)}
    wanted |= {f"{kind} {way}" for kind in ("LOAD", "VEC") for way in ("back", "on")}
    wanted |= {f"LOAD row {r}" for r in range(8)} | {f"VEC {op.name}" for op in VecOp}
    wanted.add("REQ both")
    for source in ("cores", "vector"):
        wanted |= {f"REQ {source} {t} {p}" for t in ("tap", "quiet") for p in ("same", "each")}
        wanted.add(f"REQ {source} cut")
    assert found >= wanted, sorted(wanted - found)


def test_times_of_touches_are_those_of_the_model() -> None:
    """Pops and pushes, in cycles of the program: waits for the host do not count."""
    taps = 0
    for seed in range(30):
        program = make_program(seed)
        words = make_inputs(program, 3, seed)
        model = TileModel(program, make_arrays(program), np.random.default_rng(seed))
        model.run([int(w) for w in words.reshape(-1)])
        for arrays in (make_arrays(program), make_c_arrays(program)):
            machine = Machine(program, arrays)
            times: list[PassTimes] = []
            machine.run(words[:1], times)
            machine.run(words[1:], times)
            moves = {"pop": [], "push": []}  # type: dict[str, list[int]]
            base = 0
            for part in (machine.start_times, *times):
                for starts in part.starts:
                    for touch, start in zip(part.touches, starts, strict=True):
                        # The model pushes as the instruction executes: no pipeline, no memory.
                        strobes = range(base + int(start), base + int(start + touch["words"]))
                        if touch["kind"] == Touch.POP:
                            moves["pop"] += strobes
                        elif touch["kind"] == Touch.PUSH:
                            tapped = touch["delay"] > 1
                            taps += tapped
                            moves["push"] += [at + int(tapped) for at in strobes]
                    base += int(starts[-1])
            assert moves == {"pop": model.pops, "push": model.pushes}
            assert base == machine.counters.cycles
    assert taps > 20
