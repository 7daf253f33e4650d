# SPDX-License-Identifier: Apache-2.0
"""What two levels returned, held against each other."""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import ToolError
from ..arch.formats import FRACTION_BITS
from ..behavioral.golden import output_codes
from ..behavioral.machine import Counters
from .codes import Codes
from .compiler.network import CompiledNetwork
from .graph import Network
from .report import CounterReport, Divergence, LevelResult
from .targets import Target

__all__ = [
    "CLOCKED",
    "KNOWN",
    "LEVELS",
    "LevelRun",
    "Tensors",
    "against",
    "compare_counters",
    "correct",
    "is_ideal",
    "locate",
]

LEVELS = ("golden", "fast", "verilator")
"""Levels that are compared if none are named, each with those before it."""

CLOCKED = ("verilator", "netlist", "serial")

KNOWN = ("golden", "fast", *CLOCKED)
"""All levels, in the order in which they are compared."""

Tensors = dict[str, NDArray[Any]]


def is_ideal(compiled: CompiledNetwork) -> bool:
    """Whether every array holds exactly its levels, without noise, leakage or a bent ADC."""
    for part in compiled.parts:
        for spec, image in zip(part.program.arrays, part.images, strict=True):
            exact = spec.levels.astype(np.int32) << FRACTION_BITS
            noisy = image.q is not None or image.v0 or image.v1 or image.adc_table is not None
            if noisy or image.ref.any() or not np.array_equal(image.g, exact):
                return False
    return True


def against(level: str, levels: Sequence[str], ideal: bool) -> tuple[str | None, bool]:
    """The level to compare with, and whether the contract demands that both are equal."""
    if level == "golden":
        return None, False
    if level == "fast":
        return ("golden", ideal) if "golden" in levels else (None, False)
    if "fast" in levels:
        return "fast", True
    return ("golden", ideal) if "golden" in levels else (None, False)


def correct(scores: NDArray[Any], y: NDArray[np.int64], steps: bool) -> int:
    """Samples whose largest score stands at their label; steps, where each has a label.

    ``scores`` are [n, \\*shape]; with ``steps`` [n, steps, \\*shape], whose last step counts if
    ``y`` is [n].
    """
    if steps and y.ndim == 1:
        scores = scores[:, -1]
    flat = scores.reshape(*y.shape, math.prod(scores.shape[y.ndim :]))
    return int((flat.argmax(axis=-1) == y).sum())


def _cores(
    compiled: CompiledNetwork, name: str, position: tuple[int, ...], sample: int = 0
) -> tuple[int, ...]:
    """The arrays whose sums make up a value of a layer, none if it has none.

    ``position`` is that in the layer's tensor, without steps; ``sample`` counts all that have run.
    """
    layer = next((la for la in compiled.network.layers if la.name == name), None)
    if layer is None or layer.kind not in ("Dense", "Conv"):
        return ()
    # Outputs are the last axis of Dense, and the channels of Conv.
    output = position[0] if layer.kind == "Conv" else position[-1]
    for piece in () if compiled.partition is None else compiled.partition.pieces:
        if piece.origin.name == name and piece.outputs is not None and output in piece.outputs:
            name, output = piece.layer.name, output - piece.outputs.start
            break
    mapped = next((m for m in compiled.mapping.layers if m.layer.name == name), None)
    if mapped is None:
        return ()
    moved = compiled.first_array(name, sample) - compiled.first_array(name, 0)
    number = compiled.chip.array_number
    return tuple(number(b.core, b.array) + moved for b in mapped.blocks_of_output(output))


def locate(
    compiled: CompiledNetwork, expected: Tensors, got: Tensors, names: Sequence[str], start: int
) -> Divergence | None:
    """The first difference: earliest sample, earliest step, then first tensor, then index."""
    lead = 2 if compiled.network.states else 1
    first: dict[str, int] = {}
    for name in names:
        front = math.prod(got[name].shape[:lead])
        wrong = (expected[name] != got[name]).reshape(front, -1).any(axis=1)
        if wrong.any():
            first[name] = int(wrong.argmax())
    if not first:
        return None
    place = min(first.values())
    tensor = next(name for name in names if first.get(name) == place)
    shape = got[tensor].shape
    sample, *step = (int(i) for i in np.unravel_index(place, shape[:lead]))
    a, b = (side[tensor][(sample, *step)].ravel() for side in (expected, got))
    index = int((a != b).argmax())
    position = tuple(int(i) for i in np.unravel_index(index, shape[lead:]))
    want, have = int(a[index]), int(b[index])
    layer = tensor.removesuffix(".acc")
    cores = _cores(compiled, layer, position, start + sample)
    return Divergence(
        sample=start + sample,
        layer=layer,
        tensor=tensor,
        index=index,
        position=position,
        step=step[0] if step else None,
        tile=cores[0] // compiled.chip.arrays if cores else 0,
        cores=cores,
        expected=want,
        got=have,
        bit=((want ^ have) & -(want ^ have)).bit_length() - 1,
    )


