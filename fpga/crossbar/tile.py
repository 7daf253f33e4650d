# SPDX-License-Identifier: Apache-2.0
"""A tile whose arrays are emulated, and which does not notice."""

from amaranth.hdl import Cat, EnableInserter, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from ...arch.chip import Chip
from ...rtl.checks import check_chip
from ...rtl.tile import Tile
from .emulator import CrossbarEngine
from .image import EmulatorConfig
from .ports import load_signature
from .seam import CrossbarSeam

__all__ = ["EmulatedTile"]


class EmulatedTile(wiring.Component):
    """A tile with emulated arrays, equal to one with macros that need no time, to every counter.

    An emulated read takes more cycles than it has beats. While a beat is due and not there yet,
    all registers and memories of the tile hold still; only the emulators run on. So the tile sees
    each beat in the cycle in which ``docs/tile.md`` has it: its cycles are those of the emulated
    chip, not those of the board. What holds them is a register, since it reaches them all.

    Parameters
    ----------
    chip : Chip
    config : EmulatorConfig, optional
        Of all arrays.

    Members
    -------
    i, o : In(stream of 64), Out(stream of 64)
        Messages from and to the host (``arch/messages.py``).
    load : In({en, addr, word})
        The images (:mod:`.image`), to be written while no program runs.
    load_core : In(5)
        Core whose array the word is for.
    held : Out(1)
        The tile holds still in this cycle.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    ValueError
        If ``config`` does not fit it.
    """

    def __init__(self, *, chip: Chip, config: EmulatorConfig | None = None) -> None:
        self._chip = check_chip(chip)
        self._config = config or EmulatorConfig()
        self._config.check(chip)
        super().__init__(
            {
                "i": In(stream.Signature(64)),
                "o": Out(stream.Signature(64)),
                "load": In(load_signature),
                "load_core": In(5),
                "held": Out(1),
            }
        )

    @property
    def chip(self) -> Chip:
        return self._chip

    @property
    def config(self) -> EmulatorConfig:
        return self._config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        seams = [CrossbarSeam(chip=self._chip, held=True) for _ in range(self._chip.cores)]
        run = Signal(init=1)
        tile = Tile(chip=self._chip, macros=lambda core: seams[core])
        m.submodules.tile = EnableInserter(run)(tile)
        arrays = self._chip.cores if self._config.shared else 1  # of an engine
        for first in range(0, self._chip.cores, arrays):
            engine = CrossbarEngine(chip=self._chip, config=self._config, arrays=arrays)
            m.submodules[f"emulator{first}"] = engine
            for k, seam in enumerate(seams[first : first + arrays]):
                connect(m, seam.link, engine.link[k])
                m.d.comb += seam.run.eq(run)
            place = self.load_core - first
            m.d.comb += [
                engine.load.addr.eq(self.load.addr),
                engine.load.word.eq(self.load.word),
                engine.load.en.eq(self.load.en & (place >= 0) & (place < arrays)),
                engine.load_array.eq(place),
            ]
        m.d.sync += run.eq(Cat(seam.soon for seam in seams).all())
        m.d.comb += self.held.eq(~run)

        # A word moves in cycles in which the tile runs; what was offered stays on offer.
        m.d.comb += [
            tile.i.payload.eq(self.i.payload),
            tile.i.valid.eq(self.i.valid),
            self.i.ready.eq(tile.i.ready & run),
            tile.o.ready.eq(~self.o.valid | self.o.ready),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(tile.o.valid & tile.o.ready & run):
            m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(tile.o.payload)]
        return m
