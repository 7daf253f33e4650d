# SPDX-License-Identifier: Apache-2.0
"""A network interface alone: tests put every flit and word, and see in which cycle what comes."""

from collections.abc import Sequence
from typing import Any

from amaranth.sim import SimulatorContext
from noc_bench import control_packets
from noc_world import network_chip

from ohmtwin.arch.noc import Header, Node
from ohmtwin.arch.noc_interface import (
    ControlKind,
    ControlUser,
    Leg,
    Route,
    configuration,
    data_packets,
)
from ohmtwin.rtl.noc.interface import COUNTERS, NetworkInterface

__all__ = ["CHIP", "HERE", "THERE", "Bare"]

CHIP = network_chip()
HERE, THERE = Node(1, 0), Node(0, 1)


class Bare:
    """An interface alone; what it gives is noted with its cycle.

    ``link_ready`` and ``tile_ready`` may be changed between cycles: what it offers is taken if they
    are set.
    """

    def __init__(self, ctx: SimulatorContext, dut: NetworkInterface) -> None:
        self.ctx, self.dut = ctx, dut
        self.cycle = 0
        self.flits: list[tuple[int, int, int]] = []  # cycle, data, kind
        self.fed: list[tuple[int, int]] = []
        self.given: list[int] = []  # cycles
        self.put: list[int] = []
        self.link: list[tuple[int, int, int]] = []  # to come: data, last, kind
        self.out: list[int] = []  # words that the tile is to give
        self.link_ready = 3
        self.tile_ready = True
        ctx.set(dut.in_free, CHIP.fifo_words)
        ctx.set(dut.x, HERE.x)
        ctx.set(dut.y, HERE.y)

    def send(self, kind: int, packet: Sequence[int]) -> None:
        """Put a packet on the link."""
        self.link += [(word, int(k == len(packet) - 1), kind) for k, word in enumerate(packet)]

    async def tick(self, cycles: int = 1) -> None:
        """Some cycles."""
        ctx, dut = self.ctx, self.dut
        for _ in range(cycles):
            ctx.set(dut.link_o.ready, self.link_ready)
            ctx.set(dut.tile_i.ready, self.tile_ready)
            ctx.set(dut.link_i.valid, bool(self.link))
            ctx.set(dut.tile_o.valid, bool(self.out))
            if self.link:
                word, last, kind = self.link[0]
                ctx.set(dut.link_i.flit, {"data": word, "last": last, "kind": kind})
                if ctx.get(dut.link_i.ready) >> kind & 1:
                    self.link.pop(0)
                    self.put.append(self.cycle)
            if self.out:
                ctx.set(dut.tile_o.payload, self.out[0])
                if ctx.get(dut.tile_o.ready):
                    self.out.pop(0)
                    self.given.append(self.cycle)
            if self.tile_ready and ctx.get(dut.tile_i.valid):
                self.fed.append((self.cycle, ctx.get(dut.tile_i.payload)))
            if ctx.get(dut.link_o.valid):
                data, kind = ctx.get(dut.link_o.flit.data), ctx.get(dut.link_o.flit.kind)
                if self.link_ready >> kind & 1:
                    self.flits.append((self.cycle, data, kind))
            await ctx.tick()
            self.cycle += 1

    async def begin(
        self,
        routes: Sequence[Route] = (),
        takes: Sequence[tuple[int, int]] = (),
        gives: Sequence[tuple[int, int]] = (),
    ) -> int:
        """Configure and start; the cycle of the strobe."""
        words = configuration(routes, takes, gives)
        for packet in control_packets(words, HERE, CHIP.packet_words):
            self.send(1, packet)
        while self.link:
            await self.tick()
        await self.tick(10)
        await self.strobe("start", "clear")
        assert not self.fed
        self.put.clear()
        return self.cycle - 1

    async def strobe(self, *names: str) -> None:
        """One cycle with strobes of the tile."""
        for name in names:
            self.ctx.set(getattr(self.dut, name), 1)
        await self.tick()
        for name in names:
            self.ctx.set(getattr(self.dut, name), 0)

    async def message(
        self, words: Sequence[int], *, channel: int, slot: int, route: int = 3
    ) -> None:
        """Send one from another tile, and wait until it is there."""
        for packet in data_packets(
            words, src=THERE, leg=Leg(*HERE[:2]), channel=channel, slot=slot,
            packet_words=CHIP.packet_words, route=route,
        ):  # fmt: skip
            self.send(0, packet)
        while self.link:
            await self.tick()

    async def acknowledge(self, route: int, slot: int) -> None:
        """Send an ACK, and wait until it is there."""
        user = ControlUser(kind=ControlKind.ACK, slot=slot, route=route).encode()
        back = Header(dst_x=HERE.x, dst_y=HERE.y, src_x=THERE.x, src_y=THERE.y, user=user)
        self.send(1, [back.encode()])
        while self.link:
            await self.tick()

    def counts(self) -> dict[str, int]:
        """Counters that are not 0."""
        values = {name: self.ctx.get(self.dut.counts[name]) for name in COUNTERS.members}
        return {name: value for name, value in values.items() if value}

    def state(self, name: str) -> Any:
        """A field of what it waits for."""
        return self.ctx.get(self.dut.state[name])
