# SPDX-License-Identifier: Apache-2.0
"""Row budgets from what reads of a programmed chip really give.

A read of many rows gathers the deviations of many cells: the more rows, the more often the ADC's
code is off. Crafton et al. 2021 ("Counting Cards") choose how many rows a read drives from that
variance and from how much a bit plane counts: here both are measured, on the arrays as they are
programmed and on the codes that a network sees, and the fewest reads that meet a target are found
exactly.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.chip import Chip, RowSchedule
from ..arch.errors import InputError
from ..arch.formats import ACTIVATION_BITS
from ..behavioral import golden
from ..behavioral.ancode import decode
from ..behavioral.cengine import CCrossbar
from ..behavioral.inputs import drives_of
from ..behavioral.program import ArraySpec
from .compiler.mapping import LayerMap
from .compiler.network import CompiledNetwork
from .compiler.values import tensor_codes
from .compiler.windows import windows
from .graph import lower_softmax

__all__ = ["BudgetPlan", "PlaneBudget", "ReadErrors", "choose_budgets", "measure_reads"]

Floats = NDArray[np.float64]

_FRONT = 4096
"""Choices that are kept from plane to plane; merging more would cost time and gain nothing."""


@dataclass(frozen=True, eq=False)
class ReadErrors:
    """Errors of reads of one layer's arrays, by slices that are read by themselves (one, where a
    read converts all columns) and rows driven (index 0: none, no error).

    Parameters
    ----------
    rate : float64 [slices, rows + 1]
        Share of conversions whose code is not that of the sum.
    bias, variance : float64 [slices, rows + 1]
        Mean and variance of the error that a read leaves in an output, its columns weighed, in
        units of the weights.
    """

    rate: Floats
    bias: Floats
    variance: Floats


@dataclass(frozen=True)
class PlaneBudget:
    """What was chosen for a bit plane, and in it a slice where slices are read by themselves.

    ``reads`` a sample with the budget and ``reads_before`` with the chip's; ``error_rate`` of its
    conversions; ``error`` that it leaves, in steps of output codes (root mean square).
    """

    plane: int
    rows: int
    rows_before: int
    reads: float
    reads_before: float
    error_rate: float
    error: float
    slice: int = 0


@dataclass(frozen=True)
class BudgetPlan:
    """Row budgets and what they are predicted to do.

    ``error`` is the root mean square over layers, planes and reads of what analog errors leave in a
    layer's sums, in steps of its output codes.
    """

    planes: tuple[PlaneBudget, ...]
    error: float
    error_before: float

    @property
    def budgets(self) -> tuple[int, ...]:
        """For ``Chip.row_budgets``."""
        return tuple(plane.rows for plane in self.planes)

    @property
    def reads(self) -> float:
        """Of a sample."""
        return sum(plane.reads for plane in self.planes)

    @property
    def reads_before(self) -> float:
        return sum(plane.reads_before for plane in self.planes)

    def to_json(self) -> dict[str, Any]:
        return {
            "row_budgets": list(self.budgets),
            "reads": self.reads,
            "reads_before": self.reads_before,
            "error": self.error,
            "error_before": self.error_before,
            "planes": [vars(plane) for plane in self.planes],
        }


def most_rows(compiled: CompiledNetwork) -> int:
    """The most rows that the chip's ADC reads without loss, or may read where it clips.

    With flipped columns that hangs on the weights: as many as the compiler takes, whatever the
    budgets of other planes.
    """
    chip = compiled.chip
    if chip.adc_clip:
        return chip.most_rows
    counts = range(1, chip.input_rows + 1)
    most = max(n for n in counts if n == 1 or chip.adc_bits_for(n) <= chip.adc_bits)
    if not chip.flag_words:
        return most
    return next((n for n in range(most, 1, -1) if _flips_fit(compiled, n)), 1)


def _flips_fit(compiled: CompiledNetwork, most: int) -> bool:
    """Whether the ADC holds every sum of reads of up to ``most`` rows, columns flipped for that."""
    # With zero-skip fewer rows never sum to more; blocks of fewer neighbouring rows may.
    skip = compiled.chip.row_schedule is RowSchedule.ZERO_SKIP
    counts = [most] if skip else [*range(most, 0, -1)]
    for at in range(0, len(counts), ACTIVATION_BITS - 1):
        some = counts[at : at + ACTIVATION_BITS - 1]
        budgets = (most, *some, *[most] * (ACTIVATION_BITS - 1 - len(some)))
        chip = compiled.chip.with_(row_budgets=budgets)
        blocks = ((m, block) for m in compiled.mapping.layers for block in m)
        if any(chip.adc_bits_of(m.largest_code(b, chip)) > chip.adc_bits for m, b in blocks):
            return False
    return True


def measure_reads(
    compiled: CompiledNetwork, *, most: int | None = None, reads: int = 64
) -> dict[str, ReadErrors]:
    """Read known rows of every array and tell how far off the codes are, by layer.

    The arrays are those of a chip just programmed (their images and noise), read by the fast level;
    the same seed gives the same figures. Sums under an AN code are corrected, as the chip does it;
    the rate of codes that are off is that before.

    Parameters
    ----------
    compiled : CompiledNetwork
        Of one tile.
    most : int, optional
        Rows up to which to measure; by default as many as the ADC takes.
    reads : int
        Of each array, for each number of rows.
    """
    chip = compiled.chip
    most = most_rows(compiled) if most is None else most
    measured: dict[tuple[int, int], Floats] = {}
    program = compiled.program
    for spec, image, place in zip(
        program.arrays, compiled.images, program.array_numbers, strict=True
    ):
        number = compiled.array_base + place
        crossbar = CCrossbar(image, compiled.seed, number)
        measured[spec.core, spec.array] = _measure(crossbar, spec, chip, most, reads, number)
    return {
        m.layer.name: ReadErrors(*np.mean([measured[array] for array in m.arrays], axis=0))
        for m in compiled.mapping.layers
    }


def _measure(
    crossbar: CCrossbar, spec: ArraySpec, chip: Chip, most: int, reads: int, number: int
) -> Floats:
    """Rate, bias and variance of one array: float64 [3, slices, most + 1]."""
    random = np.random.default_rng([crossbar.seed, number, most])
    levels = spec.levels.astype(np.int64)
    # Of an input with two rows, one of them conducts.
    cells = levels.reshape(-1, chip.input_rows, chip.cols).max(axis=0)
    used = int(np.flatnonzero(cells.any(axis=1)).max(initial=0)) + 1
    span = chip.columns_per_output
    outputs = int(np.flatnonzero(cells.any(axis=0)).max(initial=0)) // span + 1
    weights = np.tile(np.array(chip.column_weights, np.int64), outputs)
    if spec.flips is not None:
        weights = np.where(spec.flips[: outputs * span], -weights, weights)
    slices = chip.read_slices
    found = np.zeros((3, slices, most + 1))
    for n in range(1, most + 1):
        if n > used:
            found[..., n] = found[..., n - 1]
            continue
        masks = np.zeros((reads, chip.rows), bool)
        for mask in masks:
            inputs = random.permutation(used)[:n]
            if chip.cell_code.complement_rows:
                inputs = inputs + chip.input_rows * random.integers(0, 2, n)
            mask[inputs] = True
        codes = crossbar.read_many(masks, outputs * span).astype(np.int64) * chip.adc_step
        sums = masks.astype(np.int64) @ levels[:, : outputs * span]
        # What a read of its own converts lies along the last axis.
        shape = (reads, outputs, slices, span // slices)
        left = ((codes - sums) * weights).reshape(shape).sum(axis=3) / chip.cell_code.sum_unit
        if chip.an_code is not None:
            given, right = ((x * weights).reshape(shape).sum(axis=3) for x in (codes, sums))
            left = decode(chip.an_code, given).values - right / chip.stored_factor
        found[0, :, n] = (codes != sums).reshape(shape).mean(axis=(0, 1, 3))
        found[1, :, n], found[2, :, n] = left.mean(axis=(0, 1)), left.var(axis=(0, 1))
    return found


@dataclass(frozen=True, eq=False)
class _Use:
    """What a layer asks of its arrays: rows that planes drive, for each part of its rows."""

    mapped: LayerMap
    ones: tuple[NDArray[np.int64], ...]
    """int64 [products, planes], one for each row part."""
    products: float
    """Of a sample."""
    scale: float
    """Mean square of what a step of the sums is in steps of the output's codes."""


