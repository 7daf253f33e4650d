# SPDX-License-Identifier: Apache-2.0
"""The fast machine: runs a tile program through behavioral arrays and predicts every counter.

It computes what the RTL computes, sample for sample and read for read, but without a clock: a
program is traced once, its steps move the data of each sample, and cycles follow from the formulas
of ``docs/tile.md``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import InputError
from .core import Event
from .machine_execute import Array, Executor
from .machine_steps import Control, Places, Trace
from .machine_times import PassTimes, pass_times
from .machine_trace import trace_pass
from .program import ProgramError, TileProgram

__all__ = ["Array", "Counters", "Machine"]


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
    core_saturated, core_corrected, core_detected : tuple of int
        Events of cores (:class:`~ohmtwin.arch.registers.CoreEvent`), one for each core; empty where
        the chip does not count them.
    core_miscorrected, core_missed : tuple of int
        The same, of what only the fast machine knows (:class:`~.core.Event`): no part of
        comparisons.
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
    core_saturated: tuple[int, ...] = ()
    core_corrected: tuple[int, ...] = ()
    core_detected: tuple[int, ...] = ()
    core_miscorrected: tuple[int, ...] = field(default=(), compare=False)
    core_missed: tuple[int, ...] = field(default=(), compare=False)

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
                    f"{program.place_of(spec).capitalize()} needs an array of {chip.rows} x "
                    f"{chip.cols} cells, not "
                    f"{array.image.rows} x {array.image.cols}"
                )
        self._program = program
        by_number = dict(zip(program.array_numbers, arrays, strict=True))
        self._executor = Executor(program, by_number)
        self._instructions = 0
        self._places = Places(chip)
        self._written = np.zeros(self._places.count, dtype=np.bool_)
        self._written[: 8 * len(program.data)] = True

        self._control = Control.reset(chip)
        start = trace_pass(program, self._control, first=True)
        self._check_written(start)
        nothing = np.zeros((1, 0), dtype=np.uint8)
        started = self._pass(start, nothing, nothing, first=True, timed=True)
        if started is None:
            raise ValueError("The pass from reset was timed, yet there are no times")
        self._start_times = started
        # Refuses a bad program now, before the first sample.
        self._trace = trace_pass(program, self._control, first=False)
        self._check_written(self._trace)

    @property
    def program(self) -> TileProgram:
        """What it runs."""
        return self._program

    @property
    def counters(self) -> Counters:
        """The tile's counters since it started or they were last cleared."""
        tally = self._executor.tally
        cycles, core_stalls, vector_stalls = (int(v) for v in tally.tile)
        reads, beats, active, adc_stalls = (tuple(int(v) for v in row) for row in tally.core)
        return Counters(
            cycles=cycles,
            instructions=self._instructions,
            core_stalls=core_stalls,
            vector_stalls=vector_stalls,
            core_reads=reads,
            core_beats=beats,
            core_active=active,
            core_adc_stalls=adc_stalls,
            lanes=self._program.chip.lanes,
            **self._events(),
        )

    def _events(self) -> dict[str, tuple[int, ...]]:
        chip = self._program.chip
        known = [Event(event) for event in chip.events]
        if chip.code_a:
            known += [Event.MISCORRECTED, Event.MISSED]
        events = self._executor.tally.events
        return {f"core_{e.name.lower()}": tuple(int(v) for v in events[e]) for e in known}

    def clear_counters(self) -> None:
        """What CONTROL.clear does; the numbers of reads go on."""
        self._executor.tally.clear()
        self._instructions = 0

    def flip_data(self, word: int, bit: int) -> None:
        """Flip a bit of data memory: a digital fault while the tile waits for a sample.

        Raises
        ------
        InputError
            If the memory has no such bit.
        """
        self._executor.flip_data(word, bit)

    @property
    def start_times(self) -> PassTimes:
        """The pass from reset to the first wait for a sample."""
        return self._start_times

    def run(
        self, input_words: NDArray[np.uint64], times: list[PassTimes] | None = None
    ) -> NDArray[np.uint64]:
        """Run samples, one after another as far as can be seen.

        Parameters
        ----------
        input_words : uint64 [n, words of a sample]
        times : list of PassTimes, optional
            Appended to: when the samples touch the FIFOs, in order.

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
            if not self._trace.fits(self._control):
                self._trace = trace_pass(self._program, self._control, first=False)
                self._check_written(self._trace)
            # A pass that can follow itself is that of all samples.
            again = self._trace.fits(self._trace.after(self._control))
            part = slice(done, n if again else done + 1)
            found = self._pass(
                self._trace, taken[part], given[part], first=False, timed=times is not None
            )
            if times is not None and found is not None:
                times.append(found)
            done = part.stop
        words: NDArray[np.uint64] = given.view("<u8").astype(np.uint64, copy=False)
        return words

    def _check_written(self, trace: Trace) -> None:
        places, instructions = trace.needs
        missing = np.flatnonzero(~self._written[places])
        if not missing.size:
            return
        first = missing[np.argmin(instructions[missing])]
        at = int(instructions[first])
        raise ProgramError(
            f"Instruction {at} ({self._program.instructions[at]}) is wrong: it uses "
            f"{self._places[int(places[first])]}, which nothing has written yet"
        )

    def _pass(
        self,
        trace: Trace,
        taken: NDArray[np.uint8],
        given: NDArray[np.uint8],
        *,
        first: bool,
        timed: bool,
    ) -> PassTimes | None:
        """Run samples of one trace: uint8 [n, input bytes] in, uint8 [n, output bytes] out."""
        starts = np.empty((len(taken), len(trace.touches)), dtype=np.int64) if timed else None
        self._executor.run(trace, taken, given, first=first, starts=starts)
        # The SYNC that waits is not completed.
        self._instructions += (len(trace.steps) - 1) * len(taken)
        self._written[trace.makes] = True
        self._control = trace.after(self._control)
        return None if starts is None else pass_times(self._program.chip, trace, starts)
