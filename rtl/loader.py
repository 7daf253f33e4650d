# SPDX-License-Identifier: Apache-2.0
"""The load path: gathered bytes to the bit planes of the row registers, or to the vector ALU."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from ..arch.formats import ACTIVATION_BITS
from .checks import check_chip
from .elements import OP_BITS, elements_layout
from .idle import idle_skips
from .planes import load_signature

__all__ = ["Loader", "sum_bytes", "transpose"]

_SLOTS = 8
"""Bytes of a word."""

# Block transpose by swapping ever larger off-diagonal blocks (Warren, Hacker's Delight, 2nd ed.,
# section 7-3): three masked steps on one 64-bit value.
_SWAPS = ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0))


def transpose(m: Module, word: Value) -> Signal:
    """Byte p of the result holds bit p of each byte of the 64-bit ``word``, byte 0's lowest."""
    for shift, mask in _SWAPS:
        swap = Signal(64, name=f"swap{shift}")
        swapped = Signal(64, name=f"swapped{shift}")
        m.d.comb += [
            swap.eq((word ^ (word >> shift)) & Const(mask, 64)),
            swapped.eq(word ^ swap ^ (swap << shift)),
        ]
        word = swapped
    return word


def sum_bytes(m: Module, word: Value) -> Signal:
    """The sum of the eight bytes of ``word``, 11 bits."""
    total = Signal(11, name="sum_of_bytes")
    pairs = Signal(64, name="pair_sums")
    low = Const(0x00FF00FF00FF00FF, 64)
    m.d.comb += [
        pairs.eq((word & low) + ((word >> 8) & low)),
        total.eq((pairs[:16] + pairs[16:32]) + (pairs[32:48] + pairs[48:])),
    ]
    return total


def _spread(mask: Value) -> Value:
    """Each bit of ``mask`` eight times: a mask of bytes as one of bits."""
    return Cat(bit.replicate(8) for bit in mask)


def _turn(m: Module, word: Value, by: Value) -> Signal:
    """The bytes of ``word`` moved up by ``by`` places, the last ones round to the first."""
    for bit, places in enumerate((1, 2, 4)):
        turned = Signal(64, name=f"turned{places}")
        m.d.comb += turned.eq(Mux(by[bit], word.rotate_left(8 * places), word))
        word = turned
    return word


