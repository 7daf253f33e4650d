# SPDX-License-Identifier: Apache-2.0
"""A core: the digital periphery of an array, or of several that take turns."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.ancode import AnCode
from ..arch.chip import Chip
from ..arch.formats import ACC_BITS
from ..arch.inputs import DIGIT_BITS, InputEncoding
from ..arch.registers import CoreEvent
from ..arch.timing import core_tail
from .budgets import rows_members
from .checks import check_chip
from .combine import SliceAccumulator
from .counters import COUNTER_BITS, CoreCounters
from .events import EventCounters
from .macro import BEAT_BITS, command_layout
from .planes import PlaneRegisters, load_signature
from .rotation import product_members
from .scheduler import RowScheduler

__all__ = ["Core"]


class Core(wiring.Component):
    """Row registers, row scheduler, slice combine, accumulators and counters.

    ``docs/tile.md``, section "A core", is the specification, to the cycle: started in cycle T, the
    core is busy from T + 1 on, until :func:`~ohmtwin.arch.timing.core_tail` cycles after the last
    beat or the last step of the planner.

    Loads, drains and starts are the controller's to order: it makes them only while ``busy`` is 0.

    Parameters
    ----------
    chip : Chip

    Members
    -------
    start : In(1)
        Begin a product with the inputs below, up to ``busy``, which are taken in this cycle.
    used : In(rows)
        Rows in use.
    beats : In(10)
        Beats of a read, a multiple of ``beats_per_word``.
    zero_skip : In(1)
        Row schedule: 0 baseline, 1 zero-skip.
    rows_per_read : In(9)
        Candidates of a read; 0 acts as 1. ``budgets`` with row budgets, as in
        :class:`~.scheduler.RowScheduler`: they stand for the whole product.
    planes : In(range(passes + 1))
        Passes to stream: bit planes, as a rule. More than there are acts as all of them.
    array, keep : In(array_bits), In(1)
        See :func:`~.rotation.rotation_members`.
    busy : Out(1)
        A product runs.
    stop : In(1)
        Abort to idle: sums and sum of activations are forgotten, beats still to come are dropped.
    even, odd : In(load_signature(chip))
        As in :class:`~.planes.PlaneRegisters`.
    sum_valid, sum_first, load_sum : In(1), In(1), In(11)
        As there.
    drain_select, drain_sum, drain_addr : In(1), In(1), In(range(acc_words))
        As in :class:`~.combine.SliceAccumulator`.
    drain_data : Out(W * 32)
        W sums, the first lowest, a cycle after ``drain_select``; otherwise 0.
    clear : In(1)
        Set the counters to 0.
    counter_select : In(2)
        A :class:`~ohmtwin.arch.registers.CoreCounter`.
    event_select : In(1)
        On chips that count events: a :class:`~ohmtwin.arch.registers.CoreEvent` is selected.
    counter : Out(48)
        The selected counter, a cycle later.
    write_correction, correction_addr, correction : In(1), In(range(entries)), In(entry_bits)
        With an AN code: put an entry into the tables of corrections.
    write_flags, flags_addr, flags : In(1), In(range(flag_words)), In(64)
        On chips with flipped columns: put a word into the memory of flags.
    cmd : Out(stream of {rows, beats[, array]})
        Reads, to the macro.
    codes : In(stream of lanes * adc_bits)
        Beats, from the macro; always taken.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._chip = check_chip(chip)
        super().__init__(
            {
                **({"event_select": In(1)} if chip.events else {}),
                **(self._code_members(chip.an_code) if chip.an_code is not None else {}),
                "start": In(1),
                "used": In(chip.input_rows),
                "beats": In(BEAT_BITS),
                "zero_skip": In(1),
                **product_members(chip, In),
                "planes": In(chip.passes.bit_length()),
                "busy": Out(1),
                "stop": In(1),
                "even": In(load_signature(chip)),
                "odd": In(load_signature(chip)),
                "sum_valid": In(1),
                "sum_first": In(1),
                "load_sum": In(11),
                "drain_select": In(1),
                "drain_sum": In(1),
                "drain_addr": In(range(chip.acc_words)),
                "drain_data": Out(chip.outputs_per_beat * ACC_BITS),
                "clear": In(1),
                "counter_select": In(2),
                "counter": Out(COUNTER_BITS),
                **self._flag_members(chip),
                "cmd": Out(stream.Signature(command_layout(chip))),
                "codes": In(stream.Signature(chip.lanes * chip.adc_bits)),
            }
        )

    @staticmethod
    def _code_members(code: AnCode) -> dict[str, In]:
        return {
            "write_correction": In(1),
            "correction_addr": In(range(code.entries)),
            "correction": In(code.entry_bits),
        }

    @staticmethod
    def _flag_members(chip: Chip) -> dict[str, In]:
        if not chip.flag_words:
            return {}
        return {"write_flags": In(1), "flags_addr": In(range(chip.flag_words)), "flags": In(64)}

    @property
    def chip(self) -> Chip:
        return self._chip

    @property
    def drain_latency(self) -> int:
        """Cycles from ``drain_select`` to ``drain_data``."""
        return 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.registers = registers = PlaneRegisters(chip=self._chip)
        m.submodules.scheduler = scheduler = RowScheduler(chip=self._chip)
        m.submodules.combine = combine = SliceAccumulator(chip=self._chip)
        m.submodules.counters = counters = CoreCounters()

        beats = Signal(BEAT_BITS, reset_less=True)
        left = Signal(BEAT_BITS)  # beats of the read under way still to come
        discard = Signal()  # they belong to a product that was stopped
        tail_cycles = core_tail(self._chip)
        tail = Signal(range(tail_cycles))  # cycles since the last beat or step

        afresh = Signal()  # a product starts with empty accumulators
        m.d.comb += afresh.eq(self.start)
        if self._chip.array_bits:
            array = Signal(self._chip.array_bits, reset_less=True)
            m.d.comb += [afresh.eq(self.start & ~self.keep), self.cmd.payload.array.eq(array)]
            with m.If(self.start):
                m.d.sync += array.eq(self.array)

        accept = Signal()
        beat = Signal()
        number = scheduler.o.payload.plane[self._chip.slice_bits :]  # of the pass
        m.d.comb += [
            self.cmd.valid.eq(scheduler.o.valid),
            self.cmd.payload.rows.eq(self._rows(m, registers, scheduler)),
            self.cmd.payload.beats.eq(beats),
            scheduler.o.ready.eq(self.cmd.ready),
            self.codes.ready.eq(1),
            accept.eq(self.cmd.valid & self.cmd.ready),
            beat.eq(self.codes.valid & ~discard),
        ]
        with m.If(self.codes.valid):
            m.d.sync += left.eq(left - 1)
        with m.If(accept):
            m.d.sync += [left.eq(beats), discard.eq(0)]

        with m.If(self.busy & ~scheduler.busy & ~scheduler.o.valid & (left == 0)):
            m.d.sync += tail.eq(tail + 1)
            with m.If(tail == tail_cycles - 1):
                m.d.sync += self.busy.eq(0)
        with m.If(self.start):
            m.d.sync += [self.busy.eq(1), beats.eq(self.beats), tail.eq(0)]
        with m.If(self.stop):
            m.d.sync += [self.busy.eq(0), discard.eq(1)]

        wiring.connect(m, wiring.flipped(self.even), registers.even)
        wiring.connect(m, wiring.flipped(self.odd), registers.odd)
        m.d.comb += [
            registers.sum_valid.eq(self.sum_valid),
            registers.sum_first.eq(self.sum_first),
            registers.load_sum.eq(self.load_sum),
            registers.clear.eq(self.stop),
            registers.next.eq(scheduler.next[self._chip.slice_bits :]),
            registers.take.eq(scheduler.take),
            scheduler.start.eq(self.start),
            scheduler.used.eq(self.used),
            scheduler.zero_skip.eq(self.zero_skip),
            *(
                getattr(scheduler, name).eq(getattr(self, name))
                for name in rows_members(self._chip, In)
            ),
            scheduler.planes[self._chip.slice_bits :].eq(self.planes),
            scheduler.stop.eq(self.stop),
            scheduler.plane.eq(registers.plane),
            combine.reset.eq(afresh | self.stop),
            combine.begin.eq(accept),
            combine.plane.eq(_plane_of(self._chip, number)),
            combine.beat.eq(beat),
            combine.codes.eq(self.codes.payload),
            combine.drain_select.eq(self.drain_select),
            combine.drain_sum.eq(self.drain_sum),
            combine.drain_addr.eq(self.drain_addr),
            combine.sum.eq(registers.sum),
            self.drain_data.eq(combine.drain_data),
            counters.clear.eq(self.clear),
            counters.start.eq(self.start),
            counters.busy.eq(self.busy),
            counters.accept.eq(accept),
            counters.beat.eq(beat),
            counters.idle.eq(self.busy & (left <= self.codes.valid)),
            counters.select.eq(self.counter_select),
        ]
        m.d.comb += self.counter.eq(counters.count)
        if self._chip.code_a:
            m.d.comb += [
                combine.write.eq(self.write_correction),
                combine.write_addr.eq(self.correction_addr),
                combine.write_data.eq(self.correction),
            ]
        if self._chip.flag_words:
            m.d.comb += [
                combine.rows.eq(scheduler.o.payload.rows),
                combine.write_flags.eq(self.write_flags),
                combine.flags_addr.eq(self.flags_addr),
                combine.flags.eq(self.flags),
            ]
        if self._chip.input_code.signed:
            m.d.comb += combine.negative.eq(_negative(self._chip, number))
        if self._chip.slice_bits:
            part = scheduler.o.payload.plane[: self._chip.slice_bits]
            m.d.comb += [self.cmd.payload.slice.eq(part), combine.slice.eq(part)]
        if self._chip.events:
            self._count_events(m, combine, beat)
        return m

    def _rows(self, m: Module, registers: PlaneRegisters, scheduler: RowScheduler) -> Value:
        """Rows of the array that a planned read drives, as the macro takes them."""
        plan = scheduler.o.payload
        if self._chip.cell_code.complement_rows:
            return Cat(plan.rows, plan.others)
        if self._chip.input_code.digit_bits == 1:
            return Value.cast(plan.rows)
        # The row registers keep still while products run: a read's digits are still there.
        m.d.comb += registers.digits_of.eq(plan.plane[self._chip.slice_bits :])
        return registers.digits & Cat(row.replicate(DIGIT_BITS) for row in plan.rows)

    def _count_events(self, m: Module, combine: SliceAccumulator, beat: Signal) -> None:
        m.submodules.events = events = EventCounters(chip=self._chip)
        m.d.comb += [events.clear.eq(self.clear), events.select.eq(self.counter_select)]
        chosen = Signal()  # as late as the counters
        m.d.sync += chosen.eq(self.event_select)
        with m.If(chosen):
            m.d.comb += self.counter.eq(events.count)
        if self._chip.adc_clip:
            # Off the path of the codes; none comes in the last cycle of a product.
            bits = self._chip.adc_bits
            saturated = Signal(self._chip.lanes)
            full = Cat(
                self.codes.payload.word_select(lane, bits).all() for lane in range(len(saturated))
            )
            m.d.sync += saturated.eq(Mux(beat, full, 0))
            m.d.comb += events.amount(CoreEvent.SATURATED).eq(sum(saturated))
        if self._chip.code_a:
            for event, flags in (
                (CoreEvent.CORRECTED, combine.corrected),
                (CoreEvent.DETECTED, combine.detected),
            ):
                m.d.comb += events.amount(event).eq(sum(flags))


def _plane_of(chip: Chip, number: Value) -> ValueLike:
    """What a read of a pass counts for, as a power of two."""
    match chip.input_encoding:
        case InputEncoding.SIGN_MAGNITUDE:
            return number >> 1
        case InputEncoding.DIGITS:
            return number << 1
        case InputEncoding.UNARY | InputEncoding.STOCHASTIC:
            return 0
    return number


def _negative(chip: Chip, number: Value) -> ValueLike:
    """Whether it is taken off."""
    if chip.input_encoding is InputEncoding.SIGN_MAGNITUDE:
        return number[0]
    return number == chip.passes - 1
