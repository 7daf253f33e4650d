# SPDX-License-Identifier: Apache-2.0
"""Wires: hand-worked arrays, a small dense nodal solver, badcrossbar, and laws of circuits."""

import itertools
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference_nodal import nodal

from ohmtwin.arch.errors import ConfigError, InputError
from ohmtwin.behavioral import wires_network
from ohmtwin.behavioral.wires import WireModel, admittance, predistort, transfer_matrix
from ohmtwin.behavioral.wires_model import Direction
from ohmtwin.bench.wires import badcrossbar_compute

Array = NDArray[np.float64]

DIRECTIONS: tuple[Direction, ...] = ("forward", "transposed")
WIRES = WireModel(r_row=1.5, r_col=0.7, r_driver=120.0, r_sense=45.0)
ACCESS = replace(WIRES, cell="1t1r", r_access=4e3)
VARIANTS = {
    "single": WIRES,
    "double": replace(WIRES, drive="double"),
    "1t1r": ACCESS,
    "1t1r, double": replace(ACCESS, drive="double"),
}


def cells(shape: tuple[int, int], seed: int = 0) -> Array:
    """Conductances over six decades, some of them 0."""
    random = np.random.default_rng(seed)
    g: Array = 10.0 ** random.uniform(-9, -3, shape)
    g[random.random(shape) < 0.1] = 0.0
    return g


