# SPDX-License-Identifier: Apache-2.0
"""The AN-code unit: a read's sum divided by A * B, corrected by what is left over."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..arch.ancode import AnCode
from ..arch.timing import CODE_STAGES

__all__ = ["AnUnit", "Reciprocal", "reciprocal", "signed_digits"]


@dataclass(frozen=True)
class Reciprocal:
    """Division by a constant as a multiplication: ``(x >> drop) * factor >> shift`` is the
    quotient, or one less, for all ``x`` of so many bits."""

    drop: int
    factor: int
    shift: int


def reciprocal(divisor: int, bits: int) -> Reciprocal:
    """The cheapest such multiplication for dividends of ``bits`` bits.

    With ``x = head * 2**drop + low`` and ``factor = floor(2**(shift + drop) / divisor)``, the
    product falls short of ``x / divisor`` by at most ``low / divisor + head * lost / 2**shift``,
    where ``lost < 1`` is what the floor took off. Where that is at most 1, the floor of the product
    is the quotient or one less (Granlund and Montgomery 1994, section 4, with one more subtraction
    allowed, as Barrett 1986 has it). Cheapest: the fewest bits of the head to add up, with each
    bit of the factor that is part of a run counted by its run (:func:`signed_digits`).

    Raises
    ------
    ValueError
        If the divisor is below 2 or there are no bits.
    """
    if divisor < 2 or bits < 1:
        raise ValueError(f"A divisor must be at least 2, of a number, not {divisor} of {bits} bits")
    found = []
    for drop in range(min(divisor.bit_length(), bits)):
        head = (1 << bits - drop) - 1
        # Longer factors are no better; those of so many bits always do if any does.
        for shift in range(2 * bits):
            factor, lost = divmod(1 << shift + drop, divisor)
            if ((1 << drop) - 1 << shift) + head * lost <= divisor << shift:
                adds = (bits - drop) * len(signed_digits(factor))
                found.append((adds, Reciprocal(drop, factor, shift)))
    return min(found, key=lambda cost: cost[0])[1]


def signed_digits(value: int) -> list[tuple[int, bool]]:
    """A number as the fewest powers of two, added or taken off: (exponent, taken off) of each, the
    largest first (the non-adjacent form, Reitwiesner 1960)."""
    found, exponent = [], 0
    while value:
        if value & 1:
            negative = value & 3 == 3
            found.append((exponent, negative))
            value += 1 if negative else -1
        value >>= 1
        exponent += 1
    return found[::-1]


def _times(value: Value, constant: int, bits: int) -> Value:
    """The low ``bits`` of ``value * constant``, a sum of as few terms as there can be."""
    total: Value = Const(0, bits)
    for exponent, negative in signed_digits(constant):
        if exponent >= bits:
            continue
        term = Cat(Const(0, exponent), value)[:bits]
        total = (total - term if negative else total + term)[:bits]
    return total


class AnUnit(wiring.Component):
    """Checks the sums of reads for errors, corrects them and takes the factors A and B off.

    A sum S is ``(n * B + t) * A + r``. The remainder r indexes a table that the host loads: the
    error e that it stands for, or that it stands for none. If ``S - e`` is a multiple of A * B, its
    quotient goes out (``n`` plus what the entry says: an :class:`~ohmtwin.arch.ancode.Correction`),
    flagged ``corrected`` if r is not 0. Otherwise the error is of another kind: ``detected`` is
    set, and the quotient nearest to S goes out, as if there were no table.

    So one division serves for both remainders and for the quotient of the corrected sum, and what
    goes out is a whole number whatever the table holds. (AN codes over the sums of crossbar reads:
    Feinberg, Wang, Ipek, HPCA 2018; there A and B are taken off one after the other.)

    Latency: :attr:`latency` cycles. Throughput: one sum an output in every cycle; nothing waits.

    Parameters
    ----------
    code : AnCode
        A, B and the widths of an entry; not its table.
    outputs : int
        Sums a cycle, each with its own copy of the table.
    low, high : int
        Range of the sums.

    Members
    -------
    i : In(outputs * bits)
        One sum an output, the first lowest: :attr:`bits` each, signed if ``low`` is negative.
    o : Out(outputs * out_bits)
        One quotient an output, signed, :attr:`out_bits` each.
    corrected, detected : Out(outputs)
        A bit an output, with ``o``.
    write : In(1)
        Put ``write_data`` into the entry ``write_addr`` of the table; an entry that does not exist
        is not written.
    write_addr : In(range(A))
    write_data : In(entry_bits)
        As :attr:`~ohmtwin.arch.ancode.AnCode.words` has it.

    Raises
    ------
    TypeError
        If ``code`` is no AnCode.
    ValueError
        If there are no outputs, or no range.
    """

    def __init__(self, *, code: AnCode, outputs: int, low: int, high: int) -> None:
        if not isinstance(code, AnCode):
            raise TypeError(f"Code must be an AnCode, not {code!r}")
        if outputs < 1:
            raise ValueError(f"An AN-code unit has at least one output, not {outputs}")
        if low > 0 or high < code.product:
            raise ValueError(
                f"The sums must range from at most 0 to at least {code.product}, not from {low} "
                f"to {high}"
            )
        self._code = code
        self._outputs = outputs
        # Sums are made positive by a multiple of A * B, which comes off the quotient again.
        self._lift = -(low // code.product)
        self._signed = low < 0
        self._bits = max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + (low < 0)
        self._width = (high + self._lift * code.product).bit_length()
        most = (high // code.product) + (1 << code.step_bits - 1)
        least = self._lift + (1 << code.step_bits - 1)
        self._out_bits = max(most, least).bit_length() + 1
        super().__init__(
            {
                "i": In(outputs * self._bits),
                "o": Out(outputs * self._out_bits),
                "corrected": Out(outputs),
                "detected": Out(outputs),
                "write": In(1),
                "write_addr": In(range(code.a)),
                "write_data": In(code.entry_bits),
            }
        )

    @property
    def code(self) -> AnCode:
        return self._code

    @property
    def outputs(self) -> int:
        return self._outputs

    @property
    def bits(self) -> int:
        """Bits of a sum."""
        return self._bits

    @property
    def out_bits(self) -> int:
        """Bits of a quotient, two's complement."""
        return self._out_bits

    @property
    def latency(self) -> int:
        """Cycles from a sum to its quotient."""
        return CODE_STAGES

    def elaborate(self, platform: object) -> Module:
        m = Module()
        quotients = []
        for number in range(self._outputs):
            total = self.i.word_select(number, self._bits)
            quotient = self._lane(m, number, total.as_signed() if self._signed else total)
            quotients.append(quotient)
        m.d.comb += self.o.eq(Cat(quotients))
        return m

    def _lane(self, m: Module, number: int, total: Value) -> Signal:
        """The pipeline of one output."""
        code = self._code
        whole, a, b = code.product, code.a, code.b
        inverse = reciprocal(whole, self._width)

        def register(width: int, name: str) -> Signal:
            return Signal(width, name=f"{name}{number}", reset_less=True)

        # First stage: the quotient by A * B, or one less.
        lifted = Signal(self._width, name=f"lifted{number}")
        m.d.comb += lifted.eq(total + self._lift * whole if self._lift else total)
        head = lifted[inverse.drop :]
        rough = register(max(1, ((1 << self._width) // whole).bit_length()), "rough")
        rest_bits = (2 * whole - 1).bit_length()
        low = register(rest_bits, "low")
        product = _times(head, inverse.factor, inverse.shift + len(rough))
        m.d.sync += [rough.eq(product[inverse.shift :]), low.eq(lifted)]

        # Second stage: what it leaves, below 2 * A * B.
        rest = register(rest_bits, "rest")
        rough_then = register(self._out_bits, "rough_then")
        m.d.sync += [
            rest.eq(low - _times(rough, whole, rest_bits)),
            rough_then.eq(rough - self._lift),
        ]

        # Third stage: whether the quotient was one less, and the rest as (t, r); the table is asked
        # for r.
        more = Signal(name=f"more{number}")
        part = _less(m, rest, whole, more, f"part{number}")
        digit = register(max(1, code.digit_bits), "digit")
        here = Signal.like(digit, name=f"digit_here{number}")
        residue = part
        for place in reversed(range(code.digit_bits)):
            residue = _less(m, residue, a << place, here[place], f"residue{number}_{place}")
        wrong = register(1, "wrong")
        up = register(1, "up")
        quotient = register(self._out_bits, "quotient")
        one_less = register(1, "one_less")
        m.d.sync += [
            digit.eq(here),
            wrong.eq(residue.any()),
            # The nearest multiple lies above: the rest is more than half of A * B.
            up.eq(part > whole // 2),
            quotient.eq(rough_then),
            one_less.eq(more),
        ]
        m.submodules[f"table{number}"] = table = memory.Memory(
            shape=code.entry_bits, depth=a, init=[]
        )
        write = table.write_port()
        read = table.read_port()
        m.d.comb += [
            write.addr.eq(self.write_addr),
            write.data.eq(self.write_data),
            write.en.eq(self.write & (self.write_addr < a)),
            read.addr.eq(residue),
            read.en.eq(1),
        ]

        # Fourth stage: the quotient of the corrected sum, if that is a whole number.
        entry = read.data
        step = entry[1 + code.digit_bits :].as_signed()
        fits = Signal(name=f"fits{number}")
        expected = entry[1 : 1 + code.digit_bits] if b > 1 else Const(0, 1)
        m.d.comb += fits.eq(~entry[0] & (digit == expected))
        result = register(self._out_bits, "result")
        offset = Signal(signed(self._out_bits), name=f"offset{number}")
        m.d.comb += offset.eq(Mux(fits, step, up))
        m.d.sync += [
            # The last term goes in as a carry.
            result.eq((Cat(1, quotient) + Cat(one_less, offset))[1:]),
            self.corrected[number].eq(fits & wrong),
            self.detected[number].eq(~fits),
        ]
        return result


def _less(m: Module, value: Value, amount: int, taken: Value, name: str) -> Signal:
    """``value``, less ``amount`` where it is not below that (``taken``); both below twice it."""
    left = Signal(max(1, (amount - 1).bit_length()), name=name)
    less = Signal(len(value) + 1, name=f"{name}_less")
    m.d.comb += [
        less.eq(value - amount),
        taken.eq(~less[-1]),
        left.eq(Mux(taken, less, value)),
    ]
    return left
