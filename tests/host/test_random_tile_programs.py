# SPDX-License-Identifier: Apache-2.0
"""Random programs with noise on: the Verilated RTL and the fast machine, to the bit and cycle."""

from pathlib import Path

import numpy as np
import pytest
from test_machine_cycles import CHIPS, make_image, make_inputs, make_program

from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.machine import Machine
from ohmtwin.behavioral.program import TileProgram
from ohmtwin.host.driver import TileDriver
from ohmtwin.host.simulation import Simulation, SimulationPort, load_library
from ohmtwin.host.verilator_build import build_model

_PROGRAMS = 60
_SAMPLES = 4


def check(program: TileProgram, library: Path, seed: int) -> None:
    """Run a program at both levels; every word and counter must be equal."""
    assert program.array_numbers == tuple(range(program.chip.arrays))
    images = [make_image(program, spec) for spec in program.arrays]
    machine = Machine(program, [CCrossbar(image, 3, core) for core, image in enumerate(images)])
    words = make_inputs(program, _SAMPLES, seed)
    expected = machine.run(words)

    lib = load_library(library)
    arrays = [CCrossbar(image, 3, core, lib) for core, image in enumerate(images)]
    driver = TileDriver(SimulationPort(Simulation(library, arrays)), program)
    try:
        found = driver.run(words)
        # Bytes that no output uses may be sums beyond the last one, which mean nothing.
        used = program.output_used.reshape(-1)
        as_bytes = [
            part.reshape(_SAMPLES, -1).view(np.uint8)[:, used] for part in (found, expected)
        ]
        np.testing.assert_array_equal(*as_bytes, err_msg=f"seed {seed}")
        assert driver.counters() == machine.counters, f"seed {seed}"
    finally:
        driver.close()


@pytest.mark.parametrize("number", [0, 2], ids=["W=2, three cores", "W=8, one core"])
@pytest.mark.chips
def test_rtl_equals_the_fast_machine(number: int) -> None:
    library = build_model(CHIPS[number])
    checked = 0
    # make_program takes its chip by the seed.
    for seed in range(number, number + _PROGRAMS * len(CHIPS), len(CHIPS)):
        program = make_program(seed)
        if program.output_words:
            check(program, library, seed)
            checked += 1
    assert checked > _PROGRAMS // 2
