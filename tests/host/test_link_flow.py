# SPDX-License-Identifier: Apache-2.0
"""Both ends over a line that fails, in virtual time: every word once and in order."""

from random import Random

import numpy as np
import pytest
from link_words import IDENT, MASK, Adder, Echo

from ohmtwin.arch.errors import InputError
from ohmtwin.arch.link import PAYLOAD_WORDS, ROUNDS, WINDOW, FrameKind
from ohmtwin.host.link.board import BoardModel
from ohmtwin.host.link.codec import Frame
from ohmtwin.host.link.faults import FaultInjector, FaultRates
from ohmtwin.host.link.flow import Flow
from ohmtwin.host.link.line import Line, goodput
from ohmtwin.host.link.session import HostLink

FRAMES = 10_000


def opened(board: BoardModel, rates: FaultRates, seed: int = 1) -> tuple[HostLink, Line]:
    host = HostLink(timeout=0.01, random=Random(seed))
    line = Line(host, board, FaultInjector(rates, seed), FaultInjector(rates, seed + 1))
    while not host.is_open:
        line.step()
        assert line.now < 10, "no session"
    return host, line


def received(host: HostLink, line: Line, words: int, seconds: float) -> list[int]:
    found = bytearray()
    until = line.now + seconds
    while len(found) < 8 * words and line.now < until:
        line.step()
        found += host.received()
    return np.frombuffer(bytes(found), "<u8").tolist()


@pytest.mark.parametrize("byte_errors", [0.0, 0.001, 0.01])
def test_ten_thousand_frames_do_what_they_say_once(byte_errors: float) -> None:
    """Drops, repetitions, truncations and late frames with them; small frames, so that many
    sequence numbers pass."""
    rates = FaultRates.bytes_and_frames(byte_errors, 0.01)
    adder = Adder()
    board = BoardModel(IDENT, adder, timeout=0.01)
    host, line = opened(board, rates)
    random = Random(7)
    words = [random.getrandbits(64) for _ in range(FRAMES)]
    found: list[int] = []
    for at in range(0, FRAMES, 8):
        # Each message leaves as a frame of its own, and eight of them wait for their answers.
        for word in words[at : at + 8]:
            host.send(word.to_bytes(8, "little"))
            while host.flow.unsent:
                line.step()
        found += received(host, line, len(words[at : at + 8]), 5)
    sums = np.cumsum(np.array(words, np.uint64), dtype=np.uint64).tolist()
    assert found == sums
    assert adder.taken == FRAMES
    assert adder.total == sum(words) & MASK
    assert board.accepted == FRAMES
    assert host.flow.sent - host.flow.repeated == FRAMES
    if byte_errors:
        assert host.flow.repeated > 0


@pytest.mark.parametrize("byte_errors", [0.0, 0.001, 0.01])
def test_full_frames_both_ways(byte_errors: float) -> None:
    rates = FaultRates.bytes_and_frames(byte_errors, 0.005)
    board = BoardModel(IDENT, Echo(), timeout=0.01)
    host, line = opened(board, rates, seed=3)
    count = 10_000 if byte_errors < 0.01 else 1_000
    data = Random(5).randbytes(8 * PAYLOAD_WORDS * count)
    host.send(data)
    found = received(host, line, PAYLOAD_WORDS * count, 600)
    assert found == np.frombuffer(data, "<u8").tolist()
    assert board.accepted == count


def test_sequence_numbers_run_round() -> None:
    board = BoardModel(IDENT, Echo(), timeout=0.01)
    host, line = opened(board, FaultRates.bytes_and_frames(0.0001, 0.002))
    # As if 65 500 frames had passed.
    for flow in (host.flow, board.flow):
        flow._base = flow._next = flow._top = flow._expected = 65_500
        flow._limit += 65_500
    data = Random(2).randbytes(8 * PAYLOAD_WORDS * 100)
    host.send(data)
    found = received(host, line, PAYLOAD_WORDS * 100, 60)
    assert np.array(found, "<u8").tobytes() == data


def test_a_tile_that_takes_nothing_stops_the_stream_and_loses_nothing() -> None:
    echo = Echo(room=0)
    board = BoardModel(IDENT, echo, timeout=0.01)
    host, line = opened(board, FaultRates.bytes_and_frames(0.001, 0.01))
    n = 5 * WINDOW * PAYLOAD_WORDS
    data = Random(9).randbytes(8 * n)
    host.send(data)
    assert received(host, line, 1, 1.0) == []
    # The board holds one window; after that the host asks now and then, and sends no more words.
    assert board.accepted == WINDOW
    before = line.bytes_there
    received(host, line, 1, 10.0)
    assert line.bytes_there - before < 10_000
    echo.room = 1 << 30
    assert np.array(received(host, line, n, 60), "<u8").tobytes() == data


def test_a_host_that_is_gone_quiets_the_board() -> None:
    echo = Echo()
    board = BoardModel(IDENT, echo, timeout=0.01)
    host, line = opened(board, FaultRates())
    host.transmit = lambda now: b""
    host.receive = lambda data, now: None
    echo.words = list(range(1000))
    while line.now < 10:
        line.step()
    before = line.bytes_back
    while line.now < 20:
        line.step()
    assert line.bytes_back == before > 0
    del host.transmit, host.receive
    host.flow.poll()
    assert received(host, line, 1000, 5) == list(range(1000))


def data_frame(seq: int, round_: int = 0) -> Frame:
    return Frame(FrameKind.DATA, bytes(8), seq=seq, round=round_, credit=WINDOW)


