# SPDX-License-Identifier: Apache-2.0
"""Products: Dense and Conv, position by position.

At each position every row part is loaded into its cores, which start at once and run while the next
part is on its way; then the sums of each column part are drained. Address arithmetic stands where
cores are busy. Of a layer that has more blocks than there are cores, arrays of a core take turns
(:mod:`.turns`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...arch.isa import FORMATS, Opcode, Reg, Source, VecOp
from ..graph import Conv
from .affine import Run, nests, runs
from .mapping import Block, LayerMap
from .memories import Memories
from .sums import SUM_BYTES, bytes_of
from .tasks import Linear
from .tensors import Ints
from .tree import Builder, Pointer, Received, Region, Sent, Turn
from .turns import Load, plan_rounds

__all__ = ["LinearEmitter"]

# Address registers by their use.
_SOURCE, _DEST, _PARAM, _PARTIAL = Reg.A0, Reg.A1, Reg.A2, Reg.A3

_LONGEST = FORMATS[Opcode.VEC]["bytes"].high // 2 + 1
"""Bytes of a run of VEC, at most."""

_WORD = 8


@dataclass(frozen=True, eq=False)
class _Gather:
    """What a row part loads in a turn: runs of memory, or elements from the host."""

    cores: int
    """None if all hold it from the round before."""
    rows: int
    runs: tuple[Run, ...]
    received: Ints
    keep: int
    """1: its products add to those of the turns before."""
    starts: tuple[tuple[int, int, int], ...]
    """Beats, array and cores of the products that it starts."""


@dataclass(frozen=True, eq=False)
class _Sum:
    """A column part: what a REQ drains, and how far from the first byte it stores."""

    cores: int
    slots: Ints
    param: int
    offset: int


class LinearEmitter:
    """Writes the instructions of one layer of products.

    Parameters
    ----------
    builder : Builder
    memories : Memories
    mapped : LayerMap
    task : Linear
        With byte addresses in place of virtual ones.
    tap : bool
        Also send the sums.
    reads, writes : tuple of Region
        Bytes of the buffers that are read and written.
    source : str
        The input whose elements come straight from the FIFO, if they do.
    """

    def __init__(
        self,
        builder: Builder,
        memories: Memories,
        mapped: LayerMap,
        task: Linear,
        *,
        tap: bool,
        reads: tuple[Region, ...],
        writes: tuple[Region, ...],
        source: str = "",
    ) -> None:
        self.builder = builder
        self.memories = memories
        self.mapped = mapped
        self.task = task
        self.tap = tap
        self.reads, self.writes = reads, writes
        self.source = source
        self.rounds = [
            (tuple(map(self._gather, one.loads)), one.parts)
            for one in plan_rounds(mapped.col_parts)
        ]
        self.first = self.rounds[0][0][0]
        self.sums = self._sums()

    def _gather(self, load: Load[Block]) -> _Gather:
        rows = load.blocks[0].rows
        source = self.task.source[self.mapped.input_order[rows.start : rows.stop]]
        starts: dict[tuple[int, int], int] = {}
        for block in load.blocks:
            slots = self.mapped.slots_of(self.mapped.part_of(block))
            beats = self.builder.chip.beats_of(len(slots))
            key = beats, block.array
            starts[key] = starts.get(key, 0) | 1 << block.core
        return _Gather(
            cores=sum(1 << core for core in load.fresh),
            rows=len(rows),
            runs=() if self.task.direct else tuple(runs(source)),
            received=source,
            keep=int(load.keep),
            starts=tuple((*key, cores) for key, cores in starts.items()),
        )

    def _sums(self) -> list[_Sum]:
        found = []
        offset = 0
        for part, blocks in enumerate(self.mapped.col_parts):
            slots = self.mapped.slots_of(part)
            cores = sum(1 << core for core in {block.core for block in blocks})
            constants = self.mapped.sum_constants(part, self.builder.chip)
            param = self.memories.layer_params(self.task.layer, slots, constants)
            found.append(_Sum(cores, slots, param, offset))
            offset += len(slots)
        return found

    def emit(self, meanwhile: Callable[[], None]) -> None:
        """Write everything. ``meanwhile`` writes what may be done while products run.

        It is called once, and only if there is a single position.
        """
        builder, task = self.builder, self.task
        layer = task.layer
        if builder.chip.input_code.has_zero:
            builder.set(Reg.ZERO, self.mapped.zero)
        if builder.chip.sense_amplifier:
            # The codes are what it gave.
            builder.quant(0, 0, 1)
            table = None
        else:
            builder.quant(layer.zero_point, layer.clip_low, layer.clip_high)
            table = self.memories.table(layer.table, layer.name)
        first = int(task.target.min()) if self.mapped.slots is None else self._placed()
        steps = [task.source_steps, task.target_steps]
        if task.partials:
            first_sum = int(task.partials[0][0, 0])
            steps.append(self._partial_steps())
        positions = np.stack(steps)
        single = positions.shape[1] == 1
        for nest in nests(positions):
            step = int(task.source_steps[nest.start])
            start = 0 if task.direct else self.first.runs[0].address + step
            source = Pointer(builder, _SOURCE, start)
            target = Pointer(builder, _DEST, first + int(task.target_steps[nest.start]))
            sums = []
            if task.partials:
                at = first_sum + int(steps[2][nest.start])
                sums.append(Pointer(builder, _PARTIAL, at))

            def body(
                turn: Turn,
                source: Pointer = source,
                target: Pointer = target,
                sums: list[Pointer] = sums,
                begin: int = nest.start,
            ) -> None:
                at, to, first_sum = source.at, target.at, sums[0].at if sums else 0
                for number, (gathers, parts) in enumerate(self.rounds):
                    self._load(source, at, gathers)
                    if number == len(self.rounds) - 1:
                        source.goto(at + turn.strides[0])
                    if single and number == 0:
                        meanwhile()
                        if len(self.rounds) > 1 and not task.direct:
                            # It has used the register, and there are no loops around.
                            builder.set(_SOURCE, source.at)
                    places = to, first_sum, begin + turn.entries
                    self._drain(target, sums, table, places, [self.sums[p] for p in parts])

            builder.walk(nest.dims, (source, target, *sums), body)

    def _partial_steps(self) -> Ints:
        """How far the sums of each position lie from those of the first: alike in all shares."""
        partials = self.task.partials
        steps: Ints = partials[0][0] - partials[0][0, 0]
        for addresses in partials:
            for part in range(len(self.mapped.col_parts)):
                slots = self.mapped.slots_of(part)
                wanted = addresses[slots[0], 0] + SUM_BYTES * np.arange(len(slots))
                if wanted[0] % _WORD or not np.array_equal(
                    addresses[slots], wanted[:, None] + steps
                ):
                    raise ValueError(f"The sums for layer {self.task.name!r} lie in no order")
        return steps

    def _add(self, sums: Pointer, begin: int, slots: Ints) -> None:
        """Put the sums of other shares for some outputs into the vector accumulators."""
        builder, partials = self.builder, self.task.partials
        builder.set(Reg.OFFSET, 0)
        full, rest = divmod(SUM_BYTES * len(slots), _LONGEST)
        chunks = [(0, _LONGEST, full)] if full else []
        chunks += [(full * _LONGEST, rest, 1)] if rest else []
        for number, addresses in enumerate(partials):
            at = begin + int(addresses[slots[0], 0] - partials[0][0, 0])
            for offset, size, count in chunks:
                if count > 1:
                    builder.set(Reg.PITCH, size)
                sums.goto(at + offset)
                operation = builder.emit(
                    Opcode.VEC,
                    addr=sums.reg,
                    op=VecOp.ADD32 if number else VecOp.PUT32,
                    element=offset // SUM_BYTES,
                    bytes=size,
                    repeats=count - 1,
                )
                operation.reads = self.reads

    def _placed(self) -> int:
        """First byte of outputs that lie in the order of their slots, some of which are spares."""
        stored = self.mapped.stored
        at = int(np.argmax(stored >= 0))
        return int(self.task.target[stored[at]]) - at

    def _load(self, source: Pointer, begin: int, gathers: Sequence[_Gather]) -> None:
        """The products of a round."""
        builder = self.builder
        for gather in gathers:
            row = 0
            if gather.keep:
                builder.set(Reg.KEEP, 1)
            if self.task.direct and gather.cores:
                self._take(gather)
            for run in gather.runs if gather.cores else ():
                source.goto(begin + run.address - self.first.runs[0].address)
                if run.repeats:
                    builder.set(Reg.PITCH, run.pitch)
                load = builder.emit(
                    Opcode.LOAD,
                    addr=source.reg,
                    source=Source.DATA,
                    row=row,
                    bytes=run.bytes,
                    repeats=run.repeats,
                    cores=gather.cores,
                )
                load.reads = self.reads
                row += run.size
            for beats, array, cores in gather.starts:
                fields = {"array": array} if array else {}
                builder.emit(Opcode.MVM, rows=gather.rows, beats=beats, cores=cores, **fields)
        if any(gather.keep for gather in gathers):
            builder.set(Reg.KEEP, 0)

    def _take(self, gather: _Gather) -> None:
        """Load rows from the host; the last word is filled up with zeros."""
        words = math.ceil(gather.rows / _WORD)
        load = self.builder.emit(
            Opcode.LOAD, source=Source.HOST, bytes=gather.rows, cores=gather.cores
        )
        load.in_words = words
        index = np.full(words * _WORD, -1, np.int64)
        index[: gather.rows] = gather.received
        load.received = Received(index, np.zeros(index.size, np.uint8), self.source)

    def _drain(
        self,
        target: Pointer,
        sums: list[Pointer],
        table: int | None,
        places: tuple[int, int, Ints],
        parts: Sequence[_Sum],
    ) -> None:
        """Column parts, to the first byte that they store; sums of others; positions."""
        builder, memories = self.builder, self.memories
        begin, first_sum, positions = places
        share = self.task.layer.share
        for number, part in enumerate(parts):
            beats = memories.beats(len(part.slots))
            before = parts[number - 1] if number else None
            goes_on = before is not None and (
                part.param == before.param + memories.beats(len(before.slots))
            )
            if not goes_on:
                builder.set(_PARAM, part.param)
            behind = parts[number + 1] if number + 1 < len(parts) else None
            if sums:
                self._add(sums[0], first_sum, part.slots)
            target.goto(begin + part.offset)
            request = builder.emit(
                Opcode.REQ,
                dest=target.reg,
                param=_PARAM,
                param_step=int(behind is not None and behind.param == part.param + beats),
                tap=int(self.tap),
                table_on=int(table is not None),
                table=table or 0,
                outputs=len(part.slots),
                vector=int(bool(sums)),
                cores=part.cores,
            )
            request.writes = self.writes
            if self.tap:
                index = self._tap_index(part.slots, positions)
                request.sent = Sent(f"{self.task.name}.acc", "int32", index)
                if share:
                    request.sent = Sent(self.task.name, "uint8", bytes_of(index))
                request.out_words = index.shape[-1] // 2

    def _tap_index(self, slots: Ints, positions: Ints) -> Ints:
        """Element that each 32-bit slot of a tap holds, -1 for none: [*loops, slots]."""
        width = self.builder.chip.outputs_per_beat
        padded = np.full((self.memories.beats(len(slots)), width + width % 2), -1, np.int64)
        values = np.full(len(padded) * width, -1, np.int64)
        values[: len(slots)] = slots
        padded[:, :width] = values.reshape(-1, width)
        outputs = padded.ravel()
        at = positions[..., None]
        if isinstance(self.task.layer, Conv):
            elements = outputs * len(self.task.source_steps) + at
        else:
            elements = at * self.task.layer.outputs + outputs
        return np.where(outputs < 0, -1, elements)
