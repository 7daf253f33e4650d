# SPDX-License-Identifier: Apache-2.0
"""The core that learns, as an executable specification: what every instruction does.

One program runs for every sample. ``behavioral/csrc/ohm_learn_core.c`` does the same fast, and
``rtl/learning`` as a circuit; both are held equal to this after every sample.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arch.learning import LearnChip, LearnProgram
from ...arch.learning_isa import (
    REGISTERS,
    Flag,
    LearnInstruction,
    LearnOp,
    ReduceFunction,
    VectorFunction,
)
from .array import LearningArray
from .state import (
    check_arrays,
    check_words,
    load_memory,
    restore_state,
    save_state,
)
from .trains import LFSR_TABLE, Lfsr, update_counts

__all__ = ["LearnProcessor", "clip", "rounded", "signed"]

_MOST_PULSES = 63
_V = VectorFunction


def rounded(v: NDArray[np.int64], shift: int) -> NDArray[np.int64]:
    """A right shift that rounds halves up."""
    return (v + (1 << (shift - 1))) >> shift if shift else v


def clip(v: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Saturate: to int32 if ``bits`` is 0, else symmetrically to so many bits."""
    if not bits:
        return np.clip(v, -(1 << 31), (1 << 31) - 1)
    most = (1 << (bits - 1)) - 1
    return np.clip(v, -most, most)


_FUNCTIONS: dict[int, Callable[[Any, Any, int, int], Any]] = {
    _V.ADD: lambda a, b, _k, _r: a + b,
    _V.SUB: lambda a, b, _k, _r: a - b,
    _V.MUL: lambda a, b, _k, _r: a * b,
    _V.MAX: lambda a, b, _k, _r: np.maximum(a, b),
    _V.MIN: lambda a, b, _k, _r: np.minimum(a, b),
    _V.GT: lambda a, b, _k, _r: (a > b).astype(np.int64),
    _V.MULK: lambda a, _b, k, _r: a * k,
    _V.ADDK: lambda a, _b, k, _r: a + k,
    _V.GTK: lambda a, _b, k, _r: (a > k).astype(np.int64),
    _V.SET: lambda a, _b, k, _r: np.full_like(a, k),
    _V.ABS: lambda a, _b, _k, _r: np.abs(a),
    _V.SUBR: lambda a, _b, _k, r: a - r,
    _V.ADDR: lambda a, _b, _k, r: a + r,
    _V.MAXK: lambda a, _b, k, _r: np.maximum(a, k),
    _V.MINK: lambda a, _b, k, _r: np.minimum(a, k),
}


