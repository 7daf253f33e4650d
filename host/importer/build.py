# SPDX-License-Identifier: Apache-2.0
"""What all parts of the importer share: the graph, and the network as it grows."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ...arch.errors import ModelError
from ..graph import Combine, NetworkInput, Operator, Reshape
from ..graph.operators import Shape
from .values import Codes, Grid
from .view import MAX_VALUES, GraphView, describe

if TYPE_CHECKING:
    from .weights import WeightCache

__all__ = ["IDENTITY", "Build", "unsupported"]

IDENTITY = (1 << 23, 23)
"""Mantissa and shift of a requantizer that multiplies by one."""


def unsupported(node: NodeProto, what: str, way_out: str) -> ModelError:
    """An error of one sentence: which node, what of it, what to do."""
    domain = f" of domain {node.domain!r}" if node.domain else ""
    return ModelError(f"The {describe(node)}{domain} {what}; {way_out}")


class Build:
    """A network under construction.

    Parameters
    ----------
    graph : GraphView
    batch : int
        The fixed size of the batch, 0 if it is free.
    """

    def __init__(self, graph: GraphView, batch: int, weights: "WeightCache") -> None:
        self.graph = graph
        self.batch = batch
        self.weights = weights
        self.inputs: list[NetworkInput] = []
        self.layers: list[Operator] = []
        self.notes: list[str] = []
        self._names: set[str] = set()
        self._tensors: set[str] = set()

    def name(self, node: NodeProto) -> str:
        """A short name that no other layer has: the node's, without the quantizer's suffix."""
        base = node.name.removesuffix("_quant") or f"layer{len(self.layers) + 1}"
        return self._unique(base, self._names)

    def tensor(self, base: str) -> str:
        """A name of a tensor that no other has."""
        return self._unique(base, self._tensors)

    def claim(self, tensor: str) -> str:
        """Take a tensor's own name; one that is taken gets another."""
        return self._unique(tensor, self._tensors)

    @staticmethod
    def _unique(base: str, taken: set[str]) -> str:
        name, count = base, 1
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name)
        return name

    def note(self, text: str) -> None:
        """Say once where codes may differ from ONNX Runtime's."""
        if text not in self.notes:
            self.notes.append(text)

    def add(self, layer: Operator, sources: Sequence[Codes], grid: Grid) -> Codes:
        """Append a layer; returns its output."""
        shape = layer.shape(*(s.shape for s in sources))
        if math.prod(shape) >= MAX_VALUES:
            raise ModelError(
                f"Layer {layer.name!r} gives the shape {list(shape)}, more than {MAX_VALUES} values"
            )
        self.layers.append(layer)
        return Codes(layer.output, shape, grid)

    def table(
        self, node: NodeProto, source: Codes, table: NDArray[np.uint8], grid: Grid, output: str
    ) -> Codes:
        """A 256-entry table of its own; it is drawn into the layer before it at the end."""
        layer = Combine(
            name=self.name(node),
            sources=(source.tensor,),
            output=self.claim(output),
            factors=(1,),
            offset=0,
            mantissa=IDENTITY[0],
            shift=IDENTITY[1],
            zero_point=0,
            clip_low=0,
            clip_high=255,
            out_quant=grid.quant,
            table=table,
            pre_quant=source.quant,
        )
        return self.add(layer, [source], grid)

    def reshape(self, node: NodeProto, source: Codes, to: Shape, output: str) -> Codes:
        """The same values in another shape."""
        layer = Reshape(
            name=self.name(node),
            input=source.tensor,
            output=self.claim(output),
            to=to,
            out_quant=source.quant,
        )
        return self.add(layer, [source], source.grid)
