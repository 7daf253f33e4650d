# SPDX-License-Identifier: Apache-2.0
"""A network, a chip, a device and a seed, made into programs and programmed arrays."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import MAX_MESH, Chip, RowSchedule, chip_names, load_chip
from ...arch.errors import CapacityError, ConfigError, ModelError
from ...behavioral.devices import Device
from ...behavioral.devices import load as load_device
from ...behavioral.inputs import with_drivers
from ..graph import Network, lower_softmax
from ..importer.network import load_network
from .codegen import generate
from .compiled import CompiledNetwork
from .layout import plan_layout
from .mapping import ConvMapping, check_arrays, map_layout
from .mapping import Mapping as LayerMapping
from .mesh import compile_mesh
from .partition import MAX_TILES, partition
from .placement import FaultMaps, check_fault_maps
from .streams import stream_network
from .tensors import is_view
from .tile import Options, compile_tile, lay_out

__all__ = ["MAX_SEED", "CompiledNetwork", "choose_chip", "compile_network"]

MAX_SEED = (1 << 32) - 1
"""A seed is one key word of Threefry-2x32."""


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
    tiles: int | None = None,
    schedule: RowSchedule | str | None = None,
    mesh: tuple[int, int] | None = None,
    duplicate: bool = True,
) -> CompiledNetwork:
    """Map a network to a chip and generate the tile's program.

    Parameters
    ----------
    network : Network or path of an ONNX file
    chip : Chip, name of a standard chip, path of a TOML file, or ``"auto"``
        ``auto`` takes the smallest standard chip that holds the network, or several tiles of the
        largest.
    device : Device, name, or path of a TOML file
    seed : int
        Of programming and noise, 0 to 2**32 - 1.
    trace : bool
        Whether runs return every tensor, or only the last codes.
    fault_maps : mapping of int to int8 [rows, cols], optional
        Stuck cells of arrays, as a test of the chip found them: 1 stuck on, -1 stuck off, 0 good.
        Arrays without one have those that the device draws. Where a core has one array, an array
        has the number of its core; see :meth:`.Chip.array_number`.
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
    tiles : int, optional
        Tiles that there are. If absent, ``auto`` takes as many of the largest standard chip as it
        needs (at most 4096), and a chip that is named has one.
    schedule : str, optional
        Row schedule, instead of the chip's own.
    mesh : tuple of int, optional
        Columns and rows of tiles, instead of the chip's own. Tiles of a mesh send each other what
        they make, and work on different samples at the same time.
    duplicate : bool
        Whether slow stages may stand on several tiles of a mesh and take turns.

    Raises
    ------
    ModelError, ConfigError, CapacityError, InputError
    """
    if not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"A seed must be 0 to {MAX_SEED}, not {seed}")
    if not isinstance(network, Network):
        network = load_network(Path(network))
    if isinstance(chip, Chip):
        candidates = [chip]
    elif str(chip) == "auto":
        candidates = [load_chip(name) for name in chip_names()]
    else:
        candidates = [load_chip(chip)]
    if schedule is not None and str(schedule) not in [str(known) for known in RowSchedule]:
        raise ConfigError(
            f"There is no row schedule '{schedule}'; choose {' or '.join(map(str, RowSchedule))}"
        )
    if schedule is not None:
        candidates = [one.with_(row_schedule=schedule) for one in candidates]
    if mesh is not None:
        check_mesh_size(*mesh)
        candidates = [one.with_(mesh=mesh) for one in candidates]
    if tiles is not None and candidates[0].tiles > 1:
        raise ConfigError(
            f"Chip '{candidates[0].name}' is a mesh of {candidates[0].tiles} tiles; leave out the "
            f"number of tiles ({tiles})"
        )
    if tiles is not None and not 1 <= tiles <= MAX_TILES:
        raise ConfigError(f"There can be 1 to {MAX_TILES} tiles, not {tiles}")
    if not isinstance(device, Device):
        device = load_device(device)
    device = with_drivers(device, candidates[0])
    if headroom is not None and not 0 < headroom <= 1:
        raise ConfigError(f"The headroom must be above 0 and at most 1, not {headroom}")
    network = stream_network(network, candidates[0])
    _check_work(network, steps)
    options = Options(device, seed, trace, headroom, steps, conv_mapping, calibration)
    if not place_around_faults:
        options = dataclasses.replace(options, place=False)
    maps = dict(fault_maps or {})
    if candidates[0].tiles > 1:
        return _compile_meshes(network, candidates, options, maps, duplicate)
    alone = tiles == 1 or (tiles is None and str(chip) != "auto")
    largest = candidates[-1]
    for candidate in candidates:
        try:
            if alone or candidate is not largest or all(n < largest.arrays for n in maps):
                check_fault_maps(candidate, maps)
                return compile_tile(network, candidate, options, maps).compiled
        except CapacityError:
            if candidate is largest and alone:
                raise
    return _compile_parts(network, largest, options, maps, tiles)


def _compile_meshes(
    network: Network,
    chips: Sequence[Chip],
    options: Options,
    maps: FaultMaps,
    duplicate: bool,
) -> CompiledNetwork:
    """Compile for the first of some chips on whose mesh a network fits."""
    for chip in chips[:-1]:
        with contextlib.suppress(CapacityError):
            return compile_mesh(network, chip, options, maps, duplicate=duplicate)
    return compile_mesh(network, chips[-1], options, maps, duplicate=duplicate)


def check_mesh_size(columns: int, rows: int) -> None:
    """Refuse a mesh that there cannot be.

    Raises
    ------
    ConfigError
    """
    if not (1 <= columns <= MAX_MESH and 1 <= rows <= MAX_MESH):
        raise ConfigError(
            f"A mesh has 1 to {MAX_MESH} columns and 1 to {MAX_MESH} rows of tiles, not "
            f"{columns}x{rows}"
        )


def _compile_parts(
    network: Network, chip: Chip, options: Options, maps: FaultMaps, tiles: int | None
) -> CompiledNetwork:
    """Compile for several tiles.

    Raises
    ------
    CapacityError
        If the network cannot be cut, or takes more tiles than there are.
    """

    def check(part: Network) -> None:
        layout, mapping, neighbours = lay_out(part, chip, options)
        generate(mapping, layout, trace=options.trace, neighbours=neighbours)

    cut = partition(lower_softmax(network), chip, check)
    most = MAX_TILES if tiles is None else tiles
    if len(cut.parts) > most:
        raise CapacityError(
            f"Network '{network.name}' takes {len(cut.parts)} tiles of chip '{chip.name}', "
            f"{most} are given; allow more tiles or use a chip with more cores"
        )
    if options.calibration is not None:
        options = dataclasses.replace(options, calibration=None)
    tile_maps: list[dict[int, NDArray[np.int8]]] = [{} for _ in cut.parts]
    for array, cells in maps.items():
        tile, own = divmod(array, chip.arrays)
        if not 0 <= tile < len(cut.parts):
            raise ConfigError(
                f"A fault map is given for array {array}, but the network takes arrays 0 to "
                f"{len(cut.parts) * chip.arrays - 1}"
            )
        tile_maps[tile][own] = cells
    parts = []
    for number, (part, own_maps) in enumerate(zip(cut.parts, tile_maps, strict=True)):
        check_fault_maps(chip, own_maps)
        parts.append(compile_tile(part, chip, options, own_maps, number * chip.arrays).compiled)
    layers = tuple(
        m.moved(number * chip.cores)
        for number, part in enumerate(parts)
        for m in part.mapping.layers
    )
    return CompiledNetwork(
        network,
        LayerMapping(cut.network, chip, layers),
        options.device,
        options.seed,
        None,
        {},
        maps,
        options.headroom,
        partition=cut,
        tiles=tuple(parts),
        data_words=max(part.data_words for part in parts),
        trace=options.trace,
    )


def choose_chip(network: Network, steps: int | None = None) -> Chip:
    """The smallest standard chip of which one tile holds the network.

    Raises
    ------
    CapacityError
        If none does.
    """
    chips = [load_chip(name) for name in chip_names()]
    layout = plan_layout(lower_softmax(network))
    for chip in chips:
        try:
            mapping = map_layout(layout, chip)
            check_arrays(mapping)
            generate(mapping, layout, trace=True, steps=steps)
        except CapacityError:
            if chip is chips[-1]:
                raise
        else:
            return chip
    raise CapacityError("No standard chip is installed")


def _check_work(network: Network, steps: int | None) -> None:
    if all(is_view(layer) or not layer.sources for layer in network.layers):
        raise ModelError(
            f"Network '{network.name}' only reorders its input; there is nothing to compute on a "
            "chip"
        )
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
