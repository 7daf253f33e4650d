# SPDX-License-Identifier: Apache-2.0
"""Bugs of arrays that learn, of pulse trains and of the core that trains."""

from plant import Mutation, named

__all__ = ["ARRAYS", "CORE_C", "TRAINS"]

_C, _CORE = "ohm_learn.c", "ohm_learn_core.c"

CORE_C = named(
    Mutation(
        "transposed reads have the gains of forward ones",
        _C,
        "transposed ? f->gains_transposed : f->gains",
        "f->gains",
    ),
    Mutation("a cell dies a pulse late", _C, "number >= a->limit[cell]", "number > a->limit[cell]"),
    Mutation(
        "pulses down have the spread of pulses up",
        _C,
        "up ? a->gain_up : a->gain_down",
        "a->gain_up",
    ),
    Mutation(
        "only the lines that are used step on",
        _CORE,
        "line < c->rows + c->cols; line++",
        "line < c->rows + columns; line++",
    ),
    Mutation(
        "rows share the exponent with the wrong rounding",
        _CORE,
        "s->manage ? e >> 1 : 0",
        "s->manage ? e / 2 : 0",
    ),
    Mutation(
        "a second try counts as the first",
        _CORE,
        "codes[i] * (1 << t) * (int8_t)o->m",
        "codes[i] * (int8_t)o->m",
    ),
)

TRAINS = named(
    Mutation(
        "rows and columns take the same registers",
        "ohmtwin.behavioral.learning.trains",
        "drawn[:, :rows], drawn[:, rows:]",
        "drawn[:, :rows], drawn[:, : drawn.shape[1] - rows]",
    ),
    Mutation(
        "probabilities are cut, not rounded",
        "ohmtwin.behavioral.learning.trains",
        "half = 1 << (shift - 1) if shift else 0",
        "half = 0",
    ),
)

ARRAYS = named(
    Mutation(
        "transposed reads draw as the forward read of that number",
        "ohmtwin.behavioral.learning.array",
        "self.reads = (self.reads + 1) % READ_LIMIT",
        "self.reads = (self.reads + (not transposed)) % READ_LIMIT",
    ),
    Mutation(
        "the bounds push a cell back that lies beyond them",
        "ohmtwin.behavioral.learning.array",
        "low, high = np.minimum(low, state), np.maximum(high, state)",
        "low, high = np.minimum(low, high), np.maximum(high, low)",
    ),
)
