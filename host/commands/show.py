# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin chips`` and ``ohmtwin devices``: what there is, in tables."""

import json as json_module
import math

from rich.console import Console
from rich.table import Table

from ...arch.chip import chip_names, load_chip
from ...behavioral import devices

__all__ = ["show_chips", "show_devices"]


def _table(columns: list[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for column in columns:
        table.add_column(column)
    return table


def show_chips(as_json: bool) -> None:
    """The standard chips, smallest first."""
    chips = [load_chip(name) for name in chip_names()]
    if as_json:
        print(json_module.dumps([chip.model_dump(mode="json") for chip in chips], indent=2))
        return
    table = _table(
        ["chip", "cores", "array", "cell", "weight bits", "ADCs a core", "rows a read", "schedule"]
    )
    for chip in chips:
        table.add_row(
            chip.name,
            str(chip.cores),
            f"{chip.rows}x{chip.cols}",
            f"{chip.cell_bits} bits",
            f"{chip.weight_bits}, {chip.weight_encoding}",
            f"{chip.lanes} of {chip.adc_bits} bits",
            str(chip.rows_per_read),
            str(chip.row_schedule),
        )
    Console().print(table)


def show_devices(as_json: bool) -> None:
    """The devices that come with the package."""
    found = [devices.load(name) for name in devices.names()]
    dumped = [
        # JSON has no infinity.
        {k: "inf" if v == math.inf else v for k, v in device.model_dump().items()}
        for device in found
    ]
    if as_json:
        print(json_module.dumps(dumped, indent=2, allow_nan=False, default=str))
        return
    table = _table(["device", "bits", "g_on (S)", "on_off_ratio", "effects that are on"])
    for device in found:
        table.add_row(
            device.name,
            f"{device.bits:g}",
            f"{device.g_on:g}",
            f"{device.on_off_ratio:g}",
            ", ".join(sorted(device.active)) or "none",
        )
    Console().print(table)
