# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin explain``: how full a compiled network's arrays are, and what limits each layer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from ..compiler.artifacts import read_report
from ..compiler.mesh_report import mesh_lines
from ..compiler.report import explain_lines, summary
from ..compiler.rotation_report import rotation_lines

__all__ = ["layer_table", "run_explain", "wide_console"]

_WIDTH = 160
"""Columns of the longest names and figures: a narrow terminal wraps lines, but cuts none."""


def wide_console() -> Console:
    """For the table of layers."""
    return Console(highlight=False, soft_wrap=True, width=_WIDTH)


def layer_table(report: Mapping[str, Any]) -> Table:
    """A row for each layer of a mapping report."""
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    names = ("layer", "tile", "arrays", "utilisation", "positions", "reads", "cycles", "limit")
    for name in names:
        side: Literal["left", "right"] = "left" if name in ("layer", "limit") else "right"
        table.add_column(name, justify=side, no_wrap=True)
    for layer in report["layers"]:
        where = ["-"] * 4
        if layer["arrays"]:
            where = [
                str(layer["arrays"]),
                f"{layer['utilisation']:.2f}",
                f"{layer['positions']:,}",
                f"{layer['reads_per_product']:,}",
            ]
        table.add_row(
            layer["name"], str(layer["tile"]), *where, f"{layer['cycles']:,}", layer["limit"]
        )
    return table


def weight_table(report: Mapping[str, Any]) -> Table:
    """A row for each layer with weights, as a whole, however many tiles hold it."""
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for name in ("weights", "rows x outputs", "grid", "arrays", "copies", "uses a sample"):
        table.add_column(name, justify="left" if name == "weights" else "right", no_wrap=True)
    for one in report["weights"]:
        table.add_row(
            one["name"],
            f"{one['rows']} x {one['outputs']}",
            "x".join(str(n) for n in one["grid"]),
            str(one["arrays"]),
            str(one["copies"]),
            f"{one['reuse']:,}",
        )
    return table


def run_explain(folder: Path) -> None:
    """Print the table and a sentence for each layer.

    Raises
    ------
    InputError
        If the folder is no result of ``ohmtwin compile``.
    """
    report = read_report(folder)
    console = wide_console()
    console.print(summary(report), markup=False)
    console.print(layer_table(report))
    console.print(weight_table(report))
    for line in (*mesh_lines(report), *rotation_lines(report.get("rotation"))):
        console.print(line, markup=False)
    for line in explain_lines(report):
        console.print(line.replace("**", ""), markup=False)
