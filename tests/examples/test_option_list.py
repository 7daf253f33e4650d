# SPDX-License-Identifier: Apache-2.0
"""`make options` leaves no option out, and its chips hold the networks; here without the RTL."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

import ohmtwin as ot
from ohmtwin.arch import chip as chip_module
from ohmtwin.arch.encodings import WeightEncoding
from ohmtwin.arch.inputs import InputEncoding

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def options() -> ModuleType:
    """The script."""
    pytest.importorskip("sklearn", reason="pip install scikit-learn")
    pytest.importorskip("mlxtend", reason="pip install mlxtend")
    sys.path.insert(0, str(EXAMPLES))
    try:
        import options
    finally:
        sys.path.remove(str(EXAMPLES))
    return options


def test_no_option_is_left_out(options: ModuleType) -> None:
    used = {key for option in options.OPTIONS.values() for key in option.changes}
    assert used >= chip_module._OPTIONS
    chips = [
        ot.Chip().with_(**option.changes)
        for option in options.OPTIONS.values()
        if "cols" not in option.changes
    ]
    assert {chip.input_encoding for chip in chips} == set(InputEncoding)
    assert {chip.weight_encoding for chip in chips} == set(WeightEncoding)


def test_ideal_arrays_of_every_option_give_golden(options: ModuleType, tmp_path: Path) -> None:
    """All chips hold the smaller network."""
    on = options.demo("digits")
    for name, option in options.OPTIONS.items():
        chip = ot.load_chip(on.chip).with_(cols=on.columns).with_(name=name, **option.changes)
        compiled = options.compile_small(on.network(option.form, tmp_path), chip, "ideal")
        levels = ot.verify(compiled, on.pictures()[0][:2], levels=("golden", "fast")).levels
        assert (levels["fast"].mismatches == 0) == option.exact, name
        assert levels["fast"].values > 80, name


def test_what_does_not_fit_is_a_row_with_the_reason(options: ModuleType, tmp_path: Path) -> None:
    """If that is expected of the network; otherwise it is an error."""
    option = options.OPTIONS["sense amplifiers"]
    small = replace(option, changes={**option.changes, "rows": 32, "rows_per_read": 16})
    on = options.demo("digits")
    with pytest.raises(ot.InputError, match="adds up 64 inputs, a sense amplifier decides on one"):
        options.run("sense amplifiers", small, on, 2, tmp_path, lambda *_: None)
    expected = replace(small, refused=("digits",))
    row = options.run("sense amplifiers", expected, on, 2, tmp_path, lambda *_: None)
    assert "adds up 64 inputs, a sense amplifier decides on one read" in row.refused
    assert row.agrees
    assert row.values == 0


def test_differences_are_seen(options: ModuleType) -> None:
    row = options.Row("none", "digits", ideal="equal")
    assert row.agrees
    for changes in ({"differing": 1}, {"counters": False}, {"ideal": "3 differ"}):
        assert not replace(row, **changes).agrees
