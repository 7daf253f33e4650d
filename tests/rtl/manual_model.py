# SPDX-License-Identifier: Apache-2.0
"""A tile as ``docs/tile.md`` tells it: what instructions do, and in which cycle.

Written from the manual alone, one instruction after the other, with ideal arrays. The tests hold
the RTL equal to it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.isa import Instruction, Opcode, Reg, Source
from ohmtwin.arch.timing import CORE_TAIL, vector_latency
from ohmtwin.behavioral.golden import requantize

__all__ = ["TileModel", "param_word", "product_timing"]


def param_word(bias: int, mantissa: int, shift: int) -> int:
    """A word of parameter memory."""
    return (bias & 0xFFFFFFFF) | mantissa << 32 | shift << 56


def _steps(
    planes: Sequence[NDArray[np.bool_]], rows: int, n: int, group: int, zero_skip: bool
) -> tuple[list[int], int]:
    """Planner steps up to each read (empty planes before it included), and trailing ones."""
    reads, empty = [], 0
    for bits in planes:
        left = [r for r in range(rows) if not zero_skip or bits[r]]
        if not left:
            empty += 1
        while left:
            taken, steps = 0, 0
            while left and taken < n:
                first = left[0] // group
                take = [r for r in left if r // group == first][: n - taken]
                left = left[len(take) :]
                taken += len(take)
                steps += 1
            reads.append(empty + steps)
            empty = 0
    return reads, empty


def product_timing(
    planes: Sequence[NDArray[np.bool_]], rows: int, n: int, group: int, zero_skip: bool, beats: int
) -> tuple[int, int, int]:
    """Cycles busy, reads and ADC stalls of a product (docs/tile.md, "A core")."""
    steps, trailing = _steps(planes, rows, n, group, zero_skip)
    s, a, stalls = 0, None, 0
    for step in steps:
        s = s + step if a is None else max(s + step, a)
        accepted = s + 1 if a is None else max(s + 1, a + beats)
        stalls += 0 if a is None else accepted - (a + beats)
        a = accepted
    end = s + trailing
    return max(end, 0 if a is None else a + beats) + CORE_TAIL, len(steps), stalls


@dataclass
class TileModel:
    """Runs a program on ideal arrays.

    Parameters
    ----------
    chip : Chip
    levels : uint8 [rows, cols] a core
    params, tables : words and codes as the host writes them
    inputs : words that the host sends
    """

    chip: Chip
    levels: list[NDArray[np.uint8]]
    params: list[int]
    tables: NDArray[np.uint8]
    inputs: list[int]
    outputs: list[int] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        chip, n = self.chip, self.chip.cores
        self.data = np.zeros(chip.data_words * 8, np.uint8)
        self.rows = np.zeros((n, 256), np.uint8)
        self.sums = [0] * n
        self.acc = np.zeros((n, chip.outputs), np.int64)
        self.free_at = [0] * n  # first cycle in which the core is idle
        self.vector_free_at = 0
        self.fetch = 1  # CYCLES counts it as the first
        self.regs = dict.fromkeys(Reg, 0) | {
            Reg.ROWS_PER_READ: 1,
            Reg.PLANES: 8,
            Reg.QUANT: 0xFF0000,
        }
        self.names = ("cycles", "instructions", "core_stalls", "vector_stalls")
        self.counters = dict.fromkeys(self.names, 0)
        self.core_counters = [[0, 0, 0, 0] for _ in range(n)]

    def run(self, program: Sequence[Instruction], limit: int = 100000) -> None:
        """Until HALT, or until a SYNC lacks input."""
        pc, loops = 0, list[list[int]]()
        for _ in range(limit):
            op = program[pc]
            start = self._start(op)
            if op.op is Opcode.SYNC and op["in_words"] > len(self.inputs):
                self.counters["cycles"] = start - 1
                return
            self.counters["instructions"] += 1
            if op.op is Opcode.HALT:
                self.counters["cycles"] = start
                return
            self.fetch = self._execute(op, start)
            if op.op is Opcode.LOOP:
                loops.append([pc + 1, pc + op["body"], op["count"]])
            elif loops and loops[-1][1] == pc:
                if loops[-1][2] == 1:
                    loops.pop()
                else:
                    loops[-1][2] -= loops[-1][2] > 0
                    pc = loops[-1][0]
                    continue
            pc += 1
        raise RuntimeError("The program does not end")

    def _cores(self, op: Instruction) -> Iterator[int]:
        if op.op in (Opcode.HALT, Opcode.SYNC):
            return iter(range(self.chip.cores))
        mask = op.fields.get("cores", 0)
        return (c for c in range(self.chip.cores) if mask >> c & 1)

    def _start(self, op: Instruction) -> int:
        """T of the manual."""
        t = self.fetch + 1
        idle = max([t, *(self.free_at[c] for c in self._cores(op))])
        self.counters["core_stalls"] += idle - t
        waits = (
            op.op in (Opcode.HALT, Opcode.SYNC, Opcode.RECV, Opcode.SEND)
            or (op.op is Opcode.SET and op["reg"] == Reg.QUANT)
            or (op.op is Opcode.LOAD and op["source"] == Source.DATA)
        )
        ready = max(idle, self.vector_free_at) if waits else idle
        self.counters["vector_stalls"] += ready - idle
        return ready

    def _step(self, op: Instruction, name: str, amount: int) -> int:
        reg = Reg(op[name])
        value = self.regs[reg]
        self.regs[reg] = (value + amount * op[f"{name}_step"]) & 0xFFFF
        return value

    def _execute(self, op: Instruction, t: int) -> int:
        """Do it; the cycle of the next fetch."""
        if op.op is Opcode.SET:
            self.regs[Reg(op["reg"])] = op["value"]
        elif op.op is Opcode.ADD:
            self.regs[Reg(op["reg"])] += op["value"]
        elif op.op is Opcode.LOAD:
            return t + self._load(op)
        elif op.op is Opcode.RECV:
            base = self._step(op, "addr", op["words"])
            for k in range(op["words"]):
                self._words()[base + k] = self.inputs.pop(0)
            return t + op["words"]
        elif op.op is Opcode.SEND:
            base = self._step(op, "addr", op["words"])
            self.outputs += [int(w) for w in self._words()[base : base + op["words"]]]
            return t + op["words"]
        elif op.op is Opcode.MVM:
            for core in self._cores(op):
                self._product(core, op, t)
        elif op.op is Opcode.REQ:
            return self._req(op, t)
        return t + 1

    def _words(self) -> NDArray[np.uint64]:
        return self.data.view("<u8")

    def _load(self, op: Instruction) -> int:
        n = -(-op["bytes"] // 8)
        if op["source"] == Source.HOST:
            words = np.array([self.inputs.pop(0) for _ in range(n)], "<u8")
        else:
            base = self._step(op, "addr", n)
            words = self._words()[base : base + n].copy()
        codes = words.view(np.uint8)
        codes[op["bytes"] :] = 0
        for core in self._cores(op):
            first = 8 * op["row_word"]
            self.rows[core, first : first + len(codes)] = codes
            self.sums[core] = self.sums[core] * (op["row_word"] > 0) + int(codes.sum())
        return n

    def _product(self, core: int, op: Instruction, t: int) -> None:
        chip, rows, beats = self.chip, op["rows"], op["beats"]
        x = self.rows[core, :rows].astype(np.int64) & ((1 << self.regs[Reg.PLANES]) - 1)
        planes = [(x >> p & 1).astype(bool) for p in range(self.regs[Reg.PLANES])]
        busy, reads, stalls = product_timing(
            planes, rows, self.regs[Reg.ROWS_PER_READ], chip.planner_group,
            bool(self.regs[Reg.SCHEDULE]), beats,
        )  # fmt: skip
        self.free_at[core] = t + busy + 1
        for k, amount in enumerate((reads, reads * beats, busy, stalls)):
            self.core_counters[core][k] += amount
        weights = 1 << (chip.cell_bits * np.arange(chip.slices))
        cells = self.levels[core][:rows].reshape(rows, chip.outputs, chip.slices) @ weights
        done = beats * chip.lanes // chip.slices
        self.acc[core, :done] = (x @ cells)[:done]

    def _req(self, op: Instruction, t: int) -> int:
        chip, w, beats = self.chip, self.chip.outputs_per_beat, op["beats"]
        dest = self._step(op, "dest", -(-beats * w // 8))
        param = self._step(op, "param", beats)
        cores = list(self._cores(op))
        xsum = sum(self.sums[c] for c in cores)
        words = np.array(self.params[param * w : (param + beats) * w], dtype="<u8")
        bias = (words & 0xFFFFFFFF).astype(np.uint32).view(np.int32).astype(np.int64)
        mantissa, shift = words >> 32 & 0xFFFFFF, words >> 56
        sums = self.acc[cores, : beats * w].sum(axis=0) - 128 * xsum + bias
        quant = self.regs[Reg.QUANT]
        codes = requantize(
            sums, mantissa.astype(np.uint32), shift.astype(np.uint8),
            quant & 0xFF, quant >> 8 & 0xFF, quant >> 16 & 0xFF,
        )  # fmt: skip
        if op["table_on"]:
            codes = self.tables[op["table"]][codes]
        stored = np.zeros(-(-beats * w // 8) * 8, np.uint8)
        stored[: len(codes)] = codes
        self.data[dest * 8 : dest * 8 + len(stored)] = stored
        interval = -(-w // 2) if op["tap"] else 1
        if op["tap"]:
            for k in range(beats):
                pair = [int(v) & 0xFFFFFFFF for v in sums[k * w : (k + 1) * w]] + [0] * (w % 2)
                self.outputs += [
                    low | high << 32 for low, high in zip(pair[::2], pair[1::2], strict=True)
                ]
        if beats:  # the sum of activations alone leaves the unit idle
            self.vector_free_at = t + 1 + (beats - 1) * interval + vector_latency(chip)
        return t + 1 + beats * interval
