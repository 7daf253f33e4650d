# SPDX-License-Identifier: Apache-2.0
"""The whole endpoint, Verilated, against the host's end over lines that fail."""

import ctypes
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from link_boards import BAUD, BYTE_TIME, IDENT, Board

from ohmtwin.arch.link import PAYLOAD_WORDS, WINDOW
from ohmtwin.host.link.faults import FaultInjector, FaultRates
from ohmtwin.host.link.line import Line
from ohmtwin.host.link.session import HostLink

# What they share is built in one worker.
pytestmark = pytest.mark.xdist_group("endpoint")

FRAMES = 10_000


def opened(board: Board, rates: FaultRates, seed: int = 1) -> tuple[HostLink, Line]:
    host = HostLink(timeout=0.01, random=Random(seed))
    line = Line(host, board, FaultInjector(rates, seed), FaultInjector(rates, seed + 1))
    while not host.is_open:
        line.step()
        assert line.now < 10, "no session"
    return host, line


def faults(byte_errors: float) -> FaultRates:
    return FaultRates.bytes_and_frames(byte_errors, 0.005 if byte_errors else 0.0)


def received(host: HostLink, line: Line, words: int, seconds: float = 10.0) -> list[int]:
    found = bytearray()
    until = line.now + seconds
    while len(found) < 8 * words and line.now < until:
        line.step()
        found += host.received()
    return np.frombuffer(bytes(found), "<u8").tolist()


def sums(words: list[int]) -> list[int]:
    return np.cumsum(np.array(words, np.uint64), dtype=np.uint64).tolist()


@pytest.mark.parametrize("byte_errors", [0.0, 0.001, 0.01])
def test_ten_thousand_frames_do_what_they_say_once(
    endpoint: ctypes.CDLL, boards: Callable[..., Board], byte_errors: float
) -> None:
    board = boards(endpoint)
    host, line = opened(board, FaultRates.bytes_and_frames(byte_errors, 0.01))
    assert host.ident == IDENT
    random = Random(7)
    words = [random.getrandbits(64) for _ in range(FRAMES)]
    found: list[int] = []
    for at in range(0, FRAMES, 8):
        for word in words[at : at + 8]:
            host.send(word.to_bytes(8, "little"))
            while host.flow.unsent:
                line.step()
        found += received(host, line, 8)
    assert found == sums(words)
    assert board.taken == FRAMES
    assert host.flow.sent - host.flow.repeated == FRAMES
    if byte_errors:
        assert host.flow.repeated > 0


@pytest.mark.parametrize("byte_errors", [0.0, 0.001])
def test_long_streams_both_ways(
    endpoint: ctypes.CDLL, boards: Callable[..., Board], byte_errors: float
) -> None:
    board = boards(endpoint)
    host, line = opened(board, faults(byte_errors), 3)
    n = 500 * PAYLOAD_WORDS
    words = np.frombuffer(Random(5).randbytes(8 * n), "<u8").tolist()
    began = line.now
    host.send(np.array(words, "<u8").tobytes())
    assert received(host, line, n) == sums(words)
    if not byte_errors:
        # Ten cycles a byte: while a frame's bytes go to its memory the line is idle.
        assert 8 * n * BYTE_TIME / (line.now - began) > 0.75


@pytest.mark.parametrize("byte_errors", [0.0, 0.001])
def test_through_the_pins(
    pins: ctypes.CDLL, boards: Callable[..., Board], byte_errors: float
) -> None:
    """At four clock cycles a bit, the fewest there can be."""
    board = boards(pins, 10 * IDENT.clock_hz // BAUD)
    host, line = opened(board, faults(byte_errors), 5)
    n = 200 * PAYLOAD_WORDS
    words = np.frombuffer(Random(6).randbytes(8 * n), "<u8").tolist()
    began = line.now
    host.send(np.array(words, "<u8").tobytes())
    assert received(host, line, n) == sums(words)
    if not byte_errors:
        assert 8 * n * BYTE_TIME / (line.now - began) >= 0.85


def test_a_tile_that_takes_nothing_stops_the_stream_and_loses_nothing(
    endpoint: ctypes.CDLL, boards: Callable[..., Board]
) -> None:
    board = boards(endpoint)
    host, line = opened(board, FaultRates.bytes_and_frames(0.001, 0.005), 3)
    board._lib.bench_hold(board._bench, 1)
    n = 5 * WINDOW * PAYLOAD_WORDS
    words = np.frombuffer(Random(9).randbytes(8 * n), "<u8").tolist()
    host.send(np.array(words, "<u8").tobytes())
    assert received(host, line, 1, 1.0) == []
    assert board.taken == 0
    # One window is there; after that the host asks now and then, and sends no more words.
    assert host.flow.acknowledged == WINDOW
    before = line.bytes_there
    assert received(host, line, 1, 1.0) == []
    assert line.bytes_there - before < 1000
    board._lib.bench_hold(board._bench, 0)
    assert received(host, line, n) == sums(words)


@pytest.mark.parametrize(("byte_errors", "wanted"), [(0.0, 0.85), (0.001, 0.60)])
def test_goodput(
    pins: ctypes.CDLL, boards: Callable[..., Board], byte_errors: float, wanted: float
) -> None:
    """To the board, errors both ways. Bytes are paced by the UARTs alone, unlike in a Line, which
    hands on whole frames."""
    byte_cycles = 10 * IDENT.clock_hz // BAUD
    board = boards(pins, byte_cycles)
    board._lib.bench_quiet(board._bench)
    rates = FaultRates.bytes_and_frames(byte_errors)
    there, back = FaultInjector(rates, 7), FaultInjector(rates, 8)
    host = HostLink(timeout=0.01, random=Random(7))
    n = 2000 * PAYLOAD_WORDS
    host.send(Random(8).randbytes(8 * n))
    now = free = began = 0  # times of a byte
    while board.taken < n and now < 32 * n:
        now += 1
        board.run(byte_cycles)
        host.receive(back.feed(board.transmit(0.0)), now * BYTE_TIME)
        began = began if host.is_open else now
        if now >= free:
            data = host.transmit(now * BYTE_TIME)
            free = now + len(data)
            put = there.feed(data)
            board._lib.bench_put(board._bench, put, len(put))
    goodput = 8 * n / (now - began)
    print(f"goodput {goodput:.3f} at {byte_errors:.1%} byte errors")
    assert board.taken == n
    assert goodput >= wanted
