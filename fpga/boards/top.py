# SPDX-License-Identifier: Apache-2.0
"""The top of a board: oscillator, pins and lights around the fabric."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring

from ..top import BoardFabric
from .common import Board, Light
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
        uart = platform.request("uart", 0)
        m.d.comb += [fabric.rx.eq(uart.rx.i), uart.tx.o.eq(fabric.tx)]
        bits = (fabric.alive, fabric.connected, fabric.working)
        for light, bit in zip(self._board.lights, bits, strict=False):
            m.d.comb += _pin(platform, light).eq(bit)
        return m

    def _clock(self, m: Module, platform: Any) -> None:
        if self._divisors is None:
            return  # Amaranth makes the domain of the oscillator, with its reset
        source = platform.request(platform.default_clk, 0).i
        m.submodules.clock = clock = Ecp5Clock(divisors=self._divisors)
        m.d.comb += clock.source.eq(source)
        # nextpnr derives the constraint of its output from that of the oscillator.


def _pin(platform: Any, light: Light) -> Signal:
    resource = platform.request(light.resource, light.number)
    return (resource if light.colour is None else getattr(resource, light.colour)).o
