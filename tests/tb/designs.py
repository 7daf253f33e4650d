# SPDX-License-Identifier: Apache-2.0
"""The designs under test, as Verilog. Only for the process that builds: it needs Amaranth."""

import functools
from pathlib import Path

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from cases import CHIPS

from ohmtwin.arch.chip import Chip
from ohmtwin.rtl.core import Core
from ohmtwin.rtl.emit import emit_verilog
from ohmtwin.rtl.macro import CrossbarMacro, MacroSignature
from ohmtwin.tb import runner
from ohmtwin.tb.dpi import COCOTB_MACRO, DPI_ARGS, DPI_SOURCES
from ohmtwin.tb.plain import plain_verilog

__all__ = ["CoreTop", "build_core", "core_verilog"]


class CoreTop(wiring.Component):
    """A core and its macro; the core's ports outside, and the seam to look at."""

    def __init__(self, chip: Chip) -> None:
        self._chip = chip
        self._core = Core(chip=chip)
        seam = MacroSignature(chip).members
        ports = {k: v for k, v in self._core.signature.members.items() if k not in seam}
        # All of a watched stream is output, ready included.
        for name, member in seam.items():
            ports[f"watch_{name}_valid"] = Out(1)
            ports[f"watch_{name}_ready"] = Out(1)
            ports[f"watch_{name}_payload"] = Out(member.signature.members["payload"].shape)
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.core = core = self._core
        m.submodules.crossbar = macro = CrossbarMacro(chip=self._chip, id=0)
        connect(m, core.cmd, macro.cmd)
        connect(m, macro.codes, core.codes)
        for name, member in core.signature.members.items():
            if name in ("cmd", "codes"):
                watched = getattr(core, name)
                for wire in ("valid", "ready", "payload"):
                    m.d.comb += getattr(self, f"watch_{name}_{wire}").eq(getattr(watched, wire))
            elif member.is_signature:
                connect(m, flipped(getattr(self, name)), getattr(core, name))
            elif member.flow == In:
                m.d.comb += getattr(core, name).eq(getattr(self, name))
            else:
                m.d.comb += getattr(self, name).eq(getattr(core, name))
        return m


@functools.cache
def core_verilog(simulator: str, chip: str) -> str:
    write = plain_verilog if simulator == runner.ICARUS else emit_verilog
    return write(CoreTop(CHIPS[chip]), "core_top")


def build_core(simulator: str, chip: str, macro: str) -> runner.Build:
    """The core with ``macro`` "cocotb" or "dpi"."""
    text = core_verilog(simulator, chip)
    sources: tuple[Path, ...] = (COCOTB_MACRO,) if macro == "cocotb" else DPI_SOURCES
    return runner.build(
        simulator,
        sources,
        "core_top",
        verilog={"core_top.sv": text},
        public={"core_top": ["*"]},
        args=DPI_ARGS if macro == "dpi" else (),
    )
