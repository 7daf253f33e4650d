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
from ohmtwin.arch.isa import VECTOR_ELEMENTS, Instruction, Opcode, Reg, Source, VecOp
from ohmtwin.arch.timing import core_tail, vector_latency
from ohmtwin.behavioral.golden import requantize

__all__ = ["TileModel", "param_word", "product_timing"]


def param_word(bias: int, mantissa: int, shift: int) -> int:
    """A word of parameter memory."""
    return (bias & 0xFFFFFFFF) | mantissa << 32 | shift << 56


def _steps(
    planes: Sequence[NDArray[np.bool_]],
    rows: int,
    most: int | Sequence[int],
    group: int,
    zero_skip: bool,
) -> tuple[list[int], int]:
    """Planner steps up to each read (empty planes before it included), and trailing ones."""
    reads, empty = [], 0
    budgets = [most] * len(planes) if isinstance(most, int) else most
    for bits, n in zip(planes, budgets, strict=False):
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
    planes: Sequence[NDArray[np.bool_]],
    chip: Chip,
    rows: int,
    most: int | Sequence[int],
    zero_skip: bool,
    beats: int,
) -> tuple[int, int, int]:
    """Cycles busy, reads and ADC stalls of a product (docs/tile.md, "A core")."""
    steps, trailing = _steps(planes, rows, most, chip.planner_group, zero_skip)
    s, a, stalls = 0, None, 0
    for step in steps:
        s = s + step if a is None else max(s + step, a)
        accepted = s + 1 if a is None else max(s + 1, a + beats)
        stalls += 0 if a is None else accepted - (a + beats)
        a = accepted
    end = s + trailing
    return max(end, 0 if a is None else a + beats) + core_tail(chip), len(steps), stalls


