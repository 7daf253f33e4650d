# SPDX-License-Identifier: Apache-2.0
"""The whole endpoint, Verilated, against frames one by one: sessions, windows, late reports."""

import ctypes
from collections.abc import Callable
from typing import Any

import pytest
from link_boards import IDENT, SESSION, TIMEOUT, Board, answers, greeting

from ohmtwin.arch.link import PAYLOAD_WORDS, SEQUENCES, WINDOW, FrameKind, Ident
from ohmtwin.host.link.codec import Frame, FrameDecoder, encode

# What they share is built in one worker.
pytestmark = pytest.mark.xdist_group("endpoint")


def test_a_board_sends_no_more_than_a_window_ahead(
    endpoint: ctypes.CDLL, boards: Callable[..., Board]
) -> None:
    board = boards(endpoint)
    answers(board, greeting(FrameKind.HELLO, SESSION))
    one = bytes([1, *bytes(7)]) * PAYLOAD_WORDS
    ahead = WINDOW + 5

    def heard(frames: bytes) -> list[Frame]:
        board._lib.bench_put(board._bench, frames, len(frames))
        board.run(TIMEOUT - 1000)
        decoder = FrameDecoder()
        decoder.session = SESSION
        found = [decoder.decode(chunk) for chunk in decoder.feed(board.transmit(0.0))]
        assert all(frame is not None for frame in found)
        return [f for f in found if f is not None and f.kind is FrameKind.DATA]

    def sent(frames: bytes) -> dict[int, tuple[int, ...]]:
        return {frame.seq: frame.words for frame in heard(frames)}

    def ack(number: int, **fields: Any) -> bytes:
        return encode(Frame(FrameKind.ACK, ack=number, credit=WINDOW, **fields), SESSION)

    for first in (0, WINDOW):  # more would not find room
        numbers = range(first, min(first + WINDOW, ahead))
        frames = [Frame(FrameKind.DATA, one, seq=seq, credit=WINDOW) for seq in numbers]
        found = sent(b"".join(encode(frame, SESSION) for frame in frames))
        assert set(found) <= set(range(WINDOW))
    assert board.taken == ahead * PAYLOAD_WORDS
    found |= sent(ack(0))
    assert set(found) == set(range(WINDOW)), "all of a window is sent again"
    # It goes back once a round, however often it is told.
    gap = heard(ack(0, poll=True))[-1:]
    now = gap[0].round if gap else 0
    again = [frame.seq for frame in heard(3 * ack(3, gap=True, heard=now))]
    assert again.count(3) == 1, again
    found |= sent(ack(3))
    assert set(found) == set(range(WINDOW + 3))
    found |= sent(ack(WINDOW))
    assert [word for seq in sorted(found) for word in found[seq]] == list(
        range(1, ahead * PAYLOAD_WORDS + 1)
    )
    # Late ones, and of frames that were never sent.
    left = set(range(WINDOW, ahead))
    for number in (1, ahead + 1, SEQUENCES - 1):
        assert set(sent(ack(number))) | set(sent(b"")) | set(sent(b"")) == left
    assert not sent(ack(ahead)) | sent(b"") | sent(b"")


def test_a_board_tells_that_there_is_room_again(
    endpoint: ctypes.CDLL, boards: Callable[..., Board]
) -> None:
    """By itself, though it has nothing else to say: a host that was told of none waits for it."""
    board = boards(endpoint)
    answers(board, greeting(FrameKind.HELLO, SESSION))
    board._lib.bench_quiet(board._bench)
    board._lib.bench_hold(board._bench, 1)
    one = bytes([1, *bytes(7)]) * PAYLOAD_WORDS
    frames = [Frame(FrameKind.DATA, one, seq=seq, credit=WINDOW) for seq in range(WINDOW)]
    found: list[Frame | None] = []
    for frame in frames:
        found += answers(board, encode(frame, SESSION))
    assert (found[-1] and found[-1].ack, found[-1] and found[-1].credit) == (WINDOW, 0)
    assert answers(board) == []
    board._lib.bench_hold(board._bench, 0)
    told = answers(board)
    assert 1 <= len(told) <= 2
    assert all(frame is not None and frame.kind is FrameKind.ACK for frame in told)
    assert (told[-1] and told[-1].credit) >= WINDOW // 2


# Sessions, as tests/host/test_link_session.py asks of the model.


def word(seq: int, session: int) -> bytes:
    return encode(Frame(FrameKind.DATA, bytes([1, *bytes(7)]), seq=seq, credit=16), session)


