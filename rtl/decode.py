# SPDX-License-Identifier: Apache-2.0
"""What of an instruction is worked out while it is fetched, so that it executes from registers."""

from collections.abc import Mapping
from types import MappingProxyType

from amaranth.hdl import Cat, Const, Mux, Value
from amaranth.lib import data

from ..arch.isa import Opcode

__all__ = ["KIND", "kind_of", "rows_below"]

_KINDS: Mapping[str, tuple[Opcode, ...]] = MappingProxyType(
    {
        "single": (Opcode.NOP, Opcode.HALT, Opcode.SET, Opcode.ADD, Opcode.MVM),
        "sync": (Opcode.SYNC,),
        "loop": (Opcode.LOOP,),
        "gathers": (Opcode.LOAD, Opcode.VEC),
        "moves": (Opcode.RECV, Opcode.SEND),
        "req": (Opcode.REQ,),
        "mvm": (Opcode.MVM,),
        "halt": (Opcode.HALT,),
    }
)

KIND = data.StructLayout(dict.fromkeys(_KINDS, 1))
"""A bit for all that an instruction is: ``single`` takes one cycle to execute, ``gathers`` walks
through runs of bytes, ``moves`` moves whole words. One that does not exist has none."""

_PART_BITS = 4


def kind_of(opcode: Value) -> Value:
    """The :data:`KIND` of an opcode."""
    return Cat(Cat(opcode == number for number in numbers).any() for numbers in _KINDS.values())


def rows_below(limit: Value, width: int) -> Value:
    """Bit r is ``r < limit``; in parts, that a simulation shifts nothing wide and gates carry
    nothing."""
    part = 1 << _PART_BITS
    here, above = limit[:_PART_BITS], limit[_PART_BITS:]
    upto = ~(Const((1 << part) - 1) << here)[:part]
    parts = [
        Mux(above > k, (1 << part) - 1, Mux(above == k, upto, 0)) for k in range(-(-width // part))
    ]
    return Cat(parts)[:width]
