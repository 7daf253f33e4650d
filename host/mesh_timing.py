# SPDX-License-Identifier: Apache-2.0
"""How long runs on a mesh take: what the fast level predicts, and counts of the same kind for all
levels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..arch.noc import Channel, Node
from ..arch.noc_interface import ListEntry
from ..behavioral.machine_times import PassTimes
from ..behavioral.mesh import Feed, MeshModel, MeshRun, TileSetup
from .compiler.network import CompiledNetwork

__all__ = ["LinkFlits", "MeshCounters", "MeshTiming", "link_flits", "run_flits"]

LinkFlits = Mapping[str, tuple[int, int]]
"""Flits of data and of control over each link that carried any: ``"(0, 1) east"`` for the output of
a router, ``"tile (0, 1)"`` and ``"host port (0, 0)"`` for links into the mesh."""


@dataclass(frozen=True)
class MeshCounters:
    """Counts of the runs of a mesh, at levels that have cycles.

    Parameters
    ----------
    runs, samples : int
    cycles : int
        From a run's first flit of the host to the last flit of its results, summed over runs.
    flits : LinkFlits
        What tiles and host sent for the samples.
    busy : tuple of int
        For each tile with work, cycles in which its program did not wait at a SYNC.
    """

    runs: int
    samples: int
    cycles: int
    flits: LinkFlits
    busy: tuple[int, ...]

    @property
    def total_flits(self) -> int:
        """Over all links."""
        return sum(data + control for data, control in self.flits.values())

    @property
    def occupancy(self) -> tuple[float, ...]:
        """For each tile, the share of the cycles in which its program did not wait."""
        return tuple(busy / self.cycles if self.cycles else 0.0 for busy in self.busy)

    @property
    def cycles_a_sample(self) -> float:
        """Of the runs as they were, filling and draining included."""
        return self.cycles / self.samples if self.samples else 0.0

    def to_json(self) -> dict[str, Any]:
        """For a report."""
        return {
            "runs": self.runs,
            "cycles": self.cycles,
            "cycles_a_sample": self.cycles_a_sample,
            "flits": self.total_flits,
            "occupancy": list(self.occupancy),
            "links": {
                name: {"data": data, "control": control}
                for name, (data, control) in self.flits.items()
            },
        }


def link_flits(
    outputs: Mapping[Channel, tuple[int, int]], entries: Mapping[Node, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    """Links by name, in order, without those that carried nothing.

    Parameters
    ----------
    outputs : mapping of Channel to (data, control)
        Flits over the routers' outputs.
    entries : mapping of Node to (data, control)
        And from tiles and hosts into the mesh.
    """
    found = {str(link): flits for link, flits in sorted(outputs.items()) if any(flits)}
    return found | {str(node): flits for node, flits in sorted(entries.items()) if any(flits)}


class MeshTiming:
    """Predicts the runs of a compiled network on its mesh, one after another.

    Parameters
    ----------
    compiled : CompiledNetwork
        With a ``mesh``.

    Raises
    ------
    ValueError
        If it has none.
    """

    def __init__(self, compiled: CompiledNetwork) -> None:
        plan = compiled.mesh
        if plan is None:
            raise ValueError(f"Network '{compiled.network.name}' was not compiled for a mesh")
        self._plan = plan
        self._model = MeshModel(
            compiled.chip,
            [
                TileSetup(
                    Node(tile.x, tile.y),
                    tile.routes,
                    tuple(ListEntry(*entry) for entry in tile.input_list),
                    tuple(ListEntry(*entry) for entry in tile.output_list),
                )
                for tile in plan.tiles
            ],
            [Feed(feed.legs, feed.channel, feed.consumers) for feed in plan.host_in],
            host_row=plan.host_row,
        )
        self._samples = 0
        self._counters = MeshCounters(0, 0, 0, {}, (0,) * len(plan.tiles))
        self.last: MeshRun | None = None
        """The last run."""

    @property
    def counters(self) -> MeshCounters:
        """Of all runs so far."""
        return self._counters

    def run(self, samples: int, times: Sequence[Sequence[PassTimes]]) -> MeshRun:
        """Predict the next run.

        Parameters
        ----------
        samples : int
        times : for each tile of the plan, sequence of PassTimes
            Of those samples that it takes.

        Raises
        ------
        MeshDeadlockError
            If tiles would wait for ever.
        """
        first, plan = self._samples, self._plan
        turns = [(k, feed, feed.indices(samples, first)) for k, feed in enumerate(plan.host_in)]
        messages = [
            (number, words)
            for sample in range(samples)
            for number, feed, indices in turns
            if sample in indices
            for words in feed.messages
        ]
        found = self._model.run(times, messages)
        self._samples += samples
        self.last = found
        before = self._counters
        flits = dict(before.flits)
        for name, (data, control) in run_flits(found).items():
            old = flits.get(name, (0, 0))
            flits[name] = (old[0] + data, old[1] + control)
        self._counters = MeshCounters(
            before.runs + 1,
            before.samples + samples,
            before.cycles + found.cycles,
            flits,
            tuple(a + tile.busy for a, tile in zip(before.busy, found.tiles, strict=True)),
        )
        return found


def run_flits(run: MeshRun) -> dict[str, tuple[int, int]]:
    """Flits of a predicted run by link."""
    outputs = {channel: (use.data, use.control) for channel, use in run.links.items()}
    entries = {node: (use.data, use.control) for node, use in run.entries.items()}
    return link_flits(outputs, entries)
