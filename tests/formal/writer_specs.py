# SPDX-License-Identifier: Apache-2.0
"""What the program-and-verify controller promises, whatever its array reads as."""

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, Signal, Value
from amaranth.lib import wiring

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.writing import MAX_AVERAGE
from ohmtwin.rtl import writer
from ohmtwin.rtl.writer import _EVALUATION, RowWriter, _State

__all__ = ["REDUCED", "WIDTHS", "JudgementSpec", "PulseSpec", "TerminationSpec"]

REDUCED = Chip(
    cores=1,
    rows=8,
    cols=8,
    cell_bits=1,
    lanes=2,
    adc_bits=2,
    rows_per_read=1,
    program_verify=True,
)
"""Two columns a beat, four beats a row, codes of two bits."""

WIDTHS = {"SUM_BITS": 4, "PULSE_BITS": 2, "RATE_FRACTION": 1}
"""Narrower numbers than those of ``arch/writing.py``, for :class:`JudgementSpec`: so that there is
little to multiply."""


def drive(m: Module, dut: RowWriter, **fixed: Value) -> None:
    """Inputs that do anything at any time, but for those that are given."""
    free = {
        "begin": dut.begin,
        "address": dut.address,
        "length": dut.length,
        "valid": dut.valid,
        "word": dut.word,
        "last": dut.last,
        "clear": dut.clear,
        "cmd_ready": dut.cmd.ready,
        "codes_valid": dut.codes.valid,
        "codes": dut.codes.payload,
        "write_ready": dut.write.ready,
        "response_valid": dut.response.valid,
        "refused": dut.response.payload,
        "report_ready": dut.report.ready,
    }
    for name, wire in free.items():
        m.d.comb += wire.eq(fixed[name] if name in fixed else AnySeq(len(wire)))


