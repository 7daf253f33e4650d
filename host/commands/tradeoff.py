# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin tradeoff``: what a chip's options gain and cost."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...arch.errors import InputError
from .options import DataOption, JsonText, ModelArgument, SamplesOption, StateOption

if TYPE_CHECKING:
    from ..tradeoff_report import TradeoffReport

__all__ = ["tradeoff_command"]


def tradeoff_command(
    model: ModelArgument,
    data: DataOption,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            metavar="KEY=VALUE,...",
            help="Field of the chip, or of the device as device.spread, and its values; of several "
            "every combination is run. Repeatable.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE.toml", help="All that in a file."),
    ] = None,
    samples: SamplesOption = None,
    chip: Annotated[
        str,
        typer.Option(
            "--chip",
            metavar="NAME|FILE.toml",
            help="Chip to start from; auto: at each point the smallest standard one that fits.",
        ),
    ] = "auto",
    device: Annotated[
        str, typer.Option("--device", metavar="NAME|FILE.toml", help="Device to start from.")
    ] = "rram",
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="N,...", help="Seeds; the median counts.")
    ] = "1",
    gates: Annotated[
        bool, typer.Option("--gates/--no-gates", help="Synthesize the cores for an ECP5 as well.")
    ] = True,
    jobs: Annotated[
        int | None, typer.Option("--jobs", help="Processes; by default one a processor.")
    ] = None,
    state: StateOption = None,
    plot: Annotated[
        list[Path] | None,
        typer.Option("--plot", metavar="FILE.png|FILE.svg", help="Draw a picture. Repeatable."),
    ] = None,
    width: Annotated[int, typer.Option("--width", help="Of the picture, in pixels.")] = 1300,
    json: JsonText = False,
) -> None:
    """Run every combination of options: accuracy, cycles, events and gates, and the best.

    Exit code 0 if any of them was measured, 2 if none can be or the input is bad.
    """
    from ..plots.figures import check_picture
    from ..plots.tradeoff import draw_tradeoff
    from ..tradeoff import Job, tradeoff
    from ..tradeoff_points import Plan, load_plan, parse_vary, points_of
    from .progress import Bars
    from .verify import parse_states

    for path in plot or ():
        check_picture(path, "--plot", width)
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs must be 1 or more, not {jobs}")
    plan = Plan() if config is None else load_plan(config)
    points = points_of(plan, parse_vary(vary or ()))
    job = Job(
        model=model,
        data=data,
        samples=samples,
        chip=plan.chip or chip,
        device=plan.device or device,
        seeds=_seeds(seeds),
        states=parse_states(state or ()),
    )
    with Bars() as bars:
        report = tradeoff(job, points, gates=gates, jobs=jobs, progress=bars)
    nothing = all(one.refused for one in report.points)
    for path in [] if nothing else plot or ():
        draw_tradeoff(report, path, width)
    if json:
        typer.echo(report.json_text(), nl=False)
    else:
        _print(report, [] if nothing else plot or [])
    if nothing:
        first = report.points[0]
        raise InputError(
            f"None of the points ({len(report.points)}) can be had, so that nothing was measured; "
            f"{report.label(first)}: {first.refused}"
        )


def _print(report: "TradeoffReport", pictures: Sequence[Path]) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = max(console.width, 240)
    console.print(report)
    for path in pictures:
        typer.echo(f"wrote {path}")


def _seeds(text: str) -> tuple[int, ...]:
    """``1,2,3``."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise InputError(f"--seeds must be numbers separated by commas, not {text!r}") from None
