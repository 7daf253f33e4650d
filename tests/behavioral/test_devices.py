# SPDX-License-Identifier: Apache-2.0
"""Devices, and what programming makes of them."""

from pathlib import Path

import numpy as np
import pytest

from ohmtwin.arch.errors import ConfigError
from ohmtwin.behavioral import devices
from ohmtwin.behavioral.cengine import CCrossbar, core_mvm
from ohmtwin.behavioral.core import MvmConfig
from ohmtwin.behavioral.programming import noise_parameters, program

OPTIONS = {"cell_bits": 2, "seed": 1, "array": 0, "adc_bits": 6}


def some_levels(shape=(128, 128), top=3):
    return np.random.default_rng(1).integers(0, top + 1, shape).astype(np.uint8)


@pytest.mark.parametrize("cell_bits", [1, 2, 3, 4])
def test_ideal_device_stores_exact_levels(cell_bits):
    levels = some_levels(top=(1 << cell_bits) - 1)
    image = program(levels, devices.ideal(), **(OPTIONS | {"cell_bits": cell_bits}))
    assert np.array_equal(image.g, levels.astype(np.int32) * 4096)
    assert not image.ref.any()
    assert not image.noisy


def test_image_is_a_function_of_seed_and_array():
    device, levels = devices.rram(), some_levels((16, 16))
    first = program(levels, device, **OPTIONS)
    program(levels, device, **(OPTIONS | {"array": 5}))
    again = program(levels, device, **OPTIONS)
    assert np.array_equal(first.g, again.g)
    assert np.array_equal(first.ref, again.ref)
    for change in ({"array": 1}, {"seed": 2}):
        other = program(levels, device, **(OPTIONS | change))
        assert not np.array_equal(first.g, other.g)


def test_spread_is_relative_to_the_conductance():
    device = devices.rram(spread=0.05, on_off_ratio=20)
    for level in range(4):
        image = program(np.full((256, 512), level, np.uint8), device, **OPTIONS)
        off = 4096 * 3 / 19  # g_off in image units: (g_on - g_off) / g_off = 19, three steps
        expected = off + level * 4096
        assert image.g.mean() == pytest.approx(expected, rel=1e-3)
        assert image.g.std() == pytest.approx(0.05 * expected, rel=0.01)
        assert image.ref.mean() == pytest.approx(off, rel=0.02)


def test_large_spread_gives_no_negative_conductance():
    image = program(some_levels(), devices.rram(spread=1.0), **OPTIONS)
    assert image.g.min() == 0


def test_noise_parameters_worked_by_hand():
    device = devices.rram(
        g_on=1e-4,
        on_off_ratio=float("inf"),
        read_voltage=0.3,
        bandwidth=1e8,
        temperature=300.0,
        amplifier_resistance=1e3,
    )
    # A level of a 2-bit cell: 33.3 uS x 0.3 V = 10 uA; an image unit is 2.4414 nA.
    unit = 1e-5 / 4096
    amplifier = 4 * 1.380649e-23 * 300 * 1e8 / 1e3  # 1.657e-15 A**2
    column = (2 * 1.602176634e-19 + 4 * 1.380649e-23 * 300 / 0.3) * 1e8  # A
    assert noise_parameters(device, 2) == (
        round(amplifier / unit**2),
        round(column / unit * 65536),
    )
    assert noise_parameters(device, 2) == (278, 1008)
    # Shot noise of 16 top cells, 480 uA: sqrt(2 q I df) = 124 nA.
    _, v1 = noise_parameters(devices.rram(**device.model_dump() | {"temperature": 0.0}), 2)
    sigma = np.sqrt(v1 * 16 * 3 * 4096 / 65536) * unit
    assert sigma == pytest.approx(124e-9, rel=0.01)


def test_read_noise_is_relative_to_each_cell():
    image = program(some_levels(), devices.rram(read_noise=0.02), **OPTIONS)
    exact = (0.02 * image.g.astype(np.float64)) ** 2
    unit = 1 << 6  # 128 cells of up to 60000 in 16 bits
    assert not (image.q % unit).any()
    # A cell takes over what rounding left of the one above it, and a sum over rows is right to
    # half a unit (and the rounding of g).
    assert np.abs(image.q - exact).max() <= unit + 6
    assert np.abs((image.q - exact).cumsum(axis=0)).max() <= unit / 2 + 128
    assert image.q.sum(axis=0).max() < 65536 * unit
    assert program(some_levels(), devices.rram(read_noise=0), **OPTIONS).q is None


def test_rram_disturbs_but_does_not_destroy():
    """Some codes of a product differ from the ideal ones, by little."""
    levels = some_levels((128, 128))
    x = np.random.default_rng(2).integers(0, 256, (50, 128)).astype(np.uint8)
    config = MvmConfig(
        rows_used=128,
        outputs=32,
        rows_per_read=16,
        zero_skip=True,
        group=16,
        weights=(1, 4, 16, 64),
        beats=16,
    )
    results = []
    for device in (devices.ideal(), devices.rram()):
        image = program(levels, device, **OPTIONS)
        results.append(core_mvm(CCrossbar(image, 1, 0), x, config).acc.astype(np.int64))
    ideal, real = results
    assert (ideal != real).mean() > 0.1
    assert np.abs(real - ideal).max() < 0.02 * ideal.max()


