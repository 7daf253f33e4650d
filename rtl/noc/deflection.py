# SPDX-License-Identifier: Apache-2.0
"""The bufferless router: flits that cannot have the port they want take another (CHIPPER)."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ...arch.noc import CLASSES, PORTS, MeshShape, Port, neighbor
from .counters import COUNTS
from .flit import LinkSignature
from .mesh import ACROSS, mesh_members
from .permute import NET_FLIT, Permutation, comes_first
from .reassembly import PacketReceiver, PacketSender, node_bits, node_number

__all__ = ["DeflectionMesh", "DeflectionNode"]

_EPOCH_BITS = 7
"""A packet is golden for so long that all of it arrives: 30 hops and 32 flits and some."""


class DeflectionNode(wiring.Component):
    """A router without buffers, and the interface that makes packets of flits again.

    After Fallin, Craik, Mutlu, "CHIPPER: a low-complexity bufferless deflection router" (HPCA
    2011): each cycle, every flit at an input leaves by some output, after one for this node was
    taken out and one put in where an input is free; a flit a cycle a port, one cycle a hop.
    Golden packets (section 4.2): each possible packet in its turn goes before all others for
    2**7 cycles, so that each flit arrives in the end. In the place of CHIPPER's retransmissions
    there is room at each node for a packet of every source and class, and a credit for it.

    Whether a source gets a flit in is not bounded: the four inputs may be taken cycle after cycle.

    Parameters
    ----------
    shape : MeshShape
    max_flits : int
        Of a packet, its header counted: a power of two up to 32.
    counters : bool

    Members
    -------
    x, y, host : In(4), In(4), In(1)
        Where it is; at the host port beside tile (x, y). Constant.
    i, o : In(LinkSignature), Out(LinkSignature)
        Packets into and out of the network.
    net_i, net_o : In(NET_FLIT), Out(NET_FLIT), each times 4
        To neighbors, by :class:`~ohmtwin.arch.noc.Port`. An output without one leads back to its
        input.
    idle : Out(1)
        It holds nothing.
    counts : Out(ArrayLayout(COUNTS, 5))
        Only with counters: ``flits`` of each output; ``contended``: those of them that wanted
        another; ``blocked``: at the local port, offers not taken.
    """

    def __init__(self, *, shape: MeshShape, max_flits: int = 32, counters: bool = False) -> None:
        if not isinstance(shape, MeshShape):
            raise TypeError(f"Shape must be a MeshShape, not {shape!r}")
        if not 2 <= max_flits <= 32 or max_flits & (max_flits - 1):
            raise ValueError(f"Flits of a packet must be a power of two, 2 to 32, not {max_flits}")
        self._shape = shape
        self._max = max_flits
        self._counters = counters
        members: dict[str, Any] = {
            "x": In(4),
            "y": In(4),
            "host": In(1),
            "i": In(LinkSignature()),
            "o": Out(LinkSignature()),
            "net_i": In(NET_FLIT).array(4),
            "net_o": Out(NET_FLIT).array(4),
            "idle": Out(1),
        }
        if counters:
            members["counts"] = Out(data.ArrayLayout(COUNTS, PORTS))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        here, golden = [], []
        token = self._token(m)
        for p in range(4):
            flit = self.net_i[p]
            here.append(Signal(name=f"here{p}"))
            golden.append(Signal(name=f"golden{p}"))
            own = (flit.dst.x == self.x) & (flit.dst.y == self.y) & (flit.dst.host == self.host)
            m.d.comb += [here[p].eq(flit.valid & own), golden[p].eq(self._name(flit) == token)]
        noise = Signal(16, init=1)  # x^16 + x^14 + x^13 + x^11 + 1
        m.d.sync += noise.eq(Cat(noise[15] ^ noise[13] ^ noise[12] ^ noise[10], noise))

        # Take one out.
        best = Signal(range(4))
        found = Signal()
        out = Signal(NET_FLIT)
        flit, gold, which, any_here = self.net_i[0], golden[0], Value.cast(0), here[0]
        for p in range(1, 4):
            first = comes_first(flit, self.net_i[p], Cat(gold, golden[p]), noise[p])
            keep = any_here & (first | ~here[p])
            kept = Signal(NET_FLIT, name=f"best{p}")
            m.d.comb += kept.eq(Mux(keep, flit.as_value(), self.net_i[p].as_value()))
            flit, gold = kept, Mux(keep, gold, golden[p])
            which = Mux(keep, which, p)
            any_here = any_here | here[p]
        m.d.comb += [best.eq(which), found.eq(any_here), out.eq(flit)]

        inject, taken = self._inject(m, *self._ends(m, out, found), found)

        # Put one in at the first input that is free then.
        m.submodules.permutation = permutation = Permutation()
        free: Value = taken
        for p in range(4):
            flit = Signal(NET_FLIT, name=f"flit{p}")
            leaves = found & (best == p)
            empty = ~self.net_i[p].valid | leaves
            m.d.comb += flit.eq(self.net_i[p])
            with m.If(empty):
                m.d.comb += flit.valid.eq(0)
                with m.If(free):
                    m.d.comb += flit.eq(inject)
            free = free & ~empty
            wants = Signal(2, name=f"wants{p}")
            m.d.comb += [
                permutation.i[p].eq(flit),
                permutation.golden[p].eq(self._name(flit) == token),
                wants.eq(self._wants(flit)),
                permutation.wants[p].eq(wants),
            ]
        m.d.comb += permutation.random.eq(noise[4:8])
        m.d.sync += [self.net_o[p].eq(permutation.o[p]) for p in range(4)]
        if self._counters:
            self._count(m, permutation)
        return m

    def _name(self, flit: data.View) -> Value:
        """What a packet is called while it is on its way: there is one of that name at most.

        A credit is called as a packet between the same two would be, and goes before it.
        """
        bits = node_bits(self._shape)
        return Cat(flit.kind, node_number(flit.src, bits), node_number(flit.dst, bits))

    def _token(self, m: Module) -> Signal:
        """The name that is golden now; in step at all nodes."""
        epoch = Signal(_EPOCH_BITS)
        token = Signal(1 + 2 * (sum(node_bits(self._shape)) + 1))
        m.d.sync += epoch.eq(epoch + 1)
        with m.If(epoch == 2**_EPOCH_BITS - 1):
            m.d.sync += token.eq(token + 1)
        return token

    def _wants(self, flit: data.View) -> Value:
        """Dimension order. At a host port all go east, to the mesh."""
        dst = flit.dst
        east = Mux(self.host, 1, dst.x > self.x)
        along_x = self.host | (dst.x != self.x)
        along_y = dst.y != self.y
        return Mux(
            along_x,
            Mux(east, Port.EAST.value, Port.WEST.value),
            Mux(
                along_y,
                Mux(dst.y > self.y, Port.SOUTH.value, Port.NORTH.value),
                Port.WEST.value,  # to the host port; what is for the tile here goes anywhere
            ),
        )

    def _ends(
        self, m: Module, out: data.View, found: Value
    ) -> tuple[PacketReceiver, list[PacketSender]]:
        """Receiver and senders, with what came out and what comes from the local port."""
        m.submodules.receiver = receiver = PacketReceiver(shape=self._shape, max_flits=self._max)
        connect(m, receiver.o, flipped(self.o))
        m.d.comb += [receiver.i.eq(out), receiver.i.valid.eq(found & ~out.credit)]
        senders = []
        for kind in range(CLASSES):
            sender = PacketSender(shape=self._shape, kind=kind, max_flits=self._max)
            m.submodules[f"sender{kind}"] = sender
            senders.append(sender)
            m.d.comb += [
                sender.x.eq(self.x),
                sender.y.eq(self.y),
                sender.host.eq(self.host),
                sender.i.eq(self.i.flit.data),
                sender.last.eq(self.i.flit.last),
                sender.push.eq(self.i.valid & (self.i.flit.kind == kind) & sender.ready),
                self.i.ready[kind].eq(sender.ready),
                sender.credit_from.eq(node_number(out.src, node_bits(self._shape))),
                sender.credit.eq(found & out.credit & (out.kind == kind)),
            ]
        holds = Cat(self.net_o[p].valid for p in range(4)).any()
        m.d.comb += self.idle.eq(~holds & Cat(receiver.empty, *(s.empty for s in senders)).all())
        return receiver, senders

    def _inject(
        self, m: Module, receiver: PacketReceiver, senders: list[PacketSender], found: Value
    ) -> tuple[Signal, Signal]:
        """The flit to put in, and whether it goes: credits first, then each class in turn."""
        prefer = Signal()
        inject = Signal(NET_FLIT)
        taken = Signal()
        credit = Signal(NET_FLIT)
        full = Cat(self.net_i[p].valid for p in range(4)).all()
        second = Mux(senders[0].o.valid & senders[1].o.valid, prefer, senders[1].o.valid)
        flit = Mux(second, senders[1].o.as_value(), senders[0].o.as_value())
        m.d.comb += [
            credit.eq(receiver.credit),
            credit.src.x.eq(self.x),
            credit.src.y.eq(self.y),
            credit.src.host.eq(self.host),
            inject.eq(Mux(credit.valid, credit.as_value(), flit)),
            taken.eq((~full | found) & inject.valid),
            receiver.taken.eq(taken & credit.valid),
            senders[0].taken.eq(taken & ~credit.valid & ~second),
            senders[1].taken.eq(taken & ~credit.valid & second),
        ]
        with m.If(taken & ~credit.valid):
            m.d.sync += prefer.eq(~second)
        return inject, taken

    def _count(self, m: Module, permutation: Permutation) -> None:
        for p in range(4):
            counts = self.counts[p]
            with m.If(permutation.o[p].valid):
                m.d.sync += counts.flits.eq(counts.flits + 1)
                with m.If(permutation.deflected[p]):
                    m.d.sync += counts.contended.eq(counts.contended + 1)
        counts = self.counts[Port.LOCAL]
        with m.If(self.o.valid):
            with m.If(self.o.ready.bit_select(self.o.flit.kind, 1)):
                m.d.sync += counts.flits.eq(counts.flits + 1)
            with m.Else():
                m.d.sync += counts.blocked.eq(counts.blocked + 1)


class DeflectionMesh(wiring.Component):
    """A mesh of bufferless routers, with the members of :class:`~ohmtwin.rtl.noc.mesh.Mesh`.

    Packets have at most ``max_flits`` flits, whatever they are absorbed by. They are given away
    whole: a packet of n flits over h links has left an empty mesh h + 2n + 4 cycles after its
    header was taken. ``idle`` tells that nothing is inside; the golden packet
    changes all the same.

    Parameters
    ----------
    shape : MeshShape
    max_flits : int
    counters : bool
        See :class:`DeflectionNode`.
    """

    def __init__(self, *, shape: MeshShape, max_flits: int = 32, counters: bool = False) -> None:
        self._shape = shape
        self._max = max_flits
        self._counters = counters
        members = mesh_members(shape, 64)
        if counters:
            each = data.ArrayLayout(COUNTS, PORTS)
            members["counts"] = Out(data.ArrayLayout(each, shape.tiles))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self._shape
        nodes = {}
        for node in shape.nodes():
            at = DeflectionNode(shape=shape, max_flits=self._max, counters=self._counters)
            nodes[node] = at
            name = f"{'host' if node.host else 'node'}_{node.x}_{node.y}"
            m.submodules[name] = at
            m.d.comb += [at.x.eq(node.x), at.y.eq(node.y), at.host.eq(node.host)]
            if node.host:
                index = shape.hosts.index(node.y)
                connect(m, flipped(self.host_i[index]), at.i)
                connect(m, at.o, flipped(self.host_o[index]))
            else:
                index = shape.index(node.x, node.y)
                connect(m, flipped(self.i[index]), at.i)
                connect(m, at.o, flipped(self.o[index]))
                if self._counters:
                    m.d.comb += self.counts[index].eq(at.counts)
        for node, at in nodes.items():
            for port, across in ACROSS.items():
                if node.host:
                    there = node._replace(host=False) if port is Port.EAST else None
                else:
                    there = neighbor(shape, node.x, node.y, port)
                if there is None:  # back to itself
                    m.d.comb += at.net_i[port].eq(at.net_o[port])
                else:
                    m.d.comb += nodes[there].net_i[across].eq(at.net_o[port])
        m.d.comb += self.idle.eq(Cat(at.idle for at in nodes.values()).all())
        return m
