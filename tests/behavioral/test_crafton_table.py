# SPDX-License-Identifier: Apache-2.0
"""The standard devices against the published tables, copied here row by row."""

import pytest

from ohmtwin.behavioral import devices

YEAR = 365.25 * 24 * 3600.0

# Crafton et al. 2021, Table 1, rows [21]: area in F**2, bits; read voltage, time, energy; write
# voltage, time, energy; retention, endurance. "<1" V is entered as 1, a missing
# retention as 0.
CRAFTON = {
    "sram": (150, 1, 1, 1e-9, 1e-15, 1, 1e-9, 1e-15, 0, 1e16),
    "flash": (10, 2, 10, 50e-9, 10e-12, 10, 1e-3, 1e-9, 10 * YEAR, 1e5),
    "stt_mram": (50, 1, 1.5, 10e-9, 1e-12, 1.5, 10e-9, 100e-15, 10 * YEAR, 1e15),
    "pcm": (30, 2, 1, 10e-9, 1e-12, 3, 50e-9, 10e-12, 10 * YEAR, 1e6),
    "rram": (12, 2, 1, 10e-9, 1e-12, 3, 10e-9, 10e-12, 10 * YEAR, 1e6),
    "fefet": (40, 2, 3, 10e-9, 1e-15, 3, 10e-9, 100e-15, 10 * YEAR, 1e6),
}


@pytest.mark.parametrize("name", CRAFTON)
def test_crafton_table_1(name):
    device = devices.load(name)
    found = (
        device.area,
        device.bits,
        device.read.voltage,
        device.read.time,
        device.read.energy,
        device.write.voltage,
        device.write.time,
        device.write.energy,
        0 if device.retention is None else device.retention.time,
        device.endurance.cycles,
    )
    assert found == pytest.approx(CRAFTON[name], rel=1e-12)


def test_every_device_but_the_ideal_one_is_in_the_table():
    assert set(devices.names()) == {*CRAFTON, "ideal"}


def test_yan_table_1():
    """Yan et al. 2019: endurance, variability, yield, bit error rate, fluctuation."""
    rram = devices.load("rram")
    analog, binary = rram.reported["analog"], rram.reported["binary"]
    assert (analog.endurance_cycles, analog.endurance_yield) == (500e3, 0.955)
    assert (analog.variability, analog.yield_fraction, analog.fluctuation) == (0.03, 0.899, 0.03)
    assert analog.bit_error_rate is None
    assert (binary.endurance_cycles, binary.yield_fraction) == (1e6, 0.99)
    assert (binary.variability_on, binary.variability_off) == (0.04, 0.4)
    assert (binary.bit_error_rate, binary.fluctuation) == (1e-5, 0.03)
    # What is on by default is the analog column.
    assert (rram.spread, rram.read_noise) == (analog.variability, analog.fluctuation)
