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
                strobes |= {s: ctx.get(getattr(controller, s)) for s in ("row_word", "keep")}
            if strobes.get("issue"):
                command = controller.command
                fields = ("word", "param", "addr", "position", "last")
                strobes |= {s: ctx.get(getattr(command, s)) for s in fields}
            if strobes:
                seen.append((cycle, strobes))
            await ctx.tick()
        assert not ctx.get(controller.running), "the program has not ended"
        for name in ("cycles", "instructions", "core_stalls", "vector_stalls"):
            counters[name] = ctx.get(getattr(controller, name))

    simulate(controller, bench, cycles=cycles + 100)
    return seen, counters


def test_load_then_product() -> None:
    seen, counters = _trace(
        """
        SET reg=A3 value=9
        LOAD addr=3 addr_step=1 bytes=19 row_word=1 cores=3
        LOAD source=HOST addr=3 addr_step=1 bytes=8 cores=1
        LOAD addr=3 bytes=1 cores=2
        MVM rows=16 beats=4 cores=2
        HALT
        """,
        cycles=20,
    )
    assert seen == [
        (4, {"read_data": 1, "load": 1, "addr": 9, "row_word": 1, "keep": 0}),
        (5, {"read_data": 1, "load": 1, "addr": 10, "row_word": 2, "keep": 0}),
        (6, {"read_data": 1, "load": 1, "addr": 11, "row_word": 3, "keep": 3}),
        (8, {"pop": 1, "load": 1, "addr": 12, "row_word": 0, "keep": 0}),
        (10, {"read_data": 1, "load": 1, "addr": 12, "row_word": 0, "keep": 1}),
        (12, {"start": 2}),
    ]
    assert counters == {"cycles": 14, "instructions": 6, "core_stalls": 0, "vector_stalls": 0}


def test_drain_steps_and_waits() -> None:
    seen, counters = _trace(
        """
        SET reg=A1 value=5
        SET reg=A2 value=3
        REQ dest=1 dest_step=1 param=2 param_step=1 beats=3 cores=1
        SEND addr=1 words=2
        REQ dest=1 dest_step=1 param=1 param_step=1 beats=2 cores=2
        RECV addr=1 words=0
        HALT
        """,
        cycles=80,
    )
    # W is 2: a word of data memory takes four words of sums.
    words = [
        {"issue": 1, "word": k, "param": 3 + k, "addr": 5, "position": k, "last": int(k == 2)}
        for k in range(3)
    ]
    # Issued at 7, 8, 9; SEND could execute in cycle 11.
    idle = 9 + vector_latency(_CHIP)
    assert seen[:4] == [(6, {"issue_sum": 1}), *((7 + k, word) for k, word in enumerate(words))]
    assert seen[4:6] == [
        (idle, {"read_data": 1, "send": 1, "addr": 6}),
        (idle + 1, {"read_data": 1, "send": 1, "addr": 7}),
    ]
    assert seen[6][0] == idle + 3
    assert [s.get("param") for _, s in seen[7:]] == [6, 7]
    again = idle + 5 + vector_latency(_CHIP)  # RECV of no words, after the last issue
    assert counters == {
        "cycles": again + 2,
        "instructions": 7,
        "core_stalls": 0,
        "vector_stalls": (idle - 11) + (again - (idle + 7)),
    }


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
