# SPDX-License-Identifier: Apache-2.0
"""Update pulses: a shift register and a comparator for every line, slots, and signs in phases.

Bit k of the registers of all lines stands in one signal, and so does bit k of their probabilities:
what all lines do at once is a few operations on as many bits as there are lines.
"""

from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.learning import LearnChip, TrainMode
from ..idle import idle_skips
from .macro import ARRAY_BITS, BEAT_BITS, beats_for, check_learn_chip, learn_write_layout

__all__ = [
    "LFSR_BITS",
    "LFSR_MASK",
    "NUMBER_BITS",
    "PROBABILITY_BITS",
    "PulseGenerator",
    "lfsr_steps",
    "line_layout",
    "train_layout",
]

LFSR_BITS = 32
LFSR_MASK = 0x80200003
"""x**32 + x**22 + x**2 + x + 1, for a right shift in Galois form."""

NUMBER_BITS = 16
"""Low bits of a register that are compared; the register steps as often in a slot."""

PROBABILITY_BITS = 17
"""65536 is always."""

LINE_BITS = 11
"""Number of a line, rows first."""

_SLOT_BITS = 8


def train_layout() -> data.StructLayout:
    """How trains are made (:class:`~ohmtwin.arch.learning.UpdateSettings`), of which array, and
    whether its pulses go the other way."""
    return data.StructLayout(
        {
            "slots": _SLOT_BITS,
            "mode": 2,
            "period": _SLOT_BITS,
            "array": ARRAY_BITS,
            "invert": 1,
        }
    )


def line_layout() -> data.StructLayout:
    """A line, its probability in 1/65536, and whether its number is negative."""
    return data.StructLayout({"line": LINE_BITS, "probability": PROBABILITY_BITS, "negative": 1})


def lfsr_steps(steps: int) -> list[list[int]]:
    """Which bits of a register make each of its bits some steps later."""
    bits: list[set[int]] = [{k} for k in range(LFSR_BITS)]
    for _ in range(steps):
        low = bits[0]
        bits = [*bits[1:], set()]
        bits = [bit ^ low if LFSR_MASK >> k & 1 else bit for k, bit in enumerate(bits)]
    return [sorted(bit) for bit in bits]


class _State(enum.Enum, shape=3):
    IDLE = 0
    SLOT = 1
    PHASE = 2
    BEAT = 3
    RESPONSE = 4


