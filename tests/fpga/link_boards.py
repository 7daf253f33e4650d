# SPDX-License-Identifier: Apache-2.0
"""A board's end of the link, Verilated, for the tests of the endpoint (fixtures in conftest.py)."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ohmtwin.arch.link import ENCODED_BYTES, FrameKind, Ident
from ohmtwin.fpga.link.endpoint import LinkEndpoint
from ohmtwin.fpga.link.serial import SerialLink
from ohmtwin.fpga.link.uart import UartReceiver, UartTransmitter
from ohmtwin.host.link.codec import Frame, FrameDecoder, encode
from ohmtwin.host.toolchain import find_tools
from ohmtwin.rtl.emit import emit_verilog

__all__ = [
    "BAUD",
    "BYTE_TIME",
    "IDENT",
    "SESSION",
    "TIMEOUT",
    "Board",
    "Endpoint",
    "Pins",
    "answers",
    "build",
    "greeting",
    "run",
]

IDENT = Ident(chip_hash=0xFEDCBA9876543210, clock_hz=12_000_000, features=1)
BYTE_CYCLES = 10
BYTE_TIME = 10 / 3e6
TIMEOUT = 2 * 16 * ENCODED_BYTES * BYTE_CYCLES
BAUD = 3_000_000
SESSION = 6


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


def answers(board: Board, *frames: bytes) -> list[Frame | None]:
    board._lib.bench_put(board._bench, b"".join(frames), len(b"".join(frames)))
    board.run(5000)
    decoder = FrameDecoder()
    decoder.session = SESSION
    return [decoder.decode(chunk) for chunk in decoder.feed(board.transmit(0.0))]


def greeting(kind: FrameKind, new: int, old: int = 0) -> bytes:
    return encode(Frame(kind, (new | old << 32).to_bytes(8, "little")), 0)
