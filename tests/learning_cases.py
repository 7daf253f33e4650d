# SPDX-License-Identifier: Apache-2.0
"""Random cells and programs of a core that learns, for its tests at all levels."""

import numpy as np

from ohmtwin.arch.learning import (
    OVERLAP_SLOTS,
    LearnChip,
    LearnProgram,
    TrainMode,
    UpdateSettings,
)
from ohmtwin.arch.learning_isa import (
    Flag,
    LearnInstruction,
    LearnOp,
    ReduceFunction,
    VectorFunction,
)
from ohmtwin.behavioral.learning.cells import LearnCells, LearnNoise
from ohmtwin.behavioral.pulsed import SEGMENTS, PulseModel

Ins, Op, F, V = LearnInstruction, LearnOp, Flag, VectorFunction
SMALL = LearnChip(rows=13, cols=9, arrays=3, adc_bits=9, lanes=3, memory=1024)


def random_cells(chip: LearnChip, seed: int, *, plain: bool = False) -> LearnCells:
    """Cells with every effect there is, or with none."""
    random = np.random.default_rng(seed)
    shape = chip.rows, chip.cols
    high = 1 << 24
    steps = np.linspace(high / 40, high / 400, SEGMENTS + 1).astype(np.int32)
    model = PulseModel(
        0, high - 1, 18, steps, np.ascontiguousarray(steps[::-1]), 0 if plain else 1500
    )
    state = random.integers(0, high, shape).astype(np.int32)
    ref = np.full(shape, 1 << 15, np.int32)
    if plain:
        return LearnCells(model, state, ref, LearnNoise(adc_bits=chip.adc_bits))
    lanes = random.integers(3900, 4300, chip.lanes).tolist()
    backward = random.integers(3900, 4300, chip.backward_lanes).tolist()
    return LearnCells(
        model,
        state,
        (ref + random.integers(-500, 500, shape)).astype(np.int32),
        LearnNoise(10**9, 1 << 10, 600, chip.adc_bits, tuple(lanes), tuple(backward)),
        numbers=random.integers(0, 30, shape).astype(np.uint32),
        fixed=random.random(shape) < 0.05,
        gain_up=random.integers(2000, 7000, shape).astype(np.uint16),
        gain_down=random.integers(2000, 7000, shape).astype(np.uint16),
        low=random.integers(0, high // 8, shape).astype(np.int32),
        high=random.integers(high - high // 8, high, shape).astype(np.int32),
        limit=random.integers(20, 90, shape).astype(np.uint32),
        worn=random.integers(0, high, shape).astype(np.int32),
        rest=high // 2,
        rate=655,
    )


def random_settings(random: np.random.Generator) -> UpdateSettings:
    mode = TrainMode(int(random.integers(0, 3)))
    most = OVERLAP_SLOTS if mode == TrainMode.OVERLAP else 31
    return UpdateSettings(
        kx=int(random.integers(1, 65536)),
        kd=int(random.integers(1, 65536)),
        sx=int(random.integers(8, 18)),
        sd=int(random.integers(8, 18)),
        slots=int(random.integers(1, most + 1)),
        mode=mode,
        manage=bool(random.integers(0, 2)),
        period=int(random.choice([0, 3, 10])),
    )


def random_instruction(random: np.random.Generator, chip: LearnChip) -> LearnInstruction:
    """One that is no jump, moves no words, and leaves neither memory nor arrays."""
    # Operands do not overlap: what then happens depends on the order of elements.
    dst, a, b = (128 * int(v) for v in random.choice(chip.memory // 128, 3, replace=False))
    n = int(random.integers(1, min(chip.rows, chip.cols) + 1))
    k = int(random.integers(1, chip.cols + 1))
    reg = int(random.integers(0, 16))
    shift = int(random.integers(0, 9))
    bits = int(random.choice([0, 8, 12]))
    array = int(random.integers(0, chip.arrays))
    invert = F.INVERT if random.integers(0, 2) else F(0)
    op = Op(int(random.choice([*range(3, 16), 3, 3, 9, 10, 18, 20, 21])))
    number = int(random.integers(-300, 300))
    if op == Op.VEC:
        m = int(random.integers(0, len(V)))
        return Ins(op, dst, a, b, reg, shift=shift, bits=bits, n=n, k=number, m=m)
    if op == Op.TABLE:
        return Ins(op, dst, a, shift=shift, n=n, m=int(random.integers(0, 2)))
    if op == Op.REDUCE:
        return Ins(op, a=a, reg=reg, n=n, m=int(random.integers(0, len(ReduceFunction))))
    if op == Op.NORM:
        m = int(random.integers(0, 16))
        return Ins(op, dst, a, reg=reg, bits=7, n=n, k=int(random.integers(0, 16)), m=m)
    if op == Op.DIV:
        return Ins(op, dst, a, reg=reg, shift=shift, n=n)
    if op == Op.HOT:
        return Ins(op, dst, reg=reg, n=n, k=number)
    if op == Op.READ:
        back = bool(random.integers(0, 2))
        inputs, outputs = (chip.cols, chip.rows) if back else (chip.rows, chip.cols)
        flags = F.TRANSPOSED if back else F(0)
        flags |= F(int(random.choice([0, F.ACCUMULATE, F.BOUND, F.ACCUMULATE | F.BOUND])))
        n = int(random.integers(1, inputs + 1))
        outs = int(random.integers(1, outputs + 1))
        m = int(random.integers(-3, 4))
        return Ins(op, dst, a, outs, flags=flags, array=array, shift=14, n=n, k=2, m=m)
    if op == Op.UPDATE:
        n = int(random.integers(1, chip.rows + 1))
        m = int(random.integers(0, 4))
        return Ins(op, a=a, b=b, reg=15, flags=invert, array=array, n=n, k=k, m=m)
    if op == Op.WRITE:
        return Ins(op, a=a, reg=14, flags=invert, array=array, n=k)
    if op == Op.FEED:
        m = int(random.integers(0, 256))
        return Ins(op, dst, a, k, shift=shift, bits=bits, n=n, k=number, m=m)
    if op == Op.DENSE:
        flags = F.TRANSPOSED if random.integers(0, 2) else F(0)
        return Ins(op, dst, a, b, flags=flags, shift=shift, bits=bits, n=n, k=k)
    if op == Op.OUTER:
        return Ins(op, dst, a, b, 15, flags=invert, shift=shift, n=n, k=k)
    if op == Op.APPLY:
        return Ins(op, a=a, flags=invert, array=array, shift=shift, n=n, k=k)
    if op == Op.STEP:
        return Ins(op, reg=14, n=chip.rows)
    if op == Op.RELAX:
        return Ins(op, array=array)
    flags = F.STORE if random.integers(0, 2) else F(0)
    return Ins(Op.PICK, dst=dst, a=a, reg=14, flags=flags, n=n)


def random_program(seed: int, chip: LearnChip = SMALL, length: int = 40) -> LearnProgram:
    """A program of all instructions, with a loop and a part that is skipped."""
    random = np.random.default_rng(seed)
    body = [random_instruction(random, chip) for _ in range(length)]
    code = [
        Ins(Op.IN, 0, n=chip.rows),
        Ins(Op.IN, 40, n=chip.cols),
        Ins(Op.REDUCE, a=0, reg=15, n=3, m=ReduceFunction.MAX_ABS),
        Ins(Op.VEC, 60, 0, n=1, shift=3, m=V.MULK, k=1, bits=4),
        Ins(Op.LOADR, a=60, reg=15),
        Ins(Op.VEC, 61, 1, n=1, m=V.ABS),
        Ins(Op.VEC, 61, 61, n=1, m=V.MINK, k=chip.rows - 1),
        Ins(Op.LOADR, a=61, reg=14),
        *body[: length // 2],
        Ins(Op.LOOP, n=3, k=4),
        *body[length // 2 : length // 2 + 4],
        Ins(Op.EVERY, reg=13, n=3, k=5),
        *body[length // 2 + 4 : length // 2 + 9],
        *body[length // 2 + 9 :],
        Ins(Op.OUT, a=int(random.integers(0, 50)), n=chip.rows),
        Ins(Op.END),
    ]
    # Registers 13 to 15 have uses of their own: counts, rows and exponents that stay small.
    code = [
        i
        if i.op not in (Op.REDUCE, Op.NORM) or at < 8
        else Ins(
            i.op,
            i.dst,
            i.a,
            reg=i.reg % 13,
            bits=i.bits,
            n=i.n,
            k=i.k,
            m=i.m % 13 if i.op == Op.NORM else i.m,
        )
        for at, i in enumerate(code)
    ]
    tables = [random.integers(-2000, 2000, 256).tolist() for _ in range(2)]
    settings = tuple(random_settings(random) for _ in range(4))
    words = random.integers(-2000, 2000, chip.memory).tolist()
    return LearnProgram(code, settings, tables, [(0, words)], {3: 100, 5: -7})


def random_samples(seed: int, program: LearnProgram, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-127, 128, (count, program.inputs)).astype(np.int32)
