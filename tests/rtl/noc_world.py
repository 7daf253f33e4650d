# SPDX-License-Identifier: Apache-2.0
"""Interfaces, what they talk to, and a clock for all of it."""

from collections.abc import Mapping
from random import Random
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import SimulatorContext
from noc_bench import FakeTile, HostEnd, LinkEnd, Packets
from noc_plan import Plan

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.noc import MeshShape, Node
from ohmtwin.rtl.noc.deflection import DeflectionMesh
from ohmtwin.rtl.noc.interface import COUNTERS, NetworkInterface
from ohmtwin.rtl.noc.mesh import Mesh
from ohmtwin.rtl.noc.mesh_tile import MeshTile

__all__ = ["Interfaces", "World", "network_chip"]


def network_chip(**changes: object) -> Chip:
    """Small sizes, so that messages are several packets and FIFOs fill."""
    base = Chip(
        cores=1, mesh=(2, 2), fifo_words=32, slot_words=16, packet_words=4, channels=6, routes=6,
        buffer_flits=8,
    )  # fmt: skip
    return base.with_(**changes)


class Interfaces(wiring.Component):
    """One at each tile, on a mesh or with nothing between them; or tiles with theirs on a mesh.

    ``router``: with a mesh, "buffered" or "deflection".
    """

    def __init__(
        self,
        chip: Chip,
        *,
        mesh: bool,
        tiles: Mapping[Node, MeshTile] | None = None,
        router: str = "buffered",
    ) -> None:
        columns, rows = chip.mesh
        shape = MeshShape(width=columns, height=rows, depth=chip.buffer_flits)
        self.mesh: Mesh | DeflectionMesh | None = None
        if mesh:
            self.mesh = {"buffered": Mesh, "deflection": DeflectionMesh}[router](shape=shape)
        nodes = [Node(*shape.position(k)) for k in range(shape.tiles)]
        self.parts: Mapping[Node, Any] = tiles or {
            node: NetworkInterface(chip=chip) for node in nodes
        }
        self.has_tiles = tiles is not None
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.mesh is not None:
            m.submodules.mesh = self.mesh
        for index, (tile, part) in enumerate(self.parts.items()):
            m.submodules[f"interface_{tile.x}_{tile.y}"] = part
            m.d.comb += [part.x.eq(tile.x), part.y.eq(tile.y)]
            if self.mesh is not None:
                i, o = (part.i, part.o) if self.has_tiles else (part.link_i, part.link_o)
                wiring.connect(m, o, self.mesh.i[index])
                wiring.connect(m, self.mesh.o[index], i)
        return m


class World:
    """Steps everything that is no circuit, once a cycle.

    Parameters
    ----------
    pace : float
        Chance that a word, a flit or a packet moves on where it may.
    reorder : bool
        Without a mesh: packets may overtake each other.
    """

    def __init__(
        self, ctx: SimulatorContext, dut: Interfaces, chip: Chip, plan: Plan, rng: Random, *,
        pace: float = 1.0, reorder: bool = False,
    ) -> None:  # fmt: skip
        self.ctx, self.pace, self.dut = ctx, pace, dut
        self.moore = False
        """Whether links are seen to be functions of registers, in every cycle."""
        self.cycle = 0
        idle = 1 - pace
        self.network: Packets | None = None
        self.links: list[LinkEnd] = []
        if dut.mesh is None:
            ends = {
                tile: LinkEnd(part.link_i, part.link_o, rng, idle, idle)
                for tile, part in dut.parts.items()
            }
            self.links += ends.values()
            self.network = Packets(ends, rng, reorder=reorder)
            host: Any = self.network.host
        else:
            host = LinkEnd(dut.mesh.host_i[0], dut.mesh.host_o[0], rng, idle, idle)
            self.links.append(host)
        self.host = HostEnd(host, chip, plan, confirm=reorder)
        fakes = {} if dut.has_tiles else dut.parts
        self.tiles = {
            tile: FakeTile(part, chip, plan.words.get(tile, []), rng, pace)
            for tile, part in fakes.items()
        }

    async def tick(self) -> None:
        """One cycle."""
        self.host.step()
        if self.network is not None:
            self.network.step(1 - self.pace)
        for part in (*self.links, *self.tiles.values()):
            part.drive(self.ctx)
        if self.moore:
            for part in self.dut.parts.values():
                self._check_registers(part)
        for part in (*self.links, *self.tiles.values()):
            part.sample(self.ctx)
        await self.ctx.tick()
        self.cycle += 1

    def _check_registers(self, part: NetworkInterface) -> None:
        """No input reaches an output of the link within the cycle."""
        ctx = self.ctx
        inputs = (part.link_i.valid, part.link_o.ready, part.tile_o.valid, part.tile_i.ready)
        before = [ctx.get(value) for value in inputs]
        seen = []
        for flip in (0, 1):
            for value, old in zip(inputs, before, strict=True):
                ctx.set(value, old ^ (flip and (1 << len(value)) - 1))
            link = (part.link_o.valid, part.link_o.flit.as_value(), part.link_i.ready)
            seen.append([ctx.get(value) for value in link])
        for value, old in zip(inputs, before, strict=True):
            ctx.set(value, old)
        assert seen[0] == seen[1], "a link is no function of registers"

    async def quiet(self, rest: int = 12) -> None:
        """Until nothing has been on its way for some cycles."""
        still = 0
        while still < rest:
            await self.tick()
            busy = not self.host.quiet or (self.network is not None and not self.network.quiet)
            busy |= any(not link.quiet for link in self.links)
            busy |= any(not self.ctx.get(part.idle) for part in self.dut.parts.values())
            if self.dut.has_tiles:
                parts = self.dut.parts.values()
                busy |= any(self.ctx.get(p.running & ~p.waiting) for p in parts)
            busy |= self.dut.mesh is not None and not self.ctx.get(self.dut.mesh.idle)
            still = 0 if busy else still + 1

    def counts(self, tile: Node) -> dict[str, int]:
        """Counters of an interface."""
        part = self.dut.parts[tile]
        return {name: self.ctx.get(part.counts[name]) for name in COUNTERS.members}

    def state(self, tile: Node) -> Any:
        """What an interface waits for."""
        return self.dut.parts[tile].state
