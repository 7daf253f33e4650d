# SPDX-License-Identifier: Apache-2.0
"""Proofs about the generator of update pulses, and that they notice bugs."""

from pathlib import Path

import pytest
from amaranth.hdl import Module
from learning_specs import TrainSpec
from proving import verdict

from ohmtwin.arch.learning import LearnChip
from ohmtwin.rtl.learning.trains import PulseGenerator, _State

CHIPS = [
    LearnChip(rows=2, cols=2, arrays=1, lanes=1),
    LearnChip(rows=2, cols=3, arrays=2, lanes=2),
]


@pytest.mark.parametrize("chip", CHIPS, ids=["a column a beat", "a beat that is not full"])
def test_trains_for_ever(chip: LearnChip, tmp_path: Path) -> None:
    assert verdict(TrainSpec(chip), "prove", 3, tmp_path) == "PASS"


def test_updates_happen(tmp_path: Path) -> None:
    assert verdict(TrainSpec(CHIPS[0]), "cover", 24, tmp_path) == "PASS"


class HastyGenerator(PulseGenerator):
    """Leaves out the phase of negative numbers in the last slot, and then ends a slot early."""

    def _next_phase(self, m: Module) -> None:
        super()._next_phase(m)
        with m.If(self._slot + 1 == self.settings.slots):
            m.d.sync += self._state.eq(_State.IDLE)


class DoubleGenerator(PulseGenerator):
    """The second phase has the rows of the first one again."""

    def _next_phase(self, m: Module) -> None:
        super()._next_phase(m)
        m.d.sync += self._negative.eq(~self._negative)


@pytest.mark.parametrize("dut", [HastyGenerator, DoubleGenerator])
def test_bugs_are_noticed(dut: type[PulseGenerator], tmp_path: Path) -> None:
    assert verdict(TrainSpec(CHIPS[0], dut=dut), "bmc", 16, tmp_path) == "FAIL"
