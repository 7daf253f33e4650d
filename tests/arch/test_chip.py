# SPDX-License-Identifier: Apache-2.0
"""Chip configuration: validation, what follows from it, the standard chips."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ohmtwin.arch.chip import Chip, RowSchedule, chip_names, load_chip
from ohmtwin.arch.errors import ConfigError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"adc_bits": 5},
            "16 rows of 2-bit cells need an ADC of 6 bits, 5 were given; raise adc_bits to 6, "
            "lower rows_per_read to 10, let codes count more levels (adc_step = 2) or let sums "
            "saturate (adc_clip = true)",
        ),
        ({"cell_bits": 3}, "cell_bits must be 1, 2 or 4, not 3"),
        ({"lanes": 12}, "lanes must be a power of two that divides the columns (128), not 12"),
        ({"lanes": 64}, "lanes must be at most 8 outputs a beat, 32 for 2-bit cells, not 64"),
        ({"rows_per_read": 200}, "rows_per_read must be at most the rows of an array (128)"),
        ({"adc_step": 3}, "adc_step must be a power of two up to 256, not 3"),
        ({"adc_bits": 10, "adc_step": 128}, "in steps of 128 levels count more than any sum has"),
        ({"row_budgets": (4, 4)}, "row_budgets must be 8 numbers, one a bit plane, the least"),
        (
            {"row_budgets": (16,) * 7 + (0,)},
            "the row budget of plane 7 must be 1 to the rows of an array (128), not 0",
        ),
        (
            {"row_budgets": (32,) + (16,) * 7},
            "32 rows of 2-bit cells need an ADC of 7 bits, 6 were given; raise adc_bits to 7, "
            "lower row_budgets to 21,",
        ),
        (
            {"slice_reads": True, "row_budgets": (16,) * 8},
            "row_budgets must be 32 numbers, one a bit plane, the least significant first, "
            "4 slices each, not 8",
        ),
        (
            {"slice_reads": True, "row_budgets": [[16] * 4] * 7 + [[16, 16, 129, 16]]},
            "the row budget of plane 7, slice 2, must be 1 to the rows of an array (128), not 129",
        ),
        (
            {"slice_reads": True, "row_budgets": [[16] * 4] * 7 + [[16, 16, 22, 16]]},
            "22 rows of 2-bit cells need an ADC of 7 bits, 6 were given; raise adc_bits to 7, "
            "lower row_budgets to 21,",
        ),
        (
            {"slice_reads": True, "row_budgets": [[16] * 8] * 4},
            "row_budgets of slices must be 8 lists, one a bit plane, as long as there are slices, "
            "not lists of 8, 8, 8, 8",
        ),
        ({"slice_reads": True, "row_budgets": [[16] * 4] * 7 + [[16] * 3]}, "lists of 4, 4, 4, 4"),
        (
            {
                "weight_encoding": "xnor",
                "cell_bits": 1,
                "row_schedule": "baseline",
                "rows_per_read": 100,
            },
            "rows_per_read must be at most the inputs of an array (64, of two rows each), not 100",
        ),
        (
            {"slice_reads": True, "cols": 64, "lanes": 32},
            "slice_reads converts 32 outputs of 4 columns a beat, which 64 columns are no multiple "
            "of; set lanes = 16",
        ),
        (
            {"slice_reads": True, "program_verify": True},
            "slice_reads does not go with program_verify: verifying reads convert neighbouring "
            "columns; leave out one of them",
        ),
        (
            {"slice_reads": True, "code_a": 185},
            "slice_reads does not go with code_a: a code needs all slices of the same rows",
        ),
        ({"slice_reads": True, "weight_encoding": "flipped"}, "with weight_encoding = 'flipped'"),
        ({"slice_reads": True, "input_encoding": "unary"}, "with input_encoding = 'unary'"),
        ({"data_words": 100}, "data_words must be a power of two, not 100"),
        ({"cores": 33}, "less than or equal to 32"),
        ({"rows": 100}, "multiple of 8"),
    ],
)
def test_refusals_name_the_limit(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        Chip(**changes)


def test_a_changed_chip_that_cannot_be_is_bad_input() -> None:
    with pytest.raises(ConfigError, match=r"^chip 'mine': slice_reads does not go with program_"):
        Chip(name="mine", slice_reads=True).with_(program_verify=True)


def test_hash_covers_structure_only() -> None:
    chip = Chip()
    assert chip.structure_hash == chip.with_(name="other").structure_hash
    assert chip.structure_hash == chip.with_(row_schedule=RowSchedule.BASELINE).structure_hash
    assert chip.structure_hash == chip.with_(rows_per_read=8).structure_hash
    # So do slices that are read by themselves; as long as they are not, nothing is.
    sliced = chip.with_(slice_reads=True)
    assert (
        sliced.structure_hash != chip.structure_hash == chip.with_(slice_reads=False).structure_hash
    )
    assert sliced.with_(lanes=4).beats == chip.beats // 2
    # That there are budgets makes registers, what they are does not.
    first, second = (chip.with_(row_budgets=(rows,) * 8) for rows in (16, 4))
    assert first.structure_hash == second.structure_hash != chip.structure_hash
    for change in ({"cores": 5}, {"lanes": 4}, {"adc_bits": 7}, {"rows": 120}, {"fifo_words": 256}):
        assert chip.structure_hash != chip.with_(**change).structure_hash


@pytest.mark.parametrize(
    ("lanes", "cell_bits", "width", "words", "beats_per_word"),
    [(8, 2, 2, 16, 1), (1, 2, 1, 32, 4), (2, 1, 1, 16, 4), (16, 4, 8, 8, 1), (8, 1, 1, 16, 1)],
)
def test_accumulator_words(
    lanes: int, cell_bits: int, width: int, words: int, beats_per_word: int
) -> None:
    chip = Chip(lanes=lanes, cell_bits=cell_bits, adc_bits=8)
    assert (chip.outputs_per_beat, chip.acc_words, chip.beats_per_word) == (
        width,
        words,
        beats_per_word,
    )
    assert chip.acc_words * chip.beats_per_word == chip.beats


@pytest.mark.parametrize(("lanes", "group"), [(1, 16), (8, 16), (32, 32)])
def test_planning_never_takes_longer_than_converting(lanes: int, group: int) -> None:
    chip = Chip(lanes=lanes)
    assert chip.planner_group == group
    assert -(-chip.rows // group) <= chip.beats


def test_standard_chips_load_in_order_of_size() -> None:
    names = chip_names()
    sizes = [load_chip(name).cores for name in names]
    assert names[0] == "tile4"
    assert sizes == sorted(sizes)
    assert sizes[-1] == 32


def test_unknown_standard_chip() -> None:
    with pytest.raises(ConfigError, match="There is no standard chip 'tile5'; choose one of tile4"):
        load_chip("tile5")


def test_unknown_key_names_line_and_neighbour(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("cores = 4\n\nrow_per_read = 16\n")
    with pytest.raises(ConfigError, match=r"line 3.*'row_per_read'.*'rows_per_read'"):
        load_chip(path)


def test_wrong_adc_in_a_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "narrow.toml"
    path.write_text("adc_bits = 4\n")
    with pytest.raises(ConfigError, match="16 rows of 2-bit cells need an ADC of 6 bits") as error:
        load_chip(path)
    assert "narrow.toml" in str(error.value)
    assert "\n" not in str(error.value)


BITS = {"weight_encoding": "xnor", "cell_bits": 1}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight_bits": 3}, r"weight_bits must be 1, 2, 4 or 8, not 3"),
        ({"weight_bits": 2, "cell_bits": 4}, r"wider than a weight of 2; set cell_bits = 2 or"),
        ({"weight_bits": 1, "cell_bits": 1}, r"the encoding offset cannot hold; set .* = 'xnor'"),
        ({"weight_encoding": "xnor"}, r"in cells of 1 bit, not 2; set cell_bits = 1"),
        (BITS, r"drives a row for every input, .* set row_schedule = 'baseline'"),
        ({**BITS, "rows": 120}, r"rows must be a multiple of 16 .* not 120"),
        (
            {**BITS, "row_schedule": "baseline", "rows": 16},
            r"inputs of an array \(8, of two rows each\), not 16",
        ),
        ({"weight_encoding": "ternary"}, r"ternary weights have 2 bits, not 8"),
        ({"weight_encoding": "ternary", "weight_bits": 2}, r"cells of 1 bit, not 2"),
        ({"weight_encoding": "flipped", "code_a": 69}, r"an AN code is for the encoding offset"),
        (
            {"weight_encoding": "flipped", "rows_per_read": 22, "adc_bits": 5},
            r"22 rows of 2-bit cells need an ADC of 6 bits, 5 were given; .* rows_per_read to 21",
        ),
    ],
)
def test_encodings_that_cells_cannot_hold(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Chip(**fields)


def test_encodings_at_their_default_leave_the_hash_alone() -> None:
    chip = Chip()
    assert chip.with_(weight_encoding="offset", weight_bits=8).structure_hash == chip.structure_hash
    assert not {"weight_encoding", "weight_bits"} & chip.structure.keys()
    others = [chip.with_(weight_encoding="differential"), chip.with_(weight_bits=4)]
    others.append(chip.with_(weight_encoding="flipped"))
    assert len({one.structure_hash for one in (chip, *others)}) == 4
