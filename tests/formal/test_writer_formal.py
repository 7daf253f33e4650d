# SPDX-License-Identifier: Apache-2.0
"""Proofs about the program-and-verify controller, and that they notice bugs.

Together: a row ends within its limit; the cells of a beat that are off are those whose sum is out
of their tolerance (of those that were off before, without recheck), and no other is ever pulsed.
"""

from pathlib import Path

import pytest
from amaranth.lib import wiring
from proving import verdict as verdict_of
from writer_specs import WIDTHS, JudgementSpec, PulseSpec, TerminationSpec

from ohmtwin.rtl import writer

ANY_START = "setattr -unset init w:*dut*"
"""Registers may hold anything at first."""


def verdict(spec: wiring.Component, mode: str, depth: int, folder: Path, start: str = "") -> str:
    """PASS or FAIL. Small memories are solved faster as registers."""
    return verdict_of(spec, mode, depth, folder, passes=f"memory_map; opt -full\n{start}")


def test_rows_end_within_their_limit(tmp_path: Path) -> None:
    """For all time, for every limit and number of reads and beats."""
    assert verdict(TerminationSpec(), "prove", 2, tmp_path) == "PASS"


def test_only_cells_that_are_off_are_pulsed_and_all_counts(tmp_path: Path) -> None:
    """For all time."""
    assert verdict(PulseSpec(), "prove", 2, tmp_path) == "PASS"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, width in WIDTHS.items():
        monkeypatch.setattr(writer, name, width)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("mode", ["bmc", "cover"])
def test_cells_are_judged_by_their_tolerance(mode: str, tmp_path: Path) -> None:
    """For any level, sum and settings, and whatever came before."""
    spec = JudgementSpec()
    assert verdict(spec, mode, spec.cycles, tmp_path, ANY_START) == "PASS"
