# SPDX-License-Identifier: Apache-2.0
"""The configuration of a chip: what the RTL is elaborated with and what the compiler maps to."""

import hashlib
import json
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Self

from pydantic import field_validator, model_validator

from .ancode import AnCode, largest_product, nearest_choice
from .budgets import encode_budget
from .chip_fields import ChipFields, RowSchedule
from .converters import check_converter, check_slices
from .encodings import CellCode, WeightEncoding
from .errors import ConfigError
from .formats import ACTIVATION_BITS
from .inputs import InputCode
from .registers import CoreEvent
from .tomlconfig import build_model, load_model

__all__ = ["MAX_MESH", "Chip", "RowSchedule", "board_chip_names", "chip_names", "load_chip"]

MAX_MESH = 16
"""Columns and rows of the largest mesh."""

_NETWORK = ("channels", "routes", "slot_words", "packet_words", "buffer_flits")
"""Fields that shape routers and network interfaces."""

_OPTIONS: frozenset[str] = frozenset(
    {
        *("adc_clip", "adc_step"),
        *("code_a", "code_b", "code_errors"),
        *("input_encoding", "stream_length"),
        *("arrays_per_core", "program_verify", "row_budgets", "sense_amplifier", "slice_reads"),
        *("weight_encoding", "weight_bits"),
    }
)
"""Fields of :attr:`Chip.structure` only where they do not stand at their default: a chip that does
without an option is the chip it was before there was one, with the same hash."""


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