def test_names_and_loading(tmp_path):
    assert devices.names() == ["fefet", "flash", "ideal", "pcm", "rram", "sram", "stt_mram"]
    assert devices.load("rram") == devices.rram()
    assert devices.rram(spread=0.05).spread == 0.05
    path = tmp_path / "mine.toml"
    source = Path(devices.__file__).with_name("rram.toml").read_text()
    path.write_text(source.replace('name = "rram"', 'name = "mine"'))
    assert devices.load(path) == devices.load(str(path)) == devices.rram(name="mine")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: devices.load("rrram"), "no device 'rrram'; take one of fefet, .* or the path"),
        (lambda: devices.load("no/such.toml"), "device file no/such.toml does not exist"),
        (lambda: devices.rram(spred=0.1), "device rram: unknown key 'spred'.*'spread'"),
        (lambda: devices.rram(spread=-0.1), "'spread' is wrong: .*greater than or equal to 0"),
        (lambda: devices.rram(on_off_ratio=1), "'on_off_ratio' is wrong: .*greater than 1"),
        (lambda: devices.rram(g_on=float("nan")), "'g_on' is wrong"),
        (lambda: devices.ideal(spread=0.1), "an ideal device has spread.*start from another kind"),
    ],
)
def test_device_errors(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


@pytest.mark.parametrize(
    ("levels", "change", "message"),
    [
        (np.full((8, 8), 4, np.uint8), {}, "2-bit cell has levels 0 to 3, not 4"),
        (np.zeros((8, 8), np.int32), {}, "Levels must be uint8"),
        (np.zeros((12, 8), np.uint8), {}, "multiples of 8, not 12"),
        (np.zeros((8, 8), np.uint8), {"cell_bits": 5}, "1 to 4 bits, not 5"),
    ],
)
def test_programming_errors(levels, change, message):
    with pytest.raises(ConfigError, match=message):
        program(levels, devices.rram(), **(OPTIONS | change))


def test_device_that_fits_no_image():
    device = devices.rram(on_off_ratio=1 + 1e-9)
    with pytest.raises(ConfigError, match="do not fit an image"):
        program(some_levels(), device, **OPTIONS)


# ---------------------------------------------------------------- sections, files, tables

USER = """
name = "mine"
g_on = 1e-4
on_off_ratio = 50.0
read_voltage = 0.2

[telegraph]
amplitude = 0.05
capture = 1e-3
emission = 2e-3
"""


def user_file(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return devices.load(path)


def test_user_device_from_a_file(tmp_path):
    device = user_file(tmp_path, USER)
    assert device.active == {"telegraph", "on_off"}
    assert device.telegraph.emission == 2e-3
    assert device.kind == "custom"


def test_user_device_from_measured_tables(tmp_path):
    (tmp_path / "levels.csv").write_text("# of 30 cells\nconductance\n1e-6\n30e-6\n\n61e-6\n1e-4\n")
    (tmp_path / "spread.csv").write_text("conductance, relative\n1e-6, 0.2\n1e-4, 0.02\n")
    (tmp_path / "pulses.csv").write_text("conductance\n1e-6\n5e-5\n1e-4\n")
    device = user_file(
        tmp_path,
        'name = "mine"\nread_voltage = 0.2\n[levels]\nfile = "levels.csv"\n'
        '[spread_table]\nfile = "spread.csv"\n[write]\nvoltage = 1\ntime = 1e-8\nenergy = 1e-12\n'
        '[write.response]\nfile = "pulses.csv"\nspread = 0.1\n',
    )
    assert device.g_on == 1e-4
    assert device.on_off_ratio == pytest.approx(100)
    assert device.conductances(2).tolist() == [1e-6, 30e-6, 61e-6, 1e-4]
    assert device.conductances(1).tolist() == [1e-6, 1e-4]
    # Sixteen levels lie between the four that were measured.
    assert device.conductances(4)[[0, 5, 10, 15]].tolist() == [1e-6, 30e-6, 61e-6, 1e-4]
    assert device.spread_table.relative == (0.2, 0.02)
    assert device.write.response.conductance == (1e-6, 5e-5, 1e-4)
    levels = some_levels((128, 512))
    image = program(levels, device.without("spread"), **OPTIONS)
    unit = 4096 / device.step(2)
    assert np.array_equal(image.g, np.rint(device.conductances(2)[levels] * unit))


BROKEN = [
    ("g_on = 1e-4", "g_on = -1e-4", "'g_on' is wrong: .*greater than 0.*not -0.0001"),
    ("= 50.0", "= 0.5", "'on_off_ratio' is wrong: .*greater than 1, not 0.5"),
    ("amplitude = 0.05", "amplitude = -0.05", "'telegraph.amplitude' is wrong"),
    ("amplitude = 0.05", "amplitude = nan", "'telegraph.amplitude' is wrong: .*finite"),
    ("amplitude =", "amplitud =", "unknown key 'telegraph.amplitud'; did you mean 'amplitude'"),
    ("[telegraph]", "[telegraf]", "unknown key 'telegraf'; did you mean 'telegraph'"),
    ("[telegraph]", "temperature = -1.0\n[telegraph]", "'temperature' is wrong"),
    ("[telegraph]", "spread = -0.1\n[telegraph]", "'spread' is wrong"),
    ("[telegraph]", "[levels]\nconductance = [1e-6, 5e-6, 4e-6]\n[telegraph]", "entry 2 is 4e-06"),
    ("[telegraph]", "[levels]\nconductance = [-1e-6, 4e-6]\n[telegraph]", "must be 0 or more"),
    ("[telegraph]", "[levels]\nconductance = [1e-6, nan]\n[telegraph]", "levels.conductance"),
    ("[telegraph]", "[levels]\nconductance = [1e-6, 3e-5]\n[telegraph]", "leave both out"),
    ("[telegraph]", "[drift]\nnu = -0.1\nt0 = 1\n[telegraph]", "'drift.nu' is wrong"),
    ("[telegraph]", "[drift]\nnu = 0.1\nt0 = 0\n[telegraph]", "'drift.t0' is wrong"),
    ("[telegraph]", "[wires]\nr_row = -1\n[telegraph]", "'wires.r_row' is wrong"),
    ("[telegraph]", "[faults]\nstuck_on = 0.6\nstuck_off = 0.6\n[telegraph]", "not exceed 1"),
    ("[telegraph]", "[flicker]\ncoefficient = 1e-6\nf_low = 1\n[telegraph]", "above flicker.f_low"),
    (
        "[telegraph]",
        "[read]\nvoltage = 0.1\ntime = 1\nenergy = 1\n[telegraph]",
        "at most read.volt",
    ),
    ("[telegraph]", "[adc]\ninl = [[0, 1]]\ndnl = [[0, 1]]\n[telegraph]", "exclude each other"),
    ("[telegraph]", "[driver]\nvoltages = [0.0]\n[telegraph]", "2 to 16 digits, not 1"),
]


@pytest.mark.parametrize(("old", "new", "message"), BROKEN)
def test_broken_user_files_name_the_field(tmp_path, old, new, message):
    with pytest.raises(ConfigError, match=message) as error:
        user_file(tmp_path, USER.replace(old, new))
    assert str(error.value).startswith(f"device file {tmp_path / 'mine.toml'}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conductance\n1e-6\nnan\n", r"levels.csv line 3: 'conductance' must be a finite number"),
        ("conductance\n1e-6\nhigh\n", r"levels.csv line 3: .* must be a number, not 'high'"),
        ("conductance,level\n1e-6\n", r"levels.csv line 2: 1 values in a table of 2 columns"),
        ("", "levels.csv is empty"),
        (None, "levels.csv does not exist"),
        ("conductance\n5e-6\n1e-6\n", "entry 1 is 1e-06 after 5e-06"),
        ("conductanse\n1e-6\n5e-6\n", "'levels.conductance' is missing|unknown key"),
    ],
)
def test_broken_tables_name_file_and_line(tmp_path, text, message):
    if text is not None:
        (tmp_path / "levels.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        user_file(tmp_path, 'name = "mine"\nread_voltage = 0.2\n[levels]\nfile = "levels.csv"\n')


def test_effects_are_switched_one_by_one():
    pcm = devices.pcm()
    assert pcm.active == {
        "drift", "endurance", "flicker", "on_off", "shot", "spread", "thermal"
    }  # fmt: skip
    assert pcm.only().active == frozenset()
    for effect in pcm.active:
        assert pcm.only(effect).active == {effect}
        assert pcm.without(effect).active == pcm.active - {effect}
    with pytest.raises(ConfigError, match="no effect 'drif'; the effects are spread, "):
        pcm.only("drif")


def test_cells_hold_the_bits_they_are_known_for():
    with pytest.raises(ConfigError, match="device stt_mram holds 1 bits, not 2; choose a chip"):
        program(some_levels(), devices.stt_mram(), **OPTIONS)
    image = program(some_levels(top=1), devices.stt_mram(), **(OPTIONS | {"cell_bits": 1}))
    assert image.ref.mean() == pytest.approx(4096 / 1.5, rel=0.02)


@pytest.mark.parametrize("name", devices.names())
def test_standard_devices_survive_their_own_dump(name):
    device = devices.load(name)
    assert type(device).model_validate_json(device.model_dump_json()) == device
    assert getattr(devices, name)() == device
