# SPDX-License-Identifier: Apache-2.0
"""Writes learning programs: instructions, memory that they share, tables and settings."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ...arch.learning import LearnProgram, UpdateSettings
from ...arch.learning_isa import NO_FLAGS, Flag, LearnInstruction, LearnOp, ReduceFunction
from ...arch.learning_isa import VectorFunction as V

__all__ = ["Assembler", "fixed_point"]


def fixed_point(value: float, bits: int, most: int = 31) -> tuple[int, int]:
    """k and s with ``k / 2**s`` near a value of 0 or more, k of so many bits, s at most ``most``.

    k is 0 if the value is below half of ``2**-most``, and saturates if it is too large.
    """
    s = 0
    while s < most and round(value * 2.0 ** (s + 1)) < 1 << bits:
        s += 1
    return min(round(value * 2.0**s), (1 << bits) - 1), s


class Assembler:
    """A program in the making; addresses come from :meth:`words`."""

    def __init__(self) -> None:
        self.code: list[LearnInstruction] = []
        self.size = 0
        self._tables: list[tuple[int, ...]] = []
        self._settings: list[UpdateSettings] = []
        self._memory: list[tuple[int, Sequence[int]]] = []

    def words(self, count: int, values: Sequence[int] | None = None) -> int:
        """Address of so many words that nothing else has, with what stands there at first."""
        address, self.size = self.size, self.size + count
        if values is not None:
            self.preset(address, values)
        return address

    def preset(self, address: int, values: Sequence[int]) -> None:
        """What stands at an address at first."""
        self._memory.append((address, list(values)))

    def table(self, values: Sequence[int]) -> int:
        """Number of a table; the same for the same entries."""
        entries = tuple(values)
        if entries not in self._tables:
            self._tables.append(entries)
        return self._tables.index(entries)

    def settings(self, settings: UpdateSettings) -> int:
        """Number of settings; the same for the same ones."""
        if settings not in self._settings:
            self._settings.append(settings)
        return self._settings.index(settings)

    def emit(self, op: LearnOp, **fields: int) -> None:
        """Append an instruction."""
        flags = Flag(fields.pop("flags", NO_FLAGS))
        self.code.append(LearnInstruction(op, flags=flags, **fields))

    def vector(
        self,
        function: V,
        dst: int,
        a: int,
        n: int,
        *,
        b: int | None = None,
        k: int = 0,
        shift: int = 0,
        bits: int = 0,
        reg: int = 0,
    ) -> None:
        """An elementwise instruction."""
        other = a if b is None else b
        self.emit(
            LearnOp.VEC,
            **{"dst": dst, "a": a, "b": other, "n": n, "k": k, "m": int(function)},
            **{"shift": shift, "bits": bits, "reg": reg},
        )

    def scale(self, dst: int, a: int, n: int, factor: float) -> None:
        """Multiply with a number, rounded: 15 bits of it."""
        k, s = fixed_point(abs(factor), 15, 60)
        self.vector(V.MULK, dst, a, n, k=k if factor >= 0 else -k, shift=s)

    def reduce(self, function: ReduceFunction, reg: int, a: int, n: int) -> None:
        """A number of a vector into a register."""
        self.emit(LearnOp.REDUCE, a=a, reg=reg, n=n, m=int(function))

    def hot(self, dst: int, n: int, reg: int, value: int) -> None:
        """A vector of zeros but for one element."""
        self.emit(LearnOp.HOT, dst=dst, n=n, reg=reg, k=value)

    @contextmanager
    def every(self, reg: int, count: int) -> Iterator[None]:
        """What the body emits runs every ``count`` samples."""
        if count == 1:
            yield
            return
        with self._jump(LearnOp.EVERY, reg=reg, n=count):
            yield

    @contextmanager
    def loop(self, count: int) -> Iterator[None]:
        """What the body emits runs ``count`` times."""
        if count == 1:
            yield
            return
        with self._jump(LearnOp.LOOP, n=count):
            yield

    @contextmanager
    def _jump(self, op: LearnOp, **fields: int) -> Iterator[None]:
        at = len(self.code)
        self.emit(op, **fields)
        yield
        self.code[at] = dataclasses.replace(self.code[at], k=len(self.code) - at - 1)

    def program(self) -> LearnProgram:
        """The program, ended.

        Raises
        ------
        ConfigError
            If there is too much of something.
        """
        code = [*self.code, LearnInstruction(LearnOp.END)]
        return LearnProgram(code, tuple(self._settings), self._tables, self._memory)
