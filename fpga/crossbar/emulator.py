# SPDX-License-Identifier: Apache-2.0
"""The synthesizable crossbar behind the macro's ports."""

from amaranth.hdl import Cat, Module, ResetSignal, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ...arch.chip import Chip
from ...rtl.checks import check_chip
from ...rtl.macro import BEAT_BITS, MacroSignature
from .column import ColumnConverter, NoisyColumns, QuietColumns
from .image import EmulatorConfig, Noise
from .ports import SERIAL_BITS, LinkSignature, load_signature
from .registers import EmulatorRegisters
from .serial import SerialColumns
from .sums import ColumnSums

__all__ = ["CrossbarEngine", "CrossbarSeam", "EmulatedCrossbar"]

_COLUMNS = {
    Noise.PIPELINED: NoisyColumns,
    Noise.ITERATIVE: SerialColumns,
    Noise.NONE: QuietColumns,
}


class CrossbarSeam(wiring.Component):
    """The macro's side of an emulated crossbar: takes reads and hands out beats.

    It takes a read when it owes no beat, or with the last one. Whatever computes the codes may
    run on while the clock of this side is held: hold it in every cycle in which ``stall`` is 1,
    and the fabric sees beats in the very cycles in which :class:`~ohmtwin.rtl.macro.IdealMacro`
    offers them; do not, and it sees a macro that takes its time.

    Parameters
    ----------
    chip : Chip

    Members
    -------
    cmd, codes
        See :class:`~ohmtwin.rtl.macro.MacroSignature`.
    link : Out(LinkSignature)
        To the engine.
    stall : Out(1)
        A beat is due that is not there yet.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._chip = check_chip(chip)
        super().__init__(
            {
                **dict(MacroSignature(chip).members.items()),
                "link": Out(LinkSignature(chip)),
                "stall": Out(1),
            }
        )

    @property
    def chip(self) -> Chip:
        return self._chip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(BEAT_BITS)  # beats not yet transferred
        # A read that was taken counts, whatever a reset does to its beats.
        serial = Signal(SERIAL_BITS, reset_less=True)
        rows = Signal(self._chip.rows, reset_less=True)
        beats = Signal(BEAT_BITS, reset_less=True)
        accept = Signal()
        m.d.comb += [
            self.link.serial.eq(serial),
            self.link.rows.eq(rows),
            self.link.beats.eq(beats),
            self.stall.eq((left != 0) & ~self.link.ready),
            self.codes.valid.eq((left != 0) & self.link.ready),
            self.codes.payload.eq(self.link.beat),
            self.cmd.ready.eq((left == 0) | ((left == 1) & self.codes.valid & self.codes.ready)),
            accept.eq(self.cmd.valid & self.cmd.ready & ~ResetSignal()),
        ]
        with m.If(self.codes.valid & self.codes.ready):
            m.d.sync += [left.eq(left - 1), self.link.taken.eq(self.link.taken + 1)]
        with m.If(accept):
            m.d.sync += [left.eq(self.cmd.payload.beats), self.link.taken.eq(0)]
            # A read of nothing is not made.
            with m.If(self.cmd.payload.beats != 0):
                m.d.sync += [
                    serial.eq(serial + 1),
                    rows.eq(self.cmd.payload.rows),
                    beats.eq(self.cmd.payload.beats),
                ]
        return m


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

    @property
    def chip(self) -> Chip:
        return self._chip

    @property
    def config(self) -> EmulatorConfig:
        return self._config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip, config = self._chip, self._config
        m.submodules.registers = registers = EmulatorRegisters(config=config)
        m.submodules.sums = sums = ColumnSums(chip=chip, config=config)
        m.submodules.columns = columns = _COLUMNS[config.noise](chip=chip, config=config)
        m.submodules.converter = converter = ColumnConverter(chip=chip, config=config)
        connect(m, sums.o, columns.i)
        connect(m, columns.o, converter.i)

        # Words fan out to all memories, from registers of their own.
        en = Signal()
        addr = Signal.like(self.load.addr, reset_less=True)
        word = Signal.like(self.load.word, reset_less=True)
        m.d.sync += [en.eq(self.load.en), addr.eq(self.load.addr), word.eq(self.load.word)]
        for part in (registers, sums, converter):
            m.d.comb += [part.load.en.eq(en), part.load.addr.eq(addr), part.load.word.eq(word)]

        # Reads begin when the codes of all columns of the last are out, wanted or not.
        at_once = config.columns
        seen = Signal(SERIAL_BITS, reset_less=True)
        due = Signal(range(chip.cols + 1))  # codes still to come
        start = Signal()
        asked = self.link.beats * chip.lanes + (at_once - 1)
        groups = Signal(range(sums.all_groups + 1))
        m.d.comb += [
            start.eq((due == 0) & (self.link.serial != seen) & ~ResetSignal()),
            groups.eq(asked >> (at_once - 1).bit_length()),
            sums.start.eq(start),
            sums.rows.eq(self.link.rows),
            sums.groups.eq(groups),
            registers.next.eq(start),
            columns.start.eq(start),
            columns.reference.eq(sums.reference),
            converter.start.eq(start),
        ]
        if config.noise != Noise.NONE:
            m.d.comb += [
                columns.v0.eq(registers.v0),
                columns.v1.eq(registers.v1),
                columns.q_shift.eq(registers.q_shift),
                columns.key.eq(registers.key),
                columns.number.eq(registers.number),
            ]
        with m.If(converter.o.valid):
            m.d.sync += due.eq(due - 1)
        with m.If(start):
            m.d.sync += [seen.eq(seen + 1), due.eq(groups << (at_once - 1).bit_length())]

        # Codes are put together to beats, which wait here until they are taken.
        m.submodules.beats = store = memory.Memory(
            shape=chip.lanes * chip.adc_bits, depth=chip.beats, init=[]
        )
        put, get = store.write_port(), store.read_port(domain="comb")
        written = Signal(range(chip.beats + 1))
        lane = Signal(range(chip.lanes))
        codes = Signal((chip.lanes - 1) * chip.adc_bits, reset_less=True)
        beat = Cat(codes, converter.o.payload)
        m.d.comb += [
            put.addr.eq(written),
            put.data.eq(beat),
            put.en.eq(converter.o.valid & (lane == chip.lanes - 1)),
            get.addr.eq(self.link.taken),
            self.link.beat.eq(get.data),
            # A read of more beats than there are gets old ones, but never waits for ever.
            self.link.ready.eq(
                (self.link.serial == seen) & ((written != self.link.taken) | (due == 0))
            ),
        ]
        with m.If(converter.o.valid):
            m.d.sync += [codes.eq(beat[chip.adc_bits :]), lane.eq(lane + 1)]
        with m.If(put.en):
            m.d.sync += written.eq(written + 1)
        with m.If(start):
            m.d.sync += [written.eq(0), lane.eq(0)]
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
        self._seam = CrossbarSeam(chip=chip)
        self._engine = CrossbarEngine(chip=chip, config=config or EmulatorConfig())
        super().__init__({**dict(MacroSignature(chip).members.items()), "load": In(load_signature)})

    @property
    def chip(self) -> Chip:
        return self._engine.chip

    @property
    def config(self) -> EmulatorConfig:
        return self._engine.config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.seam = seam = self._seam
        m.submodules.engine = engine = self._engine
        connect(m, flipped(self.cmd), seam.cmd)
        connect(m, flipped(self.codes), seam.codes)
        connect(m, flipped(self.load), engine.load)
        connect(m, seam.link, engine.link)
        return m
