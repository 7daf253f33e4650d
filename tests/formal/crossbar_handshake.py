# SPDX-License-Identifier: Apache-2.0
"""What the handshake of an emulated crossbar promises, and why it keeps it."""

from typing import Any

from amaranth.asserts import AnySeq
from amaranth.hdl import (
    Assert,
    Assume,
    Cat,
    Const,
    Cover,
    EnableInserter,
    Module,
    Mux,
    ResetSignal,
    Signal,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import connect

from ohmtwin.arch.chip import Chip
from ohmtwin.fpga.crossbar.emulator import CrossbarEngine, EmulatedCrossbar
from ohmtwin.fpga.crossbar.image import EmulatorConfig, Noise, Widths
from ohmtwin.fpga.crossbar.seam import BeatStore, CrossbarSeam
from ohmtwin.rtl.macro import BEAT_BITS

__all__ = ["CHIP", "COLUMNS", "Emulator", "Handshake", "Held", "Shared"]

CHIP = Chip(rows=8, cols=8, cell_bits=1, lanes=2, adc_bits=1, rows_per_read=1)

COLUMNS = 4
"""Columns of a group; two beats."""


def promise(m: Module, cmd: Any, codes: Any, *, payload: Any) -> Signal:
    """No beat that is not owed, no read before the last is done, nothing withdrawn; the debt.

    ``payload`` is what must stand still with a beat.
    """
    owed = Signal(BEAT_BITS)
    offered = Signal()  # a beat was offered in the cycle before, and not taken
    before = Signal.like(payload, reset_less=True)
    transfer = codes.valid & codes.ready
    accept = cmd.valid & cmd.ready
    with m.If(transfer):
        m.d.sync += owed.eq(owed - 1)
    with m.If(accept):
        m.d.sync += owed.eq(cmd.payload.beats)
        m.d.comb += Assert((owed == 0) | ((owed == 1) & transfer))
    with m.If(codes.valid):
        m.d.comb += Assert(owed != 0)
    m.d.sync += [offered.eq(codes.valid & ~codes.ready), before.eq(payload)]
    with m.If(offered):
        m.d.comb += [Assert(codes.valid), Assert(payload == before)]
    return owed


def drive(m: Module, cmd: Any, codes: Any) -> None:
    """Any command and any pace of either side."""
    rows, beats = Signal(CHIP.rows), Signal(BEAT_BITS)
    m.d.comb += [
        rows.eq(AnySeq(CHIP.rows)),
        beats.eq(AnySeq(BEAT_BITS)),
        cmd.payload.rows.eq(rows),
        cmd.payload.beats.eq(beats),
        cmd.valid.eq(AnySeq(1)),
        codes.ready.eq(AnySeq(1)),
    ]


def explain(m: Module, seam: CrossbarSeam, store: BeatStore) -> None:
    """Why seam and store keep the promise: what the induction stands on."""
    due, taken, written = store.due, seam.link.taken, store.written
    behind = Signal(2)
    m.d.comb += [
        behind.eq(seam.link.serial - store.seen),
        # A reset may leave one read that nobody waits for, and another follow it.
        Assert(behind != 3),
        Assert((behind != 2) | (seam.left != 0) | (due == 0)),
        Assert(store.idle == (due == 0)),
        Assert(~store.start | (store.idle & ((behind == 1) | (behind == 2)))),
        Assert((behind == 0) | (seam.link.beats != 0)),
        Assert(seam.none == (seam.left == 0)),
        Assert(seam.last == (seam.left == 1)),
        # Beats are taken of the read under way only, and not before they are written.
        Assert((behind == 0) | (taken == 0)),
        Assert((behind != 0) | (due == 0) | (taken <= written)),
        Assert(written * CHIP.lanes + store.lane + due <= CHIP.cols),
    ]


class Handshake(wiring.Component):
    """Seam and store; codes that are due may come at any time, resets too."""

    def __init__(self, seam: type[CrossbarSeam] = CrossbarSeam) -> None:
        self.seam = seam(chip=CHIP)
        self.store = BeatStore(chip=CHIP, columns=COLUMNS)
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.seam = seam = self.seam
        m.submodules.store = store = self.store
        connect(m, seam.link, store.link)
        drive(m, seam.cmd, seam.codes)
        m.d.comb += [
            store.go.eq(AnySeq(1)),
            store.codes.payload.eq(AnySeq(1)),
            store.codes.valid.eq(AnySeq(1)),
            # Proven of the whole emulator.
            Assume(~store.codes.valid | (store.due != 0)),
        ]
        owed = promise(m, seam.cmd, seam.codes, payload=seam.codes.payload)
        m.d.comb += Assert(owed == seam.left)
        with m.If(seam.stall):
            m.d.comb += Assert((owed != 0) & ~seam.codes.valid)
        explain(m, seam, store)
        return m


class Held(wiring.Component):
    """A seam whose clock a register holds, as in an emulated tile: no beat is due while it runs."""

    def __init__(self, seam: type[CrossbarSeam] = CrossbarSeam) -> None:
        self.seam = seam(chip=CHIP, held=True)
        self.store = BeatStore(chip=CHIP, columns=COLUMNS)
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        run = Signal(init=1)
        seam, store = self.seam, self.store
        m.submodules.seam = EnableInserter(run)(seam)
        m.submodules.store = store
        connect(m, seam.link, store.link)
        drive(m, seam.cmd, seam.codes)
        m.d.sync += run.eq(seam.soon)
        m.d.comb += [
            seam.run.eq(run),
            store.go.eq(AnySeq(1)),
            store.codes.payload.eq(AnySeq(1)),
            store.codes.valid.eq(AnySeq(1)),
            Assume(~store.codes.valid | (store.due != 0)),
            Assert(~(run & seam.stall)),
        ]
        # It is held for a cycle too long at most.
        ready = Signal()
        m.d.sync += ready.eq(~run & ~seam.stall)
        with m.If(ready):
            m.d.comb += Assert(run)
        explain(m, seam, store)
        # Three reads, with beats of their own, get through.
        reads = Signal(2)
        with m.If(run & seam.cmd.valid & seam.cmd.ready & (seam.cmd.payload.beats == 2)):
            m.d.sync += reads.eq(reads + 1)
        m.d.comb += Cover(reads == 3)
        return m


CONFIG = EmulatorConfig(columns=COLUMNS, noise=Noise.NONE, adc_table=False, widths=Widths(cell=13))


def columns_due(m: Module, engine: CrossbarEngine) -> Signal:
    """Codes of the read under way: columns of groups not begun or not complete, columns on offer,
    and columns on their way through the converter."""
    sums = engine.sums
    groups = Signal(8)
    due = Signal(8)
    with m.If(~sums.idle):
        m.d.comb += groups.eq(sums.groups - sums.group + (sums.group != 0))
    columns = sums.left + engine.columns.o.valid + sum(engine.converter.valid, Const(0, 1))
    m.d.comb += [
        due.eq(sum(sums.captures, groups) * COLUMNS + columns),
        Assert(sums.idle | ((sums.group <= sums.groups) & (sums.groups != 0))),
        Assert(sums.left <= COLUMNS),
    ]
    return due


def any_words(m: Module, load: Any) -> None:
    """Any image, written at any time."""
    m.d.comb += [
        load.en.eq(AnySeq(1)),
        load.addr.eq(AnySeq(20)),
        load.word.eq(AnySeq(32)),
    ]


class Emulator(wiring.Component):
    """A small emulator as a whole; resets may come at any time."""

    def __init__(self, *, resets: bool = True) -> None:
        self.dut = EmulatedCrossbar(chip=CHIP, config=CONFIG)
        self._resets = resets
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = self.dut
        seam, engine = dut.seam, dut.engine
        sums, store = engine.sums, engine.stores[0]
        drive(m, dut.cmd, dut.codes)
        any_words(m, dut.load)
        # With the codes themselves nothing would be left out of the search; see Handshake.
        owed = promise(m, dut.cmd, dut.codes, payload=Const(0, 1))
        m.d.comb += Assert(owed == seam.left)
        explain(m, seam, store)
        m.d.comb += [
            # So codes are never more than are due.
            Assert(store.due == columns_due(m, engine)),
            Assert(~store.codes.valid | (store.due != 0)),
            # A read that begins finds nothing of the last.
            Assert(~store.start | (sums.idle & (sums.left == 0))),
        ]

        if not self._resets:
            m.d.comb += Assume(~ResetSignal())
        reads = Signal(3)
        with m.If(dut.cmd.valid & dut.cmd.ready & (dut.cmd.payload.beats == CHIP.beats)):
            m.d.sync += reads.eq(reads + 1)
        m.d.comb += Cover(reads == 2)
        return m


class Shared(wiring.Component):
    """An engine that two arrays share; resets may come at any time."""

    def __init__(
        self, engine: type[CrossbarEngine] = CrossbarEngine, *, resets: bool = True
    ) -> None:
        self.engine = engine(chip=CHIP, config=CONFIG, arrays=2)
        self.seams = [CrossbarSeam(chip=CHIP) for _ in range(2)]
        self._resets = resets
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.engine = engine = self.engine
        any_words(m, engine.load)
        m.d.comb += engine.load_array.eq(AnySeq(1))
        due = columns_due(m, engine)
        through = []
        for k, (seam, store) in enumerate(zip(self.seams, engine.stores, strict=True)):
            m.submodules[f"seam{k}"] = seam
            connect(m, seam.link, engine.link[k])
            drive(m, seam.cmd, seam.codes)
            owed = promise(m, seam.cmd, seam.codes, payload=Const(0, 1))
            m.d.comb += Assert(owed == seam.left)
            explain(m, seam, store)
            m.d.comb += [
                # All that is under way is of one array, and its codes go to that one.
                Assert(store.due == Mux(engine.array == k, due, 0)),
                Assert(~store.codes.valid | (store.due != 0)),
                Assert(~store.start | ((engine.array == k) & engine.sums.idle & (due == 0))),
            ]
            done = Signal(2)
            with m.If(seam.codes.valid & seam.codes.ready & (done != 2)):
                m.d.sync += done.eq(done + 1)
            through.append(done == 2)
        if not self._resets:
            m.d.comb += Assume(~ResetSignal())
        m.d.comb += Cover(Cat(through).all())
        return m
