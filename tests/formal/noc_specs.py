# SPDX-License-Identifier: Apache-2.0
"""What the parts of a buffered router promise, and the router as a whole."""

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, Value
from amaranth.lib import wiring

from ohmtwin.arch.noc import CLASSES, PORTS, Port
from ohmtwin.rtl.noc.arbiter import PacketArbiter
from ohmtwin.rtl.noc.buffer import FlitBuffer
from ohmtwin.rtl.noc.flit import HEADER_LAYOUT
from ohmtwin.rtl.noc.lookup import RouteLookup
from ohmtwin.rtl.noc.router import Router
from ohmtwin.rtl.noc.share import ClassShare

__all__ = ["ArbiterSpec", "BufferSpec", "LookupSpec", "RouterSpec", "ShareSpec"]

COUNT = 5
_TAG = 40
"""The lowest of a header's user bits."""


class ArbiterSpec(wiring.Component):
    """One requester at most; an offer stays; nobody is passed over twice by the same.

    For all time, from any state that the assertions allow.
    """

    def __init__(self, dut: type[PacketArbiter] = PacketArbiter) -> None:
        self._dut = dut
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self._dut(count=COUNT)
        wants = Signal()  # the class is on offer, if it has a flit
        m.d.comb += [
            dut.requests.eq(AnySeq(COUNT)),
            wants.eq(AnySeq(1)),
            dut.offered.eq(wants & (dut.grant != 0)),
            dut.taken.eq(AnySeq(1) & dut.offered),
            dut.last.eq(AnySeq(1)),
        ]
        m.d.comb += [
            Assert((dut.grant & (dut.grant - 1)) == 0),
            Assert((dut.grant & ~dut.requests) == 0),
            Assert((dut.grant != 0) | (dut.requests == 0) | dut.held),
        ]
        # What was offered and not taken to its tail keeps the output.
        offered = Signal(COUNT)
        ended = dut.taken & dut.last
        with m.If(dut.offered):
            m.d.sync += offered.eq(Mux(ended, 0, dut.grant))
        m.d.comb += [
            Assert((offered == 0) | (dut.grant == (offered & dut.requests))),
            Assert(dut.held == (offered != 0)),
            Assert(~dut.held | (dut.owner == offered)),
            Assert((offered & (offered - 1)) == 0),
        ]

        # One that waits without a break: whose packets have ended meanwhile.
        me = AnyConst(COUNT)
        m.d.comb += Assume((me != 0) & ((me & (me - 1)) == 0))
        waits = ((dut.requests & me) != 0) & ((dut.grant & me) == 0)
        served = Signal(COUNT)
        with m.If(~waits):
            m.d.sync += served.eq(0)
        with m.Elif(ended):
            m.d.sync += served.eq(served | dut.grant)
            m.d.comb += Assert((served & dut.grant) == 0)
        # Why: those served stand behind the one that waits, as the next choice is made.
        last = Signal(COUNT)
        with m.If(dut.offered):
            m.d.sync += last.eq(dut.grant)
        m.d.comb += [
            Assert((last & (last - 1)) == 0),
            Assert(~dut.held | (last == offered)),
            Assert(dut.after == Mux(last == 0, 0, ~(last | (last - 1)))[:COUNT]),
            Assert((served == 0) | (last != 0)),
            Assert((served & me) == 0),
            Assert((served & offered) == 0),
        ]
        for j in range(COUNT):
            behind = Mux(
                (dut.after & me) != 0,
                ~dut.after[j] | (me < (1 << j)),
                ~dut.after[j] & (me < (1 << j)),
            )
            m.d.comb += Assert(~served[j] | behind)
        m.d.comb += Cover(served.all() | (Cat(served[n] for n in range(1, COUNT)).all()))
        return m


class ShareSpec(wiring.Component):
    """Only a class that has a flit is chosen; one that can go does, in three cycles at most.

    For all time.
    """

    def __init__(self, dut: type[ClassShare] = ClassShare) -> None:
        self._dut = dut
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self._dut()
        m.d.comb += [dut.has.eq(AnySeq(CLASSES)), dut.ready.eq(AnySeq(CLASSES))]
        m.d.comb += Assert((dut.has == 0) | dut.has.bit_select(dut.kind, 1))
        for k in range(CLASSES):
            waited = Signal(3, name=f"waited{k}")
            with m.If(dut.has[k] & dut.ready[k] & (dut.kind != k)):
                m.d.sync += waited.eq(waited + 1)
                m.d.comb += Assert(waited < 2)
            with m.Else():
                m.d.sync += waited.eq(0)
            # Seen ready once, it is next.
            m.d.comb += [
                Assert(waited <= 2),
                Assert(
                    (waited == 0) | (~dut.blocked[k] & (dut.blocked[1 - k] | (dut.prefer == k)))
                ),
            ]
        return m


