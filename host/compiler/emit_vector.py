# SPDX-License-Identifier: Apache-2.0
"""Element-wise work: pools, sums, copies, tables, row by row through the vector unit.

Elements are taken in the order of their addresses at the target, up to 256 a REQ. What the sources
of a chunk are for the instruction, ``bytes`` and ``repeats``, follows from how their addresses run
beside those of the target.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...arch.isa import VECTOR_ELEMENTS, Opcode, Reg, VecOp
from .affine import Dim, Nest, nests
from .memories import Memories
from .tasks import Term, Vector
from .tensors import Ints
from .tree import Builder, Pointer, Region, Turn

__all__ = ["VectorEmitter"]

_DEST, _PARAM = Reg.A1, Reg.A2
_SOURCES = (Reg.A0, Reg.A3, Reg.A4, Reg.A5, Reg.A6, Reg.A7)

_UNROLLED = 9
"""Terms alike that are written out; more of them become a loop."""


@dataclass(frozen=True)
class _Part:
    """A term on one of the pointers: ``at`` is its distance from where the pointer is."""

    op: VecOp
    scale: int
    offset: int
    pointer: int
    at: int


class VectorEmitter:
    """Writes the instructions of one task of element-wise work.

    Parameters
    ----------
    builder : Builder
    memories : Memories
    task : Vector
        With byte addresses in place of virtual ones.
    reads, writes : tuple of Region
        Bytes of the buffers that are read and written.
    """

    def __init__(
        self,
        builder: Builder,
        memories: Memories,
        task: Vector,
        *,
        reads: tuple[Region, ...],
        writes: tuple[Region, ...],
    ) -> None:
        self.builder = builder
        self.memories = memories
        self.task = task
        self.reads, self.writes = reads, writes

    def emit(self) -> None:
        """Write everything."""
        task, builder = self.task, self.builder
        order = np.argsort(task.target, kind="stable")
        leaders, parts = _pointers([(t, t.source[order]) for t in task.terms])
        parts = _evened(parts)
        scale = task.requantizer
        builder.quant(scale.zero_point, scale.low, scale.high)
        param = self.memories.same_param(scale.mantissa, scale.shift, scale.bias, task.name)
        builder.set(_PARAM, param)
        target = task.target[order]
        if len(leaders) <= len(_SOURCES):
            addresses = np.stack([target, *leaders])
            for nest in nests(addresses):
                self._nest(addresses, nest, parts)
            return
        # More tensors than pointers: element by element, at addresses that are set.
        for at in np.stack([target, *leaders]).T:
            self._single(at, parts)

    def _single(self, at: Ints, parts: Sequence[_Part]) -> None:
        self.builder.set(_DEST, int(at[0]))
        for part in parts:
            pointer = Pointer(self.builder, _SOURCES[0], int(at[1 + part.pointer]) + part.at)
            self._vec(part, pointer.reg, 0, 1, 0, 0)
        self._request(1)

    def _nest(self, addresses: Ints, nest: Nest, parts: Sequence[_Part]) -> None:
        """A stretch of elements that nested loops walk through."""
        at = addresses[:, nest.start]
        dims = list(nest.dims)
        still = (0,) * len(at)
        inner = dims.pop() if dims and dims[-1].strides[0] == 1 else Dim(1, still)
        target = Pointer(self.builder, _DEST, int(at[0]))
        sources = [
            Pointer(self.builder, reg, int(a)) for reg, a in zip(_SOURCES, at[1:], strict=False)
        ]
        steady = inner.count == 1 or all(s == 1 for s in inner.strides[1:])
        middle = Dim(1, still)
        joined = (
            steady
            and dims
            and dims[-1].strides[0] == inner.count
            and 2 * inner.count <= VECTOR_ELEMENTS
        )
        if joined:
            middle = dims.pop()
        # Chunks along the middle if whole inner runs fit, else along the inner one.
        split, run = (middle, inner.count) if middle.count > 1 else (inner, 1)
        most = VECTOR_ELEMENTS // run
        chunks = math.ceil(split.count / most)
        size = math.ceil(split.count / chunks)
        full, rest = divmod(split.count, size)
        strides = tuple(size * s for s in split.strides)
        loops = [Dim(full, strides)] if full > 1 else []

        def chunk(count: int) -> None:
            starts = [target.at, *(p.at for p in sources)]
            if middle.count > 1:
                self._chunk(parts, sources, inner, Dim(count, middle.strides))
            else:
                self._chunk(parts, sources, Dim(count, inner.strides), Dim(1, still))
            self._request(run * count)
            for pointer, start, stride in zip(
                (target, *sources), starts, split.strides, strict=True
            ):
                pointer.goto(start + count * stride)

        def body(turn: Turn) -> None:
            self.builder.walk(loops, (target, *sources), lambda _: chunk(size))
            if rest:
                chunk(rest)

        self.builder.walk(dims, (target, *sources), body)

    def _chunk(
        self, parts: Sequence[_Part], sources: Sequence[Pointer], inner: Dim, middle: Dim
    ) -> None:
        """All terms of up to 256 elements."""
        starts = [p.at for p in sources]
        for group in _alike(parts):
            first = group[0]
            pointer = sources[first.pointer]
            shape = _shape(first.pointer, inner, middle)
            found = nests(_distances(group))
            if len(group) > _UNROLLED and len(found) == 1:
                pointer.goto(starts[first.pointer] + first.at)

                def body(
                    _: Turn,
                    part: _Part = first,
                    reg: int = pointer.reg,
                    shape: tuple[int, int, int, int] = shape,
                ) -> None:
                    self._vec(part, reg, *shape)

                self.builder.walk(found[0].dims, (pointer,), body)
                continue
            for part in group:
                pointer.goto(starts[part.pointer] + part.at)
                self._vec(part, pointer.reg, *shape)

    def _vec(
        self, part: _Part, reg: int, element: int, count: int, repeats: int, pitch: int
    ) -> None:
        builder = self.builder
        builder.set(Reg.SCALE, part.scale)
        builder.set(Reg.OFFSET, part.offset)
        if repeats:
            builder.set(Reg.PITCH, pitch)
        operation = builder.emit(
            Opcode.VEC, addr=reg, op=part.op, element=element, bytes=count, repeats=repeats
        )
        operation.reads = self.reads

    def _request(self, outputs: int) -> None:
        table = self.memories.table(self.task.table, self.task.name)
        request = self.builder.emit(
            Opcode.REQ,
            dest=_DEST,
            param=_PARAM,
            table_on=int(table is not None),
            table=table or 0,
            outputs=outputs,
            vector=1,
            same_param=1,
        )
        request.writes = self.writes


def _pointers(terms: Sequence[tuple[Term, Ints]]) -> tuple[list[Ints], list[_Part]]:
    """Terms whose addresses keep their distance share a pointer."""
    leaders: list[Ints] = []
    parts = []
    for term, source in terms:
        distances = [int(source[0] - leader[0]) for leader in leaders]
        same = [
            number
            for number, (leader, distance) in enumerate(zip(leaders, distances, strict=True))
            if np.array_equal(source, leader + distance)
        ]
        if not same:
            leaders.append(source)
        number = same[0] if same else len(leaders) - 1
        distance = distances[number] if same else 0
        parts.append(_Part(term.op, term.scale, term.offset, number, distance))
    return leaders, parts


def _alike(parts: Sequence[_Part]) -> list[list[_Part]]:
    """Neighbouring terms that differ in their addresses alone."""
    groups: list[list[_Part]] = []
    for part in parts:
        last = groups[-1][-1] if groups else None
        if last is not None and (last.op, last.scale, last.offset, last.pointer) == (
            part.op,
            part.scale,
            part.offset,
            part.pointer,
        ):
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups


def _distances(parts: Sequence[_Part]) -> Ints:
    return np.array([[part.at for part in parts]], np.int64)


def _evened(parts: list[_Part]) -> list[_Part]:
    """If many terms follow the one that puts, make it one of them, so that a loop can do it."""
    groups = _alike(parts)
    if len(groups) < 2 or len(groups[1]) < _UNROLLED:
        return parts
    put, second = groups[0][0], groups[1][0]
    if (put.scale, put.pointer) != (second.scale, second.pointer):
        return parts
    joined = [dataclasses.replace(second, at=put.at), *groups[1]]
    if len(nests(_distances(joined))) > 1:
        return parts
    rest = parts[1 + len(groups[1]) :]
    if second.op == VecOp.ADD:
        clear = dataclasses.replace(put, scale=0, offset=put.offset - second.offset)
        return [clear, *joined, *rest]
    if second.op in (VecOp.MAX, VecOp.MIN) and put.offset == second.offset:
        # The first one meets itself, which changes nothing.
        return [put, *joined, *rest]
    return parts


def _shape(pointer: int, inner: Dim, middle: Dim) -> tuple[int, int, int, int]:
    """Element, bytes, repeats and pitch of a VEC."""
    stride = inner.strides[1 + pointer]
    if inner.count == 1:
        return 0, 1, middle.count - 1, middle.strides[1 + pointer]
    if stride == 1:
        return 0, inner.count, middle.count - 1, middle.strides[1 + pointer]
    return 0, 1, inner.count - 1, stride
