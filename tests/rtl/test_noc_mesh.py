# SPDX-License-Identifier: Apache-2.0
"""Packets through meshes of buffered routers, in Amaranth's simulator."""

from random import Random

import pytest
from amaranth.sim import SimulatorContext
from noc_traffic import Traffic
from simulate import simulate

from ohmtwin.arch.errors import ConfigError
from ohmtwin.arch.noc import Header, MeshShape, Node, Port, check_table, xy_table
from ohmtwin.rtl.noc.deflection import DeflectionMesh, DeflectionNode
from ohmtwin.rtl.noc.mesh import Mesh, mesh_verilog


@pytest.mark.parametrize(
    ("shape", "stall"),
    [
        (MeshShape(width=3, height=2, hosts=(0, 1), depth=4), 0.5),
        (MeshShape(width=1, height=3, hosts=(), depth=2), 0.1),
        (MeshShape(width=3, height=1, depth=8), 0.8),
    ],
    ids=str,
)
def test_every_packet_arrives(shape: MeshShape, stall: float) -> None:
    seed = shape.width * 100 + shape.height
    print(f"seed {seed}")
    traffic = Traffic(shape, Random(seed))
    traffic.random_packets(90, 10, multicast=0.3)
    mesh = Mesh(shape=shape)

    async def bench(ctx: SimulatorContext) -> None:
        await traffic.bench(ctx, mesh, idle=0.2, stall=stall)

    simulate(mesh, bench, cycles=8000)


def test_packets_turn_in_their_column() -> None:
    """The smallest mesh with corners; a packet that goes astray is late at once."""
    shape = MeshShape(width=2, height=2, hosts=(0,), depth=2)
    print("seed 9")
    traffic = Traffic(shape, Random(9))
    traffic.random_packets(24, 4, multicast=0.4)
    mesh = Mesh(shape=shape)

    async def bench(ctx: SimulatorContext) -> None:
        await traffic.bench(ctx, mesh, idle=0.2, stall=0.3)

    simulate(mesh, bench, cycles=400)


def test_every_packet_arrives_without_buffers() -> None:
    shape = MeshShape(width=2, height=2, hosts=(1,))
    print("seed 5")
    traffic = Traffic(shape, Random(5))
    traffic.random_packets(60, 7, multicast=0.3)
    mesh = DeflectionMesh(shape=shape, max_flits=8)

    async def bench(ctx: SimulatorContext) -> None:
        await traffic.bench(ctx, mesh, idle=0.2, stall=0.3)

    simulate(mesh, bench, cycles=4000)


def test_a_table_routes_in_the_place_of_dimension_order() -> None:
    """Along y first, which has no cycle either; seen in the counters of links."""
    shape = MeshShape(width=2, height=2, hosts=(0,))
    table = {router: dict(entries) for router, entries in xy_table(shape).items()}
    table[0, 0][Node(1, 1)] = Port.SOUTH
    table[0, 1][Node(1, 0)] = Port.NORTH
    table[1, 0][Node(0, 1)] = Port.SOUTH
    table[1, 1][Node(0, 0)] = Port.NORTH
    table[1, 1][Node(0, 0, True)] = Port.NORTH
    check_table(shape, table)
    print("seed 6")
    traffic = Traffic(shape, Random(6))
    traffic.random_packets(50, 5, multicast=0)
    diagonal = [(Node(0, 0), Node(1, 1)), (Node(1, 1), Node(0, 0))]
    for src, dst in diagonal:
        traffic.send(src, [dst], 0, [1, 2, 3])
    mesh = Mesh(shape=shape, table=table, counters=True)

    async def bench(ctx: SimulatorContext) -> None:
        await traffic.bench(ctx, mesh, idle=0.1, stall=0.2)
        assert ctx.get(mesh.idle)
        assert ctx.get(mesh.counts[0][Port.SOUTH].flits) >= 4

    simulate(mesh, bench, cycles=4000)


def test_bad_parameters_are_refused() -> None:
    shape = MeshShape(width=2, height=1, hosts=())
    table = {router: dict(entries) for router, entries in xy_table(shape).items()}
    table[0, 0][Node(1, 0)] = Port.NORTH
    with pytest.raises(ConfigError, match="off the edge"):
        Mesh(shape=shape, table=table)
    with pytest.raises(TypeError, match="must be a MeshShape"):
        Mesh(shape="4x4")
    with pytest.raises(ValueError, match=r"64 .for its header. to 1024 bits, not 32"):
        Mesh(shape=shape, bits=32)
    with pytest.raises(ValueError, match="power of two, 2 to 32, not 33"):
        DeflectionNode(shape=shape, max_flits=33)


def test_wide_flits_and_no_multicast() -> None:
    """A header in the low bits; without multicast, absorb means nothing."""
    shape = MeshShape(width=2, height=1, hosts=(), depth=2)
    mesh = Mesh(shape=shape, bits=96, multicast=False)
    header = Header(dst_x=1, dst_y=0, absorb=0b01, length=1).encode() | 5 << 64

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(mesh.o[1].ready, 1)
        ctx.set(mesh.i[0].valid, 1)
        for word, last in ((header, 0), (7 << 90, 1)):
            ctx.set(mesh.i[0].flit, {"data": word, "last": last, "kind": 0})
            assert ctx.get(mesh.i[0].ready) == 3
            await ctx.tick()
        ctx.set(mesh.i[0].valid, 0)
        for word, last in ((header, 0), (7 << 90, 1)):  # two hops, a cycle each
            assert ctx.get(mesh.o[1].valid)
            assert not ctx.get(mesh.o[0].valid)
            assert ctx.get(mesh.o[1].flit.data) == word
            assert ctx.get(mesh.o[1].flit.last) == last
            assert not ctx.get(mesh.idle)
            await ctx.tick()
        assert ctx.get(mesh.idle)

    simulate(mesh, bench, cycles=20)


def test_verilog_has_a_module_for_routers_that_are_alike() -> None:
    shape = MeshShape(width=3, height=2, depth=2)
    text = mesh_verilog("mesh", shape=shape, multicast=False)
    assert text.count("module noc_router(") == 1
    assert text.count("module noc_router_host(") == 1
    assert text.count("  noc_router router_") == 5
