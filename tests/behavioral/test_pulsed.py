# SPDX-License-Identifier: Apache-2.0
"""Cells that pulses move: NumPy and C alike, and both like the float response."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from ohmtwin.arch.errors import ConfigError
from ohmtwin.behavioral import devices
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.cpulsed import CPulsed
from ohmtwin.behavioral.devices import Device
from ohmtwin.behavioral.effects.pulses import apply_pulses
from ohmtwin.behavioral.pulsed import ONE, Cells, PulsedCrossbar, PulseModel, blank_image
from ohmtwin.behavioral.threefry import column_words, threefry2x32

ROWS, COLS = 16, 24


def device(**response: Any) -> Device:
    write = {"voltage": 3.0, "time": 1e-8, "energy": 1e-11, "response": response}
    return devices.rram(write=write)


def cells(model: PulseModel, seed: int) -> Cells:
    random = np.random.default_rng(seed)
    shape = ROWS, COLS
    return Cells(
        model,
        # Some have drifted below the range, some lie above it.
        random.integers(0, model.high + 100_000, shape).astype(np.int32),
        random.integers(60000, 70000, shape).astype(np.int32),
        random.random(shape) < 0.1,
        random.integers(0, 100, shape).astype(np.uint32),
    )


@pytest.mark.parametrize("response", [{"pulses": 40}, {"pulses": 90, "nonlinearity": 3.0}])
def test_numpy_and_c_agree_after_every_pulse(response: dict[str, Any]) -> None:
    model = PulseModel.derive(device(spread=0.5, **response), 2)
    random = np.random.default_rng(5)
    image = dataclasses.replace(
        blank_image(ROWS, COLS, adc_bits=6, lanes=8),
        ref=np.full(ROWS, 40, np.int32),
        v0=100_000,
        v1=1 << 20,
        adc_table=random.integers(0, 64, (8, 64)).astype(np.uint16),
    )
    start = cells(model, 3)
    slow = PulsedCrossbar(image, start, 3, 4)
    quick = CPulsed(CCrossbar(image, 3, 4), image, start)
    for n in range(60):
        rows = random.random(ROWS) < 0.2
        signs = random.integers(-1, 2, COLS).astype(np.int8)
        pulses = int(random.integers(0, 9))
        for array in (slow, quick):
            array.pulse(rows, signs, pulses)
        np.testing.assert_array_equal(quick.cells.state, slow.cells.state)
        np.testing.assert_array_equal(quick.cells.numbers, slow.cells.numbers)
        one = np.arange(ROWS) == n % ROWS
        np.testing.assert_array_equal(quick.read_fine(one, n % 13), slow.read_fine(one, n % 13))
        np.testing.assert_array_equal(quick.crossbar.read(rows), slow.read(rows))
    moved = slow.cells.state != start.state
    assert moved[~start.fixed].any()
    assert not moved[start.fixed].any()


def test_grouping_and_order_of_pulses_do_not_matter() -> None:
    model = PulseModel.derive(device(pulses=50, spread=0.3), 2)
    image = blank_image(ROWS, COLS, adc_bits=6, lanes=8)
    start = cells(model, 1)
    every, rows = np.ones(COLS, np.int8), np.ones(ROWS, np.bool_)
    at_once, one_by_one = (PulsedCrossbar(image, start, 1, 2) for _ in range(2))
    at_once.pulse(rows, every, 5)
    for row in reversed(range(ROWS)):
        for pulses in (2, 1, 2):
            one_by_one.pulse(np.arange(ROWS) == row, every, pulses)
    np.testing.assert_array_equal(at_once.cells.state, one_by_one.cells.state)


def test_draws_are_not_those_of_reads() -> None:
    """The generator's counters of cell 0 and of the first reads differ."""
    reads = column_words(7, 1, range(4), 512)
    numbers = np.arange(64, dtype=np.uint32)
    pulses = np.concatenate(threefry2x32((7, 1), (numbers, np.uint32(1 << 31))))
    assert not np.isin(pulses, reads).any()


