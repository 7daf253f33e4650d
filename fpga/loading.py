# SPDX-License-Identifier: Apache-2.0
"""How the image of an emulated array travels to a board; needs no Amaranth."""

import numpy as np
from numpy.typing import NDArray

from ..arch.chip import Chip
from ..arch.errors import ConfigError
from ..arch.link import Feature
from ..arch.messages import Kind, message
from .crossbar.image import ADDRESS_BITS, EmulatorConfig, Noise, Region, check_arrays

__all__ = [
    "NEXT_ROW",
    "REGION_LSB",
    "check_beat",
    "emulator_config",
    "features",
    "image_messages",
    "row_words",
]

REGION_LSB = 17
"""Address bits from here on tell what a word of an image is for."""

NEXT_ROW = 1 << 9
"""References have one word a row; the column bits of their addresses mean nothing."""


def row_words(chip: Chip) -> int:
    """Words that say which rows are driven."""
    return -(-chip.rows // 64)


def check_beat(chip: Chip) -> None:
    """A beat must fit a word where beats travel over the link, and arrays be those of boards.

    Raises
    ------
    ConfigError
        If it does not.
    """
    check_arrays(chip)
    if chip.lanes * chip.adc_bits > 64:
        raise ConfigError(
            f"Beats of {chip.lanes} codes of {chip.adc_bits} bits do not fit a word of 64 bits, as "
            f"they must to travel over a link; take {64 // chip.adc_bits} lanes or less"
        )


def features(config: EmulatorConfig) -> int:
    """What a fabric of this configuration tells of its arrays: bits of ``Feature``."""
    bits = int(Feature.EMULATED_CROSSBARS)
    if config.noise is not Noise.NONE:
        bits |= Feature.NOISE
    if config.has_variance:
        bits |= Feature.CELL_VARIANCE
    if config.adc_table:
        bits |= Feature.ADC_TABLES
    return bits


def emulator_config(bits: int) -> EmulatorConfig:
    """What a host must know of the emulators of a fabric with these features."""
    return EmulatorConfig(
        columns=1,
        noise=Noise.PIPELINED if bits & Feature.NOISE else Noise.NONE,
        cell_variance=bool(bits & Feature.CELL_VARIANCE),
        adc_table=bool(bits & Feature.ADC_TABLES),
    )


def image_messages(words: NDArray[np.uint32], core: int) -> NDArray[np.uint64]:
    """The messages that write an image.

    Parameters
    ----------
    words : uint32 [n, 2]
        Addresses and words, of :func:`~.crossbar.image.image_words`.
    core : int

    Returns
    -------
    uint64 array [m]
    """
    address = words[:, 0].astype(np.int64)
    step = np.where(address >> REGION_LSB == Region.REFERENCE, NEXT_ROW, 1)
    breaks = np.flatnonzero(address[1:] != address[:-1] + step[:-1]) + 1
    out: list[int] = []
    for part in np.split(words, breaks):
        values = part[:, 1].astype(np.uint64)
        if len(values) % 2:
            raise ValueError(f"A run of image words must be even, not {len(values)}")
        pairs = values[0::2] | values[1::2] << np.uint64(32)
        at = core << ADDRESS_BITS | int(part[0, 0])
        out += message(Kind.WRITE_IMAGE, pairs.tolist(), at)
    return np.array(out, dtype=np.uint64)
