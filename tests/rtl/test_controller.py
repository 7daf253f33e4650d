# SPDX-License-Identifier: Apache-2.0
"""The controller alone: what it orders in which cycle, with cores that the bench makes busy."""

from collections.abc import Iterator

import pytest
from amaranth.sim import SimulatorContext
from simulate import simulate
from tile_host import small_chip

from ohmtwin.arch.isa import Instruction, assemble
from ohmtwin.arch.timing import vector_latency
from ohmtwin.rtl.controller import Controller

_CHIP = small_chip(cores=2)
_STROBES = ("read_data", "pop", "load", "receive", "send", "start", "issue", "issue_sum")


def _trace(
    listing: str, *, cycles: int, busy: dict[int, int] | None = None
) -> tuple[list[tuple[int, dict[str, int]]], dict[str, int]]:
    """Strobes by cycle, the first fetch being cycle 1, and the counters at the end.

    ``busy`` gives the busy vector from a cycle on.
    """
    controller = Controller(chip=_CHIP)
    seen = []
    counters = {}

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(controller.out_free, 16)
        ctx.set(controller.in_level, 16)
        ctx.set(controller.write_program, 1)
        for k, instruction in enumerate(assemble(listing)):
            ctx.set(controller.write_addr, k)
            ctx.set(controller.write_data, instruction.encode())
            await ctx.tick()
        ctx.set(controller.write_program, 0)
        ctx.set(controller.run, 1)
        await ctx.tick()
        ctx.set(controller.run, 0)
        for cycle in range(1, cycles + 1):
            ctx.set(controller.busy, (busy or {}).get(cycle, ctx.get(controller.busy)))
            strobes = {s: ctx.get(getattr(controller, s)) for s in _STROBES}
            strobes = {name: value for name, value in strobes.items() if value}
            if strobes.get("load") or strobes.get("receive") or strobes.get("send"):
                strobes["addr"] = ctx.get(controller.read_addr)
            if strobes.get("load"):
                names = ("begin", "row", "byte", "count", "vector")
                strobes |= {s: ctx.get(getattr(controller, s)) for s in names}
            if strobes.get("issue"):
                command = controller.command
                strobes["word"] = ctx.get(command.word)
                fields = ("param", "addr", "count", "last")
                strobes |= {s: ctx.get(getattr(command.lanes, s)) for s in fields}
            if strobes:
                seen.append((cycle, strobes))
            await ctx.tick()
        assert not ctx.get(controller.running), "the program has not ended"
        for name in ("cycles", "instructions", "core_stalls", "vector_stalls"):
            counters[name] = ctx.get(getattr(controller, name))

    simulate(controller, bench, cycles=cycles + 100)
    return seen, counters


def _word(addr: int, byte: int, count: int, row: int, **more: int) -> dict[str, int]:
    """Strobes of a word that is gathered."""
    strobes = {"read_data": 1, "load": 1, "addr": addr, "begin": 0, "row": row, "byte": byte}
    return strobes | {"count": count, "vector": 0} | more


def test_load_then_product() -> None:
    seen, counters = _trace(
        """
        SET reg=A3 value=75
        LOAD addr=3 addr_step=1 bytes=19 row=8 cores=3
        LOAD source=HOST addr=3 addr_step=1 bytes=9 repeats=3 cores=1
        LOAD addr=3 bytes=1 cores=2
        LOAD addr=3 bytes=0 cores=2
        MVM rows=16 beats=4 cores=2
        HALT
        """,
        cycles=26,
    )
    # A run from byte 75 to byte 93; then the next fetch in T + 4.
    host = {"pop": 1, "read_data": 0}
    host_words = [
        _word(11, 0, 8, 0, begin=1, **host),
        _word(12, 0, 1, 0, **host),
    ]
    expected = [
        (4, _word(9, 3, 5, 8, begin=1)),
        (5, _word(10, 0, 8, 8)),
        (6, _word(11, 0, 6, 8)),
        (9, host_words[0]),
        (10, host_words[1]),
        (13, _word(11, 6, 1, 0, begin=1)),
        (18, {"start": 2}),
    ]
    for strobes in host_words:
        del strobes["read_data"]
    assert seen == expected
    assert counters == {"cycles": 20, "instructions": 7, "core_stalls": 0, "vector_stalls": 0}


