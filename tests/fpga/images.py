# SPDX-License-Identifier: Apache-2.0
"""Images for emulated arrays: of devices, and at random with every noise term."""

import numpy as np
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip
from ohmtwin.behavioral import devices
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.behavioral.state import ArrayState

__all__ = ["device_image", "random_image", "random_masks"]


def device_image(chip: Chip, name: str, seed: int = 1) -> ArrayImage:
    """An array of random levels of a device."""
    numbers = np.random.default_rng(seed)
    levels = numbers.integers(0, 1 << chip.cell_bits, (chip.rows, chip.cols), dtype=np.uint8)
    return ArrayState(
        levels, devices.load(name), cell_bits=chip.cell_bits, seed=seed, array=3,
        adc_bits=chip.adc_bits, lanes=chip.lanes,
    ).image()  # fmt: skip


def random_image(chip: Chip, numbers: np.random.Generator) -> ArrayImage:
    """Cells of both signs, all noise terms, tables that are no function of anything."""
    shape = chip.rows, chip.cols
    top = 1 << chip.adc_bits
    return ArrayImage(
        g=numbers.integers(-3000, 9000, shape, dtype=np.int32),
        ref=numbers.integers(-2000, 4000, chip.rows, dtype=np.int32),
        q=numbers.integers(-1000, 3000, shape, dtype=np.int32) << int(numbers.integers(0, 9)),
        v0=int(numbers.integers(0, 1 << 24)),
        v1=int(numbers.integers(0, 1 << 20)),
        adc_bits=chip.adc_bits,
        lanes=chip.lanes,
        adc_table=numbers.integers(0, top, (chip.lanes, top)).astype(np.uint16),
    )


def random_masks(numbers: np.random.Generator, n: int, rows: int) -> NDArray[np.bool_]:
    """Rows driven in some reads: none, all, few, many, first and last among them."""
    share = numbers.choice([0.0, 0.05, 0.15, 0.5, 1.0], (n, 1))
    masks = numbers.random((n, rows)) < share
    masks[numbers.random(n) < 0.1, -1] ^= True
    return masks
