# SPDX-License-Identifier: Apache-2.0
"""A network that is too large for one tile, cut into networks that each fit one.

Layers stay in order; as many neighbours as fit share a tile. A layer that is too wide for one tile
is cut by outputs. The host carries tensors from tile to tile.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import Chip
from ...arch.errors import CapacityError
from ...behavioral.golden import run_layer, view
from ..graph import (
    AveragePool,
    Constant,
    Conv,
    Dense,
    MaxPool,
    Network,
    NetworkInput,
    Operator,
    Slice,
)
from .tensors import is_share, is_view

__all__ = ["MAX_TILES", "Cutter", "Partition", "Piece", "partition", "piece_codes"]

MAX_TILES = 4096

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Piece:
    """Outputs ``outputs`` of a layer, computed by a layer of another name; None if not cut."""

    layer: Operator
    origin: Operator
    outputs: range | None = None
    inputs: range | None = None
    """Channels of the input, if those are cut too."""

    @property
    def axis(self) -> int:
        """The axis of a sample's output that is cut."""
        return 0 if isinstance(self.layer, Conv | MaxPool | AveragePool) else -1

    @property
    def is_share(self) -> bool:
        """Whether its output is sums over some of the inputs, for another piece to add up."""
        return is_share(self.layer)


def piece_codes(
    piece: Piece, values: Mapping[str, NDArray[Any]], makers: Mapping[str, Operator]
) -> NDArray[Any]:
    """Codes [n, \\*shape] of a piece's output, from those of the network's tensors.

    ``makers``: at least the views of inputs that shares read, by tensor.
    """
    if piece.is_share:
        source = makers[piece.layer.sources[0]]
        return run_layer(piece.layer, [view(source, values[source.sources[0]])])[""]
    whole = values[piece.origin.output]
    if piece.outputs is None:
        return whole
    axis = 1 if piece.axis == 0 else -1
    return np.take(whole, np.arange(piece.outputs.start, piece.outputs.stop), axis)


@dataclass(frozen=True, eq=False)
class Partition:
    """Parts of a network, in the order in which they run.

    Parameters
    ----------
    network : Network
        The whole, without Softmax.
    parts : tuple of Network
        Each reads tensors of the whole network that are inputs, or that parts before it have made.
    pieces : tuple of Piece
        All layers of the parts but views and constants, in order.
    copies : tuple of tuple of int
        For each part, the tiles that run it in turns, by sample. None: each part has one.
    """

    network: Network
    parts: tuple[Network, ...]
    pieces: tuple[Piece, ...]
    copies: tuple[tuple[int, ...], ...] | None = None

    def run(
        self,
        codes: Mapping[str, NDArray[np.uint8]],
        run: Callable[[int, dict[str, NDArray[np.uint8]]], Mapping[str, NDArray[Any]]],
    ) -> Tensors:
        """Run all parts and join what they return.

        Parameters
        ----------
        codes : mapping of str to uint8 [n, \\*shape]
            By input tensor.
        run : callable
            Takes the number of a part and the codes of its inputs by tensor, and returns the
            part's tensors by name: at least those of its outputs.

        Returns
        -------
        dict
            As one tile would return them, in the order of the network.
        """
        shapes = {entry.tensor: entry.shape for entry in self.network.inputs}
        values = {name: array.reshape(len(array), *shapes[name]) for name, array in codes.items()}
        found: Tensors = {}
        made: dict[str, list[NDArray[Any]]] = {}
        by_name = {piece.layer.name: piece for piece in self.pieces}
        counts = {
            piece.origin.name: sum(p.origin is piece.origin and not p.is_share for p in self.pieces)
            for piece in self.pieces
        }
        for number, part in enumerate(self.parts):
            result = run(number, {entry.tensor: values[entry.tensor] for entry in part.inputs})
            for name, array in result.items():
                layer, _, suffix = _split_name(name, by_name)
                piece = by_name[layer]
                if not suffix:
                    # In a mesh, pieces are what others read.
                    values[piece.layer.output] = array
                if piece.is_share:
                    continue
                full = f"{piece.origin.name}{suffix}"
                made.setdefault(full, []).append(array)
                if len(made[full]) < counts[piece.origin.name]:
                    continue
                axis = 1 if piece.axis == 0 else -1
                arrays = made.pop(full)
                found[full] = np.concatenate(arrays, axis) if len(arrays) > 1 else arrays[0]
                if not suffix:
                    values[piece.origin.output] = found[full]
        order = {layer.name: at for at, layer in enumerate(self.network.layers)}
        names = sorted(
            found, key=lambda name: (order[name.removesuffix(".acc")], not name.endswith(".acc"))
        )
        return {name: found[name] for name in names}


def _split_name(name: str, layers: Mapping[str, Piece]) -> tuple[str, str, str]:
    """The layer that a tensor of a run belongs to, and what follows its name."""
    if name in layers:
        return name, "", ""
    layer = name.removesuffix(".acc")
    return layer, ".", ".acc"


