# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin compile``: programs, a listing and a mapping report."""

import json as json_module
from collections.abc import Sequence
from pathlib import Path

from ...arch.errors import ConfigError
from ..compiler.artifacts import check_target, write_artifacts
from ..compiler.compiled import CompiledNetwork
from ..compiler.mesh_report import mesh_lines
from ..compiler.network import compile_network
from ..compiler.report import describe, sample_codes
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
    compiled = compile_network(
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
    if output is None and not json:
        _print(compiled)
        return
    report = describe(compiled, sample_codes(compiled, steps))
    if output is not None:
        written = write_artifacts(output, compiled, report)
    if json:
        print(json_module.dumps(report, indent=2))
        return
    console = wide_console()
    console.print(layer_table(report))
    for line in mesh_lines(report):
        console.print(line, markup=False)
    console.print(
        f"{len(written)} files in {output}; 'ohmtwin explain {output}' tells what limits layers",
        markup=False,
    )


def _print(compiled: CompiledNetwork) -> None:
    """Which array holds what, and the listing of each tile, which the assembler takes back."""
    network, mapping = compiled.network, compiled.mapping
    tiles = f" on {len(compiled.parts)} tiles" if len(compiled.parts) > 1 else ""
    print(
        f"# {network.name} on {compiled.chip.name}: {mapping.arrays} arrays{tiles}, "
        f"{mapping.utilisation:.0%} of their cells in use"
    )
    for mapped in mapping.layers:
        for block in mapped:
            print(
                f"# core {block.core:2}: {mapped.layer.name} inputs {block.rows.start}.."
                f"{block.rows.stop - 1}, outputs {block.cols.start}..{block.cols.stop - 1}"
            )
    for number, part in enumerate(compiled.parts):
        if compiled.mesh is not None:
            tile = compiled.mesh.tiles[number]
            print(f"# tile ({tile.x}, {tile.y}), stage {tile.part}, {tile.copy} of {tile.copies}")
        elif tiles:
            print(f"# tile {number}")
        for line in part.listing():
            print(line)
