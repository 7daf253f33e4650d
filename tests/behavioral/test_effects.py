# SPDX-License-Identifier: Apache-2.0
"""Each effect against its formula, alone. Samples, bins and tolerances stand with each test."""

import math

import numpy as np
import pytest

from ohmtwin.arch.errors import ConfigError
from ohmtwin.behavioral import devices
from ohmtwin.behavioral.effects.aging import acceleration
from ohmtwin.behavioral.effects.pulses import response_curve
from ohmtwin.behavioral.effects.variation import correlated_field
from ohmtwin.behavioral.state import ArrayState

OPTIONS = {"cell_bits": 2, "seed": 1, "array": 0, "adc_bits": 6}
SHAPE = (256, 512)  # 131,072 cells unless said otherwise
YEAR = 365.25 * 24 * 3600.0


def quiet(**sections):
    """RRAM cells without any effect but the given ones, their on/off ratio kept."""
    plain = devices.rram().only("on_off")
    return devices.rram(**(plain.model_dump() | sections))


def state(device, level=3, shape=SHAPE, **options):
    levels = np.full(shape, level, np.uint8)
    return ArrayState(levels, device, **(OPTIONS | options))


def cells(array):
    return array.conductances()[:, :-1]


def test_a_device_without_effects_is_exact():
    levels = np.random.default_rng(1).integers(0, 4, (64, 64)).astype(np.uint8)
    array = ArrayState(levels, quiet(), **OPTIONS)
    array.advance(10 * YEAR, 400.0, 10**9)
    image = array.image()
    assert np.array_equal(image.g - image.ref[:, None], levels.astype(np.int32) * 4096)
    assert not image.noisy


# ---------------------------------------------------------------- programming


def test_spread_by_state_of_a_measured_table():
    """Yan et al. 2019, Table 1, binary cells: 0.04 on, 0.4 off; within 2 % of 131,072 cells."""
    table = {"conductance": [1e-6, 1e-4], "relative": [0.4, 0.04]}
    device = quiet(spread_table=table, bits=1)
    for level, expected in ((0, 0.4), (1, 0.04)):
        g = cells(state(device, level, cell_bits=1))
        # At 0.4 the cut at 0 takes 0.6 % of the cells and 1 % of sigma.
        assert g.std() / g.mean() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("response", [None, {"pulses": 2000, "nonlinearity": 2.0, "spread": 0.3}])
def test_write_verify_reaches_one_percent(response):
    """Yan, Hu, Shi, Sect. 4.4: below 1 %, here of every one of 131,072 cells, from 20 %."""
    write = {"voltage": 3.0, "time": 1e-8, "energy": 1e-11, "response": response}
    device = quiet(
        spread=0.1,
        variation={"device": 0.15, "die": 0.1},
        verify={"tolerance": 0.01, "max_iterations": 200},
        write=write,
    )
    for level in (1, 3):
        array = state(device, level)
        error = np.abs(array.programmed / array.target - 1)
        assert error[:, :-1].max() < 0.01
        loose = state(device.without("verify"), level)
        assert np.std(loose.programmed[:, :-1] / loose.target[:, :-1]) > 0.15
        # One blind pulse each, then those of the loop: at least one an iteration.
        assert (array.pulses >= 1 + array.iterations).all()
        assert (array.iterations == 0).mean() < 0.1
        assert 2 < array.iterations.mean() < 20
        if response is None:
            assert np.array_equal(array.pulses, 1 + array.iterations)
        assert array.write_energy == pytest.approx(array.pulses[:, :-1].sum() * 1e-11)


def test_write_verify_halves_the_error_each_iteration():
    """With gain 1/2 and exact pulses, n pulses leave 2**-n of the error."""
    device = quiet(spread=0.1, verify={"tolerance": 0.01, "gain": 0.5, "pulse_spread": 0.0})
    array, start = state(device), state(device.without("verify"))
    before = np.abs(start.programmed / start.target - 1)
    needed = np.ceil(np.maximum(np.log2(before / 0.01), -1e-9) + 1e-9)
    assert np.array_equal(array.iterations, needed)


