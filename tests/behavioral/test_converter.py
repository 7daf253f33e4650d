# SPDX-License-Identifier: Apache-2.0
"""ADC tables, comparator noise and drive tables against their formulas."""

import numpy as np
import pytest

from ohmtwin.arch.errors import ConfigError
from ohmtwin.behavioral import devices
from ohmtwin.behavioral.converter import adc_table, drive_table, row_gains
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.effects.streams import Streams
from ohmtwin.behavioral.state import ArrayState

IDEAL = devices.rram().only("on_off")
KEY = Streams(1, 2)


def device(**sections):
    return devices.rram(**(IDEAL.model_dump() | sections))


def table(bits=6, lanes=8, **adc):
    return adc_table(device(adc=adc), bits, lanes, KEY)


def test_ideal_converters_have_no_table():
    assert adc_table(IDEAL, 6, 8, KEY) is None
    assert table(comparator_noise=1.0) is None
    assert table(offset=0.49) is None  # below half an LSB, as stated


@pytest.mark.parametrize(("gain", "offset"), [(1.05, 0.0), (0.9, 2.0), (1.0, -3.4)])
def test_gain_and_offset(gain, offset):
    found = table(gain=gain, offset=offset)
    expected = np.clip(np.rint(gain * np.arange(64) + offset), 0, 63)
    assert np.array_equal(found, np.tile(expected, (8, 1)))


def test_measured_inl_and_dnl():
    inl = [0.0, 2.0, 0.0]  # a bow over the whole range
    expected = np.rint(np.arange(64) + np.interp(np.linspace(0, 2, 64), [0, 1, 2], inl))
    assert np.array_equal(table(inl=[inl])[3], np.clip(expected, 0, 63))
    # A missing code of width -1 at 20 shifts all above it.
    dnl = np.zeros(64)
    dnl[20] = -1.0
    assert table(dnl=[dnl.tolist()])[0].tolist() == [*range(20), *range(19, 63)]
    rows = [[lane / 2, lane / 2] for lane in range(8)]
    assert np.array_equal(table(inl=rows)[:, 10], np.rint(10 + np.arange(8) / 2))
    with pytest.raises(ConfigError, match=r"'adc.inl' has 3 rows; give one for all lanes, or 8"):
        table(inl=rows[:3])


def test_lane_mismatch_statistics():
    """4096 lanes of 12 bits, a quantized sigma: offset and gain within 5 %."""
    found = table(12, 4096, offset=500.0, offset_spread=20.0).astype(float)
    offset = found[:, 1000] - 1000
    assert offset.mean() == pytest.approx(500, abs=2)
    assert offset.std() == pytest.approx(20, rel=0.05)
    gained = table(12, 4096, gain_spread=0.02)[:, 2000].astype(float)
    assert gained.std() == pytest.approx(40, rel=0.05)


def test_random_dnl_is_tied_at_both_ends():
    found = table(10, 2000, dnl_spread=0.5).astype(float) - np.arange(1024)
    assert not found[:, 0].any()
    assert not found[:, -1].any()
    # A bridge of n steps has the variance n / 4 of a step's in its middle.
    assert found[:, 512].std() == pytest.approx(0.5 * np.sqrt(1024 / 4), rel=0.05)


def test_lanes_take_their_columns():
    levels = np.ones((8, 16), np.uint8)
    rows = [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
    array = ArrayState(
        levels, device(adc={"inl": rows}), cell_bits=2, seed=1, array=0, adc_bits=6, lanes=4
    )
    codes = Crossbar(array.image(), 1, 0).read(np.ones(8, dtype=bool))
    assert codes.tolist() == [8, 9, 10, 11] * 4


def test_comparator_noise():
    """0.7 LSB at a code's middle, 512,000 conversions: sigma of the wire within 1 %."""
    array = ArrayState(
        np.full((16, 512), 2, np.uint8),
        device(adc={"comparator_noise": 0.7}),
        cell_bits=2,
        seed=1,
        array=0,
        adc_bits=7,
    )
    noise = Crossbar(array.image(), 1, 0).analog(np.ones((1000, 16), dtype=bool)).noise
    assert noise.std() / 4096 == pytest.approx(0.7, rel=0.01)


def test_drive_tables():
    assert drive_table(IDEAL) is None
    assert drive_table(device(driver={"digits": 4})).tolist() == [0, 4096, 8192, 12288]
    bent = drive_table(device(driver={"digits": 4, "compression": 0.1}))
    assert bent.tolist() == [round(4096 * d * (1 - 0.1 * d / 3)) for d in range(4)]
    measured = drive_table(device(driver={"voltages": [0.01, 0.98, 1.9]}))
    assert measured.tolist() == [round(4096 * v) for v in (0.01, 0.98, 1.9)]


def test_driver_mismatch():
    gains = row_gains(device(driver={"gain_spread": 0.1}), 4096, KEY)
    assert gains.std() == pytest.approx(0.1, rel=0.05)
    array = ArrayState(
        np.full((16, 16), 3, np.uint8),
        device(driver={"gain_spread": 0.1}),
        cell_bits=2,
        seed=1,
        array=2,
        adc_bits=6,
    )
    image = array.image()
    assert np.ptp(image.g, axis=1).max() == 0
    assert image.g[:, 0] / image.g[0, 0] == pytest.approx(image.ref / image.ref[0], rel=0.02)
    assert len(set(image.g[:, 0].tolist())) == 16


def test_multi_level_inputs_multiply():
    """Ideal digits: the code is the integer product."""
    random = np.random.default_rng(4)
    levels = random.integers(0, 4, (16, 32)).astype(np.uint8)
    array = ArrayState(
        levels, device(driver={"digits": 4}), cell_bits=2, seed=1, array=0, adc_bits=8
    )
    digits = random.integers(0, 4, (20, 16)).astype(np.uint8)
    codes = Crossbar(array.image(), 1, 0).read_digits(digits)
    assert np.array_equal(codes, digits.astype(int) @ levels)
