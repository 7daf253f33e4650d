# SPDX-License-Identifier: Apache-2.0
"""Header, routes, multicast, routing tables and the channel dependency graph."""

from random import Random

import pytest

from ohmtwin.arch.errors import ConfigError
from ohmtwin.arch.noc import (
    HEADER_FIELDS,
    Channel,
    Header,
    MeshShape,
    Node,
    Port,
    absorbed,
    check_table,
    dependency_graph,
    find_cycle,
    load_table,
    multicast_packets,
    parse_mesh,
    path,
    xy_table,
    zero_load_latency,
)

SHAPE = MeshShape(width=4, height=3, hosts=(0, 2))


def test_header_is_64_bits_and_comes_back() -> None:
    assert sum(HEADER_FIELDS.values()) == 64
    rng = Random(1)
    for _ in range(100):
        fields = {name: rng.getrandbits(bits) for name, bits in HEADER_FIELDS.items()}
        header = Header(**fields)
        assert Header.decode(header.encode()) == header
    assert Header(dst_x=1, dst_y=2, src_x=3, src_y=4, length=5).encode() == 0x5_0000_4321
    assert Header(dst_x=0, dst_y=0, host=1).encode() == 1 << 63
    with pytest.raises(ValueError, match=r"field dst_x must be 0 to 15, not 16"):
        Header(dst_x=16, dst_y=0)


def test_paths_go_along_x_then_y() -> None:
    ways = path(SHAPE, Node(0, 2), Node(2, 0))
    assert [c.port.name[0] for c in ways] == ["E", "E", "N", "N", "L"]
    assert [c[:2] for c in ways] == [(0, 2), (1, 2), (2, 2), (2, 1), (2, 0)]
    host = path(SHAPE, Node(3, 0), Node(0, 2, True))
    assert [c.port.name[0] for c in host] == ["W", "W", "W", "S", "S", "W"]
    assert path(SHAPE, Node(1, 1), Node(1, 1)) == [Channel(1, 1, Port.LOCAL)]
    assert zero_load_latency(Node(0, 2), Node(2, 0), 5) == 4 + 5
    with pytest.raises(ConfigError, match=r"mesh of 4x3 has no host port \(0, 1\)"):
        path(SHAPE, Node(0, 0), Node(0, 1, True))


def test_multicast_reaches_each_target_once_and_no_other() -> None:
    """By walking the packets' routes and looking where they are absorbed."""
    rng = Random(2)
    shape = MeshShape(width=5, height=4)
    nodes = list(shape.nodes())
    for _ in range(500):
        src = rng.choice(nodes)
        targets = {n for n in nodes if not n.host and rng.random() < 0.3}
        got = []
        for dst, absorb in multicast_packets(src, targets):
            header = Header(dst_x=dst.x, dst_y=dst.y, src_x=src.x, src_y=src.y, absorb=absorb)
            ways = path(shape, src, dst)
            got += [Node(c.x, c.y) for c in ways[:-1] if absorbed(c.x, c.y, header)]
            got.append(dst)
        assert sorted(got) == sorted(targets)
    row = [Node(x, 1) for x in range(5)]
    assert multicast_packets(Node(0, 1), row) == [(Node(4, 1), 0b01111)]
    assert len(multicast_packets(Node(2, 1), [n for n in nodes if not n.host])) == 2 * 5
    with pytest.raises(ConfigError, match=r"goes to tiles, not to host port \(0, 0\)"):
        multicast_packets(src, [Node(0, 0, True)])


@pytest.mark.parametrize(
    "shape", [SHAPE, MeshShape(width=1, height=1), MeshShape(width=8, height=8)]
)
def test_dimension_order_has_no_cycle(shape: MeshShape) -> None:
    table = xy_table(shape)
    check_table(shape, table)
    graph = dependency_graph(shape, table)
    for channel, waits in graph.items():
        if channel.port is Port.LOCAL:
            assert not waits
        if channel.port in (Port.NORTH, Port.SOUTH):
            turns = [to for to in waits if to.port in (Port.EAST, Port.WEST)]
            assert all(to.x == 0 and to.port is Port.WEST for to in turns), "only to a host"


