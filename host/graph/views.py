# SPDX-License-Identifier: Apache-2.0
"""Constants, and operators that only move values."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import ModelError
from .checks import check_arrays, check_at_least, check_range
from .operators import Shape
from .quantization import Quantization

__all__ = ["Concat", "Constant", "Pad", "Reshape", "Slice", "Transpose"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Constant:
    """A tensor that never changes: ``codes`` uint8 of the tensor's shape."""

    kind: ClassVar[str] = "Constant"

    name: str
    output: str
    codes: NDArray[np.uint8]
    out_quant: Quantization

    def __post_init__(self) -> None:
        check_arrays(self.name, {"codes": (self.codes, np.uint8, self.codes.shape)})

    @property
    def sources(self) -> tuple[str, ...]:
        return ()

    def shape(self, *sources: Shape) -> Shape:
        return self.codes.shape


@dataclass(frozen=True, kw_only=True)
class Reshape:
    """The same values in another shape."""

    kind: ClassVar[str] = "Reshape"

    name: str
    input: str
    output: str
    to: Shape
    out_quant: Quantization

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.input,)

    def shape(self, *sources: Shape) -> Shape:
        if math.prod(sources[0]) != math.prod(self.to):
            raise ModelError(
                f"{self.name!r} makes the shape {list(self.to)} of {math.prod(sources[0])} values"
            )
        return self.to


@dataclass(frozen=True, kw_only=True)
class Transpose:
    """Axis k of the output is axis ``permutation[k]`` of the input."""

    kind: ClassVar[str] = "Transpose"

    name: str
    input: str
    output: str
    permutation: tuple[int, ...]
    out_quant: Quantization

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.input,)

    def shape(self, *sources: Shape) -> Shape:
        if sorted(self.permutation) != list(range(len(sources[0]))):
            raise ModelError(
                f"{self.name!r} permutes {list(self.permutation)}, its input has "
                f"{len(sources[0])} axes"
            )
        return tuple(sources[0][axis] for axis in self.permutation)


@dataclass(frozen=True, kw_only=True)
class Slice:
    """``counts[k]`` entries of axis k, from ``starts[k]`` on, ``steps[k]`` (not 0) apart."""

    kind: ClassVar[str] = "Slice"

    name: str
    input: str
    output: str
    starts: tuple[int, ...]
    steps: tuple[int, ...]
    counts: tuple[int, ...]
    out_quant: Quantization

    def __post_init__(self) -> None:
        if not len(self.starts) == len(self.steps) == len(self.counts):
            raise ModelError(f"{self.name!r} needs a start, a step and a count for each axis")

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.input,)

    def shape(self, *sources: Shape) -> Shape:
        if len(sources[0]) != len(self.counts):
            raise ModelError(
                f"{self.name!r} cuts {len(self.counts)} axes, its input has {len(sources[0])}"
            )
        axes = zip(sources[0], self.starts, self.steps, self.counts, strict=True)
        for size, start, step, count in axes:
            last = start + step * (count - 1)
            if not step or count < 1 or not 0 <= start < size or not 0 <= last < size:
                raise ModelError(f"{self.name!r} leaves its input of shape {list(sources[0])}")
        return self.counts


@dataclass(frozen=True, eq=False, kw_only=True)
class Concat:
    """Sources one after another along an axis, each through its table if it has one."""

    kind: ClassVar[str] = "Concat"

    name: str
    sources: tuple[str, ...]
    output: str
    axis: int
    tables: tuple[NDArray[np.uint8] | None, ...]
    out_quant: Quantization

    def __post_init__(self) -> None:
        if not self.sources or len(self.sources) != len(self.tables):
            raise ModelError(
                f"Layer {self.name!r} needs a table or None for each of its {len(self.sources)} "
                f"sources, at least one, not {len(self.tables)}"
            )
        for table in self.tables:
            if table is not None:
                check_arrays(self.name, {"table": (table, np.uint8, (256,))})

    def shape(self, *sources: Shape) -> Shape:
        first = sources[0]
        rest = {s[: self.axis] + s[self.axis + 1 :] for s in sources}
        if not 0 <= self.axis < len(first) or len(rest) != 1:
            raise ModelError(
                f"{self.name!r} joins shapes {[list(s) for s in sources]} along axis {self.axis}"
            )
        joined = sum(s[self.axis] for s in sources)
        return (*first[: self.axis], joined, *first[self.axis + 1 :])


@dataclass(frozen=True, kw_only=True)
class Pad:
    """``before[k]`` and ``after[k]`` entries of ``code`` around axis k."""

    kind: ClassVar[str] = "Pad"

    name: str
    input: str
    output: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    code: int
    out_quant: Quantization

    def __post_init__(self) -> None:
        check_at_least(self.name, "before", self.before, 0)
        check_at_least(self.name, "after", self.after, 0)
        check_range(self.name, "code", (self.code,), 0, 255)

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.input,)

    def shape(self, *sources: Shape) -> Shape:
        if not len(sources[0]) == len(self.before) == len(self.after):
            raise ModelError(
                f"{self.name!r} pads {len(self.before)} axes, its input has {len(sources[0])}"
            )
        axes = zip(sources[0], self.before, self.after, strict=True)
        return tuple(size + before + after for size, before, after in axes)
