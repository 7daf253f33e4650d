# SPDX-License-Identifier: Apache-2.0
"""Thousands of packets through Verilated meshes, with random back-pressure, each flit checked.

``soak_noc.py`` sends a million.
"""

import pytest

from ohmtwin.arch.noc import MeshShape, parse_mesh
from ohmtwin.host.noc_sim import Network, Run, check_pattern, sweep


def soak(shape: MeshShape, router: str, packets: int, seed: int, stall: float) -> Run:
    print(f"seed {seed}")
    network = Network(shape, router)
    return network.run(
        load=2.0,
        flits=20,
        seed=seed,
        random_length=True,
        control=0.5,
        multicast=0.5,
        to_host=0.1,
        stall=stall,
        pause=0.2,
        packets=packets,
        drain=100 * packets + 10000,
    )


@pytest.mark.xdist_group("noc")
@pytest.mark.parametrize(
    ("size", "hosts", "router", "stall"),
    [
        ("4x4", (0, 3), "buffered", 0.3),
        ("1x5", (0,), "buffered", 0.7),
        ("16x16", (5,), "buffered", 0.0),
        ("4x4", (0, 3), "deflection", 0.3),
    ],
)
def test_ten_thousand_packets(size: str, hosts: tuple[int, ...], router: str, stall: float) -> None:
    run = soak(parse_mesh(size, hosts=hosts), router, 10000, 7, stall)
    assert (run.made, run.missing) == (10000, 0)
    assert run.copies > run.made, "no multicast among them"


@pytest.mark.xdist_group("noc")
def test_saturation_and_zero_load() -> None:
    """The figures of the data sheet, from a shorter run."""
    found = sweep(Network(MeshShape()), cycles=5000, loads=(0.2, 0.5, 0.55, 0.7))
    assert found.saturation >= 0.55
    assert found.zero.excess == 0
    assert found.zero.pairs == 240
    latencies = [point.latency for point in found.points]
    assert latencies == sorted(latencies)
    assert 0.9 * found.saturation < max(found.use.values()) <= 1


@pytest.mark.xdist_group("noc")
def test_counters_are_the_traffic() -> None:
    """Neighbor traffic of three columns: rows of links that nobody else uses."""
    shape = MeshShape(width=3, height=2, hosts=())
    network = Network(shape)
    check_pattern("neighbor", shape)
    run = network.run("neighbor", load=0.3, flits=4, seed=3, packets=600)
    local = run.links[:, 4, 0]
    assert local.sum() == 600 * 4
    east, west = run.links[:, 1, 0], run.links[:, 3, 0]
    # A tile gets from its west; the first of a row from the last, over all of it.
    assert list(east.reshape(2, 3)[:, 0]) == list(local.reshape(2, 3)[:, 1])
    assert list(west.reshape(2, 3)[:, 1]) == list(local.reshape(2, 3)[:, 0])
    assert not run.links[:, [0, 2]].any()
    stalled = network.run("neighbor", load=0.9, flits=4, seed=3, stall=0.5, packets=600)
    assert stalled.links[:, 4, 1].sum() > run.links[:, 4, 1].sum() == 0
