# SPDX-License-Identifier: Apache-2.0
"""NumPy against C against the Verilated RTL with every effect on, for as long as one likes.

    PYTHONPATH=tests/behavioral python tests/host/soak_verilator.py --reads 1000000

runs random networks on chips of two structures, drawn anew with every seed. Between runs, time
passes and the temperature changes, so images are derived again. Every tensor and every counter is
compared; the end is 1 at the first value that differs.
"""

import argparse
import sys
from collections.abc import Mapping

import numpy as np
from effects_on import full_device
from networks import SMALL_CHIP, random_codes, random_network
from numpy.typing import NDArray

from ohmtwin.arch.chip import RowSchedule
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.machine import Machine
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.targets import connect

__all__ = ["CHIPS", "main", "soak"]

# The two structures of the tests of targets, so that their models serve here too.
CHIPS = (
    SMALL_CHIP,
    SMALL_CHIP.with_(
        name="narrow", cores=3, rows=24, cols=48, cell_bits=1, lanes=4, adc_bits=5, rows_per_read=24
    ),
)

Tensors = Mapping[str, NDArray[np.generic]]

RUNS = 4
"""Runs of a chip, with time between."""
SAMPLES = 25
"""Samples of a run."""


def soak(reads: int, seed: int) -> tuple[int, str | None]:
    """Make at least so many reads at each level.

    Returns
    -------
    made : int
        Reads of each level.
    difference : str or None
        The first one.
    """
    made = 0
    number = 0
    while made < reads:
        count, difference = _one_chip(number, seed)
        made += count
        if difference is not None:
            return made, f"chip {number} of seed {seed}: {difference}"
        number += 1
    return made, None


def _one_chip(number: int, seed: int) -> tuple[int, str | None]:
    """The life of one chip at three levels: reads made, and the first difference."""
    random = np.random.default_rng([seed, number])
    made = _compile(number, random)
    program = made.program
    with connect("fast", made) as fast, connect("verilator", made) as clocked:
        arrays = {core: Crossbar(c.image, made.seed, core) for core, c in fast.crossbars().items()}
        numpy = Machine(program, [arrays[spec.core] for spec in program.arrays])
        for run in range(RUNS):
            codes = random_codes(int(random.integers(1 << 31)), SAMPLES, program.input.inputs)
            words = numpy.run(program.pack_inputs(codes))
            want = program.unpack_outputs(words)
            for level, target in (("C", fast), ("Verilator", clocked)):
                found = target.run(codes)
                difference = _first_difference(want, found)
                if difference is None and target.counters != numpy.counters:
                    difference = f"counters {numpy.counters} and {target.counters}"
                if difference is not None:
                    return numpy.counters.reads, f"run {run}, NumPy and {level}: {difference}"
            seconds = float(10 ** random.uniform(0, 8))
            kelvin = float(random.uniform(250, 400))
            for target in (fast, clocked):
                target.advance(seconds=seconds, temperature=kelvin)
            for core, crossbar in fast.crossbars().items():
                arrays[core].image = crossbar.image
        return numpy.counters.reads, None


def _compile(number: int, random: np.random.Generator) -> CompiledNetwork:
    chip = CHIPS[number % len(CHIPS)]
    chip = chip.with_(
        row_schedule=list(RowSchedule)[number // len(CHIPS) % len(RowSchedule)],
        rows_per_read=int(random.integers(1, chip.rows_per_read + 1)),
    )
    sizes = ((21, 6, 5), (16, 6, 6, 2), (30, 5))[int(random.integers(3))]
    network = random_network(int(random.integers(1 << 31)), sizes, int(random.integers(2)))
    key = int(random.integers(1 << 32))
    return compile_network(network, chip=chip, device=full_device(), seed=key)


def _first_difference(want: Tensors, found: Tensors) -> str | None:
    for name, values in want.items():
        if not np.array_equal(values, found[name]):
            sample, output = np.argwhere(values != found[name])[0]
            return (
                f"tensor {name}, sample {sample}, output {output}: "
                f"{values[sample, output]} and {found[name][sample, output]}"
            )
    return None


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="NumPy, C and RTL with every effect on")
    parser.add_argument("--reads", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    made, difference = soak(arguments.reads, arguments.seed)
    sys.stdout.write(f"{difference or f'{made} reads at each of three levels, none differ'}\n")
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main())
