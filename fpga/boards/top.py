# SPDX-License-Identifier: Apache-2.0
"""The top of a board: oscillator, pins and lights around the fabric."""

from typing import Any

from amaranth.hdl import ClockDomain, Module
from amaranth.lib import io, wiring

from ..top import BoardFabric
from .common import Board
from .pll import Ecp5Clock, Ecp5Divisors, ecp5_divisors

__all__ = ["BoardTop"]


class BoardTop(wiring.Component):
    """A board's fabric with its pins; elaborates on the platform of the board alone.

    Parameters
    ----------
    board : Board
    fabric : BoardFabric
    clock_hz : int, optional
        Of the fabric, instead of the board's own.

    Raises
    ------
    ConfigError
        If the board's PLL does not make the clock.
    """

    def __init__(self, *, board: Board, fabric: BoardFabric, clock_hz: int | None = None) -> None:
        self._board = board
        self._fabric = fabric
        self._divisors: Ecp5Divisors | None = None
        clock = clock_hz or board.clock_hz
        if clock != board.source_hz:
            self._divisors = ecp5_divisors(board.source_hz, clock)
        super().__init__({})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._clock(m, platform)
        m.submodules.fabric = fabric = self._fabric
        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [fabric.rx.eq(rx.i), tx.o.eq(fabric.tx)]
        bits = (fabric.alive, fabric.connected, fabric.working)
        for number, (light, bit) in enumerate(zip(self._board.lights, bits, strict=False)):
            port = platform.request(light.resource, light.number, dir="-")
            if light.colour is not None:
                port = getattr(port, light.colour)
            m.submodules[f"light{number}"] = buffer = io.Buffer("o", port)
            m.d.comb += buffer.o.eq(bit)
        return m

    def _clock(self, m: Module, platform: Any) -> None:
        if self._divisors is None:
            return  # Amaranth makes the domain of the oscillator, with its reset
        port = platform.request(platform.default_clk, 0, dir="-")
        m.submodules.oscillator = oscillator = io.Buffer("i", port)
        m.domains += ClockDomain("sync")
        m.submodules.clock = clock = Ecp5Clock(divisors=self._divisors)
        m.d.comb += clock.source.eq(oscillator.i)
        # nextpnr derives the constraint of its output from that of the oscillator.
