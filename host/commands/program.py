# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin program``: arrays written by the chip's own controller, and what came of it."""

import json as jsonlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from ...arch.chip import Chip
from ...arch.errors import ConfigError
from ...behavioral.devices import load as load_device
from ...behavioral.golden import output_codes
from ..codes import quantize
from ..compare import correct
from ..compiler.network import CompiledNetwork, compile_network
from ..compiler.placement import FaultMaps
from ..dataset import Dataset, load_dataset
from ..faultfile import cells_by_array, load_faults, save_faults
from ..files import check_output, write_text
from ..importer.network import load_network
from ..programming import ProgramOptions, ProgramReport, find_faults, program_arrays, settings_of
from ..refresh import RefreshSchedule, run_refreshed
from ..targets import Target, connect
from ..verify import check_samples
from .chip import pick_chip
from .progress import Bars
from .verify import parse_states

__all__ = ["fault_maps", "run_program"]

_LEVELS = ("fast", "verilator")


@dataclass(frozen=True, eq=False)
class _Found:
    """What a level has given."""

    level: str
    report: ProgramReport | None
    refreshes: tuple[ProgramReport, ...]
    maps: FaultMaps
    cells: dict[int, NDArray[np.float64]]
    tensors: dict[str, NDArray[Any]]
    accuracy: float | None

    @property
    def counts(self) -> NDArray[np.int64]:
        """Pulses, verifying reads, cells given up and cycles, of all programming."""
        reports = [*([] if self.report is None else [self.report]), *self.refreshes]
        counts = np.array([r.counts for r in reports], np.int64).reshape(-1, 4)
        total: NDArray[np.int64] = counts.sum(axis=0)
        return total

    def differing(self, other: "_Found") -> int:
        """Cells, counts and values of tensors that are not those of another level."""
        found = int((self.counts != other.counts).sum())
        found += sum(int((self.cells[n] != other.cells[n]).sum()) for n in self.cells)
        found += sum(int((self.maps[n] != other.maps[n]).sum()) for n in self.maps)
        return found + sum(int((self.tensors[n] != other.tensors[n]).sum()) for n in self.tensors)


def fault_maps(path: Path | None, chip: Chip) -> FaultMaps:
    """The maps of a file for the arrays of a chip; none without a file.

    Raises
    ------
    ConfigError
        If the file cannot be read, or is of arrays of another shape.
    """
    if path is None:
        return {}
    shape, maps = load_faults(path)
    if shape != (chip.rows, chip.cols):
        raise ConfigError(
            f"{path} is of arrays of {shape[0]} rows and {shape[1]} columns, those of chip "
            f"'{chip.name}' have {chip.rows} and {chip.cols}; name the chip that was tested"
        )
    return maps


def run_program(
    model: Path,
    data: Path,
    samples: int | None,
    chip: str,
    device: str,
    seed: int,
    levels: str,
    options: ProgramOptions,
    *,
    test: Path | None = None,
    faults: Path | None = None,
    refresh: RefreshSchedule | None = None,
    states: Sequence[str] = (),
    json: Path | None = None,
) -> bool:
    """Program, run, print the table, write what is asked for; whether all levels agree.

    Raises
    ------
    InputError
        If anything given cannot be used; nothing is written then.
    ToolError
        If a target cannot be built or fails.
    """
    chosen = [level.strip() for level in levels.split(",") if level.strip()]
    wrong = [level for level in chosen if level not in _LEVELS]
    if wrong or not chosen:
        raise ConfigError(
            f"Arrays are programmed at the levels {' and '.join(_LEVELS)}, not "
            f"'{wrong[0] if wrong else levels}'"
        )
    if test is not None and refresh is not None:
        raise ConfigError(
            "--test writes and reads cells, it runs no samples between which arrays could be "
            "refreshed; leave out --test, or --refresh-every, --refresh-after and --sample-time"
        )
    twice = [level for level in chosen if chosen.count(level) > 1]
    if twice:
        raise ConfigError(f"--levels names {twice[0]} twice; name each level once")
    for path, option in ((json, "--json"), (test, "--test")):
        if path is not None:
            check_output(path, option)
    network = load_network(model, states=parse_states(states))
    dataset = load_dataset(data, network)
    dataset = dataset.head(check_samples(samples, len(dataset)))
    writing = pick_chip(chip, network, None).with_(program_verify=True)
    kind = load_device(device)
    settings_of(writing, kind, options)
    maps = fault_maps(faults, writing)
    with Bars() as bars:
        bars("compiling", 0, 0)
        compiled = compile_network(
            network,
            chip=writing,
            device=kind,
            seed=seed,
            fault_maps=maps,
            steps=dataset.x.shape[1] if network.states else None,
        )
        found = []
        for level in chosen:
            with connect(level, compiled, bars) as target:
                if test is None:
                    found.append(_program(level, target, options, dataset, refresh, bars))
                else:
                    found.append(_test(level, target, options, bars))
    different = sum(other.differing(found[0]) for other in found[1:])
    if test is not None:
        save_faults(test, writing, found[0].maps)
    if json is not None:
        write_text(json, jsonlib.dumps(_as_json(compiled, found, different), indent=1) + "\n")
    _print(compiled, found, different, test)
    return different == 0


