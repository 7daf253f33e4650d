# SPDX-License-Identifier: Apache-2.0
"""Weight rotation: what an MVM tells a core that has several arrays."""

from typing import Any

from amaranth.hdl import Module, Mux, Value

from ..arch.chip import Chip
from ..arch.formats import ACC_BITS
from ..arch.isa import FORMATS, OPCODE, Opcode, Reg
from .budgets import rows_members

__all__ = ["add_rotation", "product_members", "rotation_members", "sum_bits"]


def sum_bits(chip: Chip) -> int:
    """Width of a core's sum of activations: of 256 rows, or if turns add to it, modulo what REQ
    takes of it."""
    return ACC_BITS - max(1, chip.sum_weight.bit_length()) + 1 if chip.array_bits else 16


def rotation_members(chip: Chip, way: Any) -> dict[str, Any]:
    """``array``: the one that is read. ``keep``: a product adds to the sums that are there. None of
    them where cores have one array each."""
    return {"array": way(chip.array_bits), "keep": way(1)} if chip.array_bits else {}


def product_members(chip: Chip, way: Any) -> dict[str, Any]:
    """What optional registers and fields tell a core of its products."""
    return {**rows_members(chip, way), **rotation_members(chip, way)}


def add_rotation(
    m: Module, chip: Chip, owner: Any, word: Value, changes: Value, begin: Value
) -> None:
    """Drive these members of the controller.

    ``word`` executes; if ``changes``, as SET or ADD. A program ``begin``s with KEEP at 0.
    """
    if not chip.array_bits:
        return
    array, reg = FORMATS[Opcode.MVM]["array"], FORMATS[Opcode.SET]["reg"]
    value = word[FORMATS[Opcode.SET]["value"].lsb]
    add = word[: OPCODE.width] == Opcode.ADD
    m.d.comb += owner.array.eq(word[array.lsb : array.lsb + array.width])
    with m.If(changes & (word[reg.lsb : reg.lsb + reg.width] == Reg.KEEP)):
        m.d.sync += owner.keep.eq(Mux(add, owner.keep, 0) + value)
    with m.If(begin):
        m.d.sync += owner.keep.eq(0)
