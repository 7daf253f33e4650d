# SPDX-License-Identifier: Apache-2.0
"""Plain Verilog of a component, for simulators that do not take ``rtl.emit``'s.

:func:`~ohmtwin.rtl.emit.emit_verilog` writes what Verilator runs fastest. Here processes become
multiplexers and nothing is left that a simulator could run at the wrong time: Icarus 11 takes it.
Both come from one elaboration, and the benches hold both to the same results.
"""

from amaranth._toolchain.yosys import YosysError, find_yosys
from amaranth.back import rtlil
from amaranth.lib import wiring

from ..arch.errors import ToolError

__all__ = ["plain_verilog"]

_SCRIPT = """\
read_rtlil <<rtlil
{text}
rtlil
proc
memory_collect
opt_clean
write_verilog -noattr
"""


def plain_verilog(component: wiring.Component, name: str) -> str:
    """Elaborate a component and write it out as Verilog-2001.

    Raises
    ------
    ToolError
        If Yosys fails.
    """
    text = rtlil.convert(component, name=name, emit_src=False)
    try:
        yosys = find_yosys(lambda version: version >= (0, 40))
        written: str = yosys.run(["-q", "-"], _SCRIPT.format(text=text), ignore_warnings=True)
    except YosysError as error:
        raise ToolError(f"Yosys could not write {name} as Verilog: {error}") from error
    return written
