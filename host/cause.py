# SPDX-License-Identifier: Apache-2.0
"""Where a difference between two levels arises: which read of which array, and waves around it.

The sample that differs is run once more at both levels, with every read of every array recorded
(:mod:`.capture`). The first read that is not the same is the cause: other rows driven, or a column
that converts to another code. Where all reads are equal the difference arises behind the ADCs.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .capture import Read, Reads, capture_rtl, record_fast
from .codes import Codes, flat_codes
from .compare import CLOCKED, LevelRun
from .compiler.network import CompiledNetwork
from .plots.waves import MAX_CYCLES, MAX_FIRST, Probe, Window, write_waves
from .report import Cause, Divergence
from .start import Start
from .verilator_build import build_model

__all__ = ["WAVES", "find_cause", "first_difference"]

WAVES = "divergence.vcd"
"""Name of the file of waves in the folder of a trace."""

_BEFORE, _BEHIND = 100, 200
"""Cycles of the waves before and behind a read."""

Progress = Callable[[str, int, int], None]


def find_cause(
    level: LevelRun,
    other: LevelRun,
    codes: Mapping[str, Codes],
    found: Divergence,
    start: int,
    folder: Path,
    progress: Progress,
) -> Cause:
    """Run the sample of a difference again at both levels, and find the read that it comes from.

    Parameters
    ----------
    level, other : LevelRun
        That which differs, and that with which it was compared; both have run ``codes``.
    codes : mapping
        Of the batch that the sample is in, by tensor.
    found : Divergence
    start : int
        Number of the batch's first sample.
    folder : Path
        Gets :data:`WAVES`, if a clocked level differs.

    Raises
    ------
    ToolError
        If the traced model cannot be built or fails.
    """
    compiled = level.target.compiled
    program = compiled.program
    upto = found.sample - start + 1
    part = {name: array[:upto] for name, array in codes.items()}
    flat = flat_codes(compiled.network, part)
    words = program.pack_inputs(flat)
    begin = _start(other if other.target.crossbars() else level)
    wanted, _ = record_fast(compiled, begin, words)
    if level.name not in CLOCKED:
        return _cause(_ideal(compiled, wanted), wanted, found)
    library = build_model(compiled.chip, progress=progress, trace=True)
    mine = _start(level)
    reads, output, _ = capture_rtl(compiled, mine, words, library)
    if not _repeats(compiled, output, level, found, start):
        return Cause("gone")
    cause = _cause(wanted, reads, found)
    return _show(compiled, cause, reads, found, mine, flat, folder, library)


def _start(level: LevelRun) -> Start:
    """The arrays of a level before the batch that it has run last."""
    arrays = level.target.crossbars()
    return Start({core: array.image for core, array in arrays.items()}, level.begun)


def _repeats(
    compiled: CompiledNetwork,
    output: NDArray[np.uint64],
    level: LevelRun,
    found: Divergence,
    start: int,
) -> bool:
    """Whether the sample, run again, gives the tensor that it gave before."""
    again: dict[str, NDArray[Any]] = compiled.program.unpack_outputs(output[None])
    before = level.current[found.tensor][found.sample - start]
    return np.array_equal(again[found.tensor][0].reshape(before.shape), before)


def _ideal(compiled: CompiledNetwork, reads: Reads) -> Reads:
    """The same reads of arrays that add up their levels exactly."""
    top = (1 << compiled.chip.adc_bits) - 1
    exact: Reads = {}
    program = compiled.program
    for number, spec in zip(program.array_numbers, program.arrays, strict=True):
        levels = spec.levels.astype(np.int64)
        exact[number] = [
            replace(
                read,
                codes=np.minimum(read.rows @ levels[:, : len(read.codes)], top).astype(np.uint16),
            )
            for read in reads[number]
        ]
    return exact


def _cause(wanted: Reads, got: Reads, found: Divergence) -> Cause:
    """What makes a sum differ: its arrays alone can; codes of equal sums differ behind them."""
    cores = found.cores if found.tensor.endswith(".acc") else ()
    return first_difference({core: wanted[core] for core in cores}, got)


def first_difference(wanted: Reads, got: Reads) -> Cause:
    """The earliest read that is not the same; the array with the lowest number if two tie."""
    found: list[tuple[int, Cause]] = []
    for core in sorted(wanted):
        pairs = list(zip(wanted[core], got[core], strict=False))
        for number, (a, b) in enumerate(pairs):
            cause = _compare(core, number, a, b)
            if cause is not None:
                found.append((b.order if b.cycle is None else b.cycle, cause))
                break
        else:
            if len(wanted[core]) != len(got[core]):
                cause = Cause("count", array=core, expected=len(wanted[core]), got=len(got[core]))
                last = got[core][-1] if got[core] else None
                when = 0 if last is None else last.order if last.cycle is None else last.cycle
                found.append((when, replace(cause, cycle=None if last is None else last.cycle)))
    return min(found, key=lambda entry: entry[0])[1] if found else Cause("none")


def _compare(core: int, number: int, a: Read, b: Read) -> Cause | None:
    """How two reads of an array differ."""
    cause = Cause("", array=core, read=b.number, in_sample=number, cycle=b.cycle)
    if not np.array_equal(a.rows, b.rows):
        row = int((a.rows != b.rows).argmax())
        return replace(cause, kind="rows", row=row, expected=int(a.rows[row]), got=int(b.rows[row]))
    # The clocked level converts whole beats, of which the last may hold columns of no use.
    first, apart = b.part
    wanted = a.codes[first::apart]
    columns = len(wanted)
    codes = np.zeros(columns, np.uint16)
    codes[: len(b.codes)] = b.codes[:columns]
    wrong = wanted != codes
    if not wrong.any():
        return None
    place = int(wrong.argmax())
    column = first + apart * place
    want, have = int(wanted[place]), int(codes[place])
    bit = ((want ^ have) & -(want ^ have)).bit_length() - 1
    return replace(cause, kind="code", column=column, bit=bit, expected=want, got=have)


def _show(
    compiled: CompiledNetwork,
    cause: Cause,
    reads: Reads,
    found: Divergence,
    start: Start,
    flat: Codes,
    folder: Path,
    library: Path,
) -> Cause:
    """Write waves around the read; around the layer's last one if all reads are equal."""
    core, cycle = cause.array, cause.cycle
    if cause.kind == "none":
        last = [(r[-1].cycle or 0, c) for c, r in reads.items() if c in found.cores and r]
        if not last:
            return cause
        cycle, core = max(last)
    if core is None or cycle is None:
        return cause
    span = compiled.chip.columns_per_output
    column = cause.column or 0
    columns = tuple(range(column - column % span, column - column % span + span))
    cells = () if cause.row is None else ((cause.row, column),)
    first = max(0, cycle - _BEFORE)
    window = Window(first, min(cycle + _BEHIND, first + MAX_CYCLES))
    if window.first > MAX_FIRST:
        return cause
    core //= compiled.chip.arrays_per_core
    path = folder / WAVES
    write_waves(
        compiled,
        flat,
        [Probe(core, columns, cells)],
        path,
        window=window,
        library=library,
        start=start,
    )
    return replace(cause, waves=str(path), cycle=cycle)
