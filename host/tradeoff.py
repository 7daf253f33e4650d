# SPDX-License-Identifier: Apache-2.0
"""What the options of a chip cost and gain: accuracy against cycles, events and gates.

Every point of the plan is compiled and run at the fast level, whose counters are those of the RTL;
its events are counted, not modelled, so a price list of anyone's own turns them into energy.
"""

import os
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.chip import Chip, chip_names, load_chip
from ..arch.errors import CapacityError, InputError
from ..behavioral import devices, golden
from ..behavioral.devices import Device
from ..behavioral.golden import output_codes
from ..behavioral.machine_steps import Control, Kind
from ..behavioral.machine_trace import trace_pass
from ..behavioral.program import TileProgram
from .codes import check_data, quantize
from .compare import correct
from .compiler.network import MAX_SEED, CompiledNetwork, compile_network
from .compiler.partition import MAX_TILES
from .dataset import load_dataset
from .graph import Network, lower_softmax
from .importer.network import load_network
from .toolchain import Progress
from .tradeoff_points import Point, apply_chip, apply_device
from .tradeoff_report import Gates, Measured, TradeoffReport
from .verilating import silent

__all__ = ["Job", "moved_words", "tradeoff"]

_WORDS = {Kind.LOAD: -1, Kind.VEC: -1, Kind.RECV: 0, Kind.SEND: 0}
"""Steps that move words of data memory, one a cycle: what to add to their cycles."""


_WRITER = ("writer_lut", "writer_ff", "writer_bram", "writer_dsp")


@dataclass(frozen=True)
class Job:
    """What all points have in common.

    Parameters
    ----------
    model, data : Path
    samples : int or None
        The first so many; None: all.
    chip : str
        Name, file, or ``auto``: at each point the smallest standard chip that holds the network.
    device : str
    seeds : tuple of int
    states : mapping of str to str
    """

    model: Path
    data: Path
    samples: int | None
    chip: str
    device: str
    seeds: tuple[int, ...]
    states: Mapping[str, str]


def moved_words(program: TileProgram) -> int:
    """Words of data memory that a sample reads and writes; a REQ writes one an accumulator word.

    Raises
    ------
    ProgramError
        If the program is bad.
    """
    start = Control.reset(program.chip)
    waiting = trace_pass(program, start, first=True).after(start)
    steps = trace_pass(program, waiting, first=False).steps
    words = sum(
        int(steps["cycles"][steps["kind"] == kind].sum())
        + more * int(np.count_nonzero(steps["kind"] == kind))
        for kind, more in _WORDS.items()
    )
    return words + int(steps["runs"][steps["kind"] == Kind.REQ].sum())


