# SPDX-License-Identifier: Apache-2.0
"""Boards as they are described: clocks, rates, chips that fit and chips that do not."""

import re

import pytest

from ohmtwin.arch.chip import Chip, load_chip
from ohmtwin.arch.errors import CapacityError, ConfigError
from ohmtwin.arch.link import BAUD_RATES, baud_divider
from ohmtwin.fpga.boards import BOARDS, Board, find_board
from ohmtwin.fpga.boards.pll import ECP5_VCO_HZ, ecp5_divisors
from ohmtwin.fpga.resources import KINDS, check_fit, estimate

EVERY = list(BOARDS.values())


@pytest.mark.parametrize("board", EVERY, ids=list(BOARDS))
def test_boards_are_consistent(board: Board) -> None:
    assert board.baud in BAUD_RATES
    assert baud_divider(board.clock_hz, board.baud) >= 4
    assert set(board.capacity) == set(KINDS)
    needed = check_fit(board, board.load_chip(), board.config)
    assert all(0 <= needed[kind] <= board.capacity[kind] for kind in KINDS)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [(25e6, 60e6), (25e6, 50e6), (25e6, 62.5e6), (100e6, 75e6), (48e6, 60e6), (12e6, 36e6)],
)
def test_pll_settings_are_within_the_data_sheet(source: float, wanted: float) -> None:
    found = ecp5_divisors(int(source), int(wanted))
    assert found.output_hz == wanted
    low, high = ECP5_VCO_HZ
    assert low <= found.output_hz * found.post <= high
    assert found.source_hz / found.reference >= 3.125e6
    assert 1 <= found.feedback <= 80
    assert 1 <= found.post <= 128


def test_a_clock_that_cannot_be_made() -> None:
    with pytest.raises(ConfigError, match=r"PLL makes no 61\.7231 MHz out of 25 MHz; choose"):
        ecp5_divisors(25_000_000, 61_723_100)
    with pytest.raises(ConfigError, match="PLL makes no 1 MHz"):
        ecp5_divisors(25_000_000, 1_000_000)


def test_unknown_board() -> None:
    with pytest.raises(ConfigError, match=r"no board 'ulx4'; choose one of ulx3s-85f, "):
        find_board("ulx4")


@pytest.mark.parametrize(
    ("chip", "what"),
    [
        (load_chip("tile32"), "block RAMs"),
        (Chip(cores=8, rows=256, cols=512, lanes=8, rows_per_read=16), "block RAMs"),
        (Chip(cores=32, rows=32, cols=32, lanes=8, rows_per_read=16), "LUTs"),
    ],
)
def test_a_chip_that_cannot_fit_is_refused(chip: Chip, what: str) -> None:
    board = find_board("ulx3s-85f")
    most = re.escape(str(board.capacity["bram" if what == "block RAMs" else "lut"]))
    with pytest.raises(CapacityError, match=rf"needs about \d+ {what}, but board .* has {most}"):
        check_fit(board, chip, board.config)


def test_the_estimate_grows_with_what_it_is_for() -> None:
    board = find_board("ulx3s-85f")
    chip = board.load_chip()
    least = estimate(chip, board.config, "ecp5")
    for more in (chip.with_(cores=4), chip.with_(rows=128)):
        grown = estimate(more, board.config, "ecp5")
        assert all(grown[kind] >= least[kind] for kind in KINDS)
        assert grown["lut"] > least["lut"]
        assert grown["bram"] > least["bram"]
