# SPDX-License-Identifier: Apache-2.0
"""Where the cycles of a sample go: by layer, and by what is waited for.

The program is walked once with the waits of ``docs/tile.md``, as long as a product takes for codes
of a sample; the planner is taken never to hold up the ADCs. The fast machine counts exactly; this
tells which layer and which part of the tile its cycles belong to.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import Chip
from ...arch.isa import Instruction, Opcode, Reg, Source
from ...arch.timing import core_tail, vector_latency
from ...behavioral import golden
from ...behavioral.inputs import reads_made
from ..graph import lower_softmax
from .compiled import CompiledNetwork
from .mapping import Block, LayerMap
from .values import tensor_codes
from .windows import windows

__all__ = ["CAUSES", "LayerProfile", "Profile", "profile_tile"]

CAUSES = ("adc", "load", "vector", "host", "control")
"""Products under way; row registers being filled; the vector unit; the FIFOs; the rest."""


@dataclass
class LayerProfile:
    """Cycles of a layer by cause, and the reads of its arrays, of one sample."""

    cycles: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    products: int = 0

    @property
    def total(self) -> int:
        return sum(self.cycles.values())

    @property
    def limit(self) -> str:
        """The cause of most cycles."""
        return max(CAUSES, key=lambda cause: self.cycles[cause])


@dataclass
class Profile:
    """Of a sample on one tile."""

    layers: dict[str, LayerProfile] = field(default_factory=dict)
    """By what instructions are part of: names of layers, and the work between them."""

    @property
    def total(self) -> int:
        return sum(layer.total for layer in self.layers.values())


def profile_tile(compiled: CompiledNetwork, codes: Mapping[str, NDArray[np.uint8]]) -> Profile:
    """Walk through the program of one tile.

    Parameters
    ----------
    compiled : CompiledNetwork
        Of one tile.
    codes : mapping of str to uint8 [1, (steps,) \\*shape]
        Of its inputs, by tensor.
    """
    return _Walk(compiled, codes).run()


def part_name(note: str) -> str:
    """The layer, input or state that an instruction's note names."""
    # Names may hold colons: a layer that is cut over tiles is "fc1[0:64]".
    for step in (": receive", ": send codes", ": next step", ": begin"):
        note = note.removesuffix(step)
    return note.removeprefix("layer ")


