# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin fpga axi``: the tile as a peripheral, for another flow."""

from pathlib import Path

import typer

from ...arch.axi import AXI_REGISTERS
from ...arch.chip import load_chip
from ...arch.errors import ConfigError
from ...arch.link import Ident
from ...fpga.crossbar.image import EmulatorConfig
from ..files import check_output, write_text

__all__ = ["TOP", "write_axi"]

TOP = "ohmtwin_axi"
"""Name of the top module."""

_HEAD = """\
// Tile of chip {name}, configuration hash {hash:016x}, {arrays}.
// s_axis takes messages, m_axis gives them, a packet a message; registers at s_axil:
{registers}
"""


def write_axi(output: Path, chip_name: str, columns: int, host_arrays: bool = False) -> None:
    """Write the AXI top of a chip as Verilog-2001.

    Raises
    ------
    InputError
        If the chip cannot be read, the columns do not divide those of its arrays, or the file
        cannot be written.
    ToolError
        If Amaranth or its Yosys is missing or fails.
    """
    chip = load_chip(chip_name)
    check_output(output, "-o")
    if columns < 1 or columns & (columns - 1) or chip.cols % columns:
        raise ConfigError(
            f"--columns must be a power of two that divides the {chip.cols} columns of chip "
            f"'{chip.name}', not {columns}"
        )
    # Here, for they load Amaranth.
    from ...fpga.axi.top import AxiTop
    from ...fpga.fabric import EmulatedFabric
    from ...fpga.hosted import HostedFabric
    from ...tb.plain import plain_verilog

    fabric = (
        HostedFabric(chip=chip)
        if host_arrays
        else EmulatedFabric(chip=chip, config=EmulatorConfig(columns=columns))
    )
    # No clock: whoever puts it on a bus chooses one.
    top = AxiTop(fabric=fabric, ident=Ident(chip.structure_hash, 0, fabric.features))
    head = _HEAD.format(
        name=chip.name,
        hash=chip.structure_hash,
        arrays="its arrays answered by the host" if host_arrays else "its arrays emulated",
        registers="\n".join(
            f"//   0x{register:02x} {register.name:9} {access or 'both':5} {text}"
            for register, (access, text) in AXI_REGISTERS.items()
        ),
    )
    write_text(output, head + plain_verilog(top, TOP))
    typer.echo(f"wrote {output}, top module {TOP}")
