# SPDX-License-Identifier: Apache-2.0
"""REQ: which accumulator words are called for, and when."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from ..arch.isa import FORMATS, Opcode
from .checks import check_chip
from .gather import ADDRESS_BITS
from .idle import idle_skips
from .vector_unit import drain_layout

__all__ = ["QUANT_BITS", "Drain"]

QUANT_BITS = 24
"""Of QUANT: zero point, lowest and highest code."""

_REQ = FORMATS[Opcode.REQ]


class Drain(wiring.Component):
    """Calls for the sum of activations, then for the accumulator words of a REQ, one by one.

    Parameters
    ----------
    chip : Chip

    Members
    -------
    take, outputs : In(1), In(field of REQ)
        An instruction is fetched; if it is a REQ, with so many outputs.
    word : In(64)
        The instruction from the next cycle on.
    cores : In(cores)
        Of it.
    begin, on : In(1)
        It is a REQ, and executes for the first time; or once more.
    addr, param : In(24), In(24)
        What the registers of its destination and its parameters hold, with ``begin``.
    quant : In(24)
        Register QUANT.
    nothing : Out(1)
        It has no outputs: ``begin`` is all.
    step : Out(24)
        What the register of its parameters grows by.
    last : Out(1)
        With ``on``: for the last time.
    issue, issue_sum, command : Out(1), Out(1), Out(drain_layout(chip))
        To the vector unit.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._chip = check_chip(chip)
        super().__init__(
            {
                "take": In(1),
                "outputs": In(_REQ["outputs"].width),
                "word": In(64),
                "cores": In(chip.cores),
                "begin": In(1),
                "on": In(1),
                "addr": In(ADDRESS_BITS),
                "param": In(ADDRESS_BITS),
                "quant": In(QUANT_BITS),
                "nothing": Out(1),
                "step": Out(ADDRESS_BITS),
                "last": Out(1),
                "issue": Out(1),
                "issue_sum": Out(1),
                "command": Out(drain_layout(chip)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._chip.outputs_per_beat
        group = lanes.bit_length() - 1
        outputs, same, tap, vector, table_on, table = (
            self.word[_REQ[name].lsb : _REQ[name].lsb + _REQ[name].width]
            for name in ("outputs", "same_param", "tap", "vector", "table_on", "table")
        )
        word = Signal.like(self.command.word)
        param = Signal.like(self.command.lanes.param)
        addr = Signal.like(self.command.lanes.addr)
        # Outputs still to come, less those of a word and one: what follows hangs on its sign.
        beyond = Signal(signed(len(self.outputs) + 1))
        ends = beyond[-1]
        gap = Signal(range(max(2, -(-lanes // 2))))
        gaps = -(-lanes // 2) - 1  # cycles between two words with tap
        gap_over = gap == Mux(tap, gaps, 0)
        m.d.comb += [
            self.nothing.eq(beyond == -lanes - 1),
            self.step.eq(Mux(same, 1, (outputs + (lanes - 1)) >> group)),
            self.last.eq(ends & gap_over),
            self.issue_sum.eq(self.begin),
            self.issue.eq(self.on & (gap == 0)),
        ]
        with m.If(self.take):
            m.d.sync += beyond.eq(self.outputs - (lanes + 1))
        with m.If(self.begin):
            m.d.sync += [word.eq(0), param.eq(self.param), addr.eq(self.addr), gap.eq(0)]
        with m.If(self.on):
            with m.If(gap == 0):
                m.d.sync += [
                    word.eq(word + 1),
                    param.eq(Mux(same, param, param + 1)),
                    addr.eq(addr + lanes),
                ]
            with m.If(gap_over):
                m.d.sync += [gap.eq(0), beyond.eq(beyond - lanes)]
            with m.Else():
                m.d.sync += gap.eq(gap + 1)
        with idle_skips(m, self.issue | self.issue_sum, platform):
            pipe = self.command.lanes
            m.d.comb += [
                self.command.cores.eq(self.cores),
                self.command.vector.eq(vector),
                self.command.word.eq(word),
                pipe.param.eq(param),
                pipe.addr.eq(addr),
                pipe.count.eq(Mux(ends, beyond + (lanes + 1), lanes)),
                pipe.last.eq(ends),
                pipe.tap.eq(tap),
                pipe.table_on.eq(table_on),
                pipe.table.eq(table),
                Cat(pipe.zero_point, pipe.low, pipe.high).eq(self.quant),
            ]
        return m
