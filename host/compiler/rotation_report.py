# SPDX-License-Identifier: Apache-2.0
"""The part of the mapping report that tells of weight rotation: who shares whose converters, and
what that costs against the same network with an array a core."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...arch.chip import Chip
from ...arch.errors import CapacityError
from .compiled import CompiledNetwork

__all__ = ["Plain", "compile_plain", "describe_rotation", "rotation_lines", "shared_cores"]

_MOST_CORES = 32
"""That a tile can have (:class:`~...arch.chip_fields.ChipFields`)."""


@dataclass(frozen=True, eq=False)
class Plain:
    """The same network on a chip of as many arrays, each of them with converters of its own.

    Parameters
    ----------
    compiled : CompiledNetwork or None
    reason : str
        Why there is none.
    """

    compiled: CompiledNetwork | None
    reason: str = ""


def compile_plain(chip: Chip, make: Callable[[Chip], CompiledNetwork]) -> Plain | None:
    """What a rotating network is compared with.

    Parameters
    ----------
    chip : Chip
        The one that the network was compiled for.
    make : callable
        Compiles the network for another chip.

    Returns
    -------
    Plain, or None if the chip's cores have an array each
    """
    if chip.arrays_per_core == 1:
        return None
    if chip.arrays > _MOST_CORES:
        return Plain(None, f"no tile has {chip.arrays} cores")
    try:
        return Plain(make(chip.with_(cores=chip.arrays, arrays_per_core=1)))
    except CapacityError:
        return Plain(None, f"the network does not fit tiles of {chip.arrays} cores with one array")


def shared_cores(compiled: CompiledNetwork) -> list[dict[str, Any]]:
    """Cores that have several arrays in use, and how many each layer has of them; of a stage that
    stands on several tiles of a mesh, those of its first tile."""
    found = []
    for number, part in enumerate(compiled.parts):
        where = {"tile": number}
        if compiled.mesh is not None:
            tile = compiled.mesh.tiles[number]
            if tile.copy:
                continue
            where |= {"x": tile.x, "y": tile.y}
        layers: dict[int, Counter[str]] = {}
        for m in part.mapping.layers:
            for core, _ in dict.fromkeys(m.arrays):
                layers.setdefault(core, Counter())[m.layer.name] += 1
        found += [
            {**where, "core": core, "arrays": counts.total(), "layers": dict(counts)}
            for core, counts in sorted(layers.items())
            if counts.total() > 1
        ]
    return found


def describe_rotation(
    compiled: CompiledNetwork, cycles: int, plain: Plain | None, plain_cycles: int | None
) -> dict[str, Any] | None:
    """Data fit for JSON; None where cores have an array each.

    Parameters
    ----------
    compiled : CompiledNetwork
    cycles : int
        From one sample to the next, predicted.
    plain : Plain or None
        See :func:`compile_plain`.
    plain_cycles : int or None
        The same of ``plain``.
    """
    chip = compiled.chip
    if chip.arrays_per_core == 1:
        return None
    known = plain_cycles is not None
    return {
        "arrays_per_core": chip.arrays_per_core,
        "shared": shared_cores(compiled),
        "cycles": cycles,
        "plain": {"cores": chip.arrays, "cycles": plain_cycles} if known else None,
        "reason": "" if plain is None else plain.reason,
        "slowdown": round(cycles / max(1, plain_cycles), 3) if plain_cycles is not None else None,
    }


def _rows(shared: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A row of a table for neighbouring cores that hold the same."""
    at = 0
    while at < len(shared):
        first, end = shared[at], at + 1
        alike = {**first, "core": first["core"] + 1}
        while end < len(shared) and shared[end] == alike:
            end += 1
            alike = {**alike, "core": alike["core"] + 1}
        last = shared[end - 1]["core"]
        cores = str(first["core"]) if last == first["core"] else f"{first['core']} to {last}"
        tile = f"({first['x']}, {first['y']})" if "x" in first else first["tile"]
        layers = ", ".join(
            f"{name} ({count})" if count > 1 else name for name, count in first["layers"].items()
        )
        yield f"| {tile} | {cores} | {first['arrays']} | {layers} |"
        at = end


def rotation_lines(rotation: Mapping[str, Any] | None) -> Iterator[str]:
    """What :func:`describe_rotation` has found, as Markdown."""
    if rotation is None:
        return
    yield "## Weight rotation"
    yield ""
    each = rotation["arrays_per_core"]
    said = f"Up to {each} arrays take turns behind the converters of a core. "
    plain = rotation["plain"]
    if plain is None:
        why = rotation["reason"] or "the network was not compiled so"
        said += (
            f"A sample every {rotation['cycles']:,} cycles, predicted. There is nothing to "
            f"compare it with: {why}."
        )
    else:
        said += (
            f"A sample every {rotation['cycles']:,} cycles, predicted; with an array a core "
            f"({plain['cores']} cores a tile) every {plain['cycles']:,}: rotation takes "
            f"{rotation['slowdown']:.2f} times as long."
        )
    yield said
    yield ""
    if not rotation["shared"]:
        yield "No core has more than one array in use."
        yield ""
        return
    yield "| tile | core | arrays | of layers |"
    yield "|---|---|---|---|"
    yield from _rows(rotation["shared"])
    yield ""