class PulseGenerator(wiring.Component):
    """Makes the pulses of one update out of a probability for every line.

    Gokmen and Vlasov 2016 (stochastic update) and Crafton et al. 2021, Fig. 17 (overlap). In every
    slot all lines are compared at once; then the rows of positive and those of negative numbers
    have a phase each, left out if no row or no column is driven, in which every column is driven
    up or down by its sign.

    A slot takes a cycle and two more, one less for a phase that is left out; a phase that is not
    takes besides the beats of the columns and a cycle for the answer, and what the macro lets it
    wait.

    Parameters
    ----------
    chip : LearnChip

    Members
    -------
    settings : In(train_layout())
        Held from the first line until ``busy`` falls.
    clear : In(1)
        While idle: all probabilities become 0.
    line : In(stream of :func:`line_layout`)
        Taken while idle.
    start : In(1)
        Begin; while idle, not before the cycle after the last line.
    busy : Out(1)
        From the cycle after ``start``, until all pulses are answered.
    refused : Out(1)
        A strobe: a write was.
    write, response : Out(stream of writes), In(stream of 1)
        To and from the macro.
    seed : In(stream of {line, state})
        The register of a line; taken while idle.
    look, seen : In(stream of a line), Out(32)
        The register of the line that was asked for last, from the next cycle on.

    Raises
    ------
    TypeError, ValueError
        As :func:`~.macro.check_learn_chip`.
    """

    def __init__(self, *, chip: LearnChip) -> None:
        self._chip = check_learn_chip(chip)
        super().__init__(
            {
                "settings": In(train_layout()),
                "clear": In(1),
                "line": In(stream.Signature(line_layout())),
                "start": In(1),
                "busy": Out(1),
                "refused": Out(1),
                "write": Out(stream.Signature(learn_write_layout(chip))),
                "response": In(stream.Signature(1)),
                "seed": In(
                    stream.Signature(data.StructLayout({"line": LINE_BITS, "state": LFSR_BITS}))
                ),
                "look": In(stream.Signature(LINE_BITS)),
                "seen": Out(LFSR_BITS),
            }
        )
        lines = chip.lines
        self._state = Signal(_State)
        self._registers = [Signal(lines, name=f"register{k}") for k in range(LFSR_BITS)]
        self._limits = [Signal(lines, name=f"limit{k}") for k in range(PROBABILITY_BITS)]
        self._negative = Signal(lines)
        # Fractions that columns have come to, of overlap as short as it can be.
        self._fractions = [Signal(chip.cols, name=f"fraction{k}") for k in range(NUMBER_BITS)]
        self._seen = [Signal(name=f"seen{k}") for k in range(LFSR_BITS)]
        self._phase = Signal()  # rows of negative numbers
        self._slot = Signal(_SLOT_BITS)
        self._place = Signal(_SLOT_BITS)  # in a column's period

    def elaborate(self, platform: object) -> Module:
        m = Module()
        idle = self._state == _State.IDLE
        m.d.comb += [
            self.busy.eq(~idle),
            self.line.ready.eq(idle),
            self.seed.ready.eq(idle),
        ]
        self._take_lines(m, platform)
        driven = self._compare(m, platform)
        self._give(m, driven)
        return m

    @property
    def _overlap(self) -> Value:
        return self.settings.mode == TrainMode.OVERLAP

    def _take_lines(self, m: Module, platform: object) -> None:
        """Probabilities, of which those of overlap become the slots for which a line is driven;
        and registers."""
        chip = self._chip
        line, seed = self.line.payload, self.seed.payload
        given = Signal()
        seeded = Signal()
        which = Signal(LINE_BITS)
        word = Signal(LFSR_BITS)
        negative = Signal()
        span = Signal(_SLOT_BITS)
        place = Signal(chip.lines)
        m.d.comb += span.eq(Mux(line.line < chip.rows, self.settings.slots, self.settings.period))
        m.d.sync += [
            given.eq(self.line.valid & self.line.ready),
            seeded.eq(self.seed.valid & self.seed.ready),
        ]
        with m.If(self.seed.valid & self.seed.ready):
            m.d.sync += [which.eq(seed.line), word.eq(seed.state)]
        with m.If(self.line.valid & self.line.ready):
            m.d.sync += [
                which.eq(line.line),
                word.eq(line.probability),
                negative.eq(line.negative),
            ]
            with m.If(self._overlap & (span != 0)):
                m.d.sync += word.eq((line.probability * span + (1 << 15)) >> 16)
        with idle_skips(m, given | seeded, platform):
            m.d.comb += place.eq(Const(1, 1) << which)
        with m.If(self.clear):
            m.d.sync += [limit.eq(0) for limit in self._limits]
        with m.Elif(given):
            m.d.sync += [
                *(plane.eq(_put(plane, place, word[k])) for k, plane in enumerate(self._limits)),
                self._negative.eq(_put(self._negative, place, negative)),
            ]
        with m.If(seeded):
            m.d.sync += [
                plane.eq(_put(plane, place, word[k])) for k, plane in enumerate(self._registers)
            ]
        with m.Elif((self._state == _State.SLOT) & ~self._overlap):
            m.d.sync += [
                plane.eq(reduce(xor, (self._registers[k] for k in taken)))
                for plane, taken in zip(self._registers, lfsr_steps(NUMBER_BITS), strict=True)
            ]
        m.d.comb += [self.look.ready.eq(1), self.seen.eq(Cat(self._seen))]
        with m.If(self.look.valid):
            m.d.sync += [
                bit.eq(plane.bit_select(self.look.payload, 1))
                for bit, plane in zip(self._seen, self._registers, strict=True)
            ]

    def _compare(self, m: Module, platform: object) -> Signal:
        """Which lines are driven in this slot."""
        chip = self._chip
        rows, overlap = chip.rows, self._overlap
        shared = Signal()
        short = Signal()
        driven = Signal(chip.lines)
        numbers = [Signal(chip.lines, name=f"number{k}") for k in range(NUMBER_BITS)]
        below = [Signal(chip.lines, name=f"below{k}") for k in range(PROBABILITY_BITS)]
        carries = [Signal(chip.cols, name=f"carry{k}") for k in range(PROBABILITY_BITS)]
        m.d.comb += [
            shared.eq(self.settings.mode == TrainMode.SHARED),
            short.eq(overlap & (self.settings.period == 0)),
        ]
        with idle_skips(m, self._state == _State.SLOT, platform):
            for k, number in enumerate(numbers):
                plane, limit = self._registers[k], self._limits[k]
                with m.If(overlap):
                    if k < _SLOT_BITS:
                        times = _fill(self._slot[k], rows), _fill(self._place[k], chip.cols)
                        m.d.comb += number.eq(Cat(*times))
                with m.Elif(shared):
                    one = _fill(plane[0], rows), _fill(plane[rows], chip.cols)
                    m.d.comb += number.eq(Cat(*one))
                with m.Else():
                    m.d.comb += number.eq(plane)
                m.d.comb += below[k + 1].eq((~number & limit) | (~(number ^ limit) & below[k]))
                # Of overlap as short as can be: whether a column's fraction carries over.
                fraction, limit = self._fractions[k], self._limits[k][rows:]
                m.d.comb += carries[k + 1].eq(
                    (fraction & limit) | (carries[k] & (fraction | limit))
                )
        always = self._limits[NUMBER_BITS]
        with m.If(self.start):
            m.d.sync += [fraction.eq(0) for fraction in self._fractions[:-1]]
            m.d.sync += self._fractions[-1].eq(Const(-1, chip.cols))
        with m.If(self._state == _State.SLOT):
            m.d.sync += driven.eq(below[NUMBER_BITS] | always)
            with m.If(short):
                m.d.sync += [
                    driven[rows:].eq(carries[NUMBER_BITS] | always[rows:]),
                    *(
                        fraction.eq(fraction ^ self._limits[k][rows:] ^ carries[k])
                        for k, fraction in enumerate(self._fractions)
                    ),
                ]
        return driven

    def _give(self, m: Module, driven: Signal) -> None:
        """The slots, the phases of each, and the beats of those."""
        chip, write = self._chip, self.write.payload
        phase = self._phase
        beat = Signal(BEAT_BITS)
        last = Signal()
        columns = Signal(chip.cols)  # of the beats to come, the next lowest
        downward = Signal(chip.cols)
        rows = Signal(chip.rows)
        turned = phase ^ self.settings.invert
        m.d.comb += [
            rows.eq(driven[: chip.rows] & Mux(phase, self._negative, ~self._negative)[: chip.rows]),
            last.eq(beat == beats_for(chip.cols, chip.lanes) - 1),
            self.write.valid.eq(self._state == _State.BEAT),
            write.array.eq(self.settings.array),
            write.rows.eq(rows),
            write.beat.eq(beat),
            write.up.eq(columns & ~downward),
            write.down.eq(columns & downward),
            write.pulses.eq(1),
            write.fire.eq(last),
            self.response.ready.eq(self._state == _State.RESPONSE),
            self.refused.eq(self.response.ready & self.response.valid & self.response.payload),
        ]
        with m.Switch(self._state):
            with m.Case(_State.IDLE), m.If(self.start):
                m.d.sync += [
                    self._slot.eq(0),
                    self._place.eq(0),
                    self._state.eq(_State.SLOT),
                ]
            with m.Case(_State.SLOT):
                m.d.sync += [
                    self._slot.eq(self._slot + 1),
                    self._place.eq(self._place + 1),
                    phase.eq(0),
                    self._state.eq(_State.PHASE),
                ]
                with m.If(self._place + 1 == self.settings.period):
                    m.d.sync += self._place.eq(0)
            with m.Case(_State.PHASE):
                m.d.sync += [
                    columns.eq(driven[chip.rows :]),
                    downward.eq(Mux(turned, ~self._negative, self._negative)[chip.rows :]),
                    beat.eq(0),
                ]
                with m.If(rows.any() & driven[chip.rows :].any()):
                    m.d.sync += self._state.eq(_State.BEAT)
                with m.Else():
                    self._next_phase(m)
            with m.Case(_State.BEAT), m.If(self.write.ready):
                m.d.sync += [
                    columns.eq(columns >> chip.lanes),
                    downward.eq(downward >> chip.lanes),
                    beat.eq(beat + 1),
                ]
                with m.If(last):
                    m.d.sync += self._state.eq(_State.RESPONSE)
            with m.Case(_State.RESPONSE), m.If(self.response.valid):
                self._next_phase(m)

    def _next_phase(self, m: Module) -> None:
        m.d.sync += [self._phase.eq(1), self._state.eq(_State.PHASE)]
        with m.If(self._phase):
            m.d.sync += self._state.eq(_State.SLOT)
            with m.If(self._slot == self.settings.slots):
                m.d.sync += self._state.eq(_State.IDLE)


def _fill(bit: Value, width: int) -> Value:
    """A bit for every line."""
    return Mux(bit, Const((1 << width) - 1, width), Const(0, width))


def _put(plane: Signal, place: Signal, bit: Value) -> Value:
    """A signal with a bit put where the one bit of ``place`` is set."""
    return Mux(bit, plane | place, plane & ~place)
