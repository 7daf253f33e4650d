# SPDX-License-Identifier: Apache-2.0
"""The AXI top under cocotbext-axi, an implementation of the buses that is not ours.

Runs inside the simulator. All channels pause at random on both sides.
"""

from itertools import repeat
from random import Random
from typing import Any

import axi_case
import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)
from numpy.typing import NDArray

from ohmtwin.arch.axi import AXI_ADDRESS_BITS, AxiControl, AxiRegister, AxiStatus
from ohmtwin.arch.messages import Header, Kind
from ohmtwin.arch.registers import ID_MAGIC, ID_VERSION, TileRegister
from ohmtwin.host.driver import Port
from ohmtwin.host.emulated import EmulatedTarget
from ohmtwin.host.targets import FastTarget
from ohmtwin.tb.bench import parameters, rng
from ohmtwin.tb.clock import within

LIMIT = 3_000_000
PERIOD_NS = 10


def pauses(numbers: Random, share: float) -> Any:
    """Whether to pause, a cycle after the other."""
    return (numbers.random() < share for _ in repeat(None))


class TB:
    """Both buses of a top, with everything that drives them."""

    def __init__(self, dut: Any, share: float = 0.3) -> None:
        self.dut = dut
        self.clock = dut.aclk
        reset = {"reset": dut.aresetn, "reset_active_level": False}
        self.lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.aclk, **reset)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.aclk, **reset)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.aclk, **reset)
        if share:
            write, read = self.lite.write_if, self.lite.read_if
            channels = {
                "aw": write.aw_channel, "w": write.w_channel, "b": write.b_channel,
                "ar": read.ar_channel, "r": read.r_channel,
                "source": self.source, "sink": self.sink,
            }  # fmt: skip
            for name, channel in channels.items():
                channel.set_pause_generator(pauses(rng(f"pauses of {name}"), share))

    async def begin(self) -> None:
        Clock(self.clock, PERIOD_NS, unit="ns").start()
        self.dut.aresetn.value = 0
        await ClockCycles(self.clock, 16)
        self.dut.aresetn.value = 1
        await ClockCycles(self.clock, 2)
        cocotb.start_soon(self.watch("m_axis", ("tdata", "tkeep", "tlast")))
        for channel, signals in (("b", ("resp",)), ("r", ("data", "resp"))):
            cocotb.start_soon(self.watch(f"s_axil_{channel}", signals))

    async def watch(self, prefix: str, signals: tuple[str, ...]) -> None:
        """What is on offer stays so, unchanged, until it is taken."""
        joint = "_t" if prefix.endswith("axis") else ""
        dut = self.dut
        valid = getattr(dut, f"{prefix}{joint}valid")
        ready = getattr(dut, f"{prefix}{joint}ready")
        parts = [getattr(dut, f"{prefix}_{s}" if joint else f"{prefix}{s}") for s in signals]
        offered = None
        while True:
            await RisingEdge(self.clock)
            now = tuple(str(part.value) for part in parts) if valid.value else None
            assert offered is None or now == offered, f"{prefix} changed {offered} to {now}"
            offered = now if now is not None and not ready.value else None

    async def send(self, words: NDArray[np.uint64]) -> None:
        await self.source.send(AxiStreamFrame(words.astype("<u8").tobytes()))

    async def packet(self) -> list[int]:
        """The words of the next packet, which must be one message."""
        frame = await within(self.clock, LIMIT, self.sink.recv(), "a packet")
        assert len(frame.tdata) % 8 == 0
        words: list[int] = np.frombuffer(bytes(frame.tdata), "<u8").tolist()
        return words

    async def read(self, register: AxiRegister) -> int:
        got = await within(self.clock, LIMIT, self.lite.read(register, 4), register.name)
        assert got.resp == AxiResp.OKAY
        return int.from_bytes(got.data, "little")

    async def write(self, register: int, data: bytes) -> AxiResp:
        done = self.lite.write(register, data)
        return (await within(self.clock, LIMIT, done, f"a write to {register:#x}")).resp

    async def reset(self) -> None:
        await self.write(AxiRegister.CONTROL, bytes([AxiControl.RESET]))
        while await self.read(AxiRegister.CONTROL):
            pass


class AxiPort(Port):
    """The streams as a host's driver sees them, from a thread beside the simulator's."""

    def __init__(self, tb: TB) -> None:
        self.tb = tb

    @resume
    async def _send(self, words: NDArray[np.uint64]) -> None:
        await self.tb.send(words)

    @resume
    async def _packet(self) -> list[int]:
        return await self.tb.packet()

    @resume
    async def _reset(self) -> None:
        await self.tb.reset()

    def reset(self) -> None:
        self._reset()

    def write(self, words: NDArray[np.uint64]) -> None:
        if len(words):
            self._send(words)

    def read(self, at_least: int) -> NDArray[np.uint64]:
        found: list[int] = []
        while len(found) < at_least:
            words = self._packet()
            assert Header.decode(words[0]).length == len(words) - 1
            found += words
        return np.array(found, np.uint64)

    def close(self) -> None:
        pass


