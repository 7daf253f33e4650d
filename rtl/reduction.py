# SPDX-License-Identifier: Apache-2.0
"""The adder tree that sums the accumulators of the cores of a REQ."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from ..arch.formats import ACC_BITS
from ..arch.timing import reduction_stages

__all__ = ["ReductionTree"]


class ReductionTree(wiring.Component):
    """Adds the words of all cores, lane by lane, modulo 2**32.

    Cores that are not selected give zero, so nothing is masked here. A level of the tree is a
    register stage, written only when a word passes: one word a cycle, :attr:`latency` cycles.
    Modular sums are exact because the compiler proves that the result fits (DESIGN section 3).

    Parameters
    ----------
    chip : Chip
        Gives the number of cores and of lanes W.

    Members
    -------
    enable : In(max(1, latency))
        Bit k: stage k takes a new word. Bit 0 belongs to the words at ``i``.
    i : In(ArrayLayout(W * 32, cores))
        A word of each core, lane 0 in the low bits.
    o : Out(W * 32)
        The sum, ``latency`` cycles later; held until the next one.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._cores = chip.cores
        self._lanes = chip.outputs_per_beat
        self._latency = reduction_stages(chip)
        width = self._lanes * ACC_BITS
        super().__init__(
            {
                "enable": In(max(1, self._latency)),
                "i": In(data.ArrayLayout(width, self._cores)),
                "o": Out(width),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``."""
        return self._latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words = [self.i[core] for core in range(self._cores)]
        for stage in range(self._latency):
            sums = []
            with m.If(self.enable[stage]):
                for pair in range(0, len(words), 2):
                    total = Signal(self._lanes * ACC_BITS, name=f"sum{stage}_{pair // 2}")
                    if pair + 1 == len(words):
                        m.d.sync += total.eq(words[pair])
                    else:
                        m.d.sync += total.eq(self._add(words[pair], words[pair + 1]))
                    sums.append(total)
            words = sums
        m.d.comb += self.o.eq(words[0])
        return m

    def _add(self, a: Signal, b: Signal) -> Cat:
        """Lane-wise sum; no carry leaves a lane."""
        return Cat(
            (a.word_select(lane, ACC_BITS) + b.word_select(lane, ACC_BITS))[:ACC_BITS]
            for lane in range(self._lanes)
        )
