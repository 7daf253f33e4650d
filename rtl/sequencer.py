# SPDX-License-Identifier: Apache-2.0
"""The sequencer: instruction memory, the address of the next instruction, and loops."""

from itertools import pairwise

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from ..arch.isa import FORMATS, LOOP_DEPTH, OPCODE, Opcode
from .checks import check_chip

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Reads instructions ahead, so that they execute from a register.

    Block RAM is slow: what it reads in one cycle has half of the next one left. So the instruction
    that follows is read in the first cycle of execution, when its address stands in a register;
    ``fetch`` finds it at the memory's port and takes it to ``word``.

    Parameters
    ----------
    chip : Chip
        ``program_words`` is used.

    Members
    -------
    begin : In(1)
        A program starts: the next cycle may fetch its first instruction.
    fetch : In(1)
        Take an instruction; the next cycle executes it, for the first time.
    finish : In(1)
        The last cycle of an instruction; the next one may fetch. The address of a HALT stays.
    forget : In(1)
        No loop is under way any longer.
    pc : Out(range(program_words))
        Of the instruction that is fetched or executes.
    coming, word : Out(64)
        The instruction, in the cycle of ``fetch`` and from the next one on.
    bad_loop : Out(1)
        It is a LOOP without a body, or one level too deep.
    write_program, write_addr, write_data : In(1), In(range(program_words)), In(64)
        Write port of instruction memory.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._words = check_chip(chip).program_words
        address = range(self._words)
        super().__init__(
            {
                "begin": In(1),
                "fetch": In(1),
                "finish": In(1),
                "forget": In(1),
                "pc": Out(address),
                "coming": Out(64),
                "word": Out(64),
                "bad_loop": Out(1),
                "write_program": In(1),
                "write_addr": In(address),
                "write_data": In(64),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.program = program = memory.Memory(shape=64, depth=self._words, init=[])
        read = program.read_port()
        write = program.write_port()
        following = Signal.like(self.pc)  # the instruction after the one that executes
        back = Signal()  # it is the first of the innermost loop
        first = Signal()  # it executes for the first time
        m.d.comb += [
            write.en.eq(self.write_program),
            write.addr.eq(self.write_addr),
            write.data.eq(self.write_data),
            read.en.eq(first | self.begin),
            read.addr.eq(Mux(self.begin, 0, following)),
            self.coming.eq(read.data),
        ]

        depth = Signal(range(LOOP_DEPTH + 1))
        # Level 0 is the innermost loop; the others stand behind it.
        starts = [Signal.like(self.pc, name=f"loop_start{k}") for k in range(LOOP_DEPTH)]
        ends = [Signal.like(self.pc, name=f"loop_end{k}") for k in range(LOOP_DEPTH)]
        counts = [Signal(32, name=f"loop_count{k}") for k in range(LOOP_DEPTH)]
        closing = Signal()  # the instruction is the last of the innermost loop
        # What its end does to the loops.
        enters = Signal()
        leaves = Signal()
        repeats = Signal()  # not for ever
        m.d.sync += first.eq(self.fetch)
        with m.If(self.fetch):
            is_loop = self.coming[: OPCODE.width] == Opcode.LOOP
            m.d.comb += closing.eq((depth != 0) & (self.pc == ends[0]) & ~is_loop)
            m.d.sync += [
                self.word.eq(self.coming),
                enters.eq(is_loop),
                leaves.eq(closing & (counts[0] == 1)),
                repeats.eq(closing & (counts[0] > 1)),
                back.eq(closing & (counts[0] != 1)),
            ]

        m.d.comb += following.eq(Mux(back, starts[0], self.pc + 1))

        op = self.word[: OPCODE.width]
        fields = FORMATS[Opcode.LOOP]
        body, count = (
            self.word[fields[name].lsb : fields[name].lsb + fields[name].width]
            for name in ("body", "count")
        )
        m.d.comb += self.bad_loop.eq(enters & ((body == 0) | (depth == LOOP_DEPTH)))
        with m.If(self.finish):
            with m.If(op != Opcode.HALT):
                m.d.sync += self.pc.eq(following)
            with m.If(enters):
                m.d.sync += depth.eq(depth + 1)
                for stack in (starts, ends, counts):
                    m.d.sync += [b.eq(a) for a, b in pairwise(stack)]
                m.d.sync += [
                    starts[0].eq(following),
                    ends[0].eq(self.pc + body),
                    counts[0].eq(count),
                ]
            with m.Elif(leaves):
                m.d.sync += depth.eq(depth - 1)
                for stack in (starts, ends, counts):
                    m.d.sync += [a.eq(b) for a, b in pairwise(stack)]
            with m.Elif(repeats):
                m.d.sync += counts[0].eq(counts[0] - 1)
        with m.If(self.begin):
            m.d.sync += self.pc.eq(0)
        with m.If(self.forget):
            m.d.sync += depth.eq(0)
        return m
