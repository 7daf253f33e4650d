# SPDX-License-Identifier: Apache-2.0
"""The registers of row budgets: rows that a read may drive, by bit plane."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.budgets import ONE_PLANE, ONE_SLICE, ROWS_BITS
from ..arch.chip import Chip
from ..arch.formats import ACTIVATION_BITS
from .checks import check_chip

__all__ = ["RowBudgets", "add_row_budgets", "rows_members"]

_PLANE_BITS = (ACTIVATION_BITS - 1).bit_length()


def rows_members(chip: Chip, way: Any) -> dict[str, Any]:
    """The member that tells how many rows a read may drive: one number, or one a plane (and
    slice)."""
    if chip.row_budgets:
        return {"budgets": way(ROWS_BITS * ACTIVATION_BITS * chip.read_slices)}
    return {"rows_per_read": way(ROWS_BITS)}


class RowBudgets(wiring.Component):
    """What SET of ROWS_PER_READ sets on a chip with row budgets (``arch/budgets.py``).

    A value shows in the cycle after ``set``. The cores read the registers while products run: the
    controller sets them while none does.

    Parameters
    ----------
    chip : Chip

    Members
    -------
    set : In(1)
        Take ``value``.
    value : In(32)
        Rows, and the plane that they are for.
    reset : In(1)
        A program starts: a row a read.
    budgets : Out(9 * planes)
        Rows of a read, the least significant plane lowest, in it the least significant slice.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._slices = check_chip(chip).read_slices
        super().__init__(
            {
                "set": In(1),
                "value": In(32),
                "reset": In(1),
                "budgets": Out(ROWS_BITS * ACTIVATION_BITS * self._slices),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        plane = self.value[ROWS_BITS:][:_PLANE_BITS]
        part = self.value[ROWS_BITS + _PLANE_BITS : ONE_PLANE]
        slices = self._slices
        registers = [
            Signal(ROWS_BITS, name=f"plane{p}" if slices == 1 else f"plane{p}_{s}")
            for p in range(ACTIVATION_BITS)
            for s in range(slices)
        ]
        m.d.comb += self.budgets.eq(Cat(registers))
        for number, register in enumerate(registers):
            p, s = divmod(number, slices)
            chosen = ~self.value[ONE_PLANE] | (plane == p)
            if slices > 1:
                chosen &= ~self.value[ONE_SLICE] | (part == s)
            with m.If(self.set & chosen):
                m.d.sync += register.eq(self.value[:ROWS_BITS])
            with m.If(self.reset):
                m.d.sync += register.eq(1)
        return m


def add_row_budgets(
    m: Module, chip: Chip, chosen: Value, value: Value, begin: Value, budgets: Value
) -> None:
    """Registers that take ``value`` if ``chosen`` and start anew at ``begin``."""
    m.submodules.row_budgets = registers = RowBudgets(chip=chip)
    m.d.comb += [
        registers.set.eq(chosen),
        registers.value.eq(value),
        registers.reset.eq(begin),
        budgets.eq(registers.budgets),
    ]
