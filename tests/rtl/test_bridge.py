# SPDX-License-Identifier: Apache-2.0
"""The bridge and its FIFOs: messages in and out under random stalls on both sides."""

from collections import deque
from random import Random
from typing import Any

import pytest
from amaranth.sim import SimulatorContext
from simulate import simulate
from streams import stream_collect, stream_put
from tile_host import small_chip

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.messages import Header, Kind, message
from ohmtwin.arch.registers import Control, TileRegister
from ohmtwin.rtl.bridge import Bridge
from ohmtwin.rtl.fifo import WordFifo


def test_fifo_keeps_order_and_what_it_is_told_to() -> None:
    fifo = WordFifo(depth=8)
    rng = Random(1)
    queue: deque[int] = deque()

    async def bench(ctx: SimulatorContext) -> None:
        for _ in range(2000):
            assert ctx.get(fifo.level) == len(queue)
            assert ctx.get(fifo.free) == 8 - len(queue)
            push = len(queue) < 8 and rng.random() < 0.6
            pop = bool(queue) and rng.random() < 0.5
            clear = rng.random() < 0.05
            keep = rng.randint(int(pop), len(queue)) if clear and len(queue) >= pop else 0
            word = rng.getrandbits(64)
            for port, value in ((fifo.push, push), (fifo.pop, pop), (fifo.clear, clear)):
                ctx.set(port, value)
            ctx.set(fifo.push_data, word)
            ctx.set(fifo.keep, keep)
            await ctx.tick()
            if clear:
                while len(queue) > keep:
                    queue.pop()
            elif push:
                queue.append(word)
            if pop:
                assert ctx.get(fifo.data) == queue.popleft()

    simulate(fifo, bench, cycles=2100)


@pytest.mark.parametrize("depth", [0, 1, 12])
def test_fifo_refuses(depth: int) -> None:
    with pytest.raises(ValueError, match=f"power of two from 2 up, not {depth}"):
        WordFifo(depth=depth)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_messages(seed: int) -> None:
    chip = small_chip(fifo_words=512)
    bridge = Bridge(chip=chip)
    rng = Random(seed)
    print(f"seed {seed}")
    stall = 0.4 * seed / 2
    targets = {
        Kind.WRITE_PROGRAM: "write_program",
        Kind.WRITE_PARAMS: "write_params",
        Kind.WRITE_TABLE: "write_table",
        Kind.WRITE_DATA: "write_data",
        Kind.INPUT: "push",
    }
    words: list[int] = []
    expected: list[tuple[str, int, int]] = []
    replies: list[tuple[int, list[int]]] = []
    for _ in range(60):
        kind = rng.choice([*targets, Kind.WRITE_REG, Kind.READ_REG, Kind(7)])
        length = rng.choice([0, 1, 2, 7])
        address = rng.randint(0, 20)
        if kind is Kind.READ_REG:
            words.append(Header(kind, length, address).encode())
            replies.append((address, [1000 + address + k for k in range(length)]))
            continue
        if kind is Kind.WRITE_REG:
            bits = rng.randint(0, 7) & ~Control.STOP
            words += message(kind, [bits], TileRegister.CONTROL)
            names = {Control.RUN: "run", Control.CLEAR: "clear"}
            expected += [(name, 0, 0) for bit, name in names.items() if bits & bit]
            continue
        payload = [rng.getrandbits(64) for _ in range(length)]
        words += [Header(kind, length, address).encode(), *payload]
        expected += [
            (targets[kind], 0 if kind is Kind.INPUT else address + k, word)
            for k, word in enumerate(payload)
        ]
    outputs = [rng.getrandbits(64) for _ in range(700)]
    strobes: list[tuple[str, int, int]] = []
    received: list[int] = []

    async def tile(ctx: SimulatorContext) -> None:
        """Memories, registers and the output FIFO as the bridge sees them."""
        waiting = deque[int]()
        left = deque(outputs)
        while True:
            pushed = bool(left) and len(waiting) < 512 and rng.random() < 0.8
            ctx.set(bridge.pushed, pushed)
            ctx.set(bridge.out_level, len(waiting))
            ctx.set(bridge.in_level, 512 if rng.random() < stall else 3)
            *_, pop, capture, addr = await ctx.tick().sample(
                bridge.pop, bridge.capture, bridge.read_addr
            )
            if pop:
                ctx.set(bridge.out_word, waiting.popleft())
            if capture:
                ctx.set(bridge.read_value, 1000 + addr)
            if pushed:
                waiting.append(left.popleft())

    async def watch(ctx: SimulatorContext) -> None:
        names = [*targets.values(), "run", "clear"]
        ports: list[Any] = [getattr(bridge, name) for name in names]
        while True:
            _, _, addr, word, *values = await ctx.tick().sample(bridge.addr, bridge.word, *ports)
            for name, value in zip(names, values, strict=True):
                if value:
                    memory = name.startswith("write")
                    strobes.append(
                        (name, addr if memory else 0, word if memory or name == "push" else 0)
                    )

    async def collect(ctx: SimulatorContext) -> None:
        await stream_collect(ctx, bridge.o, received, rng, stall)

    async def drive(ctx: SimulatorContext) -> None:
        for word in words:
            await stream_put(ctx, bridge.i, word, rng.randint(0, 2) if stall else 0)
        total = len(outputs) + sum(len(values) for _, values in replies)
        while len(received) < total:
            await ctx.tick()
        await ctx.tick().repeat(100)

    simulate(bridge, drive, cycles=8000, background=[tile, watch, collect])
    assert strobes == expected
    got_outputs: list[int] = []
    got_replies: list[tuple[int, list[int]]] = []
    while received:
        header = Header.decode(received.pop(0))
        payload, received[: header.length] = received[: header.length], []
        if header.kind is Kind.OUTPUT:
            assert 1 <= header.length <= 255
            got_outputs += payload
        else:
            assert header.kind is Kind.REPLY
            got_replies.append((header.address, payload))
    assert got_outputs == outputs
    assert got_replies == replies


