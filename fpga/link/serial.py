# SPDX-License-Identifier: Apache-2.0
"""The link from two pins to the tile's words."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.link import ENCODED_BYTES, WINDOW, Ident, baud_divider
from .endpoint import LinkEndpoint
from .uart import UartReceiver, UartTransmitter

__all__ = ["SerialLink"]

_LEAST_TIMEOUT = 0.02
"""Seconds that a host may take to answer before it is asked again."""


class SerialLink(wiring.Component):
    """UART and endpoint.

    Parameters
    ----------
    ident : Ident
        Its ``clock_hz`` is that of the clock this runs from.
    baud : int
        Bits a second.

    Members
    -------
    rx, tx : In(1), Out(1)
        Pins; ``rx`` is asynchronous.
    o, i, reset, session, accepted
        As of :class:`~.endpoint.LinkEndpoint`.

    Raises
    ------
    InputError
        If the clock cannot make the rate.
    """

    def __init__(self, *, ident: Ident, baud: int) -> None:
        self._divider = baud_divider(ident.clock_hz, baud)
        # Two windows on the line and the host's own time; a repetition too many costs only time.
        window = 2 * WINDOW * ENCODED_BYTES * 10 * self._divider
        timeout = window + round(_LEAST_TIMEOUT * ident.clock_hz)
        # A tile that computes sends words in bursts; waiting for a byte's time costs little.
        self._endpoint = LinkEndpoint(ident=ident, timeout=timeout, linger=10 * self._divider)
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "o": Out(stream.Signature(64)),
                "i": In(stream.Signature(64)),
                "reset": Out(1),
                "session": Out(32),
                "accepted": Out(1),
            }
        )

    @property
    def divider(self) -> int:
        """Clock cycles a bit."""
        return self._divider

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.endpoint = endpoint = self._endpoint
        m.submodules.receiver = receiver = UartReceiver(divider=self._divider)
        m.submodules.transmitter = transmitter = UartTransmitter(divider=self._divider)
        wiring.connect(m, receiver.o, endpoint.rx)
        wiring.connect(m, endpoint.tx, transmitter.i)
        wiring.connect(m, endpoint.o, wiring.flipped(self.o))
        wiring.connect(m, wiring.flipped(self.i), endpoint.i)
        m.d.comb += [
            receiver.pin.eq(self.rx),
            self.tx.eq(transmitter.pin),
            self.reset.eq(endpoint.reset),
            self.session.eq(endpoint.session),
            self.accepted.eq(endpoint.accepted),
        ]
        return m
