# SPDX-License-Identifier: Apache-2.0
"""What a walk through a program knows of data memory, and sets of small numbers as integers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["DataMemory", "Runs", "mask_of", "members", "runs_of"]


def members(mask: int) -> Iterator[int]:
    """The numbers of the bits that are set, from the lowest up."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def mask_of(numbers: Iterable[int]) -> int:
    """The inverse of :func:`members`."""
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of bytes, seen from where the first one starts.

    Parameters
    ----------
    bytes : intp array [n]
        Every byte, run by run, counted from the first.
    words : tuple of 8 int
        Words of memory that the runs touch, run by run, if the first starts at byte 0 to 7 of one.
    """

    bytes: NDArray[np.intp]
    words: tuple[int, ...]


@lru_cache(maxsize=4096)
def runs_of(count: int, runs: int, pitch: int) -> Runs:
    """``runs`` runs of ``count`` bytes, ``pitch`` bytes from one to the next."""
    first = np.arange(runs, dtype=np.intp) * pitch
    starts = first[None, :] + np.arange(8)[:, None]
    touched = (starts + count - 1) // 8 - starts // 8 + 1
    return Runs(
        (first[:, None] + np.arange(count)).reshape(-1), tuple(touched.sum(axis=1).tolist())
    )


_UNKNOWN, _SAFE = -2, -1


class DataMemory:
    """Who has written each byte of data memory so far in a pass.

    Time counts waits for the vector unit: what a REQ stores since the last of them must not be
    read by an instruction that does not wait.

    Parameters
    ----------
    size : int
        Bytes.
    """

    def __init__(self, size: int) -> None:
        self._now = 0
        # The time in which a REQ stored the byte; _SAFE if it was written otherwise, or read
        # before; _UNKNOWN if neither.
        self._mark = np.full(size, _UNKNOWN, dtype=np.int32)
        self._made = np.zeros(size, dtype=np.bool_)
        self._need: list[tuple[NDArray[np.intp], int]] = []

    def settle(self) -> None:
        """An instruction waits for the vector unit."""
        self._now += 1

    def write(self, start: int, count: int, *, stored: bool) -> None:
        """``count`` bytes from ``start`` on are written, by a REQ if ``stored``."""
        self._mark[start : start + count] = self._now if stored else _SAFE
        self._made[start : start + count] = True

    def read(self, where: slice | NDArray[np.intp], at: int) -> int | None:
        """Instruction ``at`` reads bytes; returns one that may not have been stored yet."""
        marks = self._mark[where]
        if marks.max() == self._now:
            late = int(np.argmax(marks))
            return late + where.start if isinstance(where, slice) else int(where[late])
        if marks.min() == _UNKNOWN:
            every = np.arange(where.start, where.stop) if isinstance(where, slice) else where
            new = every[marks == _UNKNOWN]
            self._need.append((new, at))
            self._mark[new] = _SAFE
        return None

    def needs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bytes that were read before anything wrote them, and the instructions that did."""
        where = [np.zeros(0, dtype=np.int64), *(new for new, _ in self._need)]
        at = [np.zeros(0, dtype=np.int64), *(np.full(len(new), pc) for new, pc in self._need)]
        return np.concatenate(where), np.concatenate(at)

    def made(self) -> NDArray[np.int64]:
        """Bytes that were written."""
        return np.flatnonzero(self._made)
