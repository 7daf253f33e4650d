# SPDX-License-Identifier: Apache-2.0
"""Program and verify: pulses the cells of a row until each reads back as its level."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from ..arch.messages import Kind
from ..arch.writing import (
    FINE_BITS,
    LEVELS_PER_WORD,
    MAX_FINE,
    PULSE_BITS,
    RATE_FRACTION,
    SUM_BITS,
    max_average,
)
from .checks import check_chip
from .counters import COUNTER_BITS
from .macro import BEAT_BITS, command_layout, write_layout

__all__ = ["WRITE_COUNTERS", "RowWriter"]

WRITE_COUNTERS = ("pulses", "verifies", "failures", "cycles")
"""Counters of a writer, in the order of their registers."""

_LANE_BITS = 4
_SETTINGS = 16
_EVALUATION = 2
"""Cycles from a lane at the tables to its pulses."""


class _State(enum.Enum, shape=4):
    IDLE = 0
    SETTINGS = 1
    LEVELS = 2
    CELLS = 3
    READ = 4
    CONVERT = 5
    FETCH = 6
    EVALUATE = 7
    PULSE = 8
    RESPONSE = 9
    NEXT = 10
    HEADER = 11
    TOTALS = 12
    FETCH_MASK = 13
    MASK = 14
    DROP = 15


class RowWriter(wiring.Component):
    """The controller behind PROGRAM_ROW: ``docs/programming.md`` is its specification.

    It takes a row's settings and levels, then reads the row alone, compares every cell with what
    its level should read as, pulses those that are off, and reads again, until none is off or the
    limit is reached; then it gives a ROW_REPORT. All lanes of a beat are pulsed at once, the
    pulses of a cell as the powers of two in their number.

    An iteration takes for each of its reads a cycle and the beats, for each beat ``lanes + 4``
    cycles and one more or, if it pulses a cell, six and one for every write; and what the macro
    lets it wait.

    Parameters
    ----------
    chip : Chip
        With ``program_verify``.

    Members
    -------
    begin, address, length : In(1), In(32), In(16)
        The header of a PROGRAM_ROW.
    valid, word, last : In(1), In(64), In(1)
        A word of its payload, which is always taken; the last one.
    busy : Out(1)
        From the cycle after ``begin`` to the report's last word.
    core : Out(range(cores))
        Whose macro the streams below are for, while ``active``.
    active, converting : Out(1)
        ``codes`` are those of a read of its own while ``converting``.
    fault : Out(1)
        A strobe: the message had another length, or settings that cannot be; it was dropped.
    clear : In(1)
        Set the counters to 0.
    cmd, codes : Out(stream of reads), In(stream of codes)
        As of a core.
    write, response : Out(stream of writes), In(stream of 1)
        To and from the write port of the macro.
    report : Out(stream of 64)
        The ROW_REPORT, header first.
    pulses, verifies, failures, cycles : Out(48)
        Counters: pulses summed over cells, reads, cells given up, cycles active.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    ValueError
        If it has no write port.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._chip = check_chip(chip)
        if not chip.program_verify:
            raise ValueError(f"Chip '{chip.name}' has no write port: program_verify is off")
        super().__init__(
            {
                "begin": In(1),
                "address": In(32),
                "length": In(16),
                "valid": In(1),
                "word": In(64),
                "last": In(1),
                "busy": Out(1),
                "active": Out(1),
                "converting": Out(1),
                "core": Out(range(chip.cores)),
                "fault": Out(1),
                "clear": In(1),
                "cmd": Out(stream.Signature(command_layout(chip))),
                "codes": In(stream.Signature(chip.lanes * chip.adc_bits)),
                "write": Out(stream.Signature(write_layout(chip))),
                "response": In(stream.Signature(1)),
                "report": Out(stream.Signature(64)),
                **{name: Out(COUNTER_BITS) for name in WRITE_COUNTERS},
            }
        )
        self._state = Signal(_State)
        self._working = Signal()  # on the array
        self._row = Signal(range(chip.rows))
        self._array = Signal(chip.array_bits)
        self._fine = Signal(FINE_BITS)
        self._average = Signal(3)
        self._recheck = Signal()
        self._limit = Signal(16)
        self._iterations = Signal(16)
        self._beats = Signal(BEAT_BITS)  # of the row
        self._beat = Signal(BEAT_BITS)
        self._reads = Signal(5)  # of this verification
        self._any = Signal()  # a cell is off
        self._second = Signal()  # word of a beat in the report
        self._row_pulses = Signal(32)
        self._row_failures = Signal(16)
        # What is known of the lanes of a beat, lane 0 lowest.
        self._off = Signal(chip.lanes)
        self._low = Signal(chip.lanes)  # they are to go up
        self._step = Signal(range(chip.lanes + _EVALUATION + 1))  # of an evaluation
        self._power = Signal(range(PULSE_BITS))  # of two, whose pulses are given
        self._counts = [Signal(chip.lanes, name=f"count{k}") for k in range(PULSE_BITS)]

        self._levels = memory.Memory(shape=_SETTINGS * 4, depth=1 << chip.cell_bits, init=[])
        # By beat: levels of its cells, sums of their codes, and which are off, and too low.
        self._cells = memory.Memory(shape=chip.lanes * _LANE_BITS, depth=chip.beats, init=[])
        self._sums = memory.Memory(shape=chip.lanes * SUM_BITS, depth=chip.beats, init=[])
        self._masks = memory.Memory(shape=2 * chip.lanes, depth=chip.beats, init=[])

    @property
    def chip(self) -> Chip:
        return self._chip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.levels = levels = self._levels
        m.submodules.cells = cells = self._cells
        m.submodules.sums = sums = self._sums
        m.submodules.masks = masks = self._masks

        m.d.sync += self.fault.eq(0)
        m.d.comb += [
            self.busy.eq(self._state != _State.IDLE),
            self.converting.eq(self._state == _State.CONVERT),
            self.active.eq(self._working),
        ]
        with m.If(self.active):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        self._take(m, levels, cells)
        self._verify(m, sums)
        self._evaluate(m, levels, cells, sums, masks)
        self._pulse(m)
        self._give(m, masks)
        with m.If(self.clear):
            m.d.sync += [getattr(self, name).eq(0) for name in WRITE_COUNTERS]
        return m

    def _take(self, m: Module, levels: memory.Memory, cells: memory.Memory) -> None:
        """The message."""
        chip = self._chip
        parts = -(-chip.lanes // LEVELS_PER_WORD)
        width = min(chip.lanes, LEVELS_PER_WORD) * _LANE_BITS
        part = Signal(range(max(2, parts)))
        index = Signal(range(1 << chip.cell_bits))
        write_level = levels.write_port()
        write_cell = cells.write_port(granularity=width)
        m.d.comb += [
            write_level.addr.eq(index),
            write_level.data.eq(self.word),
            write_cell.addr.eq(self._beat),
            write_cell.data.eq(self.word[:width].replicate(parts)),
        ]
        with m.Switch(self._state):
            with m.Case(_State.IDLE), m.If(self.begin):
                m.d.sync += [
                    self._row.eq(self.address),
                    self.core.eq(self.address[16:]),
                    self._array.eq(self.address[24:]),
                    index.eq(0),
                    part.eq(0),
                    self._beat.eq(0),
                    self._iterations.eq(0),
                    self._reads.eq(0),
                    self._any.eq(0),
                    self._row_pulses.eq(0),
                    self._row_failures.eq(0),
                    self._state.eq(_State.SETTINGS),
                ]
                row, core, array = self.address[:16], self.address[16:24], self.address[24:]
                with m.If(
                    (row >= chip.rows) | (core >= chip.cores) | (array >= chip.arrays_per_core)
                ):
                    m.d.sync += self._state.eq(_State.DROP)
                with m.If(self.length == 0):
                    m.d.sync += [self._state.eq(_State.IDLE), self.fault.eq(1)]
            with m.Case(_State.SETTINGS), m.If(self.valid):
                m.d.sync += [
                    self._fine.eq(self.word),
                    self._average.eq(self.word[4:]),
                    self._recheck.eq(self.word[7]),
                    self._limit.eq(self.word[16:]),
                    self._state.eq(_State.LEVELS),
                ]
                with m.If(
                    (self.word[:FINE_BITS] > MAX_FINE) | (self.word[4:7] > max_average(chip))
                ):
                    m.d.sync += self._state.eq(_State.DROP)
            with m.Case(_State.LEVELS), m.If(self.valid):
                m.d.comb += write_level.en.eq(1)
                m.d.sync += index.eq(index + 1)
                with m.If(index == (1 << chip.cell_bits) - 1):
                    m.d.sync += self._state.eq(_State.CELLS)
            with m.Case(_State.CELLS), m.If(self.valid):
                m.d.comb += write_cell.en.eq(1 << part)
                m.d.sync += part.eq(part + 1)
                with m.If(part == parts - 1):
                    m.d.sync += [part.eq(0), self._beat.eq(self._beat + 1)]
                    with m.If(self.last):
                        m.d.sync += [
                            self._beats.eq(self._beat + 1),
                            self._beat.eq(0),
                            self._working.eq(1),
                            self._state.eq(_State.READ),
                        ]
                    with m.Elif(self._beat == chip.beats - 1):
                        m.d.sync += self._state.eq(_State.DROP)
        whole = (self._state == _State.CELLS) & (part == parts - 1)
        with m.If(self.valid & self.last & ~whole):
            m.d.sync += [self._state.eq(_State.IDLE), self.fault.eq(1)]

    def _verify(self, m: Module, sums: memory.Memory) -> None:
        """Reads of the row, their codes summed."""
        chip = self._chip
        write = sums.write_port()
        old = sums.read_port()
        last = Signal()
        m.d.comb += [
            self.cmd.payload.rows.eq(Const(1) << self._row),
            self.cmd.payload.beats.eq(self._beats),
            self.cmd.payload.fine.eq(self._fine),
            *([self.cmd.payload.array.eq(self._array)] if chip.array_bits else []),
            last.eq(self._beat == self._beats - 1),
            # That of the next beat is read while this one may come.
            old.addr.eq(Mux(self.codes.valid, Mux(last, 0, self._beat + 1), self._beat)),
            write.addr.eq(self._beat),
        ]
        for lane in range(chip.lanes):
            code = self.codes.payload.word_select(lane, chip.adc_bits)
            before = Mux(self._reads == 0, 0, old.data.word_select(lane, SUM_BITS))
            m.d.comb += write.data.word_select(lane, SUM_BITS).eq(before + code)
        with m.If(self._state == _State.READ):
            m.d.comb += self.cmd.valid.eq(1)
            with m.If(self.cmd.ready):
                m.d.sync += [
                    self.verifies.eq(self.verifies + 1),
                    self._state.eq(_State.CONVERT),
                ]
        with m.If(self._state == _State.CONVERT):
            m.d.comb += self.codes.ready.eq(1)
            with m.If(self.codes.valid):
                m.d.comb += write.en.eq(1)
                m.d.sync += self._beat.eq(self._beat + 1)
                with m.If(last):
                    m.d.sync += [
                        self._beat.eq(0),
                        self._reads.eq(self._reads + 1),
                        self._state.eq(_State.READ),
                    ]
                    with m.If(self._reads + 1 == Const(1) << self._average):
                        m.d.sync += [self._reads.eq(0), self._state.eq(_State.FETCH)]

    def _evaluate(
        self,
        m: Module,
        levels: memory.Memory,
        cells: memory.Memory,
        sums: memory.Memory,
        masks: memory.Memory,
    ) -> None:
        """How many pulses each lane of a beat gets, a lane a cycle."""
        chip = self._chip
        cell = cells.read_port()
        level = levels.read_port()
        seen = sums.read_port()
        mask = masks.write_port()
        before = masks.read_port()
        step = self._step
        kept_cells = Signal(chip.lanes * _LANE_BITS)
        kept_sums = Signal(chip.lanes * SUM_BITS)
        kept_before = Signal(chip.lanes)  # lanes that no verification has found right
        now_cells = Signal.like(kept_cells)
        now_before = Signal.like(kept_before)
        judged = Signal()
        found = Signal(SUM_BITS)  # of the lane whose level stands at the table
        error = Signal(SUM_BITS)  # of the lane before it
        rate = Signal(SUM_BITS)
        off = Signal()
        low = Signal()
        pulses = Signal(PULSE_BITS)
        first = step == 0

        m.d.comb += [
            cell.addr.eq(self._beat),
            seen.addr.eq(self._beat),
            now_cells.eq(Mux(first, cell.data, kept_cells)),
            level.addr.eq(now_cells),
            now_before.eq(Mux(first, before.data, kept_before)),
            before.addr.eq(self._beat),
            mask.addr.eq(self._beat),
            mask.data.eq(Cat(self._off, self._off & self._low)),
            mask.en.eq(self._state == _State.PULSE),
        ]
        target, tolerance, up, down = (level.data.word_select(k, _SETTINGS) for k in range(4))
        with m.If(self._state == _State.FETCH):
            m.d.sync += [step.eq(0), self._state.eq(_State.EVALUATE)]
        distance = Signal(SUM_BITS)
        below = Signal()
        m.d.comb += [
            below.eq(found < target),
            distance.eq(Mux(below, target - found, found - target)),
        ]
        product = Signal(2 * SUM_BITS + 1)
        wanted = Signal(2 * SUM_BITS + 1 - RATE_FRACTION)
        m.d.comb += [
            product.eq(error * rate + (1 << (RATE_FRACTION - 1))),
            wanted.eq(product[RATE_FRACTION:]),
            pulses.eq(wanted),
        ]
        with m.If(wanted == 0):
            m.d.comb += pulses.eq(1)
        with m.If(wanted >= 1 << PULSE_BITS):
            m.d.comb += pulses.eq((1 << PULSE_BITS) - 1)

        with m.If(self._state == _State.EVALUATE):
            m.d.sync += [
                step.eq(step + 1),
                kept_cells.eq(now_cells >> _LANE_BITS),
                kept_sums.eq(Mux(first, seen.data, kept_sums) >> SUM_BITS),
                found.eq(Mux(first, seen.data, kept_sums)),
                error.eq(distance),
                rate.eq(Mux(below, up, down)),
                kept_before.eq(now_before >> 1),
                judged.eq(now_before[0] | self._recheck | (self._iterations == 0)),
                off.eq(judged & (distance > tolerance)),
                low.eq(below),
                # Lane by lane from the top; all of them have moved on when the last has come.
                self._off.eq(Cat(self._off, off)[1:]),
                self._low.eq(Cat(self._low, low)[1:]),
                *(
                    count.eq(Cat(count, pulses[k] & off)[1:])
                    for k, count in enumerate(self._counts)
                ),
            ]
            with m.If(step == chip.lanes + _EVALUATION - 1):
                m.d.sync += self._state.eq(_State.PULSE)

    def _pulse(self, m: Module) -> None:
        """The pulses of a beat, power of two by power of two; what comes behind it."""
        chip = self._chip
        power = self._power
        chosen = Signal(chip.lanes)
        last_power = power == PULSE_BITS - 1
        final = self._iterations == self._limit
        payload = self.write.payload
        m.d.comb += [
            payload.rows.eq(Const(1) << self._row),
            *([payload.array.eq(self._array)] if chip.array_bits else []),
            payload.beat.eq(self._beat),
            payload.up.eq(chosen & self._low),
            payload.down.eq(chosen & ~self._low),
            payload.pulses.eq(Const(1) << power),
            payload.fire.eq(1),
        ]
        with m.Switch(power):
            for k, count in enumerate(self._counts):
                with m.Case(k):
                    m.d.comb += chosen.eq(count)

        number = sum(chosen)
        with m.If(self._state == _State.PULSE):
            m.d.sync += power.eq(power + 1)
            with m.If(self._off.any()):
                m.d.sync += self._any.eq(1)
            with m.If(~self._off.any() | final):
                m.d.sync += [power.eq(0), self._state.eq(_State.NEXT)]
            with m.Elif(chosen.any()):
                m.d.sync += power.eq(power)
                m.d.comb += self.write.valid.eq(1)
                with m.If(self.write.ready):
                    m.d.sync += [
                        self._row_pulses.eq(self._row_pulses + (number << power)),
                        self.pulses.eq(self.pulses + (number << power)),
                        self._state.eq(_State.RESPONSE),
                    ]
            with m.Elif(last_power):
                m.d.sync += [power.eq(0), self._state.eq(_State.NEXT)]
        with m.If(self._state == _State.RESPONSE):
            m.d.comb += self.response.ready.eq(1)
            with m.If(self.response.valid):
                m.d.sync += [power.eq(power + 1), self._state.eq(_State.PULSE)]
                with m.If(last_power):
                    m.d.sync += [power.eq(0), self._state.eq(_State.NEXT)]
                with m.If(self.response.payload):
                    # The array takes no pulses: this is the last iteration.
                    m.d.sync += self._limit.eq(self._iterations + 1)
        with m.If(self._state == _State.NEXT):
            m.d.sync += self._beat.eq(self._beat + 1)
            # Only those of the last verification count: all cells that are off are given up then.
            m.d.sync += self._row_failures.eq(self._row_failures + sum(self._off))
            m.d.sync += self._state.eq(_State.FETCH)
            with m.If(self._beat == self._beats - 1):
                m.d.sync += self._beat.eq(0)
                with m.If(~self._any | final):
                    m.d.sync += [self._working.eq(0), self._state.eq(_State.HEADER)]
                with m.Else():
                    m.d.sync += [
                        self._any.eq(0),
                        self._row_failures.eq(0),
                        self._iterations.eq(self._iterations + 1),
                        self._state.eq(_State.READ),
                    ]

    def _give(self, m: Module, masks: memory.Memory) -> None:
        """The report."""
        mask = masks.read_port()
        fields = (self._row, 16), (self.core, 8), (self._array, 8)
        address = Cat(Cat(field, Const(0, bits - len(field))) for field, bits in fields)
        header = Cat(Const(Kind.ROW_REPORT, 16), Const(0, 16), address)
        m.d.comb += mask.addr.eq(self._beat)
        with m.Switch(self._state):
            with m.Case(_State.HEADER):
                m.d.comb += [
                    self.report.valid.eq(1),
                    self.report.payload.eq(header),
                    self.report.payload[16:32].eq((self._beats << 1) + 1),
                ]
                with m.If(self.report.ready):
                    m.d.sync += [
                        self.failures.eq(self.failures + self._row_failures),
                        self._state.eq(_State.TOTALS),
                    ]
            with m.Case(_State.TOTALS):
                m.d.comb += [
                    self.report.valid.eq(1),
                    self.report.payload.eq(
                        Cat(self._iterations, self._row_failures, self._row_pulses)
                    ),
                ]
                with m.If(self.report.ready):
                    m.d.sync += self._state.eq(_State.FETCH_MASK)
            with m.Case(_State.FETCH_MASK):
                m.d.sync += self._state.eq(_State.MASK)
            with m.Case(_State.MASK):
                half = mask.data.word_select(self._second, self._chip.lanes)
                m.d.comb += [self.report.valid.eq(1), self.report.payload.eq(half)]
                with m.If(self.report.ready):
                    m.d.sync += self._second.eq(~self._second)
                    with m.If(self._second):
                        m.d.sync += [
                            self._beat.eq(self._beat + 1),
                            self._state.eq(_State.FETCH_MASK),
                        ]
                        with m.If(self._beat == self._beats - 1):
                            m.d.sync += self._state.eq(_State.IDLE)