def test_no_message_begins_with_words_that_are_forgotten() -> None:
    bridge = Bridge(chip=small_chip())

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(bridge.o.ready, 1)
        header, stop = message(Kind.WRITE_REG, [Control.STOP], TileRegister.CONTROL)
        await stream_put(ctx, bridge.i, header)
        ctx.set(bridge.i.valid, 1)
        ctx.set(bridge.i.payload, stop)
        await ctx.tick()
        ctx.set(bridge.i.valid, 0)
        ctx.set(bridge.out_level, 5)  # since this very cycle
        assert ctx.get(bridge.stop)
        await ctx.tick()
        assert not ctx.get(bridge.stop)
        ctx.set(bridge.out_level, 0)
        for _ in range(5):
            assert not ctx.get(bridge.o.valid)
            await ctx.tick()

    simulate(bridge, bench, cycles=100)


def test_in_a_mesh_input_overtakes_a_register_that_is_read() -> None:
    """Nothing is taken from the bridge: the REPLY cannot leave. The next READ_REG waits for it."""
    bridge = Bridge(chip=small_chip(), network=True)

    async def bench(ctx: SimulatorContext) -> None:
        read = Header(Kind.READ_REG, 1, TileRegister.PC).encode()
        await stream_put(ctx, bridge.i, read)
        pushed = []
        for word in message(Kind.INPUT, [11, 12]):
            ctx.set(bridge.i.payload, word)
            ctx.set(bridge.i.valid, 1)
            assert ctx.get(bridge.i.ready)
            pushed.append((ctx.get(bridge.push), ctx.get(bridge.word)))
            await ctx.tick()
        assert pushed[1:] == [(1, 11), (1, 12)]
        ctx.set(bridge.i.payload, read)
        for _ in range(10):
            assert not ctx.get(bridge.i.ready)
            await ctx.tick()
        ctx.set(bridge.o.ready, 1)
        await ctx.tick().until(bridge.i.ready)

    simulate(bridge, bench, cycles=100)


@pytest.mark.parametrize(
    ("code", "address", "taken", "fault"),
    [(69, 0, 3, False), (69, 32, 3, False), (69, 34, 1, True), (69, 64, 0, True), (0, 0, 0, True)],
)
def test_corrections(code: int, address: int, taken: int, fault: bool) -> None:
    """Entries within the table are written; beyond it, or without a code, the message is wrong."""
    bridge = Bridge(chip=Chip(cores=1, code_a=code))
    payload = [0x1234, 0xFFFF_FFFF_FFFF_FFFF, 7]
    written: list[tuple[int, int]] = []

    async def bench(ctx: SimulatorContext) -> None:
        for word in message(Kind.WRITE_CORRECTIONS, payload, address):
            ctx.set(bridge.i.payload, word)
            ctx.set(bridge.i.valid, 1)
            assert ctx.get(bridge.i.ready)
            if code and ctx.get(bridge.write_corrections):
                written.append((ctx.get(bridge.addr), ctx.get(bridge.word)))
            await ctx.tick()
        ctx.set(bridge.i.valid, 0)
        await ctx.tick()
        assert ctx.get(bridge.link_fault) == fault

    simulate(bridge, bench, cycles=20)
    assert written == [(address + k, word) for k, word in enumerate(payload[:taken])]
