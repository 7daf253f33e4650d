# SPDX-License-Identifier: Apache-2.0
"""The vector ALU: 256 accumulators that VEC works on and a REQ with ``vector`` drains."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from ..arch.formats import ACC_BITS, ACTIVATION_BITS
from ..arch.isa import FORMATS, VECTOR_ELEMENTS, Opcode, VecOp
from .checks import check_chip
from .idle import idle_skips

__all__ = ["OP_BITS", "SCALE_BITS", "VectorElements", "elements_layout"]

OP_BITS = FORMATS[Opcode.VEC]["op"].width
SCALE_BITS = 24

_BANKS = 8
_DEPTH = VECTOR_ELEMENTS // _BANKS
_HALF = ACC_BITS // 2
_SPLIT = SCALE_BITS // 2


def _first_byte(bank: int) -> int:
    """Where the 32-bit word for a bank begins among bytes that have been turned."""
    return bank if bank % 2 == 0 else (bank + 3) % _BANKS


def elements_layout() -> data.StructLayout:
    """Up to eight bytes and the accumulators they act on: byte i on one whose number is i mod 8.

    Or two words of 32 bits, turned as far as bytes would be: that for accumulator 2j begins at byte
    2j, the other one goes on behind it, from the last byte round to the first.
    """
    return data.StructLayout(
        {
            "op": OP_BITS,
            "bytes": _BANKS * ACTIVATION_BITS,
            "mask": _BANKS,
            "word": range(_DEPTH),
            "next": _BANKS,
        }
    )


class VectorElements(wiring.Component):
    """Accumulators in eight banks; element e is word e // 8 of bank e mod 8.

    Bytes of a cycle act in three: product, sum, and the operation on the accumulator; those at
    ``i`` in cycle t can be drained from t + :attr:`latency` on. Eight bytes a cycle.

    Every bank has an address of its own, so that eight elements in a row are reached in one cycle
    wherever they begin. Its one read port serves both VEC and the drain: the controller's order
    keeps them apart. An accumulator is read in the cycle before it is written, so no element may
    come in two cycles in a row; elements of a VEC go up, and another one begins later.

    Parameters
    ----------
    chip : Chip
        Gives the number W of lanes of the vector unit.

    Members
    -------
    valid, i : In(1), In(elements_layout())
        ``op`` is a :class:`~ohmtwin.arch.isa.VecOp`. Byte k acts if bit k of ``mask`` is set, on
        word ``word`` of bank k, or on the word behind it if bit k of ``next`` is set. So does the
        32-bit word for bank k, with an operation that takes such.
    scale : In(signed(24))
        k of VEC, in the cycle of ``valid``.
    offset : In(signed(32))
        f of VEC, a cycle later.
    stop : In(1)
        Drop what is under way.
    drain, drain_addr : In(1), In(range(256 // W))
        Show elements ``W * drain_addr`` and up in the next cycle.
    drain_data : Out(W * 32)
        The first lowest; 0 where nothing was asked for.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._lanes = check_chip(chip).outputs_per_beat
        super().__init__(
            {
                "valid": In(1),
                "i": In(elements_layout()),
                "scale": In(signed(SCALE_BITS)),
                "offset": In(signed(ACC_BITS)),
                "stop": In(1),
                "drain": In(1),
                "drain_addr": In(range(VECTOR_ELEMENTS // self._lanes)),
                "drain_data": Out(self._lanes * ACC_BITS),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from ``valid`` until the result can be drained."""
        return 3

    @property
    def drain_latency(self) -> int:
        """Cycles from ``drain`` to ``drain_data``."""
        return 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        multiplied = Signal()
        added = Signal()
        control = data.StructLayout(
            {"op": OP_BITS, "mask": _BANKS, "word": range(_DEPTH), "next": _BANKS}
        )
        first = Signal(control, reset_less=True)
        op = Signal(OP_BITS, reset_less=True)
        mask = Signal(_BANKS, reset_less=True)
        after = Signal(range(_DEPTH), reset_less=True)  # the word behind it
        # Of each bank.
        places = [Signal(range(_DEPTH), name=f"place{k}", reset_less=True) for k in range(_BANKS)]
        m.d.sync += [
            multiplied.eq(self.valid & ~self.stop),
            added.eq(multiplied & ~self.stop),
        ]
        with m.If(self.valid):
            m.d.sync += [first[name].eq(self.i[name]) for name, _ in control]
            m.d.sync += after.eq(self.i.word + 1)
        with m.If(multiplied):
            m.d.sync += [op.eq(first.op), mask.eq(first.mask)]

        enable = Signal(_BANKS)
        m.d.comb += enable.eq(Mux(added, mask, 0))
        wide = Signal()  # PUT32 or ADD32
        m.d.comb += wide.eq(self.i.op[2] & self.i.op[:2].any())
        adds = Signal()
        m.d.comb += adds.eq(first.op.matches(VecOp.ADD, VecOp.ADD32))
        old = []
        for k in range(_BANKS):
            bank = memory.Memory(shape=ACC_BITS, depth=_DEPTH, init=[])
            m.submodules[f"bank{k}"] = bank
            read = bank.read_port(domain="comb")
            write = bank.write_port()
            # The product in two parts of a multiplier each, added with the offset; or a word.
            low = Signal(_SPLIT + ACTIVATION_BITS, name=f"low{k}", reset_less=True)
            high = Signal(ACC_BITS - _SPLIT, name=f"high{k}", reset_less=True)
            value = Signal(signed(ACC_BITS), name=f"value{k}", reset_less=True)
            with m.If(self.valid):
                byte = self.i.bytes.word_select(k, ACTIVATION_BITS)
                turned = self.i.bytes.rotate_right(ACTIVATION_BITS * _first_byte(k))
                upper = self.scale[_SPLIT:].as_signed()
                m.d.sync += [
                    low.eq(Mux(wide, turned[:_SPLIT], self.scale[:_SPLIT] * byte)),
                    high.eq(Mux(wide, turned[_SPLIT:ACC_BITS].as_signed(), upper * byte)),
                ]
            # Registers of what the bank holds: to read and to multiply is too much for a cycle.
            # What is added to is 0 for all that put their value, and only the write tells MAX from
            # MIN: so an operation takes one adder and a multiplexer of two.
            acc = Signal(signed(ACC_BITS), name=f"acc{k}", reset_less=True)
            addend = Signal(signed(ACC_BITS), name=f"addend{k}", reset_less=True)
            place = Mux(first.next[k], after, first.word)
            with m.If(multiplied):
                m.d.sync += [value.eq(low + (high << _SPLIT) + self.offset), acc.eq(read.data)]
                m.d.sync += addend.eq(Mux(adds, read.data, 0))
                m.d.sync += places[k].eq(place)

            result = Signal(ACC_BITS, name=f"result{k}")
            wins = Signal(name=f"wins{k}")
            with idle_skips(m, added, platform):
                product = acc[:_HALF].as_signed() * value[:_HALF].as_signed()
                m.d.comb += result.eq(Mux(op == VecOp.MUL, product, addend + value))
                with m.Switch(op):
                    with m.Case(VecOp.MAX):
                        m.d.comb += wins.eq(acc < value)
                    with m.Case(VecOp.MIN):
                        m.d.comb += wins.eq(acc >= value)
                    with m.Default():
                        m.d.comb += wins.eq(1)
            m.d.comb += [
                read.addr.eq(Mux(self.drain, self.drain_addr >> self._place_bits, place)),
                write.addr.eq(places[k]),
                write.data.eq(result),
                write.en.eq(enable[k] & wins),
            ]
            old.append(read.data)
        self._drain(m, old)
        return m

    @property
    def _place_bits(self) -> int:
        """Bits of ``drain_addr`` that say which lanes of eight are meant."""
        return (_BANKS // self._lanes).bit_length() - 1

    def _drain(self, m: Module, banks: list[Value]) -> None:
        shown = Signal()
        m.d.sync += shown.eq(self.drain)
        with m.If(self.drain), m.Switch(self.drain_addr[: self._place_bits]):
            for place in range(_BANKS // self._lanes):
                with m.Case(place):
                    lanes = banks[place * self._lanes :][: self._lanes]
                    m.d.sync += self.drain_data.eq(Cat(lanes))
        with m.Elif(shown):
            m.d.sync += self.drain_data.eq(0)
