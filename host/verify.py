# SPDX-License-Identifier: Apache-2.0
"""Run one network at several levels and compare every tensor (DESIGN section 1).

What must be equal: with ideal arrays golden, fast and every clocked level; with any device fast and
every clocked level, their counters included. The rest is information: what the device does to the
codes (golden against fast), and how far golden is from ONNX Runtime, which counts as a difference
unless the importer has noted that the model is not computed in integers there.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arch.errors import InputError, ToolError
from ..arch.formats import FRACTION_BITS
from ..behavioral.golden import run_network
from ..behavioral.machine import Counters
from .compiler.network import CompiledNetwork
from .graph import Network, Quantization
from .reference import OnnxReference
from .report import CounterReport, Divergence, FloatResult, LevelResult, Report
from .targets import Target, connect

__all__ = ["LEVELS", "check_levels", "check_samples", "is_ideal", "verify"]

LEVELS = ("golden", "fast", "verilator")
"""Levels that can be compared, each with those before it."""

CLOCKED = ("verilator",)

_BATCH = 50
"""Samples between two comparisons: bounds memory and moves the progress bar."""

Progress = Callable[[str, int, int], None]
Tensors = dict[str, NDArray[Any]]


def check_levels(levels: Sequence[str]) -> tuple[str, ...]:
    """Known levels, each once, in the order in which they are compared.

    Raises
    ------
    InputError
        If one is unknown or none is given.
    """
    for level in levels:
        if level not in LEVELS:
            raise InputError(
                f"There is no level '{level}'; choose from {', '.join(LEVELS)}, separated by commas"
            )
    chosen = tuple(level for level in LEVELS if level in levels)
    if not chosen:
        raise InputError(f"No level was given; choose from {', '.join(LEVELS)}")
    return chosen


def check_samples(samples: int | None, available: int) -> int:
    """How many samples to run; None is all of them.

    Raises
    ------
    InputError
        If it is not between 1 and what the data has.
    """
    if samples is None:
        return available
    if not 1 <= samples <= available:
        raise InputError(
            f"The number of samples must be 1 to {available}, as many as the data has, "
            f"not {samples}"
        )
    return samples


def is_ideal(compiled: CompiledNetwork) -> bool:
    """Whether every array holds exactly its levels, without noise, leakage or a bent ADC."""
    for spec, image in zip(compiled.program.arrays, compiled.images, strict=True):
        exact = spec.levels.astype(np.int32) << FRACTION_BITS
        noisy = image.q is not None or image.v0 or image.v1 or image.adc_table is not None
        if noisy or image.ref.any() or not np.array_equal(image.g, exact):
            return False
    return True


def _against(level: str, levels: Sequence[str], ideal: bool) -> tuple[str | None, bool]:
    """The level to compare with, and whether the contract demands that both are equal."""
    if level == "golden":
        return None, False
    if level == "fast":
        return ("golden", ideal) if "golden" in levels else (None, False)
    if "fast" in levels:
        return "fast", True
    return ("golden", ideal) if "golden" in levels else (None, False)


def _diverge(
    compiled: CompiledNetwork, expected: Tensors, got: Tensors, names: Sequence[str], start: int
) -> Divergence | None:
    """The first difference: earliest sample, then first tensor of the network, then index."""
    first: dict[str, int] = {}
    for name in names:
        wrong = (expected[name] != got[name]).reshape(len(got[name]), -1).any(axis=1)
        if wrong.any():
            first[name] = int(wrong.argmax())
    if not first:
        return None
    sample = min(first.values())
    tensor = next(name for name in names if first.get(name) == sample)
    a, b = expected[tensor][sample].ravel(), got[tensor][sample].ravel()
    index = int((a != b).argmax())
    want, have = int(a[index]), int(b[index])
    mapped = compiled.layer_of(tensor)
    return Divergence(
        sample=start + sample,
        layer=mapped.layer.name,
        tensor=tensor,
        index=index,
        tile=0,
        cores=mapped.cores_of_output(index),
        expected=want,
        got=have,
        bit=((want ^ have) & -(want ^ have)).bit_length() - 1,
    )


class _Level:
    """A level while it runs."""

    def __init__(self, name: str, target: Target, against: str | None, required: bool) -> None:
        self.name = name
        self.target = target
        self.against = against
        self.required = required
        self.current: Tensors = {}
        self.seconds = 0.0
        self._values = 0
        self._tensors = 0
        self._mismatches = 0
        self._correct = 0
        self._first: Divergence | None = None

    def run(self, codes: NDArray[np.uint8]) -> None:
        begin = time.perf_counter()
        self.current = dict(self.target.run(codes))
        self.seconds += time.perf_counter() - begin

    def compare(self, compiled: CompiledNetwork, other: Tensors, start: int) -> None:
        """Count what differs from the level compared with."""
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
        if self._first is None:
            self._first = _diverge(compiled, other, self.current, names, start)

    def score(self, compiled: CompiledNetwork, y: NDArray[np.int64] | None) -> None:
        """Count values, and the samples whose largest output code stands at their label."""
        self._tensors = len(self.current)
        self._values += sum(array.size for array in self.current.values())
        if y is not None:
            self._correct += _correct(self.current[_output_tensor(compiled)], y)

    def result(self, samples: int | None) -> LevelResult:
        """What was found; ``samples`` is None without labels."""
        return LevelResult(
            name=self.name,
            accuracy=None if samples is None else self._correct / samples,
            seconds=self.seconds,
            tensors=self._tensors,
            values=self._values,
            against=self.against,
            required=self.required,
            mismatches=self._mismatches,
            first_divergence=self._first,
        )


class _Float:
    """ONNX Runtime while it runs, compared with golden's codes."""

    def __init__(self, reference: OnnxReference, compiled: CompiledNetwork) -> None:
        self._reference = reference
        self._compiled = compiled
        self._seconds = 0.0
        self._correct = 0
        self._codes = 0
        self._differing = 0
        self._max_lsb = 0

    def run(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int64] | None,
        codes: NDArray[np.uint8],
        golden: Tensors | None,
    ) -> None:
        begin = time.perf_counter()
        result = self._reference.run(x)
        self._seconds += time.perf_counter() - begin
        if y is not None:
            self._correct += _correct(result.output, y)
        if golden is None:
            return
        network = self._compiled.network
        if any(layer.table is not None for layer in network.layers):
            golden = run_network(network, codes)  # with the codes before each table
        ours: list[tuple[str, Quantization, NDArray[Any]]] = [
            (network.input_name, network.input_quant, codes)
        ]
        for layer in network.layers:
            ours.append((layer.output, layer.out_quant, golden[layer.name]))
            before = golden.get(f"{layer.name}.pre")
            if layer.pre_output is not None and layer.pre_quant is not None and before is not None:
                ours.append((layer.pre_output, layer.pre_quant, before))
        for name, quant, mine in ours:
            if name in result.codes:
                theirs = quant.from_onnx_codes(result.codes[name]).reshape(mine.shape)
                distance = np.abs(theirs.astype(np.int64) - mine.astype(np.int64))
                self._codes += distance.size
                self._differing += int((distance != 0).sum())
                self._max_lsb = max(self._max_lsb, int(distance.max()))

    def result(self, samples: int | None) -> FloatResult:
        return FloatResult(
            runtime="ONNX Runtime",
            accuracy=None if samples is None else self._correct / samples,
            seconds=self._seconds,
            codes=self._codes,
            differing=self._differing,
            max_lsb=self._max_lsb,
            exact=not self._compiled.network.notes,
        )


