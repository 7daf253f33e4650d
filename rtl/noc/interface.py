# SPDX-License-Identifier: Apache-2.0
"""The network interface of a tile: between its word streams and a link of the mesh."""

from amaranth.hdl import C, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.chip import Chip
from ...arch.noc import Kind
from ...arch.noc_interface import OUTPUT_LIST, ControlKind
from ..checks import check_chip
from .control import CONTROL_USER_LAYOUT, ControlReceiver
from .feeder import Feeder, FeedWait, MessageList
from .flit import HEADER_LAYOUT, LinkSignature
from .routes import RouteTable
from .sender import Sender, SendWait
from .slots import SlotMemory
from .transmit import TransmitMemory

__all__ = ["COUNTERS", "COUNTER_BITS", "STATE", "NetworkInterface"]

COUNTER_BITS = 32

_COUNTED = (
    "data_in",
    "control_in",
    "data_out",
    "control_out",
    "wait_slot",
    "wait_room",
    "wait_port",
    "wait_words",
    "wait_acks",
    "wait_link",
    "wait_control",
    "wait_half",
    "messages_in",
    "messages_out",
)

COUNTERS = data.StructLayout(dict.fromkeys(_COUNTED, COUNTER_BITS))
"""Flits by class, in and out; cycles in which the feeder waited for a message, for room in the
input FIFO, for the host's words or the link to take an acknowledgment; in which the sender waited
for words of a message that has begun to leave, for acknowledgments, for the link to take a data
flit; in which the link did not take a control flit; in which a word of the tile found both halves
of the transmit memory in use; messages fed and sent."""

STATE = data.StructLayout(
    {
        "feed_wait": FeedWait,
        "feed_channel": 4,
        "feed_words": 9,
        "send_wait": SendWait,
        "send_route": 4,
        "send_words": 9,
        "send_filled": 9,
        "send_missing": 8,
        "stray": 1,
        "overrun": 1,
        "bad_address": 1,
    }
)
"""What the interface waits for now. Feeding: the message of the input list. Sending: the message
that is next or leaves, how many of its words have come out of the tile, how many consumers have
still to read the one before it in its slot. Faults, until CONTROL.stop: a packet or an
acknowledgment that nobody waited for; a packet for a slot that is full; configuration for an
address that is not there."""


