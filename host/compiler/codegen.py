# SPDX-License-Identifier: Apache-2.0
"""From a mapping to the instructions of a tile (docs/tile.md)."""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import Chip, RowSchedule
from ...arch.errors import CapacityError
from ...arch.formats import ACTIVATION_BITS
from ...arch.isa import FORMATS, Instruction, Opcode, Reg, Source
from ...behavioral.program import OutputSegment
from ..graph import Dense
from .mapping import LayerMap, Mapping

__all__ = ["Code", "Memories", "generate"]

_WORD = 8

# Address registers by their use in generated programs.
_SOURCE, _DEST, _PARAM = Reg.A0, Reg.A1, Reg.A2


@dataclass
class _Step:
    """An instruction with the words it moves through the host FIFOs, and what they mean."""

    instruction: Instruction
    in_words: int = 0
    out_words: int = 0
    output: OutputSegment | None = None


@dataclass
class Memories:
    """What the parameter memory and the tables hold, and where each tensor lies in data memory."""

    chip: Chip
    params: list[int] = field(default_factory=list)
    tables: list[NDArray[np.uint8]] = field(default_factory=list)
    data_used: int = 0

    def add_params(self, layer: Dense, outputs: NDArray[np.int64]) -> int:
        """Append bias and scale of some outputs; returns their address in groups of W words.

        Zeros for -1: the code of such a slot is the zero point, and nobody reads it.
        """
        width = self.chip.outputs_per_beat
        address = len(self.params) // width
        for j in outputs.tolist():
            if j < 0:
                self.params.append(0)
                continue
            bias = int(layer.bias[j]) & 0xFFFFFFFF
            self.params.append(bias | int(layer.mantissa[j]) << 32 | int(layer.shift[j]) << 56)
        self.params += [0] * (-len(self.params) % width)
        if len(self.params) > self.chip.param_words:
            raise CapacityError(
                f"The outputs up to layer '{layer.name}' need {len(self.params)} parameter words, "
                f"chip '{self.chip.name}' has {self.chip.param_words}; raise param_words"
            )
        return address

    def add_table(self, layer: Dense) -> int:
        """The number of the layer's table."""
        if layer.table is None:
            return 0
        for number, table in enumerate(self.tables):
            if np.array_equal(table, layer.table):
                return number
        if len(self.tables) == self.chip.tables:
            raise CapacityError(
                f"Layer '{layer.name}' would need table {len(self.tables) + 1}, a tile of chip "
                f"'{self.chip.name}' holds {self.chip.tables}; raise tables, give layers the same "
                f"activation and scales, or use ReLU, which needs no table"
            )
        self.tables.append(layer.table)
        return len(self.tables) - 1

    def allocate(self, tensor: str, values: int) -> int:
        """Room for uint8 values in data memory; returns the byte address."""
        address = _WORD * self.data_used
        self.data_used += math.ceil(values / _WORD)
        if self.data_used > self.chip.data_words:
            raise CapacityError(
                f"Tensor '{tensor}' ends at word {self.data_used} of data memory, chip "
                f"'{self.chip.name}' has {self.chip.data_words}; raise data_words"
            )
        return address


@dataclass(frozen=True)
class Code:
    """A generated program."""

    instructions: tuple[Instruction, ...]
    notes: dict[int, str]
    """Address of an instruction: what begins there, for listings."""
    outputs: tuple[OutputSegment, ...]
    memories: Memories


def _mask(cores: list[int]) -> int:
    return sum(1 << core for core in cores)


def _segment(tensor: str, dtype: Literal["int32", "uint8"], index: list[int]) -> OutputSegment:
    per_word = 2 if dtype == "int32" else _WORD
    return OutputSegment(
        tensor=tensor, dtype=dtype, words=len(index) // per_word, index=np.array(index)
    )


