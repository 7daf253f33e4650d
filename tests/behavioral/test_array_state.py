# SPDX-License-Identifier: Apache-2.0
"""States of arrays: random streams, saving, reads with every effect on, noise by its formulas."""

import math

import numpy as np
import pytest
from effects_on import EVERYTHING, aged_array, full_device
from soak import soak

from ohmtwin.arch.errors import ConfigError
from ohmtwin.behavioral import devices
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.behavioral.programming import program
from ohmtwin.behavioral.state import ArrayState, compact_variance
from ohmtwin.behavioral.wires import transfer_matrix

OPTIONS = {"cell_bits": 2, "seed": 1, "array": 0, "adc_bits": 7, "lanes": 8}
FIELDS = ("g", "ref", "q", "adc_table", "drive")


def levels_of(shape=(64, 64), top=3):
    return np.random.default_rng(3).integers(0, top + 1, shape).astype(np.uint8)


def same(a, b):
    arrays = all(
        np.array_equal(getattr(a, f), getattr(b, f))
        if getattr(a, f) is not None
        else getattr(b, f) is None
        for f in FIELDS
    )
    return arrays and (a.v0, a.v1, a.adc_bits, a.lanes) == (b.v0, b.v1, b.adc_bits, b.lanes)


# ---------------------------------------------------------------- engines


def test_c_equals_numpy_with_every_effect_on():
    """1,097,728 column reads of bits on four shapes, then reads of digits."""
    total = 0
    assert full_device().active >= {*EVERYTHING} - {"temperature_coefficients"}
    for number, shape in enumerate([(128, 128), (256, 512), (40, 24), (64, 136)]):
        image = aged_array(shape, array=number).image()
        assert image.q is not None
        assert image.adc_table is not None
        assert min(image.v0, image.v1) > 0
        assert image.narrow
        numpy, c = Crossbar(image, 1, number), CCrossbar(image, 1, number)
        random = np.random.default_rng(number)
        masks = random.random((1400, shape[0])) < random.random((1400, 1)) * 1.2 - 0.1
        codes = numpy.read_many(masks)
        assert np.array_equal(codes, c.read_many(masks))
        assert np.ptp(codes) > 50
        total += codes.size
        digits = random.integers(0, 4, (100, shape[0])).astype(np.uint8)
        digits[random.random(digits.shape) < 0.7] = 0
        for columns in (None, shape[1] - 3):
            left, right = numpy.read_digits(digits, columns), c.read_digits(digits, columns)
            assert np.array_equal(left, right)
            assert np.ptp(left) > 30
        assert numpy.reads == c.reads == 1600
    assert total >= 1_000_000


@pytest.mark.parametrize("kind", ["wide", "negative", "quiet"])
def test_digits_of_other_images(kind):
    random = np.random.default_rng(5)
    shape = (64, 40)
    wide = kind == "wide"
    ref_limit = 1 << 29 if wide else 400
    q = random.integers(-(1 << 12), 1 << (31 if wide else 16), shape, dtype=np.int32)
    image = ArrayImage(
        g=random.integers(-500, 1 << (21 if wide else 13), shape, dtype=np.int32),
        ref=random.integers(-ref_limit, ref_limit, 64, dtype=np.int32),
        q=None if kind == "quiet" else q,
        v0=0 if kind == "quiet" else 1 << 30,
        v1=0 if kind == "quiet" else 1 << 18,
        adc_bits=12,
        lanes=5,
        drive=random.integers(-(1 << 16) + 1, 1 << 16, 16, dtype=np.int32),
    )
    digits = random.integers(0, 16, (400, 64)).astype(np.uint8)
    left, right = Crossbar(image, 1, 2), CCrossbar(image, 1, 2)
    assert np.array_equal(left.read_digits(digits), right.read_digits(digits))
    assert left.driven == right.driven > 0


def test_digit_read_in_plain_integers():
    random = np.random.default_rng(6)
    g = random.integers(-500, 9000, (16, 8), dtype=np.int32)
    ref = random.integers(0, 300, 16, dtype=np.int32)
    drive = np.array([0, 4000, 8100, 12001], dtype=np.int32)
    image = ArrayImage(g=g, ref=ref, adc_bits=10, drive=drive)
    digits = random.integers(0, 4, (1, 16)).astype(np.uint8)
    codes = Crossbar(image, 1, 2).read_digits(digits)[0]
    for c in range(8):
        total = sum(int(drive[d]) * int(g[r, c]) for r, d in enumerate(digits[0]))
        taken = sum(int(drive[d]) * int(ref[r]) for r, d in enumerate(digits[0]))
        x = ((total + 2048) >> 12) - ((taken + 2048) >> 12)
        assert codes[c] == min(max((x + 2048) >> 12, 0), 1023)


