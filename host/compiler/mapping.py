# SPDX-License-Identifier: Apache-2.0
"""Which array holds which part of which layer.

A layer is a matrix: a row for each input of Dense, for each place of a convolution's window; a
column for each output. It is cut into blocks of at most ``chip.input_rows`` by ``chip.outputs``,
an array each, as even as alignment allows, so that the cores of a layer finish together. Layers
with the same weights share their arrays. The groups of a convolution lie on the diagonal of a
block, as many as fit.

A core may have several arrays, of which its converters read one at a time (weight rotation). Blocks
of a layer go to different cores as long as there are some, so that they work at once; beyond that
they take turns (:mod:`.turns`).
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import Chip, RowSchedule
from ...arch.errors import CapacityError
from ...arch.formats import ACTIVATION_BITS
from ...behavioral.encodings import array_levels, choose_flips, largest_sums
from ..graph import Conv, Dense, Network, lower_softmax
from .cells import check_weights
from .layout import Layout, plan_layout
from .tasks import Linear
from .tensors import Ints
from .turns import FreeArrays

__all__ = [
    "Block",
    "ConvMapping",
    "LayerMap",
    "Mapping",
    "check_arrays",
    "check_full_scale",
    "map_layout",
    "map_network",
    "most_slots",
]

ConvMapping = Literal["rows", "kernel"]
"""How rows of a convolution's matrix are cut: as full as arrays allow, or every position of the
kernel in arrays of its own (Peng et al. 2019, "Optimizing weight mapping and data flow for
convolutional neural networks on RRAM based processing-in-memory architecture")."""

_WORD = 8  # activations in a 64-bit word


@dataclass(frozen=True)
class Block:
    """The part of a layer that one array holds: which of a core's arrays.

    ``rows`` and ``cols`` are ranges of the orders in which the layer's rows and outputs are stored.
    """

    core: int
    rows: range
    cols: range
    array: int = 0


@dataclass(frozen=True, eq=False)
class LayerMap:
    """The blocks of a layer.

    Parameters
    ----------
    layer : Dense or Conv
    blocks : tuple of Block
        Blocks with the same rows are loaded together, those with the same columns add up.
    inputs : int64 [rows], optional
        Row of the layer's matrix at each stored position; in order by default.
    outputs : int64 [outputs], optional
        Output at each stored position; in order by default.
    slots : tuple of int64 [n], optional
        Of each column part, the output that each slot of its arrays computes, -1 for none. The
        outputs of a part stay in it. As ``outputs`` by default.
    zero : int
        Code of the input that means 0.
    """

    layer: Dense | Conv
    blocks: tuple[Block, ...]
    inputs: Ints | None = None
    outputs: Ints | None = None
    slots: tuple[Ints, ...] | None = None
    zero: int = 0

    @cached_property
    def rows(self) -> int:
        """Rows of the layer's matrix, over all groups."""
        groups = self.layer.groups if isinstance(self.layer, Conv) else 1
        return self.layer.inputs * groups

    @cached_property
    def input_order(self) -> Ints:
        """Row of the matrix at each stored position: int64 [rows]."""
        return np.arange(self.rows) if self.inputs is None else self.inputs

    @cached_property
    def row_parts(self) -> tuple[tuple[Block, ...], ...]:
        """Blocks that take the same rows, in order of their rows."""
        rows = dict.fromkeys(block.rows for block in self.blocks)
        return tuple(tuple(b for b in self.blocks if b.rows == r) for r in rows)

    @cached_property
    def col_parts(self) -> tuple[tuple[Block, ...], ...]:
        """Blocks whose sums add up, in order of their columns."""
        cols = dict.fromkeys(block.cols for block in self.blocks)
        return tuple(tuple(b for b in self.blocks if b.cols == c) for c in cols)

    def slots_of(self, part: int) -> Ints:
        """Output of each slot of a column part, -1 for none: int64 [n]."""
        if self.slots is not None:
            return self.slots[part]
        cols = self.col_parts[part][0].cols
        if self.outputs is not None:
            return self.outputs[cols.start : cols.stop]
        return np.arange(cols.start, cols.stop)

    def part_of(self, block: Block) -> int:
        """The column part that a block belongs to."""
        return next(j for j, part in enumerate(self.col_parts) if part[0].cols == block.cols)

    @cached_property
    def stored(self) -> Ints:
        """Output of each byte that the layer stores at a position, -1 for none: int64 [n]."""
        return np.concatenate([self.slots_of(j) for j in range(len(self.col_parts))])

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)

    @cached_property
    def cores(self) -> tuple[int, ...]:
        """The core of each block."""
        return tuple(block.core for block in self.blocks)

    @cached_property
    def arrays(self) -> tuple[tuple[int, int], ...]:
        """The core of each block, and which of its arrays."""
        return tuple((block.core, block.array) for block in self.blocks)

    def blocks_of_output(self, output: int) -> tuple[Block, ...]:
        """The blocks whose sums add up to an output."""
        for j, part in enumerate(self.col_parts):
            if output in self.slots_of(j):
                return part
        return ()

    def cores_of_output(self, output: int) -> tuple[int, ...]:
        """The cores of :meth:`blocks_of_output`."""
        return tuple(block.core for block in self.blocks_of_output(output))

    def moved(self, cores: int) -> "LayerMap":
        """The same with all cores so many further on: those of another tile."""
        blocks = (dataclasses.replace(block, core=block.core + cores) for block in self.blocks)
        return dataclasses.replace(self, blocks=tuple(blocks))

    def slot_of_output(self, output: int) -> int:
        """Where in its arrays an output is computed: a slot has neighbouring columns."""
        for j in range(len(self.col_parts)):
            found = np.flatnonzero(self.slots_of(j) == output)
            if found.size:
                return int(found[0])
        raise ValueError(f"Layer {self.layer.name!r} has no output {output}")

    def weights(self, outputs: Ints, rows: Ints) -> NDArray[np.int8]:
        """A part of the layer's matrix: int8 [outputs, rows], 0 between groups."""
        layer = self.layer
        if isinstance(layer, Dense):
            return layer.weights[np.ix_(outputs, rows)]
        flat = layer.weights.reshape(layer.outputs, -1)
        if layer.groups == 1:
            return flat[np.ix_(outputs, rows)]
        inside = rows % layer.inputs
        group = outputs // (layer.outputs // layer.groups)
        same = group[:, None] == rows // layer.inputs
        part: NDArray[np.int8] = np.where(same, flat[np.ix_(outputs, inside)], 0).astype(np.int8)
        return part

    def levels(self, block: Block, chip: Chip) -> NDArray[np.uint8]:
        """Cell levels uint8 [chip.rows, chip.cols] of a block; unused cells are at level 0."""
        levels = self._plain_levels(block, chip)
        flips = self.flips(block, chip)
        if flips is not None:
            used = levels[: len(block.rows)]
            used[:, flips] = chip.cell_code.top - used[:, flips]
        return levels

    def _plain_levels(self, block: Block, chip: Chip) -> NDArray[np.uint8]:
        slots = self.slots_of(self.part_of(block))
        order = self.input_order[block.rows.start : block.rows.stop]
        weights = self.weights(slots, order).T
        return array_levels(chip.cell_code, weights, (chip.rows, chip.cols), slots >= 0)

    def flips(self, block: Block, chip: Chip) -> NDArray[np.bool_] | None:
        """Columns of a block that hold the complement: bool [chip.cols]; None on chips whose
        encoding has none."""
        if not chip.flag_words:
            return None
        levels = self._plain_levels(block, chip)[: len(block.rows)]
        zero_skip = chip.row_schedule is RowSchedule.ZERO_SKIP
        flips = choose_flips(levels, chip.cell_code.top, chip.most_rows, zero_skip)
        slots = self.slots_of(self.part_of(block))
        flips[: len(slots) * chip.columns_per_output] &= np.repeat(
            slots >= 0, chip.columns_per_output
        )
        flips[len(slots) * chip.columns_per_output :] = False
        return flips

    def largest_code(self, block: Block, chip: Chip) -> int:
        """The largest sum that an ideal read of a block can make, in levels."""
        if chip.cell_code.complement_rows:
            return min(chip.most_rows, len(block.rows))
        levels = self.levels(block, chip)[: len(block.rows)]
        zero_skip = chip.row_schedule is RowSchedule.ZERO_SKIP
        return max(int(largest_sums(levels, n, zero_skip).max()) for n in set(chip.budgets))

    def sum_constants(self, part: int, chip: Chip) -> Ints:
        """What is to be added to the sums of the slots of a column part besides the bias, in units
        of the core's sums: int64 [slots].

        Passes give ``sum of (x - origin) * (w + offset)``, off which REQ takes
        ``offset * sum of x``; pairs of rows count otherwise.
        """
        slots = self.slots_of(part)
        code = chip.cell_code
        origin = chip.input_code.origin(self.zero)
        found = np.zeros(len(slots), np.int64)
        rows = 0
        for block in self.col_parts[part]:
            order = self.input_order[block.rows.start : block.rows.stop]
            found += self.weights(slots, order).sum(axis=1, dtype=np.int64)
            rows += len(order)
        if not code.complement_rows:
            return origin * (found + code.offset * rows)
        planes = (1 << ACTIVATION_BITS) - 1
        return np.array([code.sum_constant(rows, int(w), planes) for w in found], np.int64)

    def utilisation(self, chip: Chip) -> float:
        """Cells that hold a weight, over the cells of the layer's arrays."""
        cells = len(set(self.arrays)) * chip.rows * chip.cols
        return self.layer.weights.size * chip.cells_per_weight / cells


