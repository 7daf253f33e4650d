# SPDX-License-Identifier: Apache-2.0
"""The synthesized netlist of a fabric as a simulation, driven by the same words as the RTL."""

from pathlib import Path

from ..arch.chip import Chip
from ..fpga.crossbar.image import EmulatorConfig, Noise
from ..fpga.netlist import Family, synthesize_fabric, vendor_cells
from .toolchain import Progress
from .verilator_build import build_verilog, emit_cached

__all__ = ["NETLIST_CONFIG", "build_netlist"]

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
    tell = progress or (lambda what, done, total: None)
    tell("synthesizing the fabric", 0, 1)
    parts = ["netlist", family, repr(chip.structure), repr(config)]
    netlist = emit_cached(
        parts, ("arch", "rtl", "fpga"), lambda: synthesize_fabric(chip, config, family)
    )
    own = [path for path in (_SIM / f"{family}_cells.v",) if path.is_file()]
    return build_verilog(vendor_cells(family) + netlist, own, tell, dpi=False)
