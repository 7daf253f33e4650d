# SPDX-License-Identifier: Apache-2.0
"""Ends of the bufferless network: packets into flits that travel alone, and flits into packets."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from ...arch.noc import CLASSES, FLIT_BITS, MeshShape
from .flit import HEADER_LAYOUT, LinkSignature
from .permute import NET_FLIT
from .share import ClassShare

__all__ = ["PacketReceiver", "PacketSender", "node_bits", "node_number"]


def node_bits(shape: MeshShape) -> tuple[int, int]:
    """Bits of x and of y that differ within a mesh."""
    return (shape.width - 1).bit_length(), (shape.height - 1).bit_length()


def node_number(node: data.View, bits: tuple[int, int]) -> Value:
    """A number for each tile and host port: x, then y, then the host bit."""
    return Cat(node.x[: bits[0]], node.y[: bits[1]], node.host)


class PacketSender(wiring.Component):
    """Takes packets of one class and sends their flits, to one node after the other if to several.

    A packet starts when its destination has room for it: there is room for one packet of each
    source and class, and a credit comes back when it has been given away. Takes a packet at a time;
    two cycles pass between two.

    Parameters
    ----------
    shape : MeshShape
    kind : int
        The class.
    max_flits : int
        Of a packet, its header counted; a power of two.

    Members
    -------
    x, y, host : In(4), In(4), In(1)
        Where it is.
    push, i : In(1), In(64)
        A flit's data; never without ``ready``.
    last : In(1)
        It is the tail.
    ready : Out(1)
    credit, credit_from : In(1), In(node number)
        A node has room again.
    o : Out(NET_FLIT)
        What is to be sent, if ``valid``.
    taken : In(1)
        It goes in this cycle.
    empty : Out(1)
    """

    def __init__(self, *, shape: MeshShape, kind: int, max_flits: int) -> None:
        self._bits = node_bits(shape)
        self._kind = kind
        self._max = max_flits
        super().__init__(
            {
                "x": In(4),
                "y": In(4),
                "host": In(1),
                "push": In(1),
                "i": In(FLIT_BITS),
                "last": In(1),
                "ready": Out(1),
                "credit": In(1),
                "credit_from": In(sum(self._bits) + 1),
                "o": Out(NET_FLIT),
                "taken": In(1),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ring = ring = memory.Memory(shape=FLIT_BITS, depth=self._max, init=[])
        write = ring.write_port()
        read = ring.read_port(domain="comb")
        header = Signal(HEADER_LAYOUT)
        written = Signal(range(self._max + 1))
        sent = Signal(range(self._max + 1))
        complete = Signal()
        m.d.comb += [
            write.addr.eq(written),
            write.data.eq(self.i),
            write.en.eq(self.push),
            read.addr.eq(sent),
            self.ready.eq(~complete),
            self.empty.eq(written == 0),
        ]
        with m.If(self.push):
            m.d.sync += [written.eq(written + 1), complete.eq(self.last)]
            with m.If(written == 0):
                m.d.sync += header.eq(self.i)

        # Room at each node.
        room = Signal(2 ** (sum(self._bits) + 1), init=-1)
        dst = self.o.dst
        number = node_number(dst, self._bits)

        # Where copies go: positions from the source to the destination, on the last dimension.
        position = Signal(4)
        to_host = Signal()  # the copy for the tile beside the host port is sent
        last_is_y = header.dst_y != header.src_y
        end = Mux(last_is_y, header.dst_y, header.dst_x)
        at_end = position == end
        wanted = header.absorb.bit_select(position, 1) | (at_end & (~header.host | to_host))
        m.d.comb += [
            dst.x.eq(Mux(last_is_y, header.dst_x, position)),
            dst.y.eq(Mux(last_is_y, position, header.dst_y)),
            dst.host.eq(to_host),
            self.o.src.x.eq(self.x),
            self.o.src.y.eq(self.y),
            self.o.src.host.eq(self.host),
            self.o.kind.eq(self._kind),
            self.o.index.eq(sent),
            self.o.length.eq(header.length),
            self.o.data.eq(read.data),
        ]
        with m.FSM():
            with m.State("START"), m.If(written != 0):
                first = Mux(last_is_y, header.src_y, header.src_x)
                m.d.sync += [
                    position.eq(Mux(header.absorb == 0, end, first)),
                    to_host.eq((header.absorb == 0) & header.host),
                ]
                m.next = "LOOK"
            with m.State("LOOK"):
                with m.If(~wanted):
                    with m.If(at_end):  # the copy of its tile was not wanted: on to the host
                        m.d.sync += to_host.eq(1)
                    with m.Else():
                        m.d.sync += position.eq(Mux(position < end, position + 1, position - 1))
                with m.Elif(room.bit_select(number, 1)):
                    m.d.sync += room.bit_select(number, 1).eq(0)
                    m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(sent != written)
                with m.If(self.taken):
                    m.d.sync += sent.eq(sent + 1)
                    with m.If(sent == header.length):
                        m.d.sync += sent.eq(0)
                        with m.If(at_end & (to_host | ~header.host)):
                            m.d.sync += [written.eq(0), complete.eq(0)]
                            m.next = "START"
                        with m.Else():
                            with m.If(at_end):
                                m.d.sync += to_host.eq(1)
                            with m.Else():
                                m.d.sync += position.eq(
                                    Mux(position < end, position + 1, position - 1)
                                )
                            m.next = "LOOK"
        # Another node's than the one that is taken in LOOK: its packet is still on the way.
        with m.If(self.credit):
            m.d.sync += room.bit_select(self.credit_from, 1).eq(1)
        return m


class PacketReceiver(wiring.Component):
    """Puts flits together to packets and gives those that are complete away.

    There is room for a packet of each source and class, so every flit is taken at once. A packet is
    offered the cycle but one after its last flit came; when it is given away, its source is
    told that there is room.

    Parameters
    ----------
    shape : MeshShape
    max_flits : int
        Of a packet; a power of two.

    Members
    -------
    i : In(NET_FLIT)
        A flit, no credit, for this node, if ``valid``.
    o : Out(LinkSignature)
        Packets.
    credit : Out(NET_FLIT)
        What is to be sent back: class and ``dst`` are set.
    taken : In(1)
        The credit goes in this cycle.
    empty : Out(1)
    """

    def __init__(self, *, shape: MeshShape, max_flits: int) -> None:
        self._bits = node_bits(shape)
        self._max = max_flits
        super().__init__(
            {
                "i": In(NET_FLIT),
                "o": Out(LinkSignature()),
                "credit": Out(NET_FLIT),
                "taken": In(1),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.share = share = ClassShare()
        has = Signal(CLASSES)
        m.d.comb += [
            share.has.eq(has),
            share.ready.eq(self.o.ready),
            self.o.valid.eq(has != 0),
            self.o.flit.kind.eq(share.kind),
        ]
        quiet = []
        owes = [Signal(name=f"owes{kind}") for kind in range(CLASSES)]
        for kind in range(CLASSES):
            quiet.append(self._class(m, kind, has, share.kind, owes[kind]))
        m.d.comb += [
            self.credit.valid.eq(owes[0] | owes[1]),
            self.credit.credit.eq(1),
            self.credit.kind.eq(~owes[0]),
        ]
        for kind in range(CLASSES):
            with m.If(self.taken & (self.credit.kind == kind)):
                m.d.sync += owes[kind].eq(0)
        m.d.comb += self.empty.eq(Cat(quiet).all())
        return m

    def _class(self, m: Module, kind: int, has: Signal, turn: Signal, owes: Signal) -> Value:
        """All of one class; whether there is nothing of it here."""
        index_bits = (self._max - 1).bit_length()
        number_bits = sum(self._bits) + 1
        sources = 1 << number_bits
        store = memory.Memory(shape=FLIT_BITS, depth=sources * self._max, init=[])
        counts = memory.Memory(shape=index_bits + 1, depth=sources, init=[])
        entry = data.StructLayout({"number": number_bits, "length": index_bits})
        done = memory.Memory(shape=entry, depth=sources, init=[])
        m.submodules[f"store{kind}"] = store
        m.submodules[f"counts{kind}"] = counts
        m.submodules[f"done{kind}"] = done

        # Flits come.
        flit = self.i
        number = node_number(flit.src, self._bits)
        comes = flit.valid & (flit.kind == kind)
        write, read = store.write_port(), store.read_port()
        count_read, count_write = counts.read_port(domain="comb"), counts.write_port()
        push, pop = done.write_port(), done.read_port(domain="comb")
        complete = count_read.data == flit.length
        tail = Signal(number_bits + 1, name=f"tail{kind}")
        head = Signal(number_bits + 1, name=f"head{kind}")
        held = Signal(range(sources * self._max + 1), name=f"held{kind}")  # flits here
        m.d.comb += [
            write.addr.eq(Cat(flit.index[:index_bits], number)),
            write.data.eq(flit.data),
            write.en.eq(comes),
            count_read.addr.eq(number),
            count_write.addr.eq(number),
            count_write.data.eq(Mux(complete, 0, count_read.data + 1)),
            count_write.en.eq(comes),
            push.addr.eq(tail),
            push.data.number.eq(number),
            push.data.length.eq(flit.length),
            push.en.eq(comes & complete),
            pop.addr.eq(head),
        ]
        with m.If(push.en):
            m.d.sync += tail.eq(tail + 1)

        # Packets go: the store's read port holds the flit on offer.
        busy = Signal(name=f"busy{kind}")
        index = Signal(index_bits + 1, name=f"index{kind}")
        number_out = Signal(number_bits, name=f"number{kind}")
        length_out = Signal(index_bits, name=f"length{kind}")
        last = Signal(name=f"last{kind}")
        taken = has[kind] & (turn == kind) & self.o.ready[kind]
        more = busy & (index <= length_out)
        m.d.comb += [
            read.addr.eq(Cat(index[:index_bits], number_out)),
            read.en.eq(more & (~has[kind] | taken)),
        ]
        with m.If(read.en):
            m.d.sync += [has[kind].eq(1), index.eq(index + 1), last.eq(index == length_out)]
        with m.Elif(taken):
            m.d.sync += has[kind].eq(0)
        with m.If(turn == kind):
            m.d.comb += [self.o.flit.data.eq(read.data), self.o.flit.last.eq(last)]
        with m.If(~busy & (head != tail) & ~owes):
            m.d.sync += [
                busy.eq(1),
                index.eq(0),
                number_out.eq(pop.data.number),
                length_out.eq(pop.data.length),
                head.eq(head + 1),
            ]
        with m.If(taken & last):
            m.d.sync += [busy.eq(0), owes.eq(1)]
        # The source, told in the numbers of this mesh.
        x_bits, y_bits = self._bits
        with m.If(self.credit.kind == kind):
            m.d.comb += [
                self.credit.dst.x.eq(number_out[:x_bits]),
                self.credit.dst.y.eq(number_out[x_bits : x_bits + y_bits]),
                self.credit.dst.host.eq(number_out[-1]),
            ]
        with m.If(comes & ~taken):
            m.d.sync += held.eq(held + 1)
        with m.Elif(taken & ~comes):
            m.d.sync += held.eq(held - 1)
        return (held == 0) & ~busy & ~owes