def _correct(scores: NDArray[Any], y: NDArray[np.int64]) -> int:
    """Samples whose largest score stands at their label."""
    return int((scores.reshape(len(y), -1).argmax(axis=1) == y).sum())


def _output_tensor(compiled: CompiledNetwork) -> str:
    """Name of the layer that gives the network's output."""
    network = compiled.network
    return next(layer.name for layer in network.layers if layer.output == network.output_name)


def check_data(
    network: Network, x: ArrayLike, y: ArrayLike | None
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Samples as float32 [n, \\*input_shape] and labels as int64 [n].

    Raises
    ------
    InputError
        If they do not fit the network or each other, or a value is not finite.
    """
    samples = np.asarray(x, dtype=np.float32)
    shape = network.input_shape
    if samples.ndim < 1 or not len(samples) or samples.size != len(samples) * math.prod(shape):
        raise InputError(
            f"Network '{network.name}' takes samples of shape {['n', *shape]}, "
            f"not {list(samples.shape)}"
        )
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).reshape(len(samples), -1).any(axis=1).argmax())
        raise InputError(f"Sample {bad} holds NaN or infinite values; remove it")
    samples = samples.reshape(len(samples), *shape)
    if y is None:
        return samples, None
    labels = np.asarray(y, dtype=np.int64)
    if labels.shape != (len(samples),):
        raise InputError(
            f"The labels have the shape {list(labels.shape)}, one a sample are needed: "
            f"[{len(samples)}]"
        )
    outputs = next(la.outputs for la in network.layers if la.output == network.output_name)
    if labels.max() >= outputs or labels.min() < 0:
        raise InputError(
            f"The labels hold classes {int(labels.min())} to {int(labels.max())}, but network "
            f"'{network.name}' tells 0 to {outputs - 1} apart; correct y or leave it out"
        )
    return samples, labels


def _notes(levels: Sequence[str], ideal: bool, device: str) -> list[str]:
    """What the levels chosen leave unchecked."""
    clocked = [level for level in levels if level in CLOCKED]
    if clocked and not ideal and "fast" not in levels:
        return [
            f"with device {device}, {clocked[0]} must equal fast, which did not run: add fast "
            f"to the levels"
        ]
    return []


def _flat(counters: Counters) -> dict[str, int]:
    """Every counter by name; those of cores as ``core_reads[3]``."""
    flat: dict[str, int] = {}
    for entry in dataclasses.fields(counters):
        value = getattr(counters, entry.name)
        if isinstance(value, tuple):
            flat |= {f"{entry.name}[{core}]": int(count) for core, count in enumerate(value)}
        else:
            flat[entry.name] = int(value)
    return flat


def _count_up(
    level: str, counters: Counters, predicted: Counters | None, bound: int
) -> CounterReport:
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
            if key not in ("cycles", "lanes")
        },
        differing=tuple(
            (name, theirs.get(name, 0), ours.get(name, 0))
            for name in sorted({*ours, *theirs})
            if ours.get(name) != theirs.get(name)
        ),
    )


def verify(
    compiled: CompiledNetwork,
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    levels: Sequence[str] = LEVELS,
    model: str | Path | None = None,
    progress: Progress | None = None,
    age: float = 0.0,
    temperature: float | None = None,
) -> Report:
    """Run samples through several levels and compare every tensor.

    Parameters
    ----------
    compiled : CompiledNetwork
        Compiled with ``trace``, so that every tensor comes back.
    x : float32 [n, \\*input_shape]
        Samples as the model's float input.
    y : int64 [n], optional
        Class of each sample, for the accuracy.
    levels : sequence of str
        Some of :data:`LEVELS`.
    model : str or Path, optional
        The ONNX file; if given, and ONNX Runtime is installed, it is the float level.
    progress : callable, optional
        Called as ``progress(what, done, total)`` while it runs.
    age : float
        Seconds that pass between writing the arrays and the first sample.
    temperature : float, optional
        Kelvin, in that time and from then on; that of the device if absent.

    Raises
    ------
    InputError
        If a level is unknown, samples or labels do not fit the network, or age or temperature
        cannot be.
    ToolError
        If a target cannot be built or fails.
    """
    chosen = check_levels(levels)
    samples, labels = check_data(compiled.network, x, y)
    if {layer.name for layer in compiled.network.layers} - set(compiled.tensors):
        raise InputError(
            f"Network '{compiled.network.name}' was compiled without trace, so its tensors do not "
            f"come back; compile it with trace=True"
        )
    ideal = is_ideal(compiled)
    tell = progress or (lambda what, done, total: None)
    notes = [*compiled.network.notes, *_notes(chosen, ideal, compiled.device.name)]
    reference, missing = None, ""
    if model is not None and find_spec("onnxruntime") is None:
        missing = "ONNX Runtime is not installed: pip install 'ohmtwin[reference]'"
    elif model is not None:
        reference = _Float(OnnxReference(model), compiled)
    bound = 0
    with ExitStack() as stack:
        running = [
            _Level(
                name,
                stack.enter_context(connect(name, compiled, tell)),
                *_against(name, chosen, ideal),
            )
            for name in chosen
        ]
        by_name = {level.name: level for level in running}
        if age or temperature is not None:
            for level in running:
                level.target.advance(seconds=age, temperature=temperature)
        counting = by_name.get(next((n for n in CLOCKED if n in by_name), "fast"))
        for start in range(0, len(samples), _BATCH):
            part = samples[start : start + _BATCH]
            part_y = None if labels is None else labels[start : start + _BATCH]
            codes = compiled.network.quantize_input(part)
            for level in running:
                tell(level.name, start, len(samples))
                level.run(codes)
                level.score(compiled, part_y)
                if level.against is not None:
                    level.compare(compiled, by_name[level.against].current, start)
                tell(level.name, start + len(part), len(samples))
            if reference is not None:
                golden = by_name["golden"].current if "golden" in by_name else None
                reference.run(part, part_y, codes, golden)
                tell("float", start + len(part), len(samples))
            if counting is not None:
                bound += compiled.reads_bound(codes, counting.current)
        counters: CounterReport | None = None
        if counting is not None and (found := counting.target.counters) is not None:
            fast = by_name["fast"].target.counters if "fast" in by_name else None
            counters = _count_up(counting.name, found, fast, bound)
    count = None if labels is None else len(samples)
    return Report(
        model=compiled.network.name,
        chip=compiled.chip.name,
        device=compiled.device.name,
        seed=compiled.seed,
        samples=len(samples),
        schedule=str(compiled.chip.row_schedule),
        rows_per_read=compiled.chip.rows_per_read,
        levels={level.name: level.result(count) for level in running},
        reference=None if reference is None else reference.result(count),
        reference_missing=missing,
        counters=counters,
        notes=tuple(notes),
    )
