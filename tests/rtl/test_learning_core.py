# SPDX-License-Identifier: Apache-2.0
"""The core that learns with stalls on every stream, and what it refuses to be built of.

``tests/host/test_learning_sim.py`` runs it Verilated, where stalls are few and programs long.
"""

import dataclasses
from random import Random
from typing import Any

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from learning_cases import random_cells, random_program, random_samples
from simulate import simulate
from streams import stream_collect

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.learning import (
    LearnChip,
    LearnKind,
    LearnProgram,
    done_word,
    fault_word,
    header_word,
)
from ohmtwin.arch.learning_isa import LearnInstruction, LearnOp
from ohmtwin.behavioral.learning.array import LearnArray
from ohmtwin.behavioral.learning.processor import LearnProcessor
from ohmtwin.rtl.learning.codes import CodeBuffer
from ohmtwin.rtl.learning.core import LearningCore
from ohmtwin.rtl.learning.macro import LearnMacro
from ohmtwin.rtl.learning.plan import Planner
from ohmtwin.rtl.learning.pulses import PulseSink
from ohmtwin.rtl.learning.trains import PulseGenerator

CHIP = LearnChip(rows=6, cols=4, arrays=1, lanes=4)
BUILT = (LearningCore, LearnMacro, PulseGenerator, PulseSink, CodeBuffer, Planner)


@pytest.mark.parametrize("component", BUILT)
def test_refuses_what_is_no_chip_that_learns(component: type) -> None:
    with pytest.raises(TypeError, match=r"^Chip must be a LearnChip, not Chip\("):
        component(chip=Chip())