@dataclass
class TileModel:
    """Runs a program on ideal arrays.

    Parameters
    ----------
    chip : Chip
    levels : uint8 [rows, cols] a core; of several arrays, one behind the other
    flags : bool [cols] a core, on chips with flipped columns
    params, tables : words and codes as the host writes them
    inputs : words that the host sends
    """

    chip: Chip
    levels: list[NDArray[np.uint8]]
    params: list[int]
    tables: NDArray[np.uint8]
    inputs: list[int]
    flags: list[NDArray[np.bool_]] = field(default_factory=list)
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
            Reg.SCALE: 1,
        }
        self.budgets = [1] * len(self.chip.row_budgets)  # by plane, and slice
        self.elements = np.zeros(VECTOR_ELEMENTS, np.int32)
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
        if op.op is Opcode.SET and op["reg"] == Reg.ROWS_PER_READ and self.budgets:
            return iter(range(self.chip.cores))
        mask = op.fields.get("cores", 0)
        return (c for c in range(self.chip.cores) if mask >> c & 1)

    def _start(self, op: Instruction) -> int:
        """T of the manual."""
        t = self.fetch + 1
        idle = max([t, *(self.free_at[c] for c in self._cores(op))])
        self.counters["core_stalls"] += idle - t
        waits = op.op in (Opcode.HALT, Opcode.SYNC, Opcode.RECV, Opcode.SEND) or (
            op.op is Opcode.SET and op["reg"] == Reg.QUANT
        )
        ready = max(idle, self.vector_free_at) if waits else idle
        self.counters["vector_stalls"] += ready - idle
        return ready

    def _step(self, op: Instruction, name: str, amount: int) -> int:
        reg = Reg(op[name])
        value = self.regs[reg]
        self.regs[reg] = (value + amount * op[f"{name}_step"]) & 0xFFFFFF
        return value

    def _execute(self, op: Instruction, t: int) -> int:
        """Do it; the cycle of the next fetch."""
        if op.op is Opcode.SET:
            self._set(Reg(op["reg"]), op["value"])
        elif op.op is Opcode.ADD:
            self._set(Reg(op["reg"]), self.regs[Reg(op["reg"])] + op["value"])
        elif op.op in (Opcode.LOAD, Opcode.VEC):
            return t + 1 + (self._load(op) if op.op is Opcode.LOAD else self._vec(op))
        elif op.op is Opcode.RECV:
            base = self._step(op, "addr", 8 * op["words"]) // 8
            for k in range(op["words"]):
                self._words()[base + k] = self.inputs.pop(0)
            return t + max(1, op["words"])
        elif op.op is Opcode.SEND:
            base = self._step(op, "addr", 8 * op["words"]) // 8
            self.outputs += [int(w) for w in self._words()[base : base + op["words"]]]
            return t + max(1, op["words"])
        elif op.op is Opcode.MVM:
            for core in self._cores(op):
                self._product(core, op, t)
        elif op.op is Opcode.REQ:
            return self._req(op, t)
        return t + 1

    def _words(self) -> NDArray[np.uint64]:
        return self.data.view("<u8")

    def _set(self, reg: Reg, value: int) -> None:
        if reg == Reg.ROWS_PER_READ and self.budgets:
            for number in range(len(self.budgets)):
                plane, part = divmod(number, self.chip.read_slices)
                mine = not value >> 16 & 1 or value >> 9 & 7 == plane
                if mine and (not value >> 17 & 1 or value >> 12 & 15 == part):
                    self.budgets[number] = value & 511
            return
        bits = {Reg.SCALE: 24, Reg.OFFSET: 32, Reg.QUANT: 24}.get(reg, 24)
        value &= (1 << bits) - 1
        if reg in (Reg.SCALE, Reg.OFFSET, Reg.PITCH) and value >> (bits - 1):
            value -= 1 << bits
        self.regs[reg] = value

    def _gather(self, op: Instruction) -> tuple[list[int], int]:
        """The bytes of all runs, and the words of data memory touched for them."""
        size = op["bytes"]
        if not size:
            return [], 0
        found: list[int] = []
        words = 0
        start = self._step(op, "addr", size)
        for _ in range(op["repeats"] + 1):
            found += [int(v) for v in self.data[start : start + size]]
            words += (start + size - 1) // 8 - start // 8 + 1
            start = (start + self.regs[Reg.PITCH]) & 0xFFFFFF
        return found, words

    def _load(self, op: Instruction) -> int:
        """Its n: the words it takes."""
        if op["source"] == Source.HOST:
            n = -(-op["bytes"] // 8)
            words = np.array([self.inputs.pop(0) for _ in range(n)], "<u8")
            codes = [int(v) for v in words.view(np.uint8)[: op["bytes"]]]
        else:
            codes, n = self._gather(op)
        row, end = op["row"], op["row"] + len(codes)
        for core in self._cores(op) if codes else ():
            self.rows[core, row:end] = codes
            self.rows[core, end : -(-end // 8) * 8] = 0
            goes_on = row > 0 or self.regs[Reg.KEEP]
            self.sums[core] = self.sums[core] * goes_on + sum(codes)
        return n

    def _vec(self, op: Instruction) -> int:
        """Its n. NumPy's int32 wraps as the accumulators do."""
        codes, n = self._gather(op)
        taken, scale = np.array(codes, np.int64), self.regs[Reg.SCALE]
        if op["op"] in (VecOp.PUT32, VecOp.ADD32):
            taken, scale = taken.reshape(-1, 4) @ (1 << 8 * np.arange(4)), 1
        where = slice(op["element"], op["element"] + len(taken))
        acc = self.elements[where]
        scaled = taken * scale + self.regs[Reg.OFFSET]
        value = (scaled & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
        halves = [part.astype(np.int16).astype(np.int32) for part in (acc, value)]
        with np.errstate(over="ignore"):
            self.elements[where] = {
                VecOp.PUT: lambda: value,
                VecOp.ADD: lambda: acc + value,
                VecOp.MUL: lambda: halves[0] * halves[1],
                VecOp.MAX: lambda: np.maximum(acc, value),
                VecOp.MIN: lambda: np.minimum(acc, value),
                VecOp.PUT32: lambda: value,
                VecOp.ADD32: lambda: acc + value,
            }[VecOp(op["op"])]()
        return n

    def _product(self, core: int, op: Instruction, t: int) -> None:
        chip, rows, beats = self.chip, op["rows"], op["beats"]
        x = self.rows[core, :rows].astype(np.int64) & ((1 << self.regs[Reg.PLANES]) - 1)
        planes = [(x >> p & 1).astype(bool) for p in range(self.regs[Reg.PLANES])]
        slices = chip.read_slices
        most = self.budgets or self.regs[Reg.ROWS_PER_READ]
        passes = [plane for plane in planes for _ in range(slices)]
        busy, reads, stalls = product_timing(
            passes, chip, rows, most, bool(self.regs[Reg.SCHEDULE]), beats
        )
        self.free_at[core] = t + busy + 1
        for k, amount in enumerate((reads, reads * beats, busy, stalls)):
            self.core_counters[core][k] += amount
        levels = self.levels[core].astype(np.int64).reshape(-1, chip.rows, chip.cols)[op["array"]]
        if self.flags:
            levels = np.where(self.flags[core], chip.cell_code.top - levels, levels)
        sums = x @ levels[:rows]
        if chip.cell_code.complement_rows and not self.regs[Reg.SCHEDULE]:
            # The other row of an input is driven in planes in which its bit is not set.
            other = ((1 << self.regs[Reg.PLANES]) - 1) - x
            sums += other @ levels[chip.rows // 2 :][:rows]
        done = beats * chip.lanes * slices // chip.columns_per_output
        weighed = sums.reshape(chip.outputs, -1) @ np.array(chip.column_weights)
        self.acc[core, :done] = self.acc[core, :done] * self.regs[Reg.KEEP] + weighed[:done]

    def _req(self, op: Instruction, t: int) -> int:
        chip, w, outputs = self.chip, self.chip.outputs_per_beat, op["outputs"]
        beats = -(-outputs // w)
        dest = self._step(op, "dest", outputs)
        param = self._step(op, "param", min(1, beats) if op["same_param"] else beats)
        groups = [param] * beats if op["same_param"] else range(param, param + beats)
        words = np.array([self.params[g * w + k] for g in groups for k in range(w)], dtype="<u8")
        bias = (words & 0xFFFFFFFF).astype(np.uint32).view(np.int32).astype(np.int64)
        mantissa, shift = words >> 32 & 0xFFFFFF, words >> 56
        cores = list(self._cores(op))
        xsum = sum(self.sums[c] for c in cores)
        drained = self.acc[cores, : beats * w].sum(axis=0) - chip.sum_weight * xsum
        if op["vector"]:
            drained = np.resize(drained, beats * w) * bool(cores) + self.elements[: beats * w]
        sums = ((drained + bias) & 0xFFFFFFFF).astype(np.uint32).view(np.int32).astype(np.int64)
        quant = self.regs[Reg.QUANT]
        codes = requantize(
            sums, mantissa.astype(np.uint32), shift.astype(np.uint8),
            quant & 0xFF, quant >> 8 & 0xFF, quant >> 16 & 0xFF,
        )  # fmt: skip
        if op["table_on"]:
            codes = self.tables[op["table"]][codes]
        self.data[dest : dest + outputs] = codes[:outputs]
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
