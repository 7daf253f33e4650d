# SPDX-License-Identifier: Apache-2.0
"""A core's bit-serial matrix-vector product over one array: results, reads and cycles.

The plain reference, to be read beside the RTL. Inputs go in pass by pass: one bit plane at a time,
least significant first (ISAAC, section III), or as another encoding has it (:mod:`.inputs`). The
row scheduler splits a pass into reads of at most ``rows_per_read`` rows, either all rows in turn or
only those that are driven (zero-skipping: Crafton et al. 2021, Fig. 11).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from ..arch.ancode import AnCode
from ..arch.chip import Chip
from ..arch.formats import ACTIVATION_BITS
from ..arch.inputs import MAX_PASSES, InputCode
from ..arch.registers import CoreEvent
from ..arch.timing import core_tail
from .ancode import decode
from .crossbar import Crossbar
from .inputs import drives_of

__all__ = ["EVENTS", "MAX_COLUMNS", "Event", "MvmConfig", "MvmResult", "check_mvm", "core_mvm"]

_PLAIN = InputCode()

MAX_COLUMNS = 16
"""Columns that one output may stand in."""


class Event(IntEnum):
    """What is counted in a product: :class:`~ohmtwin.arch.registers.CoreEvent`, and behind it what
    only somebody knows who knows the truth."""

    SATURATED = CoreEvent.SATURATED
    CORRECTED = CoreEvent.CORRECTED
    DETECTED = CoreEvent.DETECTED
    MISCORRECTED = 3
    """Sums of a read that were corrected, and are wrong."""
    MISSED = 4
    """Sums of a read that are wrong without any sign of it."""


EVENTS = len(Event)


@dataclass(frozen=True, kw_only=True)
class MvmConfig:
    """How a core works through a matrix-vector product.

    Parameters
    ----------
    rows_used : int
        Inputs; rows 0 to ``rows_used - 1`` hold weights.
    outputs : int
        Outputs; output j stands in the columns ``j * len(weights)`` and up.
    rows_per_read : int
        Most rows driven at once.
    step : int
        Levels that a code counts.
    top : int
        The code at which conversions are counted as saturated; 0: none is.
    slices : int
        1: a read converts all columns of the outputs. Otherwise those of an output: each pass is
        made once a slice, and converts one column of each output.
    budgets : tuple of int
        Most rows driven at once, for each of 8 planes; empty: ``rows_per_read`` for all.
    zero_skip : bool
        Spend reads on set bits only.
    group : int
        Rows that the planner looks at in a cycle.
    weights : tuple of int
        What a code of each of an output's columns counts for, at most 16 of them, 16 bits and a
        sign each.
    beats : int
        Cycles that converting a read takes: columns over lanes.
    planes : int
        Passes to make, from the first on: of a plain product bits of an input, 1 to 8.
    tail : int
        Cycles from the last beat (or planner step) to the end of the operation.
    code : AnCode, optional
        Under which weights are stored: each read's sum is decoded (``docs/ecc.md``).
    complement : bool
        Inputs have two rows, r and r + half of the array's: a read drives the second of those that
        it takes and whose bit is not set.
    cell_top : int
        Level that a flipped column's cells are the complement to; 0: none is flipped.
    inputs : InputCode
        What the passes are.
    zero : int
        Register ZERO, of input encodings that have it.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    rows_used: int
    outputs: int
    rows_per_read: int
    zero_skip: bool
    group: int
    weights: tuple[int, ...]
    beats: int
    planes: int = 8
    tail: int = 0
    step: int = 1
    top: int = 0
    slices: int = 1
    budgets: tuple[int, ...] = ()
    code: AnCode | None = None
    complement: bool = False
    cell_top: int = 0
    inputs: InputCode = _PLAIN
    zero: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("rows_used", 1, 256),
            ("outputs", 1, 512),
            ("rows_per_read", 1, 256),
            ("group", 1, 256),
            ("beats", 1, 512),
            ("planes", 1, min(self.inputs.passes, MAX_PASSES)),
            ("tail", 0, 1 << 16),
            ("step", 1, 256),
            ("top", 0, 0xFFFF),
            ("cell_top", 0, 15),
            ("zero", 0, 255),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"MVM parameter {name} must be {low} to {high}, not {value}")
        if self.slices not in (1, len(self.weights)):
            raise ValueError(
                f"An MVM reads 1 or {len(self.weights)} slices of an output, not {self.slices}"
            )
        wanted = ACTIVATION_BITS * self.slices
        if self.budgets and len(self.budgets) != wanted:
            raise ValueError(f"MVM budgets must be {wanted} or none, not {len(self.budgets)}")
        for rows in self.budgets:
            if not 1 <= rows <= 256:
                raise ValueError(f"MVM budgets must be 1 to 256 rows, not {rows}")
        if not 1 <= len(self.weights) <= MAX_COLUMNS:
            raise ValueError(
                f"An MVM output has 1 to {MAX_COLUMNS} columns, not {len(self.weights)}"
            )
        for weight in self.weights:
            if abs(weight) >= 1 << 16:
                raise ValueError(f"MVM weights must lie within 16 bits and a sign, not {weight}")

    @classmethod
    def of(
        cls,
        chip: Chip,
        *,
        rows: int,
        beats: int,
        rows_per_read: int,
        zero_skip: bool,
        planes: int | None = None,
        zero: int = 0,
        budgets: tuple[int, ...] = (),
    ) -> "MvmConfig":
        """What a core of ``chip`` does at an MVM of some rows and beats; all passes by default."""
        return cls(
            rows_used=rows,
            outputs=beats * chip.lanes * chip.read_slices // chip.columns_per_output,
            rows_per_read=rows_per_read,
            zero_skip=zero_skip,
            group=chip.planner_group,
            weights=chip.column_weights,
            beats=beats,
            planes=chip.passes if planes is None else planes,
            tail=core_tail(chip),
            step=chip.adc_step,
            top=(1 << chip.adc_bits) - 1 if chip.adc_clip else 0,
            slices=chip.read_slices,
            budgets=budgets,
            code=chip.an_code,
            complement=chip.cell_code.complement_rows,
            cell_top=chip.cell_code.top if chip.flag_words else 0,
            inputs=chip.input_code,
            zero=zero,
        )

    def most_rows(self, number: int) -> int:
        """Rows that a read of a pass may drive; each slice that is read by itself is a pass."""
        return self.budgets[number] if self.budgets else self.rows_per_read