def test_digit_errors():
    image = program(levels_of(), devices.rram(), **OPTIONS)
    for make in (Crossbar, CCrossbar):
        with pytest.raises(ValueError, match="no drive table"):
            make(image, 1, 2).read_digits(np.zeros((1, 64), np.uint8))
    image = program(levels_of(), devices.rram(driver={"digits": 3}), **OPTIONS)
    for make in (Crossbar, CCrossbar):
        with pytest.raises(ValueError, match="below 3, not 3"):
            make(image, 1, 2).read_digits(np.full((1, 64), 3, np.uint8))
        with pytest.raises(ValueError, match=r"uint8 \[n, 64\], not uint8 \[1, 63\]"):
            make(image, 1, 2).read_digits(np.zeros((1, 63), np.uint8))
    fields = {"g": np.zeros((8, 8), np.int32), "ref": np.zeros(8, np.int32)}
    with pytest.raises(ConfigError, match="2 to 16 digits, not 17"):
        ArrayImage(**fields, drive=np.zeros(17, np.int32))
    with pytest.raises(ConfigError, match=r"drive must stay below 2\*\*16"):
        ArrayImage(**fields, drive=np.array([0, 1 << 16], np.int32))
    # Bits reach v0 + 64, digits of up to 16 volts twice 1024.
    fields["g"] = np.full((8, 8), 8, np.int32)
    edge = {"v0": (1 << 52) - 100, "v1": 1 << 16}
    assert ArrayImage(**fields, **edge).variance_bound == (1 << 52) - 36
    with pytest.raises(ConfigError, match="read of digits could reach"):
        ArrayImage(**fields, **edge, drive=np.array([0, 65535], np.int32))


# ---------------------------------------------------------------- noise formulas


def test_thermal_and_shot_noise_over_a_million_reads():
    """Through the integers: sigma of 1,024,000 samples within 1 % of the formulas, each alone."""
    base = devices.rram().only("on_off").model_dump()
    base |= {"bandwidth": 4e8, "read_voltage": 0.2, "amplifier_resistance": 2e3}
    rows, top = 16, 1e-4
    current = rows * 0.2 * top
    thermal = 4 * 1.380649e-23 * 300 * 4e8 * (rows * top + 1 / 2e3)
    shot = 2 * 1.602176634e-19 * current * 4e8
    masks = np.ones((2000, rows), dtype=bool)
    for parts, expected in (
        (("thermal",), thermal),
        (("shot",), shot),
        (("thermal", "shot"), thermal + shot),
    ):
        switches = {name: name in parts for name in ("thermal", "shot")}
        device = devices.rram(**(base | switches))
        image = program(np.full((rows, 512), 3, np.uint8), device, **OPTIONS)
        assert image.q is None
        noise = CCrossbar(image, 1, 0).analog(masks).noise
        ampere = 0.2 * device.step(2) / 4096
        assert noise.size > 1_000_000
        assert noise.std() * ampere == pytest.approx(math.sqrt(expected), rel=0.01)
    hot = ArrayState(np.full((rows, 512), 3, np.uint8), device.without("shot"), **OPTIONS)
    cool = hot.image()
    hot.advance(0.0, 600.0)
    assert hot.image().v0 == pytest.approx(2 * cool.v0, rel=0.01)
    assert hot.image().v1 == pytest.approx(2 * cool.v1, rel=0.01)


# ---------------------------------------------------------------- random streams


@pytest.mark.parametrize("effect", ["drift", "faults", "telegraph", "retention", "disturb"])
def test_an_effect_does_not_change_the_draws_of_others(effect):
    """What an effect adds can be told apart: without it, every other draw is the same."""
    device = full_device().without("verify", "wires")
    left = ArrayState(levels_of(), device, **OPTIONS)
    right = ArrayState(levels_of(), device.without(effect), **OPTIONS)
    good = (left.stuck == 0) & (right.stuck == 0)
    assert np.array_equal(left.programmed[good], right.programmed[good])
    assert np.array_equal(left.limits, right.limits)
    for name, kept in (("drift", left.exponents[good]), ("retention", left.retention_times)):
        if effect != name:
            other = right.exponents[good] if name == "drift" else right.retention_times
            assert np.array_equal(kept, other)
    if effect != "telegraph":
        left.advance(1.0)
        right.advance(1.0)
        assert np.array_equal(left.full, right.full)
    assert np.array_equal(left.image().adc_table, right.image().adc_table)


def test_images_do_not_depend_on_who_else_was_asked():
    one = aged_array((64, 64), array=3)
    aged_array((64, 64), array=4).image()
    assert same(one.image(), aged_array((64, 64), array=3).image())
    assert same(one.image(), one.image())
    for other in (aged_array((64, 64), array=4), aged_array((64, 64), seed=2, array=3)):
        assert not np.array_equal(one.image().g, other.image().g)
        assert not np.array_equal(one.image().adc_table, other.image().adc_table)


