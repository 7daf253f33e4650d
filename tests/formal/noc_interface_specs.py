# SPDX-License-Identifier: Apache-2.0
"""What network interfaces must never do, as hardware that watches their parts."""

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, C, Cat, Cover, Module, Mux, Signal, Value
from amaranth.lib import data, wiring

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.noc import Kind
from ohmtwin.arch.noc_interface import ROUTE_CONFIG, ROUTE_WORDS, SLOTS
from ohmtwin.rtl.noc.feeder import Feeder
from ohmtwin.rtl.noc.flit import HEADER_LAYOUT
from ohmtwin.rtl.noc.routes import RouteTable
from ohmtwin.rtl.noc.slots import DATA_USER_LAYOUT, SlotMemory

__all__ = ["FeederSpec", "SlotsSpec"]

ROUTE = 3
CHANNEL = 2
CONSUMERS = 2
PACKETS = 2
"""Of a message; each has one word."""


class SlotsSpec(wiring.Component):
    """Consumer counts keep a slot from being written before it is read.

    The routes of one interface and the slots of two others, and between them a network that
    may bring packets late and in any order, packets of different consumers and acknowledgments too.
    Each message goes to both consumers. They may read what is full whenever they like.
    """

    def __init__(self) -> None:
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip = Chip(cores=1, channels=2, slot_words=16, packet_words=1, fifo_words=16)
        m.submodules.routes = routes = RouteTable()
        configured = Signal()
        m.d.sync += configured.eq(1)
        config = {"channel": CHANNEL, "legs": 1, "consumers": CONSUMERS}
        word = data.StructLayout(dict(ROUTE_CONFIG)).const(config)
        ours = Cat(routes.slot, C(ROUTE, 4))
        begin = AnySeq(1) & routes.may & configured
        m.d.comb += [
            routes.write.eq(~configured),
            routes.address.eq(ROUTE * ROUTE_WORDS),
            routes.word.eq(word.as_bits()),
            routes.route.eq(ROUTE),
            routes.ack_route.eq(ROUTE),
            routes.begin.eq(begin),
            routes.end.eq(begin),
        ]
        with m.If(configured):
            m.d.comb += Assume(routes.config.consumers == CONSUMERS)

        pending: list[list[Value]] = []
        acked: list[Value] = []
        for consumer in range(CONSUMERS):
            state, ack = self._consumer(m, consumer, chip, routes, begin)
            pending.append(state)
            acked.append(ack)
        # One acknowledgment a cycle reaches the producer.
        m.d.comb += [Assume(~(acked[0] & acked[1])), routes.ack.eq(Cat(acked).any())]

        for slot in range(SLOTS):
            at = slot + SLOTS * ROUTE
            count = routes.acks.read_port(domain="comb")
            m.d.comb += count.addr.eq(at)
            unread = Cat(state[slot] for state in pending)
            waits, counted = routes.waits[at], routes.counted[at]
            m.d.comb += [
                Assert(waits == unread.any()),
                Assert(counted == (waits & ~unread.all())),
                Assert(~counted | (count.data == 1)),
                Assert(configured | ~waits),
            ]
        third = Signal(range(4))
        with m.If(begin & (third != 3)):
            m.d.sync += third.eq(third + 1)
        m.d.comb += [
            Assert(~routes.stray),
            Cover((third == 3) & ~routes.waits.any()),
            Assert(ours == routes.turn[ROUTE] + SLOTS * ROUTE),
        ]
        return m

    def _consumer(
        self, m: Module, number: int, chip: Chip, routes: RouteTable, begin: Value
    ) -> tuple[list[Value], Value]:
        """One consumer; for each slot whether it is still unread or unacknowledged, and whether an
        acknowledgment of it is taken."""
        m.submodules[f"slots{number}"] = slots = SlotMemory(chip=chip)
        coming = [Signal(PACKETS, name=f"coming{number}_{slot}") for slot in range(SLOTS)]
        under_way = Signal(name=f"under_way{number}")
        slot_now = Signal(name=f"slot_now{number}")
        packet_now = Signal(range(PACKETS), name=f"packet_now{number}")
        to_ack = Signal(SLOTS, name=f"to_ack{number}")

        # A packet that has been sent and has not come: its header, later its word.
        pick_slot, pick_packet = AnySeq(1), AnySeq(1)
        there = Mux(pick_slot, coming[1], coming[0]).bit_select(pick_packet, 1)
        come = AnySeq(1) & (under_way | there)
        header = Signal(HEADER_LAYOUT, name=f"header{number}")
        user = Signal(DATA_USER_LAYOUT, name=f"user{number}")
        m.d.comb += [
            user.channel.eq(CHANNEL),
            user.slot.eq(pick_slot),
            user.route.eq(ROUTE),
            user.index.eq(pick_packet),
            user.words.eq(PACKETS - 1),
            header.user.eq(user),
            header.length.eq(1),
            slots.valid.eq(come),
            slots.flit.kind.eq(Kind.DATA),
            slots.flit.last.eq(under_way),
            slots.flit.data.eq(Mux(under_way, AnySeq(64), header.as_value())),
            slots.channel.eq(CHANNEL),
        ]
        with m.If(come):
            m.d.sync += under_way.eq(~under_way)
            with m.If(~under_way):
                m.d.sync += [slot_now.eq(pick_slot), packet_now.eq(pick_packet)]
        for slot in range(SLOTS):
            sent = begin & (routes.slot == slot)
            arrives = come & under_way & (slot_now == slot)
            with m.If(sent):
                m.d.sync += coming[slot].eq(~0)
            with m.If(arrives):
                m.d.sync += coming[slot].eq(coming[slot] & ~(C(1, PACKETS) << packet_now))
        # A packet does not come a second time while it comes.
        is_same = (pick_slot == slot_now) & (pick_packet == packet_now)
        m.d.comb += Assume(~(come & under_way & ~is_same))

        # Reading and acknowledging.
        take = AnySeq(1) & slots.full
        acked = AnySeq(1) & to_ack.bit_select(routes.ack_slot, 1)
        m.d.comb += slots.free.eq(take)
        acknowledged = Mux(acked, C(1, SLOTS) << routes.ack_slot, 0)
        read = Mux(take, C(1, SLOTS) << slots.slot, 0)
        m.d.sync += to_ack.eq((to_ack | read) & ~acknowledged)
        if number == 0:
            m.d.comb += routes.ack_slot.eq(AnySeq(1))

        # Every message is in one place. What follows is what must hold, and why.
        now = slot_now + SLOTS * CHANNEL
        m.d.comb += [
            Assert(~slots.overrun),
            Assert(~slots.stray),
            Assert(~(slots.write & slots.full_slots.bit_select(slots.index, 1))),
            Assert(slots.inside == under_way),
        ]
        with m.If(under_way):
            m.d.comb += [
                Assert(slots.taking & (slots.index == now)),
                Assert((slots.length == 1) & (slots.last_word == PACKETS - 1)),
                Assert(Mux(slot_now, coming[1], coming[0]).bit_select(packet_now, 1)),
            ]
        pending: list[Value] = []
        for slot in range(SLOTS):
            at = slot + SLOTS * CHANNEL
            count = slots.counts.read_port(domain="comb")
            m.d.comb += count.addr.eq(at)
            full, some = slots.full_slots[at], coming[slot].any()
            m.d.comb += [
                Assert(some + full + to_ack[slot] <= 1),
                Assert(slots.begun[at] == (some & ~coming[slot].all())),
                Assert(~slots.begun[at] | (count.data == 1)),
            ]
            pending.append(some | full | to_ack[slot])
        return pending, acked


