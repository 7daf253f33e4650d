# SPDX-License-Identifier: Apache-2.0
"""Digital faults injected one at a time into the running RTL, and what became of each."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import InputError
from ..arch.registers import Status
from ..behavioral.golden import output_codes
from ..behavioral.machine import Counters
from .codes import Codes, input_codes
from .compare import correct
from .compiler.network import CompiledNetwork
from .driver import (
    LinkError,
    ProtocolError,
    SilentLinkError,
    TileDriver,
    TileFaultError,
    TileTimeoutError,
)
from .flip_report import FaultReport, FlipResult, Outcome
from .flips import Flip, check_places, flip_space, pick_flips
from .simulation import Simulation, SimulationError, SimulationPort
from .targets import chip_arrays
from .tiles import FastTile, input_words
from .toolchain import Progress
from .verilating import silent
from .verilator_build import build_model

__all__ = ["MAX_FLIPS", "Run", "check_campaign", "inject", "run_fast", "run_rtl"]

MAX_FLIPS = 1_000_000
"""Flips of a place in one call."""

At = Literal["any", "sync"]

_HANG_POLLS = 8
"""A fault that makes a program run for ever shall not cost as much as all others."""

_WAYS: tuple[tuple[type[Exception], str], ...] = (
    (TileFaultError, "fault"),
    (TileTimeoutError, "timeout"),
    (ProtocolError, "protocol"),
    (SilentLinkError, "no answer"),
    (LinkError, "link"),
    (SimulationError, "macro"),
)
"""What the host meets with, and how it is called in the report."""


@dataclass(frozen=True)
class Run:
    """What the host has after running all samples.

    Parameters
    ----------
    tensors : mapping of str to array
    counters : Counters
    link_fault : bool
        STATUS.link_fault is set.
    cycles : int
        Clock cycles from the first sample to the last word; 0 at level fast, which has no clock.
    """

    tensors: Mapping[str, NDArray[Any]]
    counters: Counters
    link_fault: bool
    cycles: int


def check_campaign(compiled: CompiledNetwork, level: str, at: str, places: Sequence[str]) -> None:
    """Refuse what cannot be injected.

    Raises
    ------
    InputError
    """
    if level not in ("verilator", "fast"):
        raise InputError(f"--level: faults are injected at verilator or fast, not at '{level}'")
    if at not in ("any", "sync"):
        raise InputError(f"--at must be any or sync, not '{at}'")
    if level == "fast" and (at != "sync" or tuple(places) != ("data",)):
        raise InputError(
            "--level fast knows no clock: it can flip bits of data memory between two samples "
            "alone; give --where data --at sync, or use --level verilator"
        )
    if len(compiled.parts) > 1 or compiled.mesh is not None:
        way = "leave out its mesh" if compiled.mesh else "use a chip with more cores"
        raise InputError(
            f"Faults are injected into a network on one tile; '{compiled.network.name}' takes "
            f"{len(compiled.parts)} of chip '{compiled.chip.name}'; {way}"
        )


def _split(words: NDArray[np.uint64], flip: Flip | None) -> tuple[NDArray[np.uint64], ...]:
    """The samples before and after a flip between two of them."""
    at = 0 if flip is None or flip.sample is None else flip.sample
    return words[:at], words[at:]


def run_rtl(
    compiled: CompiledNetwork,
    library: Path,
    words: NDArray[np.uint64],
    flip: Flip | None = None,
    patience: int = 2_000_000,
) -> Run:
    """Run samples on a new tile of RTL, with a flip if one is given.

    Parameters
    ----------
    compiled : CompiledNetwork
    library : Path
        A model built with faults.
    words : uint64 [n, input words]
    flip : Flip, optional
    patience : int
        Cycles without a word after which the tile is asked what it does.

    Raises
    ------
    LinkError, SimulationError
        What a host meets with.
    """
    before, after = _split(words, flip)
    with Simulation(library, chip_arrays(compiled, library)) as simulation:
        port = SimulationPort(simulation, patience)
        driver = TileDriver(port, compiled.program, hang_polls=_HANG_POLLS)
        found = [driver.run(before)]
        driver.counters()  # the tile waits now: nothing of the start is under way
        if flip is not None:
            memory = flip.memory
            simulation.flip(memory.scope, memory.name, flip.word, flip.bit, flip.cycle)
        begin = simulation.cycles
        found.append(driver.run(after))
        cycles = simulation.cycles - begin
        counters = driver.counters()
        link_fault = driver.state().has(Status.LINK_FAULT)
        driver.run(words[:0])  # refuses words that came late
    tensors = compiled.program.unpack_outputs(np.concatenate(found))
    return Run(tensors, counters, link_fault, cycles)


def run_fast(compiled: CompiledNetwork, words: NDArray[np.uint64], flip: Flip | None = None) -> Run:
    """The same at level fast: a flip of data memory between two samples."""
    before, after = _split(words, flip)
    tile = FastTile(compiled)
    found = [tile.run_words(before)]
    if flip is not None:
        tile.flip_data(flip.word, flip.bit)
    found.append(tile.run_words(after))
    tensors = compiled.program.unpack_outputs(np.concatenate(found))
    counters = tile.counters
    tile.close()
    return Run(tensors, counters, False, 0)


def inject(
    compiled: CompiledNetwork,
    codes: Mapping[str, Codes] | Codes,
    y: NDArray[np.int64] | None = None,
    *,
    places: Sequence[str],
    flips: int,
    seed: int,
    level: str = "verilator",
    at: str = "any",
    jobs: int | None = None,
    progress: Progress = silent,
) -> FaultReport:
    """Run samples once undisturbed and once for every flip, and compare what comes out.

    Every run starts from a new tile with its program and arrays freshly written, so that flips
    know nothing of each other.

    Parameters
    ----------
    compiled : CompiledNetwork
        Compiled without ``trace``, only outputs can be wrong; with it every tensor counts.
    codes : uint8 array or mapping of str to such
    y : int64 [n] or [n, steps], optional
        Classes, for the accuracy.
    places : sequence of str
        Some of :data:`~.memories.PLACES`.
    flips : int
        Of each place.
    seed : int
        Which bits, and when.
    level : str
        "verilator"; or "fast", for flips of data memory at a sync.
    at : str
        "any" cycle of the run, or "sync": while the tile waits for a sample.
    jobs : int, optional
        Runs at the same time; by default as many as there are processors, at most 4.
    progress : callable

    Raises
    ------
    InputError
        If a place, the level or the number of flips cannot be.
    ToolError
        If the model cannot be built, or the undisturbed run fails.
    """
    chosen = check_places(places)
    check_campaign(compiled, level, at, chosen)
    if not 1 <= flips <= MAX_FLIPS:
        raise InputError(f"--flips must be 1 to {MAX_FLIPS}, not {flips}")
    spaces = [flip_space(compiled, place) for place in chosen]
    given = input_codes(compiled.network, codes)
    words = input_words(compiled, given)
    run: Callable[[Flip | None], Run]
    if level == "fast":

        def run(flip: Flip | None) -> Run:
            return run_fast(compiled, words, flip)

        good = run(None)
    else:
        library = build_model(compiled.chip, "dpi", progress, faults=True)
        good = run_rtl(compiled, library, words)
        # Between two words a tile takes about a sample's time, and no product takes longer.
        each = (good.cycles + max(good.counters.core_active)) // len(words)
        patience = 2 * each + 4096

        def run(flip: Flip | None) -> Run:
            return run_rtl(compiled, library, words, flip, patience)

    count = len(words)
    picked = [
        flip
        for space in spaces
        for flip in pick_flips(
            space, flips, seed, cycles=good.cycles, samples=count if at == "sync" else None
        )
    ]
    judge = _Judge(compiled, good, y)

    def one(flip: Flip) -> FlipResult:
        try:
            return judge(flip, run(flip))
        except (LinkError, SimulationError) as error:
            how = next(name for kind, name in _WAYS if isinstance(error, kind))
            return FlipResult(flip, Outcome.DETECTED, how, message=str(error))

    results = []
    with ThreadPoolExecutor(jobs or min(4, os.cpu_count() or 1)) as pool:
        for result in pool.map(one, picked):
            results.append(result)
            progress("injecting faults", len(results), len(picked))
    return FaultReport(
        model=compiled.network.name,
        chip=compiled.chip.name,
        device=compiled.device.name,
        level=level,
        at=at,
        samples=count,
        cycles=good.cycles,
        seed=seed,
        labels=0 if y is None else y.size,
        correct=judge.correct,
        bits={space.place: space.bits for space in spaces},
        results=tuple(results),
    )


class _Judge:
    """Compares runs with the undisturbed one."""

    def __init__(self, compiled: CompiledNetwork, good: Run, y: NDArray[np.int64] | None) -> None:
        self._network = compiled.network
        self._good = good
        self._y = y
        self.correct = self._score(good)

    def _score(self, run: Run) -> int | None:
        if self._y is None:
            return None
        codes = output_codes(self._network, run.tensors, self._network.output_name)
        return correct(codes, self._y, bool(self._network.states))

    def __call__(self, flip: Flip, run: Run) -> FlipResult:
        samples = np.zeros(len(next(iter(run.tensors.values()))), np.bool_)
        values = 0
        for name, tensor in run.tensors.items():
            wrong = (tensor != self._good.tensors[name]).reshape(len(tensor), -1)
            values += int(wrong.sum())
            samples |= wrong.any(axis=1)
        outcome, how = (Outcome.SILENT if values else Outcome.MASKED), ""
        if run.link_fault:
            outcome, how = Outcome.DETECTED, "link fault"
        elif any(run.counters.core_detected) and not any(self._good.counters.core_detected):
            outcome, how = Outcome.DETECTED, "code"
        return FlipResult(
            flip,
            outcome,
            how,
            values=values,
            samples=int(samples.sum()),
            counters=run.counters != self._good.counters,
            correct=self._score(run),
        )
