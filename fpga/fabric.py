# SPDX-License-Identifier: Apache-2.0
"""What a board holds behind its link: a tile with emulated arrays, all of it loaded over words."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..arch.chip import Chip
from ..arch.messages import Kind
from .crossbar.image import ADDRESS_BITS, EmulatorConfig, Region
from .crossbar.ports import load_signature
from .crossbar.tile import EmulatedTile
from .loading import NEXT_ROW, REGION_LSB, features

__all__ = ["EmulatedFabric", "ImageGate"]

_CORE_BITS = 5


class ImageGate(wiring.Component):
    """Takes WRITE_IMAGE out of the host's messages; all others go on to the tile as they are.

    A word takes two cycles, more than ten times less than on a line. It goes from register to
    register, and so does what tells that it was taken: no path leads from the link into the tile,
    or back.

    Members
    -------
    i, o : In(stream of 64), Out(stream of 64)
        From the host; to the tile.
    load, load_core : Out({en, addr, word}), Out(5)
        To the emulators.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(64)),
                "o": Out(stream.Signature(64)),
                "load": Out(load_signature),
                "load_core": Out(_CORE_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word = Signal(64)  # of the host
        valid = Signal()
        take = Signal()
        left = Signal(16)  # payload words still to come; 0: a header is next
        image = Signal()  # they are an image's
        high = Signal()  # the upper half comes next
        address = Signal(ADDRESS_BITS)
        core = Signal(_CORE_BITS)
        kind = word[:8]
        length = word[16:32]
        ours = Signal()
        moved = Signal()
        m.d.comb += [
            ours.eq(Mux(left == 0, kind == Kind.WRITE_IMAGE, image)),
            take.eq(Mux(ours, (left == 0) | high, ~self.o.valid)),
            moved.eq(valid & take),
            self.i.ready.eq(~valid),
        ]
        with m.If(take):
            m.d.sync += valid.eq(0)
        with m.If(self.i.ready):
            m.d.sync += [valid.eq(self.i.valid), word.eq(self.i.payload)]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(moved & ~ours):
            m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(word)]
        with m.If(moved):
            with m.If(left == 0):
                m.d.sync += [
                    # A register read has a length but no payload.
                    left.eq(Mux(kind == Kind.READ_REG, 0, length)),
                    image.eq(ours),
                    address.eq(word[32:]),
                    core.eq(word[32 + ADDRESS_BITS :]),
                ]
            with m.Else():
                m.d.sync += left.eq(left - 1)

        m.d.sync += self.load.en.eq(0)
        with m.If(valid & image & (left != 0)):
            reference = address[REGION_LSB:] == Region.REFERENCE
            m.d.sync += [
                self.load.en.eq(1),
                self.load.addr.eq(address),
                self.load.word.eq(word.word_select(high, 32)),
                self.load_core.eq(core),
                high.eq(~high),
                address.eq(address + Mux(reference, NEXT_ROW, 1)),
            ]
        return m


class EmulatedFabric(wiring.Component):
    """A tile with emulated arrays behind one stream of words.

    Parameters
    ----------
    chip : Chip
    config : EmulatorConfig, optional
        Of all arrays.

    Members
    -------
    i, o : In(stream of 64), Out(stream of 64)
        Messages from and to the host (``arch/messages.py``), WRITE_IMAGE among them.
    held : Out(1)
        The tile waits for an emulated array in this cycle.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    ValueError
        If ``config`` does not fit it.
    """

    def __init__(self, *, chip: Chip, config: EmulatorConfig | None = None) -> None:
        self._tile = EmulatedTile(chip=chip, config=config)
        super().__init__(
            {"i": In(stream.Signature(64)), "o": Out(stream.Signature(64)), "held": Out(1)}
        )

    @property
    def chip(self) -> Chip:
        return self._tile.chip

    @property
    def config(self) -> EmulatorConfig:
        return self._tile.config

    @property
    def features(self) -> int:
        """Bits of :class:`~ohmtwin.arch.link.Feature`."""
        return features(self.config)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.gate = gate = ImageGate()
        m.submodules.tile = tile = self._tile
        connect(m, flipped(self.i), gate.i)
        connect(m, gate.o, tile.i)
        connect(m, tile.o, flipped(self.o))
        connect(m, gate.load, tile.load)
        m.d.comb += [tile.load_core.eq(gate.load_core), self.held.eq(tile.held)]
        return m
