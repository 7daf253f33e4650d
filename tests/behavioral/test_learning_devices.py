# SPDX-License-Identifier: Apache-2.0
"""Devices that learn: steps as their data say, draws that are functions of their key, refusals."""

import numpy as np
import pytest
from pydantic import ValidationError

from ohmtwin.arch.errors import ConfigError
from ohmtwin.behavioral import devices
from ohmtwin.behavioral.learning.array import LearnArray
from ohmtwin.behavioral.learning.carray import CLearnArray
from ohmtwin.behavioral.learning.device import (
    HALF,
    PRESETS,
    LearnDevice,
    draw_cells,
    from_device,
    learn_model,
)

RANGE = 2 * HALF * 256


def train_of(device: LearnDevice, pulses: int, start: float, *, up: bool) -> np.ndarray:
    """Weights after each of so many pulses, relative to ``weight_max``."""
    array = LearnArray(draw_cells(device, (1, 1), 1, 0), 1, 0)
    array.load(np.array([[round(start * RANGE)]], np.int32), array.numbers, 0)
    seen = []
    for _ in range(pulses):
        array.pulse_counts([[1 if up else -1]])
        seen.append(array.state[0, 0] / RANGE)
    return np.array(seen)


def test_equal_steps_reach_from_end_to_end() -> None:
    up = train_of(LearnDevice(steps=50, asymmetry=0.2), 60, 0.0, up=True)
    np.testing.assert_allclose(up[:45], np.arange(1, 46) / 50 * 1.1, atol=1e-5)
    assert up[-1] == pytest.approx(1, abs=1e-6)
    down = train_of(LearnDevice(steps=50, asymmetry=0.2), 40, 1.0, up=False)
    np.testing.assert_allclose(down, 1 - np.arange(1, 41) / 50 * 0.9, atol=1e-5)


def test_soft_bounds_shrink_steps_in_proportion_to_what_is_left() -> None:
    seen = train_of(LearnDevice(response="soft", steps=100), 150, 0.0, up=True)
    np.testing.assert_allclose(seen, 1 - 0.98 ** np.arange(1, 151), atol=1e-4)


def test_the_exponential_is_that_of_neurosim() -> None:
    """g(n) = (1 - exp(-k n / N)) / (1 - exp(-k)), where N is the pulses through the range."""
    k = 3.0
    device = LearnDevice(response="exponential", steps=400, k_up=k)
    seen = train_of(device, 200, 0.0, up=True)
    reach = 1 / (1 - np.exp(-k))
    rate = 1 / 400 / (reach - 0.5)  # a step in the middle is 1/400 of the range
    np.testing.assert_allclose(seen, reach * (1 - (1 - rate) ** np.arange(1, 201)), atol=1e-4)