def test_gain_scales_currents():
    state = ArrayState(levels_of(), devices.rram(), **OPTIONS)
    image, half = state.image(), state.image(0.5)
    assert np.abs(half.g - image.g / 2).max() <= 0.5
    assert half.v0 == pytest.approx(image.v0 / 4, abs=1)
    assert half.v1 == pytest.approx(image.v1 / 2, abs=1)
    assert half.q.sum() == pytest.approx(image.q.sum() / 4, rel=1e-3)


def test_wires_enter_by_the_transfer_matrix():
    wires = {"r_row": 2.0, "r_col": 1.0, "r_driver": 100.0, "r_sense": 50.0}
    device = devices.rram(wires=wires).without("spread", "read_noise")
    state = ArrayState(levels_of(), device, **OPTIONS)
    transfer = transfer_matrix(state.programmed, device.wires.model()) * (4096 / device.step(2))
    image = state.image()
    assert np.array_equal(image.g, np.rint(transfer[:, :-1]))
    assert np.array_equal(image.ref, np.rint(transfer[:, -1]))
    assert image.g.sum() < 0.95 * program(levels_of(), device.without("wires"), **OPTIONS).g.sum()


def test_compact_variance():
    random = np.random.default_rng(7)
    for scale, rows in ((1.0, 8), (1e4, 128), (1e6, 256)):
        exact = scale * random.random((rows, 16)) ** 4
        found = compact_variance(exact)
        bits = np.bitwise_or.reduce(found, axis=None)
        unit = int(bits & -bits)
        assert found.sum(axis=0).max() // unit <= 65535
        assert found.min() >= 0
        assert unit <= max(1, 2 * exact.sum(axis=0).max() / 65535)
        assert np.abs((found - exact).cumsum(axis=0)).max() <= unit / 2 * (1 + 1e-9)


# ---------------------------------------------------------------- saving


def test_a_restored_state_continues_with_the_same_bits(tmp_path):
    state = aged_array((64, 64))
    np.savez(tmp_path / "state.npz", **state.to_arrays())
    with np.load(tmp_path / "state.npz", allow_pickle=False) as saved:
        restored = ArrayState.from_arrays(saved, seed=1, array=0)
    assert same(state.image(), restored.image())
    for array in (state, restored):
        array.advance(7.0, 310.0, reads=5)
        array.write(levels_of())
        array.wear(300)
        array.advance(0.5)
    assert same(state.image(), restored.image())
    assert np.array_equal(state.stuck, restored.stuck)
    assert np.array_equal(state.pulses, restored.pulses)


def test_state_errors(tmp_path):
    saved = aged_array((16, 16), array=5).to_arrays()
    with pytest.raises(ConfigError, match=r"s.npz: field 'array' is 5, not 6: .*another chip"):
        ArrayState.from_arrays(saved, where="s.npz", array=6)
    with pytest.raises(ConfigError, match="field 'seed' is 1, not 2"):
        ArrayState.from_arrays(saved, seed=2)
    with pytest.raises(ConfigError, match="field 'hash' is missing"):
        ArrayState.from_arrays({k: v for k, v in saved.items() if k != "hash"})
    bent = dict(saved)
    bent["programmed"] = saved["programmed"] * 1.0000001
    with pytest.raises(ConfigError, match="field 'hash' does not fit"):
        ArrayState.from_arrays(bent)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.advance(-1.0), "seconds to advance must be 0 or more, not -1.0"),
        (lambda s: s.advance(math.nan), "not nan"),
        (lambda s: s.advance(1.0, -0.1), "temperature must be 0 kelvin or more, not -0.1"),
        (lambda s: s.advance(1.0, reads=-1), "number of reads must be 0 or more, not -1"),
        (lambda s: s.advance(1.0, reads=np.zeros(5, int)), "one for each of the 64 rows"),
        (lambda s: s.image(0.0), "gain must be above 0, not 0.0"),
        (lambda s: s.write(np.full((64, 64), 4, np.uint8)), "levels 0 to 3, not 4"),
        (lambda s: s.write(np.zeros((8, 8), np.uint8)), "other dimensions"),
        (lambda s: s.pulse(np.zeros((64, 64), int)), "has no 'write.response'"),
        (lambda s: s.wear(np.zeros((8, 8), int)), r"whole numbers \[64, 64\]"),
    ],
)
def test_bad_operations(call, message):
    state = ArrayState(levels_of(), devices.rram(), **OPTIONS)
    with pytest.raises(ConfigError, match=message):
        call(state)


def test_the_soak_runs_and_finds_nothing():
    assert soak(3000, 2) is None