def test_cells_that_never_come_near_are_pulsed_to_the_limit():
    device = quiet(faults={"stuck_off": 0.01}, verify={"tolerance": 0.01, "max_iterations": 30})
    array = state(device)
    assert (array.iterations[array.stuck != 0] == 30).all()
    assert (array.pulses[array.stuck != 0] == 31).all()
    assert (array.pulses[array.stuck == 0] == 1).all()


def test_pulse_response():
    response = {"pulses": 50, "nonlinearity": 3.0, "nonlinearity_down": 1.0}
    write = {"voltage": 3.0, "time": 1e-8, "energy": 1e-11, "response": response}
    device = quiet(write=write)
    array = state(device, 0, (16, 16))
    for n in (1, 10, 39, 1):
        array.pulse(np.full((16, 16), n, np.int64))
    # 50 pulses take every cell from off to on along the formula, then 51 - one more - stay there.
    assert cells(array) == pytest.approx(device.g_on)
    up = response_curve(device, device.write.response, up=True)
    share = (1 - math.exp(-3 * 10 / 50)) / (1 - math.exp(-3))
    assert up[10] == pytest.approx(device.g_off + (device.g_on - device.g_off) * share)
    array.pulse(np.full((16, 16), -20, np.int64))
    share = (1 - math.exp(-20 / 50)) / (1 - math.exp(-1))
    expected = device.g_on - (device.g_on - device.g_off) * share
    assert cells(array) == pytest.approx(expected)
    assert (array.pulses[:, :-1] == 1 + 51 + 20).all()
    assert (array.pulses[:, -1] == 1).all()


# ---------------------------------------------------------------- variation


@pytest.mark.parametrize("part", ["device", "cycle", "correlated"])
def test_variation_parts(part):
    """Sigma within 2 % for independent cells, 10 % for the field; what is drawn again, is."""
    device = quiet(variation={part: 0.05, "correlation_length": 2})
    array = state(device)
    first = cells(array) / device.g_on
    assert first.std() == pytest.approx(0.05, rel=0.1 if part == "correlated" else 0.02)
    array.write(np.full(SHAPE, 3, np.uint8))
    assert np.array_equal(first, cells(array) / device.g_on) == (part != "cycle")


def test_die_variation_is_that_of_the_chip():
    device = quiet(variation={"die": 0.05})
    found = [
        cells(state(device, shape=(8, 8), seed=s, array=a)) for s in range(400) for a in (0, 9)
    ]
    values = np.array(found)[:, 0, 0].reshape(400, 2) / device.g_on
    assert np.ptp(found[0]) == 0
    assert np.array_equal(values[:, 0], values[:, 1])
    assert values[:, 0].std() == pytest.approx(0.05, rel=0.15)  # 400 chips: 3.5 % one sigma


@pytest.mark.parametrize("length", [3.0, 8.0])
def test_correlation_length(length):
    """20 fields of 256x512: correlation exp(-(d/L)**2) within 0.03 at d = 0, L/2, L, 2L."""
    fields = [correlated_field(SHAPE, length, np.random.default_rng(i)) for i in range(20)]
    variance = np.mean([f**2 for f in fields])
    assert variance == pytest.approx(1.0, abs=0.03)
    for d in (round(length / 2), round(length), round(2 * length)):
        expected = math.exp(-((d / length) ** 2))
        for axis in (0, 1):
            pairs = [f * np.roll(f, d, axis) for f in fields]
            inner = [p[d:, :] if axis == 0 else p[:, d:] for p in pairs]
            assert np.mean(inner) == pytest.approx(expected, abs=0.03)


# ---------------------------------------------------------------- faults


