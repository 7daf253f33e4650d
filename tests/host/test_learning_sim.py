# SPDX-License-Identifier: Apache-2.0
"""The Verilated core that learns, bit for bit the processor in C; and what goes wrong with it."""

import dataclasses

import numpy as np
import pytest
from learning_cases import SMALL, random_cells, random_program, random_samples

from ohmtwin.arch.learning import LearnChip, LearnKind, LearnProgram, header_word
from ohmtwin.arch.learning_isa import Flag, LearnInstruction, LearnOp, VectorFunction
from ohmtwin.behavioral.learning.carray import CLearnArray
from ohmtwin.behavioral.learning.cprocessor import CLearnProcessor
from ohmtwin.host.learning_sim import LearningSimulation
from ohmtwin.host.simulation import SimulationError

pytestmark = pytest.mark.xdist_group("learning_core")

Ins, Op = LearnInstruction, LearnOp
# Converters of its own for each direction, lanes that do not divide the lines, one array.
OWN_LANES = LearnChip(
    rows=21, cols=12, arrays=1, adc_bits=6, lanes=5, transposed_lanes=8, memory=1536
)


def arrays(chip: LearnChip, seed: int) -> list[CLearnArray]:
    """Arrays with every effect there is; of three the last has none."""
    return [
        CLearnArray(random_cells(chip, 10 * seed + i, plain=i == 2), seed, i)
        for i in range(chip.arrays)
    ]


def pair(
    chip: LearnChip, program: LearnProgram, seed: int
) -> tuple[CLearnProcessor, LearningSimulation]:
    return (
        CLearnProcessor(chip, program, arrays(chip, seed), seed),
        LearningSimulation(chip, program, arrays(chip, seed), seed),
    )


def assert_same(quick: CLearnProcessor, circuit: LearningSimulation, what: str) -> None:
    """Memory, registers, generators, every cell's state and number, and the reads counted."""
    expected, found = quick.save(), circuit.save()
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=f"{what}: {name}")


@pytest.mark.parametrize("chip", [SMALL, OWN_LANES], ids=["shared lanes", "own lanes"])
@pytest.mark.chips
def test_random_programs_leave_the_same_bits(chip: LearnChip) -> None:
    used = set()
    for seed in range(12):
        program = random_program(seed, chip)
        used |= {i.op for i in program.instructions}
        quick, circuit = pair(chip, program, seed)
        start = quick.save()
        for sample in range(3):
            words = random_samples(100 * seed + sample, program, 1)
            what = f"program {seed}, sample {sample}"
            np.testing.assert_array_equal(circuit.run(words), quick.run(words), err_msg=what)
            assert_same(quick, circuit, what)
        assert any(not np.array_equal(start[name], now) for name, now in quick.save().items())
        circuit.close()
    assert used == set(Op), f"never used: {set(Op) - used}"


def test_many_samples_are_one_run_or_many() -> None:
    program = random_program(77)
    quick, circuit = pair(SMALL, program, 5)
    words = random_samples(3, program, 1100)  # more than one message has
    np.testing.assert_array_equal(circuit.run(words), quick.run(words))
    assert_same(quick, circuit, "1100 samples")
    assert circuit.run(words[:0]).shape == (0, program.outputs)


def test_goes_on_from_what_was_saved() -> None:
    program = random_program(8)
    quick, circuit = pair(SMALL, program, 6)
    words = random_samples(1, program, 6)
    quick.run(words[:3])
    circuit.restore(quick.save())
    np.testing.assert_array_equal(circuit.run(words[3:]), quick.run(words[3:]))
    assert_same(quick, circuit, "restored")
    other = random_program(9)
    quick.change(other)
    circuit.change(other)
    words = random_samples(2, other, 2)
    np.testing.assert_array_equal(circuit.run(words), quick.run(words))
    assert_same(quick, circuit, "another program")


def test_elements_can_be_assigned() -> None:
    """As those of the processor in C: what the caller changes is there in the next run."""
    code = (
        Ins(Op.OUT, a=100, n=1),
        Ins(Op.VEC, 101, 100, reg=4, n=1, m=VectorFunction.ADDR),
        Ins(Op.END),
    )
    circuit = LearningSimulation(SMALL, LearnProgram(code), arrays(SMALL, 1), 1)
    memory = circuit.memory
    memory[100] = -12345
    circuit.registers[4] = 45
    nothing = np.empty((1, 0), np.int32)
    assert circuit.run(nothing).tolist() == [[-12345]]
    assert memory[101] == -12300


EDGES = (-(1 << 31), (1 << 31) - 1, -1, 0, 1, 2, -2, 12345, -(1 << 30), 1 << 30)


