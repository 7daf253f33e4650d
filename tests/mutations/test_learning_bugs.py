# SPDX-License-Identifier: Apache-2.0
"""Bugs of learning on the chip are found by the tests of it."""

import importlib
from pathlib import Path

import pytest
from bugs_of_learning import ARRAYS, CORE_C, TRAINS
from plant import planted, planted_in_c

from ohmtwin.behavioral.learning import carray, cprocessor

FOUND = (AssertionError, ValueError)


def run_checks() -> None:
    module = importlib.import_module("test_learning")
    module.test_c_reads_and_pulses_as_numpy_does(False)
    for seed in range(12):
        module.test_c_runs_programs_as_numpy_does(seed)


@pytest.mark.parametrize("bug", CORE_C)
def test_a_bug_in_c_is_found(bug: str, tmp_path: Path) -> None:
    with planted_in_c(CORE_C[bug], tmp_path) as lib, pytest.MonkeyPatch.context() as patch:
        for module in (carray, cprocessor):
            patch.setattr(module, "library", lambda: lib)
        with pytest.raises(FOUND):
            run_checks()


@pytest.mark.parametrize("bug", [*TRAINS, *ARRAYS])
def test_a_bug_in_the_reference_is_found(bug: str) -> None:
    with planted((TRAINS | ARRAYS)[bug]), pytest.raises(FOUND):
        run_checks()
