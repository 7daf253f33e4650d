# SPDX-License-Identifier: Apache-2.0
"""Bugs of converters, row budgets and reads of one slice, each found by an ordinary test."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from bugs_of_reads import (
    BUDGETS,
    CHOICE,
    CONVERTERS,
    CONVERTERS_C,
    CONVERTERS_NUMPY,
    SLICES,
    SLICES_C,
    THRESHOLDS,
)
from plant import Mutation, planted, planted_in_c
from test_blocks import FOUND, check

from ohmtwin.behavioral.crossbar import Crossbar


def converter_checks() -> None:
    module = importlib.import_module("test_core")
    module.test_products("coarse", 0.0)
    module.test_products("clipped", 0.3)


def budget_checks() -> None:
    """The quickest first: a bug ends it."""
    module = importlib.import_module("test_budgets")
    module.test_registers("planes")
    module.test_a_program_sets_them(False)
    importlib.import_module("test_core").test_products("budgets", 0.0)


def slice_checks() -> None:
    importlib.import_module("test_budgets").test_registers("slices")
    importlib.import_module("test_core").test_products("slices", 0.0)


def threshold_checks() -> None:
    module = importlib.import_module("test_sense_amplifiers")
    module.test_ideal_arrays_give_golden(1)
    module.test_outputs_that_are_always_the_same()


def choice_checks() -> None:
    module = importlib.import_module("test_row_budgets")
    module.test_fewest_reads_of_all()
    module.test_slices_have_budgets_of_their_own()


def c_converter_checks() -> None:
    module = importlib.import_module("test_sensing")
    for kind in ("plain", "table"):
        module.test_c_equals_numpy(kind, 8)
    for kind in ("wide sums",):
        module.test_c_equals_numpy(kind, 2)


CHECKS: Mapping[str, tuple[Mapping[str, Mutation], Callable[[], None]]] = {
    "converters": (CONVERTERS, converter_checks),
    "codes": (CONVERTERS_NUMPY, check("test_sensing", "test_codes_by_hand", Crossbar)),
    "thresholds": (THRESHOLDS, threshold_checks),
    "row budgets": (BUDGETS, budget_checks),
    "slices": (SLICES, slice_checks),
    "choice": (CHOICE, choice_checks),
}
IN_C: Mapping[str, tuple[Mapping[str, Mutation], Callable[[], None]]] = {
    "converters": (CONVERTERS_C, c_converter_checks),
    "slices": (SLICES_C, check("test_options", "test_model_numpy_and_c", "slices")),
}
CASES, C_CASES = (
    [
        pytest.param(what, bug, id=f"{what}: {bug}")
        for what, (bugs, _) in table.items()
        for bug in bugs
    ]
    for table in (CHECKS, IN_C)
)


@pytest.mark.parametrize("what", CHECKS)
def test_checks_pass_without_a_bug(what: str) -> None:
    CHECKS[what][1]()


@pytest.mark.parametrize("what", IN_C)
def test_checks_of_c_pass_without_a_bug(what: str) -> None:
    IN_C[what][1]()


@pytest.mark.parametrize(("what", "bug"), CASES)
def test_a_bug_is_found(what: str, bug: str) -> None:
    bugs, run = CHECKS[what]
    with planted(bugs[bug]), pytest.raises(FOUND):
        run()


@pytest.mark.parametrize(("what", "bug"), C_CASES)
def test_a_bug_in_c_is_found(what: str, bug: str, tmp_path: Path) -> None:
    bugs, run = IN_C[what]
    with planted_in_c(bugs[bug], tmp_path), pytest.raises(FOUND):
        run()