@dataclass(frozen=True, eq=False)
class MvmResult:
    """What a batch of products gave.

    Parameters
    ----------
    acc : int32 array [batch, outputs]
        Sums, modulo ``2**32``.
    reads, active, stall : uint32 arrays [batch]
        Reads made; cycles from start to end; cycles in which the ADC waited for the planner.
    events : int64 array [EVENTS]
        Of the whole batch, by :class:`Event`; the last two only where the words were told.
    """

    acc: NDArray[np.int32]
    reads: NDArray[np.uint32]
    active: NDArray[np.uint32]
    stall: NDArray[np.uint32]
    events: NDArray[np.int64]


def check_mvm(
    x: NDArray[np.uint8],
    config: MvmConfig,
    rows: int,
    cols: int,
    words: NDArray[np.int32] | None = None,
    flips: NDArray[np.bool_] | None = None,
) -> None:
    """Refuse inputs or a configuration that do not fit an array of ``rows`` by ``cols``.

    Raises
    ------
    ValueError
        With what does not fit.
    """
    if x.dtype != np.uint8 or x.ndim != 2 or x.shape[1] != rows:
        raise ValueError(f"MVM inputs must be uint8 [batch, {rows}], not {x.dtype} {list(x.shape)}")
    given = rows // 2 if config.complement else rows
    if config.rows_used > given:
        raise ValueError(f"MVM uses {config.rows_used} rows of an array that has {given}")
    span = len(config.weights)
    if config.outputs * span > cols:
        raise ValueError(f"MVM needs {config.outputs} x {span} columns of an array that has {cols}")
    if words is not None and (words.dtype != np.int32 or words.shape != (rows, cols // span)):
        raise ValueError(
            f"The words of an array must be int32 [{rows}, {cols // span}], not {words.dtype} "
            f"{list(words.shape)}"
        )
    if flips is not None and (flips.dtype != np.bool_ or flips.shape != (cols,)):
        raise ValueError(
            f"Flags of flipped columns must be bool [{cols}], not {flips.dtype} {list(flips.shape)}"
        )


def plan_plane(candidates: NDArray[np.intp], n: int, group: int) -> Iterator[tuple[list[int], int]]:
    """Split the candidate rows of a plane into reads, as ``(rows, planner steps)``.

    The planner spends one step on each group of rows that a read takes from.
    """
    for start in range(0, len(candidates), n):
        taken = [int(r) for r in candidates[start : start + n]]
        yield taken, len({r // group for r in taken})


def core_mvm(
    crossbar: Crossbar,
    x: NDArray[np.uint8],
    config: MvmConfig,
    words: NDArray[np.int32] | None = None,
    flips: NDArray[np.bool_] | None = None,
) -> MvmResult:
    """Multiply a batch of vectors with the array's weights, one after another.

    Parameters
    ----------
    crossbar : Crossbar
        Read in order; its read number advances.
    x : uint8 array [batch, rows]
        Inputs; those of unused rows are ignored.
    config : MvmConfig
    words : int32 array [rows, words of a row], optional
        What the cells are meant to hold, taken together and without the factors of the code: with
        it sums can be told right from wrong.
    flips : bool [cols], optional
        Columns that hold ``config.cell_top`` less what they should.

    Raises
    ------
    ValueError
        See :func:`check_mvm`.
    """
    check_mvm(x, config, crossbar.image.rows, crossbar.image.cols, words, flips)
    batch = len(x)
    counts = np.zeros((3, batch), dtype=np.uint32)
    result = MvmResult(
        np.zeros((batch, config.outputs), dtype=np.int32),
        counts[0],
        counts[1],
        counts[2],
        np.zeros(EVENTS, dtype=np.int64),
    )
    for i in range(batch):
        acc, result.reads[i], result.active[i], result.stall[i] = _product(
            crossbar, x[i], config, words, flips, result.events
        )
        result.acc[i] = acc.astype(np.uint32).view(np.int32)
    return result


def _product(
    crossbar: Crossbar,
    x: NDArray[np.uint8],
    config: MvmConfig,
    words: NDArray[np.int32] | None,
    flips: NDArray[np.bool_] | None,
    events: NDArray[np.int64],
) -> tuple[NDArray[np.int64], int, int, int]:
    weights = np.array(config.weights, dtype=np.int64)
    columns = config.outputs * len(weights)
    acc = np.zeros(config.outputs, dtype=np.int64)
    reads = stall = 0
    planned = 0  # s: the cycle of the planner's last step
    accepted = 0  # a: the cycle in which the macro took the last read
    waiting = 0  # steps spent on empty planes, not yet placed on the clock
    for number in range(config.planes * config.slices):
        plane, part = divmod(number, config.slices)
        bits = drives_of(x, config.inputs, plane, config.zero)
        bits[config.rows_used :] = 0
        candidates = np.flatnonzero(bits) if config.zero_skip else np.arange(config.rows_used)
        if len(candidates) == 0:
            waiting += 1
        for taken, steps in plan_plane(candidates, config.most_rows(number), config.group):
            driven = np.zeros_like(bits)
            driven[taken] = bits[taken]
            if config.complement:
                driven[len(bits) // 2 :][taken] = 1 - bits[taken]
            if config.inputs.digit_bits > 1:
                codes = crossbar.read_digits(driven[None], columns)[0].astype(np.int64)
            else:
                codes = crossbar.read(driven.astype(np.bool_), columns).astype(np.int64)
            weighed = weights
            if config.slices > 1:
                codes, weighed = codes[part :: config.slices], weights[part : part + 1]
            if config.top:
                events[Event.SATURATED] += int((codes == config.top).sum())
            codes = codes * config.step
            if config.cell_top and flips is not None:
                full = config.cell_top * np.count_nonzero(driven)
                codes = np.where(flips[:columns], full - codes, codes)
            sums = codes.reshape(config.outputs, -1) @ weighed
            if config.code is not None:
                truth = None
                if words is not None:
                    truth = driven.astype(np.int32) @ words[:, : config.outputs]
                sums = _decode(config.code, sums, truth, events)
            acc += sums * config.inputs.weights[plane]
            # The plan slot holds one read: it is free once the previous read was accepted.
            planned = planned + waiting + steps
            if reads:
                planned = max(planned, accepted)
                free = accepted + config.beats  # when the previous conversion has ended
                accepted = max(planned + 1, free)
                stall += accepted - free
            else:
                accepted = planned + 1
            reads += 1
            waiting = 0
    end = planned + waiting
    if reads:
        end = max(end, accepted + config.beats)
    return acc, reads, end + config.tail, stall


def _decode(
    code: AnCode,
    sums: NDArray[np.int64],
    truth: NDArray[np.int64] | None,
    events: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The sums without the factors of the code, and counts of what was found in them."""
    decoded = decode(code, sums)
    events[Event.CORRECTED] += np.count_nonzero(decoded.corrected)
    events[Event.DETECTED] += np.count_nonzero(decoded.detected)
    if truth is not None:
        wrong = decoded.values != truth
        events[Event.MISCORRECTED] += np.count_nonzero(wrong & decoded.corrected)
        events[Event.MISSED] += np.count_nonzero(wrong & ~decoded.corrected & ~decoded.detected)
    return decoded.values
