# SPDX-License-Identifier: Apache-2.0
"""Fault-aware placement: the least important parts of weights go where cells are stuck.

A stuck cell costs its row and slice: the error of the weight times what comes in. Two orders are
free: which of an array's slots computes which output (unused slots are spares, where no other layer
reads the outputs), and which row holds which input of a block (where the host sends the inputs, so
that their order costs nothing). Both are assignment problems, solved in turn until neither helps.
Xia et al., "Stuck-at fault tolerance in RRAM computing systems", JETCAS 2018, map weights around
faults in the same spirit.
"""

import dataclasses
import math
from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ...arch.chip import Chip, RowSchedule
from ...arch.errors import ConfigError, InputError
from ...arch.formats import ACTIVATION_BITS
from ...behavioral import golden
from ...behavioral.devices import Device
from ...behavioral.effects.faults import STUCK_ON, check_map, seeded_map
from ...behavioral.effects.streams import Streams
from ...behavioral.encodings import choose_flips, weight_levels
from ..graph import Dense
from .layout import plan_layout
from .mapping import LayerMap, Mapping, most_slots
from .tasks import Linear
from .values import tensor_codes
from .windows import windows
from .wishes import readers

__all__ = ["FaultMaps", "check_fault_maps", "place", "placement_cost", "seeded_fault_maps"]

_ROUNDS = 4

# Codes spread evenly over 0 to 255, where nothing else is known of them.
_MEAN, _VARIANCE = 127.5, (256**2 - 1) / 12

FaultMaps = Map[int, NDArray[np.int8]]


