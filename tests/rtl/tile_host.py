# SPDX-License-Identifier: Apache-2.0
"""Driving a tile in Amaranth's simulator as a host does, at the speed of any link."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from amaranth.sim import SimulatorContext
from numpy.typing import NDArray
from simulate import simulate

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.isa import Instruction
from ohmtwin.arch.messages import Header, Kind, message
from ohmtwin.arch.registers import Control, CoreCounter, Status, TileRegister, core_address
from ohmtwin.rtl.macro import IdealMacro
from ohmtwin.rtl.tile import Tile

__all__ = ["Host", "run_tile", "small_chip"]


def small_chip(**changes: object) -> Chip:
    """A tile small enough for Amaranth's simulator."""
    base = Chip(
        cores=1, rows=16, cols=32, cell_bits=2, lanes=8, adc_bits=6, rows_per_read=8,
        program_words=64, data_words=32, param_words=32, fifo_words=16,
    )  # fmt: skip
    return base.with_(**changes)


@dataclass
class Host:
    """Words to send and words received; a pace is the chance of moving a word in a cycle."""

    ctx: SimulatorContext
    tile: Tile
    rng: np.random.Generator
    pace: float = 1.0
    out_pace: float = 1.0
    to_send: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    replies: list[list[int]] = field(default_factory=list)
    messages: int = 0
    """Whole messages received."""
    idle: int = 0
    """Cycles since a word moved, either way."""

    async def tick(self) -> None:
        """One cycle of both streams."""
        ctx, i, o = self.ctx, self.tile.i, self.tile.o
        # A valid word stays until it is taken (stream rule); ready may come and go.
        offered = bool(self.to_send) and (ctx.get(i.valid) or self.rng.random() < self.pace)
        ctx.set(i.valid, offered)
        if offered:
            ctx.set(i.payload, self.to_send[0])
        ready = self.rng.random() < self.out_pace
        ctx.set(o.ready, ready)
        taken = offered and ctx.get(i.ready)
        self.idle = 0 if taken or ctx.get(o.valid) else self.idle + 1
        if ready and ctx.get(o.valid):
            self._receive(ctx.get(o.payload))
        await ctx.tick()
        if taken:
            self.to_send.pop(0)
            ctx.set(i.valid, 0)

    def _receive(self, word: int) -> None:
        self.received.append(word)
        header = Header.decode(self.received[0])
        if len(self.received) == 1 + header.length:
            payload = self.received[1:]
            if header.kind is Kind.OUTPUT:
                self.outputs += payload
            else:
                self.replies.append(payload)
            self.received.clear()
            self.messages += 1

    def send(self, kind: Kind, words: Sequence[int], address: int = 0) -> None:
        self.to_send += message(kind, list(words), address)

    def control(self, *bits: Control) -> None:
        self.send(Kind.WRITE_REG, [sum(bits)], TileRegister.CONTROL)

    async def read(self, address: int, length: int = 1) -> list[int]:
        self.to_send.append(Header(Kind.READ_REG, length, address).encode())
        while not self.replies:
            await self.tick()
        return self.replies.pop(0)

    async def status(self) -> int:
        return (await self.read(TileRegister.STATUS))[0]

    async def settle(self) -> int:
        """Wait until the tile has ended or needs the host, and its words are out; the status."""
        while True:
            status = await self.status()
            before = await self.read(TileRegister.CYCLES)
            # Between two messages the stream rests for a cycle or two at most.
            while self.to_send or self.received or self.idle < 20:
                await self.tick()
            # A wait for room in the output FIFO may have ended meanwhile.
            running = not status & Status.WAITING and status & Status.RUNNING
            if not running and before == await self.read(TileRegister.CYCLES):
                return status

    async def counters(self) -> tuple[dict[str, int], list[list[int]]]:
        """The tile's counters by name, and those of each core."""
        names = [r for r in TileRegister if r >= TileRegister.CYCLES]
        values = await self.read(TileRegister.CYCLES, len(names))
        cores = [
            await self.read(core_address(c, CoreCounter.READS), len(CoreCounter))
            for c in range(self.tile.chip.cores)
        ]
        return {r.name.lower(): v for r, v in zip(names, values, strict=True)}, cores

    def program(
        self,
        instructions: Sequence[Instruction],
        params: Sequence[int] = (),
        tables: NDArray[np.uint8] | None = None,
    ) -> None:
        self.send(Kind.WRITE_PROGRAM, [i.encode() for i in instructions])
        self.send(Kind.WRITE_PARAMS, params)
        if tables is not None:
            self.send(Kind.WRITE_TABLE, [int(w) for w in tables.reshape(-1).view("<u8")])


def run_tile(
    chip: Chip,
    levels: Sequence[NDArray[np.uint8]],
    body: Callable[[Host], Awaitable[None]],
    *,
    seed: int = 0,
    pace: float = 1.0,
    cycles: int = 20000,
) -> None:
    """Run ``body`` against a tile of ideal arrays."""
    tile = Tile(chip=chip, macros=lambda core: IdealMacro(chip=chip, levels=levels[core].tolist()))
    print(f"seed {seed}, pace {pace}")

    async def bench(ctx: SimulatorContext) -> None:
        await body(Host(ctx, tile, np.random.default_rng(seed), pace, pace))

    simulate(tile, bench, cycles=cycles)
