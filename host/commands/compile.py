# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin compile``: programs, a listing and a mapping report."""

import json as json_module
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...arch.chip import Chip
from ...arch.errors import ConfigError
from ..compiler.artifacts import check_target, write_artifacts
from ..compiler.compiled import CompiledNetwork
from ..compiler.mesh_report import mesh_lines
from ..compiler.network import compile_network
from ..compiler.report import describe, sample_codes, summary
from ..compiler.rotation_report import compile_plain, rotation_lines
from ..importer.network import load_network
from .explain import layer_table, wide_console
from .verify import mesh_size, parse_states

__all__ = ["run_compile"]


def run_compile(
    model: Path,
    chip: str,
    schedule: str | None,
    *,
    output: Path | None = None,
    states: Sequence[str] = (),
    steps: int | None = None,
    tiles: int | None = None,
    mesh: str | None = None,
    duplicate: bool = True,
    conv_mapping: str = "rows",
    trace: bool = True,
    json: bool = False,
) -> None:
    """Compile; print the mapping and the program, or write them to a folder.

    Raises
    ------
    InputError
        If the model, the chip or an option cannot be used.
    """
    if output is not None:
        check_target(output)
    if conv_mapping not in ("rows", "kernel"):
        raise ConfigError(f"There is no mapping '{conv_mapping}'; choose rows or kernel")
    network = load_network(model, states=parse_states(states))
    if network.states and steps is None:
        # The program of a longer sequence differs in the count of a loop alone.
        steps = 1

    def compile_for(chip: Chip | str) -> CompiledNetwork:
        return compile_network(
            network,
            chip=chip,
            device="ideal",
            trace=trace,
            steps=steps,
            conv_mapping="kernel" if conv_mapping == "kernel" else "rows",
            tiles=tiles,
            schedule=schedule,
            mesh=mesh_size(mesh),
            duplicate=duplicate,
        )

    compiled = compile_for(chip)
    plain = compile_plain(compiled.chip, compile_for)
    report = describe(compiled, sample_codes(compiled, steps), plain)
    if output is None and not json:
        _print(compiled, report)
        return
    if output is not None:
        written = write_artifacts(output, compiled, report)
    if json:
        print(json_module.dumps(report, indent=2))
        return
    console = wide_console()
    console.print(summary(report), markup=False)
    console.print(layer_table(report))
    for line in (*mesh_lines(report), *rotation_lines(report["rotation"])):
        console.print(line, markup=False)
    console.print(
        f"{len(written)} files in {output}; 'ohmtwin explain {output}' tells what limits layers",
        markup=False,
    )


def _print(compiled: CompiledNetwork, report: Mapping[str, Any]) -> None:
    """Which array holds what, predicted cycles, and the listing of each tile, which the assembler
    takes back."""
    mapping = compiled.mapping
    print(f"# {summary(report)}")
    for mapped in mapping.layers:
        for block in mapped:
            which = f" array {block.array}" if compiled.chip.arrays_per_core > 1 else ""
            print(
                f"# core {block.core:2}{which}: {mapped.layer.name} inputs {block.rows.start}.."
                f"{block.rows.stop - 1}, outputs {block.cols.start}..{block.cols.stop - 1}"
            )
    for layer in report["layers"]:
        print(f"# {layer['name']}: {layer['cycles']:,} cycles a sample, predicted")
    for line in (*mesh_lines(report), *rotation_lines(report["rotation"])):
        print(f"# {line}".rstrip())
    tiles = len(compiled.parts) > 1
    for number, part in enumerate(compiled.parts):
        if compiled.mesh is not None:
            tile = compiled.mesh.tiles[number]
            print(f"# tile ({tile.x}, {tile.y}), stage {tile.part}, {tile.copy} of {tile.copies}")
        elif tiles:
            print(f"# tile {number}")
        for line in part.listing():
            print(line)