class LookupSpec(wiring.Component):
    """Outputs of a header are those of dimension order, written down another way.

    For every place, header and host port.
    """

    def __init__(self, *, host: bool, dut: type[RouteLookup] = RouteLookup) -> None:
        self._host = host
        self._dut = dut
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self._dut(host=self._host)
        header = Signal(HEADER_LAYOUT)
        m.d.comb += [
            dut.x.eq(AnySeq(4)),
            dut.y.eq(AnySeq(4)),
            header.eq(AnySeq(64)),
            dut.header.eq(header),
        ]
        onward = Signal(PORTS)
        with m.If(header.dst_x > dut.x):
            m.d.comb += onward.eq(1 << Port.EAST)
        with m.Elif(header.dst_x < dut.x):
            m.d.comb += onward.eq(1 << Port.WEST)
        with m.Elif(header.dst_y > dut.y):
            m.d.comb += onward.eq(1 << Port.SOUTH)
        with m.Elif(header.dst_y < dut.y):
            m.d.comb += onward.eq(1 << Port.NORTH)
        with m.Elif(header.host & self._host):
            m.d.comb += onward.eq(1 << Port.WEST)
        with m.Else():
            m.d.comb += onward.eq(1 << Port.LOCAL)
        along_y = (header.dst_y != header.src_y) & (dut.x == header.dst_x)
        copy = Signal()
        for place in range(16):
            with m.If(header.absorb[place]):
                with m.If(along_y & (dut.y == place)):
                    m.d.comb += copy.eq(1)
                with m.If((header.dst_y == header.src_y) & (dut.x == place)):
                    m.d.comb += copy.eq(1)
        m.d.comb += Assert(dut.outputs == (onward | copy << Port.LOCAL))
        return m


def packets(m: Module, name: str, goes: Value, last: Value) -> Signal:
    """Whether the next flit is in the middle of a packet."""
    inside = Signal(name=f"inside_{name}")
    with m.If(goes):
        m.d.sync += inside.eq(~last)
    return inside


class BufferSpec(wiring.Component):
    """Flits leave at each cursor in their order, each once, if their packet goes there.

    Up to so many cycles after reset. Packets to two outputs have at most ``depth`` flits.
    """

    def __init__(self, *, depth: int, dut: type[FlitBuffer] = FlitBuffer) -> None:
        self._depth = depth
        self._dut = dut
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self._dut(depth=self._depth, bits=2)
        m.d.comb += [dut.push.eq(AnySeq(1) & dut.ready), dut.i.eq(AnySeq(len(dut.i.as_value())))]
        # The same outputs for all flits of a packet; those but the local port are all alike.
        outputs = Signal(PORTS)
        length = Signal(8)
        inside = packets(m, "in", dut.push, dut.i.last)
        onward, local = dut.i.outputs[: Port.LOCAL], dut.i.outputs[Port.LOCAL]
        m.d.comb += [
            Assume(dut.i.outputs != 0),
            Assume(onward[1:] == 0),
            Assume(~inside | (dut.i.outputs == outputs)),
            Assume(~(onward[0] & local) | dut.i.last | (length < self._depth - 1)),
        ]
        with m.If(dut.push):
            m.d.sync += [outputs.eq(dut.i.outputs), length.eq(Mux(dut.i.last, 0, length + 1))]

        for number, (name, valid, pop, entry, for_me) in enumerate(
            (
                ("onward", dut.onward_valid, dut.onward_pop, dut.onward, onward[0]),
                ("local", dut.local_valid, dut.local_pop, dut.local, local),
            )
        ):
            m.d.comb += pop.eq(AnySeq(1) & valid)
            # A flit that goes there is tagged by a bit of its data, and the next one is known.
            tagged = Signal(name=f"tagged_{name}")
            followed = Signal(name=f"followed_{name}")
            left = Signal(name=f"left_{name}")
            expects = Signal(name=f"expects_{name}")
            tags = [Signal(2, name=f"tags{n}_{name}") for n in range(2)]
            mark = dut.push & for_me & AnySeq(1) & ~tagged
            tag = entry.data[number]
            m.d.comb += Assume(dut.i.data[number] == mark)
            what = Cat(dut.i.last, dut.i.data[1 - number])
            with m.If(mark):
                m.d.sync += [tagged.eq(1), tags[0].eq(what)]
            with m.Elif(dut.push & for_me & tagged & ~followed):
                m.d.sync += [followed.eq(1), tags[1].eq(what)]
            leaves = Cat(entry.last, entry.data[1 - number])
            with m.If(valid & tag):
                m.d.comb += Assert(tagged & ~left & (leaves == tags[0]))
            with m.If(valid & expects):
                m.d.comb += Assert(followed & (leaves == tags[1]))
            with m.If(pop):
                m.d.sync += [left.eq(left | tag), expects.eq(tag)]
            m.d.comb += Assert(~dut.empty | ~tagged | left)
            # An offer stays.
            waiting = Signal(name=f"waiting_{name}")
            before = Signal(dut.i.shape(), name=f"before_{name}")
            m.d.sync += [waiting.eq(valid & ~pop), before.eq(entry)]
            m.d.comb += Assert(~waiting | (valid & (entry.as_value() == before.as_value())))
        # A copy that has begun has all its flits here.
        forks = dut.local.outputs[: Port.LOCAL].any()
        copying = packets(m, "copy", dut.local_pop & forks, dut.local.last)
        m.d.comb += Assert(~copying | dut.local_valid)
        return m


