# SPDX-License-Identifier: Apache-2.0
"""Cells of a core: what its options add to a plain one."""

import pytest

from ohmtwin.arch.chip import Chip
from ohmtwin.fpga.area import core_area
from ohmtwin.fpga.core_cost import core_cost, plain_chip, writer_cost

TINY = Chip(rows=8, cols=16, cell_bits=2, lanes=8, adc_bits=5, rows_per_read=8)


def test_a_plain_chip_has_no_options() -> None:
    coded = TINY.with_(code_a=69, row_budgets=(8,) * 8, row_schedule="baseline", cores=2)
    plain = plain_chip(coded)
    assert plain is not None
    assert plain.structure == TINY.with_(cores=2).structure
    # An ADC that may clip need not hold the sum; without that option there is no such chip.
    assert plain_chip(TINY.with_(adc_bits=3, adc_clip=True)) is None


@pytest.mark.xdist_group("core cost")
def test_a_code_costs_gates_and_settings_do_not() -> None:
    plain = core_cost(TINY)
    coded = core_cost(TINY.with_(code_a=69))
    assert plain.lut > 100
    assert coded.lut > plain.lut
    assert coded.ff > plain.ff
    assert sum(part["lut"] for part in coded.parts.values()) == coded.lut
    assert core_cost(TINY.with_(rows_per_read=4, cores=3, data_words=64)) == plain


@pytest.mark.xdist_group("core cost")
def test_memories_count_by_their_bits() -> None:
    """The table of corrections, and sums of 32 bits beside it."""
    chip = TINY.with_(code_a=69)
    code = chip.an_code
    assert code is not None
    plain, coded = core_area(TINY), core_area(chip)
    assert (plain.unit, plain.unit_bits, plain.fraction) == (0, 0, 0)
    assert coded.unit_bits == chip.outputs_per_beat * code.entries * code.entry_bits
    assert coded.core_bits - coded.unit_bits == chip.outputs * 32
    assert plain.core_bits == TINY.outputs * 32
    assert 8 * coded.unit_bits < coded.unit < coded.core


@pytest.mark.xdist_group("core cost")
def test_a_writer_costs_gates_once_a_tile() -> None:
    chip = TINY.with_(program_verify=True)
    one = writer_cost(chip)
    assert one.lut > 200
    assert one.dsp == 1, "a rate times an error"
    assert sum(part["ff"] for part in one.parts.values()) == one.ff
    with pytest.raises(ValueError, match="has no write port"):
        writer_cost(TINY)
