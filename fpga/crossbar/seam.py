# SPDX-License-Identifier: Apache-2.0
"""The handshake of an emulated crossbar: from reads to beats, at a clock that may be held."""

from amaranth.hdl import Cat, Module, ResetSignal, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.chip import Chip
from ...rtl.checks import check_chip
from ...rtl.macro import BEAT_BITS, MacroSignature
from .image import check_arrays
from .ports import SERIAL_BITS, LinkSignature

__all__ = ["BeatStore", "CrossbarSeam"]


class CrossbarSeam(wiring.Component):
    """The macro's side of an emulated crossbar: takes reads and hands out beats.

    It takes a read when it owes no beat, or with the last one. Whatever computes the codes may
    run on while the clock of this side is held: hold it in every cycle in which ``stall`` is 1,
    and the fabric sees beats in the very cycles in which :class:`~ohmtwin.rtl.macro.IdealMacro`
    offers them; do not, and it sees a macro that takes its time.

    Parameters
    ----------
    chip : Chip
    held : bool
        A register holds the clock of this side as ``soon`` has it: so a beat that is due while the
        clock runs is there, and the fabric need not wait to be told.

    Members
    -------
    cmd, codes
        See :class:`~ohmtwin.rtl.macro.MacroSignature`.
    link : Out(LinkSignature)
        To the engine.
    stall : Out(1)
        A beat is due that is not there yet.
    run, soon : In(1), Out(1)
        The clock of this side moves in this cycle; then, or if it does not, no beat will be due
        in the next cycle that is not there by now. So ``soon``, a cycle later, is never 1 where
        ``stall`` is, though it may be 0 for a cycle in which nothing stalls: a register for the
        clock to be held by.
    """

    def __init__(self, *, chip: Chip, held: bool = False) -> None:
        self._chip = check_chip(chip)
        check_arrays(chip)
        self._held = held
        super().__init__(
            {
                **dict(MacroSignature(chip).members.items()),
                "link": Out(LinkSignature(chip)),
                "stall": Out(1),
                "run": In(1, init=1),
                "soon": Out(1),
            }
        )
        # Made here for the proofs, which look into them: beats not yet transferred; there is none,
        # there is one. Registers, since the fabric hangs on them.
        self.left = Signal(BEAT_BITS)
        self.none = Signal(init=1)
        self.last = Signal()

    @property
    def chip(self) -> Chip:
        return self._chip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left, none, last = self.left, self.none, self.last
        # A read that was taken counts, whatever a reset does to its beats.
        serial = Signal(SERIAL_BITS, reset_less=True)
        rows = Signal(self._chip.rows, reset_less=True)
        beats = Signal(BEAT_BITS, reset_less=True)
        accept = Signal()
        taken = Signal()
        m.d.comb += [
            self.link.serial.eq(serial),
            self.link.rows.eq(rows),
            self.link.beats.eq(beats),
            self.stall.eq(~none & ~self.link.ready),
            self.codes.valid.eq(~none & (self.link.ready | self._held)),
            self.codes.payload.eq(self.link.beat),
            self.cmd.ready.eq(none | (last & self.codes.valid & self.codes.ready)),
            accept.eq(self.cmd.valid & self.cmd.ready),
            taken.eq(self.codes.valid & self.codes.ready),
        ]
        with m.If(self.run & accept):
            # The first beat of a read takes time.
            m.d.comb += self.soon.eq(self.cmd.payload.beats == 0)
        with m.Elif(self.run & taken):
            m.d.comb += self.soon.eq(last | self.link.more)
        with m.Else():
            m.d.comb += self.soon.eq(none | self.link.ready)
        beats_in = self.cmd.payload.beats
        with m.If(taken):
            m.d.sync += [left.eq(left - 1), self.link.taken.eq(self.link.taken + 1)]
            m.d.sync += [none.eq(last), last.eq(left == 2)]
        with m.If(accept):
            m.d.sync += [left.eq(beats_in), self.link.taken.eq(0)]
            m.d.sync += [none.eq(beats_in == 0), last.eq(beats_in == 1)]
            # A read of nothing is not made, nor is one that comes with a reset.
            with m.If((beats_in != 0) & ~ResetSignal()):
                m.d.sync += [
                    serial.eq(serial + 1),
                    rows.eq(self.cmd.payload.rows),
                    beats.eq(self.cmd.payload.beats),
                ]
        return m


