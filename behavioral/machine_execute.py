# SPDX-License-Identifier: Apache-2.0
"""Moves the data of a pass, step by step: readable in NumPy, and fast in C.

Both read and write the same memories, so that arrays of either kind can stand in. The steps were
checked when they were traced (:mod:`.machine_trace`); nothing here looks at an address again.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import InputError
from ..arch.isa import VECTOR_ELEMENTS, VecOp
from ..arch.timing import vector_latency
from . import cengine, core
from .cengine import CCrossbar
from .crossbar import Crossbar
from .ctile import CTile, common_library
from .golden import requantize
from .inputs import counts_of
from .machine_memory import members, runs_of
from .machine_steps import Kind, Trace
from .machine_timing import time_pass
from .program import TileProgram

__all__ = ["Array", "Executor", "Memories", "Tally"]

Array = Crossbar | CCrossbar
"""What can stand in for an array."""


class Memories:
    """What a tile keeps from sample to sample.

    ``data`` uint8 [bytes], ``rows`` uint8 [cores, rows], ``sums`` int32 [cores], ``acc`` int32
    [cores, outputs], ``vec`` int32 [256].
    """

    def __init__(self, program: TileProgram) -> None:
        chip = program.chip
        self.data = np.zeros(8 * chip.data_words, dtype=np.uint8)
        image = program.data.astype("<u8").view(np.uint8)
        self.data[: image.size] = image
        self.rows = np.zeros((chip.cores, chip.rows), dtype=np.uint8)
        self.sums = np.zeros(chip.cores, dtype=np.int32)
        self.acc = np.zeros((chip.cores, chip.outputs), dtype=np.int32)
        self.vec = np.zeros(VECTOR_ELEMENTS, dtype=np.int32)


class Tally:
    """Counts of a tile: ``tile`` int64 [3], cycles and stalls for cores and vector unit; ``core``
    int64 [4, cores], reads, beats, active cycles and stalls of the ADCs; ``events`` int64
    [EVENTS, cores], by :class:`~.core.Event`."""

    def __init__(self, cores: int) -> None:
        self.tile = np.zeros(3, dtype=np.int64)
        self.core = np.zeros((4, cores), dtype=np.int64)
        self.events = np.zeros((core.EVENTS, cores), dtype=np.int64)

    def clear(self) -> None:
        """All counts to 0."""
        self.tile[:] = 0
        self.core[:] = 0
        self.events[:] = 0


def _words(program: TileProgram) -> dict[int, NDArray[np.int32]]:
    """What the arrays are meant to hold, by number: int32 [rows, outputs], without the code's
    factor."""
    chip = program.chip
    weights = np.array(chip.column_weights, dtype=np.int32)
    shape = (chip.rows, chip.outputs, chip.columns_per_output)
    return {
        number: spec.levels[:, : chip.outputs * shape[2]].reshape(shape).astype(np.int32)
        @ weights
        // chip.stored_factor
        for number, spec in zip(program.array_numbers, program.arrays, strict=True)
    }


class Executor:
    """Runs traces of a program on its arrays.

    Parameters
    ----------
    program : TileProgram
    arrays : mapping of int to array
        By number in the tile.
    """

    def __init__(self, program: TileProgram, arrays: Mapping[int, Array]) -> None:
        self._program = program
        self._arrays = dict(arrays)
        self._flips = {spec.core: spec.flips for spec in program.arrays}
        self._memories = Memories(program)
        self.tally = Tally(program.chip.cores)
        """Grows with every pass."""
        self._words = {} if program.chip.an_code is None else _words(program)
        self._c: CTile | None = None
        lib = common_library(list(arrays.values()))
        if lib is not None:
            of_c = {c: a for c, a in arrays.items() if isinstance(a, CCrossbar)}
            self._c = CTile(lib, program, of_c, self._memories, self._words, self.tally.events)

    def flip_data(self, word: int, bit: int) -> None:
        """See :meth:`.Machine.flip_data`."""
        words = self._program.chip.data_words
        if not (0 <= word < words and 0 <= bit < 64):
            raise InputError(
                f"Data memory has {words} words of 64 bits; there is no bit {bit} of word {word}"
            )
        self._memories.data[8 * word + bit // 8] ^= np.uint8(1 << bit % 8)

    def run(
        self,
        trace: Trace,
        taken: NDArray[np.uint8],
        given: NDArray[np.uint8],
        *,
        first: bool = False,
        starts: NDArray[np.int64] | None = None,
    ) -> None:
        """Run samples of one trace in order.

        Parameters
        ----------
        trace : Trace
        taken : uint8 [n, bytes]
            Input of the samples.
        given : uint8 [n, bytes], C-contiguous
            Filled with their output.
        first : bool
            The pass from reset.
        starts : int64 [n, touches of the trace], C-contiguous, optional
            Filled with the cycle of the pass in which each step of ``trace.touches`` executes.
        """
        if self._c is not None:
            tally = self.tally
            self._c.run(trace, taken, given, tally.tile, tally.core, first=first, starts=starts)
            return
        latency = vector_latency(self._program.chip)
        for sample, (one, out) in enumerate(zip(taken, given, strict=True)):
            active: list[int] = []
            for step in trace.steps[trace.steps["kind"] != Kind.NONE]:
                self._step(trace, step, one, out, active)
            begins: list[int] = []
            self.tally.tile += time_pass(trace.steps, active, latency, begins, first=first)
            if starts is not None:
                starts[sample] = np.array(begins, dtype=np.int64)[trace.touches]

    def _step(
        self,
        trace: Trace,
        step: np.void,
        taken: NDArray[np.uint8],
        given: NDArray[np.uint8],
        active: list[int],
    ) -> None:
        kind, source, place, count = (int(step[k]) for k in ("kind", "source", "place", "count"))
        data = self._memories.data
        if kind == Kind.LOAD_HOST:
            self._load(step, taken[source : source + count])
        elif kind == Kind.LOAD:
            self._load(step, self._gather(step))
        elif kind == Kind.VEC:
            self._vector(step, self._gather(step))
        elif kind == Kind.RECV:
            data[place : place + count] = taken[source : source + count]
        elif kind == Kind.SEND:
            given[place : place + count] = data[source : source + count]
        elif kind == Kind.MVM:
            for at in members(int(step["cores"])):
                active.append(
                    self._product(at, trace.configs[int(step["mode"])], place, keep=bool(source))
                )
        elif kind == Kind.REQ:
            self._requantize(step, given)

    def _gather(self, step: np.void) -> NDArray[np.uint8]:
        runs = runs_of(int(step["count"]), int(step["runs"]), int(step["pitch"]))
        gathered: NDArray[np.uint8] = self._memories.data[runs.bytes + int(step["source"])]
        return gathered

    def _load(self, step: np.void, source: NDArray[np.uint8]) -> None:
        memories, row = self._memories, int(step["place"])
        end = row + len(source)
        for at in members(int(step["cores"])):
            memories.rows[at, row:end] = source
            memories.rows[at, end : -(-end // 8) * 8] = 0
            total = memories.sums[at : at + 1]
            if row == 0 and not step["mode"]:
                total[:] = 0
            total += counts_of(source, self._program.chip.input_code).sum(dtype=np.int32)

    def _vector(self, step: np.void, source: NDArray[np.uint8]) -> None:
        element = int(step["place"])
        op = VecOp(int(step["mode"]))
        acc = self._memories.vec[element : element + len(source) // op.width]
        # int32 arrays wrap around, as the adders do.
        if op.width > 1:
            v = source.view("<i4") + step["offset"]
        else:
            v = step["scale"] * source.astype(np.int32) + step["offset"]
        if op in (VecOp.PUT, VecOp.PUT32):
            acc[:] = v
        elif op in (VecOp.ADD, VecOp.ADD32):
            acc += v
        elif op is VecOp.MUL:
            acc[:] = acc.astype(np.int16).astype(np.int32) * v.astype(np.int16)
        elif op is VecOp.MAX:
            np.maximum(acc, v, out=acc)
        else:
            np.minimum(acc, v, out=acc)

    def _product(self, at: int, config: core.MvmConfig, turn: int, *, keep: bool) -> int:
        """Of array ``turn`` of a core; returns the cycles that it keeps the core busy."""
        number = self._program.chip.array_number(at, turn)
        array, words = self._arrays[number], self._words.get(number)
        x = self._memories.rows[at][None]
        if isinstance(array, Crossbar):
            result = core.core_mvm(array, x, config, words, self._flips[at])
        else:
            result = cengine.core_mvm(array, x, config, words, self._flips[at])
        reads, active, stall = (int(v[0]) for v in (result.reads, result.active, result.stall))
        sums = self._memories.acc[at, : config.outputs]
        if not keep:
            sums[:] = 0
        sums += result.acc[0]
        self.tally.core[:, at] += (reads, reads * config.beats, active, stall)
        self.tally.events[:, at] += result.events
        return active

    def _requantize(self, step: np.void, given: NDArray[np.uint8]) -> None:
        program, memories = self._program, self._memories
        beats, outputs, group = int(step["runs"]), int(step["count"]), int(step["source"])
        width = program.chip.outputs_per_beat
        drained = beats * width
        if step["mode"] & 1:
            params = np.tile(program.params[group : group + width], beats)
        else:
            params = program.params[group : group + drained]
        total = params.astype(np.uint32).view(np.int32)
        if step["mode"] & 2:
            total += memories.vec[:drained]
        for at in members(int(step["cores"])):
            total += memories.acc[at, :drained]
            total -= memories.sums[at : at + 1] * np.int32(program.chip.sum_weight)
        tap = int(step["tap"])
        if tap >= 0:
            slots = np.zeros((beats, width + width % 2), dtype="<i4")
            slots[:, :width] = total.reshape(beats, width)
            given[tap : tap + slots.nbytes] = slots.reshape(-1).view(np.uint8)
        mantissa = (params >> np.uint64(32) & np.uint64(0xFFFFFF)).astype(np.uint32)[:outputs]
        # Slots that no output fills have a zero factor, whatever their sum.
        scaled = np.where(mantissa == 0, 0, total[:outputs])
        mantissa = np.where(mantissa == 0, np.uint32(1 << 23), mantissa)
        shift = (params >> np.uint64(56)).astype(np.uint8)[:outputs]
        quant = int(step["quant"])
        codes = requantize(
            scaled, mantissa, shift, quant & 0xFF, quant >> 8 & 0xFF, quant >> 16 & 0xFF
        )
        if step["table"] >= 0:
            codes = program.tables[step["table"]][codes]
        start = int(step["place"])
        memories.data[start : start + outputs] = codes
