# SPDX-License-Identifier: Apache-2.0
"""The command line. Each command imports what it needs when it runs, so that --help is quick.

Exit codes: 0 all is well, 1 levels differ or a tool failed, 2 bad input, 130 interrupted.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..arch.errors import InputError, ToolError
from .commands.faults import faults
from .commands.fpga import fpga_app
from .commands.mesh import mesh_app
from .commands.noc import noc_app
from .commands.options import (
    ChipOption,
    DataOption,
    DeviceOption,
    DuplicateOption,
    FaultsOption,
    JsonFile,
    JsonText,
    MeshOption,
    ModelArgument,
    SamplesOption,
    ScheduleOption,
    SeedOption,
    StateOption,
    TraceOption,
)
from .commands.pictures import array_app, device_app
from .commands.quantize import quantize_command
from .commands.tradeoff import tradeoff_command
from .commands.train import train_command
from .commands.waves import waves

__all__ = ["app", "main"]


class _Guarded(TyperGroup):
    """Ends every foreseen failure in one sentence on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(2) from None
        except ToolError as error:
            typer.echo(f"Error: {error}", err=True)
            typer.echo("'ohmtwin doctor' tells what is installed and what is missing.", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.echo("Interrupted", err=True)
            raise typer.Exit(130) from None


app = typer.Typer(
    name="ohmtwin",
    cls=_Guarded,
    help="A digital twin of crossbar compute-in-memory chips.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(device_app, name="device")
app.add_typer(array_app, name="array")
app.add_typer(fpga_app, name="fpga")
app.add_typer(mesh_app, name="mesh")
app.add_typer(noc_app, name="noc")
app.command()(waves)
app.command()(faults)
app.command("tradeoff")(tradeoff_command)
app.command("train")(train_command)
app.command("quantize")(quantize_command)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"ohmtwin {version('ohmtwin')}")
        raise typer.Exit


@app.callback()
def _root(
    _show_version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@app.command()
def verify(
    model: ModelArgument,
    data: DataOption,
    samples: SamplesOption = None,
    state: StateOption = None,
    chip: ChipOption = "auto",
    device: DeviceOption = "rram",
    seed: SeedOption = 1,
    schedule: ScheduleOption = None,
    levels: Annotated[
        str,
        typer.Option(
            "--levels",
            metavar="LEVEL,...",
            help="Some of golden, fast, verilator, netlist and serial, to run and compare.",
        ),
    ] = "golden,fast,verilator",
    json: JsonFile = None,
    age: Annotated[
        float, typer.Option("--age", metavar="SECONDS", help="Let that time pass before the runs.")
    ] = 0.0,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", metavar="K", help="Of the arrays, from then on."),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace",
            metavar="DIR",
            help="Save every tensor of every level there; explain the first difference down to "
            "the read, with waves.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="serial:DEVICE[@BAUD]",
            help="Board of level serial; serial:simulated starts one.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on if the board is reset or unplugged meanwhile."),
    ] = False,
    mesh: MeshOption = None,
    faults: FaultsOption = None,
) -> None:
    """Run a network at several levels and compare every tensor.

    Exit code 0 if all agree as they must, 1 on any difference, 2 on bad input.
    """
    from .commands.verify import run_verify

    agree = run_verify(
        model,
        data,
        samples,
        chip,
        device,
        seed,
        schedule,
        levels,
        json,
        age,
        temperature,
        states=state or (),
        trace=trace,
        target=target,
        resume=resume,
        mesh=mesh,
        faults=faults,
    )
    raise typer.Exit(0 if agree else 1)


@app.command()
def bench(
    json: Annotated[
        Path | None,
        typer.Option("--json", help="Where to write the figures, with how each was measured."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="GROUP,...", help="Groups: what stands before the dot."),
    ] = None,
) -> None:
    """Measure speed and efficiency on this machine."""
    from .bench import run_bench

    run_bench(json, only)


@app.command()
def compile(
    model: ModelArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Write programs, listings and the report there."
        ),
    ] = None,
    chip: ChipOption = "auto",
    schedule: ScheduleOption = None,
    state: StateOption = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Steps of a sample, for models with states.")
    ] = None,
    tiles: Annotated[
        int | None, typer.Option("--tiles", help="Tiles that there are, 1 to 4096.")
    ] = None,
    mesh: MeshOption = None,
    duplicate: DuplicateOption = True,
    conv_mapping: Annotated[
        str,
        typer.Option("--conv-mapping", metavar="rows|kernel", help="How convolutions are cut."),
    ] = "rows",
    trace: TraceOption = True,
    json: JsonText = False,
) -> None:
    """Map a network and make the programs of its tiles: print them, or write them to a folder."""
    from .commands.compile import run_compile

    run_compile(
        model,
        chip,
        schedule,
        output=output,
        states=state or (),
        steps=steps,
        tiles=tiles,
        mesh=mesh,
        duplicate=duplicate,
        conv_mapping=conv_mapping,
        trace=trace,
        json=json,
    )


