# SPDX-License-Identifier: Apache-2.0
"""What a chip's converters can do: widths of ADCs, sense amplifiers, reads of one slice."""

import json
import math
from typing import TYPE_CHECKING

from .encodings import WeightEncoding
from .inputs import InputEncoding

if TYPE_CHECKING:
    from .chip import Chip

__all__ = ["check_converter", "check_slices"]


def check_slices(chip: "Chip") -> None:
    """Refuse a chip whose reads cannot convert single slices.

    Raises
    ------
    ValueError
        With what does not go together, and the way out.
    """
    span = chip.columns_per_output
    if chip.cols % (chip.lanes * span):
        raise ValueError(
            f"slice_reads converts {chip.lanes} outputs of {span} columns a beat, which "
            f"{chip.cols} columns are no multiple of; set lanes = "
            f"{math.gcd(chip.cols // span, chip.lanes)}"
        )
    for refused, key, why in (
        (chip.code_a > 0, "code_a", "a code needs all slices of the same rows"),
        (chip.program_verify, "program_verify", "verifying reads convert neighbouring columns"),
        (
            chip.weight_encoding is WeightEncoding.FLIPPED,
            "weight_encoding = 'flipped'",
            "flags come in the order of columns",
        ),
        (
            bool(chip.input_code.thresholds),
            f"input_encoding = '{chip.input_encoding}'",
            "its passes are too many",
        ),
    ):
        if refused:
            raise ValueError(f"slice_reads does not go with {key}: {why}; leave out one of them")


def _check_sense_amplifier(chip: "Chip") -> None:
    wanted = {
        "adc_bits": 1,
        "adc_clip": False,
        "adc_step": 1,
        "row_budgets": (),
        "input_encoding": InputEncoding.UNSIGNED,
        "weight_encoding": WeightEncoding.XNOR,
        "weight_bits": 1,
    }
    for key, value in wanted.items():
        if getattr(chip, key) != value:
            shown = json.dumps(value)
            raise ValueError(
                f"a sense amplifier gives one bit for binary weights, which does not go with "
                f"{key} = {json.dumps(getattr(chip, key))}; set {key} = {shown}, or leave "
                "sense_amplifier out"
            )


def check_converter(chip: "Chip") -> None:
    """Refuse ADCs that lose what nobody has said may be lost.

    Raises
    ------
    ValueError
        With the width that loses nothing, and the other ways out.
    """
    if chip.sense_amplifier:
        _check_sense_amplifier(chip)
        return
    if chip.adc_step not in (1 << k for k in range(9)):
        raise ValueError(f"adc_step must be a power of two up to 256, not {chip.adc_step}")
    if chip.full_code >> 16:
        raise ValueError(
            f"codes of {chip.adc_bits} bits in steps of {chip.adc_step} levels count more than "
            f"any sum has; lower adc_step"
        )
    most = chip.most_rows
    needed = chip.adc_bits_for(most)
    if chip.adc_bits >= needed or chip.adc_clip:
        return
    fits = next((n for n in range(most, 0, -1) if chip.adc_bits_for(n) <= chip.adc_bits), 0)
    what = "row_budgets" if chip.row_budgets else "rows_per_read"
    digit = chip.input_code.top_digit
    driven = f" driven with up to {digit} read voltages" if digit > 1 else ""
    step = 1
    highest = chip.cell_code.highest_code(most * digit)
    while (highest + step // 2) // step >> chip.adc_bits:
        step *= 2
    raise ValueError(
        f"{most} rows of {chip.cell_bits}-bit cells{driven} need an ADC of {needed} bits, "
        f"{chip.adc_bits} were given; raise adc_bits to {needed}"
        + (f", lower {what} to {fits}" if fits else "")
        + (f", let codes count more levels (adc_step = {step})" if step <= 256 else "")
        + " or let sums saturate (adc_clip = true)"
    )
