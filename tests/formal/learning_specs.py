# SPDX-License-Identifier: Apache-2.0
"""What the generator of update pulses promises, whatever lines it is given and whenever a macro
answers."""

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from ohmtwin.arch.learning import LearnChip
from ohmtwin.rtl.learning.trains import PulseGenerator, _State

__all__ = ["TrainSpec"]


class TrainSpec(wiring.Component):
    """No column is driven both ways, no row has pulses of both signs in a slot, an update has as
    many slots as it should, and what is offered to the macro stays until it is taken."""

    def __init__(self, chip: LearnChip, *, dut: type[PulseGenerator] = PulseGenerator) -> None:
        self._chip = chip
        self._dut = dut
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self._dut(chip=self._chip)
        write, state, slots = dut.write, dut._state, dut.settings.slots
        for port in (dut.line, dut.seed, dut.look):
            payload = port.payload
            value = payload if isinstance(payload, Signal) else payload.as_value()
            m.d.comb += [port.valid.eq(AnySeq(1)), value.eq(AnySeq(len(value)))]
        settings = dut.settings.as_value()
        m.d.comb += [
            settings.eq(AnyConst(len(settings))),
            dut.clear.eq(AnySeq(1)),
            dut.start.eq(AnySeq(1)),
            write.ready.eq(AnySeq(1)),
            dut.response.valid.eq(AnySeq(1)),
            Assume(slots != 0),
            Assume(dut.settings.mode != 3),
            Assume(~(dut.start & dut.busy)),
            Assume(~(dut.clear & dut.busy)),
            # As the port asks for: the last line comes in an earlier cycle.
            Assume(~(dut.start & dut.line.valid)),
        ]
        started = Signal()
        waits = Signal()
        before = Signal.like(write.payload.as_value())
        count = Signal(8)
        was_busy = Signal()
        fired = Signal(self._chip.rows)
        rows = Signal(self._chip.rows)
        m.d.comb += rows.eq(write.payload.rows)
        m.d.sync += [
            started.eq(1),
            was_busy.eq(dut.busy),
            waits.eq(write.valid & ~write.ready),
            before.eq(write.payload.as_value()),
        ]
        with m.If(~dut.busy):
            m.d.sync += count.eq(0)
        with m.If(state == _State.SLOT):
            m.d.sync += [count.eq(count + 1), fired.eq(0)]
        with m.If(write.valid & write.ready & write.payload.fire):
            m.d.sync += fired.eq(fired | rows)
            m.d.comb += Assert((fired & rows) == 0)
        with m.If(write.valid):
            m.d.comb += Assert((write.payload.up & write.payload.down) == 0)
        with m.If(waits & started):
            m.d.comb += [Assert(write.valid), Assert(write.payload.as_value() == before)]
        with m.If(was_busy & ~dut.busy & started):
            m.d.comb += Assert(count == slots)
        # What a proof by induction needs to know of the states between.
        negative = dut._negative[: self._chip.rows]
        with m.If(dut.busy):
            m.d.comb += [
                Assert(state.as_value() <= _State.RESPONSE.value),
                Assert(count == dut._slot),
            ]
            with m.If(state == _State.SLOT):
                m.d.comb += Assert(count < slots)
            with m.Else():
                m.d.comb += [Assert(count <= slots), Assert(count != 0)]
                with m.If(dut._phase | (state == _State.RESPONSE)):
                    m.d.comb += Assert(dut._phase | ((fired & negative) == 0))
                    with m.If(state != _State.RESPONSE):
                        m.d.comb += Assert((fired & negative) == 0)
                with m.Else():
                    m.d.comb += Assert(fired == 0)
        m.d.comb += Cover(was_busy & ~dut.busy & (slots == 2) & (fired == 3))
        return m