def test_stuck_cells():
    """Shares of 131,072 cells within five sigma; values as stated; the same map every time."""
    device = quiet(faults={"stuck_on": 0.02, "stuck_off": 0.05}, drift={"nu": 0.1, "t0": 1.0})
    array = state(device, 1)
    for value, share in ((1, 0.02), (-1, 0.05)):
        sigma = math.sqrt(share * (1 - share) / (SHAPE[0] * SHAPE[1]))
        assert (array.stuck[:, :-1] == value).mean() == pytest.approx(share, abs=5 * sigma)
    assert not array.stuck[:, -1].any()
    array.advance(YEAR)
    g = cells(array)
    assert (g[array.stuck[:, :-1] == 1] == device.g_on).all()
    assert (g[array.stuck[:, :-1] == -1] == device.g_off).all()
    assert np.array_equal(array.stuck, state(device, 2).stuck)


def test_given_yield_map():
    given = np.zeros((16, 16), np.int8)
    given[3, 5], given[4, 6] = 1, -1
    array = state(quiet(), 1, (16, 16), yield_map=given)
    image = array.image()
    assert image.g[3, 5] - image.ref[3] == 3 * 4096
    assert image.g[4, 6] - image.ref[4] == 0
    given[0, 0] = 2
    with pytest.raises(ConfigError, match="not 2 at row 0, column 0"):
        state(quiet(), 1, (16, 16), yield_map=given)
    with pytest.raises(ConfigError, match=r"must be \[16, 16\], not \[8, 16\]"):
        state(quiet(), 1, (16, 16), yield_map=given[:8])


# ---------------------------------------------------------------- time


def test_drift_exponent_is_recovered():
    """PCM drift over a year: exponents by a fit over 9 times within 2 %, spread within 5 %."""
    device = devices.pcm().only("drift")
    array = state(device)
    start = np.log(cells(array))
    logs, fits = [], []
    for t in np.logspace(2, math.log10(YEAR), 9):
        array.advance(t - device.drift.t0 - array.elapsed)
        logs.append(math.log(t / device.drift.t0))
        fits.append(np.log(cells(array)) - start)
    slope = -np.tensordot(logs, np.array(fits), 1) / np.dot(logs, logs)
    assert slope.mean() == pytest.approx(device.drift.nu, rel=0.02)
    assert slope.std() == pytest.approx(device.drift.nu_spread, rel=0.05)
    # The least conductive states drift most.
    off = state(devices.pcm().only("drift", "on_off"), 0)
    assert off.exponents.mean() == pytest.approx(device.drift.nu_off, rel=0.02)


SLOW = {
    "drift": {"nu": 0.05, "nu_spread": 0.01, "t0": 20.0, "activation_energy": 0.3},
    "retention": {"time": 1e7, "loss": 0.2, "activation_energy": 1.1, "spread": 0.4, "shape": 0.7},
    "disturb": {"rate": 1e-6, "reverse_rate": 8e-7, "alternate": True},
}


def test_stretches_of_time_add_up_exactly():
    device = quiet(**SLOW)
    whole, parts = state(device, shape=(32, 32)), state(device, shape=(32, 32))
    whole.advance(86400.0 * 3, 350.0, 12)
    for reads in (1, 4, 7):
        parts.advance(86400.0, 350.0, reads)
    assert np.array_equal(whole.conductances(), parts.conductances())
    # An image in between changes nothing; another temperature does.
    parts.advance(3600.0, 300.0)
    parts.image()
    whole.advance(1800.0, 300.0)
    whole.advance(1800.0)
    assert np.array_equal(whole.conductances(), parts.conductances())
    parts.advance(3600.0, 420.0)
    whole.advance(3600.0)
    assert not np.array_equal(whole.conductances(), parts.conductances())


