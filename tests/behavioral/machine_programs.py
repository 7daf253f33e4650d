# SPDX-License-Identifier: Apache-2.0
"""Programs written by hand on a small chip, for the tests of the fast machine."""

import numpy as np
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.isa import assemble
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.behavioral.machine import Machine
from ohmtwin.behavioral.program import (
    ArraySpec,
    InputLayout,
    OutputSegment,
    TileProgram,
)

__all__ = [
    "CHIP",
    "DENSE",
    "NO_WORDS",
    "dense",
    "image",
    "machine",
    "make",
    "parts_of",
    "words",
]

CHIP = Chip(cores=2, rows=16, cols=32, lanes=8, rows_per_read=8, data_words=16, fifo_words=16)
NO_WORDS = np.zeros(0, dtype=np.uint64)


def make(
    listing: str,
    *,
    inputs: int = 1,
    outputs: tuple[OutputSegment, ...] | int = 0,
    params: NDArray[np.uint64] = NO_WORDS,
    levels: NDArray[np.uint8] | None = None,
    chip: Chip = CHIP,
    data: NDArray[np.uint64] = NO_WORDS,
) -> TileProgram:
    """A program from a listing, ``inputs`` words a sample; outputs may be a number of words."""
    if isinstance(outputs, int):
        index = np.arange(8 * outputs)
        outputs = (OutputSegment("out", "uint8", outputs, index),) if outputs else ()
    if levels is None:
        levels = np.zeros((chip.rows, chip.cols), dtype=np.uint8)
    return TileProgram(
        chip=chip,
        instructions=tuple(assemble(listing)),
        params=params,
        tables=np.zeros((4, 256), dtype=np.uint8),
        arrays=(ArraySpec(1, levels),),
        input=InputLayout.plain(8 * inputs),
        outputs=outputs,
        data=data,
    )


def image(program: TileProgram, noise: int = 0) -> ArrayImage:
    return ArrayImage(
        program.arrays[0].levels.astype(np.int32) << 12,
        np.zeros(program.chip.rows, dtype=np.int32),
        v0=noise,
        adc_bits=program.chip.adc_bits,
        lanes=program.chip.lanes,
    )


def machine(program: TileProgram) -> Machine:
    return Machine(program, [Crossbar(image(program), 1, 1)])


def words(n: int, width: int = 1) -> NDArray[np.uint64]:
    return np.random.default_rng(5).integers(0, 1 << 63, (n, width), dtype=np.uint64)


# A dense layer of 16 inputs and 8 outputs, one core.

DENSE = """
SET reg=SCHEDULE value=1
SET reg=ROWS_PER_READ value=8
SET reg=PLANES value=8
LOOP body=8 count=0
SYNC in_words=2 out_words=5
LOAD source=HOST bytes=16 cores=2
MVM rows=16 beats=4 cores=2
SET reg=QUANT value=0xff0003
SET reg=A1 value=32
SET reg=A2 value=0
REQ dest=1 param=2 tap=1 outputs=8 cores=2
SEND addr=1 words=1
"""


def dense() -> tuple[TileProgram, NDArray[np.int64], NDArray[np.int64]]:
    rng = np.random.default_rng(11)
    weights = rng.integers(-128, 128, (16, 8))
    bias = rng.integers(-5000, 5000, 8)
    stored = weights + 128
    levels = np.stack([stored >> 2 * s & 3 for s in range(4)], axis=2).reshape(16, 32)
    scale = np.uint64((1 << 23 | 0x1234) << 32 | 34 << 56)
    program = make(
        DENSE,
        inputs=2,
        outputs=(
            OutputSegment("fc.acc", "int32", 4, np.arange(8)),
            OutputSegment("fc", "uint8", 1, np.arange(8)),
        ),
        params=bias.astype(np.int32).view(np.uint32).astype(np.uint64) | scale,
        levels=levels.astype(np.uint8),
    )
    return program, weights, bias


def parts_of(program: TileProgram) -> dict[str, object]:
    names = ("chip", "instructions", "params", "tables", "arrays", "input", "outputs")
    return {name: getattr(program, name) for name in names}
