# SPDX-License-Identifier: Apache-2.0
"""Comparison with a report that an engineer can act on. Needs no simulator."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Mismatch", "Scoreboard", "compare"]


class Mismatch(AssertionError):
    """What a design gave is not what was expected."""


def _bits(expected: int, actual: int) -> str:
    """Name the bits in which two values differ."""
    changed = expected ^ actual
    # Two's complement of a negative difference has no end; 64 bits are the widest word here.
    changed &= (1 << 64) - 1
    bits = [i for i in range(changed.bit_length()) if changed >> i & 1]
    named = ", ".join(str(bit) for bit in bits[:8]) + (", ..." if len(bits) > 8 else "")
    return f"bit{'s' * (len(bits) > 1)} {named}"


def compare(what: str, expected: ArrayLike, actual: ArrayLike, axes: Sequence[str]) -> None:
    """Hold an array of integers equal to the expected one.

    Parameters
    ----------
    what : str
        Name of the array in the report.
    expected, actual : integer arrays of one shape
    axes : sequence of str
        What each axis counts, for instance ``("product", "output")``.

    Raises
    ------
    Mismatch
        Names the first element that differs in C order, both values, the bits, and how many differ.
    """
    want, got = np.asarray(expected), np.asarray(actual)
    if want.shape != got.shape:
        raise Mismatch(f"{what}: expected the shape {want.shape}, got {got.shape}")
    if want.ndim != len(axes):
        raise ValueError(f"{what} has {want.ndim} axes, but {len(axes)} were named")
    wrong = np.argwhere(want != got)
    if len(wrong):
        where = ", ".join(f"{axis} {i}" for axis, i in zip(axes, wrong[0], strict=True))
        first = tuple(wrong[0])
        e, a = int(want[first]), int(got[first])
        raise Mismatch(
            f"{what}: {len(wrong)} of {want.size} values differ, first at {where}: "
            f"expected {e} ({e:#x}), got {a} ({a:#x}), {_bits(e, a)}"
        )


class Scoreboard:
    """Compares a stream word by word, in order, as it comes.

    Parameters
    ----------
    name : str
        Stands in the report.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._expected: list[int] = []
        self._seen: list[int] = []

    def expect(self, *words: int) -> None:
        """Append words that are to come."""
        self._expected.extend(words)

    def observe(self, word: int) -> None:
        """Take a word from the design.

        Raises
        ------
        Mismatch
            If it is not the next expected one.
        """
        index = len(self._seen)
        self._seen.append(word)
        before = ", ".join(f"{w:#x}" for w in self._seen[max(0, index - 3) : index]) or "none"
        if index >= len(self._expected):
            raise Mismatch(
                f"{self.name}: {word:#x} came after all {len(self._expected)} expected words "
                f"(before it: {before})"
            )
        want = self._expected[index]
        if word != want:
            raise Mismatch(
                f"{self.name}: word {index} of {len(self._expected)}: expected {want:#x}, got "
                f"{word:#x}, {_bits(want, word)} (before it: {before})"
            )

    def check(self) -> int:
        """Return how many words were compared.

        Raises
        ------
        Mismatch
            If words are missing, or if none was expected: a comparison of nothing proves nothing.
        """
        missing = len(self._expected) - len(self._seen)
        if missing:
            raise Mismatch(
                f"{self.name}: {missing} of {len(self._expected)} words never came, the first "
                f"of them {self._expected[len(self._seen)]:#x}"
            )
        if not self._expected:
            raise Mismatch(f"{self.name}: nothing was expected, so nothing was checked")
        return len(self._seen)
