# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin noc``: what a network on chip can carry."""

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...arch.errors import InputError

if TYPE_CHECKING:
    from ...arch.noc import MeshShape
    from ..noc_sim import Sweep

__all__ = ["noc_app"]

noc_app = typer.Typer(help="The network on chip.", no_args_is_help=True)

_WIDTH = 1300


@noc_app.callback()
def _noc() -> None:
    pass


@noc_app.command()
def bench(
    mesh: Annotated[str, typer.Option("--mesh", metavar="WxH", help="Tiles.")] = "4x4",
    pattern: Annotated[
        str,
        typer.Option(
            "--pattern",
            metavar="uniform|transpose|hotspot|neighbor|layer",
            help="Where packets go.",
        ),
    ] = "uniform",
    router: Annotated[
        str, typer.Option("--router", metavar="buffered|deflection", help="Kind of router.")
    ] = "buffered",
    depth: Annotated[
        int, typer.Option("--depth", help="Flits in a buffer of a buffered router.")
    ] = 8,
    flits: Annotated[
        int, typer.Option("--flits", help="Flits of a packet, its header counted.")
    ] = 5,
    cycles: Annotated[int, typer.Option("--cycles", help="Cycles to measure at a load.")] = 20000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the traffic.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.png|FILE.svg", help="Draw latency and use of links."),
    ] = None,
) -> None:
    """Measure latency against offered load in the Verilated mesh, and where it saturates."""
    from ...arch.noc import parse_mesh
    from ..noc_build import check_router
    from ..noc_sim import Network, check_flits, check_pattern, sweep
    from ..plots.figures import check_picture
    from .progress import Bars

    shape = parse_mesh(mesh, depth=depth)
    kind = check_router(router)
    check_pattern(pattern, shape)
    check_flits(kind, flits)
    _check_range("--cycles", cycles, 1000, 10**7)
    _check_range("--seed", seed, 0, (1 << 32) - 1)
    if plot is not None:
        check_picture(plot, "--plot", _WIDTH)
    with Bars() as bars:
        found = sweep(
            Network(shape, kind, bars),
            pattern,
            flits=flits,
            seed=seed,
            cycles=cycles,
            progress=bars,
        )
    about = {
        "mesh": str(shape),
        "pattern": pattern,
        "router": kind,
        "depth": depth if kind == "buffered" else None,
        "flits": flits,
        "seed": seed,
        "cycles": cycles,
    }
    if plot is not None:
        _draw(shape, found, about, plot)
    if json:
        typer.echo(json_module.dumps(about | found.to_json(), indent=2, allow_nan=False))
    else:
        _show(shape, found, about)
        if plot is not None:
            typer.echo(f"\nwrote {plot}")


@noc_app.command()
def cost(
    depth: Annotated[int, typer.Option("--depth", help="Flits in a buffer.")] = 8,
    multicast: Annotated[
        bool, typer.Option("--multicast/--no-multicast", help="With copies on the way.")
    ] = True,
    seed: Annotated[int, typer.Option("--seed", help="Of the placement.")] = 1,
) -> None:
    """Synthesize, place and route one buffered router for an ECP5; a few minutes."""
    import tempfile

    from ...arch.noc import parse_mesh

    parse_mesh("2x2", depth=depth)
    _check_range("--seed", seed, 0, (1 << 31) - 1)
    from ...fpga.noc import router_cost
    from ...rtl.noc.router import Router

    with tempfile.TemporaryDirectory(prefix="ohmtwin-") as folder:
        found = router_cost(Router(depth=depth, multicast=multicast), Path(folder), seed)
    typer.echo(
        f"{found.lut} LUTs, of which {found.ram} are memory; {found.ff} flip-flops; "
        f"{found.fmax_mhz:.1f} MHz"
    )


def _check_range(option: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(f"{option} must be {low} to {high}, not {value}")


def _show(shape: "MeshShape", found: "Sweep", about: dict[str, Any]) -> None:
    from ..plots.mesh_map import mesh_text

    buffers = f", buffers of {about['depth']} flits" if about["depth"] else ""
    typer.echo(
        f"{about['mesh']} tiles, {about['router']} routers{buffers}, packets of "
        f"{about['flits']} flits, pattern {about['pattern']}\n"
    )
    typer.echo("offered  accepted  latency   worst   (flits a node a cycle; cycles)")
    for point in found.points:
        mark = "" if point.carried else "   more than the mesh carries"
        typer.echo(
            f"{point.load:7.3f} {point.accepted:9.3f} {point.latency:8.1f} "
            f"{point.latency_max:7d}{mark}"
        )
    zero = found.zero
    typer.echo(
        f"\nsaturation {found.saturation:.3f} flits a node a cycle "
        f"({found.throughput:.3f} with every source always busy)"
        f"\nempty mesh {zero.mean:.2f} cycles a packet, hops and length alone are "
        f"{zero.predicted:.2f}; at most {zero.excess:.2f} cycles a hop more, over {zero.pairs} "
        "pairs"
        "\n\nuse of links at saturation, percent of cycles:\n"
    )
    typer.echo(mesh_text(shape, found.use))


def _draw(shape: "MeshShape", found: "Sweep", about: dict[str, Any], path: Path) -> None:
    from ..plots.figures import COLOURS, canvas, save
    from ..plots.mesh_map import mesh_axes

    with canvas(_WIDTH, _WIDTH // 2) as figure:
        curve, heat = figure.subplots(1, 2)
        points = [point for point in found.points if point.latency == point.latency]
        curve.plot(
            [p.load for p in points], [p.latency for p in points], "o-", ms=3, color=COLOURS[0]
        )
        curve.axhline(found.zero.predicted, ls=":", color="0.5", label="hops and length alone")
        curve.axvline(
            found.saturation,
            ls="--",
            color=COLOURS[1],
            label=f"saturation {found.saturation:.3f}",
        )
        curve.set_ylim(0, max(20 * found.zero.mean, 50))
        curve.set_xlabel("offered load, flits a node a cycle")
        curve.set_ylabel("mean latency, cycles")
        curve.set_title(f"{about['mesh']}, {about['pattern']}, {about['router']} routers")
        curve.legend(loc="upper left")
        colours = mesh_axes(heat, shape, found.use)
        heat.set_title("Use of links at saturation")
        figure.colorbar(colours, ax=heat, label="flits a cycle", shrink=0.7)
        save(figure, path)