class FeederSpec(wiring.Component):
    """The feeder never offers a word for which the tile's input FIFO has no room.

    The FIFO is emptied at any pace, the tile takes words at any pace, the host's pass between.
    """

    def __init__(self) -> None:
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip = Chip(cores=1, slot_words=16, fifo_words=16)
        m.submodules.dut = dut = Feeder(chip=chip)
        level = Signal(8)
        words = Signal(9)
        m.d.comb += [
            Assume((words != 0) & (words <= chip.slot_words)),
            words.eq(dut.entry.words),
            dut.entry.eq(AnySeq(len(dut.entry.as_value()))),
            dut.valid.eq(AnySeq(1)),
            dut.full.eq(AnySeq(1)),
            dut.busy.eq(AnySeq(1)),
            dut.i.valid.eq(AnySeq(1)),
            dut.o.ready.eq(AnySeq(1)),
            dut.ack_ready.eq(AnySeq(1)),
            dut.stop.eq(AnySeq(1)),
            dut.in_free.eq(chip.fifo_words - level),
        ]
        push = dut.feeding & dut.in_words & dut.o.valid & dut.o.ready
        pop = AnySeq(1) & (level != 0)
        m.d.sync += level.eq(level + push - pop)
        done = Signal()
        m.d.sync += done.eq(dut.next)
        m.d.comb += [
            Assert(level <= chip.fifo_words),
            Assert(~(dut.feeding & dut.in_words) | (level < chip.fifo_words)),
            Assert(~dut.feeding | (level + dut.left <= chip.fifo_words)),
            Assert(~dut.feeding | (dut.left != 0)),
            Cover(done & (level == chip.fifo_words)),
        ]
        return m
