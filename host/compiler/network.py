# SPDX-License-Identifier: Apache-2.0
"""A network, a chip, a device and a seed, made into programs and programmed arrays."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import Chip, load_chip
from ...arch.errors import CapacityError, ConfigError
from ...arch.formats import ACTIVATION_BITS
from ...behavioral.devices import Device
from ...behavioral.devices import load as load_device
from ...behavioral.image import ArrayImage
from ...behavioral.program import ArraySpec, TileProgram
from ...behavioral.state import ArrayState
from ..graph import Network, lower_softmax
from ..importer.network import load_network
from .codegen import generate
from .layout import plan_layout
from .listing import listing
from .mapping import ConvMapping, LayerMap, check_arrays, choose_chip, map_layout, reads_bound
from .mapping import Mapping as LayerMapping
from .placement import check_fault_maps, place
from .values import Tensors, tensor_codes

__all__ = ["MAX_SEED", "CompiledNetwork", "compile_network"]

MAX_SEED = (1 << 32) - 1
"""A seed is one key word of Threefry-2x32."""


@dataclass(frozen=True, eq=False)
class CompiledNetwork:
    """All that a target needs: it runs the same on every one of them."""

    network: Network
    mapping: LayerMapping
    device: Device
    seed: int
    program: TileProgram
    notes: dict[int, str]
    fault_maps: Mapping[int, NDArray[np.int8]] = field(default_factory=dict)
    """Stuck cells of cores, where they are given and not drawn from the device."""
    headroom: float | None = None
    """Of pre-distorted arrays: share of the conductance range that targets use."""

    @property
    def chip(self) -> Chip:
        return self.mapping.chip

    @cached_property
    def states(self) -> tuple[ArrayState, ...]:
        """The arrays as written, one a core in use; not to be changed: targets copy them."""
        chip = self.chip
        return tuple(
            ArrayState(
                spec.levels,
                self.device,
                cell_bits=chip.cell_bits,
                seed=self.seed,
                array=spec.core,
                adc_bits=chip.adc_bits,
                lanes=chip.lanes,
                yield_map=self.fault_maps.get(spec.core),
                headroom=self.headroom,
            )
            for spec in self.program.arrays
        )

    @cached_property
    def images(self) -> tuple[ArrayImage, ...]:
        """What reads see of the arrays as written: here floats become integers."""
        return tuple(state.image() for state in self.states)

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors that a run returns, in the order of the network."""
        sent = {segment.tensor for segment in self.program.outputs}
        layers = lower_softmax(self.network).layers
        names = [name for layer in layers for name in (f"{layer.name}.acc", layer.name)]
        return tuple(name for name in names if name in sent)

    def layer_of(self, tensor: str) -> LayerMap:
        """The arrays that a tensor of a run comes from; see :attr:`has_arrays`."""
        return self.mapping.layer(tensor.removesuffix(".acc"))

    def has_arrays(self, tensor: str) -> bool:
        """Whether a tensor of a run comes from arrays, rather than from the vector unit."""
        name = tensor.removesuffix(".acc")
        return any(m.layer.name == name for m in self.mapping.layers)

    def reads_bound(
        self, codes: Mapping[str, NDArray[np.uint8]] | NDArray[np.uint8], tensors: Tensors
    ) -> int:
        """Fewest reads that a run could have taken, from its input codes and its tensors."""
        values = tensor_codes(lower_softmax(self.network), codes, tensors)
        return sum(reads_bound(m, values[m.layer.input], self.chip) for m in self.mapping.layers)

    def listing(self) -> Iterator[str]:
        """The program as text, what each part does beside it; the assembler takes it back."""
        return listing(self.program.instructions, self.notes)


def _check_sums(mapping: LayerMapping) -> None:
    """Prove that no noise, however large, can carry an accumulator out of 32 bits.

    Every conversion is taken at full scale: the sum of the offset-encoded products is then at its
    largest, and the offset that REQ takes off only lowers it. The vector unit's sums see no noise;
    :class:`~.graph.Network` has proven them.
    """
    chip = mapping.chip
    full = sum(((1 << chip.adc_bits) - 1) << (s * chip.cell_bits) for s in range(chip.slices))
    planes = (1 << ACTIVATION_BITS) - 1
    for m in mapping.layers:
        reads = max(
            sum(math.ceil(len(block.rows) / chip.rows_per_read) for block in part)
            for part in m.col_parts
        )
        bias = int(np.abs(m.layer.bias.astype(np.int64)).max())
        worst = full * reads * planes + bias
        if worst >= 1 << 31:
            raise CapacityError(
                f"With every conversion at full scale, layer '{m.layer.name}' could sum to "
                f"{worst}, more than 32-bit accumulators hold; use fewer adc_bits than "
                f"{chip.adc_bits} or more rows_per_read than {chip.rows_per_read}"
            )