@pytest.mark.parametrize("nonlinearity", [0.0, 2.0, 5.0])
def test_steps_are_those_of_the_float_response(nonlinearity: float) -> None:
    kind = device(pulses=200, nonlinearity=nonlinearity)
    model = PulseModel.derive(kind, 2)
    assert kind.write is not None
    assert kind.write.response is not None
    start = np.linspace(kind.g_off, kind.g_on, ROWS * COLS).reshape(ROWS, COLS)
    unit = ONE / kind.step(2)
    for sign in (1, -1):
        array = PulsedCrossbar(
            blank_image(ROWS, COLS, adc_bits=6, lanes=8),
            Cells(
                model,
                np.rint(start * unit).astype(np.int32),
                np.full((ROWS, COLS), 65536, np.int32),
                np.zeros((ROWS, COLS), np.bool_),
                np.zeros((ROWS, COLS), np.uint32),
            ),
            1,
            1,
        )
        array.pulse(np.ones(ROWS, np.bool_), np.full(COLS, sign, np.int8), 20)
        counts = np.full((ROWS, COLS), 20 * sign)
        want = apply_pulses(start, counts, kind, kind.write.response, np.random.default_rng(0))
        # A table of 64 segments, against a curve of 200 pulses.
        np.testing.assert_allclose(array.cells.state / unit, want, atol=0.004 * kind.g_on)


def test_spread_of_a_step_is_that_of_the_device() -> None:
    model = PulseModel.derive(device(pulses=400, spread=0.25), 2)
    state = np.full((ROWS, COLS), (model.low + model.high) // 2, np.int32)
    zeros = np.zeros((ROWS, COLS), np.uint32)
    ones = np.full((ROWS, COLS), 65536, np.int32)
    array = PulsedCrossbar(
        blank_image(ROWS, COLS, adc_bits=6, lanes=8),
        Cells(model, state, ones, zeros.astype(np.bool_), zeros),
        9,
        9,
    )
    moves = []
    for _ in range(40):
        before = array.cells.state.astype(np.int64)
        array.pulse(np.ones(ROWS, np.bool_), np.ones(COLS, np.int8), 1)
        array.pulse(np.ones(ROWS, np.bool_), -np.ones(COLS, np.int8), 1)
        moves.append(array.cells.state - before)
    step = int(model.steps(np.array([state[0, 0]]), up=True)[0])
    assert np.std(moves) / step == pytest.approx(0.25 * 2**0.5, rel=0.03)
    assert abs(np.mean(moves)) < 0.01 * step


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^Device rram has no 'write.response', so nothing"):
        PulseModel.derive(devices.rram(), 2)
    model = PulseModel.derive(device(pulses=50), 2)
    with pytest.raises(ConfigError, match=r"^Segments of 2\*\*3 do not reach"):
        dataclasses.replace(model, shift=3)
    start = cells(model, 1)
    with pytest.raises(ConfigError, match=r"^The numbers of cells must be uint32 \[16, 24\], not"):
        dataclasses.replace(start, numbers=start.numbers.astype(np.int64))
    image = blank_image(16, 16, adc_bits=6, lanes=8)
    with pytest.raises(ConfigError, match=r"^Cells \[16, 24\] do not fit an array \[16, 16\]$"):
        PulsedCrossbar(image, start, 1, 1)
    fitting = blank_image(16, 24, adc_bits=6, lanes=8)
    quick = CPulsed(CCrossbar(fitting, 1, 1), fitting, start)
    quick.crossbar.program(fitting)
    with pytest.raises(ValueError, match=r"^The crossbar library refused"):
        quick.pulse(np.ones(16, np.bool_), np.zeros(24, np.int8), 1)
    array = PulsedCrossbar(fitting, start, 1, 1)
    with pytest.raises(ValueError, match=r"^The signs of a pulse must be int8 \[24\]"):
        array.pulse(np.ones(16, np.bool_), np.full(24, 2, np.int8), 1)
