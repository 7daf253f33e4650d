# SPDX-License-Identifier: Apache-2.0
"""What goes over a link of the network on chip."""

from amaranth.hdl import Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...arch.noc import CLASSES, FLIT_BITS, HEADER_FIELDS

__all__ = ["HEADER_LAYOUT", "LinkSignature", "check_flit_bits", "flit_layout", "header_of"]

HEADER_LAYOUT = data.StructLayout(dict(HEADER_FIELDS))
"""The low 64 bits of a header flit's data."""


def check_flit_bits(bits: object) -> int:
    """The argument, if flits can have that much data.

    Raises
    ------
    TypeError
        If it is no int.
    ValueError
        If a header does not fit, or it is past 1024.
    """
    if not isinstance(bits, int) or isinstance(bits, bool):
        raise TypeError(f"Bits of a flit must be an int, not {bits!r}")
    if not FLIT_BITS <= bits <= 1024:
        raise ValueError(f"A flit has {FLIT_BITS} (for its header) to 1024 bits, not {bits}")
    return bits


def flit_layout(bits: int = FLIT_BITS) -> data.StructLayout:
    """A flit: ``data``, then ``last`` (the packet's tail) and ``kind`` (its message class)."""
    return data.StructLayout({"data": bits, "last": 1, "kind": 1})


def header_of(flit: data.View) -> data.View:
    """A flit that is a header, seen as one."""
    word: Value = flit.data
    return data.View(HEADER_LAYOUT, word[:FLIT_BITS])


class LinkSignature(wiring.Signature):
    """One direction of a link, as the sender sees it.

    A flit of class k is transferred in a cycle with ``valid``, ``flit.kind == k`` and
    ``ready[k]``. All are functions of registers alone: ``valid`` never depends on ``ready``, nor
    the other way round, in the same cycle. A flit that is offered stays until it is taken, but in a
    cycle after one in which it was not, one of the other class may be offered in its place.

    Parameters
    ----------
    bits : int
        Data of a flit.
    """

    def __init__(self, bits: int = FLIT_BITS) -> None:
        super().__init__(
            {
                "valid": Out(1),
                "flit": Out(flit_layout(check_flit_bits(bits))),
                "ready": In(CLASSES),
            }
        )
