# SPDX-License-Identifier: Apache-2.0
"""What the AN-code unit promises, for every sum and every table.

The unit keeps nothing but its table and what is in its pipeline: as many cycles as loading a table
and the pipeline take show all that it can do.
"""

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal, signed
from amaranth.lib import wiring

from ohmtwin.arch.ancode import AnCode
from ohmtwin.rtl.ancode import AnUnit

__all__ = ["CorrectionSpec", "DivisionSpec"]


class DivisionSpec(wiring.Component):
    """Quotient, remainders and choice, for any sum and any entry of the table at all.

    A sum is made up from its quotient and its remainders, so that nothing is divided here.
    """

    def __init__(self, code: AnCode, low: int, high: int, *, dut: type[AnUnit] = AnUnit) -> None:
        self._code, self._low, self._high = code, low, high
        self._dut = dut
        super().__init__({})

    @property
    def cycles(self) -> int:
        """A write, a sum and the whole pipeline."""
        return 6

    def elaborate(self, platform: object) -> Module:
        m = Module()
        code, whole = self._code, self._code.product
        m.submodules.dut = dut = self._dut(code=code, outputs=1, low=self._low, high=self._high)
        total = Signal(signed(dut.bits + 1))
        n = Signal(signed(dut.out_bits))
        t = Signal(range(code.b))
        r = Signal(range(code.a))
        m.d.comb += [
            n.eq(AnyConst(dut.out_bits).as_signed()),
            t.eq(AnyConst(len(t))),
            r.eq(AnyConst(len(r))),
            total.eq(n * whole + t * code.a + r),
            Assume(t < code.b),
            Assume(r < code.a),
            Assume(n * whole + t * code.a + r >= self._low),
            Assume(n * whole + t * code.a + r <= self._high),
            dut.i.eq(total),
        ]
        # What is nearest to a multiple of A lies above or below one: above (n * B + upper) * A.
        below = Signal()
        size = Signal(range(code.entries))
        upper = Signal(range(code.b + 1))
        m.d.comb += [
            below.eq(r > code.a // 2),
            size.eq(Mux(below, code.a - r, r)),
            upper.eq(t + below),
        ]
        # The entry of that: as the last write left it, two cycles after the sum went in. A sum
        # whose entry is read while one is written is nobody's.
        m.d.comb += [
            dut.write.eq(AnySeq(1)),
            dut.write_addr.eq(AnySeq(len(dut.write_addr))),
            dut.write_data.eq(AnySeq(len(dut.write_data))),
        ]
        entry = Signal(code.entry_bits, reset_less=True)  # as the memory
        held_up = Signal()
        m.d.sync += held_up.eq(dut.write)
        with m.If(dut.write & (dut.write_addr == size)):
            m.d.sync += entry.eq(dut.write_data)
        step = entry[code.digit_bits :].as_signed()
        stored = entry[: code.digit_bits]
        digit = Signal(signed(code.digit_bits + 2))
        m.d.comb += digit.eq(Mux(stored > code.b // 2, stored - code.b, stored))
        left = Signal(signed(code.digit_bits + 3))
        m.d.comb += left.eq(Mux(below, upper + digit, upper - digit))
        fits = Signal()
        corrected = Signal(signed(dut.out_bits + 1))
        for more in range(-1, 3):
            with m.If((stored < code.b) & (left == more * code.b)):
                m.d.comb += [
                    fits.eq(1),
                    corrected.eq(Mux(below, n + more - step, n + more + step)),
                ]
        nearest = Mux(2 * (t * code.a + r) > whole, n + 1, n)
        expected = Signal(signed(dut.out_bits + 1))
        was_fits, was_wrong = Signal(), Signal()
        m.d.sync += [
            expected.eq(Mux(fits, corrected, nearest)),
            was_fits.eq(fits),
            was_wrong.eq(r != 0),
        ]
        age = Signal(range(16))
        m.d.sync += age.eq(Mux(age == 15, 15, age + 1))
        with m.If((age >= dut.latency) & ~held_up):
            m.d.comb += [
                Assert(dut.o.as_signed() == expected),
                Assert(dut.corrected == (was_fits & was_wrong)),
                Assert(dut.detected == ~was_fits),
                Cover(dut.corrected & (age == 5)),
            ]
        return m


class CorrectionSpec(wiring.Component):
    """With its table loaded, every multiple comes out right with any single error of the model.

    Sums follow each other in every cycle.
    """

    def __init__(self, code: AnCode, last: int, *, dut: type[AnUnit] = AnUnit) -> None:
        self._code, self._last = code, last
        self._dut = dut
        super().__init__({})

    @property
    def cycles(self) -> int:
        """The table, two sums and the pipeline."""
        return self._code.entries + 6

    def elaborate(self, platform: object) -> Module:
        m = Module()
        code = self._code
        m.submodules.dut = dut = self._dut(
            code=code,
            outputs=1,
            low=min(code.errors),
            high=self._last * code.product + max(code.errors),
        )
        loaded = Signal(range(code.entries + 1))
        with m.If(loaded != code.entries):
            m.d.sync += loaded.eq(loaded + 1)
            m.d.comb += [dut.write.eq(1), dut.write_addr.eq(loaded)]
        with m.Switch(loaded):
            for residue, word in enumerate(code.words):
                with m.Case(residue):
                    m.d.comb += dut.write_data.eq(word)

        share = AnySeq(range(self._last + 1))
        error = AnySeq(signed(dut.bits))
        single = error == 0
        for value in code.errors:
            single |= error == value
        m.d.comb += [
            Assume(single),
            Assume(share <= self._last),
            dut.i.eq(share * code.product + error),
        ]
        expected, wrong, valid = share, error != 0, loaded == code.entries
        for stage in range(dut.latency):
            share_then = Signal(range(self._last + 1), name=f"share{stage}")
            wrong_then = Signal(name=f"wrong{stage}")
            valid_then = Signal(name=f"valid{stage}")
            m.d.sync += [share_then.eq(expected), wrong_then.eq(wrong), valid_then.eq(valid)]
            expected, wrong, valid = share_then, wrong_then, valid_then
        with m.If(valid):
            m.d.comb += [
                Assert(dut.o.as_signed() == expected),
                Assert(dut.corrected == wrong),
                Assert(~dut.detected),
                Cover(dut.corrected),
            ]
        return m