@cocotb.test()
async def registers(dut: Any) -> None:
    """Who it is, byte strobes, and addresses that are none."""
    tb = TB(dut)
    await tb.begin()
    ident = axi_case.case(parameters()["case"]).ident
    assert await tb.read(AxiRegister.ID) == ID_MAGIC
    assert await tb.read(AxiRegister.VERSION) == ID_VERSION | ident.features << 16
    assert await tb.read(AxiRegister.HASH_LOW) == ident.chip_hash & 0xFFFFFFFF
    assert await tb.read(AxiRegister.HASH_HIGH) == ident.chip_hash >> 32
    assert await tb.read(AxiRegister.STATUS) == 0
    numbers = rng("scratch")
    held = bytearray(4)
    for _ in range(100):
        at = numbers.randrange(4)
        part = numbers.randbytes(numbers.randrange(1, 5 - at))
        # A part of a word: cocotbext-axi sets the strobes of its bytes alone.
        assert await tb.write(AxiRegister.SCRATCH + at, part) == AxiResp.OKAY
        held[at : at + len(part)] = part
        assert await tb.read(AxiRegister.SCRATCH) == int.from_bytes(held, "little")
    # Many at once: answers come in order, each to its own.
    writes = [tb.lite.init_write(AxiRegister.SCRATCH, bytes([k] * 4)) for k in range(20)]
    reads = [tb.lite.init_read(4 * (k % 10), 4) for k in range(20)]
    for write in writes:
        await within(tb.clock, LIMIT, write.wait(), "a write")
        assert write.data.resp == AxiResp.OKAY
    for number, read in enumerate(reads):
        await within(tb.clock, LIMIT, read.wait(), "a read")
        right = AxiResp.SLVERR if number % 10 == 9 else AxiResp.OKAY
        assert read.data.resp == right, number
    assert await tb.read(AxiRegister.SCRATCH) == 19 * 0x01010101
    # Nothing there, or nothing to be written: an error, and no effect.
    last = max(AxiRegister) + 4
    for address in (last, 0x100, (1 << AXI_ADDRESS_BITS) - 4):
        got = await within(tb.clock, LIMIT, tb.lite.read(address, 4), "a read")
        assert (got.resp, bytes(got.data)) == (AxiResp.SLVERR, bytes(4))
        assert await tb.write(address, b"\xff" * 4) == AxiResp.SLVERR
    for address in AxiRegister:
        if address not in (AxiRegister.CONTROL, AxiRegister.SCRATCH):
            assert await tb.write(address, b"\xff" * 4) == AxiResp.SLVERR
    assert await tb.read(AxiRegister.SCRATCH) == 19 * 0x01010101
    assert await tb.read(AxiRegister.ID) == ID_MAGIC


@cocotb.test()
async def words(dut: Any) -> None:
    """Registers of the tile over the streams; wrong words; resets in the middle of packets."""
    tb = TB(dut)
    await tb.begin()
    ident = axi_case.case(parameters()["case"]).ident

    async def ask(count: int) -> list[int]:
        header = Header(Kind.READ_REG, count, TileRegister.ID).encode()
        await tb.send(np.array([header], np.uint64))
        return await tb.packet()

    wanted = [ID_MAGIC << 32 | ID_VERSION, ident.chip_hash]
    for _ in range(20):
        assert (await ask(2))[1:] == wanted
    # The last word of a packet may still be on its way out.
    assert await tb.read(AxiRegister.WORDS_IN) == 20
    assert await tb.read(AxiRegister.WORDS_OUT) == 60
    # A word without all its bytes is none.
    await tb.source.send(AxiStreamFrame(b"abc"))
    await within(tb.clock, LIMIT, tb.source.wait(), "the word to go")
    assert await tb.read(AxiRegister.STATUS) == AxiStatus.KEEP_FAULT
    assert (await ask(2))[1:] == wanted
    await tb.reset()
    assert await tb.read(AxiRegister.STATUS) == 0
    assert await tb.read(AxiRegister.WORDS_IN) == 0
    # A packet that nobody takes, cut off: what was on offer comes, and an end.
    tb.sink.clear_pause_generator()
    ended = 0
    for length in range(12):
        tb.sink.pause = True
        await tb.send(np.array([Header(Kind.READ_REG, length, 0).encode()], np.uint64))
        await ClockCycles(tb.clock, 60)
        assert bool(await tb.read(AxiRegister.STATUS) & AxiStatus.OUTPUT)
        await tb.reset()
        tb.sink.pause = False
        head, *body = await tb.packet()
        assert Header.decode(head) == Header(Kind.REPLY, length)
        whole = [*wanted, *[0] * 20][:length]
        # The word that ends it may be in the place of its last.
        assert body in (whole, [*whole[: len(body) - 1], 0])
        ended += body != whole
        assert (await ask(2))[1:] == wanted
        assert tb.sink.empty()
    assert ended > 5


@cocotb.test()
async def network(dut: Any) -> None:
    """A network through the whole of the host, noise and all: every tensor and counter."""
    tb = TB(dut, 0.1)
    await tb.begin()
    case = axi_case.case(parameters()["case"])
    port = AxiPort(tb)

    def work() -> None:
        def connect() -> tuple[Port, Any]:
            port.reset()
            return port, case.config

        with FastTarget(case.compiled) as fast, EmulatedTarget(case.compiled, connect) as target:
            for codes in case.batches:
                want, found = fast.run(codes), target.run(codes)
                assert want.keys() == found.keys()
                for name, tensor in want.items():
                    np.testing.assert_array_equal(tensor, found[name], err_msg=name)
                assert fast.counters == target.counters

    await bridge(work)()
