# SPDX-License-Identifier: Apache-2.0
"""Decoding sums of reads that are stored under an AN or AB code: the plain reference."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arch.ancode import AnCode

__all__ = ["Decoded", "decode"]


@dataclass(frozen=True, eq=False)
class Decoded:
    """Sums after correction and division.

    Parameters
    ----------
    values : int64 array
        Quotients.
    corrected, detected : bool arrays
        An error was taken off; an error was found that cannot be.
    """

    values: NDArray[np.int64]
    corrected: NDArray[np.bool_]
    detected: NDArray[np.bool_]


def decode(code: AnCode, sums: NDArray[np.int64]) -> Decoded:
    """Correct sums and divide them by A * B.

    The remainder modulo A says which error to take off. If that leaves no multiple of A * B, or the
    remainder stands for none, the quotient is that of the multiple nearest to the sum as it came,
    and the error is detected (docs/ecc.md).

    Parameters
    ----------
    code : AnCode
    sums : int64 array
        Of any shape.
    """
    errors = np.array(code.error_table, dtype=np.int64)
    residue = sums % code.a
    error = errors[residue]
    known = (error != 0) | (residue == 0)
    fits = known & ((sums - error) % code.product == 0)
    # Down from the middle: an even A * B has one.
    nearest = (sums + (code.product - 1) // 2) // code.product
    values = np.where(fits, (sums - error) // code.product, nearest)
    return Decoded(values, fits & (residue != 0), ~fits)