def compile_network(
    network: Network | str | Path,
    *,
    chip: Chip | str | Path = "auto",
    device: Device | str | Path = "rram",
    seed: int = 1,
    trace: bool = True,
    fault_maps: Mapping[int, NDArray[np.int8]] | None = None,
    place_around_faults: bool = True,
    calibration: NDArray[np.uint8] | None = None,
    headroom: float | None = None,
    steps: int | None = None,
    conv_mapping: ConvMapping = "rows",
) -> CompiledNetwork:
    """Map a network to a chip and generate the tile's program.

    Parameters
    ----------
    network : Network or path of an ONNX file
    chip : Chip, name of a standard chip, path of a TOML file, or ``"auto"``
        ``auto`` takes the smallest standard chip that holds the network.
    device : Device, name, or path of a TOML file
    seed : int
        Of programming and noise, 0 to 2**32 - 1.
    trace : bool
        Whether runs return every tensor, or only the last codes.
    fault_maps : mapping of int to int8 [rows, cols], optional
        Stuck cells of cores, as a test of the chip found them: 1 stuck on, -1 stuck off, 0 good.
        Cores without one have those that the device draws.
    place_around_faults : bool
        Whether outputs and inputs are ordered around the given maps (:mod:`.placement`).
    calibration : uint8 [n, inputs], optional
        Typical input codes, by which the placement weighs inputs.
    headroom : float, optional
        Write the arrays pre-distorted against IR drop, to targets of this share of the
        conductance range (:class:`~.behavioral.state.ArrayState`).
    steps : int, optional
        Steps of a sample: given exactly if the network keeps states.
    conv_mapping : str
        ``"rows"`` fills arrays with the rows of a convolution's window, ``"kernel"`` gives every
        place of the kernel arrays of its own (Peng et al.).

    Raises
    ------
    ModelError, ConfigError, CapacityError, InputError
    """
    if not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"A seed must be 0 to {MAX_SEED}, not {seed}")
    if not isinstance(network, Network):
        network = load_network(Path(network))
    if not isinstance(chip, Chip):
        chip = choose_chip(network) if str(chip) == "auto" else load_chip(chip)
    if not isinstance(device, Device):
        device = load_device(device)
    if headroom is not None and not 0 < headroom <= 1:
        raise ConfigError(f"The headroom must be above 0 and at most 1, not {headroom}")
    _check_steps(network, steps)
    lowered = lower_softmax(network)
    layout = plan_layout(lowered)
    mapping = map_layout(layout, chip, conv_mapping)
    check_arrays(mapping)
    if fault_maps:
        check_fault_maps(chip, fault_maps)
        if place_around_faults:
            mapping = place(mapping, fault_maps, calibration)
            stored = {m.layer.name: m.stored for m in mapping.layers if m.slots is not None}
            layout = plan_layout(lowered, stored)
    _check_sums(mapping)
    code = generate(mapping, layout, trace=trace, steps=steps)
    specs = {
        block.core: ArraySpec(core=block.core, levels=m.levels(block, chip))
        for m in mapping.layers
        for block in m
    }
    program = TileProgram(
        chip=chip,
        instructions=code.flat.instructions,
        params=code.memories.param_words,
        tables=code.memories.table_codes,
        data=code.data,
        arrays=tuple(specs.values()),
        input=code.input,
        outputs=code.outputs,
        # The operators that a Softmax is made of work on another shape than its own.
        shapes=code.shapes
        | {
            layer.name: (*(() if steps is None else (steps,)), *network.shape(layer.output))
            for layer in network.layers
            if layer.name in code.shapes
        },
    )
    notes = dict(enumerate(code.flat.notes))
    return CompiledNetwork(
        network, mapping, device, seed, program, notes, dict(fault_maps or {}), headroom
    )


def _check_steps(network: Network, steps: int | None) -> None:
    if network.states and steps is None:
        raise ConfigError(
            f"Network '{network.name}' keeps states from step to step; give the number of steps of "
            "a sample"
        )
    if steps is not None and (not network.states or steps < 1):
        raise ConfigError(
            f"A sample of network '{network.name}' cannot have {steps} steps; "
            + ("give 1 or more" if network.states else "it keeps no states")
        )
