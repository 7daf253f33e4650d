# SPDX-License-Identifier: Apache-2.0
"""Bugs of converters, of row budgets, and of reads of one slice."""

from plant import Mutation, named

__all__ = [
    "BUDGETS",
    "CHOICE",
    "CONVERTERS",
    "CONVERTERS_C",
    "CONVERTERS_NUMPY",
    "SLICES",
    "SLICES_C",
    "THRESHOLDS",
]

CONVERTERS = named(
    Mutation(
        "codes of coarse ADCs count one level each",
        "ohmtwin.rtl.combine",
        "codes = [Cat(Const(0, step), code) for code in codes]",
        "codes = [Cat(code, Const(0, step)) for code in codes]",
    ),
    Mutation(
        "every code but 0 counts as saturated",
        "ohmtwin.rtl.core",
        "self.codes.payload.word_select(lane, bits).all() for lane",
        "self.codes.payload.word_select(lane, bits).any() for lane",
    ),
    Mutation(
        "saturated codes that nobody has taken yet count",
        "ohmtwin.rtl.core",
        "saturated.eq(Mux(beat, full, 0))",
        "saturated.eq(full)",
    ),
)

CONVERTERS_NUMPY = named(
    Mutation(
        "sums past the top wrap",
        "ohmtwin.behavioral.image",
        "ideal = np.clip(near, 0, (1 << self.adc_bits) - 1)",
        "ideal = near & ((1 << self.adc_bits) - 1)",
    ),
    Mutation(
        "coarse ADCs round down",
        "ohmtwin.behavioral.image",
        "near = (x + 2048 * self.adc_step) //",
        "near = (x + 2048) //",
    ),
    Mutation(
        "a sense amplifier needs one more than its threshold",
        "ohmtwin.behavioral.image",
        "near = near + 1 - self.thresholds",
        "near = near - self.thresholds",
    ),
)

CONVERTERS_C = named(
    Mutation(
        "sums past the top wrap",
        "ohm_crossbar.c",
        "return (uint16_t)(t < 0 ? 0 : t > top ? top : t);",
        "return (uint16_t)(t < 0 ? 0 : t & top);",
    ),
    Mutation(
        "coarse ADCs round down",
        "ohm_crossbar.c",
        "(x + ((int64_t)2048 << a->step_bits))",
        "(x + 2048)",
    ),
    Mutation(
        "all columns share a threshold",
        "ohm_crossbar.c",
        ">> (12 + a->step_bits)) - a->base[c];",
        ">> (12 + a->step_bits)) - a->base[0 * c];",
    ),
    Mutation(
        "neighbouring columns have ADCs of their own",
        "ohm_crossbar.c",
        "(c / a->span % lanes) << bits",
        "(c % lanes) << bits",
    ),
)

THRESHOLDS = named(
    Mutation(
        "weights of 1 are not taken off thresholds",
        "ohmtwin.host.compiler.binary",
        "first[slots] + len(order) - ones",
        "first[slots] + len(order)",
    ),
    Mutation(
        "a column that can never be 1 is always",
        "ohmtwin.host.compiler.binary",
        "codes.argmax(axis=1), codes.shape[1]) - layer.inputs",
        "codes.argmax(axis=1), 0) - layer.inputs",
    ),
)

BUDGETS = named(
    Mutation(
        "the budget of a plane is that of all below it too",
        "ohmtwin.rtl.budgets",
        "chosen = ~self.value[ONE_PLANE] | (plane == p)",
        "chosen = ~self.value[ONE_PLANE] | (plane >= p)",
    ),
    Mutation(
        "budgets outlive the program",
        "ohmtwin.rtl.budgets",
        "with m.If(self.reset):",
        "with m.If(self.reset & 0):",
    ),
    Mutation(
        "budgets change while cores read by them",
        "ohmtwin.rtl.controller",
        "self._wait_cores.eq(Mux(reg == Reg.ROWS_PER_READ, ~0, 0))",
        "self._wait_cores.eq(0)",
    ),
    Mutation(
        "a plane is read by the budget of the one before",
        "ohmtwin.rtl.scheduler",
        "self.budgets.word_select(upcoming[:number_bits], ROWS_BITS)",
        "self.budgets.word_select(number, ROWS_BITS)",
    ),
    Mutation(
        "plane 0 is read by the budget of the top plane",
        "ohmtwin.rtl.scheduler",
        "at_first = self.budgets[:ROWS_BITS]",
        "at_first = self.budgets[-ROWS_BITS:]",
    ),
)

SLICES = named(
    Mutation(
        "the budget of a slice is that of all slices",
        "ohmtwin.rtl.budgets",
        "chosen &= ~self.value[ONE_SLICE] | (part == s)",
        "chosen &= ~self.value[ONE_SLICE] | (part <= 15)",
    ),
    Mutation(
        "a slice weighs as the one that is planned",
        "ohmtwin.rtl.combine",
        "combined = every[part_of]",
        "combined = every[self.slice]",
    ),
    Mutation(
        "the outputs of a beat drain as its first ones",
        "ohmtwin.rtl.combine",
        "drained.word_select(self.drain_addr[:bank_bits],",
        "drained.word_select(self.drain_addr[:bank_bits] & 0,",
    ),
    Mutation(
        "slices of a plane carry the bits of planes of their own",
        "ohmtwin.rtl.core",
        "registers.next.eq(scheduler.next[self._chip.slice_bits :])",
        "registers.next.eq(scheduler.next)",
    ),
)

SLICES_C = named(
    Mutation(
        "the columns of the first slice are taken for all",
        "ohm_core.c",
        "codes[j] = codes[j * m->slices + slice]",
        "codes[j] = codes[j * m->slices]",
    ),
    Mutation(
        "all slices of a plane have the budget of its first",
        "ohm_core.c",
        "m->budgets[q], m->group",
        "m->budgets[q - slice], m->group",
    ),
)

CHOICE = named(
    Mutation(
        "the least significant plane counts most",
        "ohmtwin.host.budgets",
        "square * 4.0**plane * use.scale",
        "square * 4.0 ** (7 - plane) * use.scale",
    ),
    Mutation(
        "the least error is chosen, not the fewest reads",
        "ohmtwin.host.budgets",
        "chosen, at = [], 0",
        "chosen, at = [], len(reads) - 1",
    ),
)
