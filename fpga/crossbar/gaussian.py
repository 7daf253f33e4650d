# SPDX-License-Identifier: Apache-2.0
"""Standard normal numbers in gates: those of :func:`~ohmtwin.behavioral.gaussian.gaussian`.

Both forms read the very table that the behavioral model reads.
"""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ...behavioral.gaussian import MAX_MAGNITUDE, TABLE

__all__ = ["MAGNITUDE_BITS", "GaussianPipeline", "normalise", "table_memory"]

MAGNITUDE_BITS = MAX_MAGNITUDE.bit_length()
"""Bits of ``|z|``."""

WORD_BITS = 31
"""Bits of a word without its sign."""


def table_memory() -> memory.Memory:
    """The table as a memory of 512 words: delta in bits 11:0, base above."""
    return memory.Memory(shape=31, depth=len(TABLE), init=[int(entry) for entry in TABLE])


def normalise(m: Module, word: Any, by: tuple[int, ...], name: str) -> tuple[Any, Any]:
    """Shift left by each of ``by`` if that loses nothing; the word, and which shifts were made.

    Shifts by 16, 8, 4, 2 and 1 bring the leading one of a word to its top; the bits tell how many
    zeros stood before it, the first highest.
    """
    made = []
    for shift in by:
        fits = Signal(name=f"{name}fits{shift}")
        shifted = Signal(WORD_BITS, name=f"{name}shifted{shift}")
        m.d.comb += [
            fits.eq(word[WORD_BITS - shift :] == 0),
            shifted.eq(Mux(fits, word << shift, word)),
        ]
        word = shifted
        made.append(fits)
    return word, Cat(reversed(made))


class GaussianPipeline(wiring.Component):
    """A number a cycle.

    Members
    -------
    i : In(32)
        Uniform bits.
    o : Out(signed)
        In Q12: 4096 is one sigma; of the word :attr:`latency` cycles before.
    """

    def __init__(self) -> None:
        super().__init__({"i": In(32), "o": Out(signed(1 + MAGNITUDE_BITS))})

    @property
    def latency(self) -> int:
        """Two to find the octave, two for the table, one each for product, magnitude and sign."""
        return 7

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.table = table = table_memory()
        read = table.read_port()

        sign = Signal(self.latency - 1, reset_less=True)
        m.d.sync += sign.eq(Cat(self.i[31], sign))

        half = Signal(WORD_BITS, reset_less=True)
        octave_high = Signal(2, reset_less=True)
        word, shifts = normalise(m, self.i[:WORD_BITS], (16, 8), "first_")
        m.d.sync += [half.eq(word), octave_high.eq(shifts)]

        whole = Signal(WORD_BITS, reset_less=True)
        octave = Signal(5, reset_less=True)
        word, shifts = normalise(m, half, (4, 2, 1), "then_")
        # The octave is the bit length: 31 less the zeros before the leading one.
        m.d.sync += [whole.eq(word), octave.eq(~Cat(shifts, octave_high))]
        m.d.comb += read.addr.eq(Cat(whole[26:30], octave))

        looked_up = Signal(12, reset_less=True)
        fraction = Signal(12, reset_less=True)
        entry = Signal.like(read.data, reset_less=True)
        m.d.sync += [looked_up.eq(whole[14:26]), fraction.eq(looked_up), entry.eq(read.data)]

        fall = Signal(24, reset_less=True)
        base = Signal(19, reset_less=True)
        m.d.sync += [fall.eq(entry[:12] * fraction), base.eq(entry[12:])]

        magnitude = Signal(MAGNITUDE_BITS, reset_less=True)
        m.d.sync += [
            magnitude.eq(((base << 12) - fall + (1 << 15)) >> 16),
            self.o.eq(Mux(sign[-1], -magnitude, magnitude)),
        ]
        return m