class _Generator:
    def __init__(self, mapping: Mapping, trace: bool) -> None:
        self.mapping = mapping
        self.chip = mapping.chip
        self.trace = trace
        self.memories = Memories(self.chip)
        self.steps: list[_Step] = []
        self.notes: dict[int, str] = {}  # by step
        self.quant: int | None = None

    def emit(self, op: Opcode, **fields: int) -> _Step:
        step = _Step(Instruction.make(op, **fields))
        self.steps.append(step)
        return step

    def load_and_start(self, m: LayerMap, source: Source, address: int) -> None:
        """Send each row part to its cores and start them while the next part is on its way."""
        if source is Source.DATA:
            self.emit(Opcode.SET, reg=_SOURCE, value=address)
        for row in m.blocks:
            count = len(row[0].rows)
            step = self.emit(
                Opcode.LOAD,
                addr=_SOURCE,
                addr_step=1,
                source=source,
                bytes=count,
                cores=_mask([block.core for block in row]),
            )
            if source is Source.HOST:
                step.in_words = math.ceil(count / _WORD)
            by_beats: dict[int, list[int]] = {}
            for j, block in enumerate(row):
                beats = self._words(m.slots_of(j)) * self.chip.beats_per_word
                by_beats.setdefault(beats, []).append(block.core)
            for beats, cores in by_beats.items():
                self.emit(Opcode.MVM, rows=count, beats=beats, cores=_mask(cores))

    def _words(self, slots: NDArray[np.int64]) -> int:
        """Accumulator words that the slots of a column part take."""
        return math.ceil(len(slots) / self.chip.outputs_per_beat)

    def reduce(self, m: LayerMap, address: int) -> None:
        """Add up the row parts of each column part and store its codes."""
        layer = m.layer
        quant = layer.zero_point | layer.clip_low << 8 | layer.clip_high << 16
        if quant != self.quant:
            self.emit(Opcode.SET, reg=Reg.QUANT, value=quant)
            self.quant = quant
        self.emit(Opcode.SET, reg=_DEST, value=address)
        table = self.memories.add_table(layer)
        width = self.chip.outputs_per_beat
        first = None
        for j in range(len(m.blocks[0])):
            slots = m.slots_of(j)
            param = self.memories.add_params(layer, slots)
            if first is None:
                first = param
                self.emit(Opcode.SET, reg=_PARAM, value=param)
            words = self._words(slots)
            step = self.emit(
                Opcode.REQ,
                dest=_DEST - Reg.A0,
                dest_step=1,
                param=_PARAM - Reg.A0,
                param_step=1,
                tap=int(self.trace),
                table_on=int(layer.table is not None),
                table=table,
                outputs=len(slots),
                cores=_mask([row[j].core for row in m.blocks]),
            )
            if self.trace:
                step.out_words = words * math.ceil(width / 2)
                step.output = _segment(f"{layer.name}.acc", "int32", self._tap_index(slots))

    def _tap_index(self, slots: NDArray[np.int64]) -> list[int]:
        """Which output each 32-bit slot of a column part's tap holds, -1 for none."""
        width = self.chip.outputs_per_beat
        padded = np.full((self._words(slots), width + width % 2), -1, np.int64)
        values = np.full(len(padded) * width, -1, np.int64)
        values[: len(slots)] = slots
        padded[:, :width] = values.reshape(-1, width)
        return [int(j) for j in padded.ravel()]

    def send(self, m: LayerMap, address: int) -> None:
        words = math.ceil(len(m.stored) / _WORD)
        self.emit(Opcode.SET, reg=_SOURCE, value=address)
        step = self.emit(Opcode.SEND, addr=_SOURCE, words=words)
        step.out_words = words
        index = m.stored.tolist() + [-1] * (words * _WORD - len(m.stored))
        step.output = _segment(m.layer.name, "uint8", index)

    def body(self) -> None:
        """One pass over a sample."""
        layers = self.mapping.layers
        tensors: dict[str, int] = {}
        stored: set[str] = set()
        """Tensors that a REQ has stored since the last SYNC."""
        readers = [m for m in layers if m.layer.input not in {n.layer.output for n in layers}]
        if len(readers) > 1:
            # Row registers are loaded from the FIFO once; more readers need a copy.
            values = readers[0].layer.inputs
            address = self.memories.allocate(readers[0].layer.input, values)
            tensors[readers[0].layer.input] = address
            self.emit(Opcode.SET, reg=_SOURCE, value=address)
            words = math.ceil(values / _WORD)
            self.emit(Opcode.RECV, addr=_SOURCE, words=words).in_words = words
        unsent: LayerMap | None = None
        for number, m in enumerate(layers):
            layer = m.layer
            self.notes[len(self.steps)] = f"layer {layer.name}: load and multiply"
            if layer.input in stored:
                # LOAD does not wait for what a REQ stores.
                self.emit(Opcode.SYNC)
                stored.clear()
            if layer.input in tensors:
                self.load_and_start(m, Source.DATA, tensors[layer.input])
            else:
                self.load_and_start(m, Source.HOST, 0)
            if unsent is not None:
                # While this layer's cores are busy.
                self.notes[len(self.steps)] = f"layer {unsent.layer.name}: send codes"
                self.send(unsent, tensors[unsent.layer.output])
                unsent = None
            self.notes[len(self.steps)] = f"layer {layer.name}: add up and requantize"
            tensors[layer.output] = self.memories.allocate(layer.output, len(m.stored))
            self.reduce(m, tensors[layer.output])
            stored.add(layer.output)
            if self.trace or number == len(layers) - 1:
                unsent = m
        if unsent is not None:
            self.notes[len(self.steps)] = f"layer {unsent.layer.name}: send codes"
            self.send(unsent, tensors[unsent.layer.output])

    def _synchronise(self) -> tuple[list[_Step], dict[int, str]]:
        """Put a SYNC before each stretch whose words fit the host FIFOs."""
        limit = self.chip.fifo_words
        out: list[_Step] = []
        notes: dict[int, str] = {}
        group: list[_Step] = []
        group_notes: dict[int, str] = {}
        received = sent = 0

        def close() -> None:
            if not group:
                return
            sync = Instruction.make(Opcode.SYNC, in_words=received, out_words=sent)
            notes[len(out)] = "wait for the host"
            out.append(_Step(sync))
            notes.update({len(out) + at: note for at, note in group_notes.items()})
            out.extend(group)
            group.clear()
            group_notes.clear()

        for at, step in enumerate(self.steps):
            if max(step.in_words, step.out_words) > limit:
                raise CapacityError(
                    f"'{step.instruction}' moves {max(step.in_words, step.out_words)} words at "
                    f"once, the host FIFOs of chip '{self.chip.name}' hold {limit}; raise "
                    f"fifo_words"
                )
            if received + step.in_words > limit or sent + step.out_words > limit:
                close()
                received = sent = 0
            if at in self.notes:
                group_notes[len(group)] = self.notes[at]
            group.append(step)
            received += step.in_words
            sent += step.out_words
        close()
        return out, notes

    def generate(self) -> Code:
        chip = self.chip
        self.body()
        body, notes = self._synchronise()
        zero_skip = chip.row_schedule is RowSchedule.ZERO_SKIP
        prologue = [
            Instruction.make(Opcode.SET, reg=Reg.SCHEDULE, value=int(zero_skip)),
            Instruction.make(Opcode.SET, reg=Reg.ROWS_PER_READ, value=chip.rows_per_read),
            Instruction.make(Opcode.SET, reg=Reg.PLANES, value=ACTIVATION_BITS),
        ]
        longest = FORMATS[Opcode.LOOP]["body"].high
        if len(body) > longest:
            raise CapacityError(
                f"The network takes {len(body)} instructions a sample, a loop holds {longest}"
            )
        prologue.append(Instruction.make(Opcode.LOOP, body=len(body), count=0))
        program = (*prologue, *(step.instruction for step in body))
        if len(program) > chip.program_words:
            raise CapacityError(
                f"The program takes {len(program)} instructions, chip '{chip.name}' holds "
                f"{chip.program_words}; raise program_words"
            )
        shifted = {0: "set up"} | {at + len(prologue): note for at, note in notes.items()}
        outputs = tuple(step.output for step in body if step.output is not None)
        return Code(program, shifted, outputs, self.memories)


def generate(mapping: Mapping, *, trace: bool) -> Code:
    """The program of one tile: an endless loop, a sample a pass.

    Parameters
    ----------
    mapping : Mapping
    trace : bool
        Also send every layer's sums and codes, not only the last codes.

    Raises
    ------
    CapacityError
        If a memory of the tile is too small.
    """
    return _Generator(mapping, trace).generate()
