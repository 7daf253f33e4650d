# SPDX-License-Identifier: Apache-2.0
"""Random programs of a tile: gathered loads, vector operations, products, drains, loops."""

import numpy as np

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.isa import Instruction, Opcode, Reg, Source, VecOp

__all__ = ["ProgramWriter"]


class ProgramWriter:
    """Writes programs that keep the manual's rules, of all alignments, pitches and lengths.

    What a REQ stores is read by LOAD and VEC behind a SYNC only, and a LOAD in the midst of a word
    goes on where the one before it has ended.
    """

    def __init__(self, chip: Chip, rng: np.random.Generator) -> None:
        self.chip, self.rng, self.lines = chip, rng, list[Instruction]()
        self.size = 8 * chip.data_words

    def add(self, op: Opcode, /, **fields: int) -> None:
        self.lines.append(Instruction.make(op, **fields))

    def pick(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def filler(self) -> None:
        for _ in range(self.pick(0, 2)):
            kind = self.pick(0, 5)
            if kind == 0:
                self.add(Opcode.NOP)
            elif kind == 1:
                low = self.pick(0, 40)
                quant = self.pick(0, 255) | low << 8 | self.pick(low, 255) << 16
                self.add(Opcode.SET, reg=Reg.QUANT, value=quant)
            elif kind == 2:
                self.add(Opcode.SET, reg=Reg.ROWS_PER_READ, value=self.pick(1, 8))
            elif kind == 3:
                self.add(Opcode.SET, reg=Reg.SCHEDULE, value=self.pick(0, 1))
            elif kind == 4:
                self.add(Opcode.SET, reg=Reg.PLANES, value=self.pick(1, 8))
            else:
                self.add(Opcode.LOOP, body=1, count=self.pick(1, 3))
                self.add(Opcode.ADD, reg=self.pick(5, 7), value=self.pick(-3, 3))

    def runs(self, most: int, repeats: int) -> tuple[int, int]:
        """Length of a run and further runs, of at most so many bytes in all; sets A0 and PITCH."""
        bytes_ = self.pick(1, min(most, 40))
        repeats = self.pick(0, min(repeats, most // bytes_ - 1))
        reach = (self.size - bytes_) // max(1, repeats)
        pitch = self.pick(-min(reach, 30), min(reach, 30))
        low, high = max(0, -pitch * repeats), self.size - bytes_ - max(0, pitch * repeats)
        self.add(Opcode.SET, reg=Reg.PITCH, value=pitch)
        self.add(Opcode.SET, reg=Reg.A0, value=self.pick(low, high))
        return bytes_, repeats

    def load(self, cores: int) -> None:
        """Fill rows of cores, in one to three parts."""
        row = 8 * self.pick(0, 1)
        stands = self.size  # what A0 has grown to, if that is of use
        for _ in range(self.pick(1, 3)):
            if row >= self.chip.input_rows:
                break
            source, repeats = Source(self.pick(0, 1)), 0
            if source is Source.HOST:
                bytes_ = self.pick(1, self.chip.input_rows - row)
                self.add(Opcode.SYNC, in_words=-(-bytes_ // 8))
            elif stands < self.size and self.pick(0, 1):
                bytes_ = self.pick(1, min(self.chip.input_rows - row, self.size - stands))
            else:
                bytes_, repeats = self.runs(self.chip.input_rows - row, 31)
                stands = self.lines[-1]["value"]
            step = self.pick(0, 1)
            self.add(
                Opcode.LOAD, source=source, addr=0, addr_step=step, row=row,
                bytes=bytes_, repeats=repeats, cores=cores,
            )  # fmt: skip
            stands += step * bytes_ if source is Source.DATA else 0
            row += bytes_ * (repeats + 1)
            if self.pick(0, 1):
                row = -(-row // 8) * 8

    def vector(self) -> None:
        """Operations on vector accumulators."""
        for _ in range(self.pick(1, 4)):
            element = self.pick(0, 40)
            scale = self.pick(-(1 << 23), (1 << 23) - 1) >> self.pick(0, 23)
            offset = self.pick(-(1 << 31), (1 << 31) - 1) >> self.pick(0, 31)
            self.add(Opcode.SET, reg=Reg.SCALE, value=scale)
            self.add(Opcode.SET, reg=Reg.OFFSET, value=offset)
            bytes_, repeats = self.runs(60 - element, 255)
            self.add(
                Opcode.VEC, addr=0, addr_step=self.pick(0, 1), op=self.pick(0, VecOp.MIN),
                element=element, bytes=bytes_, repeats=repeats,
            )  # fmt: skip
            if self.pick(0, 3) == 0:
                self.add(Opcode.SET, reg=Reg.OFFSET, value=self.pick(-9, 9))
            if self.pick(0, 2) == 0:
                self.words32()

    def words32(self) -> None:
        """Words of 32 bits, in runs of whole words of memory or alone."""
        several = self.pick(0, 1)
        bytes_ = 8 * self.pick(1, 4) if several else 4 * self.pick(1, 9)
        repeats = self.pick(1, 3) if several else 0
        room = self.size // 8 - -(-bytes_ // 8)
        reach = min(5, room // max(1, repeats))
        pitch = self.pick(-reach, reach)
        low, high = max(0, -pitch * repeats), room - max(0, pitch * repeats)
        self.add(Opcode.SET, reg=Reg.PITCH, value=8 * pitch)
        self.add(Opcode.SET, reg=Reg.A0, value=8 * self.pick(low, high))
        self.add(
            Opcode.VEC, addr=0, addr_step=self.pick(0, 1),
            op=self.pick(VecOp.PUT32, VecOp.ADD32), element=2 * self.pick(0, 20),
            bytes=bytes_, repeats=repeats,
        )  # fmt: skip

    def product(self, cores: int, words: int) -> None:
        chip = self.chip
        self.add(
            Opcode.MVM,
            rows=self.pick(1, chip.input_rows),
            beats=words * chip.beats_per_word,
            array=self.pick(0, chip.arrays_per_core - 1),
            cores=cores,
        )

    def drain(self, outputs: int, **fields: int) -> None:
        """A REQ, perhaps of fewer outputs."""
        width = self.chip.outputs_per_beat
        groups = self.chip.param_words // width - 1  # the last REQ may be one behind
        outputs = self.pick(max(0, outputs - 9), outputs)
        same = self.pick(0, 1)
        words = -(-outputs // width)
        step, more = self.pick(0, 1), min(outputs, self.pick(0, 5))
        self.add(Opcode.SET, reg=Reg.A1, value=self.pick(0, self.size - outputs - more))
        self.add(Opcode.SET, reg=Reg.A2, value=self.pick(0, groups - max(1, words)))
        tap = self.pick(0, 1) if words * -(-width // 2) <= self.chip.fifo_words else 0
        if tap:
            self.add(Opcode.SYNC, out_words=words * -(-width // 2))
        self.add(
            Opcode.REQ, dest=1, dest_step=step, param=2, param_step=self.pick(0, 1),
            tap=tap, table_on=self.pick(0, 1), table=self.pick(0, self.chip.tables - 1),
            outputs=outputs, same_param=same, **fields,
        )  # fmt: skip
        if step and self.pick(0, 1):
            # It goes on behind the first one, often in the same word of data memory.
            self.add(Opcode.REQ, dest=1, param=2, same_param=1, outputs=more, **fields)

    def block(self) -> None:
        """Load, product, drain; vector operations; words in and out."""
        chip, pick = self.chip, self.pick
        cores = pick(1, (1 << chip.cores) - 1)
        self.add(Opcode.SYNC)
        if pick(0, 1):
            words = pick(0, 4)
            self.add(Opcode.SET, reg=Reg.A3, value=pick(0, self.size - 8 * words - 1))
            self.add(Opcode.SYNC, in_words=words)
            self.add(Opcode.RECV, addr=3, addr_step=pick(0, 1), words=words)
        self.filler()
        kind = pick(0, 2)
        if kind != 1:
            self.load(cores)
            words = pick(1, chip.acc_words)
            self.product(cores, words)
            if chip.arrays_per_core > 1 and pick(0, 1):
                self.add(Opcode.SET, reg=Reg.KEEP, value=1)
                for _ in range(pick(1, 2)):
                    self.load(cores)
                    self.product(cores, words)
                self.add(Opcode.SET, reg=Reg.KEEP, value=0)
            self.filler()
            self.drain(words * chip.outputs_per_beat, cores=cores)
            self.add(Opcode.SYNC)
        if kind:
            self.vector()
            self.filler()
            others = cores & ~1
            if kind == 2 and others and pick(0, 1):
                most = min(60, words * chip.outputs_per_beat)
                self.drain(most, vector=1, cores=others)
            else:
                self.drain(pick(1, 60), vector=1)
        if pick(0, 1):
            words = pick(0, 6)
            self.add(Opcode.SYNC, out_words=words)
            self.add(Opcode.SET, reg=Reg.A3, value=pick(0, self.size - 8 * words - 1))
            self.add(Opcode.SEND, addr=3, words=words)

    def program(self, blocks: int = 3) -> list[Instruction]:
        """Some blocks, perhaps each in a loop; at last all of data memory is sent."""
        for _ in range(blocks):
            start = len(self.lines)
            self.block()
            if self.pick(0, 1):
                body = self.lines[start:]
                self.lines[start:] = [
                    Instruction.make(Opcode.LOOP, body=len(body) + 1, count=2),
                    *body,
                    Instruction.make(Opcode.NOP),
                ]
        part = min(self.chip.fifo_words, self.chip.data_words)
        self.add(Opcode.SET, reg=Reg.A3, value=0)
        self.add(Opcode.LOOP, body=2, count=self.chip.data_words // part)
        self.add(Opcode.SYNC, out_words=part)
        self.add(Opcode.SEND, addr=3, addr_step=1, words=part)
        self.add(Opcode.HALT)
        return self.lines