class Loader(wiring.Component):
    """Packs the bytes that LOAD and VEC gather, and hands them to the cores or the vector ALU.

    A step in cycle t means that a word was asked for in t: it stands at ``data_word`` or
    ``host_word`` in t + 1. There its bytes are turned to the slots they belong to (byte i of a word
    of eight rows) and merged with the bytes of that word which have come before. The cores get the
    merged word in t + 2, full or not, for the rest of it reads as zero until more comes: no word
    waits in a register. With it they get what goes beyond the word, as the one that follows: one of
    the two is even, the other odd, and each of them has a way of its own. A product that starts in
    t + 3 finds all of it.

    The sum of activations, and the vector ALU, take the turned bytes in t + 2, too, under a mask of
    those that are new: each byte once, however often its word is written.

    Parameters
    ----------
    chip : Chip

    Members
    -------
    step : In(1)
        A word is under way, described by:
    begin, row : In(1), In(8)
        It is the first of its instruction, whose bytes belong to the rows (or vector accumulators)
        from ``row`` on; otherwise they go on behind those of the step before.
    from_host : In(1)
        It stands at ``host_word``, otherwise at ``data_word``.
    offset, count : In(3), In(4)
        First byte of it that is wanted, and how many: 1 to 8 - ``offset``.
    vector, op : In(1), In(VecOp)
        It is for the vector ALU, and what that does with it. Words of 32 bits lie in whole words,
        and ``row`` is even.
    cores : In(cores)
        Otherwise, where it goes.
    stop : In(1)
        Drop what is under way.
    data_word, host_word : In(64)
        A cycle after ``step``.
    zero : In(8)
        Only with an input encoding that has it: what is taken off activations, register ZERO.
    even, odd : Out(load_signature(chip, cores))
        As the cores take them; ``valid`` has one bit a core.
    sum_valid, sum_first, load_sum : Out(cores), Out(1), Out(11)
        The same for the sum of activations.
    elements : Out(elements_layout())
        To the vector ALU.
    elements_valid : Out(1)
    """

    def __init__(self, *, chip: Chip) -> None:
        self._cores = check_chip(chip).cores
        self._code = chip.input_code
        super().__init__(
            {
                "step": In(1),
                "begin": In(1),
                "row": In(8),
                "from_host": In(1),
                "offset": In(3),
                "count": In(4),
                "vector": In(1),
                "op": In(OP_BITS),
                "cores": In(self._cores),
                "stop": In(1),
                **({"zero": In(ACTIVATION_BITS)} if chip.input_code.has_zero else {}),
                "data_word": In(64),
                "host_word": In(64),
                "even": Out(load_signature(chip, self._cores)),
                "odd": Out(load_signature(chip, self._cores)),
                "sum_valid": Out(self._cores),
                "sum_first": Out(1),
                "load_sum": Out(11),
                "elements_valid": Out(1),
                "elements": Out(elements_layout()),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from ``step`` to ``valid`` of ``even`` or ``odd``, and to ``sum_valid``."""
        return 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        asked = Signal()
        begin = Signal()
        at_row_0 = Signal()
        from_host = Signal()
        turn = Signal(3)  # places that its bytes move up
        count = Signal(4)
        vector = Signal()
        op = Signal(OP_BITS)
        cores = Signal(self._cores)
        now = Signal(8)  # where the byte that comes next belongs
        following = Signal(8)
        first = Signal(8)  # where the first byte of the word that is asked for belongs
        m.d.comb += first.eq(Mux(self.begin, self.row, following))
        m.d.sync += asked.eq(self.step & ~self.stop)
        with m.If(self.step):
            m.d.sync += [
                begin.eq(self.begin),
                at_row_0.eq(self.row == 0),
                from_host.eq(self.from_host),
                turn.eq(first[:3] - self.offset),
                count.eq(self.count),
                vector.eq(self.vector),
                op.eq(self.op),
                cores.eq(Mux(self.vector, 0, self.cores)),
            ]

        # Two 32-bit words, or the one of an unfinished word of memory: turned as far as bytes are,
        # they lie where the vector ALU looks for them.
        wide = Signal()
        pair = Signal(_SLOTS)
        m.d.comb += wide.eq(vector & op[2] & op[:2].any())
        with m.If(asked | self.step):
            m.d.comb += following.eq(Mux(asked, now + Mux(wide, count[2:], count), now))
            m.d.sync += now.eq(Mux(self.step, first, following))

        # Nothing here is computed while no word passes.
        word = Signal(64)
        slots = Signal(2 * _SLOTS)
        here = Signal(64)  # the bits of slots in this word
        there = Signal(64)  # and in the next one
        even = Signal(64)  # the words that were written last: bytes, row by row
        odd = Signal(64)
        merged = Signal(64)
        beyond = Signal(64)
        with idle_skips(m, asked, platform):
            m.d.comb += [
                word.eq(Mux(from_host, self.host_word, self.data_word)),
                slots.eq(((Const(1) << count) - 1)[:_SLOTS] << now[:3]),
                here.eq(_spread(slots[:_SLOTS])),
                there.eq(_spread(slots[_SLOTS:])),
                pair.eq(Cat(1, count[3]) << now[:3]),
            ]
            turned = _turn(m, word, turn)
            # An unfinished word is zero from the slot of `now` on.
            unfinished = Mux(now[:3] == 0, 0, Mux(now[3], odd, even))
            m.d.comb += [merged.eq(unfinished | (turned & here)), beyond.eq(turned & there)]

        summed = Signal(self._cores)
        writes_even = Signal(self._cores)
        writes_odd = Signal(self._cores)
        m.d.sync += [
            summed.eq(0),
            writes_even.eq(0),
            writes_odd.eq(0),
            self.elements_valid.eq(asked & vector & ~self.stop),
        ]
        with m.If(asked):
            over = slots[_SLOTS:].any()
            takers = Mux(self.stop, 0, cores)
            m.d.sync += [
                even.eq(Mux(now[3], beyond, merged)),
                odd.eq(Mux(now[3], merged, beyond)),
                writes_even.eq(Mux(over | ~now[3], takers, 0)),
                writes_odd.eq(Mux(over | now[3], takers, 0)),
                self.even.word.eq(now[4:] + now[3]),
                self.odd.word.eq(now[4:]),
                summed.eq(takers),
                self.sum_first.eq(begin & at_row_0),
                self.elements.op.eq(op),
                self.elements.bytes.eq(turned & (here | there | wide.replicate(64))),
                self.elements.mask.eq(Mux(wide, pair, slots[:_SLOTS] | slots[_SLOTS:])),
                self.elements.word.eq(now[3:]),
                self.elements.next.eq(Mux(wide, 0, slots[_SLOTS:])),
            ]

        for port, writes, bytes_ in (
            (self.even, writes_even, even),
            (self.odd, writes_odd, odd),
        ):
            m.d.comb += port.valid.eq(Mux(self.stop, 0, writes))
            with idle_skips(m, writes.any(), platform):
                m.d.comb += port.planes.eq(self._planes(m, bytes_))
        m.d.comb += self.sum_valid.eq(Mux(self.stop, 0, summed))
        with m.If(self.sum_valid.any()):
            m.d.comb += self.load_sum.eq(sum_bytes(m, self._counts(self.elements.bytes)))
        return m

    def _planes(self, m: Module, word: Value) -> Value:
        """Eight activations as the row registers take them."""
        if not self._code.has_zero:
            return transpose(m, word)
        differences = [Signal(signed(9), name=f"value{i}") for i in range(_SLOTS)]
        for i, difference in enumerate(differences):
            m.d.comb += difference.eq(word.word_select(i, 8) - self.zero)
        magnitudes = Signal(64)
        m.d.comb += magnitudes.eq(Cat(Mux(d[-1], -d, d)[:8] for d in differences))
        return Cat(transpose(m, magnitudes), (d[-1] for d in differences))

    def _counts(self, word: Value) -> Value:
        """What eight activations add to their sum, a byte each."""
        if self._code.exact:
            return word
        table = Array(Const(count, 8) for count in self._code.counts)
        return Cat(table[word.word_select(i, 8)] for i in range(_SLOTS))