def test_runs() -> None:
    seen, counters = _trace(
        """
        SET reg=A2 value=14
        SET reg=PITCH value=-9
        VEC addr=2 addr_step=1 op=MAX element=250 bytes=4 repeats=1
        SET reg=PITCH value=3
        LOAD addr=2 addr_step=1 bytes=2 repeats=2 row=5 cores=1
        LOAD addr=2 bytes=1 row=11 cores=1
        HALT
        """,
        cycles=30,
    )
    vec = {"vector": 1}
    assert seen == [
        (6, _word(1, 6, 2, 250, begin=1, **vec)),
        (7, _word(2, 0, 2, 250, **vec)),
        (8, _word(0, 5, 3, 250, **vec)),
        (9, _word(1, 0, 1, 250, **vec)),
        # T is 14; the address has grown by the length of one run.
        (14, _word(2, 2, 2, 5, begin=1)),
        (15, _word(2, 5, 2, 5)),
        (16, _word(3, 0, 2, 5)),
        (19, _word(2, 4, 1, 11, begin=1)),
    ]
    assert counters["cycles"] == 22


def test_drain_steps_and_waits() -> None:
    seen, counters = _trace(
        """
        SET reg=A1 value=43
        SET reg=A2 value=3
        REQ dest=1 dest_step=1 param=2 param_step=1 outputs=5 cores=1
        SEND addr=1 addr_step=1 words=2
        REQ dest=1 dest_step=1 param=2 param_step=1 same_param=1 outputs=4 vector=1
        REQ dest=1 dest_step=1 param=2 param_step=1 same_param=1 outputs=0 cores=1
        REQ dest=1 param=2 outputs=1 cores=1
        RECV addr=1 words=0
        HALT
        """,
        cycles=80,
    )
    # W is 2.
    words = [
        {"issue": 1, "word": k, "param": 3 + k, "addr": 43 + 2 * k, "count": 2, "last": 0}
        for k in range(3)
    ]
    words[2] |= {"count": 1, "last": 1}
    # Issued at 7, 8, 9; SEND could execute in cycle 11. It begins with word 48 / 8.
    idle = 9 + vector_latency(_CHIP)
    assert seen[:4] == [(6, {"issue_sum": 1}), *((7 + k, word) for k, word in enumerate(words))]
    assert seen[4:6] == [
        (idle, {"read_data": 1, "send": 1, "addr": 6}),
        (idle + 1, {"read_data": 1, "send": 1, "addr": 7}),
    ]
    assert seen[6] == (idle + 3, {"issue_sum": 1})
    # The parameters stay: the register grows by 1 for the whole REQ, and not for one of nothing.
    same = [
        {"issue": 1, "word": k, "param": 6, "addr": 64 + 2 * k, "count": 2, "last": k}
        for k in range(2)
    ]
    assert seen[7:9] == [(idle + 4 + k, word) for k, word in enumerate(same)]
    one = {"issue": 1, "word": 0, "param": 7, "addr": 68, "count": 1, "last": 1}
    assert seen[9:] == [
        (idle + 7, {"issue_sum": 1}),
        (idle + 9, {"issue_sum": 1}),
        (idle + 10, one),
    ]
    again = idle + 10 + vector_latency(_CHIP)  # RECV of no words, after the last issue
    assert counters == {
        "cycles": again + 2,
        "instructions": 9,
        "core_stalls": 0,
        "vector_stalls": (idle - 11) + (again - (idle + 12)),
    }


