# SPDX-License-Identifier: Apache-2.0
"""Fields, routes and lists of a mesh's interfaces: encodings worked by hand, and refusals."""

import pytest

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import ConfigError
from ohmtwin.arch.messages import Header as Message
from ohmtwin.arch.messages import Kind
from ohmtwin.arch.noc import USER_BITS, Header, Node
from ohmtwin.arch.noc_interface import (
    CONTROL_USER,
    DATA_USER,
    OUTPUT_LIST,
    ROUTE_WORDS,
    ControlKind,
    ControlUser,
    DataUser,
    Leg,
    Route,
    check_lists,
    check_network,
    check_route,
    configuration,
    data_packets,
    encode_list,
    legs_to,
)

CHIP = Chip(mesh=(4, 4), packet_words=8, buffer_flits=16)
HERE = Node(1, 2)


def test_user_fields_by_hand() -> None:
    data = DataUser(channel=5, slot=1, route=9, index=3, words=128)
    assert data.encode() == 5 | 1 << 4 | 9 << 5 | 3 << 9 | 127 << 15
    assert DataUser.decode(data.encode()) == data
    control = ControlUser(kind=ControlKind.ACK, slot=1, route=9, channel=5)
    assert control.encode() == 2 | 1 << 2 | 9 << 3 | 5 << 7
    assert ControlUser.decode(control.encode()) == control
    for layout in (DATA_USER, CONTROL_USER):
        assert sum(layout.values()) <= USER_BITS
    with pytest.raises(ValueError, match="Field channel of a data packet must be 0 to 15, not 16"):
        DataUser(channel=16, words=1).encode()
    with pytest.raises(ValueError, match="Field words"):
        DataUser(channel=1, words=0).encode()


def test_route_and_list_words_by_hand() -> None:
    route = Route(number=3, legs=(Leg(2, 3, 0b100), Leg(0, 1, 0, True)), channel=4, consumers=2)
    words = route.encode()
    assert words == [4 | 2 << 4 | 2 << 8, 2 | 3 << 4 | 0b100 << 16, 1 << 4 | 1 << 63]
    assert Route.decode(3, words) == route
    assert encode_list([(2, 16), (3, 256)]) == [16 | 2 << 9, 256 | 3 << 9 | 1 << 13]
    assert encode_list([]) == [0]


def test_configuration_is_messages() -> None:
    route = Route(number=3, legs=(Leg(2, 3),), channel=4, consumers=1)
    words = configuration([route], [(1, 4)], [(3, 4), (3, 2)])
    headers = []
    while words:
        header = Message.decode(words.pop(0))
        headers.append((header.kind, header.address, words[: header.length]))
        del words[: header.length]
    assert headers == [
        (Kind.WRITE_ROUTE, 3 * ROUTE_WORDS, route.encode()),
        (Kind.WRITE_LIST, 0, encode_list([(1, 4)])),
        (Kind.WRITE_LIST, OUTPUT_LIST, encode_list([(3, 4), (3, 2)])),
    ]


def test_packets_of_a_message() -> None:
    leg = Leg(3, 3)
    made = data_packets(range(10), src=HERE, leg=leg, channel=2, slot=1, packet_words=4, route=7)
    assert [flits[1:] for flits in made] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    for index, flits in enumerate(made):
        header = Header.decode(flits[0])
        assert (header.dst, header.length) == (Node(3, 3), len(flits) - 1)
        assert (header.src_x, header.src_y) == (1, 2)
        assert DataUser.decode(header.user) == DataUser(
            channel=2, slot=1, route=7, index=index, words=10
        )


def test_legs_reach_each_target() -> None:
    legs = legs_to(Node(0, 0), [Node(1, 0), Node(1, 2), Node(0, 3, True)])
    assert legs == (Leg(1, 2, 0b001), Leg(0, 3, 0, True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": 0}, "Route 0 of tile .* has routes 1 to 8"),
        ({"number": 9}, "routes 1 to 8"),
        ({"legs": ()}, "has 0 packet streams; it may have 1 to 15"),
        ({"channel": 9}, "leads to channel 9; .* channels 1 to 8"),
        ({"consumers": 0}, "counts 0 consumers, and leads to 1 tiles: it must count 1$"),
        ({"legs": (Leg(0, 1, 0, True),), "consumers": 2}, "count 0, or 1 if hosts acknowledge too"),
        ({"legs": (Leg(4, 1),)}, r"leads to tile \(4, 1\), which a mesh of 4x4 has not"),
        ({"legs": (Leg(1, 1, 0, True),), "consumers": 0}, r"leads to host port \(1, 1\)"),
    ],
)
def test_route_refused(change: dict[str, object], message: str) -> None:
    fields = {"number": 1, "legs": (Leg(0, 0),), "channel": 1, "consumers": 1}
    check_route(CHIP, Route(**fields), HERE)
    with pytest.raises(ConfigError, match=message):
        check_route(CHIP, Route(**{**fields, **change}), HERE)


def test_multicast_must_fit_a_router() -> None:
    route = Route(number=1, legs=(Leg(1, 3, 0b0100),), channel=1, consumers=2)
    check_route(CHIP, route, HERE)
    with pytest.raises(ConfigError, match="make buffer_flits at least 32, or give each consumer"):
        check_route(CHIP.with_(packet_words=16), route, HERE)


def test_lists_refused() -> None:
    route = Route(number=1, legs=(Leg(0, 0),), channel=1, consumers=1)
    check_lists(CHIP, HERE, [route], [(1, 128)], [(1, 5)])
    with pytest.raises(ConfigError, match=r"output list .* message 1: there is no route 2"):
        check_lists(CHIP, HERE, [route], [], [(1, 5), (2, 5)])
    with pytest.raises(ConfigError, match=r"input list .* message 0: there is no channel 9"):
        check_lists(CHIP, HERE, [route], [(9, 1)], [])
    with pytest.raises(ConfigError, match="129 words; a message has 1 to 128"):
        check_lists(CHIP, HERE, [route], [(1, 129)], [])
    with pytest.raises(ConfigError, match="has 129 messages; an interface holds 128"):
        check_lists(CHIP, HERE, [route], [(1, 1)] * 129, [])


def test_sizes_refused() -> None:
    check_network(CHIP)
    with pytest.raises(ConfigError, match="make packet_words at least 4"):
        check_network(CHIP.with_(slot_words=256, packet_words=2))
    with pytest.raises(ConfigError, match="longer than the longest message"):
        check_network(CHIP.with_(slot_words=16, packet_words=32))
