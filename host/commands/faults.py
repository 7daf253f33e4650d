# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin faults``: digital faults in the running RTL."""

from typing import Annotated

import typer

from .options import (
    ChipOption,
    DataOption,
    DeviceOption,
    JsonText,
    ModelArgument,
    ScheduleOption,
    StateOption,
)

__all__ = ["faults"]


def faults(
    model: ModelArgument,
    data: DataOption,
    samples: Annotated[int, typer.Option("--samples", help="Run only the first N samples.")] = 10,
    chip: ChipOption = "auto",
    device: DeviceOption = "ideal",
    schedule: ScheduleOption = None,
    flips: Annotated[int, typer.Option("--flips", help="Flips in each place.")] = 100,
    where: Annotated[
        str,
        typer.Option(
            "--where",
            metavar="PLACE,...",
            help="Of accumulators, data, program, rows, params, tables.",
        ),
    ] = "accumulators,data,program",
    at: Annotated[
        str,
        typer.Option("--at", metavar="any|sync", help="In any cycle, or between two samples."),
    ] = "any",
    level: Annotated[
        str,
        typer.Option(
            "--level",
            metavar="verilator|fast",
            help="fast only for data memory between two samples.",
        ),
    ] = "verilator",
    seed: Annotated[
        int, typer.Option("--seed", help="Of the flips, and of programming and noise.")
    ] = 1,
    state: StateOption = None,
    json: JsonText = False,
) -> None:
    """Flip bits of accumulators, memories and instructions, one a run, and tell what came of it."""
    from rich.console import Console

    from ..codes import check_data, quantize
    from ..compiler.network import compile_network
    from ..dataset import load_dataset
    from ..flip_campaign import inject
    from ..flips import check_places
    from ..importer.network import load_network
    from ..verify import check_samples
    from .progress import Bars
    from .verify import parse_states

    places = check_places([name.strip() for name in where.split(",") if name.strip()])
    network = load_network(model, states=parse_states(state or ()))
    dataset = load_dataset(data, network)
    dataset = dataset.head(check_samples(min(samples, len(dataset)), len(dataset)))
    with Bars() as bars:
        compiled = compile_network(
            network,
            chip=chip,
            device=device,
            seed=seed,
            trace=False,
            schedule=schedule,
            steps=dataset.x.shape[1] if network.states else None,
        )
        x, y = check_data(network, dataset.inputs, dataset.y)
        report = inject(
            compiled,
            quantize(network, x),
            y,
            places=places,
            flips=flips,
            seed=seed,
            level=level,
            at=at,
            progress=bars,
        )
    if json:
        typer.echo(report.json_text(), nl=False)
    else:
        Console(highlight=False, soft_wrap=True).print(report)