class TerminationSpec(wiring.Component):
    """A row comes to its end, within its limit: whatever is read, refused, or how long the array
    takes.

    What is left to do is a number, whose highest digit is what is left of the limit. It goes down
    in every cycle in which the writer waits for nobody, and never up.
    """

    def __init__(self, chip: Chip = REDUCED, *, dut: type[RowWriter] = RowWriter) -> None:
        self._chip = chip
        self._dut = dut
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip = self._chip
        m.submodules.dut = dut = self._dut(chip=chip)
        drive(m, dut)
        state = dut._state
        S = _State
        reading, report = Signal(), Signal()
        working, tables = Signal(), Signal()
        m.d.comb += [
            tables.eq((state == S.LEVELS) | (state == S.CELLS)),
            reading.eq((state == S.READ) | (state == S.CONVERT)),
            report.eq(
                (state == S.HEADER)
                | (state == S.TOTALS)
                | (state == S.FETCH_MASK)
                | (state == S.MASK)
            ),
            working.eq(
                reading
                | (state == S.FETCH)
                | (state == S.EVALUATE)
                | (state == S.PULSE)
                | (state == S.RESPONSE)
                | (state == S.NEXT)
            ),
        ]
        beats_left = (dut._beats - dut._beat)[: len(dut._beats)]
        reads_left = ((Const(1) << dut._average) - dut._reads)[:6]
        steps = chip.lanes + _EVALUATION
        # Within a beat: its evaluation, then power by power, writes before their answers.
        inside = Signal(6)
        with m.Switch(state):
            with m.Case(S.FETCH):
                m.d.comb += inside.eq(63)
            with m.Case(S.EVALUATE):
                m.d.comb += inside.eq(2 * writer.PULSE_BITS + 2 + steps - dut._step)
            with m.Case(S.PULSE):
                m.d.comb += inside.eq(2 * (writer.PULSE_BITS - dut._power) + 1)
            with m.Case(S.RESPONSE):
                m.d.comb += inside.eq(2 * (writer.PULSE_BITS - dut._power))
            with m.Case(S.NEXT):
                m.d.comb += inside.eq(1)
            with m.Case(S.READ):
                m.d.comb += inside.eq(1)
            with m.Case(S.FETCH_MASK):
                m.d.comb += inside.eq(3)
            with m.Case(S.MASK):
                m.d.comb += inside.eq(Mux(dut._second, 1, 2))
            with m.Case(S.HEADER):
                m.d.comb += inside.eq(5)
            with m.Case(S.TOTALS):
                m.d.comb += inside.eq(4)
        rest = Signal(16)
        m.d.comb += rest.eq(dut._limit - dut._iterations)
        measure = Cat(
            inside,
            beats_left,
            Mux(reading, reads_left, 0)[:6],
            reading,
            Mux(working, rest, 0)[:16],
            working,
        )
        left = Signal(len(measure))
        m.d.comb += left.eq(measure)

        waits = Signal()
        m.d.comb += waits.eq(
            (dut.cmd.valid & ~dut.cmd.ready)
            | (dut.codes.ready & ~dut.codes.valid)
            | (dut.write.valid & ~dut.write.ready)
            | (dut.response.ready & ~dut.response.valid)
            | (dut.report.valid & ~dut.report.ready)
        )

        # The bridge takes no further message while a row is at work.
        m.d.comb += Assume(~(dut.valid & (working | report)))

        # What holds at all times; the solver takes it for granted a cycle before.
        m.d.comb += [
            Assert(~(working | report) | (dut._beat < dut._beats)),
            Assert(~(working | report) | (dut._beats <= chip.beats)),
            Assert(~working | (dut._iterations <= dut._limit)),
            Assert(dut._working == working),
            Assert(~reading | (dut._reads < (Const(1) << dut._average))),
            Assert((state != S.READ) | (dut._beat == 0)),
            Assert(reading | ~working | (dut._reads == 0)),
            Assert((state != S.EVALUATE) | (dut._step < steps)),
            Assert(dut._power < writer.PULSE_BITS),
            Assert((state == S.PULSE) | (state == S.RESPONSE) | (dut._power == 0)),
            Assert((state != S.RESPONSE) | (dut._iterations < dut._limit)),
            Assert((state == S.MASK) | ~dut._second),
            Assert(~((state == S.HEADER) | (state == S.TOTALS)) | (dut._beat == 0)),
            Assert(~(working | tables) | (dut._average <= MAX_AVERAGE)),
            # While the message is taken.
            Assert(
                ~((state == S.SETTINGS) | tables)
                | ((dut._reads == 0) & (dut._iterations == 0) & (dut._beat < chip.beats))
            ),
        ]
        # It goes down, and a row that is at work is followed by its report, to its end.
        before, waited, busy = Signal.like(left), Signal(), Signal()
        m.d.sync += [before.eq(left), waited.eq(waits), busy.eq(working | report)]
        with m.If(busy):
            m.d.comb += [
                Assert(~waited | (left == before)),
                Assert(waited | (left < before)),
                Assert(working | report | (state == S.IDLE)),
            ]
        return m


class PulseSpec(wiring.Component):
    """Only cells that the verification has found off are pulsed, and every pulse and read counts.

    ``off`` are the lanes of the beat at hand; :class:`JudgementSpec` says what they are.
    """

    def __init__(self, chip: Chip = REDUCED, *, dut: type[RowWriter] = RowWriter) -> None:
        self._chip = chip
        self._dut = dut
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip = self._chip
        m.submodules.dut = dut = self._dut(chip=chip)
        drive(m, dut)
        write, fired = dut.write.payload, dut.write.valid & dut.write.ready
        off, low = dut._off, dut._low
        driven = write.up | write.down
        for count in dut._counts:
            m.d.comb += Assert((count & ~off) == 0)
        with m.If(dut.write.valid):
            m.d.comb += [
                Assert(driven != 0),
                Assert((driven & ~off) == 0),
                Assert((write.up & ~low) == 0),
                Assert((write.down & low) == 0),
                Assert(write.rows == (Const(1) << dut._row)),
                Assert(write.beat == dut._beat),
                Assert(write.fire),
            ]
        m.d.comb += Assert(~(dut.write.valid & dut.cmd.valid))

        # Counted a second time; and of the row under way.
        pulses, verifies = Signal.like(dut.pulses), Signal.like(dut.verifies)
        of_row = Signal.like(dut._row_pulses)
        given = sum(driven) * write.pulses
        with m.If(fired):
            m.d.sync += [pulses.eq(pulses + given), of_row.eq(of_row + given)]
        with m.If(dut.cmd.valid & dut.cmd.ready):
            m.d.sync += verifies.eq(verifies + 1)
        with m.If(dut.begin & ~dut.busy):
            m.d.sync += of_row.eq(0)
        with m.If(dut.clear):
            m.d.sync += [pulses.eq(0), verifies.eq(0)]
        m.d.comb += [
            Assert(dut.pulses == pulses),
            Assert(dut.verifies == verifies),
            Assert(dut._row_pulses == of_row),
        ]

        # What was found of a beat is what the next verification starts from, and the report tells.
        beat = Signal(range(chip.beats))
        m.d.comb += beat.eq(AnyConst(len(beat)))
        masks = dut._masks.read_port(domain="comb")
        m.d.comb += masks.addr.eq(beat)
        kept = Signal(2 * chip.lanes, reset_less=True)  # as the memory
        with m.If((dut._state == _State.PULSE) & (dut._beat[: len(beat)] == beat)):
            m.d.sync += kept.eq(Cat(off, off & low))
        m.d.comb += Assert(masks.data == kept)
        return m


