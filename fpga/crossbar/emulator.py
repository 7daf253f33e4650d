# SPDX-License-Identifier: Apache-2.0
"""The synthesizable crossbar behind the macro's ports."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Signal
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
    """What computes the codes of an emulated crossbar, or of several, one read after another.

    Each has memories, registers and beats of its own. Of reads that wait, the one of the first
    array begins; a tile that is held until the beats of all have come keeps none waiting.

    Parameters
    ----------
    chip : Chip
    config : EmulatorConfig
    arrays : int
        At least one.

    Members
    -------
    link : In(LinkSignature).array(arrays)
        From the seams.
    load, load_array : In({en, addr, word}), In(range(arrays))
        The images (:mod:`.image`), to be written while no read is under way.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    ValueError
        If ``config`` does not fit it, or there is no array.
    """

    def __init__(self, *, chip: Chip, config: EmulatorConfig, arrays: int = 1) -> None:
        self._chip = check_chip(chip)
        config.check(chip)
        if arrays < 1:
            raise ValueError(f"An engine computes at least one array, not {arrays}")
        self._config = config
        super().__init__(
            {
                "link": In(LinkSignature(chip)).array(arrays),
                "load": In(load_signature),
                "load_array": In(range(arrays)),
            }
        )
        # Made here for the proofs, which look into them.
        self.stores = [BeatStore(chip=chip, columns=config.columns) for _ in range(arrays)]
        self.sums = ColumnSums(chip=chip, config=config, arrays=arrays)
        self.columns = _COLUMNS[config.noise](chip=chip, config=config)
        self.converter = ColumnConverter(chip=chip, config=config, arrays=arrays)
        self.array = Signal(range(arrays), reset_less=True)  # whose read is under way

    @property
    def chip(self) -> Chip:
        return self._chip

    @property
    def config(self) -> EmulatorConfig:
        return self._config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, stores = self._config, self.stores
        m.submodules.sums = sums = self.sums
        m.submodules.columns = columns = self.columns
        m.submodules.converter = converter = self.converter
        connect(m, sums.o, columns.i)
        connect(m, columns.o, converter.i)

        # Words fan out to all memories, from registers of their own.
        en = Signal()
        addr = Signal.like(self.load.addr, reset_less=True)
        word = Signal.like(self.load.word, reset_less=True)
        loaded = Signal.like(self.load_array, reset_less=True)
        m.d.sync += [en.eq(self.load.en), addr.eq(self.load.addr), word.eq(self.load.word)]
        m.d.sync += loaded.eq(self.load_array)
        for part in (sums, converter):
            m.d.comb += [part.load.en.eq(en), part.load.addr.eq(addr), part.load.word.eq(word)]
            m.d.comb += part.load_array.eq(loaded)

        array = self.array
        chosen = Signal.like(array)  # whose read is to begin
        start, busy = Signal(), Signal()
        m.d.comb += [
            start.eq(Cat(store.start for store in stores).any()),
            busy.eq(Cat(store.busy for store in stores).any()),
        ]
        for k in reversed(range(len(stores))):
            with m.If(stores[k].wants):
                m.d.comb += chosen.eq(k)
        with m.If(~busy):
            m.d.sync += array.eq(chosen)

        files = []
        for k, store in enumerate(stores):
            m.submodules[f"store{k}"] = store
            connect(m, flipped(self.link[k]), store.link)
            m.submodules[f"registers{k}"] = registers = EmulatorRegisters(config=config)
            files.append(registers)
            m.d.comb += [
                store.go.eq(~busy & (chosen == k)),
                store.codes.payload.eq(converter.o.payload),
                store.codes.valid.eq(converter.o.valid & (array == k)),
                registers.load.en.eq(en & (loaded == k)),
                registers.load.addr.eq(addr),
                registers.load.word.eq(word),
                registers.next.eq(store.counted),
            ]
        m.d.comb += [
            sums.start.eq(start),
            sums.array.eq(array),
            sums.rows.eq(Array(link.rows for link in self.link)[array]),
            sums.groups.eq(Array(store.groups for store in stores)[array]),
            columns.start.eq(start),
            columns.reference.eq(sums.reference),
            converter.start.eq(start),
            converter.array.eq(array),
        ]
        if config.noise != Noise.NONE:
            own = Array(files)[array]
            m.d.comb += [
                columns.v0.eq(own.v0),
                columns.v1.eq(own.v1),
                columns.q_shift.eq(own.q_shift),
                columns.key.low.eq(own.key.low),
                columns.key.high.eq(own.key.high),
                columns.number.eq(own.number),
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
        connect(m, seam.link, engine.link[0])
        return m
