# SPDX-License-Identifier: Apache-2.0
"""A board's fabric with the other end of its serial line, for a simulation without pins."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .link.uart import UartReceiver, UartTransmitter
from .top import BoardFabric

__all__ = ["LineSimulation"]


class LineSimulation(wiring.Component):
    """Bytes to the board's ``rx`` pin and from its ``tx`` pin, one in the low bits of each word.

    The streams are those of a tile, so that whatever simulates a tile simulates a board.

    Parameters
    ----------
    board : BoardFabric

    Members
    -------
    i, o : In(stream of 64), Out(stream of 64)
        Bytes to and from the line; a byte that is not taken at once is lost.
    """

    def __init__(self, *, board: BoardFabric) -> None:
        self._board = board
        super().__init__({"i": In(stream.Signature(64)), "o": Out(stream.Signature(64))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.board = board = self._board
        m.submodules.sender = sender = UartTransmitter(divider=board.divider)
        m.submodules.listener = listener = UartReceiver(divider=board.divider)
        m.d.comb += [
            sender.i.payload.eq(self.i.payload),
            sender.i.valid.eq(self.i.valid),
            self.i.ready.eq(sender.i.ready),
            board.rx.eq(sender.pin),
            listener.pin.eq(board.tx),
            self.o.payload.eq(listener.o.payload),
            self.o.valid.eq(listener.o.valid),
        ]
        return m
