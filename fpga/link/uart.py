# SPDX-License-Identifier: Apache-2.0
"""An asynchronous serial line, 8 data bits, no parity, one stop bit, low bit first."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from ...arch.link import MIN_DIVIDER

__all__ = ["UartReceiver", "UartTransmitter"]


def _check_divider(divider: object) -> int:
    if not isinstance(divider, int) or isinstance(divider, bool):
        raise TypeError(f"Divider must be an int, not {divider!r}")
    if divider < MIN_DIVIDER:
        raise ValueError(f"Divider must be at least {MIN_DIVIDER} cycles a bit, not {divider}")
    return divider


class UartTransmitter(wiring.Component):
    """Sends bytes. One every ``10 * divider`` cycles, without a pause if the next is there in time.

    Parameters
    ----------
    divider : int
        Clock cycles a bit (``arch.link.baud_divider``).

    Members
    -------
    i : In(stream of 8)
    pin : Out(1)
        The line; 1 while idle.

    Raises
    ------
    TypeError, ValueError
        If the divider is no number of cycles, or too small.
    """

    def __init__(self, *, divider: int) -> None:
        self._divider = _check_divider(divider)
        super().__init__({"i": In(stream.Signature(8)), "pin": Out(1, init=1)})

    @property
    def divider(self) -> int:
        return self._divider

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = Signal(9)  # what follows the bit on the line, stop bit included
        left = Signal(range(11))  # bits of the byte, the one on the line included
        timer = Signal(range(self._divider))
        last = (left == 0) | ((left == 1) & (timer == 0))
        m.d.comb += self.i.ready.eq(last)
        with m.If(self.i.valid & last):
            m.d.sync += [
                self.pin.eq(0),
                bits.eq(Cat(self.i.payload, Const(1, 1))),
                left.eq(10),
                timer.eq(self._divider - 1),
            ]
        with m.Elif(left != 0):
            m.d.sync += timer.eq(timer - 1)
            with m.If(timer == 0):
                m.d.sync += [
                    timer.eq(self._divider - 1),
                    left.eq(left - 1),
                    self.pin.eq(bits[0]),
                    bits.eq(Cat(bits[1:], Const(1, 1))),
                ]
        return m


class UartReceiver(wiring.Component):
    """Receives bytes: two flip-flops against metastability, then a sample in each bit's middle.

    A start bit that is over before its middle is no start bit. A byte whose stop bit is 0 is
    dropped, and nothing is taken until the line is 1 again.

    Parameters
    ----------
    divider : int
        Clock cycles a bit.

    Members
    -------
    pin : In(1)
        The line, asynchronous.
    o : Out(stream of 8, always ready)
        A byte stands for one cycle, half a bit before its stop bit ends.

    Raises
    ------
    TypeError, ValueError
        If the divider is no number of cycles, or too small.
    """

    def __init__(self, *, divider: int) -> None:
        self._divider = _check_divider(divider)
        super().__init__({"pin": In(1, init=1), "o": Out(stream.Signature(8, always_ready=True))})

    @property
    def divider(self) -> int:
        return self._divider

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.pin, line, init=1)
        timer = Signal(range(self._divider))
        left = Signal(range(10))  # data bits and stop bit still to come
        m.d.sync += self.o.valid.eq(0)
        with m.FSM():
            with m.State("IDLE"):
                # The line has been 0 for a cycle when the timer starts.
                m.d.sync += timer.eq(self._divider // 2 - 1)
                with m.If(~line):
                    m.next = "START"
            with m.State("START"):
                m.d.sync += timer.eq(timer - 1)
                with m.If(line):
                    m.next = "IDLE"
                with m.Elif(timer == 0):
                    m.d.sync += [timer.eq(self._divider - 1), left.eq(9)]
                    m.next = "BITS"
            with m.State("BITS"):
                m.d.sync += timer.eq(timer - 1)
                with m.If(timer == 0):
                    m.d.sync += [timer.eq(self._divider - 1), left.eq(left - 1)]
                    with m.If(left != 1):
                        m.d.sync += self.o.payload.eq(Cat(self.o.payload[1:], line))
                    with m.Elif(line):
                        m.d.sync += self.o.valid.eq(1)
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "BREAK"
            with m.State("BREAK"), m.If(line):
                m.next = "IDLE"
        return m
