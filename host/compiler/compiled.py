# SPDX-License-Identifier: Apache-2.0
"""What compiling gives: programs and programmed arrays, of one tile or of several."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import Chip
from ...arch.errors import CapacityError
from ...behavioral.converter import adc_table
from ...behavioral.devices import Device
from ...behavioral.effects.streams import Streams
from ...behavioral.golden import view
from ...behavioral.image import ArrayImage
from ...behavioral.program import TileProgram
from ...behavioral.state import ArrayState
from ..graph import Network, lower_softmax
from .codegen import sent_layers
from .listing import listing
from .mapping import LayerMap
from .mapping import Mapping as LayerMapping
from .mesh_plan import MeshPlan
from .partition import Partition
from .tensors import is_view
from .values import Tensors, tensor_codes
from .windows import reads_bound

__all__ = ["CompiledNetwork"]

_Item = TypeVar("_Item")


class _Lazy(Sequence[_Item]):
    """Items that are made when they are asked for, and kept unless told otherwise."""

    def __init__(self, count: int, make: Callable[[int], _Item], *, keep: bool = True) -> None:
        self._made: list[_Item | None] = [None] * count
        self._make = make
        self._keep = keep

    def __len__(self) -> int:
        return len(self._made)

    @overload
    def __getitem__(self, index: int) -> _Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[_Item]: ...
    def __getitem__(self, index: int | slice) -> _Item | Sequence[_Item]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        item = self._made[index]
        if item is None:
            item = self._make(range(len(self))[index])
            if self._keep:
                self._made[index] = item
        return item


@dataclass(frozen=True, eq=False)
class CompiledNetwork:
    """All that a target needs: it runs the same on every one of them.

    Parameters
    ----------
    network : Network
    mapping : Mapping
        Of all tiles together; array a of a tile's core c has the number ``array_base`` +
        :meth:`.Chip.array_number` of both.
    device : Device
    seed : int
    tile : TileProgram or None
        None if the network takes several tiles: ``parts`` then holds theirs.
    notes : dict
        What each instruction is part of, by address.
    fault_maps : mapping of int to int8 [rows, cols]
        Stuck cells of arrays, where they are given and not drawn from the device.
    headroom : float or None
        Of pre-distorted arrays: share of the conductance range that targets use.
    array_base : int
        Number of the first array, which keys its noise: no two arrays of a chip share one.
    partition : Partition or None
        How several tiles make up the network.
    tiles : tuple of CompiledNetwork
        Of each of several tiles, in the order of ``partition.parts``.
    data_words : int
        Words of data memory in use.
    trace : bool
        Whether runs return every tensor.
    mesh : MeshPlan or None
        Where the tiles of a mesh stand and what they send each other.
    """

    network: Network
    mapping: LayerMapping
    device: Device
    seed: int
    tile: TileProgram | None
    notes: dict[int, str]
    fault_maps: Mapping[int, NDArray[np.int8]] = field(default_factory=dict)
    headroom: float | None = None
    array_base: int = 0
    partition: Partition | None = None
    tiles: "tuple[CompiledNetwork, ...]" = ()
    data_words: int = 0
    trace: bool = True
    mesh: MeshPlan | None = None

    @property
    def chip(self) -> Chip:
        return self.mapping.chip

    @property
    def parts(self) -> "tuple[CompiledNetwork, ...]":
        """The programs of all tiles: of one, itself."""
        return self.tiles or (self,)

    @property
    def program(self) -> TileProgram:
        """The program of the one tile.

        Raises
        ------
        CapacityError
            If there are several.
        """
        if self.tile is None:
            raise CapacityError(
                f"Network '{self.network.name}' takes {len(self.tiles)} tiles of chip "
                f"'{self.chip.name}', which is more than this can do; use a chip with more cores"
            )
        return self.tile

    def run_parts(
        self,
        codes: Mapping[str, NDArray[np.uint8]],
        run: "Callable[[CompiledNetwork, dict[str, NDArray[np.uint8]]], Tensors]",
        first: int = 0,
    ) -> dict[str, NDArray[Any]]:
        """Run all tiles, the host carrying tensors from one to the next.

        Parameters
        ----------
        codes : mapping of str to uint8 [n, \\*shape]
            By input tensor.
        run : callable
            Runs one of ``parts`` on the codes of its inputs, by tensor.
        first : int
            Samples that have run before: tiles of a mesh that run the same part take turns.

        Returns
        -------
        dict
            Tensors by name, in the order of the network.
        """
        if self.partition is None:
            return dict(run(self, dict(codes)))
        copies = self.partition.copies or tuple((n,) for n in range(len(self.tiles)))

        def turns(number: int, given: dict[str, NDArray[np.uint8]]) -> Tensors:
            tiles = [self.tiles[n] for n in copies[number]]
            count = len(next(iter(given.values())))
            if len(tiles) == 1 or not count:
                return run(tiles[0], given)
            joined: dict[str, NDArray[Any]] = {}
            for copy, tile in enumerate(tiles):
                own = slice((copy - first) % len(tiles), count, len(tiles))
                if own.start >= count:
                    continue
                for name, array in run(tile, {k: v[own] for k, v in given.items()}).items():
                    whole = joined.setdefault(
                        name, np.empty((count, *array.shape[1:]), array.dtype)
                    )
                    whole[own] = array
            return joined

        found = self.partition.run(codes, turns)
        return {
            name: found[name].reshape(len(found[name]), *self._shape(name)) for name in self.tensors
        }

    def _shape(self, tensor: str) -> tuple[int, ...]:
        """Shape of a tensor of a run, of one sample."""
        name = tensor.removesuffix(".acc")
        for network in (self.network, lower_softmax(self.network)):
            for layer in network.layers:
                if layer.name == name:
                    return network.shape(layer.output)
        raise ValueError(f"There is no layer {name}")

    @cached_property
    def states(self) -> Sequence[ArrayState]:
        """The arrays as written; not to be changed: targets copy them."""
        return _Lazy(len(self.program.arrays), self._state)

    def _state(self, index: int) -> ArrayState:
        chip, spec = self.chip, self.program.arrays[index]
        array = self.array_base + chip.array_number(spec.core, spec.array)
        return ArrayState(
            spec.levels,
            self.device,
            cell_bits=chip.cell_bits,
            seed=self.seed,
            array=array,
            adc_bits=chip.adc_bits,
            lanes=chip.lanes,
            adc_step=chip.adc_step,
            adc_span=chip.read_slices,
            thresholds=spec.thresholds,
            adc_table=self._shared_table(spec.core),
            yield_map=self.fault_maps.get(array),
            headroom=self.headroom,
        )

    def _shared_table(self, core: int) -> NDArray[np.uint16] | None:
        """Codes of the ADCs of a core where several arrays share them: those of its first array.

        None if an array has ADCs of its own, whose codes it draws itself.
        """
        chip, device = self.chip, self.device
        if chip.arrays_per_core == 1 or device.adc is None:
            return None
        streams = Streams(self.seed, self.array_base + chip.array_number(core))
        table = adc_table(device, chip.adc_bits, chip.lanes, streams)
        if table is None:
            table = np.tile(np.arange(1 << chip.adc_bits, dtype=np.uint16), (chip.lanes, 1))
        return table

    @cached_property
    def images(self) -> Sequence[ArrayImage]:
        """What reads see of the arrays as written: here floats become integers.

        Each is derived when it is asked for, and its state, which is larger, is not kept.
        """
        return _Lazy(len(self.program.arrays), lambda index: self._state(index).image())

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors that a run returns, in the order of the network."""
        lowered = lower_softmax(self.network)
        sent = sent_layers(lowered, self.trace)
        taps = self.trace and not self.chip.sense_amplifier
        sums = {m.layer.name for m in self.mapping.layers} if taps else set()
        if self.partition is not None:
            origins = {piece.layer.name: piece.origin.name for piece in self.partition.pieces}
            sums = {origins[name] for name in sums}
        moved = {layer.name for layer in lowered.layers if is_view(layer) or not layer.sources}
        names = []
        for layer in lowered.layers:
            names += [f"{layer.name}.acc"] if layer.name in sums else []
            names += [layer.name] if layer.name in sent - moved else []
        return tuple(names)

    def layer_of(self, tensor: str) -> LayerMap:
        """The arrays that a tensor of a run comes from; see :attr:`has_arrays`."""
        return self.mapping.layer(tensor.removesuffix(".acc"))

    def first_array(self, layer: str, sample: int) -> int:
        """Number of the first array of the tile on which a layer works on a sample.

        ``layer`` is one of ``mapping``; copies of a part of the network take turns.
        """
        if self.partition is None or self.partition.copies is None:
            return self.array_base
        for network, tiles in zip(self.partition.parts, self.partition.copies, strict=True):
            if any(one.name == layer for one in network.layers):
                return self.tiles[tiles[sample % len(tiles)]].array_base
        raise ValueError(f"No part of network {self.network.name!r} has a layer {layer!r}")

    def has_arrays(self, tensor: str) -> bool:
        """Whether a tensor of a run comes from arrays, rather than from the vector unit."""
        name = tensor.removesuffix(".acc")
        return any(m.layer.name == name for m in self.mapping.layers)

    def reads_bound(
        self, codes: Mapping[str, NDArray[np.uint8]] | NDArray[np.uint8], tensors: Tensors
    ) -> int:
        """Fewest reads that a run could have taken, from its input codes and its tensors."""
        values = tensor_codes(lower_softmax(self.network), codes, tensors)
        for network in self.partition.parts if self.partition is not None else ():
            for layer in network.layers:
                # What pieces read of a tensor.
                if is_view(layer) and layer.output not in values and layer.sources[0] in values:
                    values[layer.output] = view(layer, values[layer.sources[0]])
        return sum(reads_bound(m, values[m.layer.input], self.chip) for m in self.mapping.layers)

    def listing(self) -> Iterator[str]:
        """The program as text, what each part does beside it; the assembler takes it back."""
        return listing(self.program.instructions, self.notes)
