# SPDX-License-Identifier: Apache-2.0
"""What a tile of a mesh has to know of those that send to it and take from it.

A tensor that leaves a tile is laid out as its readers want it, be they on other tiles; its words
travel as they lie, and whoever takes them stores them as they come.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..graph import Network, Operator
from .tensors import Ints, is_view
from .wishes import Wish

__all__ = ["Form", "Neighbours", "comes_in_time"]


@dataclass(frozen=True, eq=False)
class Form:
    """A tensor as words.

    Parameters
    ----------
    index : int64 [8 * words]
        Element of the tensor in each byte, the first of a word in bits 7:0; -1 for none.
    fill : int16 [8 * words]
        The code that a byte without an element always holds, -1 where nothing is known of it.
    """

    index: Ints
    fill: NDArray[np.int16]

    @property
    def words(self) -> int:
        return self.index.size // 8

    @property
    def positions(self) -> Ints:
        """Byte of each element: int64 [elements]."""
        used = np.flatnonzero(self.index >= 0)
        at = np.empty(int(self.index.max()) + 1, np.int64)
        at[self.index[used]] = used
        return at

    @property
    def whole(self) -> bool:
        """Whether elements fill all words but for the end of the last one."""
        count = int(self.index.max()) + 1
        return bool((self.index[:count] >= 0).all()) and self.index.size - count < 8


@dataclass(frozen=True, eq=False)
class Neighbours:
    """What a program for one tile of a mesh is written for.

    Inputs of its network stand in the order in which they are produced, and are taken in that
    order, each as late as that allows: a tile never waits for what can only come after what it has
    not taken yet. If it gives something to others before it has taken all inputs, though, others
    may wait for both in the other order; ``eager`` tiles take all of a sample before they begin.

    Parameters
    ----------
    message_words : int
        Words of the longest message; an interface takes and gives them whole.
    given : mapping of str to Form
        Inputs that other tiles make.
    leaving : set of str
        Tensors that other tiles read.
    wanted : mapping of str to list of Wish
        How all readers of a tensor, wherever they are, would like it to lie.
    eager : bool
        Whether all inputs are taken before anything is computed.
    stored : bool
        Whether every input is stored: none goes straight to row registers.
    """

    message_words: int
    given: Mapping[str, Form] = field(default_factory=dict)
    leaving: frozenset[str] = frozenset()
    wanted: Mapping[str, Sequence[Wish]] = field(default_factory=dict)
    eager: bool = False
    stored: bool = False


def comes_in_time(network: Network, neighbours: Neighbours, tensor: str) -> bool:
    """Whether an input that one layer reads at once may stay in the FIFO until then."""
    if neighbours.stored:
        return False
    if not neighbours.message_words:
        return True
    form = neighbours.given.get(tensor)
    whole = form is None or form.whole
    order = [entry.tensor for entry in network.inputs]
    first = next(layer for layer in network.layers if not is_view(layer) and layer.sources)
    if neighbours.eager and tensor not in _seen(network, first):
        return False
    # What is produced later must not be needed earlier.
    later = set(order[order.index(tensor) + 1 :])
    if neighbours.eager and later:
        return False
    carried = {tensor}
    for layer in network.layers:
        if carried & set(layer.sources):
            if not is_view(layer):
                return whole
            carried.add(layer.output)
        elif later & set(layer.sources):
            return False
    return False


def _seen(network: Network, layer: Operator) -> set[str]:
    """The inputs that a layer reads, through views."""
    makers = {one.output: one for one in network.layers}
    found = set()
    for source in layer.sources:
        while source in makers and is_view(makers[source]):
            source = makers[source].sources[0]
        found.add(source)
    return found
