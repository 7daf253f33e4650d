# SPDX-License-Identifier: Apache-2.0
"""Proofs about the AN-code unit, and that they notice bugs."""

from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring
from ancode_specs import CorrectionSpec, DivisionSpec
from proving import verdict as verdict_of

from ohmtwin.arch.ancode import AnCode, ErrorModel
from ohmtwin.rtl.ancode import AnUnit

REDUCED = AnCode(13, 3, ErrorModel.POWER_OF_TWO, word_bits=6, cell_bits=2)
"""Words of 6 bits: 12 single errors, told apart by 13 remainders."""


def verdict(spec: wiring.Component, mode: str, depth: int, folder: Path) -> str:
    """PASS or FAIL. Small memories are solved faster as registers."""
    return verdict_of(spec, mode, depth, folder, passes="memory_map; opt -full")


@pytest.mark.parametrize(("b", "low"), [(1, 0), (3, -300)])
def test_division(b: int, low: int, tmp_path: Path) -> None:
    """Every sum of 10 bits, with any table, written at any time."""
    code = AnCode(13, b, ErrorModel.POWER_OF_TWO, word_bits=6, cell_bits=2)
    spec = DivisionSpec(code, low, 1023)
    assert verdict(spec, "bmc", spec.cycles, tmp_path) == "PASS"


def test_correction(tmp_path: Path) -> None:
    """Every sum of 16 words of 6 bits, with every single error."""
    spec = CorrectionSpec(REDUCED, 16)
    assert verdict(spec, "bmc", spec.cycles, tmp_path) == "PASS"


@pytest.mark.parametrize("spec", [CorrectionSpec(REDUCED, 16), DivisionSpec(REDUCED, 0, 1023)])
def test_corrections_happen(spec: CorrectionSpec | DivisionSpec, tmp_path: Path) -> None:
    assert verdict(spec, "cover", spec.cycles + 2, tmp_path) == "PASS"


class HastyUnit(AnUnit):
    """Cuts the highest bit of a sum off."""

    def _lane(self, m: Module, number: int, total: Value) -> Signal:
        return super()._lane(m, number, total[: self.bits - 1])


def test_a_short_division_is_noticed(tmp_path: Path) -> None:
    spec = DivisionSpec(REDUCED, 0, 1023, dut=HastyUnit)
    assert verdict(spec, "bmc", spec.cycles, tmp_path) == "FAIL"


def test_a_wrong_table_is_noticed(tmp_path: Path) -> None:
    """One entry says the error next to it."""
    words = list(REDUCED.words)
    words[5] = words[6]

    class WrongTable(AnCode):
        @property
        def words(self) -> tuple[int, ...]:
            return tuple(words)

    code = WrongTable(13, 3, ErrorModel.POWER_OF_TWO, word_bits=6, cell_bits=2)
    spec = CorrectionSpec(code, 16)
    assert verdict(spec, "bmc", spec.cycles, tmp_path) == "FAIL"
