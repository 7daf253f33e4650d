# SPDX-License-Identifier: Apache-2.0
"""All of a board below its PLL: two pins of a serial line, the link, and the fabric behind it."""

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from ..arch.chip import Chip
from ..arch.link import Ident
from .array import ArrayFabric
from .crossbar.image import EmulatorConfig
from .fabric import EmulatedFabric
from .hosted import HostedFabric
from .link.serial import SerialLink

__all__ = ["BoardFabric"]

_BLINK_SECONDS = 0.5


class BoardFabric(wiring.Component):
    """A chip with emulated arrays, or one such array, on a serial line.

    Parameters
    ----------
    chip : Chip
    clock_hz : int
        Of the clock it runs from.
    baud : int
        Of the line.
    config : EmulatorConfig, optional
        Of all arrays.
    array_only : bool
        One array in the place of a tile (:mod:`.array`).
    host_arrays : bool
        The host answers the reads of the tile (:mod:`.hosted`); ``config`` means nothing then.

    Members
    -------
    rx, tx : In(1), Out(1)
        The line; ``rx`` is asynchronous.
    alive : Out(1)
        Changes twice a second: the bitstream is loaded and the clock runs.
    connected : Out(1)
        A host has opened a session.
    working : Out(1)
        The tile waits for an emulated array.

    Raises
    ------
    InputError
        If the clock cannot make the rate.
    TypeError, ValueError
        If chip or configuration are wrong.
    """

    def __init__(
        self,
        *,
        chip: Chip,
        clock_hz: int,
        baud: int,
        config: EmulatorConfig | None = None,
        array_only: bool = False,
        host_arrays: bool = False,
    ) -> None:
        self._fabric: ArrayFabric | EmulatedFabric | HostedFabric
        if host_arrays:
            self._fabric = HostedFabric(chip=chip)
        elif array_only:
            self._fabric = ArrayFabric(chip=chip, config=config)
        else:
            self._fabric = EmulatedFabric(chip=chip, config=config)
        self._ident = Ident(chip.structure_hash, clock_hz, self._fabric.features)
        self._link = SerialLink(ident=self._ident, baud=baud)
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "alive": Out(1),
                "connected": Out(1),
                "working": Out(1),
            }
        )

    @property
    def ident(self) -> Ident:
        """Who the board says it is."""
        return self._ident

    @property
    def divider(self) -> int:
        """Clock cycles a bit of the line."""
        return self._link.divider

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.link = link = self._link
        # Thousands of registers hang on this one, so nothing is computed behind it.
        reset = Signal(init=1)
        m.d.sync += reset.eq(link.reset)
        m.domains.fabric = fabric = ClockDomain()
        m.d.comb += [fabric.clk.eq(ClockSignal()), fabric.rst.eq(reset)]
        m.submodules.fabric = DomainRenamer("fabric")(self._fabric)
        connect(m, link.o, self._fabric.i)
        connect(m, self._fabric.o, link.i)
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            self.connected.eq(link.session != 0),
            self.working.eq(self._fabric.held),
        ]
        half = round(_BLINK_SECONDS * self._ident.clock_hz)
        left = Signal(range(half), init=half - 1)
        m.d.sync += left.eq(left - 1)
        with m.If(left == 0):
            m.d.sync += [left.eq(half - 1), self.alive.eq(~self.alive)]
        return m
