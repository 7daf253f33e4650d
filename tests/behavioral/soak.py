# SPDX-License-Identifier: Apache-2.0
"""NumPy against C with every effect on, for as long as one likes.

    python tests/behavioral/soak.py --reads 1000000

makes that many reads (of up to 512 columns) on arrays of random shape and age, images refreshed
and arrays rewritten in between, and ends with 1 at the first code that differs.
"""

import argparse
import sys

import numpy as np
from effects_on import aged_array

from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.crossbar import Crossbar

__all__ = ["main", "soak"]

BATCH = 500


def soak(reads: int, seed: int) -> str | None:
    """Make reads; return where the first difference is, or None."""
    random = np.random.default_rng(seed)
    made = array = 0
    while made < reads:
        array += 1
        shape = (8 * int(random.integers(1, 33)), 8 * int(random.integers(1, 65)))
        # Enough bits not to clip what is below.
        bits = min(12, 3 + shape[0].bit_length())
        state = aged_array(shape, seed=seed, array=array, adc_bits=bits)
        numpy = Crossbar(state.image(), seed, array)
        c = CCrossbar(numpy.image, seed, array)
        for refresh in range(4):
            masks = random.random((BATCH, shape[0])) < random.random((BATCH, 1)) * 1.2 - 0.1
            left, right = numpy.read_many(masks), c.read_many(masks)
            digits = random.integers(0, 4, (BATCH // 10, shape[0])).astype(np.uint8)
            left = np.concatenate([left, numpy.read_digits(digits)])
            right = np.concatenate([right, c.read_digits(digits)])
            if not np.array_equal(left, right):
                read, column = np.argwhere(left != right)[0]
                return (
                    f"array {array} {shape}, refresh {refresh}, read {read}, column {column}:"
                    f" {left[read, column]} in NumPy, {right[read, column]} in C"
                )
            made += len(left)
            state.advance(float(10 ** random.uniform(0, 8)), float(random.uniform(250, 400)), BATCH)
            if refresh == 1:
                state.write(random.integers(0, 4, shape).astype(np.uint8))
            image = state.image()
            c.program(image)
            reads_so_far, numpy = numpy.reads, Crossbar(image, seed, array)
            numpy.reads = reads_so_far
    return None


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="NumPy against C with every effect on")
    parser.add_argument("--reads", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    difference = soak(arguments.reads, arguments.seed)
    sys.stdout.write(f"{difference or f'{arguments.reads} reads, none differ'}\n")
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main())
