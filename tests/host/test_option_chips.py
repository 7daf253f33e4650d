# SPDX-License-Identifier: Apache-2.0
"""Random programs with noise on, on chips with options: Verilated RTL equals the fast machine."""

import pytest
from test_machine_cycles import make_program
from test_options import OPTIONS
from test_random_tile_programs import check

from ohmtwin.host.verilator_build import build_model

_PROGRAMS = 20


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.chips
def test_rtl_equals_the_fast_machine(name: str) -> None:
    chip = OPTIONS[name]
    library = build_model(chip)
    checked = 0
    for seed in range(_PROGRAMS):
        program = make_program(seed, chip)
        if program.output_words:
            check(program, library, seed)
            checked += 1
    assert checked > _PROGRAMS // 4, "few of these programs send anything"
