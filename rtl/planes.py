# SPDX-License-Identifier: Apache-2.0
"""Row registers that hold activations as bit planes, and show what a pass drives."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from ..arch.formats import ACTIVATION_BITS
from ..arch.inputs import DIGIT_BITS, InputEncoding
from .checks import check_chip
from .idle import idle_skips
from .rotation import sum_bits

__all__ = ["PlaneRegisters", "load_signature"]

_WORD_ROWS = 8
"""Rows whose activations one word of data memory holds."""

_WORD_NUMBER_BITS = 4
"""Of the even words, or the odd ones, among 256 rows."""


def _word_bits(chip: Chip) -> int:
    """Bits of a word of eight rows as the row registers hold it."""
    return _WORD_ROWS * (ACTIVATION_BITS + chip.input_code.has_zero)


def load_signature(chip: Chip, cores: int = 1) -> wiring.Signature:
    """A way for every other word of eight rows: ``word`` counts them from 0.

    Bit ``8 * p + r`` of ``planes`` is bit p of the activation of the word's row r; with sign and
    magnitude of its magnitude, and p = 8 tells that it is below zero. ``valid`` has a bit a core.
    """
    return wiring.Signature(
        {"valid": Out(cores), "word": Out(_WORD_NUMBER_BITS), "planes": Out(_word_bits(chip))}
    )


def _digit_members(chip: Chip) -> dict[str, Any]:
    if chip.input_code.digit_bits == 1:
        return {}
    return {"digits_of": In(chip.input_code.number_bits), "digits": Out(chip.rows * DIGIT_BITS)}


class PlaneRegisters(wiring.Component):
    """The activations of the next product, readable one pass at a time, and their sum.

    A pass is a bit plane but for other input encodings (``arch/inputs.py``).

    Words come already transposed, so that a load is a plain write of 64 bits. A plane is picked
    by index: the rows keep their place, and a product over fewer than eight planes leaves the
    registers as they were for the next one.

    The next plane waits in a register of its own: the choice among eight planes is off the path of
    the planner, which may take a plane in every cycle, and costs a simulation nothing in between.

    A loaded word shows in ``plane`` in the next cycle.

    Parameters
    ----------
    chip : Chip
        ``input_rows`` and ``arrays_per_core`` are used.

    Members
    -------
    even, odd : In(load_signature(chip))
        Write a word of the rows from ``16 * word`` on, and one of those from ``16 * word + 8`` on.
        A word past the last row is dropped.
    sum_valid, sum_first, load_sum : In(1), In(1), In(11)
        Add ``load_sum`` to the sum, or start a new sum with it. Apart from the word, for a word
        that is loaded in two parts is written twice.
    clear : In(1)
        Set the sum to 0, and show plane 0 from the next cycle on.
    take : In(1)
        Show plane ``next`` from the next cycle on; not with a word that is loaded.
    next : In(number_bits)
        Pass to follow. The last of a product must be 0: loads expect plane 0 to show.
    plane : Out(input_rows)
        Bit r belongs to row r; plane 0 at first.
    sum : Out(sum_bits)
        Sum of the activations since ``sum_first``.
    digits_of, digits : In(number_bits), Out(2 * rows)
        Only with multi-level drivers: the digits of all rows in a pass, in the same cycle.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._chip = check_chip(chip)
        super().__init__(
            {
                "even": In(load_signature(chip)),
                "odd": In(load_signature(chip)),
                "sum_valid": In(1),
                "sum_first": In(1),
                "load_sum": In(11),
                "clear": In(1),
                "take": In(1),
                "next": In(chip.input_code.number_bits),
                "plane": Out(chip.input_rows),
                "sum": Out(sum_bits(chip)),
                **_digit_members(chip),
            }
        )

    @property
    def chip(self) -> Chip:
        return self._chip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip = self._chip
        # One register a word, in the order of the load: a simulator writes and reads it whole.
        words = [
            Signal(_word_bits(chip), name=f"word{i}", reset_less=True)
            for i in range(chip.input_rows // _WORD_ROWS)
        ]

        with m.If(self.sum_valid):
            m.d.sync += self.sum.eq(Mux(self.sum_first, 0, self.sum) + self.load_sum)
        # Nothing is loaded in a cycle of `take`, which comes late: so the choice of what is to show
        # is made without it.
        shown = Signal(chip.input_rows)
        changes = self.take | self.clear
        if chip.input_code.thresholds:
            level = self._levels(m)
            with idle_skips(m, changes, platform):
                m.d.comb += shown.eq(Cat(_reaches(word, level) for word in words))
        else:
            with idle_skips(m, changes, platform), m.Switch(self.next):
                for p in range(chip.passes):
                    with m.Case(p):
                        m.d.comb += shown.eq(Cat(self._bits(word, p) for word in words))
        with m.If(self.clear):
            m.d.comb += shown.eq(Cat(self._first(word) for word in words))
            m.d.sync += self.sum.eq(0)
        any_loads = self.even.valid | self.odd.valid
        with m.If(changes | any_loads):
            for i, word in enumerate(words):
                port = self.odd if i % 2 else self.even
                loads = port.valid & (port.word == i // 2)
                with m.If(loads):
                    m.d.sync += word.eq(port.planes)
                with m.If(loads | ~any_loads):
                    m.d.sync += self.plane.word_select(i, _WORD_ROWS).eq(
                        Mux(loads, self._first(port.planes), shown.word_select(i, _WORD_ROWS))
                    )
        if chip.input_code.digit_bits > 1:
            with m.Switch(self.digits_of):
                for p in range(chip.passes):
                    with m.Case(p):
                        m.d.comb += self.digits.eq(Cat(_digits(word, p) for word in words))
        return m

    def _first(self, word: Any) -> Any:
        """The rows of a word that pass 0 drives."""
        thresholds = self._chip.input_code.thresholds
        return _reaches(word, Const(thresholds[0])) if thresholds else self._bits(word, 0)

    def _bits(self, word: Any, number: int) -> Any:
        """The rows of a word that a pass drives."""
        code = self._chip.input_code
        plane = word.word_select(code.plane(number), _WORD_ROWS)
        match self._chip.input_encoding:
            case InputEncoding.TWOS_COMPLEMENT:
                # The top bit the other way round makes a code less 128 of it.
                return ~plane if code.negative(number) else plane
            case InputEncoding.SIGN_MAGNITUDE:
                below = word.word_select(ACTIVATION_BITS, _WORD_ROWS)
                return plane & (below if code.negative(number) else ~below)
            case InputEncoding.DIGITS:
                return plane | word.word_select(code.plane(number) + 1, _WORD_ROWS)
        return plane

    def _levels(self, m: Module) -> Value:
        """The code from which on a row is driven in pass ``next``."""
        thresholds = self._chip.input_code.thresholds
        if self._chip.input_encoding is InputEncoding.UNARY:
            return self.next + 1
        # Between products the second number waits, since the first pass shows.
        second = Const(thresholds[1 % len(thresholds)], ACTIVATION_BITS)
        state = Signal(ACTIVATION_BITS, init=second.value)
        again = self.next == 0
        with m.If(self.take):
            fed = state[7] ^ state[5] ^ state[4] ^ state[3]
            m.d.sync += state.eq(Mux(again, second, Cat(fed, state)))
        with m.If(self.clear):
            m.d.sync += state.eq(second)
        return Mux(again, thresholds[0], state)


def _row(word: Any, row: int) -> Any:
    """The activation of a row of a word."""
    return Cat(word[_WORD_ROWS * p + row] for p in range(ACTIVATION_BITS))


def _reaches(word: Any, level: Value) -> Any:
    """The rows of a word whose activations are not below a number."""
    return Cat(_row(word, row) >= level for row in range(_WORD_ROWS))


def _digits(word: Any, number: int) -> Any:
    """Two bits of each row of a word, the first row's lowest."""
    low = word.word_select(DIGIT_BITS * number, _WORD_ROWS)
    high = word.word_select(DIGIT_BITS * number + 1, _WORD_ROWS)
    return Cat(Cat(low[row], high[row]) for row in range(_WORD_ROWS))
