# SPDX-License-Identifier: Apache-2.0
"""Control packets that come to a network interface: acknowledgments, and words of the host."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.messages import Kind
from ...arch.noc_interface import CONTROL_USER, LIST_ENTRIES, ROUTE_WORDS, ControlKind
from .flit import flit_layout, header_of

__all__ = ["CONTROL_USER_LAYOUT", "HOST_FIFO", "ControlReceiver"]

CONTROL_USER_LAYOUT = data.StructLayout(dict(CONTROL_USER))
"""The ``user`` field of a control packet."""

HOST_FIFO = 4
"""Words of the host that wait for the tile."""

_ROUTE_BITS = 4
_ENTRY = data.StructLayout({"word": 64, "confirm": 1})


class ControlReceiver(wiring.Component):
    """Sorts control packets: ACKs at once, the host's words through a small FIFO to the tile.

    Messages that configure the interface are obeyed here, all others handed on whole. A word of the
    host that comes in cycle t is offered to the tile from t + 1 on. An ACK waits for the words that
    came before it only where the FIFO is full.

    Members
    -------
    valid, flit, ready : In(1), In(flit_layout()), Out(1)
        A flit of the control class, never without ``ready``, which is a function of registers.
    ack, ack_route, ack_slot : Out(1), Out(4), Out(1)
        In the cycle in which an ACK comes.
    o : Out(stream of 64)
        Words for the tile.
    busy : Out(1)
        A word for the tile waits, or a message is under way: the tile's input belongs to the host.
    write_route, write_list, address, word : Out(1), Out(1), Out(8), Out(64)
        A word of the configuration.
    host_y : Out(4)
        Row of the host port that the last words came from.
    confirm, confirmed : Out(1), In(1)
        A packet's last word has been taken, and the host is to know: until ``confirmed``.
    fault : Out(1)
        A word of the configuration was for an address that is not there.
    stop : In(1)
        Forget the fault.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "valid": In(1),
                "flit": In(flit_layout()),
                "ready": Out(1, init=1),
                "ack": Out(1),
                "ack_route": Out(4),
                "ack_slot": Out(1),
                "o": Out(stream.Signature(64)),
                "busy": Out(1),
                "write_route": Out(1),
                "write_list": Out(1),
                "address": Out(8),
                "word": Out(64),
                "host_y": Out(4),
                "confirm": Out(1),
                "confirmed": In(1),
                "fault": Out(1),
                "stop": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fifo = fifo = memory.Memory(shape=_ENTRY, depth=HOST_FIFO, init=[])
        write, read = fifo.write_port(), fifo.read_port(domain="comb")
        tail = Signal(range(HOST_FIFO))
        head = Signal(range(HOST_FIFO))
        level = Signal(range(HOST_FIFO + 1))
        pop = Signal()

        inside = Signal()
        confirmed = Signal()
        header = header_of(self.flit)
        user = data.View(CONTROL_USER_LAYOUT, header.user[: CONTROL_USER_LAYOUT.size])
        m.d.comb += [
            self.ack.eq(self.valid & ~inside & (user.kind == ControlKind.ACK)),
            self.ack_route.eq(user.route),
            self.ack_slot.eq(user.slot),
            write.addr.eq(tail),
            write.data.word.eq(self.flit.data),
            write.data.confirm.eq(self.flit.last & confirmed),
            write.en.eq(self.valid & inside),
            read.addr.eq(head),
        ]
        with m.If(self.valid):
            m.d.sync += inside.eq(~self.flit.last)
            with m.If(inside):
                m.d.sync += tail.eq(tail + 1)
            with m.Elif(~self.flit.last):
                m.d.sync += [
                    confirmed.eq(user.kind == ControlKind.CONFIRMED),
                    self.host_y.eq(header.src_y),
                ]
        with m.If(pop):
            m.d.sync += head.eq(head + 1)
        with m.If(write.en & ~pop):
            m.d.sync += [level.eq(level + 1), self.ready.eq(level != HOST_FIFO - 1)]
        with m.Elif(pop & ~write.en):
            m.d.sync += [level.eq(level - 1), self.ready.eq(1)]
        self._messages(m, read, level, pop)
        return m

    def _messages(self, m: Module, read: memory.ReadPort, level: Signal, pop: Signal) -> None:
        """Words that leave the FIFO: handed on, or taken as configuration."""
        there = Signal()
        left = Signal(16)  # payload words of the message under way
        own = Signal()  # it is for the interface
        lists = Signal()
        address = Signal(32)
        word = read.data.word
        header_kind = word[:8]
        is_own = (header_kind == Kind.WRITE_ROUTE) | (header_kind == Kind.WRITE_LIST)
        take = Signal()

        m.d.comb += [
            there.eq((level != 0) & ~(read.data.confirm & self.confirm)),
            self.busy.eq((level != 0) | (left != 0)),
            self.o.payload.eq(word),
            self.word.eq(word),
            self.address.eq(address),
        ]
        with m.If(left == 0):
            m.d.comb += [self.o.valid.eq(there & ~is_own), take.eq(is_own | self.o.ready)]
            with m.If(pop):
                m.d.sync += [
                    own.eq(is_own),
                    lists.eq(header_kind == Kind.WRITE_LIST),
                    left.eq(word[16:32]),
                    address.eq(word[32:]),
                ]
                with m.If(header_kind == Kind.READ_REG):
                    m.d.sync += left.eq(0)
        with m.Else():
            m.d.comb += [self.o.valid.eq(there & ~own), take.eq(own | self.o.ready)]
            with m.If(pop):
                m.d.sync += [left.eq(left - 1), address.eq(address + 1)]
            with m.If(pop & own):
                routes = ROUTE_WORDS << _ROUTE_BITS
                entries = 2 * LIST_ENTRIES
                m.d.comb += [
                    self.write_route.eq(~lists & (address < routes)),
                    self.write_list.eq(lists & (address < entries)),
                ]
                m.d.sync += self.fault.eq(self.fault | ~(self.write_route | self.write_list))
        m.d.comb += pop.eq(there & take)
        with m.If(self.confirmed):
            m.d.sync += self.confirm.eq(0)
        with m.If(pop & read.data.confirm):
            m.d.sync += self.confirm.eq(1)
        with m.If(self.stop):
            m.d.sync += self.fault.eq(0)
