# SPDX-License-Identifier: Apache-2.0
"""Ports that the parts of an emulated crossbar share."""

from amaranth.hdl import Shape, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...arch.chip import Chip
from ...arch.formats import FRACTION_BITS
from ...rtl.checks import check_chip
from ...rtl.macro import BEAT_BITS
from .gaussian import MAGNITUDE_BITS
from .image import ADDRESS_BITS, EmulatorConfig, Noise

__all__ = [
    "SERIAL_BITS",
    "LinkSignature",
    "load_signature",
    "sums_layout",
    "voltage_shape",
]

SERIAL_BITS = 2
"""Of the number that tells one read from the next."""

load_signature = wiring.Signature({"en": Out(1), "addr": Out(ADDRESS_BITS), "word": Out(32)})
"""The port through which an image is written, from its writer: ``word`` goes to ``addr`` in every
cycle in which ``en`` is 1. :mod:`.image` has the map of addresses."""


class LinkSignature(wiring.Signature):
    """Between the two halves of an emulated crossbar, from the seam.

    Only registers cross it, so that the clock of the seam's side may be held for any cycle.

    Members
    -------
    serial : Out(2)
        Counts reads, modulo 4: when it changes, a read is to be made.
    rows, beats : Out(rows), Out(10)
        The read; they stand still until the next.
    taken : Out(range(beats))
        Beats of the read that the fabric has taken.
    ready, more : In(1), In(1)
        Beat number ``taken`` of the read is there, and so is the one behind it.
    beat : In(lanes * adc_bits)
        That beat.
    """

    def __init__(self, chip: Chip) -> None:
        check_chip(chip)
        super().__init__(
            {
                "serial": Out(SERIAL_BITS),
                "rows": Out(chip.rows),
                "beats": Out(BEAT_BITS),
                "taken": Out(range(chip.beats + 1)),
                "ready": In(1),
                "more": In(1),
                "beat": In(chip.lanes * chip.adc_bits),
            }
        )


def sums_layout(chip: Chip, config: EmulatorConfig) -> data.StructLayout:
    """What the rows driven add up to in a column: ``current``, and variance ``cells``."""
    bits = config.widths.cell + (chip.rows - 1).bit_length()
    return data.StructLayout(
        {"current": signed(bits), "cells": signed(bits) if config.has_variance else 0}
    )


def voltage_shape(chip: Chip, config: EmulatorConfig) -> Shape:
    """What is converted: ``current + noise - reference``, 4096 to a code."""
    noise = 0
    if config.noise != Noise.NONE:
        sigma = (config.widths.variance + 1) // 2
        noise = sigma + MAGNITUDE_BITS - FRACTION_BITS + 1
    # A sum of three is two bits wider than the widest of them.
    return signed(max(sums_layout(chip, config)["current"].width, noise) + 2)
