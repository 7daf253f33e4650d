# SPDX-License-Identifier: Apache-2.0
"""SystemVerilog of a component, made to be simulated fast.

Amaranth writes a register as two processes: a combinational one that begins with the old value and
overwrites it, and a clocked one that copies the result. A compiled simulator then moves every
register in every cycle. Here the two become one clocked process, as a person would write it, in
which a register that nothing happens to costs a branch; :mod:`.lazy` moves what only a branch reads
into the branch.

``always_comb`` stands for ``always @*``: it runs at time 0, where the other may not (Icarus Verilog
11 leaves X).

Verilator's options ``-fno-dfg`` and ``-fno-table`` go with it: both optimizations turn conditional
statements into expressions that are evaluated in every cycle.
"""

import functools
import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager

from amaranth._toolchain.yosys import YosysError, find_yosys
from amaranth.back import rtlil
from amaranth.lib import wiring

from ..arch.errors import ToolError
from .lazy import gather, sink

__all__ = ["emit_verilog"]

_SCRIPT = """\
read_rtlil <<rtlil
{text}
rtlil
proc -nomux -norom -noopt
memory_collect
attrmap -remove src -remove generator -remove top
write_verilog -sv -noattr -norename
"""

_MODULE = re.compile(r"^module ([^\s(]+)(.*?^endmodule\n)", re.MULTILINE | re.DOTALL)
_COPY = re.compile(r"^  always_ff @\((posedge \S+)\)\n    (\S+) +<= (\\\S+) ;\n", re.MULTILINE)
_COMB = re.compile(
    r"^  always_comb begin\n    (\S+) +=(.*?);\n(.*?)^  end\n", re.MULTILINE | re.DOTALL
)


def emit_verilog(component: wiring.Component, name: str) -> str:
    """Elaborate a component and write it out.

    The text depends on the component alone. Ports have the names of the members, joined by two
    underscores: ``cmd__valid``.

    Parameters
    ----------
    component : Component
    name : str
        Of the top module.

    Raises
    ------
    ToolError
        If Yosys fails.
    """
    with _uncollected():
        text = rtlil.convert(component, name=name, emit_src=False)
    yosys = find_yosys(lambda version: version >= (0, 40))
    try:
        # Yosys warns that not every process survives the way to Verilog; those of Amaranth do.
        verilog = yosys.run(["-q", "-"], _SCRIPT.format(text=text), ignore_warnings=True)
    except YosysError as error:
        raise ToolError(f"Yosys could not write {name} as Verilog: {error}") from error
    return _MODULE.sub(_rewrite, verilog)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without a search for cyclic garbage: Amaranth makes many objects and little garbage, and
    looking through them time and again takes half of its time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _rewrite(module: re.Match[str]) -> str:
    """A module as the simulator wants it."""
    name, body = module.groups()
    return f"module {name}{_rewritten(body)}"


@functools.lru_cache(maxsize=64)
def _rewritten(body: str) -> str:
    """The same behind a module's name: the cores of a tile differ in their names alone."""
    head = "module "
    return gather(sink(_join_registers(head + body))).removeprefix(head)


def _join_registers(module: str) -> str:
    """Make one clocked process of the two that each register has."""
    copies = {temp: (edge, register) for edge, register, temp in _COPY.findall(module)}
    joined = set()

    def join(process: re.Match[str]) -> str:
        temp, start, body = process.groups()
        if temp not in copies or copies[temp][1] != start.strip():
            return process[0]
        edge, register = copies[temp]
        target = register + (" " if register.startswith("\\") else "")
        assign = re.compile(rf"^( +){re.escape(temp)} *(\[[0-9:]+\])? *= ", re.MULTILINE)
        clocked = assign.sub(lambda m: f"{m[1]}{target}{m[2] or ''} <= ", body)
        if f"{temp} " in clocked:  # it is read as well
            return process[0]
        joined.add(temp)
        return f"  always_ff @({edge}) begin\n{clocked}  end\n"

    module = _COMB.sub(join, module)
    return _COPY.sub(lambda copy: "" if copy[3] in joined else copy[0], module)
