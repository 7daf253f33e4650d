# SPDX-License-Identifier: Apache-2.0
"""A network compiled for a mesh of tiles that send each other what they make."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import Chip
from ...arch.errors import CapacityError, ConfigError, InputError
from ...arch.noc_interface import check_network
from ...behavioral import golden
from ..graph import Network, lower_softmax
from .compiled import CompiledNetwork
from .layout import plan_layout
from .mapping import Mapping as LayerMapping
from .mapping import map_layout
from .mesh_check import StuckError, check_mesh
from .mesh_plan import MeshPlan
from .mesh_routes import Part, RouteError, message_words, plan_mesh
from .mesh_stages import MeshCutter, Stage, Stages, fewest_tiles, find_stages
from .neighbours import Form, Neighbours
from .partition import Partition, Piece
from .placement import FaultMaps, check_fault_maps
from .profile import profile_tile
from .tile import Options, Tile, compile_tile
from .values import tensor_codes
from .wishes import Wish, wishes

__all__ = ["compile_mesh"]

_COPIES = (16, 8, 4, 2, 1)
_MOST_CORES, _MOST_TURNS = 32, 64
"""Of a tile, and arrays of a core (:class:`~...arch.chip_fields.ChipFields`)."""
"""Most copies of a stage that are tried, one after another."""


def compile_mesh(
    network: Network, chip: Chip, options: Options, maps: FaultMaps, *, duplicate: bool = True
) -> CompiledNetwork:
    """Compile for the mesh of a chip.

    Parameters
    ----------
    network : Network
    chip : Chip
        Its ``mesh`` says how many tiles there are.
    options : Options
    maps : mapping of int to int8 [rows, cols]
        Stuck cells, by array: those of the tile that runs part n of ``tiles`` have the numbers
        ``n * chip.arrays`` and up.
    duplicate : bool
        Whether slow stages may stand on several tiles, where tiles are free.

    Raises
    ------
    CapacityError
        If the network does not fit: how many arrays it needs, how many there are, what would fit.
    ConfigError
        If the chip's network cannot do what its sizes ask for.
    """
    check_network(chip)
    if network.states:
        raise CapacityError(
            f"Network '{network.name}' keeps states from step to step, so it has to fit one tile; "
            f"compile it without a mesh"
        )
    return _MeshCompiler(network, chip, options, maps, duplicate).compile()


class _Unfit(Exception):
    """A stage does not fit a tile, though its arrays would."""

    def __init__(self, stage: Stage, reason: CapacityError) -> None:
        super().__init__(str(reason))
        self.stage, self.reason = stage, reason


class _MeshCompiler:
    def __init__(
        self, network: Network, chip: Chip, options: Options, maps: FaultMaps, duplicate: bool
    ) -> None:
        self.network, self.chip, self.options, self.maps = network, chip, options, maps
        self.duplicate = duplicate
        self.lowered = lower_softmax(network)
        self.cutter = MeshCutter(self.lowered, chip)
        self.whole = self.sample_tensors()
        self.cycles: dict[tuple[str, int, int, bool], int] = {}
        self.bad: set[tuple[int, int]] = set()
        """Runs of pieces that did not fit a tile when they were compiled."""

    def sample_tensors(self) -> dict[str, NDArray[np.uint8]]:
        """Codes of all tensors for one sample: typical codes if there are some, else even ones."""
        given = self.options.calibration
        inputs = sum(math.prod(entry.shape) for entry in self.network.fed)
        if given is not None and (
            given.dtype != np.uint8 or given.shape[1:] != (inputs,) or not len(given)
        ):
            raise InputError(
                f"Calibration codes must be uint8 [n, {inputs}] with n of 1 or more, not "
                f"{given.dtype} {list(given.shape)}"
            )
        random = np.random.default_rng(0)
        codes = {}
        at = 0
        for entry in self.network.fed:
            size = math.prod(entry.shape)
            if given is None:
                values = random.integers(0, 256, (1, *entry.shape)).astype(np.uint8)
            else:
                values = given[:1, at : at + size].reshape(1, *entry.shape)
            codes[entry.tensor] = values
            at += size
        return tensor_codes(self.lowered, codes, golden.run_network(self.lowered, codes))

    # Stages

    def estimate(self, piece: Piece) -> int:
        """Cycles of a piece by itself, by a walk through its program."""
        size = 0 if piece.outputs is None else len(piece.outputs)
        key = piece.origin.name, size, len(piece.inputs or ()), piece.is_share
        if key not in self.cycles:
            part = self.cutter.part([piece], [piece])
            tile = compile_tile(part, self.chip, self.options, {})
            codes = {e.tensor: self.cutter.value(e.tensor, self.whole) for e in part.inputs}
            self.cycles[key] = profile_tile(tile.compiled, codes).total
        return self.cycles[key]

    def estimates(self) -> list[int]:
        """Of all pieces; those that fit no tile are cut finer."""
        while True:
            try:
                return [self.estimate(piece) for piece in self.cutter.order]
            except CapacityError:
                piece = next(p for p in self.cutter.order if not self.fits_alone(p))
                if not self.cutter.refine(piece):
                    raise
                self.bad.clear()

    def fits_alone(self, piece: Piece) -> bool:
        try:
            self.estimate(piece)
        except CapacityError:
            return False
        return True

    def fits(self, begin: int, end: int) -> bool:
        """Whether a run of pieces may fit one tile."""
        group = self.cutter.order[begin:end]
        return not self.cutter.full(group) and not any(begin <= a and b <= end for a, b in self.bad)

    def stages(self, cycles: Sequence[int], copies: int) -> Stages:
        pieces = len(self.cutter.order)
        found = find_stages(pieces, self.fits, cycles, self.chip.tiles, copies)
        if found is None:
            raise self.too_large(fewest_tiles(pieces, self.fits))
        return found

    def too_large(self, tiles: int) -> CapacityError:
        """The refusal of a network that takes more tiles than there are."""
        chip = self.chip
        columns, rows = chip.mesh
        arrays = map_layout(plan_layout(self.lowered), chip).arrays
        side = math.isqrt(tiles - 1) + 1
        if side <= 16:
            would = f"a mesh of {side}x{math.ceil(tiles / side)}"
        else:
            would = "no mesh of such tiles"
        each = chip.arrays_per_core
        cores = math.ceil(arrays / chip.tiles / each)
        several = f" of {each} arrays" if each > 1 else ""
        turns = math.ceil(arrays / chip.tiles / chip.cores)
        ways = [f"tiles of about {cores} cores{several}"] if cores <= _MOST_CORES else []
        if turns <= _MOST_TURNS and not (chip.program_verify or chip.flag_words):
            ways.append(f"about {turns} arrays a core (arrays_per_core)")
        more = " or ".join(ways) or "larger arrays"
        return CapacityError(
            f"Network '{self.network.name}' needs {arrays} arrays of {chip.rows}x{chip.cols} "
            f"{chip.cell_bits}-bit cells, on {tiles} tiles as its layers cut; a mesh of "
            f"{columns}x{rows} tiles of {chip.cores} cores{several} has "
            f"{chip.tiles * chip.arrays}; {would} would fit, or {more}"
        )

    # Parts

    def wanted(self) -> dict[str, list[Wish]]:
        """How tensors that one part makes for others are wanted."""
        return {
            tensor: wishes(self.lowered, tensor)
            for tensor, pieces in self.cutter.pieces_of.items()
            if len(pieces) == 1
        }

    def compile_parts(self, stages: Sequence[Stage], eager: bool) -> list[tuple[Part, Network]]:
        """Raises _Unfit for a stage that does not fit its tile."""
        cutter = self.cutter
        groups = [cutter.order[stage.begin : stage.end] for stage in stages]
        home = {p.layer.output: n for n, group in enumerate(groups) for p in group}
        leaving: set[str] = set()
        for number, group in enumerate(groups):
            for piece in group:
                leaving |= {t for t in cutter.needs(piece) if home.get(t, number) != number}
        results = {
            piece.layer.output
            for root in cutter.results
            for piece in cutter.pieces_of.get(root, ())
        }
        wanted = {tensor: found for tensor, found in self.wanted().items() if tensor in leaving}
        forms: dict[str, Form] = {}
        parts = []
        tile = 0
        for stage, group in zip(stages, groups, strict=True):
            out = [p for p in group if p.layer.output in leaving | results]
            network = cutter.part(group, out)
            neighbours = Neighbours(
                message_words(self.chip),
                {e.tensor: forms[e.tensor] for e in network.inputs if e.tensor in forms},
                frozenset(leaving & {p.layer.output for p in group}),
                wanted,
                eager,
            )
            try:
                made = self.compile_part(network, tile, neighbours)
            except CapacityError as error:
                raise _Unfit(stage, error) from error
            forms |= made.code.forms
            codes = {e.tensor: cutter.value(e.tensor, self.whole) for e in network.inputs}
            parts.append(
                (
                    Part(
                        tile=made,
                        tiles=tuple(range(tile, tile + stage.copies)),
                        cycles=profile_tile(made.compiled, codes).total,
                        outputs={p.layer.name: p.layer.output for p in group},
                        results=frozenset(results),
                    ),
                    network,
                )
            )
            tile += stage.copies
        return parts

    def compile_part(self, network: Network, tile: int, neighbours: Neighbours) -> Tile:
        return compile_tile(
            network, self.chip, self.options, {}, tile * self.chip.arrays, neighbours
        )

    # All of it

    def compile(self) -> CompiledNetwork:
        last: CapacityError | None = None
        eager = False
        for copies in _COPIES if self.duplicate else (1,):
            while True:
                cycles = self.estimates()
                stages = self.stages(cycles, copies).stages
                try:
                    parts = self.compile_parts(stages, eager)
                    return self.join(stages, parts)
                except _Unfit as error:
                    self.narrow(error)
                except StuckError:
                    if eager:
                        raise
                    eager = True
                except RouteError as error:
                    last = error
                    break
        raise CapacityError(str(last)) from last

    def narrow(self, error: _Unfit) -> None:
        """Do without a stage that did not fit."""
        stage = error.stage
        self.bad.add((stage.begin, stage.end))
        if stage.end - stage.begin == 1:
            if not self.cutter.refine(self.cutter.order[stage.begin]):
                raise CapacityError(str(error.reason)) from error
            self.bad.clear()

    def join(
        self, stages: Sequence[Stage], parts: Sequence[tuple[Part, Network]]
    ) -> CompiledNetwork:
        chip = self.chip
        inputs = {entry.tensor for entry in self.lowered.fed}
        plan = plan_mesh(chip, [part for part, _ in parts], self.options.trace, inputs)
        tiles = self.tiles(plan, parts)
        check_mesh(plan, [tile.program for tile in tiles])
        cut = Partition(
            self.lowered,
            tuple(network for _, network in parts),
            tuple(p for s in stages for p in self.cutter.order[s.begin : s.end]),
            tuple(part.tiles for part, _ in parts),
        )
        layers = tuple(
            m.moved(part.tiles[0] * chip.cores)
            for part, _ in parts
            for tile in [tiles[part.tiles[0]]]
            for m in tile.mapping.layers
        )
        return CompiledNetwork(
            self.network,
            LayerMapping(self.lowered, chip, layers),
            self.options.device,
            self.options.seed,
            None,
            {},
            self.maps,
            self.options.headroom,
            partition=cut,
            tiles=tiles,
            data_words=max(tile.data_words for tile in tiles),
            trace=self.options.trace,
            mesh=plan,
        )

    def tiles(
        self, plan: MeshPlan, parts: Sequence[tuple[Part, Network]]
    ) -> tuple[CompiledNetwork, ...]:
        """The programs of all tiles; copies differ in the numbers of their arrays."""
        own = self.chip.arrays
        most = len(plan.tiles) * own
        for array, cells in self.maps.items():
            if not 0 <= array < most:
                raise ConfigError(
                    f"A fault map is given for array {array}, but the network takes arrays 0 to "
                    f"{most - 1}"
                )
            check_fault_maps(self.chip, {array % own: cells})
        return tuple(
            dataclasses.replace(
                part.tile.compiled,
                array_base=tile * own,
                fault_maps={
                    array: cells for array, cells in self.maps.items() if array // own == tile
                },
            )
            for part, _ in parts
            for tile in part.tiles
        )
