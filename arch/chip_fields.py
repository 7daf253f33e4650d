# SPDX-License-Identifier: Apache-2.0
"""The fields of a chip configuration; what follows from them stands in :mod:`.chip`."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from .ancode import ErrorModel
from .encodings import WeightEncoding
from .formats import ACTIVATION_BITS
from .inputs import MAX_PASSES, InputEncoding

__all__ = ["ChipFields", "RowSchedule"]


class RowSchedule(StrEnum):
    """How a core picks the rows of its reads (Crafton et al. 2021, Fig. 11)."""

    BASELINE = "baseline"
    """N consecutive rows a read, whatever their bits."""

    ZERO_SKIP = "zero_skip"
    """The next N rows whose bit is set."""


class ChipFields(BaseModel):
    """What a TOML file of a chip may hold; see :class:`~.chip.Chip`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "custom"
    """Shown in reports; no part of the hash."""

    cores: int = Field(default=4, ge=1, le=32)
    """Cores (arrays with their periphery) in the tile."""

    arrays_per_core: int = Field(default=1, ge=1, le=64)
    """Arrays that take turns behind the ADCs of a core (weight rotation)."""

    rows: int = Field(default=128, ge=8, le=256, multiple_of=8)
    """Rows of an array."""

    cols: int = Field(default=128, ge=8, le=512, multiple_of=8)
    """Columns of an array."""

    cell_bits: int = Field(default=2)
    """Bits a cell holds: 1, 2 or 4."""

    weight_encoding: WeightEncoding = WeightEncoding.OFFSET
    """How cells hold a signed weight (``docs/encodings.md``)."""

    weight_bits: int = 8
    """Bits of a weight: 1 (only xnor), 2, 4 or 8."""

    lanes: int = Field(default=8, ge=1, le=64)
    """ADCs a core has; a beat converts this many neighbouring columns."""

    adc_bits: int = Field(default=6, ge=1, le=12)
    """Width of an ADC code."""

    adc_clip: bool = False
    """Whether sums may pass the top of the ADC's range, where they saturate; conversions at the top
    code are then counted."""

    adc_step: int = 1
    """Level steps that a code counts: 1, or a power of two for an ADC too coarse for its range."""

    sense_amplifier: bool = False
    """Whether columns end in sense amplifiers with a programmable threshold in place of ADCs: for
    binary networks, in the encoding xnor."""

    rows_per_read: int = Field(default=16, ge=1, le=256)
    """Rows that one read may drive (run time)."""

    row_schedule: RowSchedule = RowSchedule.ZERO_SKIP
    """How rows are picked (run time)."""

    slice_reads: bool = False
    """Whether a read converts one slice of each output, of more outputs a beat: so that slices,
    too, have row budgets of their own."""

    row_budgets: tuple[int, ...] = ()
    """Rows that one read may drive, for each bit plane of the activations, the least significant
    first; with ``slice_reads`` for each slice of each plane (a file may nest them). That a chip has
    budgets is part of its structure, their values are run time; without them
    ``rows_per_read`` holds for all planes."""

    input_encoding: InputEncoding = InputEncoding.UNSIGNED
    """How activations are put on the rows (``docs/encodings.md``)."""

    stream_length: int = Field(default=MAX_PASSES, ge=1, le=MAX_PASSES)
    """Passes of the stochastic encoding."""

    program_words: int = Field(default=512, ge=16, le=4096)
    """Instruction memory of the tile, 64-bit words."""

    data_words: int = Field(default=1024, ge=16, le=65536)
    """Data memory of the tile, 64-bit words of eight activations."""

    param_words: int = Field(default=1024, ge=16, le=65536)
    """Parameter memory, 64-bit words of bias and requantizer scale, one an output."""

    tables: int = Field(default=4, ge=1, le=16)
    """Code-to-code tables of 256 bytes."""

    fifo_words: int = Field(default=512, ge=16, le=4096)
    """Depth of each of the host FIFOs, 64-bit words."""

    mesh: tuple[int, int] = (1, 1)
    """Columns and rows of tiles. (1, 1): a tile alone, the host at its word streams."""

    channels: int = Field(default=8, ge=1, le=15)
    """Receive channels of a tile in a mesh, each with two slots for messages."""

    routes: int = Field(default=8, ge=1, le=15)
    """Routes on which a tile in a mesh sends."""

    slot_words: int = Field(default=128, ge=16, le=256)
    """Words of the longest message between tiles."""

    packet_words: int = Field(default=8, ge=1, le=32)
    """Payload words of a packet of the mesh."""

    buffer_flits: int = Field(default=16, ge=2, le=64)
    """Flits that a router buffers, a message class at each port: more than ``packet_words``, or
    there is no multicast."""

    program_verify: bool = False
    """Whether arrays have a write port, and the tile a controller that programs their cells by
    pulses and verifying reads."""

    code_a: int = Field(default=0, ge=0)
    """A of the AN code under which weights are stored, in words of twice their bits
    (``docs/ecc.md``); 0: none, they are stored as they are."""

    code_b: int = Field(default=1, ge=1)
    """B of an AB code: words are stored times A * B."""

    code_errors: ErrorModel = ErrorModel.SLICE
    """Errors that the code corrects."""

    code_table: tuple[int, ...] = ()
    """What to take off a sum, for each remainder modulo A: 0 (but at 0) where an error is only
    detected (run time). Empty: what ``code_errors`` says."""

    @field_validator("row_budgets", mode="before")
    @classmethod
    def _flatten(cls, value: Any) -> Any:
        """Slices of planes may be given plane by plane."""
        if not (
            isinstance(value, list | tuple) and all(isinstance(v, list | tuple) for v in value)
        ):
            return value
        lengths = [len(plane) for plane in value]
        if value and (len(value) != ACTIVATION_BITS or len(set(lengths)) > 1):
            raise ValueError(
                f"row_budgets of slices must be {ACTIVATION_BITS} lists, one a bit plane, as long "
                f"as there are slices, not lists of {', '.join(map(str, lengths))}"
            )
        return tuple(rows for plane in value for rows in plane)