class _Bench:
    """Network and samples, read once a process."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.network: Network = load_network(job.model, states=dict(job.states))
        dataset = load_dataset(job.data, self.network)
        if job.samples is not None:
            if not 1 <= job.samples <= len(dataset):
                raise InputError(
                    f"--samples must be 1 to {len(dataset)}, as many as the data has, not "
                    f"{job.samples}"
                )
            dataset = dataset.head(job.samples)
        if dataset.y is None:
            raise InputError(
                f"{job.data} holds no labels; a trade-off needs an accuracy, so add y, a class a "
                "sample"
            )
        x, y = check_data(self.network, dataset.inputs, dataset.y)
        if y is None:
            raise ValueError("labels were given, yet there are none")
        self.y: NDArray[np.int64] = y
        self.codes = quantize(self.network, x)
        self.samples = len(dataset)
        self.steps = dataset.x.shape[1] if self.network.states else None

    def score(self, tensors: Mapping[str, NDArray[Any]]) -> float:
        """Accuracy of the output."""
        codes = output_codes(self.network, tensors, self.network.output_name)
        return correct(codes, self.y, bool(self.network.states)) / self.y.size

    def golden(self) -> float:
        """Accuracy in exact integers."""
        return self.score(golden.run_network(lower_softmax(self.network), self.codes))

    def compile(self, point: Point, device: Device | str, seed: int) -> CompiledNetwork:
        """The network on the chip of a point."""
        auto = self.job.chip == "auto"
        names = chip_names() if auto else [self.job.chip]
        chips = [apply_chip(load_chip(name), point) for name in names]
        for chip in chips:
            try:
                return compile_network(
                    self.network,
                    chip=chip,
                    device=device,
                    seed=seed,
                    trace=False,
                    steps=self.steps,
                    # As --chip auto does elsewhere: where no tile is large enough, several are.
                    tiles=MAX_TILES if auto and chip is chips[-1] else None,
                )
            except CapacityError:
                if chip is chips[-1]:
                    raise
        raise ValueError("there is no chip")

    def run(self, compiled: CompiledNetwork) -> tuple[float, dict[str, float]]:
        """Accuracy at the fast level, and events a sample."""
        # Not imported above: it is where every level comes together.
        from .targets import FastTarget

        with FastTarget(compiled) as target:
            accuracy = self.score(target.run(self.codes))
            counters = target.counters
            driven = sum(array.driven for array in target.crossbars().values())
        if counters is None:
            raise ValueError("level fast counts, yet there are no counters")
        bits = compiled.chip.adc_bits
        found = {
            "cycles": counters.cycles,
            "reads": counters.reads,
            "rows_driven": driven,
            "beats": counters.beats,
            "conversions": counters.conversions,
            "adc_decisions": counters.conversions * bits,
        }
        # Events that only some chips count, whatever their names are.
        for name, value in vars(counters).items():
            event = name.removeprefix("core_")
            if isinstance(value, tuple) and value and event not in (*found, "active", "adc_stalls"):
                found[event] = sum(value)
        each = {name: value / self.samples for name, value in found.items()}
        each["words_moved"] = float(sum(moved_words(part.program) for part in compiled.parts))
        each["adc_busy"] = counters.adc_busy
        return accuracy, each

    def measure(self, point: Point) -> Measured:
        """All that level fast tells of a point, or why there is no such chip."""
        try:
            device = apply_device(self.job.device, point)
            ideal = self.compile(point, "ideal", self.job.seeds[0])
            runs = [self.run(self.compile(point, device, seed)) for seed in self.job.seeds]
        except InputError as error:
            return Measured(point, refused=str(error))
        each = {name: statistics.fmean(events[name] for _, events in runs) for name in runs[0][1]}
        return Measured(
            point,
            chip=ideal.chip,
            accuracies=tuple(accuracy for accuracy, _ in runs),
            ideal=self.run(ideal)[0],
            events=each,
        )


_bench: list[_Bench] = []
"""That of this process."""


def _start(job: Job) -> None:
    _bench[:] = [_Bench(job)]


def _measure(point: Point) -> Measured:
    return _bench[0].measure(point)


def _check(job: Job) -> None:
    if not job.seeds:
        raise InputError("--seeds names no seed; give one or more, separated by commas")
    for seed in job.seeds:
        if not 0 <= seed <= MAX_SEED:
            raise InputError(f"--seeds must be 0 to {MAX_SEED}, not {seed}")
        if job.seeds.count(seed) > 1:
            raise InputError(f"--seeds names {seed} twice; name each once")
    # What all points start from is no point's fault.
    if job.chip != "auto":
        load_chip(job.chip)
    devices.load(job.device)


def tradeoff(
    job: Job,
    points: Sequence[Point],
    *,
    gates: bool = True,
    jobs: int | None = None,
    progress: Progress = silent,
) -> TradeoffReport:
    """Measure points.

    Parameters
    ----------
    job : Job
    points : sequence of Point
    gates : bool
        Synthesize the core of every structure, unless the cache has it.
    jobs : int, optional
        Processes; by default as many as there are processors, at most 8.
    progress : callable

    Raises
    ------
    InputError
        If model, data or seeds cannot be used. A point that cannot be is no error: it says why.
    ToolError
        If Yosys is missing or fails.
    """
    _check(job)
    bench = _Bench(job)
    count = min(jobs or min(8, os.cpu_count() or 1), len(points))
    measured: list[Measured] = []

    def take(result: Measured) -> None:
        measured.append(result)
        progress("running points", len(measured), len(points))

    if count <= 1:
        for point in points:
            take(bench.measure(point))
    else:
        # Spawned, not forked: libraries may hold threads and locks.
        with ProcessPoolExecutor(count, get_context("spawn"), _start, (job,)) as pool:
            for result in pool.map(_measure, points):
                take(result)
    if gates:
        measured = _with_gates(measured, progress)
    return TradeoffReport(
        model=bench.network.name,
        device=job.device,
        samples=bench.samples,
        seeds=job.seeds,
        golden=bench.golden(),
        points=tuple(measured),
    )


def _with_gates(points: Sequence[Measured], progress: Progress) -> list[Measured]:
    """The points with the cells of their cores; one synthesis at a time, for each takes gigabytes
    of memory."""
    from ..fpga.core_cost import CoreCost, core_cost, plain_chip, writer_cost

    costs: dict[Chip, CoreCost] = {}
    wanted: list[Chip] = []
    pairs = []
    for point in points:
        chips = () if point.chip is None else (_core_of(point.chip), plain_chip(point.chip))
        pairs.append(tuple(None if chip is None else _core_of(chip) for chip in chips))
        wanted += [chip for chip in pairs[-1] if chip is not None and chip not in wanted]
    for number, chip in enumerate(wanted):
        progress("synthesizing cores", number, len(wanted))
        costs[chip] = core_cost(chip)
    writers = {
        chip: writer_cost(chip)
        for chip in (pair[0] for pair in pairs if pair)
        if chip is not None and chip.program_verify
    }
    progress("synthesizing cores", len(wanted), len(wanted))
    found = []
    for point, pair in zip(points, pairs, strict=True):
        if not pair or pair[0] is None:
            found.append(point)
            continue
        mine = costs[pair[0]]
        plain = None if pair[1] is None else costs[pair[1]]
        writer = writers.get(pair[0])
        program = () if writer is None else (writer.lut, writer.ff, writer.bram, writer.dsp)
        found.append(
            replace(
                point,
                gates=Gates(
                    lut=mine.lut,
                    ff=mine.ff,
                    bram=mine.bram,
                    dsp=mine.dsp,
                    lut_over_plain=None if plain is None else mine.lut - plain.lut,
                    ff_over_plain=None if plain is None else mine.ff - plain.ff,
                    parts=mine.parts,
                    **dict(zip(_WRITER, program, strict=False)),
                ),
            )
        )
    return found


def _core_of(chip: Chip) -> Chip:
    """The same core in a chip that differs in nothing else, so that few are synthesized."""
    return Chip.model_validate({**chip.model_dump(), "name": "core"})
