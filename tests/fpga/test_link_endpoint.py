# SPDX-License-Identifier: Apache-2.0
"""The whole endpoint, Verilated, against the host's end over lines that fail."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ohmtwin.arch.errors import ToolError
from ohmtwin.arch.link import ENCODED_BYTES, PAYLOAD_WORDS, SEQUENCES, WINDOW, FrameKind, Ident
from ohmtwin.fpga.link.endpoint import LinkEndpoint
from ohmtwin.fpga.link.serial import SerialLink
from ohmtwin.fpga.link.uart import UartReceiver, UartTransmitter
from ohmtwin.host.link.codec import Frame, FrameDecoder, encode
from ohmtwin.host.link.faults import FaultInjector, FaultRates
from ohmtwin.host.link.line import Line
from ohmtwin.host.link.session import HostLink
from ohmtwin.host.toolchain import find_tools
from ohmtwin.rtl.emit import emit_verilog

# What they share is built in one worker.
pytestmark = pytest.mark.xdist_group("endpoint")

IDENT = Ident(chip_hash=0xFEDCBA9876543210, clock_hz=12_000_000, features=1)
BYTE_CYCLES = 10
BYTE_TIME = 10 / 3e6
TIMEOUT = 2 * 16 * ENCODED_BYTES * BYTE_CYCLES
BAUD = 3_000_000
FRAMES = 10_000


class Top(wiring.Component):
    """What the bench knows: bytes of the line, words of the tile."""

    def __init__(self) -> None:
        word, byte = stream.Signature(64), stream.Signature(8)
        super().__init__(
            {"rx": In(byte), "tx": Out(byte), "o": Out(word), "i": In(word), "reset": Out(1)}
        )

    def words(self, m: Module, link: Any) -> None:
        m.submodules.link = link
        wiring.connect(m, link.o, wiring.flipped(self.o))
        wiring.connect(m, wiring.flipped(self.i), link.i)
        m.d.comb += [self.reset.eq(link.reset), self.rx.ready.eq(1)]


class Endpoint(Top):
    """The endpoint alone."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        link = LinkEndpoint(ident=IDENT, timeout=TIMEOUT)
        self.words(m, link)
        wiring.connect(m, link.tx, wiring.flipped(self.tx))
        m.d.comb += [link.rx.payload.eq(self.rx.payload), link.rx.valid.eq(self.rx.valid)]
        return m


class Pins(Top):
    """The endpoint behind a UART, met at its pins by another UART; the bench paces its bytes."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        link = SerialLink(ident=IDENT, baud=BAUD)
        self.words(m, link)
        m.submodules.send = send = UartTransmitter(divider=link.divider)
        m.submodules.hear = hear = UartReceiver(divider=link.divider)
        m.d.comb += [
            link.rx.eq(send.pin),
            hear.pin.eq(link.tx),
            send.i.valid.eq(self.rx.valid),
            send.i.payload.eq(self.rx.payload),
            self.rx.ready.eq(send.i.ready),
            self.tx.valid.eq(hear.o.valid),
            self.tx.payload.eq(hear.o.payload),
        ]
        return m


def run(folder: Path, *command: str | Path) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "VERILATOR_ROOT": str(find_tools().root)},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Verilator's own objects, which do not depend on the model."""
    try:
        tools = find_tools()
    except ToolError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("runtime")
    sources = [tools.root / "include" / f"verilated{part}.cpp" for part in ("", "_threads")]
    run(folder, tools.cxx, "-std=c++20", "-O0", "-w", "-fPIC", "-c", *tools.include, *sources)
    return folder


def build(dut: wiring.Component, folder: Path, runtime: Path) -> ctypes.CDLL:
    tools = find_tools()
    (folder / "link.sv").write_text(emit_verilog(dut, "link"), encoding="utf-8")
    run(
        folder, tools.verilator, "--cc", "--no-timing", "-Wno-fatal", "-Wno-lint",
        "--top", "link", "-Mdir", folder, "link.sv",
    )  # fmt: skip
    bench = shutil.copy(Path(__file__).with_name("link_bench.cpp"), folder)
    run(
        folder, tools.cxx, "-std=c++20", "-O1", "-w", "-fPIC", "-shared", "-I", folder,
        *tools.include, *folder.glob("Vlink*.cpp"), bench, *runtime.glob("*.o"), "-pthread",
        "-o", folder / "link.so",
    )  # fmt: skip
    lib = ctypes.CDLL(str(folder / "link.so"))
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "bench_new": (pointer, [ctypes.c_uint, ctypes.c_uint64]),
        "bench_free": (None, [pointer]),
        "bench_put": (None, [pointer, ctypes.c_char_p, size]),
        "bench_run": (None, [pointer, ctypes.c_uint64]),
        "bench_get": (size, [pointer, ctypes.c_char_p, size]),
        "bench_taken": (ctypes.c_uint64, [pointer]),
        "bench_hold": (None, [pointer, ctypes.c_int]),
        "bench_quiet": (None, [pointer]),
    }
    for name, (result, arguments) in signatures.items():
        getattr(lib, name).restype = result
        getattr(lib, name).argtypes = arguments
    return lib


@pytest.fixture(scope="module")
def endpoint(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return build(Endpoint(), tmp_path_factory.mktemp("endpoint"), runtime)


@pytest.fixture(scope="module")
def pins(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return build(Pins(), tmp_path_factory.mktemp("pins"), runtime)


class Board:
    """A Verilated endpoint as an end of a line."""

    def __init__(self, lib: ctypes.CDLL, byte_cycles: int = BYTE_CYCLES, seed: int = 1) -> None:
        self._lib = lib
        self._per_second = byte_cycles / BYTE_TIME
        self._bench = lib.bench_new(byte_cycles, seed)
        self._cycles = 0

    def receive(self, data: bytes, now: float) -> None:
        self._run(now)
        self._lib.bench_put(self._bench, data, len(data))

    def transmit(self, now: float) -> bytes:
        self._run(now)
        room = ctypes.create_string_buffer(65536)
        n = self._lib.bench_get(self._bench, room, len(room))
        return room.raw[:n]

    def _run(self, now: float) -> None:
        cycles = round(now * self._per_second) - self._cycles
        if cycles > 0:
            self._lib.bench_run(self._bench, cycles)
            self._cycles += cycles

    def run(self, cycles: int) -> None:
        self._lib.bench_run(self._bench, cycles)

    @property
    def taken(self) -> int:
        return int(self._lib.bench_taken(self._bench))

    def close(self) -> None:
        self._lib.bench_free(self._bench)


@pytest.fixture
def boards() -> Iterator[Callable[..., Board]]:
    made: list[Board] = []

    def make(*args: Any) -> Board:
        made.append(Board(*args))
        return made[-1]

    yield make
    for board in made:
        board.close()


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


# Sessions, as tests/host/test_link_session.py asks of the model.


def answers(board: Board, *frames: bytes) -> list[Frame | None]:
    board._lib.bench_put(board._bench, b"".join(frames), len(b"".join(frames)))
    board.run(5000)
    decoder = FrameDecoder()
    decoder.session = SESSION
    return [decoder.decode(chunk) for chunk in decoder.feed(board.transmit(0.0))]


SESSION = 6


def greeting(kind: FrameKind, new: int, old: int = 0) -> bytes:
    return encode(Frame(kind, (new | old << 32).to_bytes(8, "little")), 0)


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
