# SPDX-License-Identifier: Apache-2.0
"""Arrays as they were at some time, so that samples can be run again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..behavioral.cengine import CCrossbar
from ..behavioral.crossbar import Crossbar
from ..behavioral.image import ArrayImage
from .compiler.network import CompiledNetwork
from .targets import chip_arrays

__all__ = ["Start", "core_crossbars", "prepared"]


@dataclass(frozen=True, eq=False)
class Start:
    """The arrays before a run: image and next read number of each in use, by its number."""

    images: Mapping[int, ArrayImage]
    reads: Mapping[int, int]


def prepared(compiled: CompiledNetwork, library: Path, start: Start | None) -> list[CCrossbar]:
    """All arrays of a chip for the model at ``library``: new ones, or as ``start`` has them."""
    arrays = chip_arrays(compiled, library)
    if start is not None:
        for core, image in start.images.items():
            arrays[core].program(image)
            arrays[core].reads = start.reads[core]
    return arrays


def core_crossbars(
    compiled: CompiledNetwork, core: int, reads: Mapping[int, int], start: Start | None
) -> dict[int, Crossbar]:
    """The arrays of a core that are in use, by which of its arrays they are.

    ``reads``: number of the next read of each array; ``start``: as in :func:`prepared`.
    """
    found = {}
    program = compiled.program
    for at, (number, spec) in enumerate(zip(program.array_numbers, program.arrays, strict=True)):
        if spec.core == core:
            image = compiled.images[at] if start is None else start.images[number]
            found[spec.array] = Crossbar(image, compiled.seed, number)
            found[spec.array].reads = reads[number]
    return found