def ident(frame: Frame | None) -> Ident:
    assert frame is not None
    assert frame.kind is FrameKind.IDENT
    return Ident.from_words(frame.words)


def test_sessions(endpoint: ctypes.CDLL, boards: Callable[..., Board]) -> None:
    board = boards(endpoint)
    hello, probe = FrameKind.HELLO, FrameKind.PROBE
    # Nothing but greetings is understood without a session.
    assert answers(board, word(0, 0), word(0, SESSION), b"garbage\0") == []
    (who,) = answers(board, greeting(probe, 77))
    assert ident(who) == Ident.from_words((*IDENT.words()[:3], 77 << 32))
    (who,) = answers(board, greeting(hello, 5))
    assert (ident(who).session, ident(who).echo) == (5, 5)
    answers(board, word(0, 5))
    assert board.taken == 1
    # Again, late, of nobody, and one that replaces another session: nothing happens.
    for late in (greeting(hello, 5), greeting(hello, 0, 5), greeting(hello, 9, 8)):
        (who,) = answers(board, late)
        assert ident(who).session == 5
        assert board.taken == 1
    answers(board, word(0, 5), word(0, SESSION))
    assert board.taken == 1, "a word was done twice, or one of another session"
    (who,) = answers(board, greeting(hello, SESSION, 5))
    assert ident(who).session == SESSION
    assert board.taken == 0, "the tile was not reset"
    found = answers(board, word(0, 5), word(0, SESSION), greeting(hello, 5))
    assert board.taken == 1
    assert any(f is not None and f.kind is FrameKind.DATA and f.words == (1,) for f in found)
    assert SESSION in [ident(f).session for f in found if f and f.kind is FrameKind.IDENT]


def test_sequence_numbers_run_round(endpoint: ctypes.CDLL, boards: Callable[..., Board]) -> None:
    """Both ways, a word a frame; then the last window before the wrap comes once more."""
    board = boards(endpoint)
    answers(board, greeting(FrameKind.HELLO, SESSION))
    decoder = FrameDecoder()
    decoder.session = SESSION
    one = bytes([1, *bytes(7)])
    taken = 0  # frames of the board, in order
    found: list[int] = []

    def send(first: int) -> None:
        nonlocal taken
        data = b"".join(
            encode(
                Frame(
                    FrameKind.DATA, one, seq=number % SEQUENCES, ack=taken % SEQUENCES,
                    credit=WINDOW,
                ),
                SESSION,
            )
            for number in range(first, first + WINDOW)
        )  # fmt: skip
        board._lib.bench_put(board._bench, data, len(data))
        board.run(6000)
        for chunk in decoder.feed(board.transmit(0.0)):
            frame = decoder.decode(chunk)
            assert frame is not None
            if frame.kind is FrameKind.DATA and frame.seq == taken % SEQUENCES:
                taken += 1
                found.extend(frame.words)

    last = SEQUENCES + 4 * WINDOW
    for first in range(0, last, WINDOW):
        send(first)
        assert board.taken == first + WINDOW, "a frame was not taken, though it was its turn"
    assert taken > SEQUENCES, "the numbers of the board did not run round"
    send(SEQUENCES - WINDOW)
    assert board.taken == last, "frames of before the wrap were taken for those after it"
    assert found == list(range(1, last + 1))


def test_a_host_that_is_gone_quiets_the_board(
    endpoint: ctypes.CDLL, boards: Callable[..., Board]
) -> None:
    board = boards(endpoint)
    answers(board, greeting(FrameKind.HELLO, SESSION))
    found = answers(board, word(0, SESSION))
    assert sum(f is not None and f.kind is FrameKind.DATA for f in found) >= 1
    board.run(20 * TIMEOUT)
    again = FrameDecoder().feed(board.transmit(0.0))
    assert 5 < len(again) < 20
    board.run(20 * TIMEOUT)
    assert board.transmit(0.0) == b""
    # The host speaks again: so does the board, until the word is acknowledged.
    poll = Frame(FrameKind.ACK, poll=True, credit=16)
    board._lib.bench_put(board._bench, encode(poll, SESSION), len(encode(poll, SESSION)))
    board.run(3 * TIMEOUT)
    assert len(FrameDecoder().feed(board.transmit(0.0))) >= 2
    done = Frame(FrameKind.ACK, ack=1, credit=16)
    board._lib.bench_put(board._bench, encode(done, SESSION), len(encode(done, SESSION)))
    board.run(3 * TIMEOUT)
    assert board.transmit(0.0) == b""