class LearnProcessor:
    """The core and its arrays; the reference of :class:`~.cprocessor.CLearnProcessor`.

    Parameters
    ----------
    chip : LearnChip
    program : LearnProgram
    arrays : sequence of LearningArray
        As many as the chip has, of its shape.
    seed : int
        Of the generators of pulse trains.

    Raises
    ------
    ConfigError
        If the program does not fit the chip.
    ValueError
        If the arrays do not.
    """

    def __init__(
        self, chip: LearnChip, program: LearnProgram, arrays: Sequence[LearningArray], seed: int
    ) -> None:
        program.check(chip)
        check_arrays(chip, arrays)
        self.chip = chip
        self.program = program
        self.arrays = arrays
        self.memory = np.zeros(chip.memory, np.int32)
        self.registers = np.zeros(REGISTERS, np.int32)
        self.generators = Lfsr(seed, chip.lines)
        load_memory(program, self.memory, self.registers)
        self._in: list[int] = []
        self._out: list[int] = []

    @property
    def lfsr(self) -> NDArray[np.uint32]:
        """States of the generators of pulse trains, rows first."""
        return self.generators.state

    def save(self) -> dict[str, NDArray[Any]]:
        """All that changes while it learns."""
        return save_state(self)

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what :meth:`save` gave."""
        restore_state(self, saved)

    def run(self, words: ArrayLike) -> NDArray[np.int32]:
        """Run the program once for every sample.

        Parameters
        ----------
        words : whole numbers [samples, program.inputs]
            What IN takes.

        Returns
        -------
        int32 array [samples, program.outputs]

        Raises
        ------
        ValueError
            If the words have another shape, or an instruction leaves the memory or the arrays.
        """
        given = check_words(words, self.program)
        results = np.zeros((len(given), self.program.outputs), np.int32)
        for i, sample in enumerate(given):
            self._in, self._out = sample.tolist(), []
            self._run_once()
            results[i] = self._out
        return results

    def _run_once(self) -> None:
        code, at = self.program.instructions, 0
        first = end = -1
        again = 0
        while code[at].op != LearnOp.END:
            i = code[at]
            at += 1
            if i.op == LearnOp.LOOP:
                first, end, again = at, at + (i.k & 0xFFFF), i.n - 1
            elif i.op == LearnOp.EVERY:
                self._set(i.reg, int(self.registers[i.reg]) + 1)
                if self.registers[i.reg] >= i.n:
                    self._set(i.reg, 0)
                else:
                    at += i.k & 0xFFFF
            else:
                try:
                    self._execute(i)
                except ValueError as error:
                    raise ValueError(f"Instruction {at - 1} ({i}): {error}") from error
            if at == end:
                at, end = (first, end) if again > 0 else (at, -1)
                again -= 1

    # ------------------------------------------------------------ memory and registers

    def _load(self, address: int, size: int) -> NDArray[np.int64]:
        if address < 0 or address + size > self.chip.memory:
            raise ValueError(f"Words {address} to {address + size - 1} are not in the memory")
        return self.memory[address : address + size].astype(np.int64)

    def _store(self, address: int, values: ArrayLike) -> None:
        data = np.asarray(values)
        if address < 0 or address + data.size > self.chip.memory:
            raise ValueError(f"Words {address} to {address + data.size - 1} are not in the memory")
        self.memory[address : address + data.size] = data.reshape(-1)

    def _set(self, register: int, value: int) -> None:
        if register:
            self.registers[register] = max(-(1 << 31), min((1 << 31) - 1, value))

    def _array(self, i: LearnInstruction) -> LearningArray:
        number = i.array + int(self.registers[i.bits & 15])
        if not 0 <= number < len(self.arrays):
            raise ValueError(f"There is no array {number}")
        return self.arrays[number]

    # ------------------------------------------------------------ instructions

    def _execute(self, i: LearnInstruction) -> None:
        _ACTIONS[i.op](self, i)

    def _take(self, i: LearnInstruction) -> None:
        self._store(i.dst, np.array(self._in[: i.n], np.int32))
        del self._in[: i.n]

    def _give(self, i: LearnInstruction) -> None:
        self._out += self._load(i.a, i.n).tolist()

    def _vector(self, i: LearnInstruction) -> None:
        a, b = self._load(i.a, i.n), self._load(i.b, i.n)
        value = _FUNCTIONS[i.m](a, b, signed(i.k, 16), int(self.registers[i.reg]))
        self._store(i.dst, clip(rounded(value, i.shift), i.bits))

    def _table(self, i: LearnInstruction) -> None:
        at = np.clip(rounded(self._load(i.a, i.n), i.shift), -128, 127) + 128
        self._store(i.dst, np.array(self.program.tables[i.m])[at])

    def _reduce(self, i: LearnInstruction) -> None:
        a = self._load(i.a, i.n)
        if i.m == ReduceFunction.MAX_ABS:
            value = np.abs(a).max(initial=0)
        elif i.m == ReduceFunction.MAX:
            value = a.max(initial=-(1 << 31))
        else:
            value = a.sum()
        self._set(i.reg, int(value))

    def _normalize(self, i: LearnInstruction) -> None:
        e = abs(int(self.registers[i.reg])).bit_length() - i.bits
        a = self._load(i.a, i.n)
        a = rounded(a, e) if e > 0 else a << -e
        most = (1 << i.bits) - 1
        self._store(i.dst, np.clip(a, -most, most))
        self._set(i.m & 15, int(self.registers[i.k & 15]) + e)

    def _divide(self, i: LearnInstruction) -> None:
        a, by = self._load(i.a, i.n), int(self.registers[i.reg])
        value = np.zeros(i.n, np.int64)
        if by > 0:
            value = np.where(a >= 0, (np.maximum(a, 0) << (i.shift & 31)) // by, 0)
        self._store(i.dst, clip(value, 0))

    def _hot(self, i: LearnInstruction) -> None:
        self._store(i.dst, np.where(np.arange(i.n) == self.registers[i.reg], signed(i.k, 16), 0))

    def _read(self, i: LearnInstruction) -> None:
        array, x = self._array(i), np.clip(self._load(i.a, i.n), -127, 127)
        before = self._load(i.dst, i.b) if i.flags & Flag.ACCUMULATE else 0
        tries = i.k & 0xFFFF if i.flags & Flag.BOUND else 0
        top = array.cells.noise.top
        for t in range(tries + 1):
            codes = array.read(
                rounded(x, t),
                transposed=bool(i.flags & Flag.TRANSPOSED),
                shift=i.shift,
                outputs=i.b,
            ).astype(np.int64)
            if np.abs(codes).max() < top:
                break
        self._store(i.dst, clip((codes << t) * signed(i.m, 8) + before, 0))

    def _update(self, i: LearnInstruction) -> None:
        array = self._array(i)
        counts = update_counts(
            self.program.settings[i.m],
            self._load(i.a, i.n),
            self._load(i.b, i.k & 0xFFFF),
            self.generators,
            self.chip.rows,
            int(self.registers[i.reg]),
        )
        array.pulse_counts(-counts if i.flags & Flag.INVERT else counts)

    def _write(self, i: LearnInstruction) -> None:
        counts = np.clip(self._load(i.a, i.n), -_MOST_PULSES, _MOST_PULSES)
        row = int(self.registers[i.reg])
        if not 0 <= row < self.chip.rows:
            raise ValueError(f"There is no row {row}")
        self._array(i).write(row, -counts if i.flags & Flag.INVERT else counts)

    def _feed(self, i: LearnInstruction) -> None:
        a = self._load(i.a, i.b)
        state = 0x80000000 | (i.m & 255) << 16 | i.k & 0xFFFF
        sums = np.zeros(i.n, np.int64)
        for o in range(i.n):
            for j in range(i.b):
                sums[o] += signed(state & 255, 8) * a[j]
                state = state >> 8 ^ int(LFSR_TABLE[state & 255])
        self._store(i.dst, clip(rounded(sums, i.shift), i.bits))

    def _dense(self, i: LearnInstruction) -> None:
        columns = i.k & 0xFFFF
        w = self._load(i.b, i.n * columns).reshape(i.n, columns)
        w = w.T if i.flags & Flag.TRANSPOSED else w
        x = self._load(i.a, w.shape[0])
        self._store(i.dst, clip(rounded(x @ w, i.shift), i.bits))

    def _outer(self, i: LearnInstruction) -> None:
        columns = i.k & 0xFFFF
        e = min(max(int(self.registers[i.reg]) - i.shift, -40), 20)
        product = np.outer(self._load(i.a, i.n), self._load(i.b, columns)).reshape(-1)
        product = product << e if e >= 0 else rounded(product, -e)
        before = self._load(i.dst, product.size)
        after = before - product if i.flags & Flag.INVERT else before + product
        self._store(i.dst, clip(after, 0))

    def _apply(self, i: LearnInstruction) -> None:
        columns = i.k & 0xFFFF
        chi = self._load(i.a, i.n * columns)
        q = np.sign(chi) * np.minimum(np.abs(chi) >> i.shift, _MOST_PULSES)
        self._store(i.a, chi - (q << i.shift))
        counts = q.reshape(i.n, columns)
        self._array(i).pulse_counts(-counts if i.flags & Flag.INVERT else counts)

    def _step(self, i: LearnInstruction) -> None:
        self._set(i.reg, (int(self.registers[i.reg]) + 1) % i.n)

    def _load_register(self, i: LearnInstruction) -> None:
        self._set(i.reg, int(self._load(i.a, 1)[0]))

    def _relax(self, i: LearnInstruction) -> None:
        self._array(i).relax()

    def _pick(self, i: LearnInstruction) -> None:
        offset = int(self.registers[i.reg]) * i.n
        if i.flags & Flag.STORE:
            self._store(i.dst + offset, self._load(i.a, i.n))
        else:
            self._store(i.dst, self._load(i.a + offset, i.n))


_ACTIONS: dict[LearnOp, Callable[[LearnProcessor, LearnInstruction], None]] = {
    LearnOp.IN: LearnProcessor._take,
    LearnOp.OUT: LearnProcessor._give,
    LearnOp.VEC: LearnProcessor._vector,
    LearnOp.TABLE: LearnProcessor._table,
    LearnOp.REDUCE: LearnProcessor._reduce,
    LearnOp.NORM: LearnProcessor._normalize,
    LearnOp.DIV: LearnProcessor._divide,
    LearnOp.HOT: LearnProcessor._hot,
    LearnOp.READ: LearnProcessor._read,
    LearnOp.UPDATE: LearnProcessor._update,
    LearnOp.WRITE: LearnProcessor._write,
    LearnOp.FEED: LearnProcessor._feed,
    LearnOp.DENSE: LearnProcessor._dense,
    LearnOp.OUTER: LearnProcessor._outer,
    LearnOp.APPLY: LearnProcessor._apply,
    LearnOp.STEP: LearnProcessor._step,
    LearnOp.LOADR: LearnProcessor._load_register,
    LearnOp.RELAX: LearnProcessor._relax,
    LearnOp.PICK: LearnProcessor._pick,
}


def signed(value: int, bits: int) -> int:
    """The number that the low bits of a field hold, in two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
