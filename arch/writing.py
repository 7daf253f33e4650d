# SPDX-License-Identifier: Apache-2.0
"""Programming of cells by pulses and verifying reads: what PROGRAM_ROW and ROW_REPORT carry.

A PROGRAM_ROW holds a word of settings, a word for each level of a cell, then the levels of the
row's cells, 4 bits each, beat by beat, every beat in words of its own. Its address holds row, core
and array. A ROW_REPORT has the same address and holds a word of totals and, for each beat, two
words: the lanes whose cells were given up, and those of them that still read too low.

    settings   [3:0] fine   [6:4] average   [7] recheck   [31:16] limit
    a level    [15:0] target   [31:16] tolerance   [47:32] up   [63:48] down
    totals     [15:0] iterations   [31:16] cells given up   [63:32] pulses
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from .chip import Chip
from .errors import ConfigError
from .messages import Header, Kind

__all__ = [
    "FINE_BITS",
    "LEVELS_PER_WORD",
    "MAX_AVERAGE",
    "MAX_FINE",
    "PULSE_BITS",
    "RATE_FRACTION",
    "SUM_BITS",
    "LevelTarget",
    "RowReport",
    "WriteSettings",
    "level_words",
    "max_average",
    "program_row",
    "row_address",
]

FINE_BITS = 4
MAX_FINE = 12
"""Finest step of a verifying read: the unit of an image, 2**-12 of a level step."""

SUM_BITS = 16
"""Width of the sum of the codes that are averaged."""

MAX_AVERAGE = 4
"""Binary logarithm of the most reads that are averaged."""

PULSE_BITS = 6
"""Width of the pulses that a cell gets between two verifying reads; at least 1, if any."""

RATE_FRACTION = 8
"""Fraction bits of a rate: pulses a unit of error."""

LEVELS_PER_WORD = 16


def max_average(chip: Chip) -> int:
    """Binary logarithm of the most reads whose codes a sum of 16 bits holds."""
    return min(MAX_AVERAGE, SUM_BITS - chip.adc_bits)


@dataclass(frozen=True)
class LevelTarget:
    """What a cell of one level is to reach; every field has 16 bits.

    Parameters
    ----------
    target : int
        Sum of the codes of the averaged reads.
    tolerance : int
        A cell whose sum is off by at most this much is done.
    up, down : int
        Pulses for every unit that the sum is too low, or too high, 256 to a pulse.
    """

    target: int
    tolerance: int
    up: int
    down: int

    def __post_init__(self) -> None:
        for name in ("target", "tolerance", "up", "down"):
            value = getattr(self, name)
            if not 0 <= value < 1 << 16:
                raise ConfigError(
                    f"The {name} of a level has 16 bits, {value} does not fit; read coarser or "
                    f"average fewer reads"
                )

    def encode(self) -> int:
        return self.target | self.tolerance << 16 | self.up << 32 | self.down << 48


@dataclass(frozen=True)
class WriteSettings:
    """How cells are programmed.

    Parameters
    ----------
    levels : tuple of LevelTarget
        One for each level of a cell.
    fine : int
        A verifying read converts with ``2**fine`` codes to a level step; 0 to 12.
    average : int
        Every verification sums ``2**average`` reads; 0 to 4.
    limit : int
        Iterations of pulses after which a cell is given up; 0: verify only; at most 65535.
    recheck : bool
        Every verification judges all cells of the row anew; otherwise a cell that has once read
        right is left alone, which read noise makes the better way.

    Raises
    ------
    ConfigError
        If one is out of range.
    """

    levels: tuple[LevelTarget, ...]
    fine: int
    average: int = 0
    limit: int = 100
    recheck: bool = False

    def __post_init__(self) -> None:
        for name, most in (("fine", MAX_FINE), ("average", MAX_AVERAGE), ("limit", 65535)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                article = "an" if name == "average" else "a"
                raise ConfigError(f"Writing takes {article} {name} of 0 to {most}, not {value}")

    @property
    def reads(self) -> int:
        """Reads of a verification."""
        return 1 << self.average

    def check(self, chip: Chip) -> None:
        """Refuse what the writer of a chip cannot do.

        Raises
        ------
        ConfigError
        """
        if not chip.program_verify:
            raise ConfigError(
                f"Chip '{chip.name}' has no write port; set program_verify = true in its file"
            )
        if len(self.levels) != 1 << chip.cell_bits:
            raise ConfigError(
                f"A {chip.cell_bits}-bit cell has {1 << chip.cell_bits} levels, "
                f"not {len(self.levels)}"
            )
        if self.average > max_average(chip):
            raise ConfigError(
                f"{self.reads} codes of {chip.adc_bits} bits do not fit a sum of {SUM_BITS}; "
                f"average at most {1 << max_average(chip)} reads"
            )

    def words(self) -> list[int]:
        """The words of a PROGRAM_ROW before the levels of its cells."""
        first = self.fine | self.average << 4 | self.recheck << 7 | self.limit << 16
        return [first, *(level.encode() for level in self.levels)]


def row_address(core: int, row: int, array: int = 0) -> int:
    """The address of PROGRAM_ROW and ROW_REPORT: the row, the core from bit 16 on, and from bit 24
    on which of its arrays."""
    return row | core << 16 | array << 24


def level_words(chip: Chip, levels: Sequence[int]) -> list[int]:
    """The levels of a row from its first column on, whole beats, as words."""
    words = []
    for first in range(0, len(levels), chip.lanes):
        beat = levels[first : first + chip.lanes]
        for start in range(0, chip.lanes, LEVELS_PER_WORD):
            part = beat[start : start + LEVELS_PER_WORD]
            words.append(sum(int(level) << 4 * k for k, level in enumerate(part)))
    return words


def program_row(
    chip: Chip, settings: WriteSettings, core: int, row: int, levels: Sequence[int], array: int = 0
) -> list[int]:
    """The words of a PROGRAM_ROW.

    Raises
    ------
    ConfigError
        If the chip has no such core, array of a core, row, level or number of columns.
    """
    settings.check(chip)
    for what, value, end in (
        ("cores", core, chip.cores),
        ("rows", row, chip.rows),
        ("arrays of a core", array, chip.arrays_per_core),
    ):
        if not 0 <= value < end:
            raise ConfigError(f"Chip '{chip.name}' has {what} 0 to {end - 1}, not {value}")
    if not 0 < len(levels) <= chip.cols or len(levels) % chip.lanes:
        raise ConfigError(
            f"A row is programmed in whole beats of {chip.lanes} of its {chip.cols} columns, "
            f"not {len(levels)}"
        )
    if not all(0 <= level < len(settings.levels) for level in levels):
        raise ConfigError(f"A {chip.cell_bits}-bit cell has levels 0 to {len(settings.levels) - 1}")
    payload = [*settings.words(), *level_words(chip, levels)]
    return [
        Header(Kind.PROGRAM_ROW, len(payload), row_address(core, row, array)).encode(),
        *payload,
    ]


@dataclass(frozen=True)
class RowReport:
    """How a row was programmed.

    Parameters
    ----------
    core, row : int
    iterations : int
        Times that pulses were given.
    pulses : int
        Summed over the cells.
    failed, low : tuple of int
        Of each beat, the lanes that were given up, lane 0 in bit 0, and those of them that read
        too low.
    array : int
        Which of the core's.
    """

    core: int
    row: int
    iterations: int
    pulses: int
    failed: tuple[int, ...]
    low: tuple[int, ...]
    array: int = 0

    @property
    def failures(self) -> int:
        """Cells that were given up."""
        return sum(mask.bit_count() for mask in self.failed)

    def words(self) -> list[int]:
        """The words of the ROW_REPORT."""
        totals = self.iterations | self.failures << 16 | self.pulses << 32
        masks = [mask for beat in zip(self.failed, self.low, strict=True) for mask in beat]
        address = row_address(self.core, self.row, self.array)
        return [Header(Kind.ROW_REPORT, 1 + len(masks), address).encode(), totals, *masks]

    @classmethod
    def decode(cls, address: int, payload: Sequence[int]) -> Self:
        """From the address and the payload of a ROW_REPORT."""
        totals = payload[0]
        return cls(
            core=address >> 16 & 0xFF,
            array=address >> 24,
            row=address & 0xFFFF,
            iterations=totals & 0xFFFF,
            pulses=totals >> 32,
            failed=tuple(payload[1::2]),
            low=tuple(payload[2::2]),
        )
