# SPDX-License-Identifier: Apache-2.0
"""Bugs of what a chip has only if it is asked for: codes, encodings, a write port."""

from plant import Mutation, named

__all__ = ["CODE", "ENCODINGS", "INPUTS", "WRITER"]

CODE = named(
    Mutation(
        "a remainder of just half of A is taken for one below 0",
        "ohmtwin.rtl.ancode",
        "signed_rest > a // 2",
        "signed_rest >= a // 2",
    ),
    Mutation(
        "the quotient that was one less stays so",
        "ohmtwin.rtl.ancode",
        "quotient.eq(rough + more - self._lift)",
        "quotient.eq(rough - self._lift)",
    ),
    Mutation(
        "nobody asks whether B divides",
        "ohmtwin.rtl.ancode",
        "fits.eq(digit == entry[: code.digit_bits])",
        "fits.eq(entry[: code.digit_bits] != b)",
    ),
    Mutation(
        "what is taken off is one too much",
        "ohmtwin.rtl.ancode",
        "Cat(fits & negative, offset)",
        "Cat(Const(0, 1), offset)",
    ),
    Mutation(
        "digits below a multiple are those above one",
        "ohmtwin.rtl.ancode",
        "(-k if minus else k) % b",
        "k % b",
    ),
    Mutation(
        "a decoded sum is moved up by the plane of the read under way",
        "ohmtwin.rtl.combine",
        ".as_signed() << here[-1]",
        ".as_signed() << self._plane",
    ),
    Mutation(
        "events are counted while no sum comes",
        "ohmtwin.rtl.combine",
        "with m.If(here[0]):",
        "with m.If(Const(1)):",
    ),
)

ENCODINGS = named(
    Mutation(
        "negative columns add to the sum",
        "ohmtwin.rtl.combine",
        "return total + moved if weight > 0 else total - moved",
        "return total + moved",
    ),
    Mutation(
        "columns of a later beat lose their sign",
        "ohmtwin.rtl.combine",
        "return moved if weight > 0 else -moved",
        "return moved",
    ),
    Mutation(
        "flipped columns are put right by the rows of the next read",
        "ohmtwin.rtl.combine",
        """        with m.If(self.begin):
            m.d.sync += full.eq""",
        """        with m.If(self.begin | self.beat):
            m.d.sync += full.eq""",
    ),
    Mutation(
        "the second word of flags is that of the first",
        "ohmtwin.rtl.combine",
        "read.addr.eq(beat[beats.bit_length() - 1 :])",
        "read.addr.eq(0)",
    ),
    Mutation(
        "rows whose bit is not set are driven in their first row",
        "ohmtwin.rtl.core",
        "return Cat(plan.rows, plan.others)",
        "return Cat(plan.rows | plan.others, plan.others)",
    ),
    Mutation(
        "a read keeps other rows of the read before",
        "ohmtwin.rtl.scheduler",
        "*(whole.eq(0) for whole, _, _ in driving),\n                need.eq(per_read)",
        "taken.eq(0),\n                need.eq(per_read)",
    ),
)

INPUTS = named(
    Mutation(
        "the top plane of two's complement is added",
        "ohmtwin.rtl.core",
        "return number == chip.passes - 1",
        "return number == chip.passes",
    ),
    Mutation(
        "the top plane of two's complement is that of the code",
        "ohmtwin.rtl.planes",
        "return ~plane if code.negative(number) else plane",
        "return plane",
    ),
    Mutation(
        "rows below zero are driven with those above it",
        "ohmtwin.rtl.planes",
        "plane & (below if code.negative(number) else ~below)",
        "plane & (below if code.negative(number) else ~0)",
    ),
    Mutation(
        "the two passes of a plane weigh a plane apart",
        "ohmtwin.rtl.core",
        "return number >> 1",
        "return number",
    ),
    Mutation(
        "the digits are those of the pass that is planned",
        "ohmtwin.rtl.core",
        "registers.digits_of.eq(plan.plane[self._chip.slice_bits :])",
        "registers.digits_of.eq(registers.next)",
    ),
    Mutation(
        "a row of a pulse is driven a pass too long",
        "ohmtwin.rtl.planes",
        "return self.next + 1",
        "return self.next",
    ),
    Mutation(
        "streams do not begin afresh with a product",
        "ohmtwin.rtl.planes",
        "state.eq(Mux(again, second, Cat(fed, state)))",
        "state.eq(Cat(fed, state))",
    ),
    Mutation(
        "ZERO is added to activations",
        "ohmtwin.rtl.loader",
        "word.word_select(i, 8) - self.zero",
        "word.word_select(i, 8) + self.zero",
    ),
    Mutation(
        "the sum of a stream is that of its codes",
        "ohmtwin.rtl.loader",
        "if self._code.exact:",
        "if True:",
    ),
)

WRITER = named(
    Mutation(
        "the reads that are averaged are not summed",
        "ohmtwin.rtl.writer",
        "before = Mux(self._reads == 0, 0,",
        "before = Mux(self._reads >= 0, 0,",
    ),
    Mutation(
        "a cell just within its tolerance is pulsed",
        "ohmtwin.rtl.writer",
        "off.eq(judged & (distance > tolerance))",
        "off.eq(judged & (distance >= tolerance))",
    ),
    Mutation(
        "cells that have read right are judged again",
        "ohmtwin.rtl.writer",
        "judged.eq(now_before[0] | self._recheck | (self._iterations == 0))",
        "judged.eq(1)",
    ),
    Mutation(
        "rates up and down have changed places",
        "ohmtwin.rtl.writer",
        "rate.eq(Mux(below, up, down))",
        "rate.eq(Mux(below, down, up))",
    ),
    Mutation(
        "the largest power of two is never given",
        "ohmtwin.rtl.writer",
        "last_power = power == PULSE_BITS - 1",
        "last_power = power == PULSE_BITS - 2",
    ),
    Mutation(
        "a row is programmed while the program computes",
        "ohmtwin.rtl.bridge",
        "(~self.running | self.waiting | self.stop) & ~self.run",
        "~self.run",
    ),
    Mutation(
        "all cells share the draws of their pulses",
        "ohmtwin.behavioral.pulsed",
        "cell | np.uint32(_DOMAIN)",
        "(cell & np.uint32(0)) | np.uint32(_DOMAIN)",
    ),
)
