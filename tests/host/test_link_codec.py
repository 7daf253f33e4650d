# SPDX-License-Identifier: Apache-2.0
"""Frames to bytes and back; the definition against published values and worked examples."""

import zlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohmtwin.arch import link
from ohmtwin.arch.errors import InputError
from ohmtwin.arch.link import FrameKind, Ident, baud_divider
from ohmtwin.host.link.codec import Frame, FrameDecoder, cobs_decode, cobs_encode, encode

SESSION = 0x89ABCDEF


def frames(data: bytes, session: int = SESSION) -> list[Frame | None]:
    decoder = FrameDecoder()
    decoder.session = session
    return [decoder.decode(chunk) for chunk in decoder.feed(data)]


def example(seq: int = 0x1234, words: int = 2) -> Frame:
    payload = bytes(range(8 * words))
    return Frame(FrameKind.DATA, payload, seq, 0xABCD, 9, 5, 7, True, False)


def test_crc_is_the_published_one() -> None:
    assert zlib.crc32(b"123456789") == link.CRC_CHECK == 0xCBF43926


# From Cheshire and Baker 1999 and the examples commonly printed with it.
@pytest.mark.parametrize(
    ("body", "encoded"),
    [
        ("00", "01 01"),
        ("00 00", "01 01 01"),
        ("00 11 00", "01 02 11 01"),
        ("11 22 00 33", "03 11 22 02 33"),
        ("11 22 33 44", "05 11 22 33 44"),
        ("11 00 00 00", "02 11 01 01 01"),
    ],
)
def test_cobs_as_published(body: str, encoded: str) -> None:
    assert cobs_encode(bytes.fromhex(body)) == bytes.fromhex(encoded)
    assert cobs_decode(bytes.fromhex(encoded)) == bytes.fromhex(body)


@given(st.binary(min_size=1, max_size=254))
def test_cobs_has_no_zero_and_one_byte_more(body: bytes) -> None:
    encoded = cobs_encode(body)
    assert 0 not in encoded
    assert len(encoded) == len(body) + 1
    assert cobs_decode(encoded) == body


@given(st.binary(max_size=40))
def test_cobs_of_anything_is_a_body_or_nothing(data: bytes) -> None:
    body = cobs_decode(data)
    if body is not None:
        assert cobs_encode(body) == data


def test_a_frame_by_hand() -> None:
    """Every field at its place, low byte first."""
    data = encode(example(words=1), SESSION)
    body = cobs_decode(data[:-1])
    assert data[-1] == 0
    assert body is not None
    # kind 4, gap in bit 3; length; credit; round 5 and heard 7; seq; ack.
    assert body[:8] == bytes([0x0C, 1, 9, 0x75, 0x34, 0x12, 0xCD, 0xAB])
    assert body[8:16] == bytes(range(8))
    assert int.from_bytes(body[16:], "little") == zlib.crc32(body[:16]) ^ SESSION


@pytest.mark.parametrize("words", [0, 1, link.PAYLOAD_WORDS])
@pytest.mark.parametrize("kind", list(FrameKind))
def test_frames_come_back(kind: FrameKind, words: int) -> None:
    frame = Frame(kind, bytes(8 * words), 65535, 65535, 16, 15, 15, True, True)
    assert frames(encode(frame, SESSION)) == [frame]


def test_only_words_of_a_session_depend_on_it() -> None:
    for kind in FrameKind:
        found = frames(encode(Frame(kind, bytes(8)), SESSION), SESSION ^ 1)
        assert (found == [None]) == (kind in (FrameKind.DATA, FrameKind.ACK))


def test_without_a_session_there_are_no_words() -> None:
    assert frames(encode(Frame(FrameKind.DATA, bytes(8)), 0), 0) == [None]


def test_every_damaged_byte_is_seen() -> None:
    good = encode(example(), SESSION)
    for at in range(len(good) - 1):
        for change in (0x01, 0x80, 0xFF):
            data = bytearray(good)
            data[at] ^= change
            assert all(frame is None for frame in frames(bytes(data))), (at, change)


def test_every_truncated_frame_is_seen() -> None:
    good = encode(example(), SESSION)
    for length in range(1, len(good) - 1):
        assert frames(good[:length] + b"\0") == [None]


def test_garbage_costs_nothing_behind_its_delimiter() -> None:
    good = encode(example(), SESSION)
    for garbage in (b"\0", b"\0\0\0", b"abc\0", bytes([255]) * 5000 + b"\0"):
        assert frames(garbage + good + good)[-2:] == [example(), example()]


def test_bytes_may_come_in_any_pieces() -> None:
    random = Random(1)
    wanted = [example(seq) for seq in range(200)]
    data = b"".join(encode(frame, SESSION) for frame in wanted)
    decoder = FrameDecoder()
    decoder.session = SESSION
    found = []
    while data:
        n = random.randrange(0, 300)
        found += [decoder.decode(chunk) for chunk in decoder.feed(data[:n])]
        data = data[n:]
    assert found == wanted


def test_what_is_too_long_is_no_frame_and_needs_no_memory() -> None:
    decoder = FrameDecoder()
    for _ in range(1000):
        assert decoder.feed(b"\x11" * 1000) == []
    assert len(decoder._rest) <= link.ENCODED_BYTES
    (chunk,) = decoder.feed(b"\x11\0")
    assert decoder.decode(chunk) is None


def test_ident_comes_back_and_has_a_size() -> None:
    ident = Ident(2**64 - 1, 2**32 - 1, 255, 2**32 - 1, 2**32 - 2)
    assert Ident.from_words(ident.words()) == ident
    assert all(0 <= word < 1 << 64 for word in ident.words())
    with pytest.raises(ValueError, match="An IDENT has 4 words, not 3"):
        Ident.from_words((1, 2, 3))


def test_sizes_fit_each_other() -> None:
    assert sum(width for _, width in link.HEADER_FIELDS) == 8 * link.HEADER_BYTES
    assert link.BODY_BYTES <= 254, "COBS needs a second code"
    assert link.ENCODED_BYTES == 8 * link.PAYLOAD_WORDS + 14


@pytest.mark.parametrize(
    ("clock", "baud", "divider"),
    [
        (25_000_000, 115_200, 217),
        (25_000_000, 1_000_000, 25),
        (12_000_000, 3_000_000, 4),
        (48_000_000, 3_000_000, 16),
        (60_000_000, 3_000_000, 20),
        (50_000_000, 3_000_000, 17),
    ],
)
def test_a_clock_makes_a_rate(clock: int, baud: int, divider: int) -> None:
    assert baud_divider(clock, baud) == divider
    assert abs(clock / divider - baud) / baud < 0.02


@pytest.mark.parametrize(
    ("clock", "baud", "message"),
    [
        (25_000_000, 3_000_000, r"25 MHz cannot make 3000000 baud .* take 1000000 baud"),
        (10_000_000, 3_000_000, r"10 MHz cannot make 3000000 baud .* take 2000000 baud"),
        (100_000, 115_200, "take a faster clock"),
        (0, 115_200, "must be positive, not 0 and 115200"),
        (25_000_000, -1, "must be positive"),
    ],
)
def test_a_clock_that_cannot_says_what_it_can(clock: int, baud: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        baud_divider(clock, baud)
