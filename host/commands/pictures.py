# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin device show`` and ``ohmtwin array show``: pictures of the models."""

from pathlib import Path
from typing import Annotated

import typer

from ...arch.errors import InputError

__all__ = ["array_app", "device_app"]

device_app = typer.Typer(help="Pictures of a device.", no_args_is_help=True)
array_app = typer.Typer(help="Pictures of an array.", no_args_is_help=True)

_Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE.png|FILE.svg",
        help="Picture to write; by default a PNG named after the device, here.",
        show_default=False,
    ),
]
_Width = Annotated[int, typer.Option("--width", help="Width of the picture in pixels.")]
_Seed = Annotated[int, typer.Option("--seed", help="Seed of the cells drawn.")]


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 1 << 32:
        raise InputError(f"A seed must be 0 to {(1 << 32) - 1}, not {seed}")


@device_app.callback()
def _device() -> None:
    pass


@array_app.callback()
def _array() -> None:
    pass


@device_app.command("show")
def show_device(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE.toml", help="Device.")],
    output: _Output = None,
    width: _Width = 1200,
    seed: _Seed = 1,
) -> None:
    """Draw levels, read noise, ageing and pulse response of a device."""
    from ...behavioral import devices
    from ..plots.figures import check_picture
    from ..plots.pictures import draw_device

    device = devices.load(name)
    path = output or Path(f"{device.name}.png")
    check_picture(path, "-o", width)
    _check_seed(seed)
    draw_device(device, path, width=width, seed=seed)
    typer.echo(f"wrote {path}")


@array_app.command("show")
def show_array(
    device: Annotated[
        str, typer.Option("--device", metavar="NAME|FILE.toml", help="Device of the cells.")
    ] = "rram",
    rows: Annotated[int, typer.Option("--rows", help="Rows of the array.")] = 128,
    cols: Annotated[int, typer.Option("--cols", help="Columns of the array.")] = 128,
    r_row: Annotated[
        float | None, typer.Option("--r-row", metavar="OHM", help="A segment of a row wire.")
    ] = None,
    r_col: Annotated[
        float | None, typer.Option("--r-col", metavar="OHM", help="A segment of a column wire.")
    ] = None,
    r_driver: Annotated[
        float | None, typer.Option("--r-driver", metavar="OHM", help="Output of a driver.")
    ] = None,
    r_sense: Annotated[
        float | None, typer.Option("--r-sense", metavar="OHM", help="Input of a sense amplifier.")
    ] = None,
    drive: Annotated[
        str | None, typer.Option("--drive", metavar="single|double", help="Ends that are driven.")
    ] = None,
    pattern: Annotated[
        str, typer.Option("--pattern", metavar="on|random", help="Cells: all on, or half of them.")
    ] = "on",
    seed: _Seed = 1,
    output: _Output = None,
    width: _Width = 900,
) -> None:
    """Draw how much of each cell's current the wires leave: the map of the IR drop.

    Wires are those of the device where it has any, else 1 ohm a segment; options go before both.
    """
    from ...behavioral import devices
    from ...behavioral.wires import WireModel
    from ..plots.figures import check_picture
    from ..plots.pictures import draw_array, ir_drop

    found = devices.load(device)
    path = output or Path(f"{found.name}_array.png")
    check_picture(path, "-o", width)
    _check_seed(seed)
    if pattern not in ("on", "random"):
        raise InputError(f"There is no pattern '{pattern}'; choose on or random")
    if found.wires is not None:
        values = found.wires.model_dump()
    else:
        values = {"r_row": 1.0, "r_col": 1.0}
    given = {
        "r_row": r_row,
        "r_col": r_col,
        "r_driver": r_driver,
        "r_sense": r_sense,
        "drive": drive,
    }
    wires = WireModel(**(values | {k: v for k, v in given.items() if v is not None}))
    drop = ir_drop(found, wires, rows, cols, seed=seed if pattern == "random" else None)
    draw_array(found, wires, drop, path, width=width)
    row, column = drop.worst
    typer.echo(
        f"wrote {path}: worst cell row {row}, column {column} keeps "
        f"{100 * drop.ratio[row, column]:.4g} %"
    )
