# SPDX-License-Identifier: Apache-2.0
"""The UART: waveforms by hand, loopback at every ratio, lines that fail."""

from random import Random

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import SimulatorContext
from simulate import simulate
from streams import stream_put

from ohmtwin.arch.errors import InputError
from ohmtwin.arch.link import Ident
from ohmtwin.fpga.link.serial import SerialLink
from ohmtwin.fpga.link.uart import UartReceiver, UartTransmitter


class Loop(wiring.Component):
    """A transmitter and a receiver whose clocks may differ."""

    def __init__(self, send: int, receive: int) -> None:
        self.dividers = (send, receive)
        super().__init__(
            {"i": In(stream.Signature(8)), "o": Out(stream.Signature(8, always_ready=True))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tx = tx = UartTransmitter(divider=self.dividers[0])
        m.submodules.rx = rx = UartReceiver(divider=self.dividers[1])
        wiring.connect(m, wiring.flipped(self.i), tx.i)
        wiring.connect(m, rx.o, wiring.flipped(self.o))
        m.d.comb += rx.pin.eq(tx.pin)
        return m


async def collect(ctx: SimulatorContext, port: object, to: list[int]) -> None:
    while True:
        _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
        if valid:
            to.append(payload)


@pytest.mark.parametrize(
    ("send", "receive"), [(4, 4), (5, 5), (8, 8), (9, 9), (25, 25), (100, 98), (100, 102)]
)
def test_bytes_pass_back_to_back(send: int, receive: int) -> None:
    """Also between clocks 2 % apart."""
    wanted = [*Random(send).randbytes(40), 0, 255, 0, 0x55, 0xAA]
    dut = Loop(send, receive)
    found: list[int] = []

    async def bench(ctx: SimulatorContext) -> None:
        for byte in wanted:
            await stream_put(ctx, dut.i, byte)
        await ctx.tick().repeat(12 * send)

    async def monitor(ctx: SimulatorContext) -> None:
        await collect(ctx, dut.o, found)

    simulate(dut, bench, cycles=15 * send * len(wanted), background=[monitor])
    assert found == wanted


def test_the_line_by_hand() -> None:
    """Start bit, low bit first, stop bit; no pause between bytes."""
    dut = UartTransmitter(divider=4)
    line: list[int] = []

    async def bench(ctx: SimulatorContext) -> None:
        for byte in (0x35, 0x80):
            await stream_put(ctx, dut.i, byte)
        await ctx.tick().repeat(60)

    async def monitor(ctx: SimulatorContext) -> None:
        while True:
            _, _, pin = await ctx.tick().sample(dut.pin)
            line.append(pin)

    simulate(dut, bench, cycles=300, background=[monitor])
    start = line.index(0)
    bits = line[start : start + 80 : 4]
    assert bits == [0, 1, 0, 1, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]
    assert all(line[start + 80 :])
    assert all(len(set(line[start + 4 * k : start + 4 * k + 4])) == 1 for k in range(20))


def on_line(dut: UartReceiver, levels: list[tuple[int, int]]) -> list[int]:
    """Bytes that come from a line of levels, each for some cycles."""
    found: list[int] = []

    async def bench(ctx: SimulatorContext) -> None:
        for level, cycles in levels:
            ctx.set(dut.pin, level)
            await ctx.tick().repeat(cycles)

    async def monitor(ctx: SimulatorContext) -> None:
        await collect(ctx, dut.o, found)

    simulate(dut, bench, cycles=sum(n for _, n in levels) + 10, background=[monitor])
    return found


def byte_levels(byte: int, cycles: int, stop: int = 1) -> list[tuple[int, int]]:
    bits = [0, *(byte >> k & 1 for k in range(8)), stop]
    return [(bit, cycles) for bit in bits]


def test_a_wrong_stop_bit_drops_the_byte() -> None:
    levels = [
        (1, 20),
        *byte_levels(0x41, 8),
        *byte_levels(0x42, 8, stop=0),
        (1, 30),
        *byte_levels(0x43, 8),
        (1, 20),
    ]
    assert on_line(UartReceiver(divider=8), levels) == [0x41, 0x43]


def test_a_line_that_stays_low_sends_nothing() -> None:
    levels = [(1, 20), (0, 1000), (1, 20), *byte_levels(0x43, 8), (1, 20)]
    assert on_line(UartReceiver(divider=8), levels) == [0x43]


def test_a_glitch_is_no_start_bit() -> None:
    levels = [(1, 20), (0, 2), (1, 20), *byte_levels(0x43, 8), (1, 20)]
    assert on_line(UartReceiver(divider=8), levels) == [0x43]


@pytest.mark.parametrize("part", [UartReceiver, UartTransmitter])
def test_dividers_are_checked(part: type[UartReceiver]) -> None:
    assert part(divider=4).divider == 4
    with pytest.raises(ValueError, match="Divider must be at least 4 cycles a bit, not 3"):
        part(divider=3)
    for wrong in (8.0, True, None):
        with pytest.raises(TypeError, match="Divider must be an int"):
            part(divider=wrong)


def test_a_rate_that_the_clock_cannot_make_is_refused() -> None:
    assert SerialLink(ident=Ident(0, 25_000_000), baud=1_000_000).divider == 25
    with pytest.raises(InputError, match="25 MHz cannot make 3000000 baud"):
        SerialLink(ident=Ident(0, 25_000_000), baud=3_000_000)
