# SPDX-License-Identifier: Apache-2.0
"""Loops in lists of addresses: what LOOP, LOAD and VEC can walk through by themselves."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Dim", "Nest", "Run", "nests", "runs"]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Dim:
    """A loop: how often, and how far each address moves a time."""

    count: int
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Nest:
    """A stretch of a list that nested loops walk through.

    Parameters
    ----------
    start : int
        First entry of the stretch.
    dims : tuple of Dim
        Outermost first; all counts are above 1.
    """

    start: int
    dims: tuple[Dim, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(dim.count for dim in self.dims)

    @property
    def size(self) -> int:
        """Entries of the stretch."""
        return int(np.prod(self.counts, dtype=np.int64))


@dataclass(frozen=True)
class Run:
    """``repeats + 1`` runs of ``bytes`` bytes, ``pitch`` apart: what one LOAD gathers."""

    address: int
    bytes: int
    repeats: int = 0
    pitch: int = 0

    @property
    def size(self) -> int:
        """Bytes gathered."""
        return self.bytes * (self.repeats + 1)


def nests(addresses: Ints) -> list[Nest]:
    """Cut a list of address tuples into stretches that nested loops walk through.

    Greedy from the left, each stretch as long as perfect nesting allows; regular lists give one.

    Parameters
    ----------
    addresses : int64 [k, n]
        The k addresses of each of n entries.
    """
    found = []
    start = 0
    length = addresses.shape[1]
    while start < length:
        nest = Nest(start, tuple(reversed(list(_dims(addresses[:, start:])))))
        found.append(nest)
        start += nest.size
    return found


def _dims(rest: Ints) -> Iterator[Dim]:
    """Loops of the longest perfect nest that begins a list, innermost first."""
    block = 1
    while True:
        blocks = rest.shape[1] // block
        if blocks < 2:
            return
        heads = rest[:, : blocks * block].reshape(len(rest), blocks, block)
        strides = heads[:, 1, 0] - heads[:, 0, 0]
        # Blocks that repeat the first one, `strides` further each time.
        moved = heads[:, :1, :] + strides[:, None, None] * np.arange(blocks)[None, :, None]
        same = (heads == moved).all(axis=(0, 2))
        count = blocks if same.all() else int(np.argmin(same))
        if count < 2:
            return
        yield Dim(count, tuple(int(s) for s in strides))
        block *= count


def runs(
    addresses: Ints,
    most_bytes: int = 256,
    most_repeats: int = 31,
    cuts: frozenset[int] | None = None,
) -> list[Run]:
    """The gathers that fetch bytes in the given order.

    Parameters
    ----------
    addresses : int64 [n]
    most_bytes, most_repeats : int
        Limits of the instruction.
    cuts : set of int, optional
        Entries at which a gather has to begin.
    """
    if not addresses.size:
        return []
    breaks = np.flatnonzero(np.diff(addresses) != 1) + 1
    edges = [0, *breaks.tolist(), addresses.size]
    edges = sorted({*edges, *(cuts or ())})
    plain = [
        Run(int(addresses[at]), min(most_bytes, end - at))
        for begin, end in itertools.pairwise(edges)
        for at in range(begin, end, most_bytes)
    ]
    # A run that was cut by the limit must not be joined to others, yet equal ones may be.
    found: list[Run] = []
    at = 0
    while at < len(plain):
        first = plain[at]
        count = 1
        pitch = plain[at + 1].address - first.address if at + 1 < len(plain) else 0
        while (
            at + count < len(plain)
            and count <= most_repeats
            and plain[at + count].bytes == first.bytes
            and plain[at + count].address == first.address + count * pitch
        ):
            count += 1
        found.append(Run(first.address, first.bytes, count - 1, pitch if count > 1 else 0))
        at += count
    return found