def edge_program() -> LearnProgram:
    """Every function of VEC and the divider at the ends of their numbers."""
    n = len(EDGES)
    code = []
    for number, m in enumerate(VectorFunction):
        for shift, bits in ((0, 0), (1, 0), (63, 0), (5, 8), (0, 33)):
            code.append(Ins(Op.VEC, 64, 0, 32, 4, shift=shift, bits=bits, n=n, k=-32768, m=m))
            code.append(Ins(Op.OUT, a=64, n=n))
        code.append(Ins(Op.LOADR, a=number % n, reg=4))
    for reg in (1, 2, 3, 4):
        for shift in (0, 12, 31):
            code += [Ins(Op.DIV, 64, 0, reg=reg, shift=shift, n=n), Ins(Op.OUT, a=64, n=n)]
        for bits in (0, 7, 31):
            code += [Ins(Op.NORM, 64, 0, reg=reg, bits=bits, n=n, k=reg, m=5)]
            code += [Ins(Op.OUT, a=64, n=n)]
    code += [Ins(Op.REDUCE, a=0, reg=6, n=n, m=m) for m in range(3)]
    code += [Ins(Op.STEP, reg=2, n=7), Ins(Op.STEP, reg=7, n=5), Ins(Op.STEP, reg=0, n=5)]
    code += [Ins(Op.STEP, reg=3, n=3), Ins(Op.STEP, reg=8, n=7), Ins(Op.STEP, reg=9, n=1)]
    memory = [(0, EDGES), (32, EDGES[::-1])]
    registers = {1: 1, 2: (1 << 31) - 1, 3: -5, 4: 7, 7: 3, 8: -8}
    return LearnProgram([*code, Ins(Op.END)], (), (), memory, registers)


def test_numbers_at_their_ends() -> None:
    program = edge_program()
    assert len(program.instructions) <= 256
    quick, circuit = pair(SMALL, program, 1)
    words = np.empty((1, 0), np.int32)
    np.testing.assert_array_equal(circuit.run(words), quick.run(words))
    assert_same(quick, circuit, "ends")


def test_loops_and_skips() -> None:
    """Also an empty loop, a skip to the end of a loop, and a loop that begins another time."""
    add = [Ins(Op.VEC, k, k, n=1, m=VectorFunction.ADDK, k=1) for k in range(8)]
    code = [
        *(Ins(Op.LOOP, n=5, k=3), add[0], Ins(Op.EVERY, reg=1, n=2, k=1), add[1]),
        *(Ins(Op.LOOP, n=4, k=0), add[2]),
        *(Ins(Op.EVERY, reg=2, n=3, k=3), Ins(Op.LOOP, n=2, k=1), add[3], add[4]),
        *(Ins(Op.EVERY, reg=0, n=1, k=1), add[5], Ins(Op.LOOP, n=1, k=1), add[6]),
        Ins(Op.OUT, a=0, n=8),
        Ins(Op.END),
    ]
    quick, circuit = pair(SMALL, LearnProgram(code), 1)
    words = np.empty((7, 0), np.int32)
    found = circuit.run(words)
    np.testing.assert_array_equal(found, quick.run(words))
    assert found[-1, 0] == 35
    assert_same(quick, circuit, "loops")


def bad(*code: LearnInstruction, **registers: int) -> LearnProgram:
    values = {int(name[1:]): value for name, value in registers.items()}
    return LearnProgram([*code, Ins(Op.END)], registers=values)


@pytest.mark.parametrize(
    "program",
    [
        bad(Ins(Op.PICK, dst=0, a=64, reg=3, n=4), r3=240),
        bad(Ins(Op.PICK, dst=64, a=0, reg=3, n=4, flags=Flag.STORE), r3=-17),
        bad(Ins(Op.RELAX, array=2, bits=3), r3=1),
        bad(Ins(Op.RELAX, array=0, bits=3), r3=-1),
        bad(Ins(Op.WRITE, a=0, reg=3, n=2), r3=SMALL.rows),
        bad(Ins(Op.WRITE, a=0, reg=3, n=2), r3=-1),
    ],
    ids=["behind the memory", "before it", "array", "array below 0", "row", "row below 0"],
)
def test_registers_that_lead_out_of_the_chip(program: LearnProgram) -> None:
    words = np.empty((2, 0), np.int32)
    for processor in pair(SMALL, program, 1):
        with pytest.raises(ValueError, match=r"Instruction 0 \(.*\) leaves the memory or the arr"):
            processor.run(words)
    with pytest.raises(SimulationError, match="closed"):
        processor.run(words)


def test_a_core_that_hangs_is_given_up() -> None:
    program = random_program(1)
    circuit = LearningSimulation(SMALL, program, arrays(SMALL, 1), 1, patience=50)
    with pytest.raises(SimulationError, match=r"gave \d+ words of 14, then none for 50 cycles"):
        circuit.run(random_samples(1, program, 1))


def test_a_read_that_no_array_makes_is_told() -> None:
    program = bad(Ins(Op.READ, dst=64, a=0, b=2, n=2, shift=50))
    circuit = LearningSimulation(SMALL, program, arrays(SMALL, 1), 1)
    with pytest.raises(SimulationError, match=r"macro .* array 0 cannot convert 1 beats .* 50"):
        circuit.run(np.empty((1, 0), np.int32))


def test_arrays_of_another_chip_are_refused() -> None:
    other = dataclasses.replace(SMALL, cols=8)
    with pytest.raises(ValueError, match="needs 3 arrays of 13 rows, 9 columns"):
        LearningSimulation(SMALL, random_program(1), arrays(other, 1), 1)


def test_unknown_messages_are_dropped() -> None:
    program = random_program(4)
    quick, circuit = pair(SMALL, program, 2)
    circuit._send([0, header_word(LearnKind.MEMORY, 0), 63])
    words = random_samples(1, program, 1)
    np.testing.assert_array_equal(circuit.run(words), quick.run(words))
    assert_same(quick, circuit, "after unknown messages")
