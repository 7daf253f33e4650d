# SPDX-License-Identifier: Apache-2.0
"""Which part of a network stands on which tile of a mesh: where words have the shortest way.

Parts begin in a line that winds through the mesh, each behind the one before it, the host's at the
host port; then two tiles are swapped as long as that shortens the way of all words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Flow", "hops", "place_tiles"]

Place = tuple[int, int]
"""Column and row."""

_ROUNDS = 20


@dataclass(frozen=True)
class Flow:
    """Words a sample from a part to others; parts are numbers from 0 on, -1 is the host."""

    source: int
    targets: tuple[int, ...]
    words: float


def hops(one: Place, other: Place) -> int:
    """Links between two tiles."""
    return abs(one[0] - other[0]) + abs(one[1] - other[1])


def place_tiles(
    count: int, shape: tuple[int, int], flows: Sequence[Flow], host_row: int = 0
) -> list[Place]:
    """Column and row of each of ``count`` parts.

    Parameters
    ----------
    count : int
        At most the tiles of the mesh.
    shape : tuple of int
        Columns and rows.
    flows : sequence of Flow
    host_row : int
        The host is at the west end of this row.
    """
    columns, rows = shape
    line = [(x if y % 2 == 0 else columns - 1 - x, y) for y in range(rows) for x in range(columns)]
    places: list[Place] = list(line)  # those behind the last part are free
    by_part: list[list[Flow]] = [[] for _ in places]
    for flow in flows:
        for part in {flow.source, *flow.targets}:
            if part >= 0:
                by_part[part].append(flow)

    def place(part: int) -> Place:
        return (0, host_row) if part < 0 else places[part]

    def cost(parts: tuple[int, int]) -> float:
        touched = {id(flow): flow for part in parts for flow in by_part[part]}
        return sum(
            flow.words * hops(place(flow.source), place(target))
            for flow in touched.values()
            for target in flow.targets
        )

    for _ in range(_ROUNDS):
        better = False
        for one in range(count):
            for other in range(one + 1, len(places)):
                before = cost((one, other))
                places[one], places[other] = places[other], places[one]
                if cost((one, other)) < before - 1e-9:
                    better = True
                else:
                    places[one], places[other] = places[other], places[one]
        if not better:
            break
    return places[:count]