def test_retention_obeys_arrhenius():
    """1.1 eV: what takes 10 years at 358 K takes 1 / acceleration of that at 450 K."""
    given = {"time": 10 * YEAR, "temperature": 358.0, "loss": 0.1, "activation_energy": 1.1}
    device = quiet(retention=given)
    cool, hot = state(device, shape=(8, 8)), state(device, shape=(8, 8))
    cool.advance(10 * YEAR, 358.0)
    expected = device.g_off + 0.9 * (device.g_on - device.g_off)
    assert cells(cool) == pytest.approx(expected)
    faster = math.exp(1.1 / 8.617333262e-5 * (1 / 358.0 - 1 / 450.0))
    assert acceleration(1.1, 450.0, 358.0) == pytest.approx(faster, rel=1e-6)
    hot.advance(10 * YEAR / faster, 450.0)
    assert cells(hot) == pytest.approx(expected, rel=1e-6)
    cool.advance(20 * YEAR)
    assert cells(cool) == pytest.approx(device.g_off + 0.9**3 * (device.g_on - device.g_off))
    still = state(device, shape=(8, 8))
    still.advance(YEAR, 0.0)
    assert cells(still) == pytest.approx(device.g_on)


def test_read_disturb_and_alternating_polarity():
    device = quiet(disturb={"rate": 1e-5, "reverse_rate": 0.9e-5})
    array = state(device, shape=(16, 16))
    reads = np.arange(16) * 10_000
    array.advance(0.0, reads=reads)
    span = device.g_on - device.g_off
    assert cells(array)[:, 0] == pytest.approx(device.g_off + span * (1 - 1e-5) ** reads)
    given = {"rate": 1e-5, "reverse_rate": 0.9e-5, "alternate": True}
    both = state(quiet(disturb=given), shape=(16, 16))
    both.advance(0.0, reads=reads)
    lost, mitigated = device.g_on - cells(array)[1:], device.g_on - cells(both)[1:]
    # Half of the reads each way leave (1 - 0.9) / 2 of the effect.
    assert mitigated[0] / lost[0] == pytest.approx(0.05, rel=0.06)
    assert (mitigated < lost / 10).all()
    up = state(quiet(disturb={"rate": 1e-5, "towards": "on"}), 0, (16, 16))
    up.advance(0.0, reads=10_000)
    assert cells(up) == pytest.approx(device.g_on - span * (1 - 1e-5) ** 10_000)


def test_endurance():
    """Failures against the lognormal law, 131,072 cells, within five sigma."""
    device = quiet(endurance={"cycles": 1e6, "spread": 0.5, "to_on": 0.25})
    array = state(device)
    for pulses in (500_000, 500_000, 1_000_000):
        array.wear(pulses)
        law = 0.5 * math.erfc(-math.log(array.pulses[0, 0] / 1e6) / 0.5 / math.sqrt(2))
        failed = (array.stuck[:, :-1] != 0).mean()
        assert failed == pytest.approx(law, abs=5 * math.sqrt(law * (1 - law) / 131_072))
    ends = array.stuck[array.stuck != 0]
    assert (ends == 1).mean() == pytest.approx(0.25, abs=0.01)
    before = array.stuck.copy()
    array.write(np.zeros(SHAPE, np.uint8))
    assert (array.stuck[before != 0] == before[before != 0]).all()


def test_temperature_of_conductances():
    device = quiet(temperature_coefficients={"on": -1e-3, "off": 5e-3})
    for level, coefficient in ((3, -1e-3), (0, 5e-3)):
        array = state(device, level, (8, 8))
        start = cells(array)
        array.advance(0.0, 340.0)
        assert cells(array) == pytest.approx(start * math.exp(coefficient * 40))
        array.advance(0.0, 300.0)
        assert np.array_equal(cells(array), start)


# ---------------------------------------------------------------- noise of cells


TRAPS = {"amplitude": 0.1, "capture": 3.0, "emission": 1.0}


