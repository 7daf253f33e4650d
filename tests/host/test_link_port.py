# SPDX-License-Identifier: Apache-2.0
"""The serial port on a pseudo-terminal: words, and every way in which a port can be wrong."""

import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from link_words import IDENT, Echo

from ohmtwin.arch.errors import ToolError
from ohmtwin.arch.link import FrameKind
from ohmtwin.host.driver import LinkError, WrongChipError
from ohmtwin.host.link import port as port_module
from ohmtwin.host.link.board import BoardModel
from ohmtwin.host.link.codec import Frame, encode
from ohmtwin.host.link.errors import (
    BoardRestartedError,
    BoardSilentError,
    ForeignDeviceError,
    NoSuchPortError,
    PortBusyError,
    PortError,
    PortLostError,
)
from ohmtwin.host.link.faults import FaultInjector, FaultRates
from ohmtwin.host.link.port import SerialPort
from ohmtwin.host.link.pty import PtyBoard, PtyMaster
from ohmtwin.host.link.transport import SerialTransport

pytest.importorskip("serial", reason="pyserial is not installed")
pytest.importorskip("termios", reason="this system has no pseudo-terminals")

BAUD = 3_000_000
PROMISED = 2.0
"""Seconds after which every failure was told."""


class Deaf:
    """Hears everything, says nothing; or says one thing over and over."""

    def __init__(self, says: bytes = b"") -> None:
        self.says = says
        self.heard = 0

    def receive(self, data: bytes, now: float) -> None:
        self.heard += len(data)

    def transmit(self, now: float) -> bytes:
        return self.says


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all is to go well, a busy machine may take its time to answer."""
    monkeypatch.setattr(port_module, "_PATIENCE", 30.0)


@pytest.fixture
def board() -> Iterator[PtyBoard]:
    with PtyBoard(BoardModel(IDENT, Echo())) as running:
        yield running


class Promptly:
    """The block fails within the time promised."""

    def __enter__(self) -> None:
        self.began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        assert time.monotonic() - self.began < PROMISED + 1.0  # and what a busy machine takes


def exchange(port: SerialPort, n: int, seed: int = 1) -> None:
    words = np.random.default_rng(seed).integers(0, 1 << 63, n).astype(np.uint64)
    port.write(words)
    found = np.empty(0, np.uint64)
    while len(found) < n:
        part = port.read(n - len(found))
        assert len(part), "patience ended"
        found = np.concatenate([found, part])
    np.testing.assert_array_equal(found, words)


@pytest.mark.usefixtures("patient")
def test_words_go_there_and_back(board: PtyBoard) -> None:
    port = SerialPort.open(board.device, BAUD, chip_hash=IDENT.chip_hash)
    assert port.ident == IDENT
    for n in (1, 16, 17, 5000):
        exchange(port, n)
    port.close()
    port.close()


@pytest.mark.usefixtures("patient")
def test_words_survive_a_bad_line() -> None:
    rates = FaultRates.bytes_and_frames(0.002, 0.02)
    with PtyBoard(
        BoardModel(IDENT, Echo()), FaultInjector(rates, 1), FaultInjector(rates, 2)
    ) as bad:
        port = SerialPort.open(bad.device, BAUD, patience=20.0)
        exchange(port, 3000)
        assert port.link.flow.repeated > 0
        port.close()


@pytest.mark.usefixtures("patient")
def test_one_session_after_another(board: PtyBoard) -> None:
    for seed in range(3):
        port = SerialPort.open(board.device, BAUD)
        exchange(port, 100, seed)
        port.write(np.arange(50, dtype=np.uint64))  # never read
        port.close()


def test_patience_ends_without_words_and_loses_none(board: PtyBoard) -> None:
    port = SerialPort.open(board.device, BAUD, patience=0.2)
    port.write(np.arange(3, dtype=np.uint64))
    assert port.read(10).tolist() == [0, 1, 2]
    assert len(port.read(1)) == 0
    port.close()


def test_a_tile_that_takes_nothing_never_holds_a_write_up() -> None:
    echo = Echo(room=0)
    with PtyBoard(BoardModel(IDENT, echo)) as full:
        port = SerialPort.open(full.device, BAUD, patience=0.3)
        words = np.arange(5000, dtype=np.uint64)
        port.write(words)
        assert len(port.read(1)) == 0
        echo.room = 1 << 30
        # On a busy machine the patience may end more than once on the way.
        found = np.empty(0, np.uint64)
        until = time.monotonic() + 60
        while len(found) < 5000 and time.monotonic() < until:
            found = np.concatenate([found, port.read(5000 - len(found))])
        np.testing.assert_array_equal(found, words)
        port.close()


def test_a_closed_port_is_closed(board: PtyBoard) -> None:
    port = SerialPort.open(board.device, BAUD)
    port.close()
    with pytest.raises(LinkError, match="The port is closed"):
        port.read(1)


# Bad input.


def test_no_such_port() -> None:
    with Promptly(), pytest.raises(NoSuchPortError, match=r"There is no port /dev/nothing0"):
        SerialPort.open("/dev/nothing0")


def test_a_busy_port(board: PtyBoard) -> None:
    first = SerialPort.open(board.device, BAUD)
    with Promptly(), pytest.raises(PortBusyError, match=f"{board.device} is in use"):
        SerialPort.open(board.device, BAUD)
    exchange(first, 10)
    first.close()
    SerialPort.open(board.device, BAUD).close()


def test_a_file_is_no_port(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("no port")
    with Promptly(), pytest.raises(PortError, match="cannot be opened as a serial port"):
        SerialPort.open(str(path))


def test_a_rate_that_is_none(board: PtyBoard) -> None:
    with Promptly(), pytest.raises(PortError, match="cannot run at -5 baud"):
        SerialPort.open(board.device, -5)


def test_nobody_answers() -> None:
    with (
        PtyBoard(Deaf()) as deaf,
        Promptly(),
        pytest.raises(BoardSilentError, match=r"Nothing answered within 1.5 s"),
    ):
        SerialPort.open(deaf.device, BAUD)


def test_another_device_answers() -> None:
    with (
        PtyBoard(Deaf(b"login: \r\n")) as other,
        Promptly(),
        pytest.raises(ForeignDeviceError, match="sends no frames of ours"),
    ):
        SerialPort.open(other.device, BAUD)


def test_a_device_that_sends_back_what_it_hears() -> None:
    class Mirror(Deaf):
        def receive(self, data: bytes, now: float) -> None:
            self.says += data

        def transmit(self, now: float) -> bytes:
            says, self.says = self.says, b""
            return says

    with (
        PtyBoard(Mirror()) as mirror,
        Promptly(),
        pytest.raises(ForeignDeviceError, match="sends no frames of ours"),
    ):
        SerialPort.open(mirror.device, BAUD)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"magic": 0x12345678}, ForeignDeviceError, "no ohmtwin board: .* 0x12345678"),
        ({"link_version": 9}, ForeignDeviceError, "speaks version 9 of the link"),
        ({"window": 8}, ForeignDeviceError, "windows of 8 frames"),
        ({"version": 200}, WrongChipError, "version 200 of the register map"),
        ({"chip_hash": 5}, WrongChipError, "hash 0000000000000005, not 0123456789abcdef"),
    ],
)
def test_another_board(change: dict[str, int], error: type[LinkError], message: str) -> None:
    model = BoardModel(dataclasses.replace(IDENT, **change), Echo())
    with PtyBoard(model) as other, Promptly(), pytest.raises(error, match=message):
        SerialPort.open(other.device, BAUD, chip_hash=IDENT.chip_hash)
    assert model.session == 0


def test_a_cable_is_pulled(board: PtyBoard) -> None:
    port = SerialPort.open(board.device, BAUD)
    board.close()
    with Promptly(), pytest.raises(PortLostError, match=f"The port {board.device} is lost"):
        port.read(1)
    port.close()


@pytest.mark.parametrize("patience", [0.2, 1.0, 10.0])
def test_a_board_falls_silent(board: PtyBoard, patience: float) -> None:
    """Told as such, also if the patience is shorter than that takes."""
    port = SerialPort.open(board.device, BAUD, patience=patience)
    board.replace(Deaf())
    port.write(np.arange(3, dtype=np.uint64))
    with Promptly(), pytest.raises(BoardSilentError, match=r"not answered for 1.5 s"):
        port.read(1)
    port.close()


def test_a_board_falls_silent_while_words_wait(board: PtyBoard) -> None:
    port = SerialPort.open(board.device, BAUD, patience=0.2)
    board.replace(Deaf())
    with Promptly(), pytest.raises(BoardSilentError, match=r"not answered for 1.5 s"):
        port.write(np.arange(5000, dtype=np.uint64))
    port.close()


@pytest.mark.usefixtures("patient")
def test_a_board_that_answers_a_byte_at_a_time() -> None:
    """Slower than the rate says, and never a whole frame at once."""

    class Drip(BoardModel):
        rest = b""
        at = 0.0

        def transmit(self, now: float) -> bytes:
            if now < self.at:
                return b""
            self.rest = self.rest or super().transmit(now)
            byte, self.rest = self.rest[:1], self.rest[1:]
            self.at = now + 0.001
            return byte

    with PtyBoard(Drip(IDENT, Echo())) as slow:
        port = SerialPort.open(slow.device, BAUD, patience=10.0)
        exchange(port, 40)
        port.close()


def test_a_line_that_takes_no_more_bytes() -> None:
    """The other side of the terminal is there and reads nothing."""
    master = PtyMaster()
    transport = SerialTransport(master.device, BAUD)
    with Promptly(), pytest.raises(PortLostError, match=f"The port {master.device} is lost"):
        transport.write(bytes(1 << 20))
    transport.close()
    master.close()


def test_a_board_answers_garbage_from_now_on(board: PtyBoard) -> None:
    port = SerialPort.open(board.device, BAUD, patience=10.0)
    board.replace(Deaf(b"\x55\xaa\0" * 30))
    with Promptly(), pytest.raises(BoardSilentError):
        port.read(1)
    port.close()


def test_a_board_restarts(board: PtyBoard) -> None:
    port = SerialPort.open(board.device, BAUD, patience=10.0)
    exchange(port, 100)
    board.replace(BoardModel(IDENT, Echo()))
    # The board may answer before all is written.
    with Promptly(), pytest.raises(BoardRestartedError, match="does not know this session"):
        exchange(port, 3)
    port.close()


def test_another_host_takes_over(board: PtyBoard) -> None:
    """Past the lock, as from another machine."""
    port = SerialPort.open(board.device, BAUD, patience=10.0)
    model = BoardModel(IDENT, Echo())
    hello = Frame(FrameKind.HELLO, (99).to_bytes(8, "little"))
    model.receive(encode(hello, 0), 0.0)
    assert model.session == 99
    board.replace(model)
    with Promptly(), pytest.raises(BoardRestartedError):
        port.read(1)
    port.close()


def test_pyserial_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(ToolError, match="pyserial, which is not installed"):
        SerialTransport("/dev/ttyS0", BAUD)


def test_a_far_end_that_breaks_is_not_hidden() -> None:
    class Broken(Deaf):
        def receive(self, data: bytes, now: float) -> None:
            raise ZeroDivisionError("far end")

    running = PtyBoard(Broken())
    with pytest.raises(LinkError):
        SerialPort.open(running.device, BAUD)
    with pytest.raises(ZeroDivisionError, match="far end"):
        running.close()
