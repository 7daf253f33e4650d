# SPDX-License-Identifier: Apache-2.0
"""Runs a program on a tile over its word streams and writes down every word and counter.

The three macros are served by C. ``setup.npz`` of the run's folder holds what is sent.
"""

from typing import Any

import cocotb
import numpy as np

from ohmtwin.arch.messages import Header, Kind, message
from ohmtwin.arch.registers import (
    CORE_BASE,
    CORE_STRIDE,
    Control,
    Status,
    TileRegister,
)
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.tb.bench import folder, parameters, rng
from ohmtwin.tb.clock import start, within
from ohmtwin.tb.crossbar import CrossbarModel
from ohmtwin.tb.scoreboard import Scoreboard
from ohmtwin.tb.stalls import pattern
from ohmtwin.tb.streams import StreamMonitor, StreamPort, StreamSink, StreamSource

LIMIT = 60_000  # cycles


class Host:
    """Both streams of a tile, messages taken apart."""

    def __init__(self, dut: Any, stalls: str) -> None:
        self.clock = dut.clk
        i, o = StreamPort.of(dut, "i", dut.clk), StreamPort.of(dut, "o", dut.clk)
        self.source = StreamSource(i, pattern(stalls, rng("host idle")), rng("payload"))
        self.sink = StreamSink(o, pattern(stalls, rng("host stall")))
        self.monitors = [StreamMonitor(i), StreamMonitor(o)]
        for one in (self.source, self.sink, *self.monitors):
            one.start()
        self.outputs: list[int] = []
        self.replies: list[int] = []
        self._decoded = 0
        self._kind, self._left = Kind.OUTPUT, 0

    def send(self, kind: Kind, payload: Any, address: int = 0) -> None:
        self.source.put(*message(kind, [int(word) for word in payload], address))

    def _decode(self) -> None:
        for word in self.sink.words[self._decoded :]:
            self._decoded += 1
            if self._left:
                self._left -= 1
                {Kind.OUTPUT: self.outputs, Kind.REPLY: self.replies}[self._kind].append(word)
            else:
                header = Header.decode(word)
                self._kind, self._left = header.kind, header.length

    async def _until(self, words: list[int], count: int) -> None:
        while len(words) < count:
            await self.sink.wait_for(self._decoded + 1)
            self._decode()

    async def collect(self, count: int) -> None:
        await within(self.clock, LIMIT, self._until(self.outputs, count), f"{count} output words")

    async def ask(self, address: int, count: int) -> list[int]:
        self.replies.clear()
        self.source.put(Header(Kind.READ_REG, count, address).encode())
        await within(self.clock, LIMIT, self._until(self.replies, count), "a reply")
        return list(self.replies)

    async def rest(self) -> None:
        """Wait until the program waits for the host."""
        for _ in range(1000):
            (status,) = await self.ask(TileRegister.STATUS, 1)
            if status & Status.WAITING:
                return
        raise AssertionError("the program never came to wait for the host")


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def run_program(dut: Any) -> None:
    setup = np.load(folder() / "setup.npz")
    stalls = parameters()["stalls"]
    macros = []
    for core, g in enumerate(setup["g"]):
        image = ArrayImage(
            np.ascontiguousarray(g),
            np.ascontiguousarray(setup["ref"][core]),
            q=None if not setup["q"].size else np.ascontiguousarray(setup["q"][core]),
            v0=int(setup["v"][core, 0]),
            v1=int(setup["v"][core, 1]),
            adc_bits=parameters()["adc_bits"],
            lanes=parameters()["lanes"],
        )
        model = CrossbarModel(
            getattr(dut, f"macro{core}").macro,
            CCrossbar(image, parameters()["array_seed"], core),
            dut.clk,
            cmd_stall=pattern(parameters()["macro_stalls"], rng(f"commands {core}")),
            code_stall=pattern(parameters()["macro_stalls"], rng(f"codes {core}")),
            reset=dut.rst,
        )
        model.start()
        macros.append(model)
    host = Host(dut, stalls)
    await start(dut.clk, dut.rst)

    host.send(Kind.WRITE_REG, [Control.STOP], TileRegister.CONTROL)
    host.send(Kind.WRITE_PROGRAM, setup["program"])
    host.send(Kind.WRITE_PARAMS, setup["params"])
    host.send(Kind.WRITE_TABLE, setup["tables"])
    host.send(Kind.WRITE_REG, [Control.CLEAR], TileRegister.CONTROL)
    host.send(Kind.WRITE_REG, [Control.RUN], TileRegister.CONTROL)
    for sample in setup["inputs"]:
        host.send(Kind.INPUT, sample)
    expected = Scoreboard("output words")
    expected.expect(*(int(word) for word in setup["outputs"]))
    await host.collect(len(setup["outputs"]))
    for word in host.outputs:
        expected.observe(word)
    expected.check()

    await host.rest()
    tile = await host.ask(TileRegister.CYCLES, TileRegister.VECTOR_STALLS - TileRegister.CYCLES + 1)
    cores = await host.ask(CORE_BASE, CORE_STRIDE * len(macros))
    np.savez(
        folder() / "found.npz",
        tile=np.array(tile),
        cores=np.array(cores).reshape(len(macros), CORE_STRIDE),
        served=np.array([macro.reads for macro in macros]),
        stalled=np.array([monitor.stalled for monitor in host.monitors]),
    )
