# SPDX-License-Identifier: Apache-2.0
"""The registers of row budgets, alone and under a program."""

from random import Random

import pytest
from amaranth.sim import SimulatorContext
from simulate import simulate
from test_tile import _compare, _named
from tile_host import small_chip

from ohmtwin.arch.budgets import encode_budget
from ohmtwin.arch.chip import Chip
from ohmtwin.rtl.budgets import RowBudgets

CHIPS = {
    "planes": Chip(rows=32, cols=32, row_budgets=(16,) * 8),
    "slices": Chip(rows=32, cols=32, row_budgets=(16,) * 32, slice_reads=True),
}


@pytest.mark.parametrize("name", CHIPS)
def test_registers(name: str) -> None:
    """One, those of a plane or of a slice, or all of them; and a row a read from the start on."""
    chip = CHIPS[name]
    slices = chip.read_slices
    dut = RowBudgets(chip=chip)
    rng = Random(f"budgets {name}")

    async def bench(ctx: SimulatorContext) -> None:
        held = [0] * (8 * slices)
        for _ in range(300):
            plane = rng.choice([None, rng.randrange(8)])
            part = rng.choice([None, rng.randrange(slices)]) if slices > 1 else None
            rows = rng.randint(1, 256)
            sets, resets = rng.random() < 0.7, rng.random() < 0.05
            ctx.set(dut.set, sets)
            ctx.set(dut.value, encode_budget(rows, plane, part))
            ctx.set(dut.reset, resets)
            await ctx.tick()
            for number in range(len(held)):
                p, s = divmod(number, slices)
                if sets and plane in (None, p) and part in (None, s):
                    held[number] = rows
                if resets:
                    held[number] = 1
            budgets = ctx.get(dut.budgets)
            assert [budgets >> 9 * n & 511 for n in range(len(held))] == held

    simulate(dut, bench, cycles=400)


PROGRAM = """
    SET reg=SCHEDULE value=1
    SYNC in_words=2 out_words=20
    LOAD source=HOST bytes=16 cores=1
    SET reg=ROWS_PER_READ value={all}
    MVM rows=16 beats={beats} cores=1
    SET reg=ROWS_PER_READ value={one}
    SET reg=ROWS_PER_READ value={two}
    REQ dest=A0 param=A1 tap=1 outputs=8 cores=1
    MVM rows=16 beats={beats} cores=1
    SET reg=ROWS_PER_READ value={three}
    REQ dest=A0 param=A1 tap=1 outputs=8 cores=1
    MVM rows=16 beats={beats} cores=1
    REQ dest=A0 param=A1 tap=1 outputs=8 cores=1
    HALT
"""


@pytest.mark.parametrize("slices", [False, True])
def test_a_program_sets_them(slices: bool) -> None:
    """Between products, right behind one that still runs: it waits."""
    budgets = (8,) * (32 if slices else 8)
    chip = small_chip(row_budgets=budgets, slice_reads=slices, fifo_words=32)
    part = 2 if slices else None
    text = PROGRAM.format(
        beats=chip.beats_of(8),
        all=encode_budget(8),
        one=encode_budget(1, 7, part),
        two=encode_budget(3, 0),
        three=encode_budget(2, None, part),
    )
    inputs = [0x93F17C25E0ABD648, 0x7F0FA1835BC2D91E]
    model = _compare(chip, _named(text), inputs, seed=6)
    assert len(model.outputs) == 12
    assert sorted(set(model.budgets)) == ([2, 3, 8] if slices else [2])