@dataclass(frozen=True, eq=False)
class Mapping:
    """All layers of a network that have weights, on the arrays of a chip."""

    network: Network
    chip: Chip
    layers: tuple[LayerMap, ...]

    @property
    def arrays(self) -> int:
        """Arrays in use."""
        return len({array for m in self.layers for array in m.arrays})

    def layer(self, name: str) -> LayerMap:
        """The map of a layer, by name."""
        return next(m for m in self.layers if m.layer.name == name)

    @property
    def utilisation(self) -> float:
        """Cells that hold a weight, over the cells of the arrays in use."""
        sizes = {m.arrays: m.layer.weights.size for m in self.layers}
        used = sum(sizes.values()) * self.chip.cells_per_weight
        return used / (self.arrays * self.chip.rows * self.chip.cols) if sizes else 0.0


def _split(length: int, most: int, units: Sequence[int]) -> list[range]:
    """Cut into the fewest parts of at most ``most``, as even as multiples of a unit allow.

    The first of the units that takes no part more than need be; 1 always does.
    """
    parts = math.ceil(length / most)
    for unit in (*units, 1):
        count = math.ceil(length / unit)
        if math.ceil(count / parts) * unit <= most:
            cuts = [min(length, (count * i // parts) * unit) for i in range(parts)] + [length]
            return [range(a, b) for a, b in itertools.pairwise(cuts) if b > a]
    raise ValueError(f"{length} cannot be cut into parts of {most}")


def most_slots(chip: Chip) -> int:
    """Outputs that an array computes."""
    return chip.outputs


@dataclass(frozen=True, eq=False)
class _Pack:
    """Rows and outputs of groups that lie in one block, and where rows may well be cut."""

    rows: Ints
    outputs: Ints
    cuts: tuple[range, ...]


def _row_units(layer: Dense | Conv, chip: Chip) -> list[int]:
    # Whole reads in every part but the last, so that the baseline schedule wastes no rows.
    reads = math.lcm(_WORD, chip.most_rows)
    if isinstance(layer, Dense):
        return [reads, _WORD]
    channels = layer.weights.shape[1]
    # Whole rows of the window, each one run of bytes; or whole places of it.
    return [channels * layer.kernel[1], channels, reads, _WORD]


def _packs(task: Linear, chip: Chip, conv_mapping: ConvMapping) -> list[_Pack]:
    """What may share a block, its rows in the order of their addresses."""
    layer = task.layer
    outputs = np.argsort(task.target, kind="stable")
    if isinstance(layer, Dense) or layer.groups == 1:
        rows = np.argsort(task.source, kind="stable")
        if isinstance(layer, Conv) and conv_mapping == "kernel":
            place = rows % math.prod(layer.kernel)
            rows = rows[np.argsort(place, kind="stable")]
            channels = layer.weights.shape[1]
            cuts = tuple(
                range(begin + part.start, begin + part.stop)
                for begin in range(0, len(rows), channels)
                for part in _split(channels, chip.input_rows, [_WORD])
            )
        else:
            cuts = tuple(_split(len(rows), chip.input_rows, _row_units(layer, chip)))
        return [_Pack(rows, outputs, cuts)]
    each = layer.outputs // layer.groups
    most = max(1, min(chip.input_rows // layer.inputs, chip.outputs // each))
    if not chip.cell_code.holds_zero:
        most = 1  # there is no weight to put between groups
    packs = []
    begin = 0
    for part in _split(layer.groups, most, []):
        of = np.arange(part.start * layer.inputs, part.stop * layer.inputs)
        rows = of[np.argsort(task.source[of], kind="stable")]
        inside = _split(len(rows), chip.input_rows, _row_units(layer, chip))
        cuts = tuple(range(begin + r.start, begin + r.stop) for r in inside)
        packs.append(_Pack(rows, np.arange(part.start * each, part.stop * each), cuts))
        begin += len(rows)
    return packs


def _map_layer(task: Linear, chip: Chip, conv_mapping: ConvMapping) -> LayerMap:
    """The blocks of a layer, all of them still on core 0."""
    check_weights(task.layer, chip)
    packs = _packs(task, chip, conv_mapping)
    blocks = []
    begin = 0
    for pack in packs:
        units = [math.lcm(_WORD, chip.outputs_per_beat), chip.outputs_per_beat]
        cols = [
            range(begin + part.start, begin + part.stop)
            for part in _split(len(pack.outputs), chip.outputs, units)
        ]
        begin += len(pack.outputs)
        for rows, col in itertools.product(pack.cuts, cols):
            blocks.append(Block(0, rows, col))
    inputs = np.concatenate([pack.rows for pack in packs])
    outputs = np.concatenate([pack.outputs for pack in packs])
    return LayerMap(
        task.layer,
        tuple(blocks),
        None if np.array_equal(inputs, np.arange(len(inputs))) else inputs,
        None if np.array_equal(outputs, np.arange(len(outputs))) else outputs,
    )


def map_layout(layout: Layout, chip: Chip, conv_mapping: ConvMapping = "rows") -> Mapping:
    """Give every block of every layer an array, be they more than the chip has."""
    layers: list[LayerMap] = []
    free = FreeArrays(chip)
    known: dict[tuple[object, ...], LayerMap] = {}
    for work in layout.work:
        for task in work.tasks:
            if not isinstance(task, Linear):
                continue
            zero = layout.network.quant(task.layer.input).internal_zero_point
            made = _map_layer(task, chip, conv_mapping)
            key = (
                id(task.layer.weights),
                getattr(task.layer, "groups", 1),
                # Thresholds are those of a layer.
                task.layer.name if chip.sense_amplifier else "",
                made.input_order.tobytes(),
                None if made.outputs is None else made.outputs.tobytes(),
            )
            if key in known:
                twin = known[key]
                made = LayerMap(task.layer, twin.blocks, twin.inputs, twin.outputs, zero=zero)
            else:
                # The vector accumulators take the place of core 0.
                places = free.take([(b.rows, b.cols) for b in made.blocks], bool(task.partials))
                blocks = (
                    dataclasses.replace(block, core=core, array=array)
                    for block, (core, array) in zip(made.blocks, places, strict=True)
                )
                made = dataclasses.replace(made, blocks=tuple(blocks), zero=zero)
                known[key] = made
            layers.append(made)
    return Mapping(layout.network, chip, tuple(layers))


def check_arrays(mapping: Mapping) -> None:
    """Refuse a mapping that needs more arrays than the chip has.

    Raises
    ------
    CapacityError
    """
    chip = mapping.chip
    last = max((core for m in mapping.layers for core in m.cores), default=-1)
    if last >= chip.cores:
        detail = ", ".join(f"{m.layer.name} {len(m.cores)}" for m in mapping.layers)
        each = chip.arrays_per_core
        have, more = f"{chip.cores}", ""
        # Core 0 stays free where sums of other tiles take its place.
        needed = last + 1
        if each > 1:
            beyond = {a for m in mapping.layers for a in m.arrays if a[0] >= chip.cores}
            needed = chip.arrays + len(beyond)
            have = f"{chip.arrays} ({chip.cores} cores of {each})"
        if each < 64:
            more = f", more arrays a core (arrays_per_core, at most 64, now {each})"
        raise CapacityError(
            f"Network '{mapping.network.name}' needs {needed} arrays of "
            f"{chip.rows}x{chip.cols} {chip.cell_bits}-bit cells ({detail}), chip '{chip.name}' "
            f"has {have}; use a chip with more cores (at most 32){more}, more bits a cell or "
            f"larger arrays, or several tiles"
        )


def check_full_scale(layer: Dense | Conv, products: int, chip: Chip) -> None:
    """Refuse a layer whose sums could leave 32 bits were every conversion at full scale: its
    products then come to ``products``.

    Raises
    ------
    CapacityError
    """
    added = int(np.abs(layer.bias.astype(np.int64)).max()) * chip.cell_code.sum_unit
    if chip.cell_code.complement_rows:
        flat = np.abs(layer.weights.reshape(layer.outputs, -1).astype(np.int64))
        weights = int(flat.sum(axis=1).max())
        planes = (1 << ACTIVATION_BITS) - 1
        added += abs(chip.cell_code.sum_constant(flat.shape[1], -weights, planes))
    worst = products + added
    if worst >= 1 << 31:
        raise CapacityError(
            f"With every conversion at full scale, layer '{layer.name}' could sum to {worst}, more "
            f"than 32-bit accumulators hold; use fewer adc_bits than {chip.adc_bits} or more "
            + (
                "rows in row_budgets"
                if chip.row_budgets
                else f"rows_per_read than {chip.rows_per_read}"
            )
        )


def map_network(network: Network, chip: Chip, conv_mapping: ConvMapping = "rows") -> Mapping:
    """Give every block of every layer an array.

    Raises
    ------
    CapacityError
        If the network needs more arrays than the chip has.
    """
    mapping = map_layout(plan_layout(lower_softmax(network)), chip, conv_mapping)
    check_arrays(mapping)
    return mapping
