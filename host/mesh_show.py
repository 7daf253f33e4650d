# SPDX-License-Identifier: Apache-2.0
"""A run on a mesh as lanes of a pipeline diagram and as use of links."""

from collections.abc import Sequence

from ..arch.noc import Channel, MeshShape
from ..behavioral.mesh import MeshRun
from .compiler.network import CompiledNetwork
from .plots.pipeline import Lane, Stay

__all__ = ["lanes_of", "link_use", "mesh_shape", "tile_names"]


def tile_names(compiled: CompiledNetwork) -> list[str]:
    """For each tile with work, where it stands and what it computes.

    Raises
    ------
    ValueError
        If the network was not compiled for a mesh.
    """
    if compiled.mesh is None:
        raise ValueError(f"Network '{compiled.network.name}' was not compiled for a mesh")
    names = []
    for tile in compiled.mesh.tiles:
        part = compiled.tiles[tile.tile]
        layers = [m.layer.name for m in part.mapping.layers]
        if not layers:
            layers = [layer.name for layer in part.network.layers]
        text = ", ".join(dict.fromkeys(layers))
        if len(text) > 24:
            text = f"{layers[0]} .. {layers[-1]}" if len(layers) > 1 else text
        copy = f" #{tile.copy}" if tile.copies > 1 else ""
        names.append(f"({tile.x},{tile.y}) {text[:30]}{copy}")
    return names


def lanes_of(compiled: CompiledNetwork, run: MeshRun, names: Sequence[str] = ()) -> list[Lane]:
    """A lane a tile, in order of their stages; samples are numbered over the run.

    Parameters
    ----------
    compiled : CompiledNetwork
        With a ``mesh``.
    run : MeshRun
        The first one.
    names : sequence of str, optional
        Instead of :func:`tile_names`.
    """
    plan = compiled.mesh
    lanes: list[Lane] = []
    if plan is None:
        return lanes
    for number, (tile, found, name) in enumerate(
        zip(plan.tiles, run.tiles, names or tile_names(compiled), strict=True)
    ):
        stays = tuple(
            Stay(tile.copy + tile.copies * span.sample, span.begin, span.end, tuple(span.waits))
            for span in found.spans
        )
        lanes.append(Lane(name, stays, run.occupancy(number)))
    return lanes


def mesh_shape(compiled: CompiledNetwork) -> MeshShape:
    """The mesh of a compiled network, with its host port."""
    columns, rows = compiled.chip.mesh
    row = 0 if compiled.mesh is None else compiled.mesh.host_row
    return MeshShape(width=columns, height=rows, hosts=(row,), depth=compiled.chip.buffer_flits)


def link_use(run: MeshRun) -> dict[Channel, float]:
    """Flits a cycle over each link of the routers."""
    cycles = run.cycles or 1
    return {channel: (use.data + use.control) / cycles for channel, use in run.links.items()}
