# SPDX-License-Identifier: Apache-2.0
"""A fabric behind AXI4-Lite and AXI4-Stream, in place of the serial link, as for Zynq."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetInserter, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from ...arch.axi import AxiStatus
from ...arch.link import Ident
from .lite import LiteRegisters, lite_ports
from .packets import PACKET_WORD, Packets
from .slice import RegisterSlice

__all__ = ["AxiFabric", "AxiTop"]

_BYTES = 8
_ALL_BYTES = (1 << _BYTES) - 1


def _stream_ports(prefix: str, flow: Any, back: Any) -> dict[str, Any]:
    return {
        f"{prefix}_tdata": flow(8 * _BYTES),
        f"{prefix}_tkeep": flow(_BYTES),
        f"{prefix}_tlast": flow(1),
        f"{prefix}_tvalid": flow(1),
        f"{prefix}_tready": back(1),
    }


def _ports() -> dict[str, Any]:
    return {
        **{f"s_axil_{name}": port for name, port in lite_ports().items()},
        **_stream_ports("s_axis", In, Out),
        **_stream_ports("m_axis", Out, In),
    }


def _join(m: Module, outer: Any, inner: Any, names: Mapping[str, str]) -> None:
    """Hand members of a component on to those of one inside, by name."""
    for name, own in names.items():
        into = outer.signature.members[name].flow == In
        one, other = getattr(outer, name), getattr(inner, own)
        m.d.comb += other.eq(one) if into else one.eq(other)


class AxiFabric(wiring.Component):
    """The ports of :class:`AxiTop` but for clock and reset, in the domain ``sync``."""

    def __init__(self, *, fabric: Any, ident: Ident) -> None:
        self._fabric = fabric
        self._ident = ident
        super().__init__(_ports())

    @property
    def ident(self) -> Ident:
        """Who the registers say it is."""
        return self._ident

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.registers = registers = LiteRegisters(ident=self._ident)
        _join(m, self, registers, {f"s_axil_{name}": name for name in lite_ports()})
        reset = registers.reset
        m.submodules.fabric = ResetInserter(reset)(self._fabric)
        # What waits to go in is forgotten with the reset; what is on offer stays, as it must.
        m.submodules.input = inputs = RegisterSlice(shape=64)
        m.submodules.packets = packets = Packets()
        m.submodules.output = outputs = RegisterSlice(shape=PACKET_WORD)
        connect(m, packets.o, outputs.i)

        whole = self.s_axis_tkeep == _ALL_BYTES
        taken = self.s_axis_tvalid & self.s_axis_tready
        given = self.m_axis_tvalid & self.m_axis_tready
        fault = Signal()
        m.d.comb += [
            inputs.i.payload.eq(self.s_axis_tdata),
            inputs.i.valid.eq(self.s_axis_tvalid & whole),
            self.s_axis_tready.eq(inputs.i.ready),
            self._fabric.i.payload.eq(inputs.o.payload),
            self._fabric.i.valid.eq(inputs.o.valid & ~reset),
            # Words that waited are taken out while the tile is reset, and go nowhere.
            inputs.o.ready.eq(self._fabric.i.ready | reset),
            packets.i.payload.eq(self._fabric.o.payload),
            packets.i.valid.eq(self._fabric.o.valid & ~reset),
            self._fabric.o.ready.eq(packets.i.ready & ~reset),
            packets.cut.eq(reset),
            self.m_axis_tdata.eq(outputs.o.payload.word),
            self.m_axis_tlast.eq(outputs.o.payload.last),
            self.m_axis_tkeep.eq(_ALL_BYTES),
            self.m_axis_tvalid.eq(outputs.o.valid),
            outputs.o.ready.eq(self.m_axis_tready),
        ]
        with m.If(reset):
            m.d.sync += [fault.eq(0), registers.words_in.eq(0), registers.words_out.eq(0)]
        with m.Else():
            with m.If(taken):
                m.d.sync += fault.eq(fault | ~whole)
            with m.If(taken & whole):
                m.d.sync += registers.words_in.eq(registers.words_in + 1)
            with m.If(given):
                m.d.sync += registers.words_out.eq(registers.words_out + 1)
        states = {
            AxiStatus.HELD: self._fabric.held,
            AxiStatus.INPUT: inputs.o.valid,
            AxiStatus.OUTPUT: outputs.o.valid,
            AxiStatus.KEEP_FAULT: fault,
        }
        for bit, state in states.items():
            m.d.comb += registers.status[bit.bit_length() - 1].eq(state)
        return m


class AxiTop(wiring.Component):
    """A fabric with the ports of an AXI peripheral, named so that vendors' tools find them.

    Messages go in at ``s_axis`` and come out at ``m_axis``, a packet a message; the registers of
    :mod:`ohmtwin.arch.axi` are at ``s_axil``. A word a cycle each way at the streams' own ends. No
    path leads from an input of the buses to an output: all outputs are registers. TLAST is not
    looked at on the way in; a word of which TKEEP leaves out a byte is dropped and sets a fault.

    Parameters
    ----------
    fabric : Component
        ``i`` and ``o`` of words, and ``held``, as :class:`~ohmtwin.fpga.fabric.EmulatedFabric`.
    ident : Ident
        Who it is.

    Members
    -------
    aclk, aresetn : In(1), In(1)
        Clock of everything; reset, synchronous and active low.
    s_axil_* : AXI4-Lite, 32 bits, a subordinate's
    s_axis_*, m_axis_* : AXI4-Stream, 64 bits, with TKEEP and TLAST
    """

    def __init__(self, *, fabric: Any, ident: Ident) -> None:
        self._inner = AxiFabric(fabric=fabric, ident=ident)
        super().__init__({"aclk": In(1), "aresetn": In(1), **_ports()})

    @property
    def ident(self) -> Ident:
        """Who the registers say it is."""
        return self._inner.ident

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains += ClockDomain("sync")
        m.submodules.fabric = inner = self._inner
        m.d.comb += [ClockSignal().eq(self.aclk), ResetSignal().eq(~self.aresetn)]
        _join(m, self, inner, {name: name for name in _ports()})
        return m