class JudgementSpec(wiring.Component):
    """What a verification makes of a cell, from its level, its sum and what was found before.

    Any moment at which a beat begins to be judged may be the first: ``passes`` of the solver must
    forget what registers and memories start as.
    """

    def __init__(self, chip: Chip = REDUCED, *, dut: type[RowWriter] = RowWriter) -> None:
        self._chip = chip
        self._dut = dut
        super().__init__({})

    @property
    def cycles(self) -> int:
        """From the fetch to the first pulse."""
        return self._chip.lanes + _EVALUATION + 3

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip = self._chip
        m.submodules.dut = dut = self._dut(chip=chip)
        drive(m, dut)
        m.d.comb += Assume(~dut.valid)  # the tables stand, though not at what they start as
        age = Signal(8)
        m.d.sync += age.eq(age + 1)
        m.d.comb += Assume((age != 0) | (dut._state == _State.FETCH))

        lane = Signal(range(chip.lanes))
        m.d.comb += lane.eq(AnyConst(len(lane)))
        cells, sums, levels, masks = (
            one.read_port(domain="comb") for one in (dut._cells, dut._sums, dut._levels, dut._masks)
        )
        total, before = Signal(writer.SUM_BITS), Signal()
        entry = Signal(64)
        m.d.comb += [
            cells.addr.eq(dut._beat),
            sums.addr.eq(dut._beat),
            masks.addr.eq(dut._beat),
            levels.addr.eq(cells.data.word_select(lane, 4)),
        ]
        with m.If(age == 0):
            m.d.sync += [
                total.eq(sums.data.word_select(lane, writer.SUM_BITS)),
                before.eq(masks.data.bit_select(lane, 1)),
                entry.eq(levels.data),
            ]
        target, tolerance, up, down = (entry.word_select(k, 16) for k in range(4))
        below = total < target
        size = Signal(16)
        rate = Signal(16)
        off = Signal()
        m.d.comb += [
            size.eq(Mux(below, target - total, total - target)),
            rate.eq(Mux(below, up, down)),
            off.eq((size > tolerance) & (before | dut._recheck | (dut._iterations == 0))),
        ]
        # Errors and rates that are not cut off.
        limit = 1 << writer.SUM_BITS
        m.d.comb += Assume((age == 0) | ((size < limit) & (rate < limit)))
        product = Signal(2 * writer.SUM_BITS + 1)
        share = product >> writer.RATE_FRACTION
        most = (1 << writer.PULSE_BITS) - 1
        m.d.comb += product.eq(
            size[: writer.SUM_BITS] * rate[: writer.SUM_BITS] + (1 << writer.RATE_FRACTION - 1)
        )
        pulses = Signal(writer.PULSE_BITS)
        m.d.comb += pulses.eq(Mux(share == 0, 1, Mux(share > most, most, share)))
        found = Cat(count.bit_select(lane, 1) for count in dut._counts)
        with m.If(age == chip.lanes + _EVALUATION + 1):
            m.d.comb += [
                Assert(dut._state == _State.PULSE),
                Assert(dut._off.bit_select(lane, 1) == off),
                Assert(~off | (dut._low.bit_select(lane, 1) == below)),
                Assert(found == Mux(off, pulses, 0)),
                Cover(off & (pulses > 1) & ~dut._recheck & (dut._iterations != 0)),
            ]
        return m
