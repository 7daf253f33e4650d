# SPDX-License-Identifier: Apache-2.0
"""The buffered router: wormhole, dimension order, two message classes."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...arch.noc import CLASSES, FLIT_BITS, PORTS, Node, Port
from .arbiter import PacketArbiter
from .buffer import FlitBuffer
from .counters import COUNTS, LinkCounters
from .flit import LinkSignature, check_flit_bits, header_of
from .lookup import RouteLookup
from .share import ClassShare

__all__ = ["Router", "router_signature"]


def router_signature(bits: int, counters: bool) -> wiring.Signature:
    """Members of a router; see :class:`Router`."""
    link = LinkSignature(bits)
    members = {
        "x": In(4),
        "y": In(4),
        "i": In(link).array(PORTS),
        "o": Out(link).array(PORTS),
        "idle": Out(1),
    }
    if counters:
        members["counts"] = Out(data.ArrayLayout(COUNTS, PORTS))
    return wiring.Signature(members)


class Router(wiring.Component):
    """Five ports, each a link in and a link out; packets go from any to any.

    A flit taken in cycle t is offered at its output in t + 1 if that is free: one cycle a hop. A
    flit a cycle a port. An output takes packets of one class from its inputs in turn and holds a
    packet to its tail; the classes share the link flit by flit, in turn while both can go.

    What goes from a port back to the same port is allowed at the local port (a packet to its own
    tile) and at a host port, the west port of a router with ``host``. Elsewhere no route does it.

    Parameters
    ----------
    depth : int
        Flits in each buffer (one an input and class), a power of two.
    bits : int
        Data of a flit.
    host : bool
        Whether the west port leads to a host; without, the header's host bit means nothing.
    multicast : bool
        Whether ``absorb`` is looked at. It costs a read port of each buffer.
    counters : bool
        Count what passes and waits at each output.
    table : mapping of Node to Port, optional
        Output for each destination, in the place of dimension order; then there is no multicast.

    Members
    -------
    x, y : In(4), In(4)
        Where it is; constant.
    i, o : In(LinkSignature), Out(LinkSignature), each times 5
        By :class:`~ohmtwin.arch.noc.Port`. Ports off the edge: ``valid`` and ``ready`` 0.
    idle : Out(1)
        It holds no flit. If nothing is offered to it either, a cycle changes nothing in it.
    counts : Out(ArrayLayout(COUNTS, 5))
        Only with counters: see :class:`~ohmtwin.rtl.noc.counters.LinkCounters`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of range.
    """

    def __init__(
        self,
        *,
        depth: int = 8,
        bits: int = FLIT_BITS,
        host: bool = False,
        multicast: bool = True,
        counters: bool = False,
        table: Mapping[Node, Port] | None = None,
    ) -> None:
        self._bits = check_flit_bits(bits)
        self._host = host
        self._multicast = multicast
        self._table = table
        super().__init__(router_signature(bits, counters))
        self._counters = counters
        # Looked into by proofs.
        self.buffers = [
            [
                FlitBuffer(depth=depth, bits=bits, multicast=multicast and table is None)
                for _ in range(CLASSES)
            ]
            for _ in range(PORTS)
        ]
        self.arbiters = [
            [PacketArbiter(count=len(self.inputs_of(o))) for _ in range(CLASSES)] for o in Port
        ]

    @property
    def latency(self) -> int:
        """Cycles from a flit's transfer in to its transfer out."""
        return 1

    def inputs_of(self, output: Port) -> list[Port]:
        """Inputs from which packets can come to an output."""
        if output is Port.LOCAL:
            return list(Port)
        if output is Port.WEST and self._host:
            return list(Port)
        if self._table is not None:
            return [port for port in Port if port != output]
        if output in (Port.EAST, Port.WEST):  # along x, only what comes along x
            across = Port.WEST if output is Port.EAST else Port.EAST
            return [across, Port.LOCAL]
        return [port for port in Port if port != output]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for port in Port:
            self._input(m, port)
        for port in Port:
            self._output(m, port)
        # A buffer's flits move when an output takes them.
        for port in Port:
            for kind in range(CLASSES):
                buffer = self.buffers[port][kind]
                pops = {False: Const(0), True: Const(0)}
                for output in Port:
                    if port in self.inputs_of(output):
                        bit = self.inputs_of(output).index(port)
                        arbiter = self.arbiters[output][kind]
                        local = output is Port.LOCAL
                        pops[local] = pops[local] | (arbiter.taken & arbiter.grant[bit])
                m.d.comb += [buffer.onward_pop.eq(pops[False]), buffer.local_pop.eq(pops[True])]
        m.d.comb += self.idle.eq(Cat(b.empty for pair in self.buffers for b in pair).all())
        return m

    def _input(self, m: Module, port: Port) -> None:
        link = self.i[port]
        m.submodules[f"lookup_{port.name.lower()}"] = lookup = RouteLookup(
            host=self._host, multicast=self._multicast, table=self._table
        )
        m.d.comb += [
            lookup.x.eq(self.x),
            lookup.y.eq(self.y),
            lookup.header.eq(header_of(link.flit)),
        ]
        for kind in range(CLASSES):
            buffer = self.buffers[port][kind]
            m.submodules[f"buffer_{port.name.lower()}{kind}"] = buffer
            inside = Signal(name=f"inside_{port.name.lower()}{kind}")  # the next is no header
            outputs = Signal(PORTS, name=f"outputs_{port.name.lower()}{kind}")
            m.d.comb += [
                link.ready[kind].eq(buffer.ready),
                buffer.push.eq(link.valid & (link.flit.kind == kind) & buffer.ready),
                buffer.i.data.eq(link.flit.data),
                buffer.i.last.eq(link.flit.last),
                buffer.i.outputs.eq(Mux(inside, outputs, lookup.outputs)),
            ]
            with m.If(buffer.push):
                m.d.sync += [inside.eq(~link.flit.last), outputs.eq(buffer.i.outputs)]

    def _output(self, m: Module, output: Port) -> None:
        link = self.o[output]
        name = output.name.lower()
        inputs = self.inputs_of(output)
        has = Signal(CLASSES, name=f"has_{name}")
        kind = Signal(name=f"kind_{name}")
        for k in range(CLASSES):
            arbiter = self.arbiters[output][k]
            m.submodules[f"arbiter_{name}{k}"] = arbiter
            requests = [self._request(self.buffers[port][k], output) for port in inputs]
            m.d.comb += [
                arbiter.requests.eq(Cat(requests)),
                has[k].eq(arbiter.grant != 0),
                arbiter.offered.eq(has[k] & (kind == k)),
                arbiter.taken.eq(arbiter.offered & link.ready[k]),
                arbiter.last.eq(link.flit.last),
            ]
        m.submodules[f"share_{name}"] = share = ClassShare()
        m.d.comb += [
            share.has.eq(has),
            share.ready.eq(link.ready),
            kind.eq(share.kind),
            link.valid.eq(has != 0),
            link.flit.kind.eq(kind),
        ]
        flits = [[self._flit(self.buffers[port][k], output) for port in inputs] for k in (0, 1)]
        for k in range(CLASSES):
            with m.If(kind == k):
                grant = self.arbiters[output][k].grant
                for bit, entry in enumerate(flits[k]):
                    with m.If(grant[bit]):
                        m.d.comb += [
                            link.flit.data.eq(entry.data),
                            link.flit.last.eq(entry.last),
                        ]
        if self._counters:
            m.submodules[f"counters_{name}"] = counters = LinkCounters()
            m.d.comb += [
                counters.valid.eq(link.valid),
                counters.taken.eq(link.valid & link.ready.bit_select(kind, 1)),
                counters.shared.eq(has == 3),
                counters.contended.eq(
                    Cat(a.requests & ~a.grant for a in self.arbiters[output]) != 0
                ),
                self.counts[output].eq(counters.counts),
            ]

    @staticmethod
    def _flit(buffer: FlitBuffer, output: Port) -> data.View:
        return buffer.local if output is Port.LOCAL else buffer.onward

    @staticmethod
    def _request(buffer: FlitBuffer, output: Port) -> Value:
        if output is Port.LOCAL:
            return buffer.local_valid
        return buffer.onward_valid & buffer.onward.outputs[output]
