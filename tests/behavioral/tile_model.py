# SPDX-License-Identifier: Apache-2.0
"""A literal model of docs/tile.md that lives cycle by cycle; slow, and only for tests.

It shares no formula with the fast machine: its controller, cores, planner, converters and vector
unit each take one small step a cycle, and its host delivers and takes words at random.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.isa import VECTOR_ELEMENTS, Instruction, Opcode, Reg, Source, VecOp
from ohmtwin.arch.timing import core_tail, vector_latency
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.golden import requantize
from ohmtwin.behavioral.machine import Counters
from ohmtwin.behavioral.program import TileProgram

__all__ = ["TileModel"]


def signed(value: int, bits: int = 32) -> int:
    """The low bits of a number, as two's complement."""
    half = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


@dataclass
class CoreModel:
    """One core: planner, plan register, converters, accumulators."""

    chip: Chip
    arrays: dict[int, Crossbar]
    rows: NDArray[np.uint8]
    total: int = 0
    acc: list[int] = field(default_factory=list)
    busy: bool = False
    reads: int = 0
    beats: int = 0
    active: int = 0
    stalls: int = 0
    saturated: int = 0
    corrected: int = 0
    detected: int = 0

    def start(self, rows: int, beats: int, turn: int, registers: dict[Any, int]) -> None:
        self.array = self.arrays[turn]
        self.used, self.columns, self.length = rows, beats * self.chip.lanes, beats
        self.registers = dict(registers)
        self.slices = self.chip.read_slices
        self.columns *= self.slices
        self.passes = self.registers[Reg.PLANES] * self.slices
        if not registers[Reg.KEEP]:
            self.acc = [0] * (self.columns // self.chip.columns_per_output)
        self.busy = True
        self.plane = -1
        self.left: list[int] = []
        self.read: list[int] = []
        self.plan: tuple[int, list[int]] | None = None
        self.converting = 0
        self.accepted = False
        self.idle_adc = 0
        self.tail = core_tail(self.chip)
        self.next_plane()

    def next_plane(self) -> None:
        self.plane += 1
        if self.plane < self.passes:
            self.left = [
                r
                for r in range(self.used)
                if not self.registers[Reg.SCHEDULE] or self.rows[r] >> self.plane // self.slices & 1
            ]

    def clock(self) -> None:
        """One cycle of a busy core."""
        self.active += 1
        if self.finished():
            self.tail -= 1
            self.busy = self.tail > 0
            return
        if self.converting:
            self.converting -= 1
            self.beats += 1
        if not self.converting:
            if self.plan is not None:
                self.stalls += self.idle_adc
                self.idle_adc = 0
                self.convert(*self.plan)
                self.plan = None
                self.accepted = True
                self.converting = self.length
            elif self.accepted:
                self.idle_adc += 1
        self.plan_step()

    def finished(self) -> bool:
        planned = self.plane == self.passes
        return planned and self.plan is None and not self.converting

    def plan_step(self) -> None:
        if self.plane == self.passes:
            return
        if not self.left:
            self.next_plane()
            return
        group = self.left[0] // self.chip.planner_group
        most = self.registers[Reg.ROWS_PER_READ]
        if self.chip.row_budgets:
            most = self.registers[self.plane, "budget"]
        lack = most - len(self.read)
        taken = [r for r in self.left if r // self.chip.planner_group == group][:lack]
        complete = len(taken) == lack or len(taken) == len(self.left)
        if complete and self.plan is not None:
            return
        self.left = self.left[len(taken) :]
        self.read += taken
        if complete:
            self.plan = (self.plane, self.read)
            self.read = []
            if not self.left:
                self.next_plane()

    def convert(self, plane: int, rows: list[int]) -> None:
        mask = np.zeros(self.chip.rows, dtype=np.bool_)
        for row in rows:
            mask[row] = self.rows[row] >> plane // self.slices & 1
        every = self.array.read(mask, self.columns)
        self.reads += 1
        if self.slices > 1:
            plane, part = divmod(plane, self.slices)
            codes = every[part :: self.slices]
            self.saturated += [int(code) for code in codes].count((1 << self.chip.adc_bits) - 1)
            for j, code in enumerate(codes):
                weight = self.chip.column_weights[part] * self.chip.adc_step
                self.acc[j] += int(code) * weight << plane
            return
        codes = every
        self.saturated += [int(code) for code in codes].count((1 << self.chip.adc_bits) - 1)
        for j in range(len(self.acc)):
            total = 0
            for k, weight in enumerate(self.chip.column_weights):
                code = int(codes[j * self.chip.columns_per_output + k]) * self.chip.adc_step
                total += weight * code
            self.acc[j] += self.decoded(total) << plane

    def decoded(self, total: int) -> int:
        """A sum without the factors of its code, if it has one."""
        code = self.chip.an_code
        if code is None:
            return total
        error = code.error_of(total)
        self.corrected += bool(error)
        self.detected += error is None
        if error is None:
            quotient, rest = divmod(total, code.product)
            return quotient + (2 * rest > code.product)
        return (total - error) // code.product


class TileModel:
    """One tile and a host that is slow at random."""

    def __init__(self, program: TileProgram, arrays: list[Crossbar], rng: np.random.Generator):
        self.program, self.chip, self.rng = program, program.chip, rng
        by_core: dict[int, dict[int, Crossbar]] = {}
        for spec, array in zip(program.arrays, arrays, strict=True):
            by_core.setdefault(spec.core, {})[spec.array] = array
        self.cores = {
            c: CoreModel(self.chip, own, np.zeros(self.chip.rows, dtype=np.uint8))
            for c, own in by_core.items()
        }
        self.data = bytearray(8 * self.chip.data_words)
        image = b"".join(int(word).to_bytes(8, "little") for word in program.data)
        self.data[: len(image)] = image
        self.vec = [0] * VECTOR_ELEMENTS
        self.registers: dict[Any, int] = dict.fromkeys(Reg, 0)
        reset = {Reg.ROWS_PER_READ: 1, Reg.PLANES: 8, Reg.QUANT: 0xFF0000, Reg.SCALE: 1}
        self.registers.update(reset)
        self.loops: list[list[int]] = []
        self.host_in: deque[int] = deque()
        self.fifo_in: deque[int] = deque()
        self.fifo_out: deque[int] = deque()
        self.host_out: list[int] = []
        self.pops: list[int] = []
        """Value of ``cycles`` at each word that the program takes."""
        self.pushes: list[int] = []
        self.pipeline: list[tuple[int, int, list[int]]] = []
        self.cycles = self.instructions = self.core_stalls = self.vector_stalls = 0
        self.pc = self.now = 0
        self.fetching = True
        self.moved = -1  # words moved by the instruction that executes, -1 before it starts
        self.waiting = False

    def run(self, words: list[int]) -> None:
        """Deliver words; stop when they are used up and the tile waits for more."""
        self.host_in.extend(words)
        for _ in range(2_000_000):
            room = len(self.fifo_in) < self.chip.fifo_words
            if self.host_in and room and self.rng.random() < 0.3:
                self.fifo_in.append(self.host_in.popleft())
            if self.rng.random() < 0.3 and self.fifo_out:
                self.host_out.append(self.fifo_out.popleft())
            self.clock()
            if self.waiting and not (self.host_in or self.fifo_in or self.fifo_out):
                return
        pytest.fail("the model never comes to wait")

    def clock(self) -> None:
        busy = {c for c, core in self.cores.items() if core.busy}
        for c in busy:
            self.cores[c].clock()
        latency = vector_latency(self.chip)
        while self.pipeline and self.pipeline[0][0] + latency <= self.now:
            self.retire(*self.pipeline.pop(0)[1:])
        self.waiting = False
        if self.fetching:
            self.fetching = False
            self.moved = -1
        else:
            self.execute(self.program.instructions[self.pc], busy)
        self.cycles += not self.waiting
        self.now += 1

    def execute(self, i: Instruction, busy: set[int]) -> None:
        if self.moved < 0:
            everything = i.op in (Opcode.SYNC, Opcode.HALT)
            cores = set(self.cores) if everything else set()
            if i.op in (Opcode.LOAD, Opcode.MVM, Opcode.REQ):
                cores = {c for c in self.cores if i["cores"] >> c & 1}
            if i.op is Opcode.SET and i["reg"] == Reg.ROWS_PER_READ and self.chip.row_budgets:
                cores = set(self.cores)
            vector = everything or i.op in (Opcode.RECV, Opcode.SEND)
            vector |= i.op is Opcode.SET and i["reg"] == Reg.QUANT
            if cores & busy:
                self.core_stalls += 1
                return
            if vector and self.pipeline:
                self.vector_stalls += 1
                return
            if i.op is Opcode.SYNC:
                room = self.chip.fifo_words - len(self.fifo_out)
                if len(self.fifo_in) < i["in_words"] or room < i["out_words"]:
                    self.waiting = True
                    return
            self.moved = 0
        if getattr(self, "do_" + i.op.name.lower())(i):
            self.instructions += 1
            self.fetching = True
            for loop in list(reversed(self.loops)):
                if loop[1] == self.pc:
                    if loop[2] != 1:
                        loop[2] -= loop[2] > 0
                        self.pc = loop[0]
                        return
                    self.loops.remove(loop)
            self.pc += 1

    def pop(self) -> int:
        self.pops.append(self.cycles)
        return self.fifo_in.popleft()

    def push(self, word: int) -> None:
        self.pushes.append(self.cycles)
        self.fifo_out.append(word)

    def step(self, i: Instruction, name: str, amount: int) -> None:
        if i[f"{name}_step"]:
            self.add_to(i[name], amount)

    def add_to(self, reg: int, amount: int) -> None:
        self.registers[reg] = (self.registers[reg] + amount) % (1 << 24)

    def do_nop(self, i: Instruction) -> bool:
        return True

    do_sync = do_nop

    def do_set(self, i: Instruction) -> bool:
        self.registers[i["reg"]] = i["value"]
        if i["reg"] == Reg.ROWS_PER_READ and self.chip.row_budgets:
            slices = self.chip.read_slices
            for number in range(8 * slices):
                plane, part = divmod(number, slices)
                mine = not i["value"] >> 16 & 1 or i["value"] >> 9 & 7 == plane
                if mine and (not i["value"] >> 17 & 1 or i["value"] >> 12 & 15 == part):
                    self.registers[number, "budget"] = i["value"] & 0x1FF
        if i["reg"] <= Reg.A7:
            self.registers[i["reg"]] %= 1 << 24
        return True

    def do_add(self, i: Instruction) -> bool:
        self.add_to(i["reg"], i["value"])
        return True

    def do_loop(self, i: Instruction) -> bool:
        self.loops.append([self.pc + 1, self.pc + i["body"], i["count"]])
        return True

    def touched(self, i: Instruction) -> list[list[int]]:
        """The addresses of the bytes that LOAD or VEC takes, word by word."""
        words = []
        for run in range(i["repeats"] + 1):
            start = self.registers[i["addr"]] + run * self.registers[Reg.PITCH]
            here = list(range(start, start + i["bytes"]))
            for word in sorted({a // 8 for a in here}):
                words.append([a for a in here if a // 8 == word])
        return words

    def do_load(self, i: Instruction) -> bool:
        if self.moved == 0:
            self.held: list[int] = []
            self.plan = []
            if i["source"] == Source.DATA:
                self.plan = self.touched(i)
            else:
                left = i["bytes"]
                while left > 0:
                    self.plan.append(list(range(min(left, 8))))
                    left -= 8
        if self.moved < len(self.plan):
            where = self.plan[self.moved]
            if i["source"] == Source.DATA:
                self.held += [self.data[a] for a in where]
            else:
                word = self.pop().to_bytes(8, "little")
                self.held += [word[a] for a in where]
            self.moved += 1
            return False
        for c in range(self.chip.cores):
            if i["cores"] >> c & 1:
                core = self.cores[c]
                if i["row"] == 0 and not self.registers[Reg.KEEP]:
                    core.total = 0
                core.total += sum(self.held)
                filled = self.held + [0] * (-(i["row"] + len(self.held)) % 8)
                core.rows[i["row"] : i["row"] + len(filled)] = filled
        if i["source"] == Source.DATA:
            self.step(i, "addr", i["bytes"])
        return True

    def do_vec(self, i: Instruction) -> bool:
        if self.moved == 0:
            self.held = []
            self.plan = self.touched(i)
        if self.moved < len(self.plan):
            self.held += [self.data[a] for a in self.plan[self.moved]]
            self.moved += 1
            return False
        operands = [self.registers[Reg.SCALE] * byte for byte in self.held]
        if i["op"] in (VecOp.PUT32, VecOp.ADD32):
            operands = [
                int.from_bytes(self.held[k : k + 4], "little") for k in range(0, len(self.held), 4)
            ]
        for e, operand in enumerate(operands, start=i["element"]):
            v = signed(operand + self.registers[Reg.OFFSET])
            self.vec[e] = {
                VecOp.PUT: v,
                VecOp.ADD: signed(self.vec[e] + v),
                VecOp.MUL: signed(self.vec[e], 16) * signed(v, 16),
                VecOp.MAX: max(self.vec[e], v),
                VecOp.MIN: min(self.vec[e], v),
                VecOp.PUT32: v,
                VecOp.ADD32: signed(self.vec[e] + v),
            }[VecOp(i["op"])]
        self.step(i, "addr", i["bytes"])
        return True

    def do_recv(self, i: Instruction) -> bool:
        at = self.registers[i["addr"]] + 8 * self.moved
        self.data[at : at + 8] = self.pop().to_bytes(8, "little")
        self.moved += 1
        if self.moved == i["words"]:
            self.step(i, "addr", 8 * i["words"])
        return self.moved == i["words"]

    def do_send(self, i: Instruction) -> bool:
        at = self.registers[i["addr"]] + 8 * self.moved
        self.push(int.from_bytes(self.data[at : at + 8], "little"))
        self.moved += 1
        if self.moved == i["words"]:
            self.step(i, "addr", 8 * i["words"])
        return self.moved == i["words"]

    def do_mvm(self, i: Instruction) -> bool:
        for c in range(self.chip.cores):
            if i["cores"] >> c & 1:
                self.cores[c].start(i["rows"], i["beats"], i["array"], self.registers)
        return True

    def do_req(self, i: Instruction) -> bool:
        width = self.chip.outputs_per_beat
        cores = [self.cores[c] for c in range(self.chip.cores) if i["cores"] >> c & 1]
        beats = -(-i["outputs"] // width)
        if self.moved == 0:
            self.issued = sum(core.total for core in cores)
        else:
            interval = -(-width // 2) if i["tap"] else 1
            k, phase = divmod(self.moved - 1, interval)
            if phase == 0:
                param = (self.registers[i["param"]] + (0 if i["same_param"] else k)) * width
                self.sums = []
                codes = []
                for w in range(width):
                    word = int(self.program.params[param + w])
                    acc = signed(word)
                    if i["vector"]:
                        acc += self.vec[k * width + w]
                    if cores:
                        acc += sum(core.acc[k * width + w] for core in cores) - 128 * self.issued
                    acc = signed(acc)
                    self.sums.append(acc)
                    codes.append(self.code(i, acc, word))
                byte = self.registers[i["dest"]] + k * width
                self.pipeline.append((self.now, byte, codes[: i["outputs"] - k * width]))
            if i["tap"]:
                pair = [*self.sums, 0][2 * phase : 2 * phase + 2]
                self.push(sum((v & 0xFFFFFFFF) << 32 * h for h, v in enumerate(pair)))
            if k == beats - 1 and phase == interval - 1:
                self.step(i, "dest", i["outputs"])
                self.step(i, "param", 1 if i["same_param"] else beats)
                return True
        self.moved += 1
        return False

    def code(self, i: Instruction, acc: int, param: int) -> int:
        quant = self.registers[Reg.QUANT]
        bounds = (quant & 255, quant >> 8 & 255, quant >> 16 & 255)
        one = np.array([acc], dtype=np.int64)
        code = int(requantize(one, param >> 32 & 0xFFFFFF, param >> 56, *bounds)[0])
        return int(self.program.tables[i["table"], code]) if i["table_on"] else code

    def retire(self, byte: int, codes: list[int]) -> None:
        """Store the codes of an accumulator word."""
        self.data[byte : byte + len(codes)] = bytes(codes)

    @property
    def counters(self) -> Counters:
        def each(name: str) -> tuple[int, ...]:
            return tuple(
                int(getattr(self.cores[c], name)) if c in self.cores else 0
                for c in range(self.chip.cores)
            )

        return Counters(
            self.cycles,
            self.instructions,
            self.core_stalls,
            self.vector_stalls,
            each("reads"),
            each("beats"),
            each("active"),
            each("stalls"),
            self.chip.lanes,
            core_saturated=each("saturated") if self.chip.adc_clip else (),
            core_corrected=each("corrected") if self.chip.code_a else (),
            core_detected=each("detected") if self.chip.code_a else (),
        )