def test_a_cycle_is_found() -> None:
    a, b, c, d = (Channel(x, 0, Port.EAST) for x in range(4))
    assert find_cycle({a: {b}, b: {c}, c: set(), d: {a, c}}) is None
    found = find_cycle({d: {a}, a: {b, c}, b: {c}, c: {a}})
    assert found is not None
    assert set(found) in ({a, c}, {a, b, c})


def changed(
    shape: MeshShape, at: tuple[int, int], dst: Node, port: Port | None
) -> dict[tuple[int, int], dict[Node, Port]]:
    """Dimension order with one entry different, or gone."""
    table = {router: dict(entries) for router, entries in xy_table(shape).items()}
    if port is None:
        del table[at][dst]
    else:
        table[at][dst] = port
    return table


def test_bad_tables_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"hole: router \(1, 2\) has no port for tile \(3, 0\)"):
        check_table(SHAPE, changed(SHAPE, (1, 2), Node(3, 0), None))
    with pytest.raises(ConfigError, match=r"off the edge: router \(0, 1\) has nothing .* west"):
        check_table(SHAPE, changed(SHAPE, (0, 1), Node(2, 1), Port.WEST))
    with pytest.raises(ConfigError, match=r"misroutes: router \(1, 1\) gives packets for tile \(2"):
        check_table(SHAPE, changed(SHAPE, (1, 1), Node(2, 1), Port.LOCAL))
    with pytest.raises(ConfigError, match=r"circle, .*\(1, 1\) west.* -> .*forbid"):
        check_table(SHAPE, changed(SHAPE, (1, 1), Node(3, 1), Port.WEST))


def test_turns_in_both_senses_are_refused() -> None:
    """All around a square, each packet goes two sides clockwise: the textbook deadlock."""
    shape = MeshShape(width=2, height=2, hosts=())
    clockwise = {(0, 0): Port.EAST, (1, 0): Port.SOUTH, (1, 1): Port.WEST, (0, 1): Port.NORTH}
    table = {
        (x, y): {
            dst: Port.LOCAL if (x, y) == (dst.x, dst.y) else clockwise[x, y]
            for dst in shape.nodes()
        }
        for x, y in clockwise
    }
    with pytest.raises(ConfigError, match="can deadlock") as error:
        check_table(shape, table)
    for x, y in clockwise:
        assert f"({x}, {y}) {clockwise[x, y].name.lower()}" in str(error.value)


def test_tables_are_read() -> None:
    shape = MeshShape(width=2, height=1, hosts=(0,))
    text = """
    0 0 -> 0 0: local   # at home
    0 0 -> 1 0: east
    0 0 -> host 0: west
    1 0 -> 0 0: west
    1 0 -> 1 0: local
    1 0 -> host 0: west
    """
    assert load_table(text, shape) == xy_table(shape)
    with pytest.raises(ConfigError, match=r"line 1: an entry is 'x y -> x y: port'"):
        load_table("0 0 > 0 0: local", shape)
    with pytest.raises(ConfigError, match=r"line 1: a mesh of 2x1 has no tile \(2, 0\)"):
        load_table("0 0 -> 2 0: local", shape)
    with pytest.raises(ConfigError, match=r"line 2: router \(0, 0\) has a port for tile"):
        load_table("0 0 -> 0 0: local\n0 0 -> 0 0: local", shape)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0x4", r"1 to 16 tiles a side.*not 0x4"),
        ("4x17", r"1 to 16 tiles a side.*not 4x17"),
        ("4", r"written as 4x4.*not '4'"),
        ("4x-1", r"written as 4x4"),
    ],
)
def test_bad_meshes_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_mesh(text)


def test_bad_parameters_of_a_mesh_are_refused() -> None:
    assert parse_mesh("16x1").tiles == 16
    with pytest.raises(ConfigError, match=r"power of two, not 3"):
        parse_mesh("2x2", depth=3)
    with pytest.raises(ConfigError, match=r"depth: .*less than or equal to 256, not 512"):
        parse_mesh("2x2", depth=512)
    with pytest.raises(ConfigError, match=r"row 0 to 1, not in row 2"):
        parse_mesh("2x2", hosts=(2,))