def _cells(target: Target) -> dict[int, NDArray[np.float64]]:
    state = target.state
    return {} if state is None else {n: a.conductances() for n, a in state.arrays.items()}


def _test(level: str, target: Target, options: ProgramOptions, bars: Bars) -> _Found:
    maps = find_faults(target, options, lambda done, total: bars(f"{level}: testing", done, total))
    return _Found(level, None, (), maps, _cells(target), {}, None)


def _program(
    level: str,
    target: Target,
    options: ProgramOptions,
    dataset: Dataset,
    refresh: RefreshSchedule | None,
    bars: Bars,
) -> _Found:
    network = target.compiled.network
    report = program_arrays(
        target, options, lambda done, total: bars(f"{level}: programming", done, total)
    )
    codes = quantize(network, dataset.inputs)

    def tell(done: int, total: int) -> None:
        bars(f"{level}: running", done, total)

    tensors: dict[str, NDArray[Any]]
    refreshes: tuple[ProgramReport, ...] = ()
    if refresh is None:
        tensors = target.run(codes, tell)
    else:
        run = run_refreshed(target, codes, refresh, options, tell)
        tensors, refreshes = dict(run.tensors), run.refreshes
    accuracy = None
    if dataset.y is not None:
        scores = output_codes(network, tensors, network.output_name)
        accuracy = correct(scores, dataset.y, bool(network.states)) / dataset.y.size
    maps = report.fault_maps()
    return _Found(level, report, refreshes, maps, _cells(target), tensors, accuracy)


def _as_json(compiled: CompiledNetwork, found: list[_Found], different: int) -> dict[str, Any]:
    levels = {}
    for one in found:
        pulses, verifies, failures, cycles = map(int, one.counts)
        levels[one.level] = {
            "pulses": pulses,
            "verifies": verifies,
            "given_up": failures,
            "cycles": cycles,
            "refreshes": len(one.refreshes),
            "spread": None if one.report is None else one.report.spread,
            "stuck_on": sum(int((cells > 0).sum()) for cells in one.maps.values()),
            "stuck_off": sum(int((cells < 0).sum()) for cells in one.maps.values()),
            "accuracy": one.accuracy,
            # As in a fault map, of arrays that have any.
            "cells": cells_by_array({n: cells for n, cells in one.maps.items() if cells.any()}),
        }
    return {
        "model": compiled.network.name,
        "chip": compiled.chip.name,
        "device": compiled.device.name,
        "seed": compiled.seed,
        "differing": different,
        "levels": levels,
    }


def _print(
    compiled: CompiledNetwork, found: list[_Found], different: int, test: Path | None
) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    heads = ("level", "pulses", "verifies", "given up", "cycles", "spread", "accuracy")
    for k, head in enumerate(heads):
        table.add_column(head, justify="left" if k == 0 else "right")
    for one in found:
        table.add_row(
            one.level,
            *(f"{int(n):,}" for n in one.counts),
            "-" if one.report is None else f"{one.report.spread:.4f}",
            "-" if one.accuracy is None else f"{one.accuracy:.1%}",
        )
    if test is None:
        console.print(table)
        console.print("spread: standard deviation of cells that were pulsed, in level steps")
    else:
        cells = np.concatenate([m.ravel() for m in found[0].maps.values()])
        console.print(
            f"{int((cells > 0).sum())} cells stuck on and {int((cells < 0).sum())} stuck off, of "
            f"{cells.size:,} in {len(found[0].maps)} arrays: {test}"
        )
    if len(found) > 1:
        console.print(
            "every cell, count and tensor agrees" if not different else f"{different:,} differ"
        )
    if compiled.device.write is None or compiled.device.write.response is None:
        console.print(
            f"Device {compiled.device.name} tells nothing of its pulses: 100 equal steps from end "
            "to end that spread by 30 % are assumed"
        )
