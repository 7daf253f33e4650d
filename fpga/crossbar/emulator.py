# SPDX-License-Identifier: Apache-2.0
"""The synthesizable crossbar behind the macro's ports."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped

from ...arch.chip import Chip
from ...rtl.checks import check_chip
from ...rtl.macro import MacroSignature
from .column import ColumnConverter, NoisyColumns, QuietColumns
from .image import EmulatorConfig, Noise
from .ports import LinkSignature, load_signature
from .registers import EmulatorRegisters
from .seam import BeatStore, CrossbarSeam
from .serial import SerialColumns
from .sums import ColumnSums

__all__ = ["CrossbarEngine", "EmulatedCrossbar"]

_COLUMNS: dict[str, Any] = {
    Noise.PIPELINED: NoisyColumns,
    Noise.ITERATIVE: SerialColumns,
    Noise.NONE: QuietColumns,
}


class CrossbarEngine(wiring.Component):
    """What computes the codes of an emulated crossbar.

    Parameters
    ----------
    chip : Chip
    config : EmulatorConfig

    Members
    -------
    link : In(LinkSignature)
        From the seam.
    load : In({en, addr, word})
        The image (:mod:`.image`), to be written while no read is under way.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    ValueError
        If ``config`` does not fit it.
    """

    def __init__(self, *, chip: Chip, config: EmulatorConfig) -> None:
        self._chip = check_chip(chip)
        config.check(chip)
        self._config = config
        super().__init__({"link": In(LinkSignature(chip)), "load": In(load_signature)})
        # Made here for the proofs, which look into them.
        self.store = BeatStore(chip=chip, columns=config.columns)
        self.sums = ColumnSums(chip=chip, config=config)
        self.columns = _COLUMNS[config.noise](chip=chip, config=config)
        self.converter = ColumnConverter(chip=chip, config=config)

    @property
    def chip(self) -> Chip:
        return self._chip

    @property
    def config(self) -> EmulatorConfig:
        return self._config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.registers = registers = EmulatorRegisters(config=config)
        m.submodules.sums = sums = self.sums
        m.submodules.columns = columns = self.columns
        m.submodules.converter = converter = self.converter
        connect(m, sums.o, columns.i)
        connect(m, columns.o, converter.i)

        # Words fan out to all memories, from registers of their own.
        en = Signal()
        addr = Signal.like(self.load.addr, reset_less=True)
        word = Signal.like(self.load.word, reset_less=True)
        m.d.sync += [en.eq(self.load.en), addr.eq(self.load.addr), word.eq(self.load.word)]
        for part in (registers, sums, converter):
            m.d.comb += [part.load.en.eq(en), part.load.addr.eq(addr), part.load.word.eq(word)]

        m.submodules.store = store = self.store
        connect(m, flipped(self.link), store.link)
        connect(m, converter.o, store.codes)
        m.d.comb += [
            sums.start.eq(store.start),
            sums.rows.eq(self.link.rows),
            sums.groups.eq(store.groups),
            registers.next.eq(store.start),
            columns.start.eq(store.start),
            columns.reference.eq(sums.reference),
            converter.start.eq(store.start),
        ]
        if config.noise != Noise.NONE:
            m.d.comb += [
                columns.v0.eq(registers.v0),
                columns.v1.eq(registers.v1),
                columns.q_shift.eq(registers.q_shift),
                columns.key.eq(registers.key),
                columns.number.eq(registers.number),
            ]
        return m


class EmulatedCrossbar(wiring.Component):
    """An array as gates and block memory: the codes of ``behavioral.crossbar.Crossbar``.

    Bit for bit, noise included, for every image that :func:`~.image.check_image` lets pass. A
    reset forgets what is being converted; image, key and read number outlive it.

    Beats come later than from the other macros. Where that must not show, in the counters of a
    tile for instance, :class:`~.tile.EmulatedTile` holds the clock of the fabric meanwhile.

    Parameters
    ----------
    chip : Chip
        ``rows``, ``cols``, ``lanes`` and ``adc_bits`` are used.
    config : EmulatorConfig, optional

    Members
    -------
    cmd, codes
        See :class:`~ohmtwin.rtl.macro.MacroSignature`.
    load : In({en, addr, word})
        The image (:mod:`.image`), to be written while no read is under way.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    ValueError
        If ``config`` does not fit it.
    """

    def __init__(self, *, chip: Chip, config: EmulatorConfig | None = None) -> None:
        self.seam = CrossbarSeam(chip=chip)
        self.engine = CrossbarEngine(chip=chip, config=config or EmulatorConfig())
        super().__init__({**dict(MacroSignature(chip).members.items()), "load": In(load_signature)})

    @property
    def chip(self) -> Chip:
        return self.engine.chip

    @property
    def config(self) -> EmulatorConfig:
        return self.engine.config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.seam = seam = self.seam
        m.submodules.engine = engine = self.engine
        connect(m, flipped(self.cmd), seam.cmd)
        connect(m, flipped(self.codes), seam.codes)
        connect(m, flipped(self.load), engine.load)
        connect(m, seam.link, engine.link)
        return m
