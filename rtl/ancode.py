# SPDX-License-Identifier: Apache-2.0
"""The AN-code unit: a read's sum divided by A * B, corrected by what is left over."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..arch.ancode import AnCode
from ..arch.timing import CODE_STAGES
from .reciprocal import multiply, plain_adders, reciprocal

__all__ = ["AnUnit"]


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
    write_addr : In(range(entries))
        The size of a remainder, up to half of A.
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
        self._most = high + self._lift * code.product
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
                "write_addr": In(range(code.entries)),
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
        inverse = reciprocal(whole, self._most)

        def register(width: int, name: str) -> Signal:
            return Signal(width, name=f"{name}{number}", reset_less=True)

        # First stage: the quotient by A * B, rounded to nearest, or one less.
        lifted = Signal(self._most.bit_length(), name=f"lifted{number}")
        m.d.comb += lifted.eq(total + self._lift * whole if self._lift else total)
        rough = register(max(1, (self._most // whole + 1).bit_length()), "rough")
        rest_bits = (2 * whole - 1).bit_length()
        low = register(rest_bits, "low")
        head, bits = lifted[inverse.drop :], inverse.shift + len(rough)
        product = multiply(head, inverse.factor, inverse.chain, bits)
        m.d.sync += [rough.eq(product[inverse.shift :]), low.eq(lifted)]

        # Second stage: what it leaves, from -A * B / 2 to 3 * A * B / 2, as a multiple of A and a
        # remainder from -A / 2 to A / 2; of the multiple one of B and a digit, which is taken off
        # for a remainder below 0 as well.
        rest = Signal(rest_bits, name=f"rest{number}")
        m.d.comb += rest.eq(low - _times(rough, whole, rest_bits))
        signed_rest = Cat(rest, rest >= _round_number(3 * whole // 2 + 1, whole)).as_signed()
        multiples = range(-(b // 2), b + b // 2 + 1)
        above = [signed_rest > a // 2 + a * k for k in multiples[:-1]]
        chosen = [i & ~j for i, j in zip([Const(1), *above], [*above, Const(0)], strict=True)]
        residue = Signal(signed(len(self.write_addr) + 1), name=f"residue{number}")
        m.d.comb += residue.eq(rest - _pick(chosen, [a * k for k in multiples], len(residue)))
        below = residue[-1]
        more = Signal(range(-1, 3) if b % 2 == 0 else 1, name=f"more{number}")
        here = Signal(code.digit_bits, name=f"digit_here{number}")
        for minus in range(2):
            up = [(k + (b - 1 + minus) // 2) // b for k in multiples]
            digits = [(-k if minus else k) % b for k in multiples]
            with m.If(below == minus):
                m.d.comb += more.eq(_pick(chosen, up, len(more)))
                m.d.comb += here.eq(_pick(chosen, digits, len(here)))
        quotient = register(self._out_bits, "quotient")
        digit = register(len(here), "digit")
        size = register(len(self.write_addr), "size")
        negative = register(1, "negative")
        m.d.sync += [
            quotient.eq(rough + more - self._lift),
            digit.eq(here),
            size.eq((residue ^ below.replicate(len(residue))) + below),
            negative.eq(below),
        ]

        # Third stage: the quotient of the corrected sum, if that is a whole number; or of what is
        # nearest to it.
        m.submodules[f"table{number}"] = table = memory.Memory(
            shape=code.entry_bits, depth=code.entries, init=[]
        )
        write = table.write_port()
        read = table.read_port(domain="comb")
        # One port for both, since there are no sums while it is loaded.
        address = Signal(len(size), name=f"address{number}")
        m.d.comb += [
            address.eq(Mux(self.write, self.write_addr, size)),
            write.addr.eq(address),
            write.data.eq(self.write_data),
            write.en.eq(self.write),
            read.addr.eq(address),
        ]
        entry = read.data
        wrong = size.any()
        fits = Signal(name=f"fits{number}")
        m.d.comb += fits.eq(digit == entry[: code.digit_bits])
        step = entry[code.digit_bits :] ^ negative.replicate(code.step_bits)
        offset = Signal(signed(code.step_bits), name=f"offset{number}")
        m.d.comb += offset.eq(Mux(fits, step.as_signed(), self._nearest(digit, wrong, negative)))
        result = register(self._out_bits, "result")
        m.d.sync += [
            # The last term goes in as a carry.
            result.eq((Cat(1, quotient) + Cat(fits & negative, offset).as_signed())[1:]),
            self.corrected[number].eq(fits & wrong),
            self.detected[number].eq(~fits),
        ]
        return result

    def _nearest(self, digit: Value, wrong: Value, negative: Value) -> Value:
        """How much further the nearest multiple is: with an even B, half a B to one side of the
        quotient and a remainder to the same side lie nearer to the next."""
        if self._code.b % 2:
            return Const(0)
        half = (digit == self._code.b // 2) & wrong
        return Cat(half, half & negative).as_signed()


def _pick(chosen: Sequence[Value], numbers: Sequence[int], bits: int) -> Value:
    """Of some numbers the low bits of the one whose bit is set."""
    pairs = list(zip(chosen, numbers, strict=True))
    return Cat(Cat(bit for bit, n in pairs if n >> place & 1).any() for place in range(bits))


def _round_number(least: int, length: int) -> int:
    """The number from ``least`` on, below ``least + length // 2``, with the most zeros at its
    end."""
    return max(range(least, least + length // 2), key=lambda number: number & -number)


def _times(value: Value, constant: int, bits: int) -> Value:
    """The low ``bits`` of a product."""
    return multiply(value, constant, plain_adders(constant), bits)
