# SPDX-License-Identifier: Apache-2.0
"""Routes of a network interface, and the consumers that each message still waits for."""

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from ...arch.noc_interface import ROUTE_CONFIG, ROUTE_WORDS, SLOTS
from .flit import HEADER_LAYOUT

__all__ = ["CONFIG_LAYOUT", "LEG", "RouteTable"]

CONFIG_LAYOUT = data.StructLayout(dict(ROUTE_CONFIG))
"""A route's first word."""

LEG = data.StructLayout({"dst_x": 4, "dst_y": 4, "absorb": 16, "host": 1})
"""What a leg's word says of the headers of its packets."""

_ROUTES = 16


class RouteTable(wiring.Component):
    """Routes, and for each two slots, of which one may be used when all consumers of the message
    before it in that slot have acknowledged (PUMA's consumer counts: Ankit et al. 2019, 4.1.2).

    An ACK in cycle t counts from t + 1 on. A leg asked for in cycle t stands from t + 1 on.

    Members
    -------
    write, address, word : In(1), In(8), In(64)
        Write port.
    route, config : In(4), Out(CONFIG_LAYOUT)
        A route, and its first word, in the same cycle.
    read_leg, leg_number, leg : In(1), In(4), Out(LEG)
        Ask for a leg of that route; the first is 1.
    slot, may : Out(1), Out(1)
        The slot for the next message of that route; nobody has still to read it.
    missing : Out(8)
        Acknowledgments that it waits for.
    begin, end : In(1)
        A message of that route begins to leave; it has left, and the other slot is next.
    ack, ack_route, ack_slot : In(1), In(4), In(1)
    stray : Out(1)
        An ACK came that nobody waited for; until ``stop``.
    stop : In(1)
        Wait for nobody; slot 0 is next.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "write": In(1),
                "address": In(8),
                "word": In(64),
                "route": In(4),
                "config": Out(CONFIG_LAYOUT),
                "read_leg": In(1),
                "leg_number": In(4),
                "leg": Out(LEG),
                "slot": Out(1),
                "may": Out(1),
                "missing": Out(8),
                "begin": In(1),
                "end": In(1),
                "ack": In(1),
                "ack_route": In(4),
                "ack_slot": In(1),
                "stray": Out(1),
                "stop": In(1),
            }
        )
        # By slot + 2 * route. Looked into by proofs.
        self.waits = Signal(SLOTS * _ROUTES)
        self.counted = Signal(SLOTS * _ROUTES)  # some have acknowledged: the count holds
        self.turn = Signal(_ROUTES)
        self.acks = memory.Memory(shape=8, depth=SLOTS * _ROUTES, init=[])

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.configs = configs = memory.Memory(
            shape=CONFIG_LAYOUT.size, depth=_ROUTES, init=[]
        )
        m.submodules.legs = legs = memory.Memory(
            shape=LEG.size, depth=_ROUTES * ROUTE_WORDS, init=[]
        )
        m.submodules.acks = acks = self.acks
        config_write, legs_write = configs.write_port(), legs.write_port()
        config, awaited = configs.read_port(domain="comb"), configs.read_port(domain="comb")
        leg = legs.read_port()
        asked, count = acks.read_port(domain="comb"), acks.read_port(domain="comb")
        count_write = acks.write_port()

        ours = Cat(self.slot, self.route)
        index = Cat(self.ack_slot, self.ack_route)
        consumers = data.View(CONFIG_LAYOUT, awaited.data).consumers
        so_far = Signal(8)
        expected = Signal()
        complete = Signal()
        is_begun = Signal(SLOTS * _ROUTES)
        is_complete = Signal(SLOTS * _ROUTES)
        header = data.View(HEADER_LAYOUT, self.word)
        first = self.address[: (ROUTE_WORDS - 1).bit_length()] == 0
        m.d.comb += [
            config_write.addr.eq(self.address >> (ROUTE_WORDS - 1).bit_length()),
            config_write.data.eq(self.word),
            config_write.en.eq(self.write & first),
            legs_write.addr.eq(self.address),
            legs_write.data.eq(Cat(header.dst_x, header.dst_y, header.absorb, header.host)),
            legs_write.en.eq(self.write),
            config.addr.eq(self.route),
            Cat(self.config).eq(config.data),
            leg.addr.eq(Cat(self.leg_number, self.route)),
            leg.en.eq(self.read_leg),
            Cat(self.leg).eq(leg.data),
            self.slot.eq(self.turn.bit_select(self.route, 1)),
            self.may.eq(~self.waits.bit_select(ours, 1)),
            asked.addr.eq(ours),
            self.missing.eq(
                Mux(
                    self.may,
                    0,
                    self.config.consumers - Mux(self.counted.bit_select(ours, 1), asked.data, 0),
                )
            ),
            awaited.addr.eq(self.ack_route),
            count.addr.eq(index),
            so_far.eq(Mux(self.counted.bit_select(index, 1), count.data, 0) + 1),
            expected.eq(self.ack & self.waits.bit_select(index, 1)),
            complete.eq(expected & (so_far == consumers)),
            count_write.addr.eq(index),
            count_write.data.eq(so_far),
            count_write.en.eq(expected),
            is_begun.eq(
                Mux(self.begin & (self.config.consumers != 0), C(1, len(is_begun)) << ours, 0)
            ),
            is_complete.eq(Mux(complete, C(1, len(is_complete)) << index, 0)),
        ]
        with m.If(expected):
            m.d.sync += self.counted.eq(
                (self.counted | (C(1, len(self.counted)) << index)) & ~is_complete
            )
        with m.If(complete | self.begin):
            m.d.sync += self.waits.eq((self.waits | is_begun) & ~is_complete)
        with m.If(self.end):
            m.d.sync += self.turn.eq(self.turn ^ (C(1, _ROUTES) << self.route))
        with m.If(self.ack & ~expected):
            m.d.sync += self.stray.eq(1)
        with m.If(self.stop):
            m.d.sync += [
                self.waits.eq(0),
                self.counted.eq(0),
                self.turn.eq(0),
                self.stray.eq(0),
            ]
        return m
