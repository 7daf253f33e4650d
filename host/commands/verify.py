# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin verify``: from names and paths to a report."""

from pathlib import Path

from rich.console import Console

from ..compiler.network import compile_network
from ..dataset import load_dataset
from ..files import check_output, write_text
from ..importer.network import load_network
from ..verify import check_levels, check_samples, verify
from .chip import pick_chip
from .progress import Bars

__all__ = ["run_verify"]


def run_verify(
    model: Path,
    data: Path,
    samples: int | None,
    chip: str,
    device: str,
    seed: int,
    schedule: str | None,
    levels: str,
    json: Path | None,
    age: float = 0.0,
    temperature: float | None = None,
) -> bool:
    """Print the table, write the JSON, and tell whether all agree.

    Raises
    ------
    InputError
        If anything given cannot be used; nothing is written then.
    ToolError
        If a target cannot be built or fails.
    """
    chosen = check_levels([level.strip() for level in levels.split(",") if level.strip()])
    if json is not None:
        check_output(json, "--json")
    network = load_network(model)
    dataset = load_dataset(data, network)
    dataset = dataset.head(check_samples(samples, len(dataset)))
    picked = pick_chip(chip, network, schedule)
    with Bars() as bars:
        bars("programming the arrays", 0, 0)
        compiled = compile_network(network, chip=picked, device=device, seed=seed)
        report = verify(
            compiled,
            dataset.x,
            dataset.y,
            levels=chosen,
            model=model,
            progress=bars,
            age=age,
            temperature=temperature,
        )
    if json is not None:
        write_text(json, report.json_text())
    Console(highlight=False, soft_wrap=True).print(report)
    return report.agree
