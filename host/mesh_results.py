# SPDX-License-Identifier: Apache-2.0
"""What a run of a mesh gives: the output words of its tiles, and when messages passed the host."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..behavioral.program import TileProgram
from .compiler.mesh_plan import MeshPlan
from .driver import ProtocolError
from .mesh_simulation import Arrived, MeshSimulation

__all__ = ["RunStamps", "Stamps", "collect"]

Stamps = Mapping[tuple[int, int], NDArray[np.uint64]]
"""By tile (number in the plan) and route: cycles of the first and the last flit of each message,
uint64 [messages, 2]."""


@dataclass(frozen=True, eq=False)
class RunStamps:
    """When messages passed the host in one run, in cycles since the reset of the mesh.

    Parameters
    ----------
    samples : int
    sent : mapping of int to uint64 [messages, 2]
        By feed: cycles of the first and the last flit of each message.
    came : Stamps
    """

    samples: int
    sent: Mapping[int, NDArray[np.uint64]]
    came: Stamps

    @property
    def first(self) -> int:
        """In which the first flit of the host was taken."""
        return min(
            (int(stamps[:, 0].min()) for stamps in self.sent.values() if len(stamps)), default=0
        )

    @property
    def last(self) -> int:
        """In which the last flit of a result came."""
        return max(
            (int(stamps[:, 1].max()) for stamps in self.came.values() if len(stamps)), default=0
        )

    @property
    def cycles(self) -> int:
        """From the first flit in to the last flit out, both counted."""
        return self.last - self.first + 1 if self.samples else 0


def collect(
    simulation: MeshSimulation,
    plan: MeshPlan,
    programs: Sequence[TileProgram],
    samples: int,
    first: int,
) -> tuple[list[NDArray[np.uint64]], Stamps]:
    """Put what has come for ``samples`` samples, the first of them sample ``first``, into the
    tiles' output words.

    Returns
    -------
    list of uint64 [n, output_words], Stamps
        For each tile of the plan, its output words for the samples that it takes; 0 where they are
        not for the host.

    Raises
    ------
    ProtocolError
        If other messages have come than were due.
    """
    outputs = [
        np.zeros((tile.share(samples, first), program.output_words), np.uint64)
        for tile, program in zip(plan.tiles, programs, strict=True)
    ]
    came: dict[tuple[int, int], NDArray[np.uint64]] = {}
    for result in plan.host_out:
        tile = plan.tiles[result.tile]
        name = f"Tile ({tile.x}, {tile.y})"
        number = tile.y * plan.shape[0] + tile.x
        routes = {m.number for turn in result.takes for m in turn}
        found = {route: _Reader(simulation.take(number, route)) for route in routes}
        # Samples that the tile has had in the runs before.
        done = tile.share(first)
        for row, out in enumerate(outputs[result.tile]):
            for m in result.takes[(done + row) % len(result.takes)]:
                words = found[m.number].next()
                if len(words) != m.words:
                    raise ProtocolError(
                        f"{name} sent a message of {len(words)} words on route {m.number} where "
                        f"one of {m.words} was due"
                    )
                out[m.start : m.start + m.words] = words
        for route, reader in found.items():
            reader.end(name, route)
            came[result.tile, route] = reader.stamps
    return outputs, came


class _Reader:
    """Messages of a route, one after the other."""

    def __init__(self, arrived: Arrived) -> None:
        self._arrived = arrived
        self._ends = np.cumsum(arrived.lengths)
        self._next = 0

    @property
    def stamps(self) -> NDArray[np.uint64]:
        return self._arrived.stamps

    def next(self) -> NDArray[np.uint64]:
        if self._next == len(self._ends):
            return np.empty(0, np.uint64)
        end = int(self._ends[self._next])
        start = end - int(self._arrived.lengths[self._next])
        self._next += 1
        return self._arrived.words[start:end]

    def end(self, name: str, route: int) -> None:
        if self._next != len(self._ends):
            raise ProtocolError(
                f"{name} sent {len(self._ends)} messages on route {route} where {self._next} were "
                "due"
            )
