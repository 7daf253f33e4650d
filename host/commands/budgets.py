# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin budgets``: how many rows a read should drive, plane by plane."""

import json as json_module
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from ..budgets import BudgetPlan, choose_budgets
from ..codes import quantize
from ..compiler.network import compile_network
from ..dataset import load_dataset
from ..importer.network import load_network
from ..verify import check_samples
from .verify import parse_states

__all__ = ["budget_table", "run_budgets"]


def budget_table(plan: BudgetPlan) -> Table:
    """A row for each bit plane, and slice that is read by itself, the most significant first."""
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    slices = ("slice",) if any(plane.slice for plane in plan.planes) else ()
    for name in (
        "plane",
        *slices,
        "rows a read",
        "before",
        "reads",
        "before",
        "codes off",
        "error",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for plane in reversed(plan.planes):
        table.add_row(
            str(plane.plane),
            *(str(plane.slice) for _ in slices),
            str(plane.rows),
            str(plane.rows_before),
            f"{plane.reads:,.0f}",
            f"{plane.reads_before:,.0f}",
            f"{plane.error_rate:.2%}",
            f"{plane.error:.3f}",
        )
    return table


def _nested(plan: BudgetPlan) -> list[int] | list[list[int]]:
    """As a chip's file has them: slices in their planes."""
    slices = max(plane.slice for plane in plan.planes) + 1
    if slices == 1:
        return list(plan.budgets)
    return [list(plan.budgets[n : n + slices]) for n in range(0, len(plan.budgets), slices)]


def run_budgets(
    model: Path,
    data: Path,
    samples: int,
    chip: str,
    device: str,
    seed: int,
    schedule: str | None,
    output_error: float | None,
    error_rate: float | None,
    json: bool,
    *,
    states: Sequence[str] = (),
) -> None:
    """Print the table, or JSON.

    Raises
    ------
    InputError
        If anything given cannot be used, or no budgets meet the target.
    """
    network = load_network(model, states=parse_states(states))
    dataset = load_dataset(data, network)
    dataset = dataset.head(check_samples(min(samples, len(dataset)), len(dataset)))
    compiled = compile_network(
        network,
        chip=chip,
        device=device,
        seed=seed,
        schedule=schedule,
        steps=dataset.x.shape[1] if network.states else None,
    )
    codes = quantize(network, dataset.inputs)
    plan = choose_budgets(compiled, codes, output_error=output_error, error_rate=error_rate)
    if json:
        typer.echo(json_module.dumps(plan.to_json(), indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(budget_table(plan))
    more = plan.reads / plan.reads_before if plan.reads_before else 1.0
    console.print(
        f"error of a layer's codes {plan.error:.3f} steps, before {plan.error_before:.3f}; "
        f"{plan.reads:,.0f} reads a sample, {more:.2f} times as many\n"
        f"row_budgets = {_nested(plan)}",
        markup=False,
    )
