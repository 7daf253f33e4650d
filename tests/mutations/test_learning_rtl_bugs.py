# SPDX-License-Identifier: Apache-2.0
"""Bugs of the circuit that learns are found by the tests of its parts."""

import importlib

import pytest
from bugs_of_learning_rtl import ALU, GENERATOR, LEARNING_CORE
from plant import planted

FOUND = (AssertionError, TimeoutError, ValueError)


def generator_checks() -> None:
    module = importlib.import_module("test_learning_trains")
    module.test_pulses_are_those_of_the_definition("beats that are not full", 0.0)
    module.test_longest_trains_that_overlap(7)


def core_checks() -> None:
    module = importlib.import_module("test_learning_core")
    for seed in (1, 2, 3):
        module.test_stalls_change_nothing(seed)


@pytest.mark.parametrize("bug", GENERATOR)
def test_a_bug_of_the_generator_is_found(bug: str) -> None:
    with planted(GENERATOR[bug]), pytest.raises(FOUND):
        generator_checks()


@pytest.mark.parametrize("bug", ALU)
def test_a_bug_of_the_alu_is_found(bug: str) -> None:
    module = importlib.import_module("test_learning_alu")
    with planted(ALU[bug]), pytest.raises(FOUND):
        module.test_alu(0.5)


@pytest.mark.parametrize("bug", LEARNING_CORE)
def test_a_bug_of_the_core_is_found(bug: str) -> None:
    with planted(LEARNING_CORE[bug]), pytest.raises(FOUND):
        core_checks()
