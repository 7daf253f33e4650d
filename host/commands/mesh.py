# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin mesh show``: how a network runs on a mesh of tiles, predicted and drawn."""

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...arch.errors import InputError
from .options import (
    ChipOption,
    DataOption,
    DeviceOption,
    DuplicateOption,
    JsonText,
    MeshOption,
    ModelArgument,
    SeedOption,
)

if TYPE_CHECKING:
    from ...arch.chip import Chip
    from ...behavioral.mesh import MeshRun
    from ..codes import Codes
    from ..compiler.compiled import CompiledNetwork
    from ..mesh_timing import MeshCounters

__all__ = ["mesh_app"]

mesh_app = typer.Typer(help="Networks on a mesh of tiles.", no_args_is_help=True)

_RUN = 20
"""Samples that are run unless told otherwise."""

_SHOWN = 8
"""Samples that the diagram shows unless told otherwise."""


@mesh_app.callback()
def _mesh() -> None:
    pass


@mesh_app.command()
def show(
    model: ModelArgument,
    data: DataOption,
    mesh: MeshOption = None,
    samples: Annotated[
        int | None, typer.Option("--samples", help="Run the first N samples, 20 by default.")
    ] = None,
    chip: ChipOption = "auto",
    device: DeviceOption = "rram",
    seed: SeedOption = 1,
    duplicate: DuplicateOption = True,
    trace: Annotated[
        bool,
        typer.Option("--trace/--no-trace", help="Send every tensor to the host, or the output."),
    ] = False,
    cycles: Annotated[
        str | None,
        typer.Option("--cycles", metavar="FIRST:END", help="Window of the diagram."),
    ] = None,
    pipeline: Annotated[
        Path | None,
        typer.Option(
            "--pipeline", metavar="FILE.png|FILE.svg", help="Draw which tile works on what."
        ),
    ] = None,
    links: Annotated[
        Path | None,
        typer.Option("--links", metavar="FILE.png|FILE.svg", help="Draw the use of links."),
    ] = None,
    width: Annotated[int, typer.Option("--width", help="Width of pictures in pixels.")] = 1200,
    json: JsonText = False,
) -> None:
    """Predict a pipelined run: which tile works on which sample when, and how busy links are.

    All of it is what level fast predicts, without a clock; 'ohmtwin verify' holds it against the
    RTL.
    """
    from ..compiler.network import compile_network
    from ..compiler.rotation_report import compile_plain, describe_rotation, rotation_lines
    from ..dataset import load_dataset
    from ..importer.network import load_network
    from ..plots.figures import check_picture
    from ..verify import check_samples
    from .progress import Bars
    from .verify import mesh_size

    size = mesh_size(mesh)
    window = None if cycles is None else _window(cycles)
    for path, option in ((pipeline, "--pipeline"), (links, "--links")):
        if path is not None:
            check_picture(path, option, width)
    network = load_network(model)
    dataset = load_dataset(data, network)
    count = len(dataset)
    dataset = dataset.head(min(_RUN, count) if samples is None else check_samples(samples, count))
    with Bars() as bars:
        bars("programming the arrays", 0, 0)

        def compile_for(chip: "Chip | str") -> "CompiledNetwork":
            return compile_network(
                network, chip=chip, device=device, seed=seed, mesh=size, duplicate=duplicate,
                trace=trace,
            )  # fmt: skip

        compiled = compile_for(chip)
        if compiled.mesh is None:
            raise InputError(
                f"Chip '{compiled.chip.name}' is a single tile; tell a mesh, as --mesh 2x2"
            )
        bars("predicting the run", 0, 0)
        codes = network.quantize_input(dataset.x)
        run, counters = _predict(compiled, codes)
        plain, plain_cycles = compile_plain(compiled.chip, compile_for), None
        if plain is not None and plain.compiled is not None:
            bars("predicting the run with an array a core", 0, 0)
            plain_cycles = _predict(plain.compiled, codes)[1].cycles // counters.samples
    each = counters.cycles // counters.samples
    rotation = describe_rotation(compiled, each, plain, plain_cycles)
    _draw(compiled, run, window, pipeline, links, width)
    if json:
        told = {**_json(compiled, run, counters), "rotation": rotation}
        typer.echo(json_module.dumps(told, indent=2))
    else:
        _tell(compiled, run, counters, window)
        if rotation is not None:
            typer.echo("")
        for line in rotation_lines(rotation):
            typer.echo(line)
        for path in (pipeline, links):
            if path is not None:
                typer.echo(f"wrote {path}")


