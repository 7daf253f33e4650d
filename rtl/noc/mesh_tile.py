# SPDX-License-Identifier: Apache-2.0
"""A tile of a mesh: a tile behind its network interface."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...arch.chip import Chip
from ..checks import check_chip
from ..emit import emit_verilog
from ..tile import MacroFactory, Tile
from .flit import LinkSignature
from .interface import COUNTERS, STATE, NetworkInterface

__all__ = ["MeshTile", "mesh_tile_verilog"]

_STATUS = ("running", "waiting", "fault", "link_fault")


class MeshTile(wiring.Component):
    """One tile that a mesh is made of; ``docs/mesh.md``.

    Parameters
    ----------
    chip : Chip
    macros : callable of core number to Component, optional
        See :class:`~ohmtwin.rtl.tile.Tile`.
    counters : bool
        Whether there is ``counts``.

    Members
    -------
    i, o : In(LinkSignature()), Out(LinkSignature())
        From and to the local port of the router. All outputs are functions of registers (and of
        ``x`` and ``y``).
    x, y : In(4)
        Where the tile stands; they never change.
    running, waiting, fault, link_fault : Out(1)
        Bits of the tile's STATUS.
    idle : Out(1)
        The interface has nothing on its way.
    state, counts : Out(STATE), Out(COUNTERS)
        See :class:`~.interface.NetworkInterface`.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    ConfigError
        If packets cannot tell the chip's sizes.
    """

    def __init__(
        self, *, chip: Chip, macros: MacroFactory | None = None, counters: bool = True
    ) -> None:
        self._chip = check_chip(chip)
        self._counters = counters
        super().__init__(
            {
                "i": In(LinkSignature()),
                "o": Out(LinkSignature()),
                "x": In(4),
                "y": In(4),
                **{name: Out(1) for name in _STATUS},
                "idle": Out(1),
                "state": Out(STATE),
                **({"counts": Out(COUNTERS)} if counters else {}),
            }
        )
        # Tests look into them.
        self.tile = Tile(chip=chip, macros=macros, network=True)
        self.interface = NetworkInterface(chip=chip, counters=counters)

    @property
    def chip(self) -> Chip:
        return self._chip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tile = tile = self.tile
        m.submodules.interface = interface = self.interface
        wiring.connect(m, wiring.flipped(self.i), interface.link_i)
        wiring.connect(m, interface.link_o, wiring.flipped(self.o))
        wiring.connect(m, interface.tile_i, tile.i)
        wiring.connect(m, tile.o, interface.tile_o)
        m.d.comb += [
            interface.x.eq(self.x),
            interface.y.eq(self.y),
            interface.in_free.eq(tile.in_free),
            interface.start.eq(tile.start),
            interface.stop.eq(tile.stop),
            interface.clear.eq(tile.clear),
            self.idle.eq(interface.idle),
            self.state.eq(interface.state),
            *(getattr(self, name).eq(getattr(tile, name)) for name in _STATUS),
        ]
        if self._counters:
            m.d.comb += self.counts.eq(interface.counts)
        return m


def mesh_tile_verilog(chip: Chip, name: str = "mesh_tile", *, counters: bool = True) -> str:
    """Verilog of a :class:`MeshTile` whose arrays are instances of ``crossbar_macro``."""
    return emit_verilog(MeshTile(chip=chip, counters=counters), name)
