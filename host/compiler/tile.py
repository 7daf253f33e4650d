# SPDX-License-Identifier: Apache-2.0
"""A network that fits one tile, made into its program and its programmed arrays."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import Chip
from ...arch.errors import ConfigError
from ...behavioral.devices import Device
from ...behavioral.program import ArraySpec, TileProgram
from ..graph import Network, lower_softmax
from .binary import array_thresholds, check_binary
from .codegen import Code, generate
from .compiled import CompiledNetwork
from .layout import Layout, plan_layout
from .mapping import ConvMapping, check_arrays, check_full_scale, map_layout
from .mapping import Mapping as LayerMapping
from .neighbours import Neighbours
from .placement import FaultMaps, place
from .tasks import Linear
from .turns import loads_again

__all__ = ["Options", "Tile", "compile_tile", "lay_out"]


def _check_sums(mapping: LayerMapping) -> None:
    """Prove that no noise, however large, can carry an accumulator out of 32 bits.

    Every conversion is taken at full scale: the sum of the offset-encoded products is then at its
    largest, and the offset that REQ takes off only lowers it. The vector unit's sums see no noise;
    :class:`~.graph.Network` has proven them.
    """
    chip = mapping.chip
    for m in mapping.layers:
        worst = max(sum(chip.full_scale(len(block.rows)) for block in part) for part in m.col_parts)
        check_full_scale(m.layer, worst, chip)


def _check_codes(mapping: LayerMapping) -> None:
    """Refuse reads that the ADC would cut off, where that hangs on the weights.

    Raises
    ------
    ConfigError
        With the bits that are needed, and the rows that the bits given suffice for.
    """
    chip = mapping.chip
    if not chip.flag_words or chip.adc_clip:
        return
    blocks = [(m, block) for m in mapping.layers for block in m]

    def largest(chip: Chip) -> tuple[int, str]:
        return max((m.largest_code(block, chip), m.layer.name) for m, block in blocks)

    def narrower(rows: int) -> Chip:
        if chip.row_budgets:
            return chip.with_(row_budgets=[min(rows, most) for most in chip.row_budgets])
        return chip.with_(rows_per_read=rows)

    code, name = largest(chip)
    needed = chip.adc_bits_of(code)
    if needed <= chip.adc_bits:
        return
    fewer = range(chip.most_rows - 1, 0, -1)
    fits = next((n for n in fewer if chip.adc_bits_of(largest(narrower(n))[0]) <= chip.adc_bits), 0)
    what = "row_budgets" if chip.row_budgets else "rows_per_read"
    raise ConfigError(
        f"A read of {chip.most_rows} rows of layer '{name}' can sum to {code} with the best "
        f"columns flipped, which needs an ADC of {needed} bits, {chip.adc_bits} were "
        f"given; raise adc_bits to {needed}" + (f" or lower {what} to {fits}" if fits else "")
    )


@dataclass(frozen=True, eq=False)
class Options:
    """What is the same for all tiles; see :func:`~.network.compile_network`."""

    device: Device
    seed: int
    trace: bool
    headroom: float | None
    steps: int | None
    conv_mapping: ConvMapping
    calibration: NDArray[np.uint8] | None
    place: bool = True


@dataclass(frozen=True, eq=False)
class Tile:
    """The result, and the program's words as its neighbours in a mesh must know them."""

    compiled: CompiledNetwork
    code: Code


def lay_out(
    network: Network, chip: Chip, options: Options, neighbours: Neighbours | None = None
) -> tuple[Layout, LayerMapping, Neighbours | None]:
    """Where the tensors of a network without Softmax lie, and its weights.

    Inputs that would have to come twice, for arrays that take turns, are stored; then the
    neighbours that come back say so.

    Raises
    ------
    CapacityError
        If the network needs more arrays than a tile has.
    """
    layout = plan_layout(network, None, neighbours)
    mapping = map_layout(layout, chip, options.conv_mapping)
    check_arrays(mapping)
    again = {m.layer.name for m in mapping.layers if loads_again(m.col_parts)}
    tasks = (task for work in layout.work for task in work.tasks)
    if any(isinstance(task, Linear) and task.direct and task.name in again for task in tasks):
        neighbours = replace(neighbours or Neighbours(0), stored=True)
        layout = plan_layout(network, None, neighbours)
        mapping = map_layout(layout, chip, options.conv_mapping)
    return layout, mapping, neighbours


def compile_tile(
    network: Network,
    chip: Chip,
    options: Options,
    maps: FaultMaps,
    base: int = 0,
    neighbours: Neighbours | None = None,
) -> Tile:
    """Compile for one tile, whose arrays are ``base`` and up; maps go by array in the tile.

    Raises
    ------
    CapacityError
        If the network does not fit.
    """
    steps = options.steps
    lowered = lower_softmax(network)
    layout, mapping, neighbours = lay_out(lowered, chip, options, neighbours)
    # In a mesh others send what comes in, in their own order.
    if maps and options.place and not (neighbours and neighbours.message_words):
        mapping = place(mapping, maps, options.calibration)
        stored = {m.layer.name: m.stored for m in mapping.layers if m.slots is not None}
        layout = plan_layout(lowered, stored, neighbours)
    _check_sums(mapping)
    _check_codes(mapping)
    check_binary(lowered, mapping)
    code = generate(mapping, layout, trace=options.trace, steps=steps, neighbours=neighbours)
    specs = {
        (block.core, block.array): ArraySpec(
            block.core,
            m.levels(block, chip),
            m.flips(block, chip),
            array_thresholds(m, block, chip),
            block.array,
        )
        for m in mapping.layers
        for block in m
    }
    lead = () if steps is None else (steps,)
    # The operators that a Softmax is made of work on another shape than its own.
    own_shapes = {layer.name: network.shape(layer.output) for layer in network.layers}
    program = TileProgram(
        chip=chip,
        instructions=code.flat.instructions,
        params=code.memories.param_words,
        tables=code.memories.table_codes,
        data=code.data,
        arrays=tuple(specs.values()),
        input=code.input,
        outputs=code.outputs,
        shapes={
            name: (*lead, *own_shapes[name]) if name in own_shapes else shape
            for name, shape in code.shapes.items()
        },
    )
    compiled = CompiledNetwork(
        network,
        mapping,
        options.device,
        options.seed,
        program,
        dict(enumerate(code.flat.notes)),
        {base + number: cells for number, cells in maps.items()},
        options.headroom,
        base,
        data_words=code.data_words,
        trace=options.trace,
    )
    return Tile(compiled, code)
