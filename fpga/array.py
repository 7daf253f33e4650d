# SPDX-License-Identifier: Apache-2.0
"""A fabric for FPGAs that are too small for a tile: one emulated array, read over the link."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..arch.chip import Chip
from ..arch.link import Feature
from ..arch.messages import Kind
from ..rtl.macro import BEAT_BITS, MacroSignature
from .crossbar.emulator import EmulatedCrossbar
from .crossbar.image import EmulatorConfig
from .fabric import ImageGate
from .loading import check_beat, features, row_words

__all__ = ["ArrayFabric", "ArrayReader"]

_WORD = 64


class ArrayReader(wiring.Component):
    """READ_ARRAY to a command of a macro, its beats to CODES.

    One read at a time; what comes meanwhile waits. Messages of another kind are dropped.

    Parameters
    ----------
    chip : Chip
        ``rows``, ``lanes`` and ``adc_bits`` are used.

    Members
    -------
    i, o : In(stream of 64), Out(stream of 64)
        Messages.
    cmd, codes
        To the macro, as in :class:`~ohmtwin.rtl.macro.MacroSignature`.

    Raises
    ------
    ConfigError
        If a beat has more bits than a word.
    """

    def __init__(self, *, chip: Chip) -> None:
        check_beat(chip)
        self._chip = chip
        macro = MacroSignature(chip).flip().members
        super().__init__(
            {
                "i": In(stream.Signature(_WORD)),
                "o": Out(stream.Signature(_WORD)),
                "cmd": macro["cmd"],
                "codes": macro["codes"],
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows = Signal(_WORD * row_words(self._chip))
        beats = Signal(BEAT_BITS)
        left = Signal(16)  # payload words, or beats, still to come
        reading = Signal()
        m.d.comb += [
            self.cmd.payload.rows.eq(rows),
            self.cmd.payload.beats.eq(beats),
        ]
        with m.FSM():
            with m.State("HEADER"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [
                        left.eq(self.i.payload[16:32]),
                        beats.eq(self.i.payload[32:]),
                        reading.eq(self.i.payload[:8] == Kind.READ_ARRAY),
                    ]
                    with m.If(self.i.payload[16:32] != 0):
                        m.next = "PAYLOAD"
            with m.State("PAYLOAD"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [left.eq(left - 1), rows.eq(Cat(rows[_WORD:], self.i.payload))]
                    with m.If(left == 1):
                        m.next = "HEADER"
                        with m.If(reading):
                            m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.eq(Cat(Const(Kind.CODES, 16), beats)),
                ]
                m.d.sync += left.eq(beats)
                with m.If(self.o.ready):
                    m.next = "COMMAND"
            with m.State("COMMAND"):
                m.d.comb += self.cmd.valid.eq(1)
                with m.If(self.cmd.ready):
                    m.next = "CODES"
                    with m.If(beats == 0):
                        m.next = "HEADER"
            with m.State("CODES"):
                m.d.comb += [
                    self.o.valid.eq(self.codes.valid),
                    self.o.payload.eq(self.codes.payload),
                    self.codes.ready.eq(self.o.ready),
                ]
                with m.If(self.o.valid & self.o.ready):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "HEADER"
        return m


class ArrayFabric(wiring.Component):
    """One emulated array behind a stream of words, in the place of a tile.

    Parameters
    ----------
    chip : Chip
        Its array; it has one core.
    config : EmulatorConfig, optional

    Members
    -------
    i, o : In(stream of 64), Out(stream of 64)
        WRITE_IMAGE and READ_ARRAY in, CODES out.
    held : Out(1)
        A read is under way.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    ValueError
        If ``config`` does not fit it.
    ConfigError
        If a beat has more bits than a word.
    """

    def __init__(self, *, chip: Chip, config: EmulatorConfig | None = None) -> None:
        self._reader = ArrayReader(chip=chip)
        self._array = EmulatedCrossbar(chip=chip, config=config)
        super().__init__(
            {"i": In(stream.Signature(_WORD)), "o": Out(stream.Signature(_WORD)), "held": Out(1)}
        )

    @property
    def chip(self) -> Chip:
        return self._array.chip

    @property
    def config(self) -> EmulatorConfig:
        return self._array.config

    @property
    def features(self) -> int:
        """Bits of :class:`~ohmtwin.arch.link.Feature`."""
        return features(self.config) | Feature.ARRAY_ONLY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.gate = gate = ImageGate()
        m.submodules.reader = reader = self._reader
        m.submodules.array = array = self._array
        connect(m, flipped(self.i), gate.i)
        connect(m, gate.o, reader.i)
        connect(m, reader.o, flipped(self.o))
        connect(m, reader.cmd, array.cmd)
        connect(m, array.codes, reader.codes)
        m.d.comb += [
            array.load.addr.eq(gate.load.addr),
            array.load.word.eq(gate.load.word),
            array.load.en.eq(gate.load.en & (gate.load_core == 0)),
            self.held.eq(~array.cmd.ready),
        ]
        return m
