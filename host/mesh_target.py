# SPDX-License-Identifier: Apache-2.0
"""Level verilator of a network on a mesh: all tiles at once, Verilated, and the network between."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..behavioral.cengine import CCrossbar
from ..behavioral.machine import Counters
from .codes import Codes
from .compiler.mesh_plan import HostFeed, MeshPlan
from .compiler.network import CompiledNetwork
from .mesh_build import build_mesh
from .mesh_driver import MeshDriver
from .mesh_simulation import MeshSimulation, load_mesh_library
from .mesh_timing import MeshCounters
from .targets import Target
from .tiles import add_counters, blank_array, core_arrays
from .toolchain import Progress

__all__ = ["MeshTarget"]


class MeshTarget(Target):
    """The RTL of a mesh, Verilated: samples are in the pipeline of its tiles all at once.

    Parameters
    ----------
    compiled : CompiledNetwork
        For a mesh.
    progress : callable, optional
        Told how the build of the models goes, if there is one to do.
    library : Path, optional
        Models to use instead of those of :func:`~.mesh_build.build_mesh`.

    Raises
    ------
    ValueError
        If the network is not for a mesh.
    ToolError
        If the models cannot be built, do not start, or are of another chip.
    """

    name = "verilator"

    def __init__(
        self,
        compiled: CompiledNetwork,
        progress: Progress | None = None,
        *,
        library: Path | None = None,
    ) -> None:
        super().__init__(compiled)
        plan = compiled.mesh
        if plan is None:
            raise ValueError(f"Network '{compiled.network.name}' was not compiled for a mesh")
        self._plan: MeshPlan = plan
        path = library or build_mesh(compiled.chip, "dpi", progress)
        lib = load_mesh_library(path)
        chip = compiled.chip
        columns, rows = chip.mesh
        self._arrays: dict[int, CCrossbar] = {}
        arrays: list[CCrossbar] = []
        for place in range(columns * rows):
            tile = plan.at(place % columns, place // columns)
            if tile is None:
                # Never read; one serves all places.
                arrays += [blank_array(chip, lib)] * chip.arrays
                continue
            part = compiled.parts[tile.tile]
            own = core_arrays(part, lib)
            arrays += own
            self._arrays |= {
                part.array_base + number: own[number] for number in part.program.array_numbers
            }
        self.simulation = MeshSimulation(path, chip, arrays, hosts=(plan.host_row,))
        try:
            programs = [compiled.parts[tile.tile].program for tile in plan.tiles]
            self._driver = MeshDriver(self.simulation, plan, programs)
        except BaseException:
            self.simulation.close()
            raise
        self._samples = 0

    @property
    def driver(self) -> MeshDriver:
        """Loads and runs the tiles; tells when messages passed, and what tiles wait for."""
        return self._driver

    @property
    def mesh_counters(self) -> MeshCounters:
        """Counts of the runs so far."""
        self._check_open()
        return self._driver.mesh_counters()

    def _run(
        self, codes: dict[str, Codes], progress: Callable[[int, int], None]
    ) -> Mapping[str, NDArray[Any]]:
        first = self._samples
        samples = len(next(iter(codes.values())))
        feeds = [_words(feed, codes, samples, first) for feed in self._plan.host_in]
        words = self._driver.run(samples, feeds, progress)
        self._samples += samples
        tensors = {
            tile.tile: self._compiled.parts[tile.tile].program.unpack_outputs(out)
            for tile, out in zip(self._plan.tiles, words, strict=True)
        }
        numbers = {part: number for number, part in enumerate(self._compiled.parts)}
        # Tensors that stay in the mesh are zeros here, and in no result.
        return self._compiled.run_parts(codes, lambda part, _: tensors[numbers[part]], first)

    def _counters(self) -> Counters:
        return add_counters(self._driver.counters())

    def _close(self) -> None:
        self._driver.close()
        self._arrays.clear()

    def _crossbars(self) -> dict[int, CCrossbar]:
        return dict(self._arrays)


def _words(
    feed: HostFeed, codes: Mapping[str, Codes], samples: int, first: int
) -> NDArray[np.uint64]:
    """What a feed sends for samples, the first of them sample ``first``: uint64 [n, words]."""
    own = feed.indices(samples, first)
    if not own:
        return np.empty((0, sum(feed.messages)), np.uint64)
    return feed.words(codes[feed.tensor][own.start : own.stop : own.step])
