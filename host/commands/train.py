# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin train``: a network that trains in its own arrays."""

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

from .options import JsonText

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

    what = load_config(config)
    folder = out or (Path(config.stem) if resume is None else resume.parent)
    with Bars() as bars:
        result = train(
            what, folder, resume=resume, overwrite=overwrite, baseline=baseline, progress=bars
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
