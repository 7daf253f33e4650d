# SPDX-License-Identifier: Apache-2.0
"""The row scheduler against the rules of docs/tile.md, rows and cycles."""

from dataclasses import dataclass
from random import Random

import pytest
from amaranth.sim import SimulatorContext
from simulate import simulate

from ohmtwin.arch.chip import Chip
from ohmtwin.rtl.scheduler import RowScheduler


@dataclass(frozen=True)
class Product:
    planes: tuple[int, ...]  # row bits of each plane
    rows: int
    zero_skip: bool
    rows_per_read: int


@dataclass(frozen=True)
class Read:
    rows: int
    plane: int
    steps: int  # of the planner, those on empty planes before it included


def expected(product: Product, group: int) -> tuple[list[Read], int]:
    """The reads of a product, and the steps on empty planes after the last."""
    reads = []
    steps = 0
    for plane, bits in enumerate(product.planes):
        candidates = [r for r in range(product.rows) if not product.zero_skip or bits >> r & 1]
        if not candidates:
            steps += 1
        for start in range(0, len(candidates), product.rows_per_read):
            taken = candidates[start : start + product.rows_per_read]
            steps += len({r // group for r in taken})
            driven = sum(1 << r for r in taken) & bits
            reads.append(Read(driven, plane, steps))
            steps = 0
    return reads, steps


def random_product(rng: Random, rows: int) -> Product:
    density = rng.choice([0.0, 0.02, 0.1, 0.3, 0.5, 0.9, 1.0])
    planes = tuple(
        sum((rng.random() < density * rng.choice([0, 1, 1])) << r for r in range(rows))
        for _ in range(rng.randint(1, 8))
    )
    return Product(
        planes=planes,
        rows=rng.choice([rows, rng.randint(1, rows)]),
        zero_skip=rng.random() < 0.6,
        rows_per_read=rng.choice([1, 2, 3, 4, 5, 7, 8, 15, 16, 17, rng.randint(1, rows)]),
    )


def chip_of(rows: int, group: int) -> Chip:
    """A chip whose planner looks at ``group`` rows; few beats make for a wide planner."""
    for lanes in (1, 2, 4, 8, 16, 32):
        chip = Chip(rows=rows, cols=32, lanes=lanes, rows_per_read=1)
        if chip.planner_group == group:
            return chip
    raise AssertionError(f"No chip of {rows} rows has a planner of {group}")


async def tick(ctx: SimulatorContext, dut: RowScheduler, product: Product) -> None:
    """A cycle in which the plane registers do as they are told."""
    _, _, take, following = await ctx.tick().sample(dut.take, dut.next)
    if take:
        ctx.set(dut.plane, product.planes[following] if following < len(product.planes) else 0)


@pytest.mark.parametrize(
    ("rows", "group", "stall"),
    [
        (8, 16, 0.0),
        (16, 16, 0.5),
        (24, 16, 0.0),
        (40, 16, 0.7),
        (64, 16, 0.0),
        (40, 32, 0.3),
        (72, 32, 0.9),
    ],
)
def test_reads_and_cycles(rows: int, group: int, stall: float) -> None:
    """Rows, planes and the cycle of each offer, whatever the macro's pace."""
    chip = chip_of(rows, group)
    dut = RowScheduler(chip=chip)
    rng = Random(f"scheduler {rows} {stall}")

    async def bench(ctx: SimulatorContext) -> None:
        for _ in range(40):
            product = random_product(rng, rows)
            reads, trailing = expected(product, group)
            ctx.set(dut.start, 1)
            ctx.set(dut.used, (1 << product.rows) - 1)
            ctx.set(dut.zero_skip, product.zero_skip)
            ctx.set(dut.rows_per_read, product.rows_per_read)
            ctx.set(dut.planes, len(product.planes))
            ctx.set(dut.plane, product.planes[0])
            await tick(ctx, dut, product)
            ctx.set(dut.start, 0)
            # The inputs are taken in the start cycle: afterwards they may be anything.
            for port in (dut.used, dut.zero_skip, dut.rows_per_read, dut.planes):
                ctx.set(port, rng.getrandbits(len(port)))

            cycle = 1  # T = 0
            last_step = accepted = end = 0
            pending = list(reads)
            offered = None
            while pending or ctx.get(dut.busy):
                ready = rng.random() >= stall
                ctx.set(dut.o.ready, ready)
                if ctx.get(dut.o.valid):
                    if offered is None:
                        read = pending[0]
                        last_step = max(last_step + read.steps, accepted)
                        assert cycle == last_step + 1, f"{read} of {product} in cycle {cycle}"
                        offered = (read.rows, read.plane)
                    payload = ctx.get(dut.o.payload)
                    assert (payload.rows, payload.plane) == offered, f"{product}"
                    if ready:
                        pending.pop(0)
                        accepted = cycle
                        offered = None
                elif pending:
                    assert cycle <= max(last_step + pending[0].steps, accepted), f"{product} late"
                if pending:
                    assert ctx.get(dut.busy) or offered, f"{product} ended too soon"
                if ctx.get(dut.busy):
                    end = cycle
                await tick(ctx, dut, product)
                cycle += 1
            assert end == last_step + trailing, f"{product}"
            assert not ctx.get(dut.o.valid)
            assert ctx.get(dut.plane) == product.planes[0], "plane 0 is not back"
            ctx.set(dut.o.ready, 0)
            if rng.random() < 0.5:
                await ctx.tick()

    simulate(dut, bench, cycles=400_000)


def start(ctx: SimulatorContext, dut: RowScheduler, product: Product) -> None:
    """Set the inputs of the start cycle; the caller ticks."""
    ctx.set(dut.start, 1)
    ctx.set(dut.used, (1 << product.rows) - 1)
    ctx.set(dut.zero_skip, product.zero_skip)
    ctx.set(dut.rows_per_read, product.rows_per_read)
    ctx.set(dut.planes, len(product.planes))
    ctx.set(dut.plane, product.planes[0])


def test_stop_leaves_nothing_behind() -> None:
    """A product stopped at any point does not show in the next one."""
    dut = RowScheduler(chip=chip_of(40, 16))
    rng = Random("stop")

    async def bench(ctx: SimulatorContext) -> None:
        for stop_after in range(1, 30):
            start(ctx, dut, Product((rng.getrandbits(40),) * 8, 40, True, rng.choice([2, 15])))
            await ctx.tick()
            ctx.set(dut.start, 0)
            for _ in range(stop_after):
                ctx.set(dut.o.ready, rng.random() < 0.4)
                await ctx.tick()
            ctx.set(dut.stop, 1)
            await ctx.tick()
            ctx.set(dut.stop, 0)
            assert not ctx.get(dut.busy)
            assert not ctx.get(dut.o.valid)
            start(ctx, dut, Product((1 << 39 | 1 << 3,), 40, True, 16))
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.o.ready, 1)
            (payload,) = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
            assert (payload.rows, payload.plane) == (1 << 39 | 1 << 3, 0)
            assert not ctx.get(dut.busy)
            ctx.set(dut.o.ready, 0)

    simulate(dut, bench, cycles=2000)


@pytest.mark.parametrize(
    ("rows", "rows_per_read", "reads"),
    [(500, 8, [0x01, 0x80]), (8, 0, [1 << r for r in range(8)]), (0, 4, [])],
    ids=["more rows than there are", "no rows a read", "no rows"],
)
def test_inputs_out_of_range(rows: int, rows_per_read: int, reads: list[int]) -> None:
    """Limits are limits: the scheduler ends on every input."""
    dut = RowScheduler(chip=chip_of(8, 16))
    planes = [0x01, 0x80] if rows == 500 else [0xFF]

    async def bench(ctx: SimulatorContext) -> None:
        product = Product(tuple(planes), rows, True, rows_per_read)
        start(ctx, dut, product)
        ctx.set(dut.o.ready, 1)
        await tick(ctx, dut, product)
        ctx.set(dut.start, 0)
        got = []
        while ctx.get(dut.busy) or ctx.get(dut.o.valid):
            if ctx.get(dut.o.valid):
                got.append(ctx.get(dut.o.payload).rows)
            await tick(ctx, dut, product)
        assert got == reads

    simulate(dut, bench, cycles=200)


def test_chip_must_be_a_chip() -> None:
    with pytest.raises(TypeError, match=r"^Chip must be a Chip, not 'tile4'$"):
        RowScheduler(chip="tile4")