def close(found: Array, expected: Array, relative: float = 1e-12) -> None:
    """Compare currents, relative to the largest."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= relative * np.abs(expected).max()


# Worked by hand: every value below follows from a few lines of series and parallel resistors.


def test_one_cell() -> None:
    g = np.array([[1e-3]])
    wires = WireModel(
        r_row=1.0, r_col=2.0, r_driver=40.0, r_sense=30.0, cell="1t1r", r_access=500.0
    )
    series = 1 / (1000 + 500 + 1 + 40 + 2 + 30)
    two_drivers = 1 / (1000 + 500 + (1 + 40) / 2 + 2 + 30)
    columns_driven_twice = 1 / (1000 + 500 + (2 + 40) / 2 + 1 + 30)
    double = replace(wires, drive="double")
    close(transfer_matrix(g, wires), np.array([[series]]), 1e-15)
    close(transfer_matrix(g, wires, "transposed"), np.array([[series]]), 1e-15)
    close(transfer_matrix(g, double), np.array([[two_drivers]]), 1e-15)
    close(transfer_matrix(g, double, "transposed"), np.array([[columns_driven_twice]]), 1e-15)
    close(admittance(g, double).driver, np.array([[two_drivers]]), 1e-15)


def test_one_row_of_two_cells() -> None:
    # The far cell sees 2/3 of the voltage at the near one, that is 3/8 V; each cell with its
    # column is 2 ohm.
    wires = WireModel(r_row=1.0, r_col=0.5, r_driver=1.0, r_sense=0.5)
    found = admittance(np.ones((1, 2)), wires)
    close(found.transfer, np.array([[3 / 16, 1 / 8]]), 1e-15)
    close(found.driver, np.array([[5 / 16]]), 1e-15)


def test_two_rows_of_one_cell() -> None:
    # The row that is not driven takes current to ground; row 0 is farther from the amplifier.
    wires = WireModel(r_row=1.0, r_col=1.0, r_driver=1.0, r_sense=1.0)
    found = admittance(np.ones((2, 1)), wires)
    close(found.transfer, np.array([[3 / 26], [2 / 13]]), 1e-15)
    close(found.driver, np.array([[5 / 26, -1 / 13], [-1 / 13, 3 / 13]]), 1e-15)


def test_sneak_path() -> None:
    # No cell at row 0, column 1, and yet current from one to the other through three cells; the
    # only resistance besides them is that of the drivers of rows and of the columns' amplifiers.
    g = np.array([[1.0, 0.0], [1.0, 1.0]])
    wires = WireModel(r_driver=1.0, r_sense=1.0)
    # Columns at a and b, row 1 at w: 3 w = a + b, 2 b = w, (1 - a) / 2 = a + (a - w).
    a, b = 5 / 21, 1 / 21
    assert transfer_matrix(g, wires)[0] == pytest.approx([a, b], rel=1e-14)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("drive", ["single", "double"])
def test_without_resistance_the_conductances_are_untouched(drive: Any, direction: Any) -> None:
    g = cells((9, 14))
    found = admittance(g, WireModel(drive=drive), direction)
    np.testing.assert_array_equal(found.transfer, g)
    np.testing.assert_array_equal(transfer_matrix(g, WireModel(drive=drive), direction), g)
    totals = g.sum(axis=1 if direction == "forward" else 0)
    np.testing.assert_allclose(found.driver, np.diag(totals), rtol=1e-15)


# Against the dense solver.


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (2, 2), (3, 5), (6, 4), (6, 6)])
def test_equals_dense_nodal_analysis(
    shape: tuple[int, int], variant: str, direction: Direction
) -> None:
    wires = VARIANTS[variant]
    g = cells(shape, 10 * shape[0] + shape[1])
    units = np.eye(shape[0] if direction == "forward" else shape[1])
    out, delivered = nodal(g, wires, direction, units)
    expected = out if direction == "forward" else out.T
    assert expected.any()
    found = admittance(g, wires, direction)
    np.testing.assert_allclose(found.transfer, expected, rtol=1e-12)
    np.testing.assert_allclose(transfer_matrix(g, wires, direction), expected, rtol=1e-12)
    np.testing.assert_allclose(found.driver, delivered, rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_superposition(data: st.DataObject) -> None:
    """The transfer matrix is exact for every set of driven rows, and for any voltages."""
    rows, cols = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    g = cells((rows, cols), data.draw(st.integers(0, 99))) + 1e-6
    wires = VARIANTS[data.draw(st.sampled_from(sorted(VARIANTS)))]
    direction = data.draw(st.sampled_from(DIRECTIONS))
    lines = rows if direction == "forward" else cols
    mask = data.draw(st.lists(st.booleans(), min_size=lines, max_size=lines))
    volts = 0.2 * np.array(mask, dtype=np.float64)
    out, delivered = nodal(g, wires, direction, volts[None, :])
    found = admittance(g, wires, direction)
    scale = 0.2 * found.driver.diagonal().max()
    sensed = volts @ (found.transfer if direction == "forward" else found.transfer.T)
    np.testing.assert_allclose(sensed, out[0], rtol=0, atol=1e-13 * scale)
    np.testing.assert_allclose(volts @ found.driver, delivered[0], rtol=0, atol=1e-13 * scale)


# Against badcrossbar: a forward read driven from one end.


@pytest.fixture(scope="module")
def compute() -> Callable[..., Any]:
    try:
        return badcrossbar_compute()
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("ohm", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_equals_badcrossbar(compute: Callable[..., Any], size: int, ohm: float) -> None:
    random = np.random.default_rng([size, int(10 * ohm)])
    g = random.uniform(1e-6, 1e-4, (size, size))
    volts = random.uniform(0, 1, (3, size))
    volts[1] = 0.2 * (volts[1] < 0.5)
    solved = compute(volts.T, 1 / g, r_i=ohm, node_voltages=False).currents
    found = admittance(g, WireModel(r_row=ohm, r_col=ohm))
    close(volts @ found.transfer, solved.output)
    close(volts @ transfer_matrix(g, WireModel(r_row=ohm, r_col=ohm)), solved.output)
    # At the other interface, into the rows: the sum over the cells of a row. badcrossbar's own
    # current of the first segment is a difference of nearly equal voltages over a small resistance.
    close(volts @ found.driver, solved.device.sum(axis=1).T)
    cancelled = np.finfo(np.float64).eps * size / ohm
    first = solved.word_line[:, 0].T
    np.testing.assert_allclose(volts @ found.driver, first, rtol=1e-12, atol=cancelled)


@pytest.mark.parametrize(("r_row", "r_col"), [(2.0, 0.3), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (1, 16), (16, 1)])
def test_equals_badcrossbar_on_other_shapes(
    compute: Callable[..., Any], shape: tuple[int, int], r_row: float, r_col: float
) -> None:
    random = np.random.default_rng(shape)
    g = random.uniform(1e-6, 1e-4, shape)
    volts = random.uniform(-1, 1, (2, shape[0]))
    with np.errstate(divide="ignore", invalid="ignore"):
        solved = compute(
            volts.T, 1 / g, r_i_word_line=r_row, r_i_bit_line=r_col, node_voltages=False
        ).currents
    close(volts @ transfer_matrix(g, WireModel(r_row=r_row, r_col=r_col)), solved.output)


def test_a_missing_reference_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "badcrossbar"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "badcrossbar", None)
    with pytest.raises(InputError, match=r"pip install --no-deps badcrossbar==1\.1\.0"):
        badcrossbar_compute()


# The two solvers of ours.


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", [(16, 16), (8, 24), (24, 8)])
def test_ladder_equals_sparse_network(
    shape: tuple[int, int], variant: str, direction: Direction
) -> None:
    g = cells(shape, 5)
    fields = ("r_row", "r_col", "r_driver", "r_sense")
    for zero in itertools.chain([()], itertools.combinations(fields, 2), [fields]):
        wires = replace(VARIANTS[variant], **dict.fromkeys(zero, 0.0))
        transfer, driver = wires_network.solve(wires.branches(g), wires, direction)
        expected = transfer if direction == "forward" else transfer.T
        found = admittance(g, wires, direction)
        close(found.transfer, expected, 1e-11)
        close(transfer_matrix(g, wires, direction), expected, 1e-11)
        close(found.driver, driver, 1e-11)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_shorted_cells(direction: Direction) -> None:
    g = cells((5, 7)) + 1e-6
    g[1, 2] = g[3, 2] = g[3, 6] = np.inf
    near = np.where(np.isinf(g), 1e6, g)
    for wires in (WIRES, replace(WIRES, drive="double"), replace(WIRES, r_row=0.0)):
        found, limit = (admittance(cell, wires, direction) for cell in (g, near))
        close(found.transfer, limit.transfer, 1e-6)
        close(found.driver, limit.driver, 1e-6)
        close(transfer_matrix(g, wires, direction), found.transfer, 0.0)
    assert transfer_matrix(np.array([[np.inf]]), WIRES) == pytest.approx(1 / (1.5 + 120 + 0.7 + 45))
    # Behind an access transistor a short is a resistor like any other.
    transistors = np.where(np.isinf(g), 1 / ACCESS.r_access, 1 / (1 / near + ACCESS.r_access))
    close(transfer_matrix(g, ACCESS, direction), transfer_matrix(transistors, WIRES, direction))


def test_open_connections() -> None:
    g = cells((4, 3)) + 1e-6
    for field in ("r_driver", "r_sense"):
        assert not transfer_matrix(g, replace(WIRES, **{field: np.inf})).any()
    # Open row wires between the cells: only those of the first column are reached.
    single = WireModel(r_row=np.inf, r_driver=1.0)
    assert not transfer_matrix(g, single).any()


def test_singular_networks_are_named() -> None:
    g = cells((4, 3)) + 1e-6
    g[2, 1] = 0.0
    with pytest.raises(
        ConfigError,
        match=r"singular: the row wire at row 2, column 1 is floating, .* or the cell there",
    ):
        transfer_matrix(g, WireModel(r_row=np.inf))
    with pytest.raises(ConfigError, match=r"the column wire at row 0, column 0 and 5 more nodes"):
        transfer_matrix(np.diag([0.0, 0.0, 1.0]), WireModel(r_col=1.0, r_sense=np.inf))
    g[2, 1] = np.inf
    for direction, message in (
        ("forward", "the driver of row 2 and the sense amplifier of column 1"),
        ("transposed", "the driver of column 1 and the sense amplifier of row 2"),
    ):
        with pytest.raises(ConfigError, match=f"singular: 0 ohm joins {message}; give"):
            transfer_matrix(g, WireModel(), direction)
    g[0, 1] = np.inf
    with pytest.raises(ConfigError, match=r"0 ohm joins the driver of row 0 and the driver of row"):
        transfer_matrix(g, WireModel(r_sense=1.0))


# What every network of resistors keeps.


resistance = st.floats(0.01, 1e3) | st.just(0.0)


@st.composite
def networks(draw: st.DrawFn) -> tuple[Array, WireModel, Direction]:
    shape = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    wires = WireModel(
        r_row=draw(resistance),
        r_col=draw(resistance),
        r_driver=draw(resistance),
        r_sense=draw(resistance),
        drive=draw(st.sampled_from(("single", "double"))),
        cell="1t1r",
        r_access=draw(resistance),
    )
    return cells(shape, draw(st.integers(0, 999))), wires, draw(st.sampled_from(DIRECTIONS))


@settings(max_examples=80, deadline=None)
@given(networks(), st.integers(0, 999))
def test_passive(network: tuple[Array, WireModel, Direction], seed: int) -> None:
    """No current or energy comes from nowhere."""
    g, wires, direction = network
    found = admittance(g, wires, direction)
    by_line = found.transfer if direction == "forward" else found.transfer.T
    scale = found.driver.max()
    slack = 1e-12 * scale
    assert by_line.min() >= 0
    # All that the drivers deliver, less what lines not driven take, reaches the amplifiers.
    np.testing.assert_allclose(found.driver.sum(axis=1), by_line.sum(axis=1), rtol=0, atol=slack)
    np.testing.assert_array_equal(found.driver, found.driver.T)
    assert (found.driver - np.diag(found.driver.diagonal())).max() <= 0
    own = wires.branches(g) if direction == "forward" else wires.branches(g).T
    assert (by_line.sum(axis=1) - own.sum(axis=1)).max() <= slack
    assert (by_line.sum(axis=0) - own.sum(axis=0)).max() <= slack
    volts = np.random.default_rng(seed).uniform(-1, 1, len(by_line))
    delivered, out = volts @ found.driver, volts @ by_line
    drivers = 2 if wires.drive == "double" else 1
    lost = wires.r_sense * (out @ out) + wires.r_driver / drivers * (delivered @ delivered)
    assert volts @ delivered >= lost - slack


@settings(max_examples=60, deadline=None)
@given(networks(), st.data())
def test_monotonic(network: tuple[Array, WireModel, Direction], data: st.DataObject) -> None:
    """Rayleigh: all lines driven, the whole current grows with a cell and shrinks with a wire."""
    g, wires, direction = network
    whole = transfer_matrix(g, wires, direction).sum()
    more = g.copy()
    more.flat[data.draw(st.integers(0, g.size - 1))] += data.draw(st.floats(1e-9, 1e-3))
    assert transfer_matrix(more, wires, direction).sum() >= whole * (1 - 1e-12)
    field = data.draw(st.sampled_from(("r_row", "r_col", "r_driver", "r_sense", "r_access")))
    longer = replace(wires, **{field: getattr(wires, field) + data.draw(st.floats(1e-3, 1e3))})
    assert transfer_matrix(g, longer, direction).sum() <= whole * (1 + 1e-12)


@settings(max_examples=40, deadline=None)
@given(networks())
def test_reciprocal(network: tuple[Array, WireModel, Direction]) -> None:
    """Driven from one end, an array reads the same in both directions if the ends are alike."""
    g, wires, direction = network
    there = replace(wires, drive="single")
    back = replace(there, r_driver=there.r_sense, r_sense=there.r_driver)
    other = DIRECTIONS[1 - DIRECTIONS.index(direction)]
    found, expected = (
        admittance(g, there, direction).transfer,
        admittance(g, back, other).transfer,
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * g.max())


def test_driving_both_ends_helps_the_far_cells() -> None:
    g = np.full((32, 32), 5e-5)
    single, double = (
        transfer_matrix(g, WireModel(r_row=5.0, r_col=5.0, drive=drive))
        for drive in ("single", "double")
    )
    assert single[0, 0] > single[0, -1]
    # The drop goes with length times the current in it: a quarter when fed from both ends.
    assert 1 - double[-1].min() / 5e-5 < 0.5 * (1 - single[-1].min() / 5e-5)
    np.testing.assert_allclose(double, double[:, ::-1], rtol=1e-13)


# Pre-distortion.


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("variant", ["single", "double", "1t1r"])
def test_predistortion_reaches_what_the_range_allows(variant: str, direction: Direction) -> None:
    levels = np.random.default_rng(3).integers(0, 4, (48, 64))
    target = 1e-6 + levels * 1.3e-5
    wires = replace(VARIANTS[variant], r_access=1e3 if variant == "1t1r" else 0.0)
    found = predistort(target, wires, g_min=1e-8, g_max=1e-3, iterations=25, direction=direction)
    assert found.history[0] > 0.05
    assert found.residual < 1e-6 * found.history[0]
    assert found.residual == min(found.history)
    transfer = transfer_matrix(found.g, wires, direction)
    np.testing.assert_array_equal(transfer, found.transfer)
    assert np.abs(transfer - target).max() / target.max() == found.residual


def test_predistortion_keeps_the_range_and_the_best() -> None:
    random = np.random.default_rng(4)
    target = random.uniform(1e-6, 4e-5, (32, 32))
    wires = WireModel(r_row=5.0, r_col=5.0, r_driver=200.0, r_sense=200.0)
    found = predistort(target, wires, g_min=1e-6, g_max=4e-5, iterations=8)
    assert len(found.history) == 9
    assert found.g.min() >= 1e-6
    assert found.g.max() <= 4e-5
    assert found.residual == min(found.history) <= found.history[0]
    none = predistort(target, wires, g_min=1e-6, g_max=4e-5, iterations=0)
    np.testing.assert_array_equal(none.g, target)
    assert none.history == (none.residual,)
    assert none.residual == found.history[0]


def test_predistortion_where_steps_overshoot_never_ends_worse() -> None:
    target = np.full((64, 64), 1e-4)
    wires = WireModel(r_row=20.0, r_col=20.0)
    found = predistort(target, wires, g_min=0.0, g_max=1e-1, iterations=6)
    at_best = np.abs(transfer_matrix(found.g, wires) - target).max() / 1e-4
    assert at_best == found.residual == min(found.history)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"g_min": -1e-6}, "needs 0 <= g_min < g_max"),
        ({"g_min": 1e-4}, "needs 0 <= g_min < g_max"),
        ({"g_max": np.nan}, "needs 0 <= g_min < g_max"),
        ({"iterations": -1}, "iterations must be 0 or more, not -1"),
        ({"target": np.zeros((2, 2))}, "hold a value above 0"),
        ({"target": np.full((2, 2), np.inf)}, "must be finite"),
        ({"target": np.full((2, 2), -1.0)}, "target must be 0 siemens or more, not -1.0 at row 0"),
    ],
)
def test_predistortion_refuses(change: dict[str, Any], message: str) -> None:
    values = {"target": np.ones((2, 2)), "g_min": 0.0, "g_max": 1e-4} | change
    target = values.pop("target")
    with pytest.raises(ConfigError, match=message):
        predistort(target, WIRES, **values)


# Bad input.


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"r_row": -1.0}, "Wire field r_row must be 0 ohm or more, not -1.0"),
        ({"r_col": float("nan")}, "Wire field r_col must be 0 ohm or more, not nan"),
        ({"r_driver": "5"}, "Wire field r_driver must be a number of ohm, not '5'"),
        ({"r_sense": True}, "Wire field r_sense must be a number of ohm, not True"),
        ({"drive": "both"}, 'Wire field drive must be "single" or "double", not \'both\''),
        ({"cell": "2T2R"}, 'Wire field cell must be "passive" or "1t1r", not \'2T2R\''),
        ({"r_access": 100.0}, "Wire field r_access must be 0 for passive cells"),
        ({"cell": "1t1r", "r_access": float("inf")}, "Wire field r_access must be finite"),
    ],
)
def test_wire_fields_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WireModel(**fields)


@pytest.mark.parametrize(
    ("g", "message"),
    [
        ([[1.0, -2.0]], "must be 0 siemens or more, not -2.0 at row 0, column 1"),
        ([[1.0], [np.nan]], "not nan at row 1, column 0"),
        ([1.0], r"must be \[rows, cols\], not of shape \[1\]"),
        (np.ones((0, 3)), r"not of shape \[0, 3\]"),
    ],
)
def test_conductances_are_checked(g: Any, message: str) -> None:
    for solve in (transfer_matrix, admittance):
        with pytest.raises(ConfigError, match=message):
            solve(np.array(g), WIRES)


def test_directions_are_checked() -> None:
    with pytest.raises(ConfigError, match='must be "forward" or "transposed", not \'back\''):
        transfer_matrix(np.ones((2, 2)), WIRES, "back")


def test_values_beyond_doubles_are_refused() -> None:
    with pytest.raises(ConfigError, match="differ by more than double precision holds"):
        transfer_matrix(np.full((2, 2), 1e300), WireModel(r_row=1e300, r_col=1.0))