def partition(network: Network, chip: Chip, check: Callable[[Network], None]) -> Partition:
    """Cut a network.

    Parameters
    ----------
    network : Network
        Without Softmax.
    chip : Chip
        Of every tile.
    check : callable
        Raises CapacityError if a network does not fit a tile.

    Raises
    ------
    CapacityError
        If a layer cannot be cut so that it fits, the network keeps states, or the parts are more
        than :data:`MAX_TILES`.
    """
    if network.states:
        raise CapacityError(
            f"Network '{network.name}' keeps states from step to step, so it has to fit one tile; "
            f"chip '{chip.name}' is too small for it"
        )
    return Cutter(network, chip, check).cut()


def _arrays(chip: Chip) -> str:
    """How many arrays a tile has, for messages."""
    each = "" if chip.arrays_per_core == 1 else f" of {chip.arrays_per_core} arrays"
    return f"{chip.cores} cores{each}"


class Cutter:
    """Cuts a network into pieces, and pieces into parts."""

    def __init__(self, network: Network, chip: Chip, check: Callable[[Network], None]) -> None:
        self.network, self.chip, self.check = network, chip, check
        self.makers = {layer.output: layer for layer in network.layers}
        self.slices: dict[tuple[int, ...], NDArray[np.int8]] = {}

    def cut(self) -> Partition:
        groups: list[list[Piece]] = []
        group: list[Piece] = []
        for layer in self.network.layers:
            if is_view(layer) or isinstance(layer, Constant):
                continue
            for piece in self.pieces(layer):
                if group and (self.full([*group, piece]) or self.waits(group, piece)):
                    groups += self.fit(group)
                    group = []
                group.append(piece)
        groups += self.fit(group)
        if len(groups) > MAX_TILES:
            raise CapacityError(
                f"Network '{self.network.name}' takes {len(groups)} tiles of chip "
                f"'{self.chip.name}', there are at most {MAX_TILES}; use a chip with more cores"
            )
        users: dict[str, set[int]] = {}
        for number, group in enumerate(groups):
            for piece in group:
                for root in self.roots(piece.layer):
                    users.setdefault(root, set()).add(number)
        results = self.results

        def leaves(piece: Piece, number: int) -> bool:
            """Whether anyone outside of its group wants the output of a piece."""
            output = piece.origin.output
            outside = users.get(output, set()) - {number}
            return piece.outputs is not None or output in results or bool(outside)

        return Partition(
            self.network,
            tuple(
                self.part(group, [piece for piece in group if leaves(piece, number)])
                for number, group in enumerate(groups)
            ),
            tuple(piece for group in groups for piece in group),
        )

    # How large

    def arrays(self, layer: Operator) -> tuple[int, int]:
        """Row parts and column parts that a layer takes at least."""
        if not isinstance(layer, Dense | Conv):
            return 0, 0
        groups = layer.groups if isinstance(layer, Conv) else 1
        if groups == 1:
            return (
                math.ceil(layer.inputs / self.chip.input_rows),
                math.ceil(layer.outputs / self.chip.outputs),
            )
        each = layer.outputs // groups
        together = max(1, min(self.chip.input_rows // layer.inputs, self.chip.outputs // each))
        rows, cols = (
            math.ceil(layer.inputs / self.chip.input_rows),
            math.ceil(each / self.chip.outputs),
        )
        return rows, cols * math.ceil(groups / together)

    def full(self, group: Sequence[Piece]) -> bool:
        """Whether some pieces take more arrays or parameters than a tile has."""
        sizes = {id(getattr(p.layer, "weights", p)): self.arrays(p.layer) for p in group}
        arrays = sum(rows * cols for rows, cols in sizes.values())
        outputs = sum(p.layer.outputs for p in group if isinstance(p.layer, Dense | Conv))
        return arrays > self.chip.arrays or outputs > self.chip.param_words

    def waits(self, group: Sequence[Piece], piece: Piece) -> bool:
        """Whether a piece reads a tensor that is put together from pieces of the same group."""
        cut = {p.origin.output for p in group if p.outputs is not None}
        return any(root in cut for root in self.roots(piece.layer))

    def roots(self, layer: Operator) -> Iterator[str]:
        """Tensors that a layer reads, through views."""
        for source in layer.sources:
            while source in self.makers and is_view(self.makers[source]):
                source = self.makers[source].sources[0]
            yield source

    # Cutting

    def pieces(self, layer: Operator, most: int | None = None) -> list[Piece]:
        """A layer, cut by outputs if it is too wide; ``most`` outputs a piece at most."""
        if not isinstance(layer, Dense | Conv):
            return [Piece(layer, layer)]
        rows, cols = self.arrays(layer)
        if rows > self.chip.arrays:
            raise CapacityError(
                f"Layer '{layer.name}' adds up {layer.inputs} products, which takes {rows} arrays "
                f"of {self.chip.input_rows} rows; chip '{self.chip.name}' has "
                f"{_arrays(self.chip)}, and only tiles of a mesh add up each other's sums"
            )
        groups = layer.groups if isinstance(layer, Conv) else 1
        forced = most
        if most is None:
            fit = self.chip.arrays // rows
            if cols <= fit and layer.outputs <= self.chip.param_words:
                return [Piece(layer, layer)]
            if groups > 1:
                most = max(1, layer.outputs * fit // cols)
            else:
                most = fit * self.chip.outputs
            most = min(most, self.chip.param_words)
        unit = layer.outputs // groups if groups > 1 else 1
        most = max(unit, most - most % unit)
        parts = math.ceil(layer.outputs / most)
        most = math.ceil(layer.outputs / parts / unit) * unit
        # Even pieces, unless that takes more arrays than full ones.
        each = self.chip.outputs
        pieces = [min(most, layer.outputs - at) for at in range(0, layer.outputs, most)]
        if forced is None and groups == 1 and sum(math.ceil(one / each) for one in pieces) > cols:
            most = math.ceil(most / each) * each
        return [
            self.piece(layer, range(at, min(at + most, layer.outputs)))
            for at in range(0, layer.outputs, most)
        ]

    def piece(self, layer: Dense | Conv, outputs: range) -> Piece:
        return Piece(self.some_outputs(layer, outputs), layer, outputs)

    def some_outputs(self, layer: Dense | Conv, outputs: range) -> Dense | Conv:
        """A layer of some outputs of another one."""
        at = slice(outputs.start, outputs.stop)
        key = (id(layer.weights), outputs.start, outputs.stop)
        weights = self.slices.setdefault(key, layer.weights[at])
        name = f"{layer.name}[{outputs.start}:{outputs.stop}]"
        changes: dict[str, Any] = {}
        if isinstance(layer, Conv) and layer.groups > 1:
            changes = {
                "groups": layer.groups * len(outputs) // layer.outputs,
                "input": self.channels(layer, outputs),
            }
        return dataclasses.replace(
            layer,
            name=name,
            output=name,
            weights=weights,
            bias=layer.bias[at],
            mantissa=layer.mantissa[at],
            shift=layer.shift[at],
            pre_output=None,
            **changes,
        )

    def channels(self, layer: Conv, outputs: range) -> str:
        """A view of the channels that some groups of a convolution read; returns its tensor."""
        each = layer.outputs // layer.groups
        channels = layer.weights.shape[1]
        _, rows, cols = self.network.shape(layer.input)
        name = f"{layer.name}[{outputs.start}:{outputs.stop}] channels"
        self.makers[name] = Slice(
            name=name,
            input=layer.input,
            output=name,
            starts=(outputs.start // each * channels, 0, 0),
            steps=(1, 1, 1),
            counts=(len(outputs) // each * channels, rows, cols),
            out_quant=self.network.quant(layer.input),
        )
        return name

    def fit(self, group: list[Piece]) -> list[list[Piece]]:
        """A group, halved until each part fits a tile."""
        try:
            self.check(self.part(group, group))
        except CapacityError:
            if len(group) == 1:
                layer = group[0].layer
                if not isinstance(layer, Dense | Conv) or layer.outputs == 1:
                    raise
                halves = self.pieces(group[0].origin, math.ceil(layer.outputs / 2))
                if len(halves) < 2 or group[0].outputs is not None:
                    raise
                return [part for half in halves for part in self.fit([half])]
            middle = len(group) // 2
            return self.fit(group[:middle]) + self.fit(group[middle:])
        return [group]

    def part(self, group: Sequence[Piece], leaving: Sequence[Piece]) -> Network:
        """The network of a group, ``leaving`` its outputs."""
        made = {piece.layer.output: piece for piece in group}
        wanted: dict[str, Operator] = {}
        inputs: dict[str, NetworkInput] = {}
        fed = {entry.tensor: entry for entry in self.network.inputs}

        def need(tensor: str) -> None:
            if tensor in made or tensor in wanted or tensor in inputs:
                return
            maker = self.makers.get(tensor)
            if maker is not None and (is_view(maker) or isinstance(maker, Constant)):
                for source in maker.sources:
                    need(source)
                wanted[tensor] = maker
            elif tensor in fed:
                inputs[tensor] = fed[tensor]
            else:
                shape, quant = self.network.shape(tensor), self.network.quant(tensor)
                inputs[tensor] = NetworkInput(tensor, tensor, shape, quant)

        layers: list[Operator] = []
        for piece in group:
            for source in piece.layer.sources:
                need(source)
                layers += [view for view in wanted.values() if view not in layers]
            layers.append(piece.layer)
        return Network(
            name=f"{self.network.name}, {group[0].layer.name} on",
            inputs=tuple(inputs.values()),
            layers=tuple(layers),
            outputs=tuple(piece.layer.output for piece in leaving),
        )

    @property
    def results(self) -> set[str]:
        """Tensors behind the outputs of the network."""
        found = set()
        for output in self.network.outputs:
            while output in self.makers and is_view(self.makers[output]):
                output = self.makers[output].sources[0]
            found.add(output)
        return found
