# SPDX-License-Identifier: Apache-2.0
"""A program as a tree of loops while it is made, and the builder that kernels write it with."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import Chip
from ...arch.isa import LOOP_DEPTH, Instruction, Opcode, Reg, Source
from .affine import Dim

__all__ = ["Builder", "Loop", "Node", "Operation", "Pointer", "Received", "Region", "Sent", "Turn"]

Region = tuple[int, int]
"""Bytes of data memory: first, and the one behind the last."""


@dataclass(frozen=True, eq=False)
class Received:
    """Elements of the inputs that come from the host, -1 for ``fill``: int64 and uint8, both
    [\\*counts of the loops around, bytes]; all of one input, ``tensor``."""

    index: NDArray[np.int64]
    fill: NDArray[np.uint8]
    tensor: str


@dataclass(frozen=True, eq=False)
class Sent:
    """What goes to the host: int64 [\\*counts of the loops around, slots], -1 for nothing."""

    tensor: str
    dtype: Literal["int32", "uint8"]
    index: NDArray[np.int64]


@dataclass(eq=False)
class Operation:
    """An instruction, and what the passes have to know of it."""

    op: Opcode
    fields: dict[str, int]
    note: str = ""
    """What it is part of, for listings."""
    reads: tuple[Region, ...] = ()
    """Bytes that a LOAD or VEC reads."""
    writes: tuple[Region, ...] = ()
    """Bytes that a REQ stores."""
    in_words: int = 0
    out_words: int = 0
    received: Received | None = None
    sent: Sent | None = None

    @property
    def instruction(self) -> Instruction:
        return Instruction(self.op, self.fields)


@dataclass(eq=False)
class Loop:
    """A LOOP and its body. ``steps`` marks the one over the steps of a sequence."""

    count: int
    body: "list[Node]" = field(default_factory=list)
    note: str = ""
    steps: bool = False


Node = Operation | Loop


@dataclass(frozen=True)
class Turn:
    """What the body of a walk is told.

    Parameters
    ----------
    strides : tuple of int
        How far each pointer moves in the innermost loop; 0 without loops.
    entry : int
        The first entry of the walk that the body stands for.
    counts : tuple of int
        Of the loops around the body: it stands for as many entries from ``entry`` on.
    """

    strides: tuple[int, ...]
    entry: int
    counts: tuple[int, ...]

    @property
    def entries(self) -> NDArray[np.int64]:
        """int64 of shape ``counts``."""
        size = math.prod(self.counts)
        return self.entry + np.arange(size, dtype=np.int64).reshape(self.counts)


class Pointer:
    """An address register that follows a walk through loops.

    ``at`` is where it points in the first pass of the loops around.
    """

    def __init__(self, builder: "Builder", reg: int, at: int) -> None:
        self._builder = builder
        self.reg = reg
        self.at = at
        builder.set(reg, at)

    def goto(self, at: int) -> None:
        """Move to an address, relative to the present one."""
        if at != self.at:
            self._builder.emit(Opcode.ADD, reg=self.reg, value=at - self.at)
            self.at = at


class Builder:
    """Emits operations into the innermost open loop.

    Parameters
    ----------
    chip : Chip
    """

    def __init__(self, chip: Chip) -> None:
        self.chip = chip
        self.stretch = chip.fifo_words
        """Words that one RECV or SEND may move."""
        self.root: list[Node] = []
        self._open: list[list[Node]] = [self.root]
        self.note = ""

    @property
    def depth(self) -> int:
        """Loops that are open."""
        return len(self._open) - 1

    def emit(self, op: Opcode, /, **fields: int) -> Operation:
        operation = Operation(op, fields, self.note)
        self._open[-1].append(operation)
        return operation

    def set(self, reg: int, value: int) -> None:
        self.emit(Opcode.SET, reg=reg, value=value)

    @contextmanager
    def loop(self, count: int, *, steps: bool = False) -> Iterator[None]:
        """What is emitted inside is repeated."""
        loop = Loop(count, note=self.note, steps=steps)
        self._open[-1].append(loop)
        self._open.append(loop.body)
        try:
            yield
        finally:
            self._open.pop()

    def walk(
        self,
        dims: Sequence[Dim],
        pointers: Sequence[Pointer],
        body: Callable[[Turn], None],
        turn: "Turn | None" = None,
    ) -> None:
        """Loops around ``body`` that move pointers by the strides of ``dims``, outermost first.

        ``body`` is told how far each pointer moves in the innermost loop, so that it may move them
        itself, early; whatever it leaves is made up for. Loops deeper than the controller nests
        them are unrolled, the outer ones first.
        """
        turn = turn or Turn((0,) * len(pointers), 0, ())
        if not dims:
            body(turn)
            return
        first, rest = dims[0], dims[1:]
        starts = [p.at for p in pointers]
        if len(dims) > LOOP_DEPTH - self.depth:
            inner = math.prod(dim.count for dim in rest)
            for number in range(first.count):
                for pointer, start, stride in zip(pointers, starts, first.strides, strict=True):
                    pointer.goto(start + number * stride)
                entry = turn.entry + number * inner
                self.walk(rest, pointers, body, Turn(turn.strides, entry, turn.counts))
            return
        with self.loop(first.count):
            self.walk(
                rest, pointers, body, Turn(first.strides, turn.entry, (*turn.counts, first.count))
            )
            for pointer, start, stride in zip(pointers, starts, first.strides, strict=True):
                pointer.goto(start + stride)
        for pointer, start, stride in zip(pointers, starts, first.strides, strict=True):
            pointer.at = start + stride * first.count

    # Shorthands for registers that are no addresses

    def quant(self, zero_point: int, low: int, high: int) -> None:
        self.set(Reg.QUANT, zero_point | low << 8 | high << 16)

    def load(
        self, pointer: Pointer, row: int, run_bytes: int, repeats: int, pitch: int, cores: int
    ) -> Operation:
        """LOAD from data memory."""
        if repeats:
            self.set(Reg.PITCH, pitch)
        return self.emit(
            Opcode.LOAD,
            addr=pointer.reg,
            source=Source.DATA,
            row=row,
            bytes=run_bytes,
            repeats=repeats,
            cores=cores,
        )
