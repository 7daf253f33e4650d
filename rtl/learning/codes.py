# SPDX-License-Identifier: Apache-2.0
"""Asks the macro for a read and keeps its codes, until they are taken one by one."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.learning import LearnChip
from ...arch.learning_isa import ADDRESS_BITS
from .macro import (
    ARRAY_BITS,
    BEAT_BITS,
    CODE_BITS,
    SHIFT_BITS,
    beats_for,
    check_learn_chip,
    learn_command_layout,
)

__all__ = ["CodeBuffer"]


class _State(enum.Enum, shape=2):
    IDLE = 0
    COUNT = 1
    COMMAND = 2
    CODES = 3


class CodeBuffer(wiring.Component):
    """One read at a time: a cycle for every beat to count them, one for the command, and as many
    again, and what the macro lets it wait.

    Parameters
    ----------
    chip : LearnChip

    Members
    -------
    start : In(1)
    array, transposed, shift, outputs : In(6), In(1), In(6), In(20)
        Held from ``start`` until all codes are taken.
    done : Out(1)
        A strobe: the last beat has come.
    saturated : Out(1)
        With ``done``: a code of one of the outputs stands at an end of its range.
    rewind : In(1)
        The first code is next.
    enable, next : In(1), In(1)
        With ``enable``, the next code is at ``code`` from the next cycle on; with ``next`` too, it
        is the turn of the one behind it.
    code : Out(signed(16))
    cmd, codes : Out(stream of reads), In(stream of beats)
        To and from the macro.

    Raises
    ------
    TypeError, ValueError
        As :func:`~.macro.check_learn_chip`.
    """

    def __init__(self, *, chip: LearnChip) -> None:
        self._chip = check_learn_chip(chip)
        self._lanes = max(chip.lanes, chip.backward_lanes)
        super().__init__(
            {
                "start": In(1),
                "array": In(ARRAY_BITS),
                "transposed": In(1),
                "shift": In(SHIFT_BITS),
                "outputs": In(ADDRESS_BITS),
                "done": Out(1),
                "saturated": Out(1),
                "rewind": In(1),
                "enable": In(1),
                "next": In(1),
                "code": Out(signed(CODE_BITS)),
                "cmd": Out(stream.Signature(learn_command_layout())),
                "codes": In(stream.Signature(self._lanes * CODE_BITS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip, lanes = self._chip, self._lanes
        depth = max(beats_for(chip.cols, chip.lanes), beats_for(chip.rows, chip.backward_lanes))
        m.submodules.kept = kept = memory.Memory(shape=lanes * CODE_BITS, depth=depth, init=[])
        keep, show = kept.write_port(), kept.read_port()
        state = Signal(_State)
        many = Signal(range(lanes + 1))
        beats = Signal(BEAT_BITS)
        left = Signal(signed(ADDRESS_BITS + 1))  # outputs
        beat = Signal(BEAT_BITS)
        lane = Signal(range(max(2, lanes)))
        shown = Signal.like(lane)
        full = Signal()
        any_full = Signal()
        top = (1 << (chip.adc_bits - 1)) - 1
        for k in range(lanes):
            code = self.codes.payload.word_select(k, CODE_BITS).as_signed()
            with m.If((k < left) & (k < many) & ((code == top) | (code == -top))):
                m.d.comb += full.eq(1)
        m.d.comb += [
            many.eq(Mux(self.transposed, chip.backward_lanes, chip.lanes)),
            self.cmd.payload.array.eq(self.array),
            self.cmd.payload.transposed.eq(self.transposed),
            self.cmd.payload.shift.eq(self.shift),
            self.cmd.payload.beats.eq(beats),
            self.cmd.valid.eq(state == _State.COMMAND),
            self.codes.ready.eq(state == _State.CODES),
            keep.addr.eq(beat),
            keep.data.eq(self.codes.payload),
            keep.en.eq(self.codes.ready & self.codes.valid),
            show.addr.eq(beat),
            show.en.eq(self.enable),
            self.code.eq(show.data.word_select(shown, CODE_BITS)),
            self.saturated.eq(any_full | full),
            self.done.eq(keep.en & (beat == beats - 1)),
        ]
        with m.If(self.enable):
            m.d.sync += shown.eq(lane)
        with m.If(self.next):
            m.d.sync += lane.eq(lane + 1)
            with m.If(lane == many - 1):
                m.d.sync += [lane.eq(0), beat.eq(beat + 1)]
        with m.If(self.rewind):
            m.d.sync += [lane.eq(0), beat.eq(0)]
        with m.Switch(state):
            with m.Case(_State.IDLE), m.If(self.start):
                m.d.sync += [beats.eq(0), left.eq(self.outputs), state.eq(_State.COUNT)]
            with m.Case(_State.COUNT):
                m.d.sync += [beats.eq(beats + 1), left.eq(left - many)]
                with m.If(left <= many):
                    m.d.sync += [
                        left.eq(self.outputs),
                        beat.eq(0),
                        any_full.eq(0),
                        state.eq(_State.COMMAND),
                    ]
            with m.Case(_State.COMMAND), m.If(self.cmd.ready):
                m.d.sync += state.eq(_State.CODES)
            with m.Case(_State.CODES), m.If(self.codes.valid):
                m.d.sync += [
                    beat.eq(beat + 1),
                    left.eq(left - many),
                    any_full.eq(any_full | full),
                ]
                with m.If(self.done):
                    m.d.sync += state.eq(_State.IDLE)
        return m
