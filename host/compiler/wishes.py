# SPDX-License-Identifier: Apache-2.0
"""How the readers of a tensor would like it to lie in memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..graph import AveragePool, Concat, Conv, Dense, MaxPool, Network, Operator, Pad
from .gather import Gather
from .tensors import Ints, Pads, apply_view, elements, is_view

__all__ = ["Halo", "Wish", "halo_of", "joins", "readers", "wishes"]


@dataclass(frozen=True, eq=False)
class Wish:
    """An image (channels, rows, columns) of some elements, with a halo."""

    ids: Ints
    pads: Pads
    code: int
    strong: bool
    """From a reader that gathers windows; otherwise one that would follow."""
    apart: bool = False
    """Whether every byte of the halo must be another one: a Pad's output has them as elements."""


def readers(network: Network, tensor: str) -> list[Operator]:
    """The layers that read a tensor."""
    return [layer for layer in network.layers if tensor in layer.sources]


def joins(network: Network, layer: Operator) -> bool:
    """Whether the sources of a Concat can lie side by side in one image."""
    if isinstance(layer, Gather) and not any(
        any(wish.pads) for wish in wishes(network, layer.output)
    ):
        # Whoever reads pieces without a halo reads them where they are.
        return False
    return (
        isinstance(layer, Concat)
        and layer.axis == 0
        and len(network.shape(layer.output)) == 3
        and any(table is None for table in layer.tables)
    )


def _spatial(pad: Pad) -> Pads | None:
    """The pads of a Pad around rows and columns, if it pads nothing else."""
    if len(pad.before) != 3 or pad.before[0] or pad.after[0]:
        return None
    return pad.before[1], pad.before[2], pad.after[1], pad.after[2]


def wishes(network: Network, tensor: str) -> list[Wish]:
    """What the readers of a tensor want, those behind views included."""
    return list(_wishes(network, tensor, elements(network.shape(tensor)), True))


def _wishes(network: Network, tensor: str, ids: Ints, strong: bool) -> Iterator[Wish]:
    for layer in readers(network, tensor):
        if is_view(layer):
            yield from _wishes(network, layer.output, apply_view(layer, ids), strong)
        elif isinstance(layer, Dense | Conv) and tensor in layer.partials:
            continue
        elif isinstance(layer, Conv):
            yield Wish(ids, layer.pads, layer.pad_code, strong)
        elif isinstance(layer, MaxPool):
            yield Wish(ids, layer.pads, 0, strong)
        elif isinstance(layer, AveragePool):
            yield Wish(ids, layer.pads, layer.input_zero_point, strong)
        elif isinstance(layer, Pad):
            pads = _spatial(layer)
            if pads is not None:
                yield Wish(ids, pads, layer.code, strong, apart=True)
        elif isinstance(layer, Concat):
            if joins(network, layer):
                yield Wish(ids, (0, 0, 0, 0), 0, strong)
        elif not isinstance(layer, Dense) and network.shape(layer.output) == ids.shape:
            # Element-wise: what its result is wanted like.
            yield from _wishes(network, layer.output, ids, False)


@dataclass(frozen=True)
class Halo:
    """What surrounds an image in memory: size, code, and whether rows have halos of their own."""

    pads: Pads = (0, 0, 0, 0)
    code: int = 0
    apart: bool = False


def halo_of(found: list[Wish], ids: Ints) -> Halo:
    """The halo that serves most of the readers of an image."""
    same = [w for w in found if w.strong and any(w.pads) and np.array_equal(w.ids, ids)]
    if not same:
        return Halo()
    codes = [w.code for w in same]
    code = max(codes, key=codes.count)
    same = [w for w in same if w.code == code]
    top, left, bottom, right = (max(w.pads[i] for w in same) for i in range(4))
    return Halo((top, left, bottom, right), code, any(w.apart for w in same))
