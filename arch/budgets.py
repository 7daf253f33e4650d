# SPDX-License-Identifier: Apache-2.0
"""Row budgets: how SET of ROWS_PER_READ names the reads that it is for."""

from .formats import ACTIVATION_BITS

__all__ = ["MAX_SLICES", "ONE_PLANE", "ONE_SLICE", "ROWS_BITS", "decode_budget", "encode_budget"]

ROWS_BITS = 9
"""Bits 8:0 of the value: rows that a read may drive."""

_PLANE_BITS = 3
_SLICE_BITS = 4

MAX_SLICES = 1 << _SLICE_BITS

_PLANE = ROWS_BITS
_SLICE = _PLANE + _PLANE_BITS

ONE_PLANE = 16
"""Bit that says: only for the bit plane in bits 11:9."""

ONE_SLICE = 17
"""Bit that says: only for the slice in bits 15:12."""


def encode_budget(rows: int, plane: int | None = None, part: int | None = None) -> int:
    """The value for SET of ROWS_PER_READ.

    Parameters
    ----------
    rows : int
        Rows that a read may drive, 1 to 256.
    plane, part : int, optional
        The bit plane and the slice that it is for; by default all of them.

    Raises
    ------
    ValueError
        If one of them is out of range.
    """
    for name, value, limit in (
        ("rows", rows - 1, 256),
        ("plane", plane or 0, ACTIVATION_BITS),
        ("slice", part or 0, MAX_SLICES),
    ):
        if not 0 <= value < limit:
            raise ValueError(f"A row budget has no {name} {value + (name == 'rows')}")
    value = rows
    if plane is not None:
        value |= plane << _PLANE | 1 << ONE_PLANE
    if part is not None:
        value |= part << _SLICE | 1 << ONE_SLICE
    return value


def decode_budget(value: int) -> tuple[int, int | None, int | None]:
    """Rows, plane and slice of a value of SET; None stands for all."""
    plane = value >> _PLANE & ((1 << _PLANE_BITS) - 1)
    part = value >> _SLICE & (MAX_SLICES - 1)
    return (
        value & ((1 << ROWS_BITS) - 1),
        plane if value >> ONE_PLANE & 1 else None,
        part if value >> ONE_SLICE & 1 else None,
    )
