# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin waves``: digital and analog waves of a run, in one file."""

from pathlib import Path
from typing import Annotated

import typer

from ...arch.errors import InputError
from .options import ChipOption, DataOption, DeviceOption, ModelArgument, SeedOption

__all__ = ["waves"]


def waves(
    model: ModelArgument,
    data: DataOption,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE.vcd", help="Waves to write.")
    ],
    samples: Annotated[int, typer.Option("--samples", help="Run the first N samples.")] = 1,
    core: Annotated[
        str, typer.Option("--core", metavar="C,...", help="Cores whose arrays are shown.")
    ] = "0",
    columns: Annotated[
        str, typer.Option("--columns", metavar="C,...", help="Their columns.")
    ] = "0",
    cells: Annotated[
        str, typer.Option("--cells", metavar="ROW:COLUMN,...", help="Their cells.")
    ] = "",
    cycles: Annotated[
        str,
        typer.Option(
            "--cycles",
            metavar="FIRST:END",
            help="Window; cycle 0 is when the loaded chip gets its first sample.",
        ),
    ] = "0:400",
    units: Annotated[
        str, typer.Option("--units", metavar="levels|amperes", help="Of the bitlines.")
    ] = "levels",
    digital: Annotated[
        str, typer.Option("--digital", metavar="all|cores", help="Signals of the RTL to keep.")
    ] = "all",
    chip: ChipOption = "auto",
    device: DeviceOption = "rram",
    seed: SeedOption = 1,
    schedule: Annotated[
        str | None,
        typer.Option("--schedule", metavar="baseline|zero_skip", help="Instead of the chip's."),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option("--png", metavar="FILE.png|FILE.svg", help="Also draw the window."),
    ] = None,
    width: Annotated[int, typer.Option("--width", help="Width of the picture in pixels.")] = 1400,
) -> None:
    """Write a VCD of the RTL's signals together with what its bitlines carry.

    For GTKWave, Surfer and any other viewer that knows real variables.
    """
    from ..compiler.network import compile_network
    from ..dataset import load_dataset
    from ..files import check_output
    from ..importer.network import load_network
    from ..plots.figures import check_picture
    from ..plots.wave_picture import check_drawing, draw_waves
    from ..plots.waves import Probe, Window, check_choices, check_request, write_waves
    from .chip import pick_chip
    from .progress import Bars

    if output.suffix.lower() != ".vcd":
        raise InputError(f"-o {output} must end in .vcd; FST is not written")
    check_output(output, "-o")
    probe_columns = tuple(_number("--columns", part) for part in _parts(columns))
    probe_cells = tuple(_pair("--cells", part, "ROW:COLUMN") for part in _parts(cells))
    window = Window(*_pair("--cycles", cycles, "FIRST:END"))
    probes = [Probe(_number("--core", part), probe_columns, probe_cells) for part in _parts(core)]
    chosen_units, chosen_digital = check_choices(units, digital)
    if png is not None:
        check_picture(png, "--png", width)
        check_drawing(probes, window)
    network = load_network(model)
    dataset = load_dataset(data, network)
    picked = pick_chip(chip, network, schedule)
    with Bars() as bars:
        bars("programming the arrays", 0, 0)
        compiled = compile_network(network, chip=picked, device=device, seed=seed)
        check_request(compiled, probes, window, samples)
        if samples > len(dataset):
            raise InputError(f"--samples {samples} is more than {data} holds, {len(dataset)}")
        found = write_waves(
            compiled,
            network.quantize_input(dataset.head(samples).x),
            probes,
            output,
            window=window,
            units=chosen_units,
            digital=chosen_digital,
            progress=bars,
        )
    if png is not None:
        draw_waves(output, compiled, probes, found, png, units=chosen_units, width=width)
    reads = ", ".join(f"{count} of core {number}" for number, count in found.reads.items())
    typer.echo(
        f"wrote {output}: {found.cycles} cycles from RTL cycle {found.first} on "
        f"(time {found.first * found.ticks}), reads that begin in it: {reads}"
    )


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _number(option: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{option} takes whole numbers from 0 on, not '{text}'")
    return int(text)


def _pair(option: str, text: str, form: str) -> tuple[int, int]:
    first, colon, second = text.partition(":")
    if not colon:
        raise InputError(f"{option} takes {form}, not '{text}'")
    return _number(option, first.strip()), _number(option, second.strip())
