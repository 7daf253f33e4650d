# SPDX-License-Identifier: Apache-2.0
"""Packets through meshes of buffered routers, in Amaranth's simulator."""

from random import Random

import pytest
from amaranth.sim import SimulatorContext
from noc_traffic import Traffic
from simulate import simulate

from ohmtwin.arch.noc import MeshShape
from ohmtwin.rtl.noc.mesh import Mesh


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
    traffic.random_packets(150, 10, multicast=0.3)
    mesh = Mesh(shape=shape)

    async def bench(ctx: SimulatorContext) -> None:
        await traffic.bench(ctx, mesh, idle=0.2, stall=stall)

    simulate(mesh, bench, cycles=8000)