class _Walk:
    def __init__(self, compiled: CompiledNetwork, codes: Mapping[str, NDArray[np.uint8]]) -> None:
        self.chip: Chip = compiled.chip
        self.program = compiled.program
        self.notes = compiled.notes
        self.maps = {m.layer.name: m for m in compiled.mapping.layers}
        self.reads = self.count_reads(compiled, codes)
        self.latency = vector_latency(self.chip)
        self.free = [0] * self.chip.cores
        self.vector_free = 0
        self.registers: dict[int, int] = dict.fromkeys(Reg, 0)
        self.turns: Counter[tuple[str, Block]] = Counter()
        """Products of each block so far: its next one is at that position."""
        self.profile = Profile()

    def count_reads(
        self, compiled: CompiledNetwork, codes: Mapping[str, NDArray[np.uint8]]
    ) -> dict[tuple[str, range], NDArray[np.int64]]:
        """Reads of each product of a row part."""
        network = lower_softmax(compiled.network)
        tensors: dict[str, NDArray[Any]] = golden.run_network(network, codes)
        values = tensor_codes(network, codes, tensors)
        found = {}
        for name, m in self.maps.items():
            seen = windows(m.layer, values[m.layer.sources[0]])
            seen = seen.reshape(-1, seen.shape[-1])[:, m.input_order]
            for part in m.row_parts:
                rows = part[0].rows
                found[name, rows] = reads_made(seen[:, rows.start : rows.stop], self.chip, m.zero)
        return found

    # The walk

    def executed(self) -> Iterator[int]:
        """Addresses in the order of execution: one pass of the endless loop."""
        instructions = self.program.instructions
        begin = next(
            at for at, i in enumerate(instructions) if i.op is Opcode.LOOP and not i["count"]
        )
        yield from self.body(begin + 1, begin + 1 + instructions[begin]["body"])

    def body(self, begin: int, end: int) -> Iterator[int]:
        at = begin
        while at < end:
            yield at
            instruction = self.program.instructions[at]
            if instruction.op is Opcode.LOOP:
                inside = at + 1 + instruction["body"]
                for _ in range(instruction["count"]):
                    yield from self.body(at + 1, inside)
                at = inside
            else:
                at += 1

    def run(self) -> Profile:
        # What the prologue has set.
        for instruction in self.program.instructions:
            if instruction.op is Opcode.LOOP:
                break
            if instruction.op is Opcode.SET:
                self.registers[instruction["reg"]] = instruction["value"]
        fetch = -1
        for at in self.executed():
            instruction = self.program.instructions[at]
            name = part_name(self.notes.get(at, ""))
            layer = self.profile.layers.setdefault(name, LayerProfile())
            arrived = fetch + 1
            start = max(arrived, *(self.free[c] for c in self.waits_for(instruction)), 0)
            layer.cycles["adc"] += start - arrived
            if self.waits_vector(instruction) and self.vector_free > start:
                layer.cycles["vector"] += self.vector_free - start
                start = self.vector_free
            cause, cycles = self.cost(instruction, start)
            layer.cycles[cause] += cycles
            layer.cycles["control"] += 1  # the cycle of fetch
            if instruction.op is Opcode.MVM:
                self.start_products(instruction, name, start, layer)
            fetch = start + cycles
        return self.profile

    def waits_for(self, instruction: Instruction) -> Iterator[int]:
        if instruction.op is Opcode.SYNC:
            return iter(range(self.chip.cores))
        if instruction.op in (Opcode.LOAD, Opcode.MVM, Opcode.REQ):
            return (c for c in range(self.chip.cores) if instruction["cores"] >> c & 1)
        return iter(())

    def waits_vector(self, instruction: Instruction) -> bool:
        op = instruction.op
        return op in (Opcode.SYNC, Opcode.RECV, Opcode.SEND) or (
            op is Opcode.SET and instruction["reg"] == Reg.QUANT
        )

    def cost(self, instruction: Instruction, start: int) -> tuple[str, int]:
        """Cause and cycles of execution."""
        op = instruction.op
        if op is Opcode.SET:
            self.registers[instruction["reg"]] = instruction["value"]
        if op is Opcode.ADD:
            self.registers[instruction["reg"]] += instruction["value"]
        if op in (Opcode.RECV, Opcode.SEND):
            self.step(instruction, "addr", 8 * instruction["words"])
            return "host", instruction["words"]
        if op in (Opcode.LOAD, Opcode.VEC):
            cause = "load" if op is Opcode.LOAD else "vector"
            if op is Opcode.LOAD and instruction["source"] == Source.HOST:
                return "host", math.ceil(instruction["bytes"] / 8) + 1
            return cause, self.words(instruction) + 1
        if op is Opcode.REQ:
            width = self.chip.outputs_per_beat
            each = math.ceil(width / 2) if instruction["tap"] else 1
            beats = math.ceil(instruction["outputs"] / width)
            self.step(instruction, "dest", instruction["outputs"])
            self.vector_free = start + 1 + (beats - 1) * each + self.latency
            return ("host" if instruction["tap"] else "vector"), 1 + beats * each
        return "control", 1

    def words(self, instruction: Instruction) -> int:
        """Words of data memory that a LOAD or VEC touches."""
        size = instruction["bytes"]
        at = self.registers.get(instruction["addr"], 0)
        pitch = self.registers.get(Reg.PITCH, 0)
        begins = [at + run * pitch for run in range(instruction["repeats"] + 1)]
        self.step(instruction, "addr", size)
        return sum((begin + size - 1) // 8 - begin // 8 + 1 for begin in begins)

    def step(self, instruction: Instruction, name: str, length: int) -> None:
        if instruction[f"{name}_step"]:
            reg = instruction[name]
            self.registers[reg] = self.registers.get(reg, 0) + length

    def start_products(
        self, instruction: Instruction, name: str, start: int, layer: LayerProfile
    ) -> None:
        mapped: LayerMap = self.maps[name]
        mask, array = instruction["cores"], instruction["array"]
        blocks = [b for b in mapped if mask >> b.core & 1 and b.array == array]
        reads = int(self.reads[name, blocks[0].rows][self.turns[name, blocks[0]]])
        self.turns.update((name, block) for block in blocks)
        length = reads * instruction["beats"] + core_tail(self.chip) + 2
        layer.reads += reads * len(blocks)
        layer.products += len(blocks)
        for block in blocks:
            self.free[block.core] = start + length + 1