@pytest.mark.parametrize("component", BUILT)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lanes": 7}, r"^A core of 6 rows and 4 columns can use 6 lanes, not 7$"),
        (
            {"lanes": 5, "transposed_lanes": 3},
            r"^A core of 6 rows and 4 columns can use 4 lanes, not 5$",
        ),
        ({"transposed_lanes": 7}, r"^A core of 6 rows can use as many transposed lanes, not 7$"),
    ],
)
def test_refuses_converters_that_no_line_has(
    component: type, changes: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        component(chip=dataclasses.replace(CHIP, **changes))


def test_a_beat_holds_the_codes_of_either_direction() -> None:
    for lanes, transposed, width in ((4, 0, 64), (4, 6, 96), (4, 2, 64)):
        chip = dataclasses.replace(CHIP, lanes=lanes, transposed_lanes=transposed)
        assert len(LearnMacro(chip=chip).codes.payload) == width


class MacroModel:
    """The macro as a definition: slow arrays behind streams that stall at random."""

    def __init__(
        self, core: LearningCore, chip: LearnChip, arrays: list[LearnArray], seed: int, stall: float
    ) -> None:
        self.core, self.chip, self.arrays = core, chip, arrays
        self.rng, self.stall = Random(seed), stall
        self.inputs = np.zeros(max(chip.rows, chip.cols), np.int64)
        self.signs = np.zeros(chip.cols, np.int64)

    def go(self) -> bool:
        return self.rng.random() >= self.stall

    async def serve(self, ctx: SimulatorContext) -> None:
        # The component that the instance stands in: nothing else drives what the instance gives.
        macro = self.core._macro
        beats: list[int] = []
        owed = code_valid = answer_valid = False
        while True:
            busy = bool(beats) or owed
            drive, write = self.go(), not busy and self.go()
            command = not busy and not ctx.get(macro.write.valid) and self.go()
            code_valid = bool(beats) and (code_valid or self.go())
            answer_valid = owed and (answer_valid or self.go())
            ctx.set(macro.drive.ready, drive)
            ctx.set(macro.cmd.ready, command)
            ctx.set(macro.write.ready, write)
            ctx.set(macro.codes.valid, code_valid)
            ctx.set(macro.codes.payload, beats[0] if code_valid else 0)
            ctx.set(macro.response.valid, answer_valid)
            streams = (macro.drive, macro.cmd, macro.write)
            wanted = [s.valid for s in streams] + [s.payload for s in streams]
            sampled = await ctx.tick().sample(*wanted, macro.codes.ready, macro.response.ready)
            _, _, driven, read, written, line, cmd, word, code_taken, answer_taken = sampled
            if code_valid and code_taken:
                beats.pop(0)
                code_valid = False
            if answer_valid and answer_taken:
                owed = answer_valid = False
            if drive and driven:
                self.inputs[line.line] = line.value - 256 * (line.value >> 7)
            if command and read:
                beats = self.read(cmd)
            if write and written:
                self.write(word)
                owed = bool(word.fire or word.relax)

    def read(self, cmd: Any) -> list[int]:
        chip, back = self.chip, bool(cmd.transposed)
        ins, outs = (chip.cols, chip.rows) if back else (chip.rows, chip.cols)
        lanes = chip.backward_lanes if back else chip.lanes
        assert 0 < cmd.beats <= -(-outs // lanes)
        assert not self.inputs[ins:].any(), "a line is driven that is not there"
        codes = self.arrays[cmd.array].read(
            self.inputs[:ins],
            transposed=back,
            shift=cmd.shift,
            outputs=min(outs, cmd.beats * lanes),
        )
        self.inputs[:] = 0
        parts = [codes[first : first + lanes] for first in range(0, len(codes), lanes)]
        return [sum((int(c) & 0xFFFF) << 16 * k for k, c in enumerate(part)) for part in parts]

    def write(self, word: Any) -> None:
        array, first = self.arrays[word.array], word.beat * self.chip.lanes
        if word.relax:
            array.relax()
            return
        for lane in range(self.chip.lanes):
            sign = (word.up >> lane & 1) - (word.down >> lane & 1)
            if first + lane < self.chip.cols:
                self.signs[first + lane] = sign
            else:
                assert sign == 0, "a column is driven that is not there"
        if word.fire:
            rows = np.array([word.rows >> r & 1 for r in range(self.chip.rows)])
            array.pulse_counts(np.outer(rows, self.signs) * word.pulses)
            self.signs[:] = 0


TINY = LearnChip(rows=6, cols=5, arrays=2, adc_bits=9, lanes=3, transposed_lanes=4, memory=512)


def run_core(
    chip: LearnChip, program: LearnProgram, seed: int, stall: float, cycles: int
) -> tuple[LearnProcessor, list[LearnArray], list[int]]:
    """One sample on the reference and on the circuit: that, the circuit's arrays, its words."""
    sides = [
        [LearnArray(random_cells(chip, seed + i), seed, i) for i in range(chip.arrays)]
        for _ in range(2)
    ]
    reference = LearnProcessor(chip, program, sides[0], seed)
    words = random_samples(seed, program, 1)
    core = LearningCore(chip=chip)
    macro = MacroModel(core, chip, sides[1], seed, stall)
    rng, seen = Random(seed), []
    sent = [header_word(LearnKind.LFSR, chip.lines), *reference.lfsr.tolist()]
    sent += [*program.load_words(), header_word(LearnKind.RUN, 1)]
    sent += [int(w) & 0xFFFFFFFF for w in words[0]]
    dumps = {LearnKind.DUMP_MEMORY: chip.memory, LearnKind.DUMP_LFSR: chip.lines}
    dumps[LearnKind.DUMP_REGISTERS] = 16
    sent += [header_word(kind, count) for kind, count in dumps.items()]
    wanted = program.outputs + 1 + sum(dumps.values())

    async def put(ctx: SimulatorContext) -> None:
        for word in sent:
            while rng.random() < stall / 4:
                await ctx.tick()
            ctx.set(core.i.payload, word)
            ctx.set(core.i.valid, 1)
            taken = False
            while not taken:
                _, _, taken = await ctx.tick().sample(core.i.ready)
            ctx.set(core.i.valid, 0)
        while len(seen) < wanted:
            await ctx.tick()

    async def take(ctx: SimulatorContext) -> None:
        await stream_collect(ctx, core.o, seen, Random(seed + 1), stall / 2)

    simulate(core, put, cycles=cycles, background=[take, macro.serve])
    try:
        results = reference.run(words)[0].tolist()
    except ValueError:
        return reference, sides[1], seen
    assert seen[: len(results)] == [v & 0xFFFFFFFF for v in results]
    return reference, sides[1], seen[len(results) :]


@pytest.mark.parametrize("seed", range(4))
def test_stalls_change_nothing(seed: int) -> None:
    program = random_program(seed, TINY, length=20)
    reference, arrays, words = run_core(TINY, program, seed, 0.4 * (seed > 0), 40_000)
    assert words[0] == done_word(1)
    held = np.array(words[1:], np.uint64).astype(np.uint32)
    ends = np.cumsum([TINY.memory, TINY.lines])
    memory, lfsr, registers = np.split(held, ends)
    np.testing.assert_array_equal(memory.view(np.int32), reference.memory)
    np.testing.assert_array_equal(lfsr, reference.lfsr)
    np.testing.assert_array_equal(registers.view(np.int32), reference.registers)
    for ours, theirs in zip(arrays, reference.arrays, strict=True):
        np.testing.assert_array_equal(ours.state, theirs.state)
        np.testing.assert_array_equal(ours.numbers, theirs.numbers)
        assert ours.reads == theirs.reads


def test_a_run_that_leaves_the_chip_ends_at_once() -> None:
    code = [
        LearnInstruction(LearnOp.STEP, reg=3, n=9),
        LearnInstruction(LearnOp.RELAX, array=1, bits=3),
        LearnInstruction(LearnOp.END),
    ]
    _, _, words = run_core(TINY, LearnProgram(code), 1, 0.0, 5_000)
    assert words[0] == fault_word(1, 1)
