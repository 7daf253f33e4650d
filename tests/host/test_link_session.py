# SPDX-License-Identifier: Apache-2.0
"""Sessions: opening, frames that come late from other sessions, boards that restart."""

from collections.abc import Callable
from random import Random

import pytest
from link_words import IDENT, Adder, Echo

from ohmtwin.arch.link import FrameKind, Ident
from ohmtwin.host.link.board import BoardModel
from ohmtwin.host.link.codec import Frame, FrameDecoder, encode
from ohmtwin.host.link.line import Line
from ohmtwin.host.link.session import HostLink


def hello(new: int, old: int) -> bytes:
    return b"\0" + encode(Frame(FrameKind.HELLO, (new | old << 32).to_bytes(8, "little")), 0)


def probe(number: int) -> bytes:
    return b"\0" + encode(Frame(FrameKind.PROBE, number.to_bytes(8, "little")), 0)


def word(seq: int, session: int, value: int = 1) -> bytes:
    frame = Frame(FrameKind.DATA, value.to_bytes(8, "little"), seq=seq, credit=16)
    return encode(frame, session)


def ident_of(board: BoardModel) -> Ident:
    (chunk,) = FrameDecoder().feed(board.transmit(0.0))
    frame = FrameDecoder().decode(chunk)
    assert frame is not None
    assert frame.kind is FrameKind.IDENT
    return Ident.from_words(frame.words)


def connect(board: BoardModel, seed: int = 1) -> tuple[HostLink, Line]:
    host = HostLink(random=Random(seed))
    line = Line(host, board)
    settle(line, lambda: host.is_open)
    return host, line


def settle(line: Line, done: Callable[[], bool], seconds: float = 5.0) -> None:
    until = line.now + seconds
    while not done():
        line.step()
        assert line.now < until, "nothing came of it"


def test_a_session_is_opened_and_resets_what_is_behind() -> None:
    echo = Echo()
    board = BoardModel(IDENT, echo)
    host, _ = connect(board)
    assert host.session == board.session != 0
    assert echo.resets == 1
    assert host.ident == IDENT


def test_a_session_replaces_another() -> None:
    board = BoardModel(IDENT, Echo())
    first, _ = connect(board, 1)
    second, line = connect(board, 2)
    assert board.session == second.session != first.session
    second.send(bytes(8))
    settle(line, lambda: second.waiting == 8)


def test_a_hello_that_comes_again_does_nothing() -> None:
    adder = Adder()
    board = BoardModel(IDENT, adder)
    board.receive(hello(5, 0), 0.0)
    assert ident_of(board).session == 5
    board.receive(word(0, 5), 0.0)
    assert adder.taken == 1
    board.receive(hello(5, 0), 0.0)
    answer = ident_of(board)
    assert (answer.session, answer.echo) == (5, 5)
    board.receive(word(0, 5), 0.0)
    assert adder.taken == 1, "the session began anew and a word was done twice"


def test_a_late_hello_ends_no_session() -> None:
    board = BoardModel(IDENT, Echo())
    for new, old in ((5, 0), (6, 5)):
        board.receive(hello(new, old), 0.0)
    board.receive(hello(5, 0), 0.0)
    assert board.session == 6
    answer = ident_of(board)
    assert (answer.session, answer.echo) == (6, 5)


def test_no_session_is_number_0() -> None:
    board = BoardModel(IDENT, Echo())
    board.receive(hello(5, 0) + hello(0, 5), 0.0)
    assert board.session == 5


def test_words_of_another_session_are_no_words() -> None:
    adder = Adder()
    board = BoardModel(IDENT, adder)
    board.receive(word(0, 5), 0.0)
    assert board.transmit(0.0) == b""
    board.receive(hello(6, 0), 0.0)
    board.receive(word(0, 5) + word(0, 0), 0.0)
    assert adder.taken == 0
    board.receive(word(0, 6), 0.0)
    assert adder.taken == 1


def test_a_probe_changes_nothing() -> None:
    echo = Echo()
    board = BoardModel(IDENT, echo)
    board.receive(hello(5, 0) + probe(77), 0.0)
    answer = ident_of(board)
    assert (answer.session, answer.echo, echo.resets) == (5, 77, 1)


def test_a_board_that_restarted_says_so() -> None:
    ends = [BoardModel(IDENT, Echo())]

    class Plug:
        def receive(self, data: bytes, now: float) -> None:
            ends[0].receive(data, now)

        def transmit(self, now: float) -> bytes:
            return ends[0].transmit(now)

    host = HostLink(random=Random(4))
    line = Line(host, Plug())
    settle(line, lambda: host.is_open)
    host.probe()
    settle(line, lambda: host.frames >= 3)
    assert not host.restarted
    ends[0] = BoardModel(IDENT, Echo())
    host.send(bytes(80))
    host.probe()
    settle(line, lambda: host.restarted)
    assert host.waiting == 0


def test_a_late_answer_is_no_restart() -> None:
    board = BoardModel(IDENT, Echo())
    host, line = connect(board)
    for echo in (0, host.session, 99):
        late = Ident(1, 2, session=0, echo=echo)
        payload = b"".join(w.to_bytes(8, "little") for w in late.words())
        host.receive(encode(Frame(FrameKind.IDENT, payload), 0), line.now)
    assert not host.restarted


def test_a_host_that_missed_the_session_of_now_asks_again() -> None:
    """Between its PROBE and its HELLO another host opens a session."""
    board = BoardModel(IDENT, Echo())
    host = HostLink(random=Random(1))
    board.receive(host.transmit(0.0), 0.0)
    host.receive(board.transmit(0.0), 0.0)
    board.receive(hello(123, 0), 0.0)
    board.transmit(0.0)
    line = Line(host, board)
    settle(line, lambda: host.is_open)
    assert board.session == host.session != 123


def test_a_board_may_be_refused() -> None:
    def check(ident: Ident) -> None:
        raise ZeroDivisionError(f"{ident.chip_hash:x}")

    board = BoardModel(IDENT, Echo())
    host = HostLink(check, random=Random(1))
    line = Line(host, board)
    with pytest.raises(ZeroDivisionError, match="123456789abcdef"):
        settle(line, lambda: host.is_open)
    assert board.session == 0
