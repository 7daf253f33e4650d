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
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arch.errors import InputError
from ..behavioral.golden import run_network, tensor_codes
from .cause import find_cause
from .codes import Codes, check_data, input_codes, quantize
from .compare import (
    CLOCKED,
    KNOWN,
    LEVELS,
    LevelRun,
    Tensors,
    against,
    compare_counters,
    correct,
    is_ideal,
)
from .compiler.network import CompiledNetwork
from .graph import Network, Quantization
from .link.transport import check_device
from .mesh_compare import compare_mesh
from .reference import OnnxReference
from .report import CounterReport, FloatResult, Report
from .serial_address import SIMULATED, parse_target
from .targets import connect
from .tensorfiles import TensorFiles, check_folder

__all__ = ["LEVELS", "check_levels", "check_samples", "check_target", "is_ideal", "verify"]

_BATCH = 50
"""Samples between two comparisons: bounds memory and moves the progress bar."""

_BATCH_VALUES = 1 << 24
"""Values of all tensors between two comparisons, where samples are large."""

Progress = Callable[[str, int, int], None]


def check_levels(levels: Sequence[str]) -> tuple[str, ...]:
    """Known levels, each once, in the order in which they are compared.

    Raises
    ------
    InputError
        If one is unknown or none is given.
    """
    for level in levels:
        if level not in KNOWN:
            raise InputError(
                f"There is no level '{level}'; choose from {', '.join(KNOWN)}, separated by commas"
            )
    chosen = tuple(level for level in KNOWN if level in levels)
    if not chosen:
        raise InputError(f"No level was given; choose from {', '.join(KNOWN)}")
    return chosen


def check_target(levels: Sequence[str], target: str | None, resume: bool = False) -> None:
    """The board of level serial is named, and no other; only a board is resumed.

    Raises
    ------
    InputError
        If it is not, or in another form than ``serial:/dev/ttyUSB0``, or there is no such port.
    """
    if resume and target is None:
        raise InputError("Only the board of level serial is resumed; name it, or leave resume out")
    address = None if target is None else parse_target(target)
    if (target is None) == ("serial" in levels):
        raise InputError(
            "Level serial needs to be told its board, as --target serial:/dev/ttyUSB0, or "
            "--target serial:simulated"
            if target is None
            else f"The target {target} is only used by level serial: add it to the levels"
        )
    if address is not None and address.device != SIMULATED:
        check_device(address.device)  # told before anything is compiled


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


class _Float:
    """ONNX Runtime while it runs, compared with golden's codes."""

    def __init__(self, reference: OnnxReference, network: Network) -> None:
        self._reference = reference
        self._network = network
        self._seconds = 0.0
        self._correct = 0
        self._codes = 0
        self._differing = 0
        self._max_lsb = 0
        self._first: tuple[str, int] | None = None
        self._compared: set[str] = set()
        self._unmatched: set[str] = set()
        self.current: Tensors = {}
        """Codes of the last samples, by ONNX name."""

    def run(
        self,
        samples: Mapping[str, NDArray[np.float32]],
        y: NDArray[np.int64] | None,
        codes: Mapping[str, Codes],
        golden: Tensors | None,
        start: int,
    ) -> None:
        begin = time.perf_counter()
        result = self._reference.run(samples)
        self._seconds += time.perf_counter() - begin
        self.current = dict(result.codes)
        if y is not None:
            self._correct += correct(result.output, y, bool(self._network.states))
        if golden is None:
            return
        ours = self._ours(codes, golden, result.codes)
        self._compared.update(name for name, _, _ in ours)
        self._unmatched = set(result.codes) - self._compared
        for name, quant, mine in ours:
            theirs = quant.from_onnx_codes(result.codes[name]).reshape(mine.shape)
            distance = np.abs(theirs.astype(np.int64) - mine.astype(np.int64))
            self._codes += distance.size
            self._differing += int((distance != 0).sum())
            self._max_lsb = max(self._max_lsb, int(distance.max()))
            if self._first is None and distance.any():
                sample = int(distance.reshape(len(distance), -1).any(axis=1).argmax())
                self._first = (name, start + sample)

    def _ours(
        self, codes: Mapping[str, Codes], golden: Tensors, wanted: Mapping[str, NDArray[Any]]
    ) -> list[tuple[str, Quantization, NDArray[Any]]]:
        """Golden's codes of the quantized tensors of the ONNX model, in its order."""
        network = self._network
        if any(getattr(layer, "table", None) is not None for layer in network.layers):
            golden = run_network(network, codes)  # with the codes before each table
        found: dict[str, tuple[Quantization, NDArray[Any]]] = {}
        for layer in network.layers:
            before: str | None = getattr(layer, "pre_output", None)
            quant: Quantization | None = getattr(layer, "pre_quant", None)
            codes_before = golden.get(f"{layer.name}.pre")
            if before is not None and quant is not None and codes_before is not None:
                found[before] = (quant, codes_before)
        made = [layer.output for layer in network.layers if layer.kind != "Constant"]
        entries = [entry.tensor for entry in network.inputs]
        known = {*entries, *made}
        # A tensor quantized as its source is, behind a reshape say, is one tensor in the network.
        ours = {
            name: next((n for n in (name, self._reference.sources.get(name)) if n in known), None)
            for name in wanted
        }
        names = [name for name in dict.fromkeys(ours.values()) if name is not None]
        arrays = tensor_codes(network, golden, names, codes)
        for name, own in ours.items():
            if own is not None:
                found[name] = (network.quant(own), arrays[own])
        return [(name, *found[name]) for name in wanted if name in found]

    def result(self, labels: int | None) -> FloatResult:
        return FloatResult(
            runtime="ONNX Runtime",
            accuracy=None if labels is None else self._correct / labels,
            seconds=self._seconds,
            codes=self._codes,
            differing=self._differing,
            max_lsb=self._max_lsb,
            exact=not self._network.notes,
            first=self._first,
            tensors=len(self._compared),
            unmatched=tuple(sorted(self._unmatched)),
        )


