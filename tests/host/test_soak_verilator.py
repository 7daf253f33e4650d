# SPDX-License-Identifier: Apache-2.0
"""The soak of three levels: a short one finds nothing, and a difference would be found."""

import pytest
import soak_verilator
from effects_on import EVERYTHING, full_device

from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.image import ArrayImage


@pytest.mark.chips
def test_numpy_c_and_rtl_are_equal_with_every_effect_on() -> None:
    """8,000 reads at each level on chips of two structures, both schedules, aged in between."""
    assert full_device().active >= {*EVERYTHING} - {"temperature_coefficients"}
    made, difference = soak_verilator.soak(8000, 7)
    assert difference is None
    assert made >= 8000


@pytest.mark.chips
def test_a_wrong_bit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One cell of each array that NumPy reads is a level step too high."""
    read = Crossbar.read_many

    def wrong(self, masks, columns=None):
        g = self.image.g.copy()
        g[0, 0] += 4096
        there = self.image
        fields = {f: getattr(there, f) for f in ("ref", "q", "v0", "v1", "adc_bits", "lanes")}
        self.image = ArrayImage(g=g, adc_table=there.adc_table, **fields)
        codes = read(self, masks, columns)
        self.image = there
        return codes

    monkeypatch.setattr(Crossbar, "read_many", wrong)
    _, difference = soak_verilator.soak(1, 7)
    assert difference is not None
    assert "chip 0 of seed 7: run 0, NumPy and C: tensor" in difference
