# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin fpga``: bitstreams, boards, and boards that are only simulated."""

from pathlib import Path
from typing import Annotated

import typer

from ...arch.errors import InputError

__all__ = ["fpga_app"]

fpga_app = typer.Typer(help="FPGA boards: build, program, simulate.", no_args_is_help=True)

_BoardOption = Annotated[
    str, typer.Option("--board", metavar="NAME", help="Board; 'ohmtwin fpga boards' lists them.")
]
_ChipOption = Annotated[
    str | None,
    typer.Option("--chip", metavar="NAME|FILE.toml", help="Chip instead of the board's own."),
]


_HostedOption = Annotated[
    bool,
    typer.Option("--host-arrays", help="The host answers the reads of the arrays, over the link."),
]


@fpga_app.command()
def boards(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the boards that bitstreams can be built for."""
    from .boards import show_boards

    show_boards(json)


@fpga_app.command()
def build(
    board: _BoardOption,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where to.")],
    chip: _ChipOption = None,
    seeds: Annotated[
        int, typer.Option("--seeds", help="Placements to try; the fastest is packed.")
    ] = 1,
    clock: Annotated[
        float | None,
        typer.Option("--clock", metavar="MHZ", help="Of the fabric, instead of the board's own."),
    ] = None,
    baud: Annotated[
        int | None,
        typer.Option("--baud", help="Rate of the serial line, instead of the board's own."),
    ] = None,
    host_arrays: _HostedOption = False,
) -> None:
    """Build a bitstream; tell its resources by module and how fast it is."""
    from .boards import run_build

    run_build(board, output, chip, seeds, clock, host_arrays, baud=baud)


@fpga_app.command()
def program(
    board: _BoardOption,
    folder: Annotated[Path, typer.Argument(help="What 'ohmtwin fpga build -o' has written.")],
    flash: Annotated[bool, typer.Option("--flash", help="Keep it over a power cycle.")] = False,
) -> None:
    """Load a bitstream into a board by way of openFPGALoader."""
    from .boards import run_program

    run_program(board, folder, flash)


@fpga_app.command()
def read(
    board: _BoardOption,
    target: Annotated[
        str,
        typer.Option(
            "--target",
            metavar="serial:DEVICE[@BAUD]",
            help="Its port; serial:simulated starts one.",
        ),
    ],
    chip: _ChipOption = None,
    device: Annotated[
        str, typer.Option("--device", metavar="NAME|FILE.toml", help="Device of the crossbar.")
    ] = "rram",
    reads: Annotated[int, typer.Option("--reads", help="How many.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Of cells, rows and noise.")] = 1,
) -> None:
    """Read the array of a board that holds no tile; every code must be the model's."""
    from .boards import run_read

    if reads < 1:
        raise InputError(f"--reads must be 1 or more, not {reads}")
    raise typer.Exit(0 if run_read(board, target, chip, device, reads, seed) else 1)


@fpga_app.command()
def axi(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.v", help="Where to.")],
    chip: Annotated[
        str, typer.Option("--chip", metavar="NAME|FILE.toml", help="Chip with its arrays emulated.")
    ] = "ulx3s",
    columns: Annotated[
        int, typer.Option("--columns", help="Columns of an array that are summed at once.")
    ] = 16,
    host_arrays: _HostedOption = False,
) -> None:
    """Write a tile behind AXI4-Lite and AXI4-Stream as Verilog, for Zynq and alike."""
    from .axi import write_axi

    write_axi(output, chip, columns, host_arrays)


@fpga_app.command()
def simulate(
    board: _BoardOption,
    chip: _ChipOption = None,
    errors: Annotated[
        float, typer.Option("--errors", help="Share of bytes that the line damages.")
    ] = 0.0,
    faults: Annotated[
        float,
        typer.Option("--faults", help="Share of frames that it drops, repeats, cuts, delays."),
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the faults.")] = 1,
    seconds: Annotated[
        float | None, typer.Option("--seconds", help="Stop after that time.")
    ] = None,
    host_arrays: _HostedOption = False,
) -> None:
    """Run a board's fabric, Verilated, with its serial line on a pseudo-terminal."""
    from .boards import run_simulate

    if seconds is not None and not seconds > 0:
        raise InputError(f"--seconds must be more than 0, not {seconds:g}")
    run_simulate(board, chip, errors, faults, seed, seconds, host_arrays)
