# SPDX-License-Identifier: Apache-2.0
"""Yan, Hu, Shi, Sects. 4.1 and 4.2: thermal and shot noise, as codes of a million reads show it.

``tests/behavioral/test_array_state.py`` has the same formulas on the wires, over columns and reads.
"""

import math

import numpy as np
import pytest

from ohmtwin.behavioral import devices
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.programming import program

READS = 1_000_000
ROWS, COLS = 16, 8
VOLTAGE, G_ON, AMPLIFIER, BANDWIDTH = 0.2, 1e-4, 2e3, 9e11
BOLTZMANN, CHARGE = 1.380649e-23, 1.602176634e-19

THERMAL = 4 * BOLTZMANN * 300.0 * BANDWIDTH * (ROWS * G_ON + 1 / AMPLIFIER)
SHOT = 2 * CHARGE * ROWS * VOLTAGE * G_ON * BANDWIDTH


@pytest.mark.parametrize(
    ("parts", "variance"),
    [(("thermal",), THERMAL), (("shot",), SHOT), (("thermal", "shot"), THERMAL + SHOT)],
    ids=["thermal", "shot", "both"],
)
def test_sigma_of_a_million_reads(parts: tuple[str, ...], variance: float) -> None:
    """1,000,000 reads of 8 columns: each column's sigma within 2 %, that of all within 0.2 %.

    The bandwidth is high enough for a sigma of codes, whose own rounding adds 1/12.
    """
    fields = devices.rram().only("on_off").model_dump()
    fields |= {name: name in parts for name in ("thermal", "shot")}
    fields |= {
        "g_on": G_ON,
        "read_voltage": VOLTAGE,
        "amplifier_resistance": AMPLIFIER,
        "bandwidth": BANDWIDTH,
    }
    device = devices.rram(**fields)
    image = program(
        np.full((ROWS, COLS), 3, np.uint8), device, cell_bits=2, seed=1, array=0, adc_bits=7
    )
    crossbar = CCrossbar(image, 1, 0)
    words = crossbar.row_words(np.ones((10_000, ROWS), np.bool_))
    codes = np.concatenate([crossbar.read_words(words) for _ in range(READS // 10_000)])
    assert codes.shape == (READS, COLS)
    assert crossbar.reads == READS
    assert codes.min() > 0
    assert codes.max() < 127
    ampere = VOLTAGE * device.step(2)
    expected = math.sqrt(variance) / ampere
    assert expected > 0.8  # codes finer than sigma, else their rounding is not uniform
    assert codes.mean() == pytest.approx(3 * ROWS, abs=0.01)
    found = np.sqrt(codes.var(axis=0) - 1 / 12)
    assert found == pytest.approx(expected, rel=0.02)
    assert found.mean() == pytest.approx(expected, rel=0.002)
