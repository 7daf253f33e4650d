# SPDX-License-Identifier: Apache-2.0
"""What the AXI top promises on its buses, as hardware that watches it."""

from typing import Any

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Cat, Const, Cover, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ohmtwin.arch.link import Ident
from ohmtwin.fpga.axi.lite import LiteRegisters, lite_ports
from ohmtwin.fpga.axi.slice import RegisterSlice
from ohmtwin.fpga.axi.top import AxiFabric

__all__ = ["AnyFabric", "LiteSpec", "SliceSpec", "StableSpec"]


def stable(m: Module, valid: Value, ready: Value, payload: Value) -> None:
    """What is on offer stays so, unchanged, until it is taken."""
    offered = Signal()
    before = Signal(len(payload))
    m.d.sync += [offered.eq(valid & ~ready), before.eq(payload)]
    with m.If(offered):
        m.d.comb += [Assert(valid), Assert(payload == before)]


class SliceSpec(wiring.Component):
    """Each word that goes in comes out, once, in order and unchanged; two are held at most."""

    def __init__(self) -> None:
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = RegisterSlice(shape=4)
        m.d.comb += [
            dut.i.payload.eq(AnySeq(4)),
            dut.i.valid.eq(AnySeq(1)),
            dut.o.ready.eq(AnySeq(1)),
        ]
        stable(m, dut.o.valid, dut.o.ready, dut.o.payload)
        # The word of any number, told at both ends.
        number, value = AnyConst(3), Signal(4)
        came, went = Signal(4), Signal(4)
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += came.eq(came + 1)
            with m.If(came == number):
                m.d.sync += value.eq(dut.i.payload)
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += went.eq(went + 1)
            with m.If(went == number):
                m.d.comb += Assert(dut.o.payload == value)
        held = (came - went)[:4]
        m.d.comb += [
            Assert(held == dut.o.valid + dut.has_spare),
            Assert(~dut.has_spare | dut.o.valid),
            # Where the word is, if it is inside.
            Assert((held == 0) | (went != number) | (dut.o.payload == value)),
            Assert((held != 2) | ((went + 1)[:4] != number) | (dut.spare == value)),
            Cover(went == 5),
        ]
        return m


class LiteSpec(wiring.Component):
    """Every write and read is answered once, and nothing that was not asked; answers stand still.

    SCRATCH holds what the strobes let through.
    """

    def __init__(self) -> None:
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = LiteRegisters(ident=Ident(0x123456789ABCDEF, 0))
        ports = lite_ports()
        for name, port in ports.items():
            if port.flow == In:
                m.d.comb += getattr(dut, name).eq(AnySeq(len(getattr(dut, name))))
        stable(m, dut.bvalid, dut.bready, Cat(dut.bresp.as_value()))
        stable(m, dut.rvalid, dut.rready, Cat(dut.rdata, dut.rresp.as_value()))
        counts: dict[str, Signal] = {}
        for channel in ("aw", "w", "b", "ar", "r"):
            count = counts[channel] = Signal(4, name=f"count_{channel}")
            valid, ready = (getattr(dut, f"{channel}{end}") for end in ("valid", "ready"))
            with m.If(valid & ready):
                m.d.sync += count.eq(count + 1)
        waits_w, waits_d = (counts["aw"] - counts["b"])[:4], (counts["w"] - counts["b"])[:4]
        waits_r = (counts["ar"] - counts["r"])[:4]
        m.d.comb += [
            Assert(waits_w == ~dut.awready + dut.bvalid),
            Assert(waits_d == ~dut.wready + dut.bvalid),
            Assert(waits_r == ~dut.arready + dut.rvalid),
            Cover((counts["b"] == 2) & (counts["r"] == 2)),
        ]
        return m


class AnyFabric(wiring.Component):
    """A fabric that offers any words at any time, as a stream may, and takes them likewise."""

    def __init__(self) -> None:
        word = stream.Signature(64)
        super().__init__({"i": In(word), "o": Out(word), "held": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        new, starts = AnySeq(64), AnySeq(1)
        m.d.comb += [self.i.ready.eq(AnySeq(1)), self.held.eq(AnySeq(1))]
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [self.o.valid.eq(starts), self.o.payload.eq(new)]
        return m


class StableSpec(wiring.Component):
    """Whatever the fabric and the host do, resets among it, the stream out keeps its promise."""

    def __init__(self) -> None:
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = AxiFabric(fabric=AnyFabric(), ident=Ident(0, 0))
        members: Any = dut.signature.members
        for name in members:
            if members[name].flow == In:
                m.d.comb += getattr(dut, name).eq(AnySeq(len(getattr(dut, name))))
        stable(m, dut.m_axis_tvalid, dut.m_axis_tready, Cat(dut.m_axis_tdata, dut.m_axis_tlast))
        m.d.comb += Assert(dut.m_axis_tkeep == Const(0xFF, 8))
        packets = Signal(2)
        with m.If(dut.m_axis_tvalid & dut.m_axis_tready & dut.m_axis_tlast & (packets != 3)):
            m.d.sync += packets.eq(packets + 1)
        m.d.comb += Cover(packets == 2)
        return m