class BeatStore(wiring.Component):
    """The engine's side: begins reads, puts codes together to beats, and keeps these.

    A read begins once the codes of all columns of the last are out, wanted or not, and the engine
    has nothing else to do. One that a reset left behind, with another after it, only counts.

    Parameters
    ----------
    chip : Chip
    columns : int
        Columns of a group: a read converts whole groups.

    Members
    -------
    link : In(LinkSignature)
        From the seam.
    wants, go : Out(1), In(1)
        There is a read to begin; it may, in the next cycle.
    start : Out(1)
        It begins: a register.
    busy : Out(1)
        It begins, or codes of it are still to come.
    counted : Out(1)
        A read begins, or only counts.
    groups : Out(range(groups + 1))
        Groups to convert, from the cycle after ``start`` on.
    due : Out(range(cols + 1))
        Codes of the read that are still to come.
    codes : In(stream of adc_bits)
        Codes in the order of columns, as many as are due.
    """

    def __init__(self, *, chip: Chip, columns: int) -> None:
        self._chip = check_chip(chip)
        self._group_bits = (columns - 1).bit_length()
        super().__init__(
            {
                "link": In(LinkSignature(chip)),
                "wants": Out(1),
                "go": In(1, init=1),
                "start": Out(1),
                "busy": Out(1),
                "counted": Out(1),
                "groups": Out(range(chip.cols // columns + 1)),
                "due": Out(range(chip.cols + 1)),
                "codes": In(stream.Signature(chip.adc_bits, always_ready=True)),
            }
        )
        # Made here for the proofs, which look into them.
        self.seen = Signal(SERIAL_BITS, reset_less=True)
        self.idle = Signal(init=1)  # no code is due: a register, since all reads hang on it
        self.written = Signal(range(chip.beats + 1))
        self.lane = Signal(range(chip.lanes))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip, link = self._chip, self.link
        seen, written = self.seen, self.written
        behind = Signal(SERIAL_BITS)
        asked = Signal(range((chip.beats + 1) * chip.lanes))
        whole = (1 << self._group_bits) - 1
        beats = Signal(range(chip.beats + 1))
        groups = Signal.like(self.groups)
        m.d.comb += [
            behind.eq(link.serial - seen),
            self.busy.eq(~self.idle | self.start),
            self.wants.eq(~self.busy & (behind == 1)),
            # In a reset it counts, and is forgotten.
            self.counted.eq(self.start | (~self.busy & (behind == 2))),
            beats.eq(link.beats),
            asked.eq(beats * chip.lanes + whole),
            groups.eq(asked >> self._group_bits),
        ]
        with m.If(link.beats > chip.beats):
            m.d.comb += beats.eq(chip.beats)
        m.d.sync += self.start.eq(self.wants & self.go)
        with m.If(self.codes.valid):
            m.d.sync += [self.due.eq(self.due - 1), self.idle.eq(self.due == 1)]
        with m.If(self.start):
            # Kept: after a reset, a read that nobody waits for may still be under way when the
            # next comes over the link.
            m.d.sync += [
                self.due.eq(groups << self._group_bits),
                self.groups.eq(groups),
                self.idle.eq(0),
            ]
        with m.If(self.counted):
            m.d.sync += seen.eq(seen + 1)

        m.submodules.beats = store = memory.Memory(
            shape=chip.lanes * chip.adc_bits, depth=chip.beats, init=[]
        )
        put, get = store.write_port(), store.read_port(domain="comb")
        lane = self.lane
        codes = Signal((chip.lanes - 1) * chip.adc_bits, reset_less=True)
        beat = Cat(codes, self.codes.payload)
        m.d.comb += [
            put.addr.eq(written),
            put.data.eq(beat),
            put.en.eq(self.codes.valid & (lane == chip.lanes - 1)),
            get.addr.eq(link.taken),
            link.beat.eq(get.data),
            # A read of more beats than there are gets old ones, but never waits for ever.
            link.ready.eq((link.serial == seen) & ((written != link.taken) | self.idle)),
            link.more.eq((link.serial == seen) & ((written != link.taken + 1) | self.idle)),
        ]
        with m.If(self.codes.valid):
            m.d.sync += [codes.eq(beat[chip.adc_bits :]), lane.eq(lane + 1)]
        with m.If(put.en):
            m.d.sync += written.eq(written + 1)
        with m.If(self.start):
            m.d.sync += [written.eq(0), lane.eq(0)]
        return m
