# SPDX-License-Identifier: Apache-2.0
"""The bugs that the suite must catch."""

from types import MappingProxyType

from plant import Mutation

__all__ = ["COMBINE", "NOISE_KEY_C", "NOISE_KEY_NUMPY", "REQUANTIZER", "SCHEDULER"]


def _named(*mutations: Mutation) -> MappingProxyType[str, Mutation]:
    return MappingProxyType({mutation.name: mutation for mutation in mutations})


SCHEDULER = _named(
    Mutation(
        "a read that goes on in another group takes a row too many",
        "ohmtwin.rtl.scheduler",
        "need.eq(need - count)",
        "need.eq(need - count + 1)",
    ),
    Mutation(
        "the row behind a full read gets lost",
        "ohmtwin.rtl.scheduler",
        "rest.eq(chosen & ~pick)",
        "rest.eq(chosen & ~pick & ~(pick << 1))",
    ),
)

COMBINE = _named(
    Mutation(
        "slices weigh one bit too little",
        "ohmtwin.rtl.combine",
        "combined + (code << (s * chip.cell_bits))",
        "combined + (code << (s * (chip.cell_bits - 1)))",
    ),
    Mutation(
        "the plane of the next read, not of this one, moves the sum",
        "ohmtwin.rtl.combine",
        "moved = (combined << plane)[:width]",
        "moved = (combined << self.plane)[:width]",
    ),
)

REQUANTIZER = _named(
    Mutation(
        "the last rounding takes ties away from zero",
        "ohmtwin.rtl.requantizer",
        "up = spread[_ZERO_SHIFT - 1] & (spread[: _ZERO_SHIFT - 1].any() | spread[_ZERO_SHIFT])",
        "up = spread[_ZERO_SHIFT - 1]",
    ),
    Mutation(
        "the product is cut to 24 bits, not rounded",
        "ohmtwin.rtl.requantizer",
        "& (aligned[: MANTISSA_BITS - 1].any() | aligned[MANTISSA_BITS])",
        "& 0",
    ),
)

NOISE_KEY_C = _named(
    Mutation(
        "all arrays share one noise",
        "ohm_crossbar.c",
        "const uint32_t k0 = a->seed, k1 = a->array,",
        "const uint32_t k0 = a->seed, k1 = 0,",
    ),
    Mutation(
        "the columns of a pair have changed places",
        "ohm_crossbar.c",
        "&u[2 * i], &u[2 * i + 1]",
        "&u[2 * i + 1], &u[2 * i]",
    ),
)

NOISE_KEY_NUMPY = _named(
    Mutation(
        "all arrays share one noise",
        "ohmtwin.behavioral.threefry",
        "threefry2x32((seed, array), (low, high | pair), rounds)",
        "threefry2x32((seed, 0), (low, high | pair), rounds)",
    ),
    Mutation(
        "the columns of a pair have changed places",
        "ohmtwin.behavioral.threefry",
        "words[:, 0::2] = even\n    words[:, 1::2] = odd",
        "words[:, 0::2] = odd\n    words[:, 1::2] = even",
    ),
)