def _uses(compiled: CompiledNetwork, codes: Mapping[str, NDArray[np.uint8]]) -> dict[str, _Use]:
    network = lower_softmax(compiled.network)
    tensors = golden.run_network(network, codes)
    values = tensor_codes(network, codes, tensors)
    samples = len(next(iter(codes.values())))
    found = {}
    chip = compiled.chip
    for m in compiled.mapping.layers:
        layer = m.layer
        seen = windows(layer, values[layer.sources[0]])
        seen = seen.reshape(-1, seen.shape[-1])[:, m.input_order]
        ones = tuple(
            np.stack(
                [_driven(seen[:, rows.start : rows.stop], chip, p) for p in range(ACTIVATION_BITS)],
                axis=1,
            )
            for rows in (part[0].rows for part in m.row_parts)
        )
        scale = layer.mantissa.astype(np.float64) * 2.0 ** -layer.shift.astype(np.float64)
        found[layer.name] = _Use(m, ones, len(seen) / samples, float((scale**2).mean()))
    return found


def _driven(codes: NDArray[np.uint8], chip: Chip, plane: int) -> NDArray[np.int64]:
    """Rows that a plane of codes uint8 [n, rows] drives: int64 [n]."""
    if chip.cell_code.complement_rows:
        return np.full(len(codes), codes.shape[1])
    driven: NDArray[np.int64] = np.count_nonzero(drives_of(codes, chip.input_code, plane), axis=1)
    return driven


