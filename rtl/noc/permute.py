# SPDX-License-Identifier: Apache-2.0
"""Flits of the bufferless network, and the network of four that gives each of them a port."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...arch.noc import FLIT_BITS

__all__ = ["INDEX_BITS", "NET_FLIT", "Permutation", "comes_first"]

INDEX_BITS = 8

_NODE = data.StructLayout({"x": 4, "y": 4, "host": 1})

NET_FLIT = data.StructLayout(
    {
        "data": FLIT_BITS,
        "valid": 1,
        "credit": 1,
        "kind": 1,
        "index": INDEX_BITS,
        "length": INDEX_BITS,
        "dst": _NODE,
        "src": _NODE,
    }
)
"""A flit that finds its way alone: ``index`` in its packet, of ``length`` payload flits; or a
``credit``, which tells ``dst`` that ``src`` has room for a packet of class ``kind`` again."""


def comes_first(a: data.View, b: data.View, golden: Value, else_a: Value) -> Value:
    """Whether flit ``a`` goes before ``b``; ``golden`` has a bit for each.

    Golden flits go first, among them credits, then the packet's flits in their order: one of them
    is before all others, so it is never deflected. Of two that are not, ``else_a`` tells.
    """
    order_a = Cat(a.index, ~a.credit)
    order_b = Cat(b.index, ~b.credit)
    return Mux(golden == 3, order_a < order_b, Mux(golden == 0, else_a, golden[0]))


class Permutation(wiring.Component):
    """Four flits to four outputs through two stages of two switches (CHIPPER, Fig. 4).

    A switch gives the flit that comes first what it wants, and the other the rest. The first stage
    sends to the pair of outputs north and south, or east and west. Combinational.

    Members
    -------
    i : In(NET_FLIT) times 4
    golden, wants : In(1) times 4, In(2) times 4
        Of each flit; what it wants is a :class:`~ohmtwin.arch.noc.Port` below LOCAL.
    random : In(4)
        A bit a switch.
    o : Out(NET_FLIT) times 4
        By port.
    deflected : Out(4)
        The flit at an output wanted another.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(NET_FLIT).array(4),
                "golden": In(1).array(4),
                "wants": In(2).array(4),
                "random": In(4),
                "o": Out(NET_FLIT).array(4),
                "deflected": Out(4),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        inputs = [(self.i[p], self.golden[p], self.wants[p]) for p in range(4)]
        # Bit 0 of a port tells the pair, bit 1 which of it.
        upper = self._switch(m, 0, inputs[0], inputs[1], 0)
        lower = self._switch(m, 1, inputs[2], inputs[3], 0)
        for pair in (0, 1):
            outputs = self._switch(m, 2 + pair, upper[pair], lower[pair], 1)
            for which, (flit, _, wants) in enumerate(outputs):
                port = pair + 2 * which
                m.d.comb += [
                    self.o[port].eq(flit),
                    self.deflected[port].eq(flit.valid & (wants != port)),
                ]
        return m

    def _switch(
        self,
        m: Module,
        number: int,
        a: tuple[data.View, Value, Value],
        b: tuple[data.View, Value, Value],
        bit: int,
    ) -> Sequence[tuple[data.View, Value, Value]]:
        """Both outputs, of which a flit wants the one that ``bit`` of its port tells."""
        swap = Signal(name=f"swap{number}")
        a_first = comes_first(a[0], b[0], Cat(a[1], b[1]), self.random[number])
        m.d.comb += swap.eq(Mux(a[0].valid & (a_first | ~b[0].valid), a[2][bit], ~b[2][bit]))
        outputs = []
        for which in (0, 1):
            flit = Signal(NET_FLIT, name=f"flit{number}_{which}")
            golden = Signal(name=f"golden{number}_{which}")
            wants = Signal(2, name=f"wants{number}_{which}")
            first, second = (b, a) if which == 0 else (a, b)
            m.d.comb += [
                flit.eq(Mux(swap, first[0].as_value(), second[0].as_value())),
                golden.eq(Mux(swap, first[1], second[1])),
                wants.eq(Mux(swap, first[2], second[2])),
            ]
            outputs.append((flit, golden, wants))
        return outputs