class LevelRun:
    """A level while it runs."""

    def __init__(self, name: str, target: Target, other: str | None, required: bool) -> None:
        self.name = name
        self.target = target
        self.against = other
        self.required = required
        self.current: Tensors = {}
        self.seconds = 0.0
        self.first: Divergence | None = None
        self.begun: dict[int, int] = {}
        """Read numbers of the arrays before the current samples, and of ``first`` before its."""
        self._values = 0
        self._tensors = 0
        self._mismatches = 0
        self._correct = 0

    def run(self, codes: Mapping[str, Codes]) -> None:
        """Run samples; the tensors are then :attr:`current`."""
        if self.first is None:
            self.begun = {core: array.reads for core, array in self.target.crossbars().items()}
        begin = time.perf_counter()
        self.current = dict(self.target.run(codes))
        self.seconds += time.perf_counter() - begin

    def compare(self, compiled: CompiledNetwork, other: Tensors, start: int) -> bool:
        """Count what differs from the level compared with; whether the first difference is new."""
        names = [name for name in compiled.tensors if name in other and name in self.current]
        for name in names:
            mine, theirs = self.current[name], other[name]
            if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
                raise ToolError(
                    f"Level {self.name} returned tensor {name} as {mine.dtype} "
                    f"{list(mine.shape)}, level {self.against} as {theirs.dtype} "
                    f"{list(theirs.shape)}"
                )
            self._mismatches += int((mine != theirs).sum())
        if self.first is not None:
            return False
        self.first = locate(compiled, other, self.current, names, start)
        return self.first is not None

    def score(self, network: Network, y: NDArray[np.int64] | None) -> None:
        """Count values, and the samples whose largest output code stands at their label."""
        self._tensors = len(self.current)
        self._values += sum(array.size for array in self.current.values())
        if y is not None:
            codes = output_codes(network, self.current, network.output_name)
            self._correct += correct(codes, y, bool(network.states))

    def result(self, labels: int | None) -> LevelResult:
        """What was found; ``labels`` is None without labels."""
        return LevelResult(
            name=self.name,
            accuracy=None if labels is None else self._correct / labels,
            seconds=self.seconds,
            tensors=self._tensors,
            values=self._values,
            against=self.against,
            required=self.required,
            mismatches=self._mismatches,
            first_divergence=self.first,
        )


def _flat(counters: Counters) -> dict[str, int]:
    """Every counter by name; those of cores as ``core_reads[3]``."""
    flat: dict[str, int] = {}
    for entry in dataclasses.fields(counters):
        if not entry.compare:
            continue
        value = getattr(counters, entry.name)
        if isinstance(value, tuple):
            flat |= {f"{entry.name}[{core}]": int(count) for core, count in enumerate(value)}
        else:
            flat[entry.name] = int(value)
    return flat


def compare_counters(
    level: str, counters: Counters, predicted: Counters | None, bound: int
) -> CounterReport:
    """Counters of a level, and which of them fast predicts wrongly."""
    ours = _flat(counters)
    theirs = ours if predicted is None else _flat(predicted)
    return CounterReport(
        level=level,
        cycles=counters.cycles,
        reads=counters.reads,
        conversions=counters.conversions,
        adc_busy=counters.adc_busy,
        reads_bound=bound,
        predicted=predicted is not None,
        details={
            key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(counters).items()
            if key not in ("cycles", "lanes") and value != ()
        },
        differing=tuple(
            (name, theirs.get(name, 0), ours.get(name, 0))
            for name in sorted({*ours, *theirs})
            if ours.get(name) != theirs.get(name)
        ),
    )