def _cost(
    use: _Use, errors: ReadErrors, chip: Chip, number: int, rows: int
) -> tuple[float, float, float]:
    """Reads of a sample, mean square error in output codes, and share of conversions off, with the
    budget of a number."""
    plane, part_of = divmod(number, chip.read_slices)
    reads = square = rate = 0.0
    counted = 0.0
    for part, ones in zip(use.mapped.row_parts, use.ones, strict=True):
        bits = ones[:, plane]
        if chip.row_schedule is RowSchedule.BASELINE:
            made = np.full(len(bits), -(-len(part[0].rows) // rows))
        else:
            made = -(-bits // rows)
        driven = np.minimum(np.rint(bits / np.maximum(made, 1)).astype(int), rows)
        bias, variance = errors.bias[part_of, driven], errors.variance[part_of, driven]
        square += float((made * variance + (made * bias) ** 2).mean())
        rate += float((made * errors.rate[part_of, driven]).sum())
        counted += float(made.sum())
        reads += float(made.mean()) * use.products * len(part)
    return reads, square * 4.0**plane * use.scale, rate / counted if counted else 0.0


def choose_budgets(
    compiled: CompiledNetwork,
    codes: Mapping[str, NDArray[np.uint8]],
    *,
    output_error: float | None = None,
    error_rate: float | None = None,
    reads: int = 64,
) -> BudgetPlan:
    """The budgets of the fewest reads that meet a target.

    Parameters
    ----------
    compiled : CompiledNetwork
        Of one tile; its device, seed and row schedule are those that the budgets are for.
    codes : mapping of str to uint8 [n, \\*shape]
        Input codes, by tensor: how many bits of each plane are set decides how many reads it takes.
    output_error : float, optional
        Root mean square of what analog errors may leave in a layer's sums, in steps of its output
        codes.
    error_rate : float, optional
        Share of conversions that may be off, in any plane. Give one of the two.
    reads : int
        Reads to measure each array with, for each number of rows.

    Raises
    ------
    InputError
        If the target is none, reads of one row do not meet it, or the chip has no budgets by bit
        plane.
    """
    if (output_error is None) == (error_rate is None):
        raise InputError("Give a target: either an output error or an error rate")
    target = output_error if error_rate is None else error_rate
    if target is None or not target > 0:
        raise InputError(f"The target of row budgets must be above 0, not {target}")
    if compiled.partition is not None:
        way = "leave out its mesh" if compiled.mesh else "choose one with more or larger arrays"
        raise InputError(
            f"Budgets are chosen for a network on one tile, '{compiled.network.name}' takes "
            f"{len(compiled.parts)} of chip '{compiled.chip.name}'; {way}"
        )
    chip = compiled.chip
    _check_planes(chip)
    most = max(most_rows(compiled), chip.most_rows)
    measured = measure_reads(compiled, most=most, reads=reads)
    uses = _uses(compiled, codes)
    slices = chip.read_slices
    costs = np.zeros((ACTIVATION_BITS * slices, most + 1, 3))
    for number in range(len(costs)):
        for rows in range(1, most + 1):
            each = [_cost(use, measured[n], chip, number, rows) for n, use in uses.items()]
            total, square, _ = np.array(each).T
            weight = total / max(total.sum(), 1e-300)
            rate = float((np.array([e[2] for e in each]) * weight).sum())
            costs[number, rows] = total.sum(), square.mean(), rate
    if error_rate is not None:
        chosen = _by_rate(costs, error_rate, slices)
    else:
        chosen = _by_error(costs, target**2)
    before = np.array(chip.budgets)
    every = np.arange(len(costs))
    return BudgetPlan(
        tuple(
            PlaneBudget(
                n // slices,
                int(rows),
                int(before[n]),
                float(costs[n, rows, 0]),
                float(costs[n, before[n], 0]),
                float(costs[n, rows, 2]),
                float(np.sqrt(costs[n, rows, 1])),
                n % slices,
            )
            for n, rows in enumerate(chosen)
        ),
        float(np.sqrt(costs[every, chosen, 1].sum())),
        float(np.sqrt(costs[every, before, 1].sum())),
    )


def _check_planes(chip: Chip) -> None:
    """Refuse a chip that cannot have row budgets by bit plane."""
    if chip.input_code.plane(1) != 1:
        raise InputError(
            f"Row budgets are for bit planes, the passes of input_encoding = "
            f"'{chip.input_encoding}' of chip '{chip.name}' are others; set input_encoding to "
            f"'unsigned' or 'twos_complement'"
        )
    if chip.sense_amplifier:
        raise InputError(
            f"Chip '{chip.name}' has sense amplifiers, which decide by one read of one plane; "
            f"choose row budgets for a chip of ADCs (adc_bits = 2 or more)"
        )


def _by_rate(costs: Floats, rate: float, slices: int) -> list[int]:
    """For each plane, and slice, the most rows whose conversions are off no more often."""
    chosen = []
    for number, rows in enumerate(costs[:, :, 2]):
        fit = np.flatnonzero(rows[1:] <= rate) + 1
        if not fit.size:
            plane, part = divmod(number, slices)
            where = f"plane {plane}" + (f", slice {part}," if slices > 1 else "")
            raise InputError(
                f"Of the conversions of {where} {rows[1]:.2%} are off with one row a read; "
                f"take an error rate of {rows[1]:.2g} or more, or a device with less spread"
            )
        chosen.append(int(fit.max()))
    return chosen


def _by_error(costs: Floats, limit: float) -> list[int]:
    """The fewest reads whose squares of errors stay within a limit: a walk along the planes that
    keeps every choice no other one beats in both."""
    reads, square = np.zeros(1), np.zeros(1)
    steps: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []  # where from, and with which rows
    for plane in costs:
        more_reads = (reads[:, None] + plane[1:, 0]).reshape(-1)
        more = (square[:, None] + plane[1:, 1]).reshape(-1)
        order = np.lexsort((more, more_reads))
        # Of choices with as many reads or fewer, those that leave the least error.
        least = np.minimum.accumulate(np.concatenate(([np.inf], more[order][:-1])))
        kept = order[(more[order] < least) & (more[order] <= limit)]
        if len(kept) > _FRONT:  # the first and the last stay: the fewest reads, the least error
            kept = kept[np.linspace(0, len(kept) - 1, _FRONT).astype(np.intp)]
        before, rows = np.divmod(kept, plane.shape[0] - 1)
        steps.append((before, rows + 1))
        reads, square = more_reads[kept], more[kept]
    if not len(reads):
        least = np.sqrt(costs[:, 1:, 1].min(axis=1).sum())
        raise InputError(
            f"No row budgets leave an output error of {np.sqrt(limit):.3g} code steps, the least "
            f"is {least:.3g}; take a larger target, or a device with less spread"
        )
    chosen, at = [], 0
    for before, rows in reversed(steps):
        chosen.append(int(rows[at]))
        at = int(before[at])
    return chosen[::-1]
