# SPDX-License-Identifier: Apache-2.0
"""The fast machine: runs a tile program through behavioral arrays and predicts every counter.

It computes what the RTL computes, sample for sample and read for read, but without a clock: data
moves in batches of samples, and cycles follow from the formulas of ``docs/tile.md``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import InputError
from ..arch.formats import WEIGHT_OFFSET
from ..arch.timing import vector_latency
from . import cengine, core
from .crossbar import Crossbar
from .golden import requantize
from .machine_steps import Control, Load, Product, Receive, Requantize, Send, Trace
from .machine_timing import time_pass
from .machine_trace import trace_pass
from .program import ProgramError, TileProgram

__all__ = ["Array", "Counters", "Machine"]

Array = Crossbar | cengine.CCrossbar
"""What can stand in for an array."""

_BATCH_BYTES = 1 << 26
"""Memory that the state of samples run side by side may take."""


@dataclass(frozen=True)
class Counters:
    """The counters of a tile, as its registers hold them while it waits for a sample.

    Parameters
    ----------
    cycles, instructions, core_stalls, vector_stalls : int
        See :mod:`~ohmtwin.arch.registers`.
    core_reads, core_beats, core_active, core_adc_stalls : tuple of int
        One for each core of the chip.
    lanes : int
        ADCs of a core.
    """

    cycles: int
    instructions: int
    core_stalls: int
    vector_stalls: int
    core_reads: tuple[int, ...]
    core_beats: tuple[int, ...]
    core_active: tuple[int, ...]
    core_adc_stalls: tuple[int, ...]
    lanes: int

    @property
    def reads(self) -> int:
        """Reads of all arrays."""
        return sum(self.core_reads)

    @property
    def beats(self) -> int:
        """Beats of conversion of all cores."""
        return sum(self.core_beats)

    @property
    def conversions(self) -> int:
        """ADC samples taken."""
        return self.beats * self.lanes

    @property
    def active(self) -> int:
        """Cycles in which cores worked on products, summed over cores."""
        return sum(self.core_active)

    @property
    def adc_stalls(self) -> int:
        """Cycles in which the ADCs of a core waited between two reads, summed over cores."""
        return sum(self.core_adc_stalls)

    @property
    def adc_busy(self) -> float:
        """Fraction of the cycles of products in which the ADCs converted; 0 without products."""
        return self.beats / self.active if self.active else 0.0


@dataclass(eq=False)
class _State:
    """What a tile keeps, for a batch of samples.

    ``data`` uint8 [n, bytes], ``rows`` uint8 [cores, n, rows], ``sums`` int32 [cores, n],
    ``acc`` int32 [cores, n, outputs].
    """

    data: NDArray[np.uint8]
    rows: NDArray[np.uint8]
    sums: NDArray[np.int32]
    acc: NDArray[np.int32]

    def spread(self, n: int, words: int) -> "_State":
        """The state of one sample for each of n, with so many words of data memory."""
        return _State(
            np.repeat(self.data[:, : 8 * words], n, axis=0),
            np.repeat(self.rows, n, axis=1),
            np.repeat(self.sums, n, axis=1),
            np.repeat(self.acc, n, axis=1),
        )


class Machine:
    """A tile that runs a program through behavioral arrays.

    State lives on from call to call: read numbers go on and counters add up, as on a chip.

    Parameters
    ----------
    program : TileProgram
    arrays : sequence of Crossbar or CCrossbar
        One for each of ``program.arrays``, in that order. Their read numbers advance.

    Raises
    ------
    ProgramError
        If the program is bad; the message names the instruction.
    InputError
        If the arrays are not as many as the program's, or of another shape.
    """

    def __init__(self, program: TileProgram, arrays: Sequence[Array]) -> None:
        chip = program.chip
        if len(arrays) != len(program.arrays):
            raise InputError(
                f"The program needs {len(program.arrays)} arrays, {len(arrays)} were given"
            )
        for spec, array in zip(program.arrays, arrays, strict=True):
            if array.image.g.shape != (chip.rows, chip.cols):
                raise InputError(
                    f"Core {spec.core} needs an array of {chip.rows} x {chip.cols} cells, not "
                    f"{array.image.rows} x {array.image.cols}"
                )
        self._program = program
        self._arrays = {s.core: array for s, array in zip(program.arrays, arrays, strict=True)}
        self._state = _State(
            np.zeros((1, 8 * chip.data_words), dtype=np.uint8),
            np.zeros((chip.cores, 1, chip.rows), dtype=np.uint8),
            np.zeros((chip.cores, 1), dtype=np.int32),
            np.zeros((chip.cores, 1, chip.outputs), dtype=np.int32),
        )
        self._written: frozenset[tuple[str, int, int]] = frozenset()
        self._traces: dict[Control, Trace] = {}
        self._tile = np.zeros(4, dtype=np.int64)  # cycles, instructions, core and vector stalls
        self._core = np.zeros((4, chip.cores), dtype=np.int64)  # reads, beats, active, stalls

        start = trace_pass(program, Control.reset(chip.cores), first=True)
        self._check_written(start)
        self._count(start, np.zeros((0, 1), dtype=np.int64), first=True)
        self._control = start.end
        self._check_written(self._trace())

    @property
    def program(self) -> TileProgram:
        """What it runs."""
        return self._program

    @property
    def counters(self) -> Counters:
        """The tile's counters since it started or they were last cleared."""
        cycles, instructions, core_stalls, vector_stalls = (int(v) for v in self._tile)
        reads, beats, active, adc_stalls = (tuple(int(v) for v in row) for row in self._core)
        return Counters(
            cycles=cycles,
            instructions=instructions,
            core_stalls=core_stalls,
            vector_stalls=vector_stalls,
            core_reads=reads,
            core_beats=beats,
            core_active=active,
            core_adc_stalls=adc_stalls,
            lanes=self._program.chip.lanes,
        )

    def clear_counters(self) -> None:
        """What CONTROL.clear does; the numbers of reads go on."""
        self._tile[:] = 0
        self._core[:] = 0

    def run(self, input_words: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Run samples, one after another as far as can be seen.

        Parameters
        ----------
        input_words : uint64 [n, words of a sample]

        Returns
        -------
        uint64 [n, output words of a sample]

        Raises
        ------
        InputError
            If the words have another type or shape.
        ProgramError
            If a later pass of the program turns out to be bad.
        """
        width = self._program.input_words
        if input_words.dtype != np.uint64 or input_words.ndim != 2 or input_words.shape[1] != width:
            raise InputError(
                f"Input words must be uint64 [n, {width}], "
                f"not {input_words.dtype} {list(input_words.shape)}"
            )
        n = len(input_words)
        taken = np.ascontiguousarray(input_words).astype("<u8", copy=False).view(np.uint8)
        taken = taken.reshape(n, 8 * width)
        given = np.zeros((n, 8 * self._program.output_words), dtype=np.uint8)
        done = 0
        while done < n:
            trace = self._trace()
            self._check_written(trace)
            # Passes that leave the control state as they found it are all alike.
            count = min(n - done, self._batch(trace)) if trace.end == self._control else 1
            part = slice(done, done + count)
            self._pass(trace, taken[part], given[part])
            self._control = trace.end
            done += count
        words: NDArray[np.uint64] = given.view("<u8").astype(np.uint64, copy=False)
        return words

    def _trace(self) -> Trace:
        """The next pass."""
        if self._control not in self._traces:
            self._traces[self._control] = trace_pass(self._program, self._control, first=False)
        return self._traces[self._control]

    def _batch(self, trace: Trace) -> int:
        """Samples to run side by side, or to time together."""
        state = self._state
        size = 8 * trace.data_words + state.rows.nbytes + state.sums.nbytes + state.acc.nbytes
        return max(1, _BATCH_BYTES // (size + 8 * 3 * trace.product_count))

    def _check_written(self, trace: Trace) -> None:
        missing = {p: at for p, at in trace.needs.items() if p not in self._written}
        if not missing:
            return
        (kind, core_, number), at = min(missing.items(), key=lambda item: item[1])
        what = {
            "data": f"data word {number}",
            "rows": f"row {8 * number} of core {core_}",
            "sum": f"the sum of activations of core {core_}",
            "acc": f"the accumulators of core {core_}",
        }[kind]
        raise ProgramError(
            f"Instruction {at} ({self._program.instructions[at]}) is wrong: it uses {what}, which "
            f"nothing has written yet"
        )

    def _pass(self, trace: Trace, taken: NDArray[np.uint8], given: NDArray[np.uint8]) -> None:
        """Run samples of one trace: uint8 [n, input bytes] in, uint8 [n, output bytes] out."""
        n = len(taken)
        # Reads, active cycles and stalls of each product of each sample.
        log = np.zeros((3, trace.product_count, n), dtype=np.int64)
        if n > 1 and trace.independent:
            state = self._state.spread(n, trace.data_words)
            self._execute(trace, state, taken, given, log)
            # What the last sample left is dropped: such passes repeat for ever, and none of them
            # reads what they write.
        else:
            for i in range(n):
                one = slice(i, i + 1)
                self._execute(trace, self._state, taken[one], given[one], log[:, :, one])
        self._written |= trace.makes
        self._count(trace, log[1], first=False)
        reads, active, stalls = log.sum(axis=2)
        for step in trace.products:
            for number, at in enumerate(step.cores, start=step.number):
                self._core[:, at] += (
                    reads[number],
                    reads[number] * step.config.beats,
                    active[number],
                    stalls[number],
                )

    def _count(self, trace: Trace, active: NDArray[np.int64], *, first: bool) -> None:
        timing = time_pass(trace.steps, active, vector_latency(self._program.chip), first=first)
        self._tile += (
            timing.cycles.sum(),
            # The SYNC that waits is not completed.
            (len(trace.steps) - 1) * active.shape[1],
            timing.core_stalls.sum(),
            timing.vector_stalls.sum(),
        )

    def _execute(
        self,
        trace: Trace,
        state: _State,
        taken: NDArray[np.uint8],
        given: NDArray[np.uint8],
        log: NDArray[np.int64],
    ) -> None:
        """Move the data of a pass, for as many samples as ``state`` holds."""
        for step in trace.steps:
            if isinstance(step, Load):
                source = taken if step.host else state.data
                _load(step, state, source[:, step.start : step.start + step.count])
            elif isinstance(step, Product):
                for number, at in enumerate(step.cores, start=step.number):
                    result = _multiply(self._arrays[at], state.rows[at], step.config)
                    state.acc[at, :, : step.config.outputs] = result.acc
                    log[0, number] = result.reads
                    log[1, number] = result.active
                    log[2, number] = result.stall
            elif isinstance(step, Requantize):
                self._requantize(step, state, given)
            elif isinstance(step, Receive):
                source = taken[:, 8 * step.start : 8 * (step.start + step.words)]
                state.data[:, 8 * step.address : 8 * (step.address + step.words)] = source
            elif isinstance(step, Send):
                source = state.data[:, 8 * step.address : 8 * (step.address + step.words)]
                given[:, 8 * step.start : 8 * (step.start + step.words)] = source

    def _requantize(self, step: Requantize, state: _State, given: NDArray[np.uint8]) -> None:
        outputs = len(step.bias)
        n = len(given)
        # int32 arrays wrap around, as the adders do.
        total = np.broadcast_to(step.bias, (n, outputs)).copy()
        for at in step.cores:
            total += state.acc[at, :, :outputs]
            total -= (state.sums[at] * np.int32(WEIGHT_OFFSET))[:, None]
        if step.tap is not None:
            width = self._program.chip.outputs_per_beat
            slots = np.zeros((n, step.beats, width + width % 2), dtype="<i4")
            slots[:, :, :width] = total.reshape(n, step.beats, width)
            sent = slots.reshape(n, -1).view(np.uint8)
            given[:, 8 * step.tap : 8 * step.tap + sent.shape[1]] = sent
        # Slots that no output fills have a zero factor, whatever their sum.
        scaled = np.where(step.used, total, 0) if not step.used.all() else total
        mantissa = np.where(step.used, step.mantissa, np.uint32(1 << 23))
        codes = requantize(scaled, mantissa, step.shift, *step.quant)
        if step.table is not None:
            codes = self._program.tables[step.table][codes]
        start = 8 * step.address
        state.data[:, start : start + outputs] = codes
        state.data[:, start + outputs : start + 8 * step.words] = 0


def _load(step: Load, state: _State, source: NDArray[np.uint8]) -> None:
    total = source.sum(axis=1, dtype=np.int32)
    end = step.row + step.count
    for at in step.cores:
        state.rows[at, :, step.row : end] = source
        state.rows[at, :, end : -(-end // 8) * 8] = 0
        state.sums[at] = total if step.row == 0 else state.sums[at] + total


def _multiply(array: Array, x: NDArray[np.uint8], config: core.MvmConfig) -> core.MvmResult:
    if isinstance(array, Crossbar):
        return core.core_mvm(array, x, config)
    return cengine.core_mvm(array, x, config)