@dataclass(frozen=True, eq=False)
class _Codes:
    """Mean and variance of each input of a layer, float64 [inputs]."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


def seeded_fault_maps(chip: Chip, device: Device, seed: int) -> dict[int, NDArray[np.int8]]:
    """The stuck cells that arrays of a device with ``[faults]`` will have: what a test would find.

    Returns
    -------
    dict
        Of each array of a tile, int8 [rows, cols]: 1 stuck on, -1 stuck off, 0 good.
    """
    shape = chip.rows, chip.cols + 1
    return {
        number: seeded_map(shape, device, Streams(seed, number))[:, :-1]
        for number in range(chip.arrays)
    }


def check_fault_maps(chip: Chip, maps: FaultMaps) -> None:
    """Refuse maps of arrays that a tile lacks, or that do not fit them.

    Raises
    ------
    ConfigError
    """
    what = "core" if chip.arrays_per_core == 1 else "array"
    for number, cells in maps.items():
        if not 0 <= number < chip.arrays:
            raise ConfigError(
                f"A fault map is given for {what} {number}, but chip '{chip.name}' has {what}s "
                f"0 to {chip.arrays - 1}; name the chip that was tested, or leave the map out"
            )
        try:
            check_map(cells, chip.rows, chip.cols)
        except ConfigError as error:
            raise ConfigError(f"The fault map of {what} {number} cannot be used: {error}") from None


def place(
    mapping: Mapping, maps: FaultMaps, calibration: NDArray[np.uint8] | None = None
) -> Mapping:
    """Choose orders of outputs and inputs that keep the expected squared output error low.

    Parameters
    ----------
    mapping : Mapping
        As :func:`~.mapping.map_network` gives it, in plain order.
    maps : mapping of int to int8 [rows, cols]
        Of some arrays: 1 stuck on, -1 stuck off, 0 good.
    calibration : uint8 [n, inputs], optional
        Typical input codes: inputs that are mostly 0 matter little. Without them all codes of every
        layer count as evenly spread.

    Returns
    -------
    Mapping
        Its cost (:func:`placement_cost`) is never above that of ``mapping``.

    Raises
    ------
    InputError
        If the calibration codes do not fit the network.
    """
    network, chip = mapping.network, mapping.chip
    codes = _statistics(mapping, calibration)
    tasks = {
        task.name: task
        for work in plan_layout(network).work
        for task in work.tasks
        if isinstance(task, Linear)
    }
    uses = [m.arrays for m in mapping.layers]
    stored: dict[str, NDArray[np.int64]] = {}
    layers = []
    for m in mapping.layers:
        layer = m.layer
        if layer.sources[0] in stored:
            m = dataclasses.replace(m, inputs=stored[layer.sources[0]])
        users = readers(network, layer.output)
        # An order of outputs costs nothing where other Dense layers read them, which can follow.
        free = (
            isinstance(layer, Dense)
            and len(tasks[layer.name].source_steps) == 1
            and uses.count(m.arrays) == 1
            and all(isinstance(user, Dense) for user in users)
            and all(uses.count(mapping.layer(user.name).arrays) == 1 for user in users)
        )
        if free:
            m = _place_layer(
                m,
                chip,
                maps,
                codes[layer.name],
                # What the host sends straight to one layer, it may send in any order.
                free_rows=tasks[layer.name].direct,
                spares=not users,
            )
            stored[layer.output] = m.stored
        layers.append(m)
    return Mapping(network, chip, tuple(layers))


def placement_cost(
    mapping: Mapping, maps: FaultMaps, calibration: NDArray[np.uint8] | None = None
) -> dict[str, float]:
    """Expected squared error of a layer's sums, summed over its outputs, for each layer by name.

    Inputs are taken as independent: ``sum(var[r] * e[r]**2) + (sum(mean[r] * e[r]))**2`` for the
    errors ``e[r]`` of the weights of an output.
    """
    codes = _statistics(mapping, calibration)
    return {
        m.layer.name: _total(m, mapping.chip, maps, codes[m.layer.name]) for m in mapping.layers
    }


def _statistics(mapping: Mapping, calibration: NDArray[np.uint8] | None) -> dict[str, _Codes]:
    """Codes of the rows of each layer's matrix, by the layer's name."""
    if calibration is None:
        return {
            m.layer.name: _Codes(np.full(m.rows, _MEAN), np.full(m.rows, _VARIANCE))
            for m in mapping.layers
        }
    network = mapping.network
    inputs = math.prod(network.input_shape)
    if calibration.dtype != np.uint8 or calibration.shape[1:] != (inputs,) or not len(calibration):
        raise InputError(
            f"Calibration codes must be uint8 [n, {inputs}] with n of 1 or more, not "
            f"{calibration.dtype} {list(calibration.shape)}"
        )
    values = tensor_codes(network, calibration, golden.run_network(network, calibration))
    found = {}
    for m in mapping.layers:
        seen = windows(m.layer, values[m.layer.sources[0]])
        seen = seen.reshape(-1, seen.shape[-1])
        found[m.layer.name] = _Codes(seen.mean(axis=0), seen.var(axis=0))
    return found


@dataclass(frozen=True, eq=False)
class _Stuck:
    """Stuck cells, of the first and, where inputs have two rows, of the second row of an input.

    ``cells`` bool and ``forced`` float64 [..., columns of an output]: which are stuck, and at what
    level.
    """

    cells: tuple[NDArray[np.bool_], ...]
    forced: tuple[NDArray[np.float64], ...]

    def __getitem__(self, at: Any) -> "_Stuck":
        return _Stuck(
            tuple(cells[at] for cells in self.cells), tuple(forced[at] for forced in self.forced)
        )

    @property
    def any(self) -> NDArray[np.bool_]:
        """Whether a weight has a stuck cell: bool [...]."""
        found: NDArray[np.bool_] = np.any([cells.any(axis=-1) for cells in self.cells], axis=0)
        return found


def _stuck(chip: Chip, cells: NDArray[np.int8]) -> _Stuck:
    """Of each input and slot: [inputs, slots, columns]."""
    shape = chip.rows // chip.input_rows, chip.input_rows, chip.outputs, chip.columns_per_output
    by_column = cells[:, : chip.outputs * shape[3]].reshape(shape)
    forced = np.where(by_column == STUCK_ON, float(chip.cell_code.top), 0.0)
    return _Stuck(tuple(by_column != 0), tuple(forced))


@dataclass(frozen=True, eq=False)
class _Held:
    """What cells are to hold: ``levels`` float64 [outputs, rows, columns], ``flips`` bool
    [outputs, 1, columns] where the complement is stored."""

    levels: NDArray[np.float64]
    flips: NDArray[np.bool_] | None


def _held(m: LayerMap, outputs: NDArray[np.int64], rows: NDArray[np.int64], chip: Chip) -> _Held:
    levels = weight_levels(chip.cell_code, m.weights(outputs, rows))
    flips = None
    if chip.flag_words:
        by_column = levels.transpose(1, 0, 2).reshape(len(rows), -1)
        zero_skip = chip.row_schedule is RowSchedule.ZERO_SKIP
        flips = choose_flips(by_column, chip.cell_code.top, chip.most_rows, zero_skip)
        flips = flips.reshape(len(outputs), 1, -1)
    return _Held(levels.astype(np.float64), flips)


def _errors(held: _Held, stuck: _Stuck, chip: Chip) -> tuple[NDArray[np.float64], ...]:
    """Errors float64 [outputs, rows] that stuck cells cause: of the weight, and what is added
    whatever comes in. What an AN code makes of it depends on the other cells of a read, and is left
    out.

    The axes of ``stuck`` are those of ``held.levels``, or 1.
    """
    code = chip.cell_code
    weights = np.array(chip.column_weights) / (chip.stored_factor * code.sum_unit)
    forced = stuck.forced[0]
    if held.flips is not None:
        forced = np.where(held.flips, code.top - forced, forced)
    error = np.where(stuck.cells[0], forced - held.levels, 0.0) @ weights
    if not code.complement_rows:
        return error, np.zeros_like(error)
    # The second row holds the complement, and is driven where the bit of the input is not set.
    other = np.where(stuck.cells[1], stuck.forced[1] - (code.top - held.levels), 0.0) @ weights
    return error - other, other * ((1 << ACTIVATION_BITS) - 1)


def _output_costs(
    m: LayerMap, j: int, chip: Chip, maps: FaultMaps, codes: _Codes
) -> NDArray[np.float64]:
    """Cost of each output of column part j in each slot: float64 [outputs, slots]."""
    outputs = _outputs(m, j)
    slots = most_slots(chip)
    spread, shift = np.zeros((2, len(outputs), slots))
    for block in m.col_parts[j]:
        cells = maps.get(chip.array_number(block.core, block.array))
        if cells is None:
            continue
        stuck = _stuck(chip, cells)
        order = m.input_order[block.rows.start : block.rows.stop]
        held = _held(m, outputs, order, chip)
        mean, variance = codes.mean[order], codes.variance[order]
        used = len(order)
        for slot in np.flatnonzero(stuck.any[:used].any(axis=0)):
            if slot < slots:
                error, added = _errors(held, stuck[None, :used, slot], chip)
                spread[:, slot] += error**2 @ variance
                shift[:, slot] += error @ mean + added.sum(axis=1)
    cost: NDArray[np.float64] = spread + shift**2
    return cost


def _outputs(m: LayerMap, j: int) -> NDArray[np.int64]:
    """Outputs of column part j, in order."""
    slots = m.slots_of(j)
    return np.sort(slots[slots >= 0])


def _total(m: LayerMap, chip: Chip, maps: FaultMaps, codes: _Codes) -> float:
    """Cost of a layer as it is placed."""
    total = 0.0
    for j in range(len(m.col_parts)):
        slots = m.slots_of(j)
        used = np.flatnonzero(slots >= 0)
        cost = _output_costs(m, j, chip, maps, codes)
        total += float(cost[np.searchsorted(_outputs(m, j), slots[used]), used].sum())
    return total


def _place_layer(
    m: LayerMap, chip: Chip, maps: FaultMaps, codes: _Codes, *, free_rows: bool, spares: bool
) -> LayerMap:
    """Assign outputs and rows in turn, as long as it helps."""
    best, least = m, _total(m, chip, maps, codes)
    tried = m
    for _ in range(_ROUNDS):
        if least == 0.0:
            break
        tried = _assign_outputs(tried, chip, maps, codes, spares)
        found = [tried]
        if free_rows:
            tried = _assign_rows(tried, chip, maps, codes)
            found.append(tried)
        # Rows ignore that errors of one sign add up, so they may make it worse.
        totals = [_total(one, chip, maps, codes) for one in found]
        lowest = int(np.argmin(totals))
        if totals[lowest] >= least:
            break
        best, least = found[lowest], totals[lowest]
    return best


def _assign_outputs(
    m: LayerMap, chip: Chip, maps: FaultMaps, codes: _Codes, spares: bool
) -> LayerMap:
    parts = []
    for j in range(len(m.col_parts)):
        own = _outputs(m, j)
        cost = _output_costs(m, j, chip, maps, codes)
        if not spares:
            cost = cost[:, : len(own)]
        # Of equals the first slots, since conversions end at the last slot in use.
        cost = cost + cost.max() * 1e-9 * np.arange(cost.shape[1])
        outputs, slots = linear_sum_assignment(cost)
        part = np.full(max(len(own), int(slots.max()) + 1), -1, np.int64)
        part[slots] = own[outputs]
        parts.append(part)
    return dataclasses.replace(m, slots=tuple(parts))


def _assign_rows(m: LayerMap, chip: Chip, maps: FaultMaps, codes: _Codes) -> LayerMap:
    order = m.input_order.copy()
    power = codes.variance + codes.mean**2
    for row in m.row_parts:
        rows = row[0].rows
        inputs = order[rows.start : rows.stop]
        cost, more = np.zeros((2, len(inputs), len(inputs)))
        for block in row:
            cells = maps.get(chip.array_number(block.core, block.array))
            if cells is None:
                continue
            stuck = _stuck(chip, cells)
            slots = m.slots_of(m.part_of(block))
            kept = np.flatnonzero(slots >= 0)
            held = _held(m, slots[kept], inputs, chip)
            for r in np.flatnonzero(stuck.any[: len(inputs), kept].any(axis=1)):
                error, added = _errors(held, stuck[r, kept][:, None], chip)
                cost[:, r] += (error**2).sum(axis=0)
                more[:, r] += (added * (added + 2 * error * codes.mean[inputs])).sum(axis=0)
        at, to = linear_sum_assignment(cost * power[inputs][:, None] + more)
        moved = np.empty_like(inputs)
        moved[to] = inputs[at]
        order[rows.start : rows.stop] = moved
    return dataclasses.replace(m, inputs=order)