class Chip(ChipFields):
    """One chip configuration.

    Fields marked (run time) are registers of the tile: chips that differ in nothing else share one
    RTL, one Verilated model and one :attr:`structure_hash`.
    """

    @field_validator("mesh")
    @classmethod
    def _check_mesh(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not all(1 <= size <= MAX_MESH for size in value):
            raise ValueError(
                f"a mesh has 1 to {MAX_MESH} columns and 1 to {MAX_MESH} rows of tiles, not "
                f"{value[0]} x {value[1]}"
            )
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.cell_bits not in (1, 2, 4):
            raise ValueError(f"cell_bits must be 1, 2 or 4, not {self.cell_bits}")
        self._check_encoding()
        if not _power_of_two(self.lanes) or self.cols % self.lanes:
            raise ValueError(
                f"lanes must be a power of two that divides the columns ({self.cols}), "
                f"not {self.lanes}"
            )
        span = self.columns_per_output
        if self.lanes > 8 * span:
            raise ValueError(
                f"lanes must be at most 8 outputs a beat, {8 * span} for "
                f"{self.cell_bits}-bit cells, not {self.lanes}"
            )
        if self.cols % max(span, 8):
            raise ValueError(
                f"cols must be a multiple of the {span} columns of a weight, not {self.cols}"
            )
        if self.rows_per_read > self.input_rows:
            raise ValueError(
                f"rows_per_read must be at most the {self._inputs}, not {self.rows_per_read}"
            )
        self.input_code.check_with(self.row_budgets, self.program_verify, self.weight_encoding)
        self._check_budgets()
        check_converter(self)
        if self.program_verify and self.mesh != (1, 1):
            raise ValueError(
                f"program_verify is for a tile alone: the tiles of a mesh of {self.mesh[0]} x "
                f"{self.mesh[1]} take no write messages; leave out mesh, or program_verify"
            )
        if self.arrays_per_core > 1 and self.flag_words:
            raise ValueError(
                "the encoding flipped is for cores with one array, not with "
                f"{self.arrays_per_core}; leave out arrays_per_core, or the encoding flipped"
            )
        words = ("program_words", "data_words", "param_words", "tables", "fifo_words", "slot_words")
        for key in (*words, "packet_words"):
            if not _power_of_two(getattr(self, key)):
                raise ValueError(f"{key} must be a power of two, not {getattr(self, key)}")
        self._check_code()
        return self

    @property
    def _inputs(self) -> str:
        if not self.cell_code.complement_rows:
            return f"rows of an array ({self.rows})"
        return f"inputs of an array ({self.input_rows}, of two rows each)"

    def _check_budgets(self) -> None:
        given = self.row_budgets
        slices = self.read_slices
        if given and len(given) != ACTIVATION_BITS * slices:
            what = f", {slices} slices each" if slices > 1 else ""
            raise ValueError(
                f"row_budgets must be {ACTIVATION_BITS * slices} numbers, one a bit plane, the "
                f"least significant first{what}, not {len(given)}"
            )
        for number, rows in enumerate(given):
            if not 1 <= rows <= self.input_rows:
                part = f", slice {number % slices}," if slices > 1 else ""
                raise ValueError(
                    f"the row budget of plane {number // slices}{part} must be 1 to the "
                    f"{self._inputs}, not {rows}"
                )
        if self.slice_reads:
            check_slices(self)

    def _check_encoding(self) -> None:
        code = self.cell_code
        if not code.complement_rows:
            return
        if self.rows % 16:
            raise ValueError(
                f"rows must be a multiple of 16 with the encoding {self.weight_encoding}, which "
                f"gives an input two of them, not {self.rows}"
            )
        if self.row_schedule is not RowSchedule.BASELINE:
            raise ValueError(
                f"the encoding {self.weight_encoding} drives a row for every input, so that there "
                "is none to skip; set row_schedule = 'baseline'"
            )

    def _check_code(self) -> None:
        if self.code_a == 0:
            for key in ("code_b", "code_errors", "code_table"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key} is for chips with an AN code; give code_a as well")
            return
        if self.adc_step > 1:
            raise ValueError(
                "an AN code needs whole sums, and codes that count several levels round them; set "
                "adc_step = 1, or leave code_a out"
            )
        most = largest_product(self.word_bits, self.weight_bits)
        if self.code_a * self.code_b > most:
            better = nearest_choice(
                self.code_a, self.code_errors, self.word_bits, self.cell_bits, most // self.code_b
            )
            if most >= self.code_a:
                better = f"with code_a = {self.code_a} code_b may be {most // self.code_a}"
            raise ValueError(
                f"code_a * code_b is {self.code_a * self.code_b}; {self.word_bits}-bit words hold "
                f"{self.weight_bits}-bit weights times {most} at most; {better}"
            )
        if self.an_code is None:
            raise ValueError("code_a says that there is a code, yet there is none")

    # What follows from the fields. Every part of the twin reads these; none computes them again.

    @cached_property
    def an_code(self) -> AnCode | None:
        """The code under which weights are stored, with its table; None without one."""
        if self.code_a == 0:
            return None
        return AnCode(
            self.code_a,
            self.code_b,
            self.code_errors,
            self.word_bits,
            self.cell_bits,
            self.code_table or None,
        )

    @property
    def stored_factor(self) -> int:
        """What a word in the cells is times its weight: A * B under a code."""
        return self.code_a * self.code_b or 1

    @property
    def word_bits(self) -> int:
        """Bits of a word in the cells."""
        return self.cell_code.word_bits

    @property
    def read_range(self) -> tuple[int, int]:
        """The least and the greatest value that one read adds to an output's sum, before it is
        moved up by its plane."""
        low, high = self.sum_range
        if self.an_code is None:
            return low, high
        step = 1 + max(abs(entry.step) for entry in self.an_code.corrections)
        return low // self.stored_factor - step, high // self.stored_factor + step

    @property
    def events(self) -> tuple[CoreEvent, ...]:
        """Events that its cores count."""
        coded = (CoreEvent.CORRECTED, CoreEvent.DETECTED) if self.code_a else ()
        return ((CoreEvent.SATURATED,) if self.adc_clip else ()) + coded

    @property
    def cell_code(self) -> CellCode:
        """How cells hold weights, and what sums then mean."""
        return CellCode(self.weight_encoding, self.weight_bits, self.cell_bits, self.stored_factor)

    @property
    def slices(self) -> int:
        """Cells that the bits of one stored number are cut into."""
        return self.cell_code.slices

    @property
    def column_weights(self) -> tuple[int, ...]:
        """What a code counts for, for each of the neighbouring columns that hold one output."""
        return self.cell_code.column_weights

    @property
    def sum_weight(self) -> int:
        """What REQ takes off for each unit of the sum of activations."""
        return 0 if self.sense_amplifier else self.cell_code.sum_weight

    @property
    def input_rows(self) -> int:
        """Inputs that an array takes at once: its rows, or half of them where each has two."""
        return self.rows // 2 if self.cell_code.complement_rows else self.rows

    @property
    def cells_per_weight(self) -> int:
        """Cells that hold one weight."""
        return self.columns_per_output * (self.rows // self.input_rows)

    @property
    def sum_range(self) -> tuple[int, int]:
        """The least and the greatest sum of an output's codes, weighed, of one read."""
        low, high = 0, self.full_code
        if self.weight_encoding is WeightEncoding.FLIPPED:
            low, high = -high, max(high, self.rows * self.cell_code.top)
        ends = [(weight * low, weight * high) for weight in self.column_weights]
        return sum(min(pair) for pair in ends), sum(max(pair) for pair in ends)

    @property
    def flag_words(self) -> int:
        """64-bit words of the flags of flipped columns of a core."""
        return -(-self.cols // 64) if self.weight_encoding is WeightEncoding.FLIPPED else 0

    @property
    def columns_per_output(self) -> int:
        """Neighbouring columns that hold one weight."""
        return len(self.column_weights)

    @property
    def outputs(self) -> int:
        """Weights in a row of an array, hence outputs of a core."""
        return self.cols // self.columns_per_output

    @property
    def input_code(self) -> InputCode:
        """The passes of a product, and what follows from their encoding."""
        return InputCode(self.input_encoding, self.stream_length)

    @property
    def passes(self) -> int:
        """Passes of a product over all bits of its activations: 8 bit planes as a rule."""
        return self.input_code.passes

    @property
    def read_slices(self) -> int:
        """Reads of the same rows that it takes to convert all columns: each one slice, or 1."""
        return self.columns_per_output if self.slice_reads else 1

    @property
    def slice_bits(self) -> int:
        """Bits of the number of a slice that is read by itself."""
        return self.read_slices.bit_length() - 1

    @property
    def beats(self) -> int:
        """Beats that convert all columns that a read does."""
        return self.cols // (self.lanes * self.read_slices)

    @property
    def outputs_per_beat(self) -> int:
        """W: outputs in an accumulator word, and lanes of the vector unit."""
        return max(1, self.lanes // self.columns_per_output)

    @property
    def beats_per_word(self) -> int:
        """Beats that make one accumulator word; above 1 where columns of an output outnumber
        lanes."""
        return 1 if self.slice_reads else max(1, self.columns_per_output // self.lanes)

    @property
    def words_per_beat(self) -> int:
        """Accumulator words that a beat adds to; above 1 only where slices are read by
        themselves."""
        return self.lanes // self.outputs_per_beat if self.slice_reads else 1

    def beats_of(self, outputs: int) -> int:
        """Beats that so many outputs take."""
        words = -(-outputs // self.outputs_per_beat)
        return -(-words // self.words_per_beat) * self.beats_per_word

    @property
    def acc_words(self) -> int:
        """Accumulator words of a core."""
        return self.outputs // self.outputs_per_beat

    @property
    def planner_group(self) -> int:
        """Rows that the row scheduler looks at in a cycle.

        The smallest power of two from 16 up for which planning any read takes no more cycles
        than converting all columns, so that the ADC does not wait.
        """
        group = 16
        while group < self.input_rows and -(-self.input_rows // group) > self.beats:
            group *= 2
        return group

    @property
    def budgets(self) -> tuple[int, ...]:
        """Rows that one read may drive, for each pass that it makes and in it each slice that is
        read by itself, whether or not it has registers for that."""
        return self.row_budgets or (self.rows_per_read,) * (self.used_passes * self.read_slices)

    @property
    def used_passes(self) -> int:
        """Passes that a product makes: all of them, but one on sense amplifiers."""
        return 1 if self.sense_amplifier else self.passes

    @property
    def budget_values(self) -> tuple[int, ...]:
        """What SET of ROWS_PER_READ puts the row budgets up with, one after another."""
        if not self.row_budgets:
            return (self.rows_per_read,)
        common = max(set(self.budgets), key=self.budgets.count)
        own = (
            (rows, number >> self.slice_bits, number & (self.read_slices - 1))
            for number, rows in enumerate(self.budgets)
            if rows != common
        )
        if not self.slice_reads:
            return (encode_budget(common), *(encode_budget(rows, p) for rows, p, _ in own))
        return (encode_budget(common), *(encode_budget(*one) for one in own))

    @property
    def most_rows(self) -> int:
        """Rows that any read may drive."""
        return max(self.budgets)

    @property
    def full_code(self) -> int:
        """Levels that the highest code of an ADC stands for."""
        return ((1 << self.adc_bits) - 1) * self.adc_step

    def adc_bits_for(self, rows: int) -> int:
        """Bits of an ADC with its step that no ideal sum of so many rows takes past its range."""
        return self.adc_bits_of(self.cell_code.highest_code(rows * self.input_code.top_digit))

    def adc_bits_of(self, highest: int) -> int:
        """Bits of an ADC with its step that no sum of up to ``highest`` levels takes past its
        range."""
        return max(1, ((highest + self.adc_step // 2) // self.adc_step).bit_length())

    def reads_of(self, rows: int) -> int:
        """Most reads that a product over so many rows takes: all that the baseline makes."""
        return sum(-(-rows // most) for most in self.budgets)

    def full_scale(self, rows: int) -> int:
        """What the sum of a product over so many rows comes to with every conversion at full
        scale, whatever the schedule."""
        tops = [max(-self.read_range[0], self.read_range[1])]
        if self.slice_reads:
            tops = [self.full_code * abs(weight) for weight in self.column_weights]
        weights = self.input_code.weights[: self.used_passes]
        passes = ((weight, top) for weight in weights for top in tops)
        return sum(
            -(-rows // most) * top * abs(weight)
            for most, (weight, top) in zip(self.budgets, passes, strict=True)
        )

    @property
    def structure(self) -> dict[str, int]:
        """The fields that shape the RTL of a tile."""
        free = {"name", "rows_per_read", "row_schedule", "code_table", "mesh", *_NETWORK}
        free |= {k for k in _OPTIONS if getattr(self, k) == type(self).model_fields[k].default}
        fields = {k: v for k, v in self.model_dump().items() if k not in free}
        if "row_budgets" in fields:
            fields["row_budgets"] = True  # registers for them; what they hold is run time
        return fields

    @property
    def network(self) -> dict[str, int]:
        """The fields that shape routers and network interfaces; a tile alone has neither."""
        return {k: v for k, v in self.model_dump().items() if k in _NETWORK}

    @property
    def arrays(self) -> int:
        """Arrays of a tile."""
        return self.cores * self.arrays_per_core

    def array_number(self, core: int, array: int = 0) -> int:
        """Number of an array of a core among those of its tile; with cores counted over all tiles,
        among those of the chip."""
        return core * self.arrays_per_core + array

    @property
    def array_bits(self) -> int:
        """Width of an array's number in its core; 0 where there is one."""
        return (self.arrays_per_core - 1).bit_length()

    @property
    def tiles(self) -> int:
        """Tiles of the mesh."""
        return self.mesh[0] * self.mesh[1]

    @property
    def structure_hash(self) -> int:
        """64-bit hash of :attr:`structure`, held by the CHIP_HASH register."""
        text = json.dumps(self.structure, sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")

    def with_(self, **changes: object) -> "Chip":
        """A validated copy with some fields changed.

        Raises
        ------
        ConfigError
            If there is no such chip, with the reason.
        """
        return build_model({**self.model_dump(), **changes}, Chip, f"chip '{self.name}'")


def chip_names() -> list[str]:
    """Names of the standard chips, smallest first."""
    folder = resources.files(__package__) / "chips"
    chips = [
        load_model(Path(str(f)), Chip, "chip") for f in folder.iterdir() if f.name.endswith(".toml")
    ]
    return [chip.name for chip in sorted(chips, key=lambda chip: (chip.cores, chip.name))]


def board_chip_names() -> list[str]:
    """Names of the chips that are made to fit an FPGA board; nothing picks one by itself."""
    folder = resources.files(__package__) / "chips" / "boards"
    return sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")
    )


def load_chip(name: str | Path) -> Chip:
    """A standard chip or one of a board by name, or one from a TOML file.

    Raises
    ------
    ConfigError
        If there is no such chip or file, or the file is wrong.
    """
    text = str(name)
    if text.endswith(".toml"):
        return load_model(Path(text), Chip, "chip")
    boards = board_chip_names()
    known = chip_names()
    if text not in known and text not in boards:
        raise ConfigError(
            f"There is no standard chip '{text}'; choose one of {', '.join([*known, *boards])}, "
            f"or give a file that ends in .toml"
        )
    folder = resources.files(__package__) / "chips"
    if text in boards:
        folder = folder / "boards"
    return load_model(Path(str(folder / f"{text}.toml")), Chip, "chip")
