# SPDX-License-Identifier: Apache-2.0
"""What an emulated array is made of and how an image gets into it.

The load port takes words of 32 bits at word addresses of 20 bits, one a cycle:

====================  ==========================================================================
address bits          word
====================  ==========================================================================
19 = 1                ADC table: bits 18:0 are ``lane * 2**adc_bits + code``; the code it gives
19:17 = 0             ``g``, two's complement; bits 16:9 row, 8:0 column
19:17 = 1             ``q``, two's complement, in units of ``2**Q_SHIFT``; bits as for ``g``
19:17 = 2             ``ref``, two's complement; bits 16:9 row
19:17 = 3             registers, bits 3:0 a :class:`LoadRegister`
====================  ==========================================================================

Words are to be written while no read is under way; the next read sees them.
"""

import json
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import Chip
from ...arch.errors import CapacityError, ConfigError
from ...behavioral.crossbar import READ_LIMIT, check_key
from ...behavioral.image import ArrayImage

__all__ = [
    "ADDRESS_BITS",
    "EmulatorConfig",
    "LoadRegister",
    "Noise",
    "Region",
    "Widths",
    "cell_shift",
    "check_arrays",
    "check_image",
    "image_words",
]

ADDRESS_BITS = 20
_TABLE = 1 << 19


class Region(IntEnum):
    """Address bits 19:17, where bit 19 is 0."""

    CELLS = 0
    VARIANCE = 1
    REFERENCE = 2
    REGISTERS = 3


class LoadRegister(IntEnum):
    """Registers behind the load port."""

    V0_LOW = 0
    V0_HIGH = 1
    V1 = 2
    Q_SHIFT = 3
    SEED = 4
    ARRAY = 5
    READS_LOW = 6
    """Number of the next read; takes effect with READS_HIGH."""

    READS_HIGH = 7