def test_a_gap_is_told_and_ends_with_the_missing_frame() -> None:
    flow = Flow(1.0)
    assert flow.take(data_frame(0), 0.0)
    assert not flow.take(data_frame(2, 3), 0.0)
    ack = flow.next_frame(0.0)
    assert ack is not None
    assert (ack.kind, ack.ack, ack.gap, ack.heard) == (FrameKind.ACK, 1, True, 3)
    assert flow.take(data_frame(1, 4), 0.0)
    ack = flow.next_frame(0.0)
    assert ack is not None
    assert (ack.ack, ack.gap, ack.heard) == (2, False, 4)


def test_what_comes_again_does_nothing() -> None:
    flow = Flow(1.0)
    assert flow.take(data_frame(0), 0.0)
    assert not flow.take(data_frame(0), 0.0)
    ack = flow.next_frame(0.0)
    assert ack is not None
    assert (ack.ack, ack.gap) == (1, False)


def sending(frames: int) -> Flow:
    flow = Flow(1.0)
    flow.send(bytes(8 * PAYLOAD_WORDS * frames))
    for seq in range(min(frames, WINDOW)):
        frame = flow.next_frame(0.0)
        assert frame is not None
        assert frame.seq == seq
    return flow


def ack(number: int, heard: int = 0, gap: bool = False, credit: int = WINDOW) -> Frame:
    return Frame(FrameKind.ACK, ack=number, heard=heard, gap=gap, credit=credit)


def test_no_more_than_a_window_is_under_way() -> None:
    flow = sending(WINDOW + 1)
    assert flow.next_frame(0.5) is None
    flow.take(ack(1), 0.5)
    frame = flow.next_frame(0.5)
    assert frame is not None
    assert frame.seq == WINDOW


def test_going_back_once_a_round() -> None:
    flow = sending(4)
    for _ in range(3):  # the report comes three times
        flow.take(ack(1, 0, True), 0.0)
    found = []
    for _ in range(4):
        found.append(flow.next_frame(0.0))
        flow.take(ack(1, 0, True), 0.0)  # still of the round before
    assert [f and (f.seq, f.round) for f in found] == [(1, 1), (2, 1), (3, 1), None]
    flow.take(ack(2, 1, True), 0.0)
    frame = flow.next_frame(0.0)
    assert frame is not None
    assert (frame.seq, frame.round) == (2, 2)


def test_rounds_run_round() -> None:
    flow = sending(2)
    for round_ in range(2 * ROUNDS):
        flow.take(ack(0, round_ % ROUNDS, True), 0.0)
        frame = flow.next_frame(0.0)
        assert frame is not None
        assert (frame.seq, frame.round) == (0, (round_ + 1) % ROUNDS)


@pytest.mark.parametrize("number", [5, 6, 1000, 65_535, 40_000])
def test_an_ack_of_what_was_never_sent_is_not_believed(number: int) -> None:
    flow = sending(4)
    flow.take(ack(number), 0.0)
    assert flow.acknowledged == 0


def test_silence_repeats_everything() -> None:
    flow = sending(3)
    assert flow.next_frame(0.9) is None
    found = [flow.next_frame(1.0) for _ in range(4)]
    assert [f and f.seq for f in found] == [0, 1, 2, None]
    assert flow.repeated == 3


def test_a_late_ack_takes_no_room_away() -> None:
    flow = sending(2)
    flow.take(ack(2, credit=WINDOW), 0.0)
    flow.take(ack(1, credit=0), 0.0)
    flow.take(ack(2, credit=0), 0.0)
    flow.send(bytes(8))
    assert flow.next_frame(0.0) is not None


def test_goodput_is_what_was_promised() -> None:
    """Virtual time: the same on any machine."""
    assert goodput(0.0) >= 0.85
    assert goodput(0.001) >= 0.60


def test_faults_are_seeded_and_do_not_depend_on_pieces() -> None:
    rates = FaultRates.bytes_and_frames(0.01, 0.05)
    data = Random(1).randbytes(20_000)
    whole = FaultInjector(rates, 5).feed(data)
    again = FaultInjector(rates, 5)
    pieces = b"".join(again.feed(data[at : at + 7]) for at in range(0, len(data), 7))
    assert whole == pieces != data
    assert FaultInjector(rates, 6).feed(data) != whole
    assert again.faults > 100


def test_a_perfect_line_changes_nothing() -> None:
    data = b"abc\0\0de\0"
    assert FaultInjector(FaultRates(), 1).feed(data) == data


@pytest.mark.parametrize(
    ("rates", "data", "wanted"),
    [
        (FaultRates(drop=1), b"abc\0", b""),
        (FaultRates(repeat=1), b"abc\0", b"abc\0abc\0"),
        (FaultRates(late=1), b"abc\0", b"abc\0abc\0"),
        (FaultRates(lose=1), b"abc\0", b""),
    ],
)
def test_each_fault_alone(rates: FaultRates, data: bytes, wanted: bytes) -> None:
    assert FaultInjector(rates, 1).feed(data) == wanted


def test_faults_of_bytes_and_ends() -> None:
    flipped = FaultInjector(FaultRates(flip=1), 1).feed(b"abc\0")
    assert len(flipped) == 4
    assert all(a != b for a, b in zip(flipped, b"abc\0", strict=True))
    inserted = FaultInjector(FaultRates(insert=1), 1).feed(b"abc\0")
    assert inserted[1::2] == b"abc\0"
    cut = FaultInjector(FaultRates(truncate=1), 1).feed(b"abcdef\0")
    assert b"abcdef\0".startswith(cut)
    assert len(cut) < 7


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"flip": 1.5}, "Fault rate flip is a probability from 0 to 1, not 1.5"),
        ({"late": -0.1}, "Fault rate late"),
        ({"memory": 0}, "at least one frame, not 0"),
    ],
)
def test_rates_are_probabilities(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FaultRates(**wrong)
