# SPDX-License-Identifier: Apache-2.0
"""Which outputs a packet goes to."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...arch.noc import MAX_SIDE, PORTS, Node, Port
from .flit import HEADER_LAYOUT

__all__ = ["RouteLookup"]

_HOST = MAX_SIDE**2


class RouteLookup(wiring.Component):
    """Outputs of a header, combinational: dimension order, or by a table.

    Parameters
    ----------
    host : bool
        Whether the west port leads to a host.
    multicast : bool
        Whether ``absorb`` is looked at.
    table : mapping of Node to Port, optional
        One router's part of a routing table, checked before
        (:func:`~ohmtwin.arch.noc.check_table`).

    Members
    -------
    x, y : In(4), In(4)
        Where the router is.
    header : In(HEADER_LAYOUT)
    outputs : Out(5)
        A bit a port. Two are set where a packet is absorbed on its way.
    """

    def __init__(
        self, *, host: bool, multicast: bool = True, table: Mapping[Node, Port] | None = None
    ) -> None:
        self._host = host
        self._multicast = multicast
        self._table = table
        super().__init__(
            {"x": In(4), "y": In(4), "header": In(HEADER_LAYOUT), "outputs": Out(PORTS)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self._table is None:
            self._dimension_order(m)
        else:
            self._look_up(m, self._table)
        return m

    def _dimension_order(self, m: Module) -> None:
        """:func:`~ohmtwin.arch.noc.route` and :func:`~ohmtwin.arch.noc.absorbed`."""
        header = self.header
        here_x = Signal()
        here_y = Signal()
        absorb = Signal()
        last_is_y = header.dst_y != header.src_y
        leaves_west = header.host if self._host else Const(0)
        at_home = here_x & here_y & ~leaves_west
        position = Mux(last_is_y, self.y, self.x)
        m.d.comb += [
            here_x.eq(header.dst_x == self.x),
            here_y.eq(header.dst_y == self.y),
            absorb.eq(header.absorb.bit_select(position, 1) & (~last_is_y | here_x)),
            self.outputs[Port.EAST].eq(header.dst_x > self.x),
            self.outputs[Port.WEST].eq((header.dst_x < self.x) | (here_x & here_y & leaves_west)),
            self.outputs[Port.SOUTH].eq(here_x & (header.dst_y > self.y)),
            self.outputs[Port.NORTH].eq(here_x & (header.dst_y < self.y)),
            self.outputs[Port.LOCAL].eq((absorb & self._multicast) | at_home),
        ]

    def _look_up(self, m: Module, table: Mapping[Node, Port]) -> None:
        header = self.header
        with m.Switch(Cat(header.dst_x, header.dst_y, header.host)):
            for dst, port in table.items():
                key = dst.x | dst.y * MAX_SIDE
                if dst.host:
                    keys = [key | _HOST]
                elif Node(dst.x, dst.y, True) in table:
                    keys = [key]
                else:  # where there is no host port, the host bit means nothing
                    keys = [key, key | _HOST]
                with m.Case(*keys):
                    m.d.comb += self.outputs.eq(1 << port)
