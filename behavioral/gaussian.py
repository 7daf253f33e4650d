# SPDX-License-Identifier: Apache-2.0
"""Standard normal numbers from 32 random bits, in integers only.

A piecewise-linear inverse of the normal distribution over 32 octaves of 16 segments: one ROM of
512 x 32 bits and one 12 x 12 multiply in hardware. The tails reach 6.3 sigma.

    sign  = u >> 31;  m = u & 0x7fffffff      upper tail probability (m + 1/2) / 2**32
    p     = bit_length(m)                     the octave, 0 to 31
    sub   = the 4 bits below the leading one of m, frac = the next 12 (zeros shifted in)
    entry = TABLE[16 * p + sub];  base = entry >> 12;  delta = entry & 0xfff
    |z|   = ((base << 12) - delta * frac + (1 << 15)) >> 16

``z`` is in Q12: 4096 is one sigma. Base and delta are in 1/16 of that unit; every intermediate
value fits 32 signed bits. The table lives in ``csrc/gaussian_table.h`` and is fitted by
``gaussian_fit.py``.
"""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["FRACTION_BITS", "MAX_MAGNITUDE", "TABLE", "TABLE_FILE", "gaussian", "load_table"]

FRACTION_BITS = 12
"""``z`` is in units of ``2**-12`` sigma."""

TABLE_FILE = Path(__file__).parent / "csrc" / "gaussian_table.h"
"""The one definition of the table."""


def load_table() -> NDArray[np.int32]:
    """Read the 512 packed entries from :data:`TABLE_FILE`."""
    text = re.sub(r"/\*.*?\*/", "", TABLE_FILE.read_text(encoding="ascii"), flags=re.DOTALL)
    return np.array([int(v) for v in text.split(",") if v.strip()], dtype=np.int32)


TABLE = load_table()
TABLE.setflags(write=False)

MAX_MAGNITUDE = int((TABLE[0] >> 12) + 8) >> 4
"""Largest ``|z|``, reached for ``m = 0``."""


def gaussian(words: NDArray[np.uint32]) -> NDArray[np.int32]:
    """Map uniform words to normal numbers.

    Parameters
    ----------
    words : uint32 array of any shape

    Returns
    -------
    int32 array of the same shape
        In Q12, mean 0, standard deviation 4096.
    """
    u = np.asarray(words, dtype=np.uint32)
    m = (u & np.uint32(0x7FFFFFFF)).astype(np.int64)
    # frexp of an exactly represented integer is its bit length.
    p = np.frexp(m.astype(np.float64))[1].astype(np.int64)
    # The leading one moves to bit 16 of a 17-bit window.
    window = (m << 17) >> p
    sub = (window >> 12) & 15
    frac = window & 0xFFF
    entry = TABLE[16 * p + sub].astype(np.int64)
    magnitude = ((entry >> 12 << 12) - (entry & 0xFFF) * frac + (1 << 15)) >> 16
    return np.where(u >> np.uint32(31), -magnitude, magnitude).astype(np.int32)
