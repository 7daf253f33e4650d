# SPDX-License-Identifier: Apache-2.0
"""Fixed latencies of the tile, in cycles: read by the RTL's properties and by the fast machine.

``docs/tile.md`` tells from which cycle to which each one counts. A change here is a change of both
sides; tests hold them equal.
"""

from .chip import Chip

__all__ = ["CODE_STAGES", "FETCH", "core_tail", "reduction_stages", "tap_delay", "vector_latency"]

FETCH = 1
"""Cycles before an instruction's first cycle of execution."""

_CORE_TAIL = 2

_VECTOR_STAGES = 12
"""Select, accumulator read, bias; magnitude, round, multiply, round, shift, clip; table, store, and
the store of what is left of a REQ whose last codes lie in two words of data memory."""


CODE_STAGES = 3
"""Register stages of the AN-code unit."""


def core_tail(chip: Chip) -> int:
    """Cycles a core stays busy after its last beat, until the sum is in the accumulators."""
    return _CORE_TAIL + (CODE_STAGES if chip.code_a else 0)


def reduction_stages(chip: Chip) -> int:
    """Register stages of the adder tree over the cores."""
    return (chip.cores - 1).bit_length()


def vector_latency(chip: Chip) -> int:
    """Cycles from the issue of an accumulator word to its codes standing in data memory."""
    return _VECTOR_STAGES + reduction_stages(chip)


def tap_delay(chip: Chip) -> int:
    """Cycles from the execution of a REQ with tap to the push of its first word of sums.

    The sum of activations is issued before the first accumulator word; select, accumulator read,
    reduction and bias follow.
    """
    return 4 + reduction_stages(chip)
