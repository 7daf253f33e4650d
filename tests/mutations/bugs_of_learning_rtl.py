# SPDX-License-Identifier: Apache-2.0
"""Bugs of the circuit that learns: its generator, its ALU, and what lies between."""

from plant import Mutation, named

__all__ = ["ALU", "GENERATOR", "LEARNING_CORE"]

_RTL = "ohmtwin.rtl.learning"

GENERATOR = named(
    Mutation(
        "shared columns take the register of the rows",
        f"{_RTL}.trains",
        "_fill(plane[rows], chip.cols)",
        "_fill(plane[0], chip.cols)",
    ),
    Mutation(
        "a line that is always driven never is",
        f"{_RTL}.trains",
        "driven.eq(below[NUMBER_BITS] | always)",
        "driven.eq(below[NUMBER_BITS])",
    ),
    Mutation(
        "a slot too few",
        f"{_RTL}.trains",
        "with m.If(self._slot == self.settings.slots):",
        "with m.If(self._slot + 1 >= self.settings.slots):",
    ),
    Mutation(
        "an inverted update goes the same way",
        f"{_RTL}.trains",
        "turned = phase ^ self.settings.invert",
        "turned = phase ^ (self.settings.invert & 0)",
    ),
    Mutation(
        "shares of overlap are cut, not rounded",
        f"{_RTL}.trains",
        "(line.probability * span + (1 << 15)) >> 16",
        "(line.probability * span) >> 16",
    ),
)

ALU = named(
    Mutation(
        "a shift cuts",
        f"{_RTL}.alu",
        "half.eq((Const(1, 1) << right)[1:])",
        "half.eq(0)",
    ),
    Mutation(
        "a result that waits is lost",
        f"{_RTL}.alu",
        "go.eq(~self.o.valid | self.o.ready)",
        "go.eq(1)",
    ),
    Mutation(
        "the smallest number is its own magnitude",
        f"{_RTL}.alu",
        "left = Signal(signed(WORD_BITS + 1))",
        "left = Signal(signed(WORD_BITS))",
    ),
)

LEARNING_CORE = named(
    Mutation(
        "a word that waits to be given out is looked up anew",
        f"{_RTL}.core",
        "first.en.eq(Mux(self._state == _State.IDLE, link.look, reader.enable))",
        "first.en.eq(reader.enable | link.look)",
    ),
    Mutation(
        "columns get the whole exponent",
        f"{_RTL}.plan",
        "shift.eq(setting.sd - (self.register - half))",
        "shift.eq(setting.sd - self.register)",
    ),
    Mutation(
        "what was looked up goes a word too far",
        f"{_RTL}.sink",
        "self.store_at.eq(at - 1),",
        "self.store_at.eq(at),",
    ),
    Mutation(
        "rows of APPLY do not begin at their first lane",
        f"{_RTL}.pulses",
        "[column.eq(0), lane.eq(0), beat.eq(0), row.eq(row + 1)]",
        "[column.eq(0), beat.eq(0), row.eq(row + 1)]",
    ),
)
