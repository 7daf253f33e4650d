# SPDX-License-Identifier: Apache-2.0
"""Which array holds which part of which layer.

A layer's weight matrix is cut into blocks of at most ``chip.rows`` inputs by ``chip.outputs``
outputs, an array each. Blocks are made as even as alignment allows, so that the cores of a layer
finish together.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import Chip, RowSchedule, chip_names, load_chip
from ...arch.errors import CapacityError
from ...arch.formats import ACTIVATION_BITS, WEIGHT_OFFSET
from ..graph import Dense, Network

__all__ = [
    "Block",
    "LayerMap",
    "Mapping",
    "choose_chip",
    "map_network",
    "most_slots",
    "reads_bound",
]

_WORD = 8  # activations in a 64-bit word


@dataclass(frozen=True)
class Block:
    """The part of a layer that one array holds: inputs ``rows``, outputs ``cols`` (ranges)."""

    core: int
    rows: range
    cols: range


@dataclass(frozen=True, eq=False)
class LayerMap:
    """The blocks of a layer: ``blocks[i][j]`` holds row part i and column part j.

    Parameters
    ----------
    layer : Dense
    blocks : tuple of tuple of Block
        Their ``rows`` are positions in the stored order of the inputs.
    inputs : int64 [inputs], optional
        Input at each position; in order by default.
    slots : tuple of int64 [n], optional
        Of each column part, the output that each slot of its arrays computes, -1 for none. The
        outputs of a part stay in it. In order by default.
    """

    layer: Dense
    blocks: tuple[tuple[Block, ...], ...]
    inputs: NDArray[np.int64] | None = None
    slots: tuple[NDArray[np.int64], ...] | None = None

    @cached_property
    def input_order(self) -> NDArray[np.int64]:
        """Input at each position: int64 [inputs]."""
        return np.arange(self.layer.inputs) if self.inputs is None else self.inputs

    def slots_of(self, part: int) -> NDArray[np.int64]:
        """Output of each slot of a column part, -1 for none: int64 [n]."""
        if self.slots is not None:
            return self.slots[part]
        cols = self.blocks[0][part].cols
        return np.arange(cols.start, cols.stop)

    @cached_property
    def stored(self) -> NDArray[np.int64]:
        """Output of each byte that the layer leaves in data memory, -1 for none: int64 [n]."""
        return np.concatenate([self.slots_of(j) for j in range(len(self.blocks[0]))])

    def __iter__(self) -> Iterator[Block]:
        return (block for row in self.blocks for block in row)

    @cached_property
    def cores(self) -> tuple[int, ...]:
        return tuple(block.core for block in self)

    def cores_of_output(self, output: int) -> tuple[int, ...]:
        """The cores whose accumulators add up to an output."""
        return tuple(block.core for block in self if output in block.cols)

    def levels(self, block: Block, chip: Chip) -> NDArray[np.uint8]:
        """Cell levels uint8 [chip.rows, chip.cols] of a block; unused cells are at level 0."""
        slots = self.slots_of(self.cores.index(block.core) % len(self.blocks[0]))
        order = self.input_order[block.rows.start : block.rows.stop]
        part = self.layer.weights[np.ix_(slots, order)]
        stored = (part.astype(np.int16) + WEIGHT_OFFSET).T
        shifts = np.arange(chip.slices) * chip.cell_bits
        cells = (stored[:, :, None] >> shifts) & ((1 << chip.cell_bits) - 1)
        cells[:, slots < 0] = 0
        levels = np.zeros((chip.rows, chip.cols), dtype=np.uint8)
        levels[: len(order), : len(slots) * chip.slices] = cells.reshape(len(order), -1)
        return levels


@dataclass(frozen=True, eq=False)
class Mapping:
    """All layers of a network on the arrays of a chip."""

    network: Network
    chip: Chip
    layers: tuple[LayerMap, ...]

    @property
    def arrays(self) -> int:
        """Arrays in use."""
        return sum(len(layer.cores) for layer in self.layers)

    def layer(self, name: str) -> LayerMap:
        """The map of a layer, by name."""
        return next(m for m in self.layers if m.layer.name == name)

    @property
    def utilisation(self) -> float:
        """Cells that hold a weight, over the cells of the arrays in use."""
        used = sum(m.layer.weights.size for m in self.layers) * self.chip.slices
        return used / (self.arrays * self.chip.rows * self.chip.cols)


def _split(length: int, most: int, unit: int) -> list[range]:
    """Cut into the fewest parts of at most ``most``, as even as multiples of ``unit`` allow."""
    parts = math.ceil(length / most)
    units = math.ceil(length / unit)
    if math.ceil(units / parts) * unit > most:
        # The coarse unit would need one part more; words are the finest that can be addressed.
        unit, units = _WORD, math.ceil(length / _WORD)
    cuts = [min(length, (units * i // parts) * unit) for i in range(parts)] + [length]
    return [range(a, b) for a, b in itertools.pairwise(cuts) if b > a]


def _row_parts(layer: Dense, chip: Chip) -> list[range]:
    # Whole reads in every part but the last, so that the baseline schedule wastes no rows.
    unit = math.lcm(_WORD, chip.rows_per_read)
    return _split(layer.inputs, chip.rows, unit if unit <= chip.rows else _WORD)


def most_slots(chip: Chip) -> int:
    """Outputs that an array computes, in whole words of data memory where it holds one."""
    most = chip.outputs
    return most - most % math.lcm(_WORD, chip.outputs_per_beat) if most >= _WORD else most


def _column_parts(layer: Dense, chip: Chip) -> list[range]:
    # Codes of a part begin at a word of data memory, hence parts of whole words.
    most = most_slots(chip)
    if most < _WORD and layer.outputs > most:
        raise CapacityError(
            f"An array of {chip.cols} columns of {chip.cell_bits}-bit cells holds {most} weights a "
            f"row, too few to cut layer '{layer.name}'; use at least {_WORD * chip.slices} columns"
        )
    return _split(layer.outputs, most, math.lcm(_WORD, chip.outputs_per_beat))


def map_network(network: Network, chip: Chip) -> Mapping:
    """Give every block of every layer an array.

    Raises
    ------
    CapacityError
        If the network needs more arrays than the chip has.
    """
    layers = []
    core = 0
    for layer in network.layers:
        rows, cols = _row_parts(layer, chip), _column_parts(layer, chip)
        blocks = tuple(
            tuple(Block(core + i * len(cols) + j, r, c) for j, c in enumerate(cols))
            for i, r in enumerate(rows)
        )
        core += len(rows) * len(cols)
        layers.append(LayerMap(layer, blocks))
    if core > chip.cores:
        detail = ", ".join(f"{m.layer.name} {len(m.cores)}" for m in layers)
        raise CapacityError(
            f"Network '{network.name}' needs {core} arrays of {chip.rows}x{chip.cols} "
            f"{chip.cell_bits}-bit cells ({detail}), chip '{chip.name}' has {chip.cores}; use a "
            f"chip with more cores (at most 32), more bits a cell or larger arrays"
        )
    return Mapping(network, chip, tuple(layers))


def choose_chip(network: Network) -> Chip:
    """The smallest standard chip that holds the network.

    Raises
    ------
    CapacityError
        If none does.
    """
    chips = [load_chip(name) for name in chip_names()]
    for chip in chips:
        try:
            map_network(network, chip)
        except CapacityError:
            if chip is chips[-1]:
                raise
        else:
            return chip
    raise CapacityError("No standard chip is installed")


def reads_bound(mapping: LayerMap, codes: NDArray[np.uint8], chip: Chip) -> int:
    """Fewest reads that products of ``codes`` uint8 [n, inputs] can take.

    Zero-skip: the sum over planes and blocks of ``ceil(popcount / N)``; baseline:
    ``ceil(rows in the block / N)`` a plane (DESIGN section 7).
    """
    total = 0
    codes = codes[:, mapping.input_order]
    for row in mapping.blocks:
        part = codes[:, row[0].rows.start : row[0].rows.stop]
        if chip.row_schedule is RowSchedule.BASELINE:
            reads = -(-part.shape[1] // chip.rows_per_read) * ACTIVATION_BITS * len(part)
        else:
            ones = np.unpackbits(part[:, :, None], axis=2).sum(axis=1, dtype=np.int64)
            reads = int((-(-ones // chip.rows_per_read)).sum())
        total += reads * len(row)
    return total
