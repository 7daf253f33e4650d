# SPDX-License-Identifier: Apache-2.0
"""A network cut into stages for the tiles of a mesh: which layers share a tile, which stages stand
in the mesh several times.

Samples follow each other through the stages, so the slowest one sets the pace. A stage is a run of
neighbouring layers, or pieces of them; with ``n`` copies that take turns it counts as ``n`` times
as fast. The cuts and copies found here have the fastest slowest stage that as many tiles allow, by
what the layers take one by one (the search is exact: bisection over the pace, dynamic programming
over the cuts).
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import Chip
from ...arch.errors import CapacityError
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
from .gather import Gather
from .mapping import check_full_scale
from .partition import Cutter, Piece, piece_codes
from .tensors import is_view

__all__ = ["MeshCutter", "Stage", "Stages", "cut_inputs", "fewest_tiles", "find_stages"]


@dataclass(frozen=True)
class Stage:
    """Pieces ``begin .. end - 1``, and on how many tiles they stand."""

    begin: int
    end: int
    copies: int = 1


class MeshCutter(Cutter):
    """Cuts a network into pieces, and pieces into parts that take pieces from each other."""

    def __init__(self, network: Network, chip: Chip) -> None:
        super().__init__(network, chip, lambda _: None)
        self.pieces_of: dict[str, list[Piece]] = {}
        """The pieces of a layer, by its output."""
        self.order: list[Piece] = []
        """All pieces, none before what it reads."""
        self.shares: dict[str, list[Piece]] = {}
        """Pieces that sum over some of the inputs, by the output of the piece that adds them up."""
        self.finer: dict[str, int] = {}
        """Most outputs of a piece, of layers that had to be cut finer than arrays ask for."""
        self.arrange()

    def arrange(self) -> None:
        """Cut every layer. Pools of channels are cut like the layer that they follow."""
        self.pieces_of.clear()
        self.shares.clear()
        self.order.clear()
        for layer in self.network.layers:
            if is_view(layer) or isinstance(layer, Constant):
                continue
            if isinstance(layer, MaxPool | AveragePool):
                before = self.pieces_of.get(layer.input, [])
                if len(before) > 1:
                    self.pieces_of[layer.output] = made = [self.pool(layer, p) for p in before]
                    for piece, source in zip(made, before, strict=True):
                        self.order.insert(self.order.index(source) + 1, piece)
                    continue
            made = self.pieces(layer, self.finer.get(layer.name))
            self.pieces_of[layer.output] = made
            for piece in made:
                self.order += [*self.shares.get(piece.layer.output, ()), piece]

    def pieces(self, layer: Operator, most: int | None = None) -> list[Piece]:
        """As :meth:`.Cutter.pieces`; a layer of too many inputs is cut by inputs as well."""
        if not isinstance(layer, Dense | Conv) or self.arrays(layer)[0] <= self.chip.arrays:
            return super().pieces(layer, most)
        inputs = cut_inputs(layer, self.chip)
        # All shares together; an array that is not full may need a read more.
        more = self.chip.arrays * len(inputs)
        worst = self.chip.full_scale(layer.inputs) + more * self.chip.full_scale(1)
        check_full_scale(layer, worst, self.chip)
        widest = min(self.chip.outputs, self.chip.param_words)
        widest = min(widest, most or widest)
        parts = math.ceil(layer.outputs / widest)
        # Whole accumulator words but in the last piece.
        unit = self.chip.outputs_per_beat
        each = math.ceil(layer.outputs / parts / unit) * unit if widest >= unit else widest
        found = []
        for start in range(0, layer.outputs, each):
            outputs = range(start, min(start + each, layer.outputs))
            shares = [self.share(layer, outputs, part) for part in inputs[1:]]
            found.append(self.share(layer, outputs, inputs[0], shares))
            self.shares[found[-1].layer.output] = shares
        return found

    def share(
        self,
        layer: Dense | Conv,
        outputs: range,
        inputs: range,
        others: Sequence[Piece] | None = None,
    ) -> Piece:
        """Some outputs of a layer, over some of its inputs: only sums, or with those of others."""
        sums = others is None
        made = layer
        if sums or len(outputs) < layer.outputs:
            made = self.some_outputs(layer, outputs)
        name, output = made.name, made.output
        if sums:
            name = output = f"{name} of inputs [{inputs.start}:{inputs.stop}]"
        key = (id(made.weights), inputs.start, inputs.stop)
        weights = self.slices.setdefault(key, made.weights[:, inputs.start : inputs.stop])
        return Piece(
            dataclasses.replace(
                made,
                name=name,
                input=self.some_inputs(layer, inputs),
                output=output,
                weights=weights,
                bias=np.zeros_like(made.bias) if sums else made.bias,
                table=None if sums else made.table,
                pre_quant=None if sums else made.pre_quant,
                partials=tuple(one.layer.output for one in others or ()),
                share=sums,
            ),
            layer,
            None if made is layer else outputs,
            inputs,
        )

    def some_inputs(self, layer: Dense | Conv, inputs: range) -> str:
        """A view of some inputs of a layer; returns its tensor."""
        shape = self.network.shape(layer.input)
        axis = 0 if isinstance(layer, Conv) else len(shape) - 1
        name = f"{layer.name} inputs [{inputs.start}:{inputs.stop}]"
        self.makers[name] = Slice(
            name=name,
            input=layer.input,
            output=name,
            starts=tuple(inputs.start if k == axis else 0 for k in range(len(shape))),
            steps=(1,) * len(shape),
            counts=tuple(len(inputs) if k == axis else n for k, n in enumerate(shape)),
            out_quant=self.network.quant(layer.input),
        )
        return name

    def full(self, group: Sequence[Piece]) -> bool:
        """As :meth:`.Cutter.full`. Sums that are added up come from other tiles, and take the place
        of core 0."""
        made = {piece.layer.output for piece in group}
        partials = {t for piece in group for t in getattr(piece.layer, "partials", ())}
        if partials & made:
            return True
        if not partials:
            return super().full(group)
        chip = self.chip.with_(cores=self.chip.cores - 1)
        return Cutter(self.network, chip, self.check).full(group)

    def refine(self, piece: Piece) -> bool:
        """Cut the layer of a piece that does not fit any tile finer; False if that cannot be."""
        origin = piece.origin
        if not isinstance(origin, Dense | Conv):
            return False
        most = math.ceil(len(piece.outputs or range(origin.outputs)) / 2)
        before = len(self.pieces_of[origin.output])
        self.finer[origin.name] = most
        if len(self.pieces(origin, most)) <= before:
            return False
        self.arrange()
        return True

    def pool(self, layer: MaxPool | AveragePool, source: Piece) -> Piece:
        """A pool of the channels of a piece."""
        outputs = source.outputs or range(0)
        name = f"{layer.name}[{outputs.start}:{outputs.stop}]"
        changes: dict[str, Any] = {"pre_output": None} if isinstance(layer, AveragePool) else {}
        made = dataclasses.replace(
            layer, name=name, input=source.layer.output, output=name, **changes
        )
        return Piece(made, layer, outputs)

    # Tensors between parts

    def maker(self, tensor: str) -> Piece | None:
        """The piece that makes a tensor; None for one that several make, or the host."""
        for pieces in (*self.pieces_of.values(), *self.shares.values()):
            for piece in pieces:
                if piece.layer.output == tensor:
                    return piece
        return None

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Of a tensor of the network, or a piece of one."""
        piece = self.maker(tensor)
        if piece is None or piece.outputs is None:
            return self.network.shape(tensor)
        whole = list(self.network.shape(piece.origin.output))
        whole[piece.axis] = len(piece.outputs)
        return (*whole, 4) if piece.is_share else tuple(whole)

    def needs(self, piece: Piece) -> Iterator[str]:
        """Tensors that a piece reads: of the host, or each made by one piece."""
        for root in self.roots(piece.layer):
            if len(self.pieces_of.get(root, ())) > 1:
                yield from (part.layer.output for part in self.pieces_of[root])
            else:
                yield root

    def value(self, tensor: str, whole: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Codes [n, \\*shape] of a tensor or of a piece of it, from those of the network's."""
        piece = self.maker(tensor)
        return whole[tensor] if piece is None else piece_codes(piece, whole, self.makers)

    def part(self, group: Sequence[Piece], leaving: Sequence[Piece]) -> Network:
        """The network of a group; its inputs stand in the order in which they are produced."""
        made = {piece.layer.output for piece in group}
        layers: list[Operator] = []
        known: set[str] = set()
        inputs: dict[str, NetworkInput] = {}
        fed = {entry.tensor: entry for entry in self.network.inputs}

        def need(tensor: str) -> None:
            if tensor in made or tensor in known or tensor in inputs:
                return
            maker = self.makers.get(tensor)
            pieces = self.pieces_of.get(tensor, [])
            if maker is not None and (is_view(maker) or isinstance(maker, Constant)):
                for source in maker.sources:
                    need(source)
                layers.append(maker)
                known.add(tensor)
            elif len(pieces) > 1:
                for piece in pieces:
                    need(piece.layer.output)
                layers.append(self.gather(tensor, pieces))
                known.add(tensor)
            elif tensor in fed:
                inputs[tensor] = fed[tensor]
            else:
                origin = self.maker(tensor)
                quant = self.network.quant(tensor if origin is None else origin.origin.output)
                inputs[tensor] = NetworkInput(tensor, tensor, self.shape(tensor), quant)

        for piece in group:
            for source in piece.layer.sources:
                need(source)
            layers.append(piece.layer)
        made_at = {piece.layer.output: at for at, piece in enumerate(self.order)}
        given = [entry.tensor for entry in self.network.inputs]
        order = sorted(inputs, key=lambda t: (t not in fed, made_at.get(t, 0), t not in given))
        return Network(
            name=f"{self.network.name}, {group[0].layer.name} on",
            inputs=tuple(inputs[tensor] for tensor in order),
            layers=tuple(layers),
            outputs=tuple(piece.layer.output for piece in leaving),
        )

    def gather(self, tensor: str, pieces: Sequence[Piece]) -> Gather:
        axis = pieces[0].axis % len(self.network.shape(tensor))
        return Gather(
            name=f"{tensor} (gathered)",
            sources=tuple(piece.layer.output for piece in pieces),
            output=tensor,
            axis=axis,
            tables=(None,) * len(pieces),
            out_quant=self.network.quant(tensor),
        )


def cut_inputs(layer: Dense | Conv, chip: Chip) -> list[range]:
    """Inputs of a layer (channels of a convolution) for tiles that add up what each of them sums.

    Returns
    -------
    list of range
        The first is that of the tile that adds up, where core 0 cannot take part.

    Raises
    ------
    CapacityError
        If no cut makes the sums fit.
    """
    area = math.prod(layer.kernel) if isinstance(layer, Conv) else 1
    count = int(layer.weights.shape[1])
    # Whole arrays, of Dense.
    unit = chip.input_rows if isinstance(layer, Dense) else 1
    units = math.ceil(count / unit)
    room = chip.arrays, chip.arrays - chip.arrays_per_core
    most, own = (arrays * chip.input_rows // area // unit for arrays in room)
    groups = layer.groups if isinstance(layer, Conv) else 1
    if groups > 1 or own < 1 or chip.outputs_per_beat < 2:
        raise CapacityError(
            f"Layer '{layer.name}' adds up {layer.inputs} products, which takes "
            f"{math.ceil(layer.inputs / chip.input_rows)} arrays of {chip.input_rows} rows; a tile "
            f"of chip '{chip.name}' has {chip.arrays} on {chip.cores} core(s), and tiles add up "
            f"each other's sums only of layers without groups, one input channel of which fits all "
            f"cores of a tile but one, and of arrays that give 2 sums or more at once (these give "
            f"{chip.outputs_per_beat}); use a chip with more cores or larger arrays"
        )
    parts = 1 + math.ceil((units - own) / most)
    first = min(own, units // parts)
    first = max(first, units - (parts - 1) * most)
    ends = [first + (units - first) * k // (parts - 1) for k in range(parts)]
    cuts = [0, *(min(count, unit * end) for end in ends)]
    return [range(a, b) for a, b in itertools.pairwise(cuts)]


@dataclass(frozen=True, eq=False)
class Stages:
    """The result: stages in order, and the estimated cycles from one sample to the next."""

    stages: tuple[Stage, ...]
    pace: int


def _best(
    count: int,
    fits: Callable[[int, int], bool],
    cycles: Sequence[int],
    pace: int,
    copies: int,
) -> list[Stage] | None:
    """The fewest tiles on which no stage is slower than ``pace``; None if there are none."""
    sums = np.concatenate([[0], np.cumsum(cycles)])
    least: list[tuple[int, Stage | None]] = [(0, None)]
    for end in range(1, count + 1):
        best: tuple[int, Stage | None] = (1 << 30, None)
        for begin in range(end - 1, -1, -1):
            if not fits(begin, end):
                break
            needed = max(1, math.ceil(int(sums[end] - sums[begin]) / pace))
            if needed <= copies and least[begin][0] + needed < best[0]:
                best = least[begin][0] + needed, Stage(begin, end, needed)
        least.append(best)
    found: list[Stage] = []
    end = count
    while end:
        stage = least[end][1]
        if stage is None:
            return None
        found.append(stage)
        end = stage.begin
    return found[::-1]


def find_stages(
    count: int,
    fits: Callable[[int, int], bool],
    cycles: Sequence[int],
    tiles: int,
    copies: int,
) -> Stages | None:
    """Cut ``count`` pieces into stages.

    Parameters
    ----------
    count : int
        Pieces, in order.
    fits : callable
        Whether pieces ``begin .. end - 1`` fit one tile; so does any run inside of such a run.
    cycles : sequence of int
        Estimated, of each piece.
    tiles : int
        Tiles that there are.
    copies : int
        Tiles that a stage may stand on at most.

    Returns
    -------
    Stages, or None if there are too few tiles
    """
    low, high = 1, max(1, sum(cycles))

    def used(pace: int) -> list[Stage] | None:
        found = _best(count, fits, cycles, pace, copies)
        if found is None or sum(stage.copies for stage in found) > tiles:
            return None
        return found

    best = used(high)
    if best is None:
        return None
    while low < high:
        middle = (low + high) // 2
        found = used(middle)
        if found is None:
            low = middle + 1
        else:
            best, high = found, middle
    return Stages(tuple(best), high)


def fewest_tiles(count: int, fits: Callable[[int, int], bool]) -> int:
    """Tiles that pieces take at least.

    Raises
    ------
    CapacityError
        If one fits no tile.
    """
    found = _best(count, fits, [0] * count, 1, 1)
    if found is None:
        raise CapacityError("A piece of the network fits no tile; use a chip with larger tiles")
    return len(found)
