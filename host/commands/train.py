# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin train``: a network that trains in its own arrays."""

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...arch.errors import InputError
from .options import JsonText

if TYPE_CHECKING:
    from ..training.config import TrainConfig

__all__ = ["train_command"]


def train_command(
    config: Annotated[Path, typer.Argument(help="What to train, TOML.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder of checkpoint, curve and result; by default named"
            " as the configuration, here.",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="FILE", help="Go on from a checkpoint, in its folder."),
    ] = None,
    level: Annotated[
        str,
        typer.Option(
            "--level",
            metavar="fast|verilator",
            help="verilator: run on the RTL and at level fast, compare every cell, write nothing.",
        ),
    ] = "fast",
    samples: Annotated[
        int | None, typer.Option("--samples", help="Run only so many samples more.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew where a checkpoint is already.")
    ] = False,
    baseline: Annotated[
        bool, typer.Option("--baseline/--no-baseline", help="Also train in float64.")
    ] = True,
    json: JsonText = False,
) -> None:
    """Train a network in arrays that learn, sample by sample, by pulses.

    A run that is stopped at any moment goes on from its last checkpoint to the same bits.
    """
    from rich.console import Console
    from rich.table import Table

    from ..training.config import load_config
    from ..training.run import CHECKPOINT, CURVE, RESULT, train
    from .progress import Bars

    if level not in ("fast", "verilator"):
        raise InputError(f"--level must be fast or verilator, not {level!r}")
    if samples is not None and samples < 1:
        raise InputError(f"--samples must be 1 or more, not {samples}")
    what = load_config(config)
    if level == "verilator":
        _replay(what, resume, samples, json)
        return
    folder = out or (Path(config.stem) if resume is None else resume.parent)
    with Bars() as bars:
        result = train(
            what,
            folder,
            resume=resume,
            overwrite=overwrite,
            baseline=baseline,
            count=samples,
            progress=bars,
        )
    if json:
        typer.echo(json_module.dumps(result.data(), indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for column in ("epoch", "loss", "training %", "test %", "float64 test %"):
        table.add_column(column, justify="right")
    floats = result.float_curve.points if result.float_curve is not None else []
    for i, point in enumerate(result.curve.points):
        table.add_row(
            str(i + 1),
            f"{point.loss:.4f}",
            f"{100 * point.train_accuracy:.1f}",
            f"{100 * point.test_accuracy:.1f}",
            f"{100 * floats[i].test_accuracy:.1f}" if i < len(floats) else "-",
        )
    console.print(table)
    pulses = ", ".join(f"{n:,}" for n in result.pulses)
    console.print(f"pulses of each array: {pulses}", markup=False)
    console.print(f"{result.seconds_per_epoch:.2f} s an epoch", markup=False)
    for name in (CHECKPOINT, CURVE, RESULT):
        console.print(f"wrote {folder / name}", markup=False)


def _replay(config: "TrainConfig", resume: Path | None, samples: int | None, json: bool) -> None:
    """Run at both levels; exit code 1 if anything differs."""
    from ..training.replay import replay
    from .progress import Bars

    with Bars() as bars:
        found = replay(config, resume=resume, samples=samples, progress=bars)
    if json:
        typer.echo(json_module.dumps(found.data(), indent=2))
    else:
        last = found.first + found.samples
        typer.echo(
            f"samples {found.first + 1} to {last}: {found.pulses:,} pulses on {found.cells:,}"
            f" cells, {found.cycles:,} cycles of the core, {found.seconds:.1f} s of the RTL"
        )
        for name, count in found.differing.items():
            typer.echo(f"{name}: {count} differ")
    raise typer.Exit(0 if found.agree else 1)
