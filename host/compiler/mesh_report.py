# SPDX-License-Identifier: Apache-2.0
"""The part of the mapping report that tells of a mesh: who stands where, who sends what to whom."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...arch.noc_interface import Leg
from .compiled import CompiledNetwork
from .gather import Gather
from .mesh_placement import hops
from .mesh_plan import MeshPlan, Message
from .tensors import is_view

__all__ = ["describe_mesh", "mesh_lines"]


def describe_mesh(compiled: CompiledNetwork, cycles: Sequence[int]) -> dict[str, Any] | None:
    """Data fit for JSON; None without a mesh.

    Parameters
    ----------
    compiled : CompiledNetwork
    cycles : sequence of int
        Predicted, of each tile for one of its samples.
    """
    plan = compiled.mesh
    if plan is None:
        return None
    chip = compiled.chip
    tiles = []
    for tile, own in zip(plan.tiles, cycles, strict=True):
        part = compiled.tiles[tile.tile]
        routes = []
        for route in tile.routes:
            stops = _stops(plan, (tile.x, tile.y), route.legs)
            to_host = any(leg.host for leg in route.legs)
            routes.append(
                {
                    "route": route.number,
                    "channel": route.channel,
                    "to": [list(stop) for stop in stops],
                    "host": to_host,
                    "hops": _hops(plan, (tile.x, tile.y), route.legs),
                    "words": _words(tile.gives, route.number) / tile.copies,
                }
            )
        tiles.append(
            {
                "tile": tile.tile,
                "x": tile.x,
                "y": tile.y,
                "stage": tile.part,
                "copy": tile.copy,
                "copies": tile.copies,
                "layers": [
                    layer.name
                    for layer in part.network.layers
                    if layer.sources and not is_view(layer) and not isinstance(layer, Gather)
                ],
                "arrays": part.mapping.arrays,
                "free_arrays": chip.arrays - part.mapping.arrays,
                "cycles": own,
                "routes": routes,
            }
        )
    feeds = [
        {
            "tensor": feed.tensor,
            "channel": feed.channel,
            "to": [list(stop) for stop in _stops(plan, (0, plan.host_row), feed.legs)],
            "hops": _hops(plan, (0, plan.host_row), feed.legs),
            "words": sum(feed.messages) / feed.copies,
        }
        for feed in plan.host_in
    ]
    used = sum(compiled.tiles[tile.tile].mapping.arrays for tile in plan.tiles)
    paces = [-(-own // tile.copies) for tile, own in zip(plan.tiles, cycles, strict=True)]
    return {
        "columns": plan.shape[0],
        "rows": plan.shape[1],
        "tiles": tiles,
        "feeds": feeds,
        "arrays": used,
        "free_arrays": chip.tiles * chip.arrays - used,
        "free_tiles": chip.tiles - len(tiles),
        "pace": max(paces),
        "latency": _latency(plan, cycles),
    }


def _latency(plan: MeshPlan, cycles: Sequence[int]) -> int:
    """Cycles of the longest way of one sample through its tiles, the mesh itself left out."""
    done: list[int] = [0] * len(plan.tiles)
    for tile, own in zip(plan.tiles, cycles, strict=True):
        done[tile.tile] += own
        for route in tile.routes:
            for consumer in plan.consumers(tile, route):
                done[consumer.tile] = max(done[consumer.tile], done[tile.tile])
    return max(done)


def _words(gives: Sequence[Sequence[Message]], number: int) -> float:
    """Words a sample of a tile on one of its routes."""
    return sum(m.words for sample in gives for m in sample if m.number == number) / len(gives)


def _stops(plan: MeshPlan, source: tuple[int, int], legs: Sequence[Leg]) -> list[tuple[int, int]]:
    return sorted((tile.x, tile.y) for tile in plan.reached(source, legs))


def _hops(plan: MeshPlan, source: tuple[int, int], legs: Sequence[Leg]) -> int:
    """Links that the packets of a message take, over all legs."""
    return sum(hops(source, (leg.dst_x, leg.dst_y)) for leg in legs)


def mesh_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Of a report with a mesh: a map, stages, and the ways of words, as Markdown."""
    mesh = report.get("mesh")
    if mesh is None:
        return
    yield "## Mesh"
    yield ""
    yield (
        f"{mesh['columns']}x{mesh['rows']} tiles: {mesh['arrays']} arrays in use, "
        f"{mesh['free_arrays']} free, {mesh['free_tiles']} tiles without work. Predicted from the "
        f"programs, for evenly spread codes: a sample every {mesh['pace']:,} cycles, "
        f"{mesh['latency']:,} cycles through all its tiles; ways through the mesh come on top."
    )
    yield ""
    at = {(tile["x"], tile["y"]): tile for tile in mesh["tiles"]}
    yield "|" + "".join(f" x = {x} |" for x in range(mesh["columns"]))
    yield "|" + "---|" * mesh["columns"]
    for y in range(mesh["rows"]):
        cells = []
        for x in range(mesh["columns"]):
            tile = at.get((x, y))
            text = "-"
            if tile is not None:
                copy = f" ({tile['copy'] + 1} of {tile['copies']})" if tile["copies"] > 1 else ""
                text = f"{', '.join(tile['layers'])}{copy}"
            cells.append(f" {text} |")
        yield "|" + "".join(cells)
    yield ""
    yield "| stage | layers | tiles | arrays a tile | free | cycles | of the pace |"
    yield "|---|---|---|---|---|---|---|"
    for tile in mesh["tiles"]:
        if tile["copy"]:
            continue
        share = tile["cycles"] / tile["copies"] / max(1, mesh["pace"])
        yield (
            f"| {tile['stage']} | {', '.join(tile['layers'])} | {tile['copies']} | "
            f"{tile['arrays']} | {tile['free_arrays']} | {tile['cycles']:,} | {share:.2f} |"
        )
    yield ""
    yield "| from | to | channel | words a sample | hops |"
    yield "|---|---|---|---|---|"
    for feed in mesh["feeds"]:
        yield (
            f"| host, {feed['tensor']} | {_places(feed['to'], False)} | {feed['channel']} | "
            f"{feed['words']:g} | {feed['hops']} |"
        )
    for tile in mesh["tiles"]:
        for route in tile["routes"]:
            yield (
                f"| ({tile['x']}, {tile['y']}), route {route['route']} | "
                f"{_places(route['to'], route['host'])} | {route['channel'] or '-'} | "
                f"{route['words']:g} | {route['hops']} |"
            )
    yield ""


def _places(stops: Sequence[Sequence[int]], host: bool) -> str:
    names = [f"({x}, {y})" for x, y in stops] + (["host"] if host else [])
    return ", ".join(names)
