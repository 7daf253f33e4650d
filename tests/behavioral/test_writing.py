# SPDX-License-Identifier: Apache-2.0
"""The controller's specification against the loop in floats, and what settings are refused."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import ConfigError
from ohmtwin.arch.writing import LevelTarget, WriteSettings, program_row
from ohmtwin.behavioral import devices
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.cpulsed import CPulsed
from ohmtwin.behavioral.devices import Device
from ohmtwin.behavioral.effects.streams import Streams
from ohmtwin.behavioral.effects.verify import write_verify
from ohmtwin.behavioral.pulsed import ONE, Cells, PulsedCrossbar, PulseModel, blank_image
from ohmtwin.behavioral.writing import best_fine, derive_settings, write_row

SIZE = 64


def chip(adc_bits: int, **more: Any) -> Chip:
    given = {"rows": SIZE, "cols": SIZE, "lanes": 8, "rows_per_read": 1, "program_verify": True}
    return Chip(adc_bits=adc_bits, **(given | more))


def device(pulses: int, nonlinearity: float = 0.0, tolerance: float = 0.03) -> Device:
    response = {"pulses": pulses, "nonlinearity": nonlinearity, "spread": 0.3}
    return devices.rram(
        spread=0.0,
        read_noise=0.0,
        bandwidth=0.0,
        verify={"tolerance": tolerance, "gain": 0.5, "pulse_spread": 0.3},
        write={"voltage": 3.0, "time": 1e-8, "energy": 1e-11, "response": response},
    )


def erased(kind: Device, on: Chip) -> tuple[CPulsed, PulseModel]:
    model = PulseModel.derive(kind, on.cell_bits)
    shape = SIZE, SIZE
    cells = Cells(
        model,
        np.full(shape, model.low, np.int32),
        np.full(shape, 65536, np.int32),
        np.zeros(shape, np.bool_),
        np.zeros(shape, np.uint32),
    )
    image = dataclasses.replace(
        blank_image(*shape, adc_bits=on.adc_bits, lanes=on.lanes),
        ref=np.full(SIZE, model.low >> 8, np.int32),
    )
    return CPulsed(CCrossbar(image, 1, 1), image, cells), model


@pytest.mark.parametrize(
    ("adc_bits", "pulses", "nonlinearity", "spread", "effort"),
    [
        # With codes far finer than the tolerance it is the same loop.
        pytest.param(12, 100, 0.0, 0.1, 0.02, id="fine codes"),
        # The controller knows a step at the target, the loop the one where the cell is.
        pytest.param(12, 100, 2.0, 0.1, 0.25, id="steps that shrink"),
        # A code of a 16th of a level step: 0.018 of one more, in quadrature.
        pytest.param(6, 100, 0.0, 0.3, 0.02, id="codes of 6 bits"),
    ],
)
def test_reaches_the_spread_of_the_loop_in_floats(
    adc_bits: int, pulses: int, nonlinearity: float, spread: float, effort: float
) -> None:
    """Same device, same start: relative spread of the cells, and pulses a cell."""
    kind, on = device(pulses, nonlinearity), chip(adc_bits)
    array, model = erased(kind, on)
    levels = np.random.default_rng(0).integers(1, 4, (SIZE, SIZE))
    settings = derive_settings(kind, on, model, tolerance=0.03, gain=0.5, recheck=True)
    for row in range(SIZE):
        assert not write_row(array, on, settings, 0, row, levels[row]).report.failures
    wanted = kind.conductances(2)[levels]
    reached = array.cells.state * (kind.step(2) / ONE) / wanted - 1.0
    loop = write_verify(
        np.full((SIZE, SIZE + 1), kind.g_off),
        np.column_stack([wanted, np.full(SIZE, kind.g_off)]),
        np.zeros((SIZE, SIZE + 1), np.bool_),
        kind,
        Streams(1, 1),
        0,
    )
    floats = loop.g[:, :-1] / wanted - 1.0
    assert reached.std() == pytest.approx(floats.std(), rel=spread)
    assert reached.mean() == pytest.approx(floats.mean(), abs=0.005)
    assert array.cells.numbers.mean() == pytest.approx(loop.pulses[:, :-1].mean(), rel=effort)
    # Never off by more than the tolerance and half a code.
    half = 0.5 / (1 << settings.fine) / (wanted / kind.step(2))
    assert (np.abs(reached) <= 0.03 + half + 1e-3).all()


def test_numpy_and_c_program_alike() -> None:
    kind, on = device(60, 2.0), chip(6, rows=16, cols=16)
    model = PulseModel.derive(kind, 2)
    random = np.random.default_rng(4)
    fixed = random.random((16, 16)) < 0.05
    cells = Cells(
        model,
        np.full((16, 16), model.low, np.int32),
        random.integers(64000, 67000, (16, 16)).astype(np.int32),
        fixed,
        random.integers(0, 9, (16, 16)).astype(np.uint32),
    )
    image = dataclasses.replace(
        blank_image(16, 16, adc_bits=6, lanes=8), v0=50_000, ref=np.full(16, 9, np.int32)
    )
    slow = PulsedCrossbar(image, cells, 2, 3)
    quick = CPulsed(CCrossbar(image, 2, 3), image, cells)
    settings = derive_settings(kind, on, model, tolerance=0.05, limit=9, average=1)
    for row in range(16):
        levels = random.integers(0, 4, 16)
        want = write_row(slow, on, settings, 1, row, levels)
        assert write_row(quick, on, settings, 1, row, levels) == want
        # What is given up is at least all stuck cells that are to be elsewhere.
        failed = np.array([want.report.failed[c // 8] >> c % 8 & 1 for c in range(16)], np.bool_)
        assert failed[fixed[row] & (levels > 0)].all()
    np.testing.assert_array_equal(quick.cells.state, slow.cells.state)
    np.testing.assert_array_equal(quick.cells.numbers, slow.cells.numbers)


def test_a_cell_that_once_read_right_is_left_alone() -> None:
    """With noise of half a step, judging again and again ends nowhere."""
    kind, on = device(100), chip(6)
    settings = derive_settings(kind, on, PulseModel.derive(kind, 2), tolerance=0.03, limit=40)
    levels = np.full(SIZE, 2)
    counts = []
    for recheck in (False, True):
        array, _ = erased(kind, on)
        noisy = dataclasses.replace(
            blank_image(SIZE, SIZE, adc_bits=6, lanes=8), v0=1 << 18, ref=np.full(SIZE, 9, np.int32)
        )
        array = CPulsed(CCrossbar(noisy, 1, 1), noisy, array.cells)
        how = dataclasses.replace(settings, recheck=recheck)
        counts.append(write_row(array, on, how, 0, 0, levels).report.failures)
    assert counts[0] == 0
    assert counts[1] > 10


def test_settings_that_cannot_be_are_refused() -> None:
    kind, on = device(100), chip(6)
    model = PulseModel.derive(kind, 2)
    assert best_fine(kind, on) == 4
    with pytest.raises(ConfigError, match=r"must be above 0 and at most 1, not 0 and 0\.5$"):
        derive_settings(kind, on, model, tolerance=0.0)
    with pytest.raises(ConfigError, match=r"highest level reads as 96, past the 63 .* fine of 4"):
        derive_settings(kind, on, model, tolerance=0.03, fine=5)
    settings = derive_settings(kind, on, model, tolerance=0.03)
    with pytest.raises(ConfigError, match=r"^Writing takes an average of 0 to 4, not 5$"):
        dataclasses.replace(settings, average=5)
    with pytest.raises(ConfigError, match=r"do not fit a sum of 16; average at most 8 reads$"):
        dataclasses.replace(settings, average=4).check(on.model_copy(update={"adc_bits": 13}))
    with pytest.raises(ConfigError, match=r"^Chip 'custom' has no write port; set program_verify"):
        settings.check(on.with_(program_verify=False))
    with pytest.raises(ConfigError, match=r"^A 1-bit cell has 2 levels, not 4$"):
        settings.check(chip(6, cell_bits=1))
    with pytest.raises(ConfigError, match=r"^The target of a level has 16 bits, 65536 does not"):
        LevelTarget(65536, 0, 1, 1)
    with pytest.raises(ConfigError, match=r"whole beats of 8 of its 64 columns, not 12$"):
        program_row(on, settings, 0, 0, [0] * 12)
    with pytest.raises(ConfigError, match=r"has rows 0 to 63, not 64$"):
        program_row(on, settings, 0, 64, [0] * 8)
    with pytest.raises(ConfigError, match=r"has arrays of a core 0 to 0, not 1$"):
        program_row(on, settings, 0, 0, [0] * 8, array=1)
    with pytest.raises(ConfigError, match=r"^A 2-bit cell has levels 0 to 3$"):
        program_row(on, settings, 0, 0, [4] * 8)
    with pytest.raises(ConfigError, match=r"^An ADC of 1 bits cannot tell the 4 levels"):
        best_fine(kind, on.model_copy(update={"adc_bits": 1}))
    assert WriteSettings(settings.levels, 4, 2, 7, True).words()[0] == 4 | 2 << 4 | 1 << 7 | 7 << 16


def test_tolerances_are_the_widest_of_three() -> None:
    """A share of the conductance, a part of a level step, and half a code, in units of the sum."""
    kind, on = device(100), chip(6)
    model = PulseModel.derive(kind, 2)
    g = kind.conductances(2) / kind.step(2)
    for average in (0, 2):
        units = (1 << average) * 16  # codes to a level step
        for absolute in (0.0, 0.25):
            settings = derive_settings(
                kind, on, model, tolerance=0.03, absolute=absolute, average=average
            )
            wanted = [
                max(int(0.03 * x * units), int(absolute * units), (1 << average) // 2) for x in g
            ]
            assert [level.tolerance for level in settings.levels] == wanted
            assert [level.target for level in settings.levels] == [
                round((x - g[0]) * units) for x in g
            ]
    assert settings.levels[0].tolerance == 16
    plain = derive_settings(kind, on, model, tolerance=0.001, average=2)
    assert plain.levels[0].tolerance == 2


def test_a_mesh_has_no_writer() -> None:
    with pytest.raises(ValueError, match="program_verify is for a tile alone"):
        chip(6, mesh=(2, 1))
    assert chip(6).structure_hash != chip(6, program_verify=False).structure_hash
    assert "program_verify" not in chip(6, program_verify=False).structure
