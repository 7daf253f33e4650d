# SPDX-License-Identifier: Apache-2.0
"""The walk through runs of bytes: every word it names, against the runs themselves."""

import numpy as np
from amaranth.sim import SimulatorContext
from simulate import simulate

from ohmtwin.rtl.gather import ADDRESS_BITS, RunReader


def _words(start: int, bytes_: int, repeats: int, pitch: int) -> list[tuple[int, int, int]]:
    """Word address, first byte and number of bytes of every read, from the manual's words."""
    reads = []
    for k in range(repeats + 1 if bytes_ else 0):
        begin = start + k * pitch
        for word in range(begin // 8, (begin + bytes_ - 1) // 8 + 1):
            wanted = [a for a in range(8 * word, 8 * word + 8) if begin <= a < begin + bytes_]
            reads.append((word % (1 << (ADDRESS_BITS - 3)), wanted[0] % 8, len(wanted)))
    return reads


def test_reads_and_cycles() -> None:
    rng = np.random.default_rng(1)
    reader = RunReader()

    async def bench(ctx: SimulatorContext) -> None:
        for number in range(300):
            bytes_ = int(rng.integers(0, 257) if number % 5 == 0 else rng.integers(0, 20))
            repeats = int(rng.integers(0, 6))
            pitch = int(rng.integers(-40, 41))
            # Some wrap at the end of the address space.
            start = int(rng.integers(0, 1 << ADDRESS_BITS)) if number % 2 else number % 30
            ctx.set(reader.start, start)
            ctx.set(reader.pitch, pitch)
            ctx.set(reader.bytes, bytes_)
            ctx.set(reader.nothing, bytes_ == 0)
            ctx.set(reader.repeats, repeats)
            ctx.set(reader.take, 1)
            await ctx.tick()
            ctx.set(reader.take, 0)
            # Taken in that cycle only.
            for port in (reader.start, reader.bytes, reader.repeats):
                ctx.set(port, 0)
            ctx.set(reader.show, 1)
            if number % 2:  # the first word stands
                await ctx.tick()
            ctx.set(reader.on, 1)
            seen = []
            while not ctx.get(reader.done):
                addr = ctx.get(reader.addr)
                assert addr % 8 == ctx.get(reader.byte)
                seen.append((addr >> 3, ctx.get(reader.byte), ctx.get(reader.count)))
                await ctx.tick()
            assert seen == _words(start, bytes_, repeats, pitch), (start, bytes_, repeats, pitch)
            ctx.set(reader.on, 0)
            ctx.set(reader.show, 0)

    simulate(reader, bench, cycles=20000)


def test_a_stream_begins_with_byte_0() -> None:
    reader = RunReader()

    async def bench(ctx: SimulatorContext) -> None:
        for bytes_ in (1, 7, 8, 9, 16, 31):
            ctx.set(reader.start, 5)
            ctx.set(reader.bytes, bytes_)
            ctx.set(reader.nothing, bytes_ == 0)
            ctx.set(reader.stream, 1)
            ctx.set(reader.take, 1)
            await ctx.tick()
            ctx.set(reader.take, 0)
            ctx.set(reader.show, 1)
            ctx.set(reader.on, 1)
            counts = []
            while not ctx.get(reader.done):
                assert ctx.get(reader.byte) == 0
                counts.append(ctx.get(reader.count))
                await ctx.tick()
            assert counts == [8] * (bytes_ // 8) + [bytes_ % 8] * (bytes_ % 8 > 0)
            ctx.set(reader.on, 0)

    simulate(reader, bench, cycles=200)