def _notes(levels: Sequence[str], ideal: bool, device: str) -> list[str]:
    """What the levels chosen leave unchecked."""
    clocked = [level for level in levels if level in CLOCKED]
    if clocked and not ideal and "fast" not in levels:
        return [
            f"with device {device}, {clocked[0]} must equal fast, which did not run: add fast "
            f"to the levels"
        ]
    return []


def _check_traced(compiled: CompiledNetwork) -> None:
    """Refuse a network whose sums do not come back."""
    if not compiled.trace:
        raise InputError(
            f"Network '{compiled.network.name}' was compiled without trace, so its tensors do not "
            f"come back; compile it with trace=True"
        )


def _batch(network: Network, steps: int) -> int:
    """Samples that are compared at a time."""
    values = sum(math.prod(network.shape(layer.output)) for layer in network.layers) * steps
    return max(1, min(_BATCH, _BATCH_VALUES // max(1, values)))


def verify(
    compiled: CompiledNetwork,
    x: ArrayLike | Mapping[str, ArrayLike],
    y: ArrayLike | None = None,
    *,
    levels: Sequence[str] = LEVELS,
    model: str | Path | None = None,
    states: Mapping[str, str] = MappingProxyType({}),
    progress: Progress | None = None,
    age: float = 0.0,
    temperature: float | None = None,
    trace: str | Path | None = None,
    target: str | None = None,
    resume: bool = False,
) -> Report:
    """Run samples through several levels and compare every tensor.

    Parameters
    ----------
    compiled : CompiledNetwork
        Compiled with ``trace``, so that every tensor comes back.
    x : float32 [n, \\*input_shape], or mapping of str to such
        Samples as the model's float inputs, by name where there are several; with states
        [n, steps, \\*shape].
    y : int64 [n], optional
        Class of each sample, for the accuracy; with states that of the last step, or [n, steps].
    levels : sequence of str
        Some of :data:`LEVELS`.
    model : str or Path, optional
        The ONNX file; if given, and ONNX Runtime is installed, it is the float level.
    states : mapping of str to str, optional
        Inputs of the ONNX model that are kept, and the outputs that feed them.
    progress : callable, optional
        Called as ``progress(what, done, total)`` while it runs.
    age : float
        Seconds that pass between writing the arrays and the first sample.
    temperature : float, optional
        Kelvin, in that time and from then on; that of the device if absent.
    trace : str or Path, optional
        A folder: every tensor of every level is saved there, and the first difference that there
        must not be is replayed, explained and shown as waves (:mod:`.cause`).
    target : str, optional
        The board of level serial, as ``serial:/dev/ttyUSB0``; or ``serial:simulated``.
    resume : bool
        Whether a board that is reset or unplugged meanwhile is waited for, and its runs repeated
        (:func:`.targets.connect`).

    Raises
    ------
    InputError
        If a level is unknown, samples or labels do not fit the network, age or temperature cannot
        be, or the folder cannot be written.
    ToolError
        If a target cannot be built or fails.
    """
    chosen = check_levels(levels)
    check_target(chosen, target, resume)
    network = compiled.network
    samples, labels = check_data(network, x, y)
    _check_traced(compiled)
    folder = None if trace is None else check_folder(Path(trace), "trace folder")
    ideal = is_ideal(compiled)
    tell = progress or (lambda what, done, total: None)
    notes = [*network.notes, *_notes(chosen, ideal, compiled.device.name)]
    reference, missing = None, ""
    if model is not None and find_spec("onnxruntime") is None:
        missing = "ONNX Runtime is not installed: pip install 'ohmtwin[reference]'"
    elif model is not None:
        reference = _Float(OnnxReference(model, states), network)
    bound = 0
    first = next(iter(samples.values()))
    count = len(first)
    batch = _batch(network, first.shape[1] if network.states else 1)
    with ExitStack() as stack:
        running = [
            LevelRun(
                name,
                stack.enter_context(
                    connect(str(target), compiled, tell, resume=resume)
                    if name == "serial"
                    else connect(name, compiled, tell)
                ),
                *against(name, chosen, ideal),
            )
            for name in chosen
        ]
        # Once all levels are there: a board that is not leaves nothing behind.
        files = None if folder is None else stack.enter_context(TensorFiles(folder, count))
        by_name = {level.name: level for level in running}
        if age or temperature is not None:
            for level in running:
                level.target.advance(seconds=age, temperature=temperature)
        counting = by_name.get(next((n for n in CLOCKED if n in by_name), "fast"))
        for start in range(0, count, batch):
            part = {name: array[start : start + batch] for name, array in samples.items()}
            size = len(next(iter(part.values())))
            part_y = None if labels is None else labels[start : start + batch]
            codes = input_codes(network, quantize(network, part))
            if files is not None:
                files.add("input", start, codes)
            for level in running:
                tell(level.name, start, count)
                level.run(codes)
                level.score(network, part_y)
                if files is not None:
                    files.add(level.name, start, level.current)
                if level.against is not None:
                    new = level.compare(compiled, by_name[level.against].current, start)
                    replay = new and level.required and len(compiled.parts) == 1
                    if replay and folder is not None and level.first is not None:
                        tell("explaining the first difference", 0, 0)
                        cause = find_cause(
                            level, by_name[level.against], codes, level.first, start, folder, tell
                        )
                        level.first = dataclasses.replace(level.first, cause=cause)
                tell(level.name, start + size, count)
            if reference is not None:
                golden = by_name["golden"].current if "golden" in by_name else None
                reference.run(part, part_y, codes, golden, start)
                if files is not None:
                    files.add("float", start, reference.current)
                tell("float", start + size, count)
            if counting is not None:
                bound += compiled.reads_bound(codes, counting.current)
        counters: CounterReport | None = None
        more: list[CounterReport] = []
        fast = by_name["fast"].target.counters if "fast" in by_name else None
        if counting is not None and (found := counting.target.counters) is not None:
            counters = compare_counters(counting.name, found, fast, bound)
            for level in running:
                if level.name in CLOCKED and level is not counting:
                    found = level.target.counters
                    if found is not None:
                        more.append(compare_counters(level.name, found, fast, bound))
        mesh = compare_mesh(
            compiled.mesh,
            {level.name: level.target.mesh_counters for level in running},
            None if counting is None else counting.name,
        )
    marks = None if labels is None else labels.size
    return Report(
        model=network.name,
        chip=compiled.chip.name,
        device=compiled.device.name,
        seed=compiled.seed,
        samples=count,
        schedule=str(compiled.chip.row_schedule),
        rows_per_read=compiled.chip.rows_per_read,
        levels={level.name: level.result(marks) for level in running},
        reference=None if reference is None else reference.result(marks),
        reference_missing=missing,
        counters=counters,
        more_counters=tuple(more),
        mesh=mesh,
        notes=tuple(notes),
    )
