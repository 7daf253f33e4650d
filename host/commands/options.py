# SPDX-License-Identifier: Apache-2.0
"""Arguments and options that several commands have, in the same words."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "ChipOption",
    "DataOption",
    "DeviceOption",
    "DuplicateOption",
    "FaultsOption",
    "JsonFile",
    "JsonText",
    "MeshOption",
    "ModelArgument",
    "SamplesOption",
    "ScheduleOption",
    "SeedOption",
    "StateOption",
    "TraceOption",
]

ModelArgument = Annotated[Path, typer.Argument(help="Quantized network, ONNX.", show_default=False)]
DataOption = Annotated[
    Path,
    typer.Option(
        "--data", help="Samples: .npz with x (or an array for each input) and, if known, labels y."
    ),
]
SamplesOption = Annotated[
    int | None, typer.Option("--samples", help="Run only the first N samples.")
]
StateOption = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        metavar="INPUT=OUTPUT",
        help="Step model: the output that feeds this input at the next step; x is then samples, "
        "steps, features. Repeatable.",
    ),
]
ChipOption = Annotated[
    str,
    typer.Option(
        "--chip",
        metavar="NAME|FILE.toml",
        help="Chip; auto takes the smallest standard one that holds the network.",
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="NAME|FILE.toml", help="Device of the crossbars.")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of programming and noise.")]
ScheduleOption = Annotated[
    str | None,
    typer.Option("--schedule", metavar="baseline|zero_skip", help="Instead of the chip's own."),
]
FaultsOption = Annotated[
    Path | None,
    typer.Option(
        "--faults", metavar="FILE", help="Stuck cells to place weights around (program --test)."
    ),
]
MeshOption = Annotated[
    str | None,
    typer.Option("--mesh", metavar="COLSxROWS", help="Mesh of tiles, instead of the chip's own."),
]
DuplicateOption = Annotated[
    bool,
    typer.Option(
        "--duplicate/--no-duplicate", help="In a mesh, let slow stages take several tiles."
    ),
]
TraceOption = Annotated[
    bool, typer.Option("--trace/--no-trace", help="Send every tensor, or outputs alone.")
]
JsonText = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write a report.")]
