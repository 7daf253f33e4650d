# SPDX-License-Identifier: Apache-2.0
"""What both sides of a bench must agree on: chips, images, products. No RTL here."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ohmtwin.arch.ancode import ErrorModel
from ohmtwin.arch.chip import Chip
from ohmtwin.arch.inputs import InputEncoding
from ohmtwin.behavioral.core import MvmConfig
from ohmtwin.behavioral.image import ArrayImage

__all__ = ["CHIPS", "Product", "core_flips", "core_image", "core_images", "core_products"]

CHIPS = {
    # Two groups of rows, so that reads cross them; two outputs a beat.
    "wide": Chip(cores=1, rows=32, cols=32, cell_bits=2, lanes=8, adc_bits=6, rows_per_read=8),
    # Fewer lanes than slices: an accumulator word takes two beats.
    "narrow": Chip(cores=1, rows=32, cols=32, cell_bits=1, lanes=4, adc_bits=5, rows_per_read=8),
    # Under an AB code: two lanes of its unit, one codeword a beat each.
    "coded": Chip(cores=1, rows=32, cols=32, lanes=16, rows_per_read=8, code_a=69, code_b=3),
    # Signed columns, the signs of an output in beats of their own.
    "paired": Chip(
        cores=1, rows=32, cols=32, lanes=4, rows_per_read=8, weight_encoding="differential"
    ),
    # Columns that hold the complement; two words of flags.
    "flipped": Chip(cores=1, rows=32, cols=80, lanes=8, rows_per_read=8, weight_encoding="flipped"),
    # Inputs with two rows; a weight takes four bits.
    "agreeing": Chip(
        **{"cores": 1, "rows": 64, "cols": 32, "cell_bits": 1, "lanes": 8, "adc_bits": 6},
        **{"rows_per_read": 8, "row_schedule": "baseline"},
        **{"weight_encoding": "xnor", "weight_bits": 4},
    ),
    # Three arrays that take turns.
    "turning": Chip(
        cores=1, arrays_per_core=3, rows=32, cols=32, lanes=8, adc_bits=6, rows_per_read=8
    ),
    # Reads of one slice.
    "sliced": Chip(cores=1, rows=32, cols=64, lanes=4, rows_per_read=8, slice_reads=True),
    # The same of signed columns, of which sixteen hold a weight.
    "sliced pairs": Chip(
        **{"cores": 1, "rows": 32, "cols": 64, "cell_bits": 1, "lanes": 2, "rows_per_read": 8},
        **{"slice_reads": True, "weight_encoding": "differential"},
    ),
    # Two columns a weight, of a level each.
    "ternary": Chip(
        **{"cores": 1, "rows": 32, "cols": 32, "cell_bits": 1, "lanes": 4, "rows_per_read": 8},
        **{"weight_encoding": "ternary", "weight_bits": 2},
    ),
    # Budgets that differ by plane; with sums that a code checks.
    "budgets": Chip(rows=32, cols=32, rows_per_read=8, row_budgets=(16, 8, 21, 1, 5, 3, 2, 4)),
    "coded budgets": Chip(
        **{"rows": 32, "cols": 32, "lanes": 16, "rows_per_read": 8},
        **{"row_budgets": (16, 8, 21, 1, 5, 3, 2, 4), "code_a": 37, "code_b": 5},
        code_errors=ErrorModel.POWER_OF_TWO,
    ),
    # All three events at once.
    "coded clip": Chip(
        **{"rows": 32, "cols": 32, "lanes": 16, "rows_per_read": 8},
        **{"code_a": 69, "code_b": 3, "adc_bits": 4, "adc_clip": True},
    ),
    # ADCs of fewer codes than sums.
    "clip": Chip(rows=32, cols=32, rows_per_read=8, adc_bits=4, adc_clip=True),
    "coarse": Chip(rows=32, cols=32, rows_per_read=8, adc_bits=3, adc_step=4),
    "clip, coarse": Chip(
        **{"rows": 32, "cols": 32, "rows_per_read": 8},
        **{"adc_bits": 3, "adc_step": 2, "adc_clip": True},
    ),
    # A bit a column: whether it reaches its threshold.
    "sense": Chip(
        **{"rows": 32, "cols": 32, "cell_bits": 1, "rows_per_read": 8, "adc_bits": 1},
        **{"row_schedule": "baseline", "weight_encoding": "xnor", "weight_bits": 1},
        sense_amplifier=True,
    ),
}
CHIPS |= {
    encoding.value: Chip(rows=16, cols=16, rows_per_read=4, input_encoding=encoding)
    for encoding in InputEncoding
    if encoding is not InputEncoding.UNSIGNED
}


def core_images(chip: Chip, noise: float) -> list[ArrayImage]:
    """Of each array of the core."""
    return [core_image(chip, noise, 5 + array) for array in range(chip.arrays_per_core)]


def core_image(chip: Chip, noise: float, seed: int = 5) -> ArrayImage:
    """Random cells; ``noise`` is one sigma of the amplifier, in level steps."""
    rng = np.random.default_rng(seed)
    g = rng.integers(0, 1 << chip.cell_bits, (chip.rows, chip.cols)) * 4096
    if noise:
        g = g + rng.normal(0, 300, g.shape).astype(np.int64)
    return ArrayImage(
        np.ascontiguousarray(g, np.int32),
        np.zeros(chip.rows, np.int32),
        v0=round((noise * 4096) ** 2),
        v1=1 << 20 if noise else 0,
        adc_bits=chip.adc_bits,
        lanes=chip.lanes,
        adc_span=chip.read_slices,
        drive=4096 * np.arange(4, dtype=np.int32),
        thresholds=rng.integers(1, 5, chip.cols, dtype=np.int32) if chip.sense_amplifier else None,
    )


def core_flips(chip: Chip, seed: int = 6) -> NDArray[np.bool_] | None:
    """Flags of a chip that has them, about half of them set."""
    if not chip.flag_words:
        return None
    return np.random.default_rng(seed).random(chip.cols) < 0.5


@dataclass(frozen=True)
class Product:
    """One matrix-vector product: the start inputs of a core and its activations."""

    x: list[int]
    rows: int
    beats: int
    zero_skip: bool
    rows_per_read: int
    planes: int
    zero: int = 0
    array: int = 0
    keep: bool = False
    budgets: tuple[int, ...] = ()

    def config(self, chip: Chip) -> MvmConfig:
        return MvmConfig.of(
            chip,
            rows=self.rows,
            beats=self.beats,
            rows_per_read=self.rows_per_read,
            zero_skip=self.zero_skip,
            planes=self.planes,
            zero=self.zero,
            budgets=tuple(self.budgets),
        )


def core_products(chip: Chip, seed: int, count: int = 14) -> list[Product]:
    """Random products: all modes, sparse and dense, part of the rows and of the columns."""
    rng = np.random.default_rng(seed)
    most = chip.full_code // chip.cell_code.top // chip.input_code.top_digit
    if chip.adc_clip or chip.sense_amplifier:
        most = chip.input_rows  # sums may pass the highest code
    budgets = 8 * chip.read_slices if chip.row_budgets else 0
    zero = 101 if chip.input_code.has_zero else 0
    inputs = chip.input_rows
    products = []
    for i in range(count):
        density = rng.choice([0.0, 0.1, 0.5, 1.0], p=[0.1, 0.3, 0.3, 0.3])
        x: NDArray[np.int64] = rng.integers(0, 256, inputs) * (rng.random(inputs) < density)
        if i % 5 == 4:
            x &= 0b10010110  # planes without a bit
        words = chip.beats // chip.beats_per_word
        beats = int(rng.choice([words, rng.integers(1, words + 1)])) * chip.beats_per_word
        array, keep = 0, False
        if chip.array_bits:
            array, keep = (
                int(rng.integers(chip.arrays_per_core)),
                bool(products and rng.integers(2)),
            )
            # Products that add up are of as many beats.
            beats = products[-1].beats if keep else beats
        products.append(
            Product(
                x=[int(v) for v in x],
                rows=int(rng.choice([inputs, rng.integers(1, inputs + 1)])),
                beats=beats,
                zero_skip=bool(rng.integers(2)) and not chip.cell_code.complement_rows,
                rows_per_read=1 if i == 6 else int(rng.integers(3, min(most, inputs) + 1)),
                planes=int(rng.choice([chip.passes, rng.integers(1, chip.passes + 1)])),
                zero=zero,
                array=array,
                keep=keep,
                budgets=tuple(int(n) for n in rng.integers(1, most + 1, budgets)),
            )
        )
    return products
