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

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ...arch.chip import Chip
from ...arch.errors import ConfigError, InputError
from ...arch.formats import WEIGHT_OFFSET
from ...behavioral import golden
from ...behavioral.devices import Device
from ...behavioral.effects.faults import STUCK_ON, check_map, seeded_map
from ...behavioral.effects.streams import Streams
from ..graph import Dense
from .layout import plan_layout
from .mapping import LayerMap, Mapping, most_slots, windows
from .tasks import Linear
from .values import tensor_codes
from .wishes import readers

__all__ = ["FaultMaps", "check_fault_maps", "place", "placement_cost", "seeded_fault_maps"]

_ROUNDS = 4

# Codes spread evenly over 0 to 255, where nothing else is known of them.
_MEAN, _VARIANCE = 127.5, (256**2 - 1) / 12

FaultMaps = Map[int, NDArray[np.int8]]
Words = NDArray[np.uint16]


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
        Of each core, int8 [rows, cols]: 1 stuck on, -1 stuck off, 0 good.
    """
    shape = chip.rows, chip.cols + 1
    return {
        core: seeded_map(shape, device, Streams(seed, core))[:, :-1] for core in range(chip.cores)
    }


def check_fault_maps(chip: Chip, maps: FaultMaps) -> None:
    """Refuse maps of cores that the chip lacks, or that do not fit its arrays.

    Raises
    ------
    ConfigError
    """
    for core, cells in maps.items():
        if not 0 <= core < chip.cores:
            raise ConfigError(
                f"A fault map is given for core {core}, but chip '{chip.name}' has cores 0 to "
                f"{chip.cores - 1}"
            )
        try:
            check_map(cells, chip.rows, chip.cols)
        except ConfigError as error:
            raise ConfigError(f"The fault map of core {core} cannot be used: {error}") from None


def place(
    mapping: Mapping, maps: FaultMaps, calibration: NDArray[np.uint8] | None = None
) -> Mapping:
    """Choose orders of outputs and inputs that keep the expected squared output error low.

    Parameters
    ----------
    mapping : Mapping
        As :func:`~.mapping.map_network` gives it, in plain order.
    maps : mapping of int to int8 [rows, cols]
        Of some cores: 1 stuck on, -1 stuck off, 0 good.
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
    uses = [m.cores for m in mapping.layers]
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
            and uses.count(m.cores) == 1
            and all(isinstance(user, Dense) for user in users)
            and all(uses.count(mapping.layer(user.name).cores) == 1 for user in users)
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


def _masks(chip: Chip, cells: NDArray[np.int8] | None) -> tuple[Words, Words]:
    """Of each row and slot, the bits of a stored word that are stuck, and those stuck at 1."""
    if cells is None:
        cells = np.zeros((chip.rows, chip.cols), np.int8)
    by_slice = cells[:, : chip.outputs * chip.slices].reshape(chip.rows, chip.outputs, chip.slices)
    bits = ((1 << chip.cell_bits) - 1) << (np.arange(chip.slices) * chip.cell_bits)
    stuck = ((by_slice != 0) * bits).sum(axis=2).astype(np.uint16)
    return stuck, ((by_slice == STUCK_ON) * bits).sum(axis=2).astype(np.uint16)


def _stored(m: LayerMap, outputs: NDArray[np.int64], rows: NDArray[np.int64], chip: Chip) -> Words:
    """Words of the cells, uint16 [outputs, rows]."""
    weights = m.weights(outputs, rows).astype(np.int32) + WEIGHT_OFFSET
    return (weights * chip.stored_factor).astype(np.uint16)


def _errors(words: Words, stuck: Words, on: Words, chip: Chip) -> NDArray[np.float64]:
    """Error of weights in cells whose bits ``stuck`` are forced to ``on``; what an AN code makes of
    it depends on the other cells of a read, and is left out."""
    error: NDArray[np.float64] = on.astype(np.float64) - (words & stuck)
    return error / chip.stored_factor


def _output_costs(
    m: LayerMap, j: int, chip: Chip, maps: FaultMaps, codes: _Codes
) -> NDArray[np.float64]:
    """Cost of each output of column part j in each slot: float64 [outputs, slots]."""
    outputs = _outputs(m, j)
    slots = most_slots(chip)
    spread, shift = np.zeros((2, len(outputs), slots))
    for block in m.col_parts[j]:
        if block.core not in maps:
            continue
        stuck, on = _masks(chip, maps[block.core])
        order = m.input_order[block.rows.start : block.rows.stop]
        held = _stored(m, outputs, order, chip)
        mean, variance = codes.mean[order], codes.variance[order]
        used = len(order)
        for slot in np.flatnonzero(stuck[:used].any(axis=0)):
            if slot < slots:
                error = _errors(held, stuck[:used, slot], on[:used, slot], chip)
                spread[:, slot] += error**2 @ variance
                shift[:, slot] += error @ mean
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
        cost = np.zeros((len(inputs), len(inputs)))
        for block in row:
            if block.core not in maps:
                continue
            stuck, on = _masks(chip, maps[block.core])
            slots = m.slots_of(m.part_of(block))
            kept = np.flatnonzero(slots >= 0)
            held = _stored(m, slots[kept], inputs, chip).T
            for r in np.flatnonzero(stuck[: len(inputs), kept].any(axis=1)):
                error = _errors(held, stuck[r, kept], on[r, kept], chip)
                cost[:, r] += (error**2).sum(axis=1)
        at, to = linear_sum_assignment(cost * power[inputs][:, None])
        moved = np.empty_like(inputs)
        moved[to] = inputs[at]
        order[rows.start : rows.stop] = moved
    return dataclasses.replace(m, inputs=order)