def test_measured_steps_are_those_of_the_table() -> None:
    device = LearnDevice(response="table", curve_up=(0.1, 0.02), curve_down=(0.01, 0.01))
    model = learn_model(device)
    places = np.array([0, RANGE // 2, RANGE - 1])
    np.testing.assert_allclose(model.steps(places, up=True) / RANGE, [0.1, 0.06, 0.02], atol=1e-4)
    np.testing.assert_allclose(model.steps(places, up=False) / RANGE, 0.01, atol=1e-6)


def test_a_reset_takes_a_cell_down_at_once() -> None:
    assert train_of(PRESETS["pcm"], 1, 0.8, up=False)[0] == 0


def test_spreads_have_their_size_and_their_key() -> None:
    device = LearnDevice(device=0.3, pair=0.1, bounds=0.2, wear=1000, wear_spread=0.5, cycle=0.3)
    cells, again, other = (draw_cells(device, (200, 200), 5, n) for n in (1, 1, 2))
    for name, values in cells.arrays():
        np.testing.assert_array_equal(values, getattr(again, name))
    assert cells.gain_up is not None
    assert cells.gain_down is not None
    assert other.gain_up is not None
    assert (cells.gain_up != other.gain_up).mean() > 0.9
    mean = (cells.gain_up.astype(float) + cells.gain_down) / 8192
    assert mean.std() == pytest.approx(0.3, rel=0.03)
    ratio = (cells.gain_up.astype(float) - cells.gain_down) / (4096 * mean)
    assert ratio[mean > 0.3].std() == pytest.approx(0.1, rel=0.05)
    assert cells.high is not None
    assert cells.limit is not None
    assert ((cells.high / RANGE - 1) * 2).std() == pytest.approx(0.2, rel=0.03)
    assert np.log(cells.limit.astype(float)).std() == pytest.approx(0.5, rel=0.03)


def test_weights_start_where_they_are_told() -> None:
    weights = np.array([[0.25, -0.5], [0.1, 0.0]])
    for reference, floor in (("middle", -1.0), ("zero", 0.0)):
        array = CLearnArray(
            draw_cells(PRESETS["ideal"], (3, 2), 1, 0, weights, reference=reference), 1, 0
        )
        seen = array.weights() / HALF
        np.testing.assert_allclose(seen[:2], np.maximum(weights, floor), atol=1e-4)
        assert not seen[2].any()


def test_at_the_reference_of_symmetry_a_pulse_up_undoes_one_down() -> None:
    device = PRESETS["rram"].model_copy(update={"cycle": 0.0})
    cells = draw_cells(device, (20, 20), 3, 0, reference="symmetry")
    array = LearnArray(cells, 3, 0)
    ups = np.ones(cells.shape, np.int32)
    array.pulse_counts(ups)
    rise = array.state - cells.state
    array.pulse_counts(-ups)
    assert np.abs(array.state - cells.state).max() < 0.06 * rise.mean()
    middle = draw_cells(device, (20, 20), 3, 0)
    assert np.abs(middle.ref - cells.ref).mean() > 500


def test_a_worn_cell_stays_where_it_ends() -> None:
    device = LearnDevice(wear=20, steps=100)
    cells = draw_cells(device, (2, 2), 1, 0)
    array = LearnArray(cells, 1, 0)
    array.pulse_counts(np.full((2, 2), 20))
    alive = array.state
    assert cells.worn is not None
    array.pulse_counts(np.full((2, 2), -1))
    np.testing.assert_array_equal(array.state, cells.worn)
    array.pulse_counts(np.full((2, 2), 7))
    np.testing.assert_array_equal(array.state, cells.worn)
    assert (alive != cells.worn).all()


def test_a_device_file_gives_its_curve() -> None:
    write = {"voltage": 3.0, "time": 1e-8, "energy": 1e-11}
    with pytest.raises(ConfigError, match=r"Device rram has no 'write.response'.* ideal, rpu"):
        from_device(devices.rram())
    response = {"pulses": 80, "nonlinearity": 2.0, "spread": 0.2}
    device = from_device(devices.rram(write=write | {"response": response}), weight_max=0.5)
    seen = train_of(device.model_copy(update={"cycle": 0.0}), 80, 0.0, up=True)
    n = np.arange(1, 81)
    expected = (1 - np.exp(-2 * n / 80)) / (1 - np.exp(-2))
    np.testing.assert_allclose(seen, expected, atol=0.02)
    assert (device.cycle, device.weight_max, device.name) == (0.2, 0.5, "rram")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"response": "table", "curve_up": (0.1,)}, "at least two steps"),
        ({"curve_up": (0.1, 0.2)}, "needs the response 'table'"),
        ({"response": "table", "curve_up": (0.1, 2), "curve_down": (0.1, 0.1)}, "shares of the"),
        ({"steps": 1}, "greater than or equal to 2"),
        ({"weight_max": float("nan")}, "finite number"),
    ],
)
def test_devices_that_cannot_be_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LearnDevice.model_validate(fields)


def test_weights_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="is no number"):
        draw_cells(PRESETS["rpu"], (2, 2), 1, 0, np.array([[np.nan]]))
