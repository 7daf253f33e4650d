# SPDX-License-Identifier: Apache-2.0
"""Trains of update pulses: where a row's and a column's pulse meet, a cell gets one.

Stochastic trains (Gokmen and Vlasov 2016, Sect. "stochastic update"): in every slot a line is
driven if the low half of its shift register lies below its probability, so that a cell gets
``slots * p_row * p_column`` pulses on average. Deterministic ones (Crafton et al. 2021, Fig. 17):
rows are driven for a share of the whole train, columns for a share of each of their short periods.

A register has 32 bits and the polynomial x**32 + x**22 + x**2 + x + 1 in Galois form, and is
stepped 16 times a slot, so that all 16 bits of a slot's number are new ones.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arch.learning import TrainMode, UpdateSettings
from ..threefry import threefry2x32

__all__ = [
    "CERTAIN",
    "LFSR_KEY",
    "LFSR_MASK",
    "LFSR_TABLE",
    "Lfsr",
    "probabilities",
    "update_counts",
]

CERTAIN = 65536
"""The probability 1."""

LFSR_MASK = 0x80200003
LFSR_KEY = 0x4C465352
"""Second word of the key from which registers get their first states."""


def _eight_steps() -> NDArray[np.uint32]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (LFSR_MASK if value & 1 else 0)
        table.append(value)
    return np.array(table, np.uint32)


LFSR_TABLE = _eight_steps()
"""Eight steps: ``state >> 8 ^ LFSR_TABLE[state & 255]``."""


class Lfsr:
    """The shift registers of all lines.

    Parameters
    ----------
    seed : int
        uint32.
    lines : int
        Rows first, then columns.
    """

    def __init__(self, seed: int, lines: int) -> None:
        first, _ = threefry2x32((seed, LFSR_KEY), (np.arange(lines, dtype=np.uint32), 0))
        self.state: NDArray[np.uint32] = np.where(first == 0, np.uint32(1), first)

    def draw(self, slots: int) -> NDArray[np.uint16]:
        """The numbers of some slots, uint16 [slots, lines]."""
        drawn = np.empty((slots, self.state.size), np.uint16)
        for slot in range(slots):
            drawn[slot] = self.state & np.uint32(0xFFFF)
            for _ in range(2):
                low = self.state & np.uint32(255)
                self.state = self.state >> np.uint32(8) ^ LFSR_TABLE[low]
        return drawn


def probabilities(v: ArrayLike, k: int, shift: int) -> NDArray[np.int64]:
    """``min(65536, |v| * k >> shift)``, rounded; 65536 is always."""
    shift = min(max(shift, 0), 31)
    product = np.abs(np.asarray(v, np.int64)) * k
    half = 1 << (shift - 1) if shift else 0
    p: NDArray[np.int64] = np.minimum((product + half) >> shift, CERTAIN)
    return p


def _ramp_rows(p: NDArray[np.int64], slots: int) -> NDArray[np.bool_]:
    t = np.arange(slots)[:, None]
    driven: NDArray[np.bool_] = t < (p * slots + 32768) >> 16
    return driven


def _short_columns(p: NDArray[np.int64], slots: int, period: int) -> NDArray[np.bool_]:
    t = np.arange(slots)[:, None]
    if period:
        driven: NDArray[np.bool_] = t % period < (p * period + 32768) >> 16
        return driven
    # Whether the fraction 32768 + p * (t + 1) carries over in slot t.
    carries: NDArray[np.bool_] = (32768 + p * (t + 1)) >> 16 != (32768 + p * t) >> 16
    return carries


def update_counts(
    settings: UpdateSettings,
    v: ArrayLike,
    d: ArrayLike,
    lfsr: Lfsr,
    rows: int,
    exponent: int = 0,
) -> NDArray[np.int32]:
    """Pulses of every cell, with the sign of the product of its row's and its column's number.

    Parameters
    ----------
    settings : UpdateSettings
    v, d : whole numbers [n] and [k]
        Of the first rows and columns.
    lfsr : Lfsr
        Its registers advance by the slots of a stochastic update, all of them.
    rows : int
        Rows of the chip: columns have the registers after those.
    exponent : int
        The numbers are worth ``2**exponent`` together.

    Returns
    -------
    int32 array [n, k]
    """
    v, d = np.asarray(v, np.int64), np.asarray(d, np.int64)
    half = exponent >> 1 if settings.manage else 0
    p_row = probabilities(v, settings.kx, settings.sx - half)
    p_col = probabilities(d, settings.kd, settings.sd - (exponent - half))
    if settings.mode == TrainMode.OVERLAP:
        row_bits = _ramp_rows(p_row, settings.slots)
        col_bits = _short_columns(p_col, settings.slots, settings.period)
    else:
        drawn = lfsr.draw(settings.slots)
        row_draws, col_draws = drawn[:, :rows], drawn[:, rows:]
        if settings.mode == TrainMode.SHARED:
            row_bits, col_bits = row_draws[:, :1] < p_row, col_draws[:, :1] < p_col
        else:
            row_bits, col_bits = row_draws[:, : v.size] < p_row, col_draws[:, : d.size] < p_col
    meetings = row_bits.astype(np.int64).T @ col_bits.astype(np.int64)
    counts: NDArray[np.int32] = (meetings * np.sign(v)[:, None] * np.sign(d)).astype(np.int32)
    return counts