def _predict(compiled: "CompiledNetwork", codes: "Codes") -> "tuple[MeshRun, MeshCounters]":
    """A run on the fast level, and what it counts."""
    from ..targets import FastTarget

    with FastTarget(compiled) as target:
        target.run(codes)
        timing = target.timing
    if timing is None or timing.last is None:
        raise TypeError("A fast target of a mesh predicts its runs")
    return timing.last, timing.counters


def _window(text: str) -> tuple[int, int]:
    first, colon, end = text.partition(":")
    if not (colon and first.isascii() and first.isdigit() and end.isascii() and end.isdigit()):
        raise InputError(f"--cycles takes FIRST:END in cycles, as 0:5000, not '{text}'")
    if int(first) >= int(end):
        raise InputError(f"--cycles {text}: the first cycle must be below the end")
    return int(first), int(end)


def _draw(
    compiled: "CompiledNetwork",
    run: "MeshRun",
    window: tuple[int, int] | None,
    pipeline: Path | None,
    links: Path | None,
    width: int,
) -> None:
    from ..mesh_show import lanes_of, link_use, mesh_shape
    from ..plots.mesh_map import draw_mesh_map
    from ..plots.pipeline import draw_pipeline, span_of

    name, chip = compiled.network.name, compiled.chip
    where = f"{name} on {chip.mesh[0]}x{chip.mesh[1]} tiles '{chip.name}'"
    if pipeline is not None:
        lanes = lanes_of(compiled, run)
        shown = window or span_of(lanes, _SHOWN)
        draw_pipeline(lanes, pipeline, window=shown, title=where, width=width)
    if links is not None:
        draw_mesh_map(
            mesh_shape(compiled), link_use(run), links, title=f"Use of links: {where}",
            full=None, width=width,
        )  # fmt: skip


def _tell(
    compiled: "CompiledNetwork",
    run: "MeshRun",
    counters: "MeshCounters",
    window: tuple[int, int] | None,
) -> None:
    from ..mesh_compare import MeshReport
    from ..mesh_show import lanes_of, link_use, mesh_shape
    from ..plots.mesh_map import mesh_text
    from ..plots.pipeline import pipeline_text, span_of
    from .explain import wide_console

    lanes = lanes_of(compiled, run)
    columns = min(160, max(80, wide_console().width))
    typer.echo(pipeline_text(lanes, window=window or span_of(lanes, _SHOWN), columns=columns))
    typer.echo("\nuse of links, percent of the cycles (in brackets: into the tile)\n")
    typer.echo(mesh_text(mesh_shape(compiled), link_use(run)))
    typer.echo("")
    for line in MeshReport(compiled.chip.mesh, "fast", counters).lines():
        typer.echo(line)


def _json(
    compiled: "CompiledNetwork", run: "MeshRun", counters: "MeshCounters"
) -> dict[str, object]:
    import dataclasses

    from ..mesh_show import tile_names

    tiles = [
        {
            "tile": [found.node.x, found.node.y],
            "name": name,
            "busy": found.busy,
            "occupancy": run.occupancy(number),
            "stalls": dataclasses.asdict(found.stalls),
        }
        for number, (found, name) in enumerate(zip(run.tiles, tile_names(compiled), strict=True))
    ]
    return {
        "model": compiled.network.name,
        "chip": compiled.chip.name,
        "shape": list(compiled.chip.mesh),
        "samples": counters.samples,
        **counters.to_json(),
        "tiles": tiles,
    }
