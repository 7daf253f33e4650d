# SPDX-License-Identifier: Apache-2.0
"""Slice combine and accumulators: from ADC codes to the sums of a product."""

from collections.abc import Sequence

from amaranth.hdl import Array, Cat, Const, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from ..arch.formats import ACC_BITS
from .ancode import AnUnit
from .checks import check_chip
from .rotation import sum_bits

__all__ = ["SliceAccumulator"]

_FLAGS = 64
"""Flags of flipped columns in a word."""


class SliceAccumulator(wiring.Component):
    """Weigh the codes of a beat by slice and bit plane and add them to the sums of their outputs.

    ``sum over planes and reads of (sum over an output's columns of code * weight) << plane``
    (``docs/tile.md``, "Numbers"; shift-and-add as in ISAAC, section III); the reads of a pass that
    an input encoding makes negative are taken off. The code of a flipped column is taken from what
    its cells would add up to at their top level. The first read of a
    product overwrites what the words held; words that it does not reach keep it. A product that has
    made no read drains as zeros.

    Under an AN code (``docs/ecc.md``) the sum over slices goes through an
    :class:`~.ancode.AnUnit` before it is moved up by the plane and added.

    Latency: :attr:`latency` cycles from a beat to its sum being readable. Throughput: a beat a
    cycle. Draining shares the memory's read port: not while beats are under way.

    Parameters
    ----------
    chip : Chip
        ``lanes``, ``adc_bits``, ``cell_bits`` and what follows from them are used.

    Members
    -------
    reset : In(1)
        Nothing has been read yet: a product starts.
    begin : In(1)
        The beats of a read start in the next cycle, from column 0 on.
    plane : In(3)
        Bit plane of that read, valid with ``begin``.
    negative : In(1)
        It is taken off; only with input encodings that have such passes.
    beat : In(1)
        Take ``codes``.
    codes : In(lanes * adc_bits)
        One code a lane, lane 0 lowest.
    drain_select, drain_sum : In(1)
        Show in the next cycle the word at ``drain_addr``, or ``sum`` in its place.
    drain_addr : In(range(acc_words))
        Accumulator word: outputs ``W * drain_addr`` and up.
    sum : In(sum_bits)
        Sum of the activations.
    write, write_addr, write_data : In(1), In(range(entries)), In(entry_bits)
        With a code: to the tables of corrections, as in :class:`~.ancode.AnUnit`.
    corrected, detected : Out(W)
        With a code: a bit an output, in the cycle in which sums enter the accumulators.
    rows : In(rows)
        With flipped columns: rows of the read, valid with ``begin``.
    write_flags, flags_addr, flags : In(1), In(range(flag_words)), In(64)
        With flipped columns: which they are, column 0 in bit 0 of word 0.
    drain_data : Out(W * 32)
        W sums modulo ``2**32``, the first lowest, a cycle after ``drain_select``; otherwise 0.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._chip = check_chip(chip)
        self._unit = None
        self._plane = Signal(3, name="plane", reset_less=True)
        options = {}
        if chip.an_code is not None:
            low, high = chip.sum_range
            outputs = chip.outputs_per_beat
            self._unit = AnUnit(code=chip.an_code, outputs=outputs, low=low, high=high)
            names = ("write", "write_addr", "write_data")
            options = {
                **{name: In(getattr(self._unit, name).shape()) for name in names},
                **{name: Out(outputs) for name in ("corrected", "detected")},
            }
        if chip.flag_words:
            options["rows"] = In(chip.rows)
            options["write_flags"] = In(1)
            options["flags_addr"] = In(range(chip.flag_words))
            options["flags"] = In(_FLAGS)
        super().__init__(
            {
                **options,
                "reset": In(1),
                "begin": In(1),
                "plane": In(3),
                **({"negative": In(1)} if chip.input_code.signed else {}),
                **({"slice": In(chip.slice_bits)} if chip.slice_bits else {}),
                "beat": In(1),
                "codes": In(chip.lanes * chip.adc_bits),
                "drain_select": In(1),
                "drain_sum": In(1),
                "drain_addr": In(range(chip.acc_words)),
                "sum": In(sum_bits(chip)),
                "drain_data": Out(chip.outputs_per_beat * ACC_BITS),
            }
        )

    @property
    def chip(self) -> Chip:
        return self._chip

    @property
    def latency(self) -> int:
        """Cycles from the beat that ends a word to the first in which the word can be drained."""
        return 2 + (self._unit.latency if self._unit is not None else 0)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip = self._chip
        outputs = chip.outputs_per_beat * chip.words_per_beat
        parts = chip.beats_per_word
        per_part = chip.columns_per_output // parts  # columns of one output in a beat
        weights = chip.column_weights
        unit = self._unit
        # The widest sum over slices, moved up by plane 7 where no unit comes before that.
        shape = self._shape() if unit is None else unsigned(unit.bits)
        width = shape.width

        m.submodules.sums = sums = memory.Memory(
            shape=outputs * ACC_BITS, depth=chip.acc_words // chip.words_per_beat, init=[]
        )
        write = sums.write_port()
        read = sums.read_port(domain="comb")

        plane = self._plane
        signed_passes = chip.input_code.signed
        negative = Signal(reset_less=True)
        valid_negative = Signal(reset_less=True)
        word = Signal(range(chip.acc_words // chip.words_per_beat), reset_less=True)
        part_of = Signal(max(1, chip.slice_bits), reset_less=True)  # slice of the read under way
        part = Signal(range(parts), reset_less=True)
        nothing = Signal(init=1)  # no read yet
        overwrite = Signal(reset_less=True)  # the read under way is the first

        # First stage: the slices of each output, moved up by the plane (under a code, later on).
        by = plane if unit is None else Const(0)
        valid = Signal()
        valid_word = Signal.like(word)
        valid_overwrite = Signal(reset_less=True)
        values = [Signal(shape, name=f"value{i}", reset_less=True) for i in range(outputs)]
        last_part = part == parts - 1

        codes = self._codes(m, word, part)

        m.d.sync += valid.eq(self.beat & last_part)
        with m.If(self.beat):
            m.d.sync += [valid_word.eq(word), valid_overwrite.eq(overwrite)]
            if signed_passes:
                m.d.sync += valid_negative.eq(negative)
            for i, value in enumerate(values):
                combined: Value = Const(0)
                if chip.slice_bits:
                    every = Array(_times(codes[i], weight) for weight in weights)
                    combined = every[part_of]
                else:
                    for s in range(per_part):
                        combined = _add(combined, codes[i * per_part + s], weights[s])
                moved = combined << by
                # What is no wider stays signed: a slice of it would not be.
                if len(moved) > width:
                    moved = moved[:width]
                if parts > 1:
                    placed = Signal(shape, name=f"placed{i}")
                    with m.Switch(part):
                        for p in range(parts):
                            with m.Case(p):
                                m.d.comb += placed.eq(_times(moved, weights[p * per_part]))
                    moved = Mux(part == 0, 0, value) + placed
                m.d.sync += value.eq(moved)
            if parts > 1:
                m.d.sync += part.eq(Mux(last_part, 0, part + 1))
            with m.If(last_part):
                m.d.sync += word.eq(word + 1)
        with m.If(self.begin):
            m.d.sync += [
                plane.eq(self.plane),
                word.eq(0),
                part.eq(0),
                overwrite.eq(nothing),
                nothing.eq(0),
            ]
            if signed_passes:
                m.d.sync += negative.eq(self.negative)
            if chip.slice_bits:
                m.d.sync += part_of.eq(self.slice)
        with m.If(self.reset):
            m.d.sync += nothing.eq(1)

        if unit is not None:
            going = [valid, valid_word, valid_overwrite, *([valid_negative] * signed_passes)]
            going, values = self._decode(m, unit, going, values)
            valid, valid_word, valid_overwrite = going[:3]
            valid_negative = going[-1]

        # Second stage: add to memory.
        # Words of W outputs, of which a word of memory may hold several.
        bank_bits = _log2(chip.words_per_beat)
        m.d.comb += read.addr.eq(Mux(self.drain_select, self.drain_addr[bank_bits:], valid_word))
        m.d.comb += write.addr.eq(valid_word)
        with m.If(valid):
            m.d.comb += write.en.eq(1)
            old = Mux(valid_overwrite, 0, read.data)
            terms = [
                Mux(valid_negative, -value, value) if signed_passes else value for value in values
            ]
            m.d.comb += write.data.eq(
                Cat(
                    (old.word_select(i, ACC_BITS) + term)[:ACC_BITS] for i, term in enumerate(terms)
                )
            )

        m.d.sync += self.drain_data.eq(0)
        with m.If(self.drain_select):
            with m.If(self.drain_sum):
                m.d.sync += self.drain_data.eq(self.sum)
            with m.Elif(~nothing):
                drained: Value = Value.cast(read.data)
                if bank_bits:
                    drained = drained.word_select(self.drain_addr[:bank_bits], len(self.drain_data))
                m.d.sync += self.drain_data.eq(drained)
        return m

    def _decode(
        self, m: Module, unit: AnUnit, going: Sequence[Signal], values: Sequence[Signal]
    ) -> tuple[list[Signal], list[Signal]]:
        """What ``values`` are once the unit has had them, moved up by their plane; and where they
        are ``going`` (first whether they are), as late."""
        m.submodules.unit = unit
        m.d.comb += [
            unit.i.eq(Cat(values)),
            unit.write.eq(self.write),
            unit.write_addr.eq(self.write_addr),
            unit.write_data.eq(self.write_data),
        ]
        plane = Signal(3, name="plane_then", reset_less=True)
        with m.If(self.beat):
            m.d.sync += plane.eq(self._plane)
        here = [*going, plane]
        for stage in range(unit.latency):
            then = [Signal.like(value, name=f"{value.name}{stage}") for value in here]
            m.d.sync += [after.eq(before) for after, before in zip(then, here, strict=True)]
            with m.If(self.reset):
                m.d.sync += then[0].eq(0)
            here = then
        moved = []
        for i in range(unit.outputs):
            value = Signal(signed(ACC_BITS), name=f"moved{i}")
            m.d.comb += value.eq(unit.o.word_select(i, unit.out_bits).as_signed() << here[-1])
            moved.append(value)
        with m.If(here[0]):
            m.d.comb += [self.corrected.eq(unit.corrected), self.detected.eq(unit.detected)]
        return here[:-1], moved

    def _shape(self) -> Shape:
        """Of the widest sum over an output's columns, moved up by plane 7."""
        low, high = self._chip.sum_range
        if low == 0:
            chip = self._chip
            step = _log2(chip.adc_step)
            return unsigned(chip.adc_bits + step + chip.slices * chip.cell_bits + 7)
        return signed(max(high << 7, ~(low << 7)).bit_length() + 1)

    def _codes(self, m: Module, word: Signal, part: Signal) -> list[Value]:
        """What the columns of a beat would have read were none of them flipped."""
        chip = self._chip
        codes: list[Value]
        codes = [self.codes.word_select(lane, chip.adc_bits) for lane in range(chip.lanes)]
        step = _log2(chip.adc_step)
        if step:
            codes = [Cat(Const(0, step), code) for code in codes]
        if not chip.flag_words:
            return codes
        m.submodules.flags = flags = memory.Memory(shape=_FLAGS, depth=chip.flag_words, init=[])
        write = flags.write_port()
        read = flags.read_port(domain="comb")
        # Every row that is driven counts at a cell's top level.
        full = Signal(range(chip.rows * chip.cell_code.top + 1), reset_less=True)
        with m.If(self.begin):
            m.d.sync += full.eq(_count(list(self.rows)) * chip.cell_code.top)
        beats = _FLAGS // chip.lanes  # in a word of flags
        beat = Cat(part, word) if chip.beats_per_word > 1 else word
        flagged = Signal(chip.lanes)
        m.d.comb += [
            write.en.eq(self.write_flags),
            write.addr.eq(self.flags_addr),
            write.data.eq(self.flags),
            read.addr.eq(beat[beats.bit_length() - 1 :]),
            flagged.eq(read.data.word_select(beat[: beats.bit_length() - 1], chip.lanes)),
        ]
        return [Mux(flag, full - code, code) for flag, code in zip(flagged, codes, strict=True)]


def _log2(value: int) -> int:
    return value.bit_length() - 1


def _add(total: Value, code: Value, weight: int) -> Value:
    """``total + code * weight``, the weight a power of two and a sign."""
    moved = code << _log2(abs(weight))
    return total + moved if weight > 0 else total - moved


def _times(value: Value, weight: int) -> Value:
    """``value * weight``, the weight a power of two and a sign."""
    moved = value << _log2(abs(weight))
    return moved if weight > 0 else -moved


def _count(bits: Sequence[Value]) -> Value:
    """How many bits are set."""
    while len(bits) > 1:
        bits = [sum(bits[i : i + 3], Const(0, 0)) for i in range(0, len(bits), 3)]
    return bits[0]