class Noise(StrEnum):
    """How the noise of a column is computed."""

    PIPELINED = "pipelined"
    """A column a cycle."""

    ITERATIVE = "iterative"
    """One adder for all rounds and one for all products: many cycles a column, few gates."""

    NONE = "none"
    """Images without noise only."""


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Bits of the stored values; what an image needs more of is refused by :func:`check_image`.

    The defaults hold every image that the device files make, with room for age and temperature.

    Parameters
    ----------
    cell : int
        Of ``g``, of ``q`` in its unit, and of ``ref``, signed; 18 fill an ECP5 memory.
    v0, v1 : int
        Of the parameters, unsigned.
    variance : int
        Of the variance of a read, unsigned; sigma has half of it.
    """

    cell: int = 18
    v0: int = 32
    v1: int = 24
    variance: int = 32

    def __post_init__(self) -> None:
        for name, low, high in (
            ("cell", 13, 31),
            ("v0", 1, 52),
            ("v1", 1, 32),
            ("variance", 2, 52),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"Width of {name} must be {low} to {high} bits, not {value}")
        if self.v0 > self.variance:
            raise ValueError(
                f"Width of v0 must be at most that of the variance ({self.variance} bits), "
                f"not {self.v0}"
            )


@dataclass(frozen=True, kw_only=True)
class EmulatorConfig:
    """What of an emulated array is traded for what.

    Parameters
    ----------
    columns : int
        Columns summed at once: a power of two that divides the array's columns. A read of n rows
        takes about ``n + 1`` cycles for every group of them.
    noise : Noise
    cell_variance : bool
        Whether there is memory for ``q``.
    adc_table : bool
        Whether there is memory for the tables of the ADCs.
    shared : bool
        Whether all arrays of a tile are computed by the same gates, one read after another, in
        place of gates for each: fewer of them, and more cycles where arrays are read at once.
    widths : Widths
    """

    columns: int = 16
    noise: Noise = Noise.PIPELINED
    cell_variance: bool = True
    adc_table: bool = True
    shared: bool = False
    widths: Widths = field(default_factory=Widths)

    def check(self, chip: Chip) -> None:
        """Refuse a chip that this does not fit.

        Raises
        ------
        ValueError
            If ``columns`` is no power of two that divides the columns of the array.
        ConfigError
            If its arrays are not those of boards.
        """
        check_arrays(chip)
        n = self.columns
        if n < 1 or n & (n - 1) or chip.cols % n:
            raise ValueError(
                "Columns at once must be a power of two that divides the columns of the array"
                f" ({chip.cols}), not {n}"
            )

    @property
    def has_variance(self) -> bool:
        """Whether cells carry a variance of their own."""
        return self.cell_variance and self.noise != Noise.NONE


def check_arrays(chip: Chip) -> None:
    """Refuse a chip whose arrays are not those of boards: one a core, without a write port, rows
    that are driven or not, converters that count every level of neighbouring columns.

    Raises
    ------
    ConfigError
    """
    if chip.arrays_per_core > 1:
        raise ConfigError(
            f"Chip '{chip.name}' has {chip.arrays_per_core} arrays behind the converters of a core;"
            " boards and netlists have one array a core: give the chip arrays_per_core = 1 and more"
            " cores, or run it at level verilator"
        )
    if chip.slice_reads:
        raise ConfigError(
            f"Chip '{chip.name}' reads slices by themselves, which the arrays of boards and"
            " netlists do not: leave slice_reads out, or run it at level verilator"
        )
    if chip.program_verify:
        raise ConfigError(
            f"Chip '{chip.name}' programs its arrays by pulses, which the arrays of a board do not "
            f"take; leave program_verify out"
        )
    if chip.input_code.digit_bits > 1:
        raise ConfigError(
            f"Chip '{chip.name}' drives rows with input_encoding = '{chip.input_encoding}', the "
            f"arrays of a board take rows that are driven or not; choose another encoding"
        )
    for name, value, usual in (
        ("adc_step", chip.adc_step, 1),
        ("adc_clip", chip.adc_clip, False),
        ("sense_amplifier", chip.sense_amplifier, False),
    ):
        if value != usual:
            raise ConfigError(
                f"Chip '{chip.name}' has {name} = {json.dumps(value)}; the converters of boards and"
                f" netlists count every level: leave {name} out, or run it at level verilator"
            )


def cell_shift(image: ArrayImage) -> int:
    """The unit of ``q``: how many low bits are 0 in every cell."""
    if image.q is None:
        return 0
    bits = int(np.bitwise_or.reduce(image.q, axis=None))
    return (bits & -bits).bit_length() - 1 if bits else 0


def check_image(image: ArrayImage, chip: Chip, config: EmulatorConfig) -> None:
    """Refuse an image that the emulator cannot read exactly.

    Raises
    ------
    CapacityError
        With the first thing that does not fit.
    """
    widths = config.widths
    there = (image.rows, image.cols, image.lanes, image.adc_bits)
    wanted = (chip.rows, chip.cols, chip.lanes, chip.adc_bits)
    if there != wanted:
        raise CapacityError(
            "The image has {} x {} cells, {} lanes and {} ADC bits, but the emulated array"
            " {} x {}, {} and {}; build the image for this chip".format(*there, *wanted)
        )
    if config.noise == Noise.NONE and image.noisy:
        raise CapacityError(
            "The image is noisy, but the emulated array was built without noise; build it with"
            " pipelined or iterative noise"
        )
    q = None if image.q is None or not image.q.any() else image.q >> cell_shift(image)
    if q is not None and not config.cell_variance:
        raise CapacityError(
            "The image has a variance for each cell, but the emulated array has no memory for"
            " it; build it with cell_variance"
        )
    if image.adc_table is not None and not config.adc_table:
        raise CapacityError(
            "The image has tables for its ADCs, but the emulated array has no memory for them;"
            " build it with adc_table"
        )
    limit = 1 << (widths.cell - 1)
    for what, values in (("conductance", image.g), ("reference", image.ref), ("variance", q)):
        if values is not None and not (-limit <= values.min() and values.max() < limit):
            worst = int(max(values.max(), -values.min()))
            raise CapacityError(
                f"A cell's {what} of {worst} in the image does not fit the {widths.cell} signed"
                f" bits of the emulated array; build it with a wider cell"
            )
    for what, value, width in (
        ("v0", image.v0, widths.v0),
        ("v1", image.v1, widths.v1),
        ("variance", image.variance_bound, widths.variance),
    ):
        if value >> width:
            raise CapacityError(
                f"The image's {what} needs {value.bit_length()} bits, but the emulated array has"
                f" {width}; build it with a wider {what}"
            )
    if image.adc_table is not None and int(image.adc_table.max()) >> chip.adc_bits:
        raise CapacityError(
            f"An ADC table of the image gives the code {int(image.adc_table.max())}, which does"
            f" not fit the {chip.adc_bits} bits of a code"
        )


def image_words(
    image: ArrayImage, chip: Chip, config: EmulatorConfig, *, seed: int, array: int, reads: int = 0
) -> NDArray[np.uint32]:
    """All words that make an emulated array read as ``Crossbar(image, seed, array)`` does.

    Parameters
    ----------
    image : ArrayImage
    chip : Chip
    config : EmulatorConfig
        Of the emulator that the words are for.
    seed, array : int
        Key of the noise, uint32 each.
    reads : int
        Number of the next read.

    Returns
    -------
    uint32 array [n, 2]
        Addresses and words.

    Raises
    ------
    CapacityError
        As :func:`check_image`.
    ValueError
        If a part of the key or the read number is out of range.
    """
    check_image(image, chip, config)
    check_key(seed, array)
    if not 0 <= reads < READ_LIMIT:
        raise ValueError(f"A read number must be 0 to 2**64 - 1, not {reads}")
    shift = cell_shift(image)
    rows = np.arange(image.rows, dtype=np.int64)[:, None] << 9
    cells = rows | np.arange(image.cols, dtype=np.int64)[None, :]
    words: list[tuple[NDArray[np.int64], NDArray[Any]]] = [
        (cells | Region.CELLS << 17, image.g),
        (rows[:, 0] | Region.REFERENCE << 17, image.ref),
    ]
    if config.has_variance:
        q = np.zeros_like(image.g) if image.q is None else image.q >> shift
        words.append((cells | Region.VARIANCE << 17, q))
    if config.adc_table:
        table = image.adc_table
        if table is None:
            ideal = np.arange(1 << chip.adc_bits, dtype=np.uint16)
            table = np.broadcast_to(ideal, (chip.lanes, ideal.size))
        words.append((_TABLE | np.arange(table.size, dtype=np.int64), table))
    registers = {
        LoadRegister.V0_LOW: image.v0,
        LoadRegister.V0_HIGH: image.v0 >> 32,
        LoadRegister.V1: image.v1,
        LoadRegister.Q_SHIFT: shift,
        LoadRegister.SEED: seed,
        LoadRegister.ARRAY: array,
        LoadRegister.READS_LOW: reads,
        LoadRegister.READS_HIGH: reads >> 32,
    }
    words.append(
        (
            np.array(list(registers), dtype=np.int64) | Region.REGISTERS << 17,
            np.array([value & 0xFFFFFFFF for value in registers.values()], dtype=np.int64),
        )
    )
    pairs = [
        np.stack([a.ravel(), v.astype(np.int64).ravel() & 0xFFFFFFFF], axis=1) for a, v in words
    ]
    return np.concatenate(pairs).astype(np.uint32)
