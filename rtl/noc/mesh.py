# SPDX-License-Identifier: Apache-2.0
"""A mesh of buffered routers."""

import re
from typing import Any

from amaranth.hdl import Cat, ClockSignal, Instance, Module, ResetSignal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ...arch.noc import FLIT_BITS, PORTS, MeshShape, Port, RoutingTable, check_table, neighbor
from ..emit import emit_verilog
from .counters import COUNTS
from .flit import LinkSignature, check_flit_bits
from .router import Router, router_signature

__all__ = ["ACROSS", "Mesh", "mesh_members", "mesh_verilog"]

_HEAD = re.compile(r"^module [^;]*;\n", re.MULTILINE)

ACROSS = {
    Port.NORTH: Port.SOUTH,
    Port.SOUTH: Port.NORTH,
    Port.EAST: Port.WEST,
    Port.WEST: Port.EAST,
}


def mesh_members(shape: MeshShape, bits: int) -> dict[str, object]:
    """Members that a mesh has, whatever its routers are."""
    link = LinkSignature(bits)
    members: dict[str, object] = {
        "i": In(link).array(shape.tiles),
        "o": Out(link).array(shape.tiles),
        "idle": Out(1),
    }
    if shape.hosts:
        members["host_i"] = In(link).array(len(shape.hosts))
        members["host_o"] = Out(link).array(len(shape.hosts))
    return members


class Mesh(wiring.Component):
    """Routers of all tiles, wired up; local ports and host ports lead out.

    A packet of n flits over h links between routers has left an empty mesh h + n cycles after its
    header was taken (:func:`~ohmtwin.arch.noc.zero_load_latency`). All outputs are functions of
    registers.

    Parameters
    ----------
    shape : MeshShape
    bits : int
        Data of a flit.
    multicast : bool
        See :class:`Router`.
    counters : bool
        See :class:`Router`.
    table : RoutingTable, optional
        In the place of dimension order; checked here.
    instances : bool
        Routers are instances of Verilog modules named by :meth:`router_module`.

    Members
    -------
    i, o : In(LinkSignature), Out(LinkSignature), each times the number of tiles
        Into and out of the local port of each tile, row by row.
    host_i, host_o : In(LinkSignature), Out(LinkSignature), each times the number of host ports
        In the order of ``shape.hosts``.
    idle : Out(1)
        There is no flit inside. If none is offered either, a cycle changes nothing.
    counts : Out(ArrayLayout(ArrayLayout(COUNTS, 5), tiles))
        Only with counters: by tile and :class:`~ohmtwin.arch.noc.Port`.

    Raises
    ------
    ConfigError
        If packets could get lost or deadlock by the table.
    """

    def __init__(
        self,
        *,
        shape: MeshShape,
        bits: int = FLIT_BITS,
        multicast: bool = True,
        counters: bool = False,
        table: RoutingTable | None = None,
        instances: bool = False,
    ) -> None:
        if not isinstance(shape, MeshShape):
            raise TypeError(f"Shape must be a MeshShape, not {shape!r}")
        if table is not None:
            check_table(shape, table)
        self._shape = shape
        self._bits = check_flit_bits(bits)
        self._multicast = multicast
        self._counters = counters
        self._table = table
        self._instances = instances
        members = mesh_members(shape, bits)
        if counters:
            each = data.ArrayLayout(COUNTS, PORTS)
            members["counts"] = Out(data.ArrayLayout(each, shape.tiles))
        super().__init__(members)

    @property
    def shape(self) -> MeshShape:
        return self._shape

    @property
    def bits(self) -> int:
        """Data of a flit."""
        return self._bits

    def router(self, x: int, y: int) -> Router:
        """A router as at (x, y)."""
        return Router(
            depth=self._shape.depth,
            bits=self._bits,
            host=x == 0 and y in self._shape.hosts,
            multicast=self._multicast,
            counters=self._counters,
            table=None if self._table is None else self._table[x, y],
        )

    def router_module(self, x: int, y: int) -> str:
        """Name of the Verilog module of router (x, y); one for all that are alike."""
        if self._table is not None:
            return f"noc_router_{x}_{y}"
        return "noc_router_host" if x == 0 and y in self._shape.hosts else "noc_router"

    def _instance(self, m: Module, x: int, y: int) -> Any:
        """An interface like a router's, and behind it an instance."""
        interface = router_signature(self._bits, self._counters).create()
        ports: dict[str, object] = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        for names, member, value in interface.signature.flatten(interface):
            way = "i" if member.flow is In else "o"
            ports[f"{way}_{'__'.join(map(str, names))}"] = Value.cast(value)
        m.submodules[f"router_{x}_{y}"] = Instance(self.router_module(x, y), **ports)
        return interface

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self._shape
        links = {}
        idle = []
        for index in range(shape.tiles):
            x, y = shape.position(index)
            if self._instances:
                at = self._instance(m, x, y)
            else:
                at = self.router(x, y)
                m.submodules[f"router_{x}_{y}"] = at
            m.d.comb += [at.x.eq(x), at.y.eq(y)]
            links[x, y] = (at.i, at.o)
            idle.append(at.idle)
            if self._counters:
                m.d.comb += self.counts[index].eq(at.counts)
            connect(m, flipped(self.i[index]), at.i[Port.LOCAL])
            connect(m, at.o[Port.LOCAL], flipped(self.o[index]))
        for (x, y), (i, o) in links.items():
            for port in ACROSS:
                there = neighbor(shape, x, y, port)
                if there is None:
                    continue
                if there.host:
                    host = shape.hosts.index(y)
                    connect(m, flipped(self.host_i[host]), i[port])
                    connect(m, o[port], flipped(self.host_o[host]))
                else:
                    connect(m, o[port], links[there.x, there.y][0][ACROSS[port]])
        m.d.comb += self.idle.eq(Cat(idle).all())
        return m


def mesh_verilog(name: str, **parameters: Any) -> str:
    """Verilog of a :class:`Mesh` of these parameters, in which equal routers share a module.

    Much smaller than what :func:`~ohmtwin.rtl.emit.emit_verilog` makes of a mesh, and the same
    circuit; ports have the same names.
    """
    mesh = Mesh(**parameters, instances=True)
    texts = {}
    for index in range(mesh.shape.tiles):
        x, y = mesh.shape.position(index)
        module = mesh.router_module(x, y)
        if module not in texts:
            text = emit_verilog(mesh.router(x, y), module)
            # Else Verilator makes a copy of it for each router.
            texts[module] = _HEAD.sub(r"\g<0>  /*verilator no_inline_module*/\n", text, count=1)
    return emit_verilog(mesh, name) + "".join(texts.values())