class RouterSpec(wiring.Component):
    """A flit that comes in by a port leaves by the outputs of its packet's route and no others,
    once at each, unchanged, and next after the flit of its packet that came before it.

    Up to so many cycles after reset, with any traffic. Two flits of a packet that follow each other
    are tagged in bits that a router does not look at. The router is at (1, 1) of a 4x4 mesh: routes
    at all other places are proven apart.

    Parameters
    ----------
    port : Port
        Where they come in.
    rival : Port
        Where other packets come in as well.
    alone : bool
        Nothing else comes in, nothing is absorbed, and every output is ready: a flit then leaves
        in the cycle after the one in which it came.
    """

    def __init__(
        self, *, port: Port, rival: Port, alone: bool = False, dut: type[Router] = Router
    ) -> None:
        self._port = port
        self._rival = rival
        self._alone = alone
        self._dut = dut
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self._dut(depth=2, host=True)
        kind = AnyConst(1)
        m.d.comb += [dut.x.eq(1), dut.y.eq(1)]
        for port in (self._port, self._rival):
            self._drive(m, dut, port, kind)
        came, tail, value, route = self._tag(m, dut, kind)
        for port in Port:
            self._watch(m, dut.o[port], port, kind, came, tail, value, route)
        return m

    def _drive(self, m: Module, dut: Router, port: Port, kind: Value) -> None:
        """Any packets that dimension order can bring to a port."""
        link = dut.i[port]
        word = Signal(HEADER_LAYOUT, name=f"word_{port.name}")
        m.d.comb += [
            word.eq(AnySeq(64)),
            # To save the solver work: bits that nothing depends on.
            Assume(word.length == 0),
            Assume(word.user[2:] == 0),
            Assume(word.absorb[4:] == 0),
            Assume((word.dst_x < 4) & (word.dst_y < 4) & (word.src_x < 4) & (word.src_y < 4)),
            link.flit.data.eq(word.as_value()),
            link.flit.last.eq(AnySeq(1)),
            link.flit.kind.eq(AnySeq(1)),
            link.valid.eq(AnySeq(1)),
        ]
        if port != self._port:
            m.d.comb += Assume(word.user == 0)
        if self._alone:
            other = link.flit.kind != kind if port == self._port else 1
            m.d.comb += [Assume(~(link.valid & other)), Assume(word.absorb == 0)]
        allowed = {
            Port.NORTH: (word.dst_x == dut.x) & (word.dst_y >= dut.y),
            Port.SOUTH: (word.dst_x == dut.x) & (word.dst_y <= dut.y),
            Port.EAST: word.dst_x <= dut.x,
            Port.WEST: word.dst_x >= dut.x,
            Port.LOCAL: 1,
        }
        for k in range(CLASSES):
            goes = link.valid & (link.flit.kind == k)
            inside = packets(m, f"{port.name}{k}", goes & link.ready[k], link.flit.last)
            absorbed = Signal(name=f"absorbed_{port.name}{k}")
            with m.If(goes & ~inside):
                m.d.comb += Assume(allowed[port])
                m.d.sync += absorbed.eq(word.absorb != 0)
            # What is absorbed has as many flits as a buffer at most.
            m.d.comb += Assume(~(goes & inside & absorbed) | link.flit.last)

    def _tag(
        self, m: Module, dut: Router, kind: Value
    ) -> tuple[list[Signal], list[Signal], list[Signal], Signal]:
        """Tag a flit and the one after it: whether they came, are tails, their data, the route."""
        link = dut.i[self._port]
        user = Signal(HEADER_LAYOUT, name="watched")
        m.submodules.lookup = lookup = RouteLookup(host=True)
        goes = Signal()
        m.d.comb += [
            user.eq(link.flit.data),
            goes.eq(link.valid & (link.flit.kind == kind) & link.ready.bit_select(kind, 1)),
            lookup.x.eq(dut.x),
            lookup.y.eq(dut.y),
            lookup.header.eq(user),
        ]
        inside = packets(m, "watched", goes, link.flit.last)
        outputs = Signal(PORTS)
        route = Signal(PORTS)
        with m.If(goes & ~inside):
            m.d.sync += outputs.eq(lookup.outputs)
        came = [Signal(name=f"came{n}") for n in range(2)]
        tail = [Signal(name=f"tail{n}") for n in range(2)]
        value = [Signal(64, name=f"value{n}") for n in range(2)]
        now = [goes & AnySeq(1) & ~came[0], goes & came[0] & ~came[1] & ~tail[0]]
        for n in range(2):
            m.d.comb += Assume(user.user[n] == now[n])
            with m.If(now[n]):
                m.d.sync += [
                    came[n].eq(1),
                    tail[n].eq(link.flit.last),
                    value[n].eq(link.flit.data),
                ]
        with m.If(now[0]):
            m.d.sync += route.eq(Mux(inside, outputs, lookup.outputs))
        just = Signal()
        m.d.sync += just.eq(now[0])
        if self._alone:
            left = Cat(
                dut.o[port].valid & dut.o[port].flit.data[_TAG] & (dut.o[port].flit.kind == kind)
                for port in Port
            )
            m.d.comb += Assert(~just | (left == route))
        # Nothing is left behind.
        self._seen = [Signal(PORTS, name=f"seen{n}") for n in range(2)]
        for n in range(2):
            m.d.comb += [
                Assert(~dut.idle | ~came[n] | (self._seen[n] == route)),
                Cover(dut.idle & came[n] & (route[: Port.LOCAL] != 0) & route[Port.LOCAL]),
            ]
        return came, tail, value, route

    def _watch(
        self,
        m: Module,
        link: Value,
        port: Port,
        kind: Value,
        came: list[Signal],
        tail: list[Signal],
        value: list[Signal],
        route: Signal,
    ) -> None:
        m.d.comb += link.ready.eq(3 if self._alone else AnySeq(CLASSES))
        name = port.name
        leaves = link.valid & (link.flit.kind == kind) & link.ready.bit_select(kind, 1)
        expects = Signal(name=f"expects_{name}")
        for n in range(2):
            tagged = link.valid & link.flit.data[_TAG + n]
            seen = self._seen[n][port]
            with m.If(tagged):
                m.d.comb += [
                    Assert(came[n] & route[port] & ~seen),
                    Assert(link.flit.kind == kind),
                    Assert(link.flit.data == value[n]),
                    Assert(link.flit.last == tail[n]),
                ]
                with m.If(leaves):
                    m.d.sync += [seen.eq(1), expects.eq((n == 0) & ~tail[0])]
        with m.If(leaves & expects):
            m.d.comb += Assert(link.flit.data[_TAG + 1])
        m.d.comb += Assert(~(link.valid & link.flit.data[_TAG + 1]) | expects)
        # An offer stays, or one of the other class takes its place.
        waited = Signal(name=f"waited_{name}")
        before = Signal.like(link.flit.as_value(), name=f"before_{name}")
        m.d.sync += [
            waited.eq(link.valid & ~link.ready.bit_select(link.flit.kind, 1)),
            before.eq(link.flit.as_value()),
        ]
        same = (link.flit.as_value() == before) | (link.flit.kind != before[-1])
        m.d.comb += Assert(~waited | (link.valid & same))