@app.command()
def program(
    model: ModelArgument,
    data: DataOption,
    samples: SamplesOption = None,
    chip: ChipOption = "auto",
    device: DeviceOption = "rram",
    seed: SeedOption = 1,
    levels: Annotated[str, typer.Option("--levels", help="fast, verilator.")] = "fast,verilator",
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance", help="Error of a cell that is good enough, of its conductance."
        ),
    ] = None,
    gain: Annotated[
        float | None, typer.Option("--gain", help="Share of the error that pulses take off.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Iterations until a cell is given up.")
    ] = None,
    fine: Annotated[
        int | None, typer.Option("--fine", help="Verify with 2**N codes to a level step.")
    ] = None,
    average: Annotated[int, typer.Option("--average", help="Verify by 2**N reads.")] = 0,
    recheck: Annotated[
        bool, typer.Option("--recheck", help="Judge all cells of a row at every read.")
    ] = False,
    test: Annotated[
        Path | None,
        typer.Option("--test", metavar="FILE", help="Find all stuck cells; write their map."),
    ] = None,
    faults: FaultsOption = None,
    state: StateOption = None,
    refresh_every: Annotated[
        int | None,
        typer.Option("--refresh-every", metavar="N", help="Write the arrays anew every N samples."),
    ] = None,
    refresh_after: Annotated[
        float | None,
        typer.Option(
            "--refresh-after", metavar="SECONDS", help="Or when so much model time has passed."
        ),
    ] = None,
    sample_time: Annotated[
        float,
        typer.Option("--sample-time", metavar="SECONDS", help="Model time that a sample takes."),
    ] = 0.0,
    json: JsonFile = None,
) -> None:
    """Let the chip program its arrays by pulses and verifying reads; run samples; compare levels.

    Exit code 0 if all agree, 1 on any difference, 2 on bad input.
    """
    from .commands.program import run_program
    from .programming import ProgramOptions
    from .refresh import RefreshSchedule

    refresh = None
    if refresh_every is not None or refresh_after is not None or sample_time:
        refresh = RefreshSchedule(refresh_every, refresh_after, sample_time)
    options = ProgramOptions(tolerance, gain, limit, fine, average, recheck)
    agree = run_program(
        model,
        data,
        samples,
        chip,
        device,
        seed,
        levels,
        options,
        test=test,
        faults=faults,
        refresh=refresh,
        states=tuple(state or ()),
        json=json,
    )
    raise typer.Exit(0 if agree else 1)


@app.command()
def explain(
    folder: Annotated[
        Path, typer.Argument(help="What ohmtwin compile -o has written.", show_default=False)
    ],
) -> None:
    """Tell how full the arrays of a compiled network are, and what limits each layer."""
    from .commands.explain import run_explain

    run_explain(folder)


@app.command()
def budgets(
    model: ModelArgument,
    data: DataOption,
    samples: Annotated[int, typer.Option("--samples", help="Use only the first N.")] = 64,
    chip: ChipOption = "auto",
    device: DeviceOption = "rram",
    seed: SeedOption = 1,
    schedule: ScheduleOption = None,
    state: StateOption = None,
    output_error: Annotated[
        float | None,
        typer.Option("--output-error", help="Error that layers' codes may have, in steps (RMS)."),
    ] = None,
    error_rate: Annotated[
        float | None,
        typer.Option("--error-rate", help="Share of conversions that may be off, in any plane."),
    ] = None,
    json: JsonText = False,
) -> None:
    """Choose rows a read for each bit plane: the fewest reads that meet a target."""
    from .commands.budgets import run_budgets

    run_budgets(
        model,
        data,
        samples,
        chip,
        device,
        seed,
        schedule,
        output_error,
        error_rate,
        json,
        states=tuple(state or ()),
    )


@app.command()
def devices(json: JsonText = False) -> None:
    """List the devices that crossbars can be made of."""
    from .commands.show import show_devices

    show_devices(json)


@app.command()
def chips(json: JsonText = False) -> None:
    """List the standard chips."""
    from .commands.show import show_chips

    show_chips(json)


@app.command()
def rtl(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to.")],
    chip: Annotated[
        str, typer.Option("--chip", metavar="NAME|FILE.toml", help="Chip to elaborate.")
    ] = "tile4",
) -> None:
    """Write a chip's Verilog, its crossbar macro and C sources, and a file list."""
    from .commands.rtl import write_rtl

    write_rtl(output, chip)


@app.command()
def doctor(json: JsonText = False) -> None:
    """Tell what is installed, what is missing and how to get it."""
    from .doctor import show

    raise typer.Exit(0 if show(json) else 1)


def main() -> None:
    """Entry point of the ``ohmtwin`` command."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