def test_telegraph_occupancy_and_dwell_times():
    """131,328 traps over 400 steps of 0.1 s: occupancy within 1 %, dwell times within 2 %.

    A trap sampled every dt stays in a state for geometric runs, whose mean is dt / P(leave in dt).
    """
    array = state(quiet(telegraph=TRAPS), shape=(256, 512))
    dt, steps = 0.1, 400
    seen = []
    for _ in range(steps):
        array.advance(dt)
        seen.append(array.full.copy())
    full = np.array(seen)
    assert full.mean() == pytest.approx(0.25, rel=0.01)
    assert seen[0].mean() == pytest.approx(0.25, rel=0.03)  # from the first step on
    mixing = 1 - math.exp(-dt * (1 / 3.0 + 1 / 1.0))
    for filled, leave in ((True, 0.75 * mixing), (False, 0.25 * mixing)):
        stays = full[:-1] == filled
        left = (full[1:] != filled) & stays
        dwell = dt * stays.sum() / left.sum()
        assert dwell == pytest.approx(dt / leave, rel=0.02)


def test_telegraph_states_persist_and_split_times_have_one_law():
    array = state(quiet(telegraph=TRAPS))
    before = array.full.copy()
    array.advance(0.0)
    assert np.array_equal(array.full, before)
    array.advance(0.4)
    array.advance(0.6)
    whole = state(quiet(telegraph=TRAPS))
    whole.advance(1.0)
    stayed = [(s.full == before)[before].mean() for s in (array, whole)]
    expected = 0.25 + 0.75 * math.exp(-4 / 3)
    assert stayed == pytest.approx([expected] * 2, abs=0.02)
    array.advance(1e9)
    assert (array.full == before)[before].mean() == pytest.approx(0.25, abs=0.02)


def test_telegraph_enters_by_its_speed():
    """A slow trap's state is in the conductance, a quick one's mean and variance are."""
    slow = state(quiet(telegraph=TRAPS))
    values = np.unique(cells(slow))
    assert values == pytest.approx([0.9 * 1e-4, 1e-4])
    assert slow.image().q is None
    quick = state(quiet(telegraph=TRAPS | {"slow_above": 1.0}))
    assert cells(quick) == pytest.approx(1e-4 * (1 - 0.1 * 0.25))
    unit = 4096 / quick.device.step(2)
    expected = (0.1 * 1e-4 * unit) ** 2 * 0.25 * 0.75
    assert quick.image().q.mean() == pytest.approx(expected, rel=1e-3)


def test_telegraph_amplitude_grows_with_resistance():
    given = TRAPS | {"exponent": 0.5, "max_amplitude": 0.6}
    device = quiet(telegraph=given)
    for level, expected in ((3, 0.1), (0, 0.6), (1, 0.1 * (1e-4 / 3.4e-5) ** 0.5)):
        array = state(device, level, (64, 64))
        g = np.unique(np.round(cells(array) / array.target[:, :-1], 12))
        assert g == pytest.approx([1 - expected, 1])


def test_flicker_variance_is_the_integral_over_the_band():
    device = quiet(flicker={"coefficient": 1e-5, "f_low": 1.0, "f_high": 1e6})
    image = state(device).image()
    expected = 1e-5 * math.log(1e6) * image.g.astype(float) ** 2
    assert image.q.mean() == pytest.approx(expected.mean(), rel=1e-4)


def test_reference_noise_is_added_to_every_column():
    base = quiet(read_noise=0.05, bandwidth=1e8, on_off_ratio=3.0, amplifier_resistance=2e3)
    plain, noisy = (
        state(devices.rram(**base.model_dump() | {"reference_noise": on})).image()
        for on in (False, True)
    )
    extra = (0.05 * plain.ref[0].astype(float)) ** 2 + plain.v1 * plain.ref[0] / 65536
    assert (noisy.q - plain.q).mean() == pytest.approx(extra, rel=1e-3)
    assert noisy.v0 == 2 * plain.v0
    assert noisy.v1 == plain.v1
