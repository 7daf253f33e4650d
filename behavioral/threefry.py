# SPDX-License-Identifier: Apache-2.0
"""Threefry-2x32, the counter-based generator behind all read noise.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
section 4.2 (rotation constants, key schedule, known answers). 13 rounds are the fewest that passed
BigCrush there; 20 leave a margin.
"""

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["ROUNDS", "column_words", "threefry2x32"]

U32: TypeAlias = NDArray[np.uint32]

ROUNDS = 13
"""Rounds that the crossbar spends on a block."""

_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = np.uint32(0x1BD11BDA)


def threefry2x32(
    key: tuple[ArrayLike, ArrayLike], counter: tuple[ArrayLike, ArrayLike], rounds: int = ROUNDS
) -> tuple[U32, U32]:
    """Encrypt counter blocks.

    Parameters
    ----------
    key : pair of array-like of uint32
        Key words, low first.
    counter : pair of array-like of uint32
        Counter words, low first. All four arguments broadcast against each other.
    rounds : int
        1 to 20.

    Returns
    -------
    pair of uint32 arrays of the broadcast shape
        Output words, low first.

    Raises
    ------
    ValueError
        If ``rounds`` lies outside 1 to 20.
    """
    if not 1 <= rounds <= 20:
        raise ValueError(f"Threefry-2x32 has 1 to 20 rounds, not {rounds}")
    k0, k1, c0, c1 = (_word(w) for w in (*key, *counter))
    schedule = (k0, k1, k0 ^ k1 ^ _PARITY)
    x0, x1 = np.broadcast_arrays(c0 + k0, c1 + k1)
    for r in range(rounds):
        shift = _ROTATIONS[r % 8]
        x0 = x0 + x1
        x1 = ((x1 << np.uint32(shift)) | (x1 >> np.uint32(32 - shift))) ^ x0
        if r % 4 == 3:
            step = r // 4 + 1
            x0 = x0 + schedule[step % 3]
            x1 = x1 + schedule[(step + 1) % 3] + np.uint32(step)
    return x0, x1


def column_words(
    seed: int, array: int, reads: Iterable[int], columns: int, rounds: int = ROUNDS
) -> U32:
    """Return the random word of every column of some reads.

    Columns ``2k`` and ``2k + 1`` share one block: the counter is the read number in the low word
    and, from bit 8 on, in the high word, whose low byte is ``k``. Read numbers wrap at ``2**56``.

    Parameters
    ----------
    seed, array : int
        The key, uint32 each.
    reads : iterable of int
        Read numbers, ``n`` of them.
    columns : int
        Columns to serve, at most 512.

    Returns
    -------
    uint32 array [n, columns]
    """
    numbers = np.fromiter(reads, dtype=np.uint64)[:, None]
    low = (numbers & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    high = ((numbers >> np.uint64(32)) & np.uint64(0xFFFFFF)).astype(np.uint32) << np.uint32(8)
    pair = np.arange((columns + 1) // 2, dtype=np.uint32)[None, :]
    even, odd = threefry2x32((seed, array), (low, high | pair), rounds)
    words = np.empty((numbers.shape[0], 2 * pair.shape[1]), dtype=np.uint32)
    words[:, 0::2] = even
    words[:, 1::2] = odd
    return words[:, :columns]


def _word(value: ArrayLike) -> U32:
    # At least one dimension: numpy warns about scalar overflow, which is wanted here.
    return np.atleast_1d(np.asarray(value, dtype=np.uint32))
