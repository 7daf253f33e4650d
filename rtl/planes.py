# SPDX-License-Identifier: Apache-2.0
"""Row registers that hold activations as bit planes."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from ..arch.formats import ACTIVATION_BITS
from .checks import check_chip

__all__ = ["PlaneRegisters"]

_WORD_ROWS = 8
"""Rows whose activations one word of data memory holds."""


class PlaneRegisters(wiring.Component):
    """The activations of the next product, readable one bit plane at a time, and their sum.

    Words come already transposed, so that a load is a plain write of 64 bits. A plane is picked
    by index: the rows keep their place, and a product over fewer than eight planes leaves the
    registers as they were for the next one.

    The next plane waits in a register of its own: the choice among eight planes is off the path of
    the planner, which may take a plane in every cycle, and costs a simulation nothing in between.

    A loaded word shows in ``plane`` in the next cycle.

    Parameters
    ----------
    chip : Chip
        ``input_rows`` is used.

    Members
    -------
    load_valid : In(1)
        Write a word in this cycle.
    load_word : In(5)
        Which: rows ``8 * load_word`` and up. A word past the last row is dropped.
    load_planes : In(64)
        Bit ``8 * p + r`` is bit p of the activation of row ``8 * load_word + r``.
    sum_valid, sum_first, load_sum : In(1), In(1), In(11)
        Add ``load_sum`` to the sum, or start a new sum with it. Apart from the word, for a word
        that is loaded in two parts is written twice.
    clear : In(1)
        Set the sum to 0, and show plane 0 from the next cycle on.
    take : In(1)
        Show plane ``next`` from the next cycle on; not with ``load_valid``.
    next : In(3)
        Plane to follow. The last of a product must be 0: loads expect plane 0 to show.
    plane : Out(input_rows)
        Bit r belongs to row r; plane 0 at first.
    sum : Out(16)
        Sum of the activations since ``sum_first``.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._chip = check_chip(chip)
        super().__init__(
            {
                "load_valid": In(1),
                "load_word": In(5),
                "load_planes": In(_WORD_ROWS * ACTIVATION_BITS),
                "sum_valid": In(1),
                "sum_first": In(1),
                "load_sum": In(11),
                "clear": In(1),
                "take": In(1),
                "next": In(3),
                "plane": Out(chip.input_rows),
                "sum": Out(16),
            }
        )

    @property
    def chip(self) -> Chip:
        return self._chip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # One register a word, in the order of the load: a simulator writes and reads it whole.
        words = [
            Signal(_WORD_ROWS * ACTIVATION_BITS, name=f"word{i}", reset_less=True)
            for i in range(self._chip.input_rows // _WORD_ROWS)
        ]

        def plane(p: int) -> Any:
            return Cat(word.word_select(p, _WORD_ROWS) for word in words)

        with m.If(self.sum_valid):
            m.d.sync += self.sum.eq(Mux(self.sum_first, 0, self.sum) + self.load_sum)
        # Nothing is loaded in a cycle of `take`, which comes late: it need not be asked which wins.
        with m.If(self.take), m.Switch(self.next):
            for p in range(ACTIVATION_BITS):
                with m.Case(p):
                    m.d.sync += self.plane.eq(plane(p))
        with m.If(self.load_valid), m.Switch(self.load_word):
            for i, word in enumerate(words):
                with m.Case(i):
                    m.d.sync += [
                        word.eq(self.load_planes),
                        self.plane.word_select(i, _WORD_ROWS).eq(self.load_planes),
                    ]
        with m.If(self.clear):
            m.d.sync += [self.sum.eq(0), self.plane.eq(plane(0))]
        return m
