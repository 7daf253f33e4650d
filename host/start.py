# SPDX-License-Identifier: Apache-2.0
"""Arrays as they were at some time, so that samples can be run again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..behavioral.cengine import CCrossbar
from ..behavioral.image import ArrayImage
from .compiler.network import CompiledNetwork
from .targets import chip_arrays

__all__ = ["Start", "prepared"]


@dataclass(frozen=True, eq=False)
class Start:
    """The arrays before a run: image and next read number of each core in use."""

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
