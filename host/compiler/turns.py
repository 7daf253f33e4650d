# SPDX-License-Identifier: Apache-2.0
"""Weight rotation: which blocks of a layer share a core, and in which order they take turns.

All arrays of a core stand behind the same converters (Qiao et al. 2018, "AtomLayer: a universal
ReRAM-based CNN accelerator with atomic layer computation", as told by Crafton et al. 2021, section
"Weight rotation"): many weights in little area, and fewer products at once.

The converters, the row registers and the accumulators of a core serve one of its arrays at a time.
A layer that has more blocks than there are cores is worked through in *rounds*: a round is some
column parts that have no core in common. In it a core takes its blocks of one column part in
*turns*, whose products add up in its accumulators; then the sums are drained.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from ...arch.chip import Chip

__all__ = ["BlockLike", "FreeArrays", "Load", "Round", "loads_again", "plan_rounds"]

Grid = Sequence[tuple[range, range]]
"""Rows and columns of each block of a layer, row part by row part."""


class BlockLike(Protocol):
    """What a round has to know of a block; :class:`~.mapping.Block` is one."""

    @property
    def core(self) -> int: ...
    @property
    def rows(self) -> range: ...
    @property
    def cols(self) -> range: ...
    @property
    def array(self) -> int: ...


_Block = TypeVar("_Block", bound=BlockLike)


@dataclass(frozen=True, eq=False)
class Load(Generic[_Block]):
    """A row part, and the products of it that start at once.

    Parameters
    ----------
    blocks : tuple of Block
        With the same rows, on different cores.
    fresh : frozenset of int
        Cores that have to load it: not those that hold it from the round before.
    keep : bool
        The products add to those of the turns before.
    """

    blocks: tuple[_Block, ...]
    fresh: frozenset[int]
    keep: bool


@dataclass(frozen=True, eq=False)
class Round(Generic[_Block]):
    """Work between two drains.

    Parameters
    ----------
    loads : tuple of Load
        Turn by turn, the row parts of each in order.
    parts : tuple of int
        Column parts that are drained behind the last turn.
    """

    loads: tuple[Load[_Block], ...]
    parts: tuple[int, ...]


def plan_rounds(parts: Sequence[Sequence[_Block]]) -> list[Round[_Block]]:
    """The rounds of a layer.

    Parameters
    ----------
    parts : sequence of sequences of Block
        Its column parts, each with the blocks that add up.
    """
    groups: list[list[int]] = []
    taken: set[int] = set()
    for number, part in enumerate(parts):
        own = {block.core for block in part}
        if not groups or own & taken:
            groups.append([])
            taken = set()
        groups[-1].append(number)
        taken |= own
    rounds = []
    held: dict[int, range | None] = {}
    """The row part in the row registers of a core, and in its sum of activations nothing else."""
    for group in groups:
        turns: list[dict[range, list[_Block]]] = []
        seen: dict[int, int] = {}
        for block in sorted((b for n in group for b in parts[n]), key=lambda b: b.rows.start):
            turn = seen.get(block.core, 0)
            seen[block.core] = turn + 1
            if turn == len(turns):
                turns.append({})
            turns[turn].setdefault(block.rows, []).append(block)
        loads = []
        for number, turn_parts in enumerate(turns):
            for rows, blocks in turn_parts.items():
                cores = [block.core for block in blocks]
                fresh = frozenset(c for c in cores if number or held.get(c) != rows)
                held |= dict.fromkeys(fresh, None if number else rows)
                loads.append(Load(tuple(blocks), fresh, number > 0))
        rounds.append(Round(tuple(loads), tuple(group)))
    return rounds


def loads_again(parts: Sequence[Sequence[_Block]]) -> bool:
    """Whether a row part of a layer is loaded more than once."""
    loads = (load for one in plan_rounds(parts) for load in one.loads)
    loaded = [load.blocks[0].rows for load in loads if load.fresh]
    return len(set(loaded)) < len(loaded)


class FreeArrays:
    """The arrays of a tile that no layer has taken yet.

    Past the last one there are more, of cores that the chip lacks: whoever asks for a mapping is
    told how many arrays it takes.
    """

    def __init__(self, chip: Chip) -> None:
        self._each = chip.arrays_per_core
        self._next = [0] * chip.cores
        """Of each core, its first free array."""

    def take(self, grid: Grid, spare_first: bool = False) -> list[tuple[int, int]]:
        """Places (core, array) for the blocks of a layer.

        Parameters
        ----------
        grid : sequence of (rows, columns)
        spare_first : bool
            Not on core 0, which then is left free.
        """
        if spare_first and not self._next[0]:
            self._next[0] = self._each
        first = 1 if spare_first else 0
        cores = [c for c in range(first, len(self._next)) if self._next[c] < self._each]
        # Those with the most free arrays first; of equals in order.
        cores.sort(key=lambda c: (self._next[c], c))
        if len(grid) <= len(cores):
            wanted = cores[: len(grid)]
        else:
            slots = _spread(grid, len(cores)) if cores else [0] * len(grid)
            wanted = [cores[slot] if cores else -1 for slot in slots]
        return [self._take(core, first) for core in wanted]

    def _take(self, core: int, first: int) -> tuple[int, int]:
        """An array of a core, or if it has none left of the one that has most."""
        if core < 0 or self._next[core] == self._each:
            core = min(range(first, len(self._next)), key=lambda c: (self._next[c], c), default=-1)
            if core < 0 or self._next[core] == self._each:
                core = len(self._next)
                self._next.append(0)
        self._next[core] += 1
        return core, self._next[core] - 1


def _spread(grid: Grid, cores: int) -> list[int]:
    """Which of so many cores each block takes, where there are more blocks than cores.

    Column parts that are worked on at once share the cores evenly; as many as make the fewest
    turns, and of equals as many as there can be, for a row part is then loaded less often.
    """
    packs: dict[range, list[int]] = {}  # column parts by their first row part
    rows_of: dict[range, list[range]] = {}
    for rows, cols in grid:
        rows_of.setdefault(cols, []).append(rows)
    columns = list(rows_of)
    for number, cols in enumerate(columns):
        packs.setdefault(rows_of[cols][0], []).append(number)
    slot_of: dict[tuple[range, range], int] = {}
    base = 0
    for members in packs.values():
        parts = rows_of[columns[members[0]]]
        count = len(members)
        if len(parts) * count + base <= cores:
            # Groups of a convolution, side by side.
            together, each = count, len(parts)
        else:
            base = 0
            cost = partial(_turns, rows=len(parts), count=count, cores=cores)
            together = min(range(1, min(count, cores) + 1), key=cost)
            each = cores // together
        for i, rows in enumerate(parts):
            for j, number in enumerate(members):
                slot_of[rows, columns[number]] = base + i % each * together + j % together
        base += min(len(parts), each) * together
    return [slot_of[block] for block in grid]


def _turns(together: int, rows: int, count: int, cores: int) -> tuple[int, int]:
    """Turns of a layer if so many of its column parts are worked on at once; of equals the most."""
    return math.ceil(count / together) * math.ceil(rows / (cores // together)), -together