def test_load_and_vec_do_not_wait_for_the_vector_unit() -> None:
    seen, counters = _trace(
        """
        REQ outputs=2 cores=1
        LOAD bytes=1 cores=1
        VEC bytes=1
        SET reg=SCALE value=-5
        SET reg=QUANT value=1
        HALT
        """,
        cycles=60,
    )
    assert [cycle for cycle, strobes in seen if "load" in strobes] == [5, 8]
    assert counters["vector_stalls"] == 3 + vector_latency(_CHIP) - 13


def test_waits_only_for_its_cores() -> None:
    listing = """
        MVM rows=16 beats=4 cores=1
        MVM rows=16 beats=4 cores=2
        NOP
        MVM rows=16 beats=4 cores=1
        HALT
    """
    seen, counters = _trace(listing, cycles=40, busy={3: 1, 5: 3, 20: 2, 25: 0})
    assert seen == [(2, {"start": 1}), (4, {"start": 2}), (20, {"start": 1})]
    assert counters["core_stalls"] == (20 - 8) + (25 - 22)
    assert counters["cycles"] == 25


def _unroll(program: list[Instruction], pc: int, end: int) -> Iterator[int]:
    """The order in which instructions run, by recursion."""
    while pc < end:
        yield pc
        loop = program[pc]
        if loop.op.name == "LOOP":
            for _ in range(loop["count"]):
                yield from _unroll(program, pc + 1, pc + 1 + loop["body"])
            pc += loop["body"]
        pc += 1


@pytest.mark.parametrize("counts", [(1, 1, 1, 1), (2, 1, 3, 2), (3, 2, 1, 2)])
def test_four_nested_loops(counts: tuple[int, ...]) -> None:
    a, b, c, d = counts
    listing = f"""
        LOOP body=9 count={a}
          NOP
          LOOP body=6 count={b}
            LOOP body=4 count={c}
              LOOP body=1 count={d}
                MVM rows=1 beats=4 cores=1
              MVM rows=1 beats=4 cores=2
              NOP
            NOP
          MVM rows=1 beats=4 cores=3
        HALT
    """
    program = assemble(listing)
    order = list(_unroll(program, 0, len(program)))
    starts = [program[pc]["cores"] for pc in order if program[pc].op.name == "MVM"]
    seen, counters = _trace(listing, cycles=2 * len(order) + 2)
    assert [strobes["start"] for _, strobes in seen] == starts
    assert counters["instructions"] == len(order)
    assert counters["cycles"] == 2 * len(order)


@pytest.mark.parametrize("after", range(1, 14))
def test_a_program_starts_anew_at_any_moment(after: int) -> None:
    """With stop and run in one cycle: while it fetches, executes, waits, repeats and in a loop."""
    controller = Controller(chip=_CHIP)
    listing = """
        LOOP body=3 count=0
          ADD reg=A1 value=8
          LOAD addr=1 bytes=16 cores=1
          MVM rows=1 beats=4 cores=3
    """

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(controller.write_program, 1)
        for k, instruction in enumerate(assemble(listing)):
            ctx.set(controller.write_addr, k)
            ctx.set(controller.write_data, instruction.encode())
            await ctx.tick()
        ctx.set(controller.write_program, 0)
        ctx.set(controller.run, 1)
        await ctx.tick()
        for cycles in (after, 30):
            ctx.set(controller.run, 0)
            ctx.set(controller.stop, 0)
            trace = []
            for _ in range(cycles):
                trace.append(ctx.get(controller.read_addr) * ctx.get(controller.load))
                await ctx.tick()
            ctx.set(controller.run, 1)
            ctx.set(controller.stop, 1)
            await ctx.tick()
        # The loop takes 8 cycles a round, its LOAD reads in the sixth and seventh.
        loads = {6: 1, 7: 2, 14: 2, 15: 3, 22: 3, 23: 4, 30: 4}
        assert trace == [loads.get(cycle, 0) for cycle in range(1, 31)]

    simulate(controller, bench, cycles=200)