class NetworkInterface(wiring.Component):
    """Between a tile and the local port of its router, as ``docs/mesh.md`` describes it.

    A data flit is taken in every cycle. A control flit is kept waiting only by words of the host
    that came before it, at most while one message is fed. How many cycles each step takes stands in
    ``arch/noc_interface.py``.

    Parameters
    ----------
    chip : Chip
    counters : bool
        Whether there is ``counts``.

    Members
    -------
    x, y : In(4)
        Where the tile stands; they never change.
    link_i, link_o : In(LinkSignature()), Out(LinkSignature())
        From and to the router. All outputs are functions of registers (and ``x``, ``y``).
    tile_i, tile_o : Out(stream of 64), In(stream of 64)
        To and from the tile.
    in_free : In(range(fifo_words + 1))
        Room in the tile's input FIFO.
    start, stop, clear : In(1)
        Strobes of the tile. ``start``: the lists run from their beginning, unless they run.
        ``stop``: they rest; slots, counts and messages are forgotten; obeyed before ``start``.
        ``clear``: counters are 0.
    idle : Out(1)
        Nothing is on its way in here, whatever may be waited for.
    state : Out(STATE)
    counts : Out(COUNTERS)

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    ConfigError
        If packets cannot tell the chip's sizes.
    """

    def __init__(self, *, chip: Chip, counters: bool = True) -> None:
        self._chip = check_chip(chip)
        self._counters = counters
        super().__init__(
            {
                "x": In(4),
                "y": In(4),
                "link_i": In(LinkSignature()),
                "link_o": Out(LinkSignature()),
                "tile_i": Out(stream.Signature(64)),
                "tile_o": In(stream.Signature(64)),
                "in_free": In(range(chip.fifo_words + 1)),
                **{name: In(1) for name in ("start", "stop", "clear")},
                "idle": Out(1),
                "state": Out(STATE),
                **({"counts": Out(COUNTERS)} if counters else {}),
            }
        )
        # The parts; proofs look into them.
        self.slots = SlotMemory(chip=chip)
        self.control = ControlReceiver()
        self.feeder = Feeder(chip=chip)
        self.input_list = MessageList()
        self.output_list = MessageList()
        self.routes = RouteTable()
        self.transmit = TransmitMemory(chip=chip)
        self.sender = Sender(chip=chip)

    @property
    def chip(self) -> Chip:
        return self._chip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.slots = slots = self.slots
        m.submodules.control = control = self.control
        m.submodules.feeder = feeder = self.feeder
        m.submodules.input_list = input_list = self.input_list
        m.submodules.output_list = output_list = self.output_list
        m.submodules.routes = routes = self.routes
        m.submodules.transmit = transmit = self.transmit
        m.submodules.sender = sender = self.sender

        incoming = self.link_i
        m.d.comb += [
            incoming.ready[Kind.DATA].eq(1),
            incoming.ready[Kind.CONTROL].eq(control.ready),
            slots.valid.eq(incoming.valid & (incoming.flit.kind == Kind.DATA)),
            slots.flit.eq(incoming.flit),
            control.valid.eq(incoming.valid & (incoming.flit.kind == Kind.CONTROL) & control.ready),
            control.flit.eq(incoming.flit),
            slots.channel.eq(input_list.entry.number),
            slots.read.eq(feeder.read),
            slots.offset.eq(feeder.offset),
            slots.free.eq(feeder.free),
            feeder.busy.eq(control.busy),
            feeder.in_free.eq(self.in_free),
            feeder.entry.eq(input_list.entry),
            feeder.valid.eq(input_list.valid),
            feeder.full.eq(slots.full),
            feeder.slot.eq(slots.slot),
            feeder.source.eq(slots.source),
            feeder.word.eq(slots.word),
            input_list.next.eq(feeder.next),
            output_list.next.eq(transmit.next),
            transmit.entry.eq(output_list.entry),
            transmit.valid.eq(output_list.valid),
            transmit.half.eq(sender.half),
            transmit.read.eq(sender.read),
            transmit.offset.eq(sender.offset),
            transmit.read_half.eq(sender.read_half),
            transmit.free.eq(sender.free),
            sender.x.eq(self.x),
            sender.y.eq(self.y),
            sender.held.eq(transmit.held),
            sender.route.eq(transmit.route),
            sender.words.eq(transmit.words),
            sender.filled.eq(transmit.filled),
            sender.word.eq(transmit.word),
            sender.config.eq(routes.config),
            sender.leg.eq(routes.leg),
            sender.slot.eq(routes.slot),
            sender.may.eq(routes.may),
            sender.reply_left.eq(transmit.reply_left),
            sender.host_y.eq(control.host_y),
            routes.write.eq(control.write_route),
            routes.address.eq(control.address),
            routes.word.eq(control.word),
            routes.route.eq(transmit.route),
            routes.read_leg.eq(sender.read_leg),
            routes.leg_number.eq(sender.leg_number),
            routes.begin.eq(sender.begin),
            routes.end.eq(sender.end),
            routes.ack.eq(control.ack),
            routes.ack_route.eq(control.ack_route),
            routes.ack_slot.eq(control.ack_slot),
        ]
        bit = OUTPUT_LIST.bit_length() - 1
        for messages, is_output in ((input_list, 0), (output_list, 1)):
            m.d.comb += [
                messages.write.eq(control.write_list & (control.address[bit] == is_output)),
                messages.address.eq(control.address),
                messages.word.eq(control.word),
                messages.start.eq(self.start),
                messages.stop.eq(self.stop),
            ]
        for part in (slots, control, feeder, routes, transmit, sender):
            m.d.comb += part.stop.eq(self.stop)
        wiring.connect(m, control.o, feeder.i)
        wiring.connect(m, feeder.o, wiring.flipped(self.tile_i))
        wiring.connect(m, wiring.flipped(self.tile_o), transmit.i)
        wiring.connect(m, transmit.reply, sender.reply)
        taken = self._offer(m)
        self._watch(m, taken)
        return m

    def _offer(self, m: Module) -> dict[Kind, Signal]:
        """Both classes on the one link: control first, but none in the way of the other."""
        sender, feeder, control = self.sender, self.feeder, self.control
        header = Signal(HEADER_LAYOUT)
        user = Signal(CONTROL_USER_LAYOUT)
        has_control = Signal()
        is_control = Signal()
        step_back = Signal()  # a control flit has just been refused: data may pass
        taken = {kind: Signal(name=f"taken_{kind.name.lower()}") for kind in Kind}
        source = feeder.ack.source
        m.d.comb += [
            header.src_x.eq(self.x),
            header.src_y.eq(self.y),
            header.user.eq(user),
            has_control.eq(feeder.ack_valid | control.confirm),
            is_control.eq(has_control & ~(step_back & sender.valid)),
            self.link_o.valid.eq(has_control | sender.valid),
            self.link_o.flit.kind.eq(is_control),
            self.link_o.flit.last.eq(is_control | sender.flit.last),
            self.link_o.flit.data.eq(Mux(is_control, header.as_value(), sender.flit.data)),
            taken[Kind.DATA].eq(sender.valid & ~is_control & self.link_o.ready[Kind.DATA]),
            taken[Kind.CONTROL].eq(is_control & self.link_o.ready[Kind.CONTROL]),
            sender.taken.eq(taken[Kind.DATA]),
            feeder.ack_ready.eq(taken[Kind.CONTROL]),
            control.confirmed.eq(taken[Kind.CONTROL] & ~feeder.ack_valid),
        ]
        m.d.sync += step_back.eq(is_control & ~taken[Kind.CONTROL])
        with m.If(feeder.ack_valid):
            m.d.comb += [
                header.dst_x.eq(source.x),
                header.dst_y.eq(source.y),
                header.host.eq(source.route == 0),
                user.kind.eq(ControlKind.ACK),
                user.slot.eq(feeder.ack.slot),
                user.route.eq(source.route),
                user.channel.eq(feeder.ack.channel),
            ]
        with m.Else():
            m.d.comb += [
                header.dst_y.eq(control.host_y),
                header.host.eq(1),
                user.kind.eq(ControlKind.TAKEN),
            ]
        return taken

    def _watch(self, m: Module, taken: dict[Kind, Signal]) -> None:
        """State and counters."""
        slots, control, feeder = self.slots, self.control, self.feeder
        routes, transmit, sender = self.routes, self.transmit, self.sender
        state = self.state
        m.d.comb += [
            state.feed_wait.eq(feeder.wait),
            state.feed_channel.eq(self.input_list.entry.number),
            state.feed_words.eq(self.input_list.entry.words),
            state.send_wait.eq(sender.wait),
            state.send_route.eq(Mux(transmit.held, transmit.route, 0)),
            state.send_words.eq(Mux(transmit.held, transmit.words, 0)),
            state.send_filled.eq(Mux(transmit.held, transmit.filled, 0)),
            state.send_missing.eq(Mux(transmit.held, routes.missing, 0)),
            state.stray.eq(slots.stray | routes.stray),
            state.overrun.eq(slots.overrun),
            state.bad_address.eq(control.fault),
            self.idle.eq(
                ~(
                    self.link_o.valid
                    | feeder.feeding
                    | (self.input_list.valid & (feeder.wait == FeedWait.NOTHING))
                    | control.busy
                    | (self.tile_o.valid & ~transmit.blocked)
                    | transmit.next
                    | sender.active
                )
            ),
        ]
        if not self._counters:
            return
        controls = self.link_o.valid & self.link_o.flit.kind
        events = {
            "data_in": slots.valid,
            "control_in": control.valid,
            "data_out": taken[Kind.DATA],
            "control_out": taken[Kind.CONTROL],
            "wait_slot": feeder.wait == FeedWait.SLOT,
            "wait_room": feeder.wait == FeedWait.ROOM,
            "wait_port": feeder.wait == FeedWait.PORT,
            "wait_words": (sender.wait == SendWait.WORDS) & sender.sending,
            "wait_acks": sender.wait == SendWait.ACKS,
            "wait_link": sender.wait == SendWait.LINK,
            "wait_control": controls & ~taken[Kind.CONTROL],
            "wait_half": transmit.blocked,
            "messages_in": feeder.free,
            "messages_out": sender.end,
        }
        for name, event in events.items():
            with m.If(event):
                m.d.sync += self.counts[name].eq(self.counts[name] + 1)
        with m.If(self.clear):
            m.d.sync += self.counts.eq(C(0, COUNTERS.size))
