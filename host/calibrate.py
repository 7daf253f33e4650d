# SPDX-License-Identifier: Apache-2.0
"""Trims that the host measures on a chip: drift compensation and lane calibration.

Both drive row patterns that the host knows through the arrays, as any other read: noisy, converted
by the chip's ADCs and counted by the arrays' read numbers (not by the counters of the tile, which
count its own products). The host knows every cell's level, hence every sum as it should be.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import InputError
from ..behavioral.cengine import CCrossbar
from ..behavioral.state import ArrayState
from .state import ChipState

__all__ = [
    "Compensation",
    "LaneReport",
    "LaneTrim",
    "measure_gains",
    "measure_lanes",
    "residual",
]

Compensation = Literal["global", "reference"]

_REFERENCE_COLUMNS = 8


@dataclass(frozen=True, eq=False)
class LaneTrim:
    """What was found of the ADCs of one array, and the table that takes their place.

    ``gain`` and ``offset`` are float64 [lanes]: a code is ``gain * ideal code + offset``.
    ``table`` is uint16 [lanes, 2**adc_bits]: the ADC's own table followed by the correction.
    """

    gain: NDArray[np.float64]
    offset: NDArray[np.float64]
    table: NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class LaneReport:
    """A lane calibration: trims by core, root mean square error of codes before and after."""

    lanes: Mapping[int, LaneTrim]
    before: float
    after: float


def _patterns(state: ChipState, core: int, reads: int) -> NDArray[np.bool_]:
    """Row masks bool [reads, rows] with as many of the rows in use as a read takes, or fewer.

    They depend on the array alone, so that every level measures with the same reads.
    """
    array = state.arrays[core]
    rows = state.row_numbers(core)
    chip = state.compiled.chip
    random = np.random.default_rng([state.compiled.seed, core, reads])
    masks = np.zeros((reads, array.shape[0]), bool)
    most = min(chip.most_rows, state.rows_used(core))
    for mask in masks:
        some = random.permutation(len(rows))[: random.integers(max(1, most // 2), most + 1)]
        mask[rows[some]] = True
    return masks


def _measure(
    state: ChipState, core: int, crossbar: CCrossbar, reads: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes as they should be, past the ADC's range too, and as read: int64 [reads, cols] each."""
    step = crossbar.image.adc_step
    wanted = (_sums(state, core, reads) + step // 2) // step
    return wanted, crossbar.read_many(_patterns(state, core, reads)).astype(np.int64)


def _sums(state: ChipState, core: int, reads: int) -> NDArray[np.int64]:
    """Sums of levels as they should be: int64 [reads, cols]."""
    masks = _patterns(state, core, reads)
    sums: NDArray[np.int64] = masks.astype(np.int64) @ state.arrays[core].levels.astype(np.int64)
    return sums


def _check(state: ChipState, reads: int) -> None:
    if reads < 1:
        raise InputError(f"A calibration takes at least 1 read, not {reads}")
    chip = state.compiled.chip
    if chip.sense_amplifier:
        raise InputError(
            f"Chip '{chip.name}' has sense amplifiers, which tell no more of a sum than a bit; "
            f"calibrate a chip of ADCs (adc_bits = 2 or more)"
        )


def _unclipped(wanted: NDArray[np.int64], array: ArrayState) -> NDArray[np.bool_]:
    """Codes far enough from both ends of the ADC that noise does not clip them."""
    top = (1 << array.adc_bits) - 1
    kept: NDArray[np.bool_] = (wanted >= min(4, top // 4)) & (wanted <= top * 7 // 8)
    return kept


def measure_gains(
    state: ChipState, crossbars: Mapping[int, CCrossbar], mode: Compensation, reads: int
) -> dict[int, float]:
    """The gain of each array that undoes what its currents lost.

    A code is ``alpha`` times what it should be, plus noise; ``alpha`` by least squares over
    known patterns divides the gain in force. ``"global"`` takes all columns of all arrays
    together, one factor for the chip: the global drift compensation of Joshi et al. 2020
    ("Accurate deep neural network inference using computational phase-change memory").
    ``"reference"`` gives each array a factor of its own, from the few columns with the largest
    sums: they serve as reference columns, for the host knows the levels of all of them. An
    array whose sums are too small to measure keeps its gain.

    Parameters
    ----------
    state : ChipState
    crossbars : mapping
        The arrays as they are read, by core.
    mode : "global" or "reference"
    reads : int
        Of each array.

    Raises
    ------
    InputError
        If there is no such mode, the reads are below 1, nothing could be measured, or the chip has
        sense amplifiers.
    """
    _check(state, reads)
    if mode not in ("global", "reference"):
        raise InputError(f"There is no compensation '{mode}'; choose 'global' or 'reference'")
    found: dict[int, tuple[float, float]] = {}
    for core, crossbar in crossbars.items():
        array = state.arrays[core]
        wanted, codes = _measure(state, core, crossbar, reads)
        kept = _unclipped(wanted, array)
        # Drifted sums stand between two coarse codes as often as anywhere else: no half is added.
        exact = _sums(state, core, reads) / crossbar.image.adc_step
        if mode == "reference":
            # Those that read the largest sums the ADC can hold tell most of the gain.
            strength = np.where(kept, wanted, 0).sum(axis=0)
            columns = np.argsort(-strength, kind="stable")[:_REFERENCE_COLUMNS]
            exact, codes, kept = exact[:, columns], codes[:, columns], kept[:, columns]
        # A trimmed array shows what its trim left over.
        raw = codes / state.gains[core]
        found[core] = (float((exact * raw)[kept].sum()), float((exact**2)[kept].sum()))
    across = np.array(list(found.values())).sum(axis=0)
    if not across.all():
        raise InputError("No current could be measured, so drift cannot be compensated for")
    whole = float(across[1] / across[0])
    if mode == "global":
        return dict.fromkeys(found, whole)
    return {
        core: power / product if product > 0 else state.gains[core]
        for core, (product, power) in found.items()
    }


def measure_lanes(
    state: ChipState, crossbars: Mapping[int, CCrossbar], reads: int
) -> tuple[dict[int, LaneTrim], float]:
    """Gain and offset of every ADC, by least squares over the columns that it converts.

    The inverse is a table of integers behind the ADC, one a lane: exact where a code moves by whole
    LSBs. What a rounded code lost, or INL, it cannot bring back.

    Returns
    -------
    lanes : dict
        Trims by core; arrays without code tables, whose ADCs are ideal, are left out.
    error : float
        Root mean square of ``code - ideal code`` over the reads, before the trims.

    Raises
    ------
    InputError
        If the reads are below 1, or the chip has sense amplifiers.
    """
    _check(state, reads)
    trims: dict[int, LaneTrim] = {}
    errors: list[NDArray[np.int64]] = []
    for core, crossbar in crossbars.items():
        table = crossbar.image.adc_table
        if table is None:
            continue
        array = state.arrays[core]
        wanted, codes = _measure(state, core, crossbar, reads)
        kept = _unclipped(wanted, array)
        errors.append((codes - wanted)[kept])
        lanes, top = array.lanes, (1 << array.adc_bits) - 1
        gain, offset = np.ones(lanes), np.zeros(lanes)
        for lane in range(lanes):
            own = kept & (crossbar.image.lane_of == lane)
            x, y = wanted[own], codes[own]
            if len(x) > 1 and x.var() > 0:
                slope = float(((x - x.mean()) * (y - y.mean())).mean() / x.var())
                if slope > 0:
                    gain[lane], offset[lane] = slope, float(y.mean() - slope * x.mean())
        corrected = np.rint((table - offset[:, None]) / gain[:, None])
        trims[core] = LaneTrim(gain, offset, np.clip(corrected, 0, top).astype(np.uint16))
    # Arrays that share their ADCs have one trim: that of the first of them in use.
    each = state.compiled.chip.arrays_per_core
    first = {number // each: number for number in sorted(trims, reverse=True)}
    return {number: trims[first[number // each]] for number in trims}, _rms(errors)


def residual(state: ChipState, crossbars: Mapping[int, CCrossbar], reads: int) -> float:
    """Root mean square of ``code - ideal code`` of the arrays with code tables, by fresh reads."""
    errors: list[NDArray[np.int64]] = []
    for core, crossbar in crossbars.items():
        if crossbar.image.adc_table is not None:
            wanted, codes = _measure(state, core, crossbar, reads)
            errors.append((codes - wanted)[_unclipped(wanted, state.arrays[core])])
    return _rms(errors)


def _rms(errors: list[NDArray[np.int64]]) -> float:
    values = np.concatenate(errors) if errors else np.zeros(0)
    return float(np.sqrt((values.astype(np.float64) ** 2).mean())) if values.size else 0.0
