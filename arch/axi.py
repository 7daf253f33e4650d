# SPDX-License-Identifier: Apache-2.0
"""Registers of a fabric behind AXI (``fpga/axi``): one table for RTL, host and manual.

They are what a bus is brought up with; all else, the tile's own registers among it, goes by
messages (``messages.py``) over the streams. Registers have 32 bits; addresses count bytes.
"""

from enum import IntEnum

from .registers import Access

__all__ = ["AXI_ADDRESS_BITS", "AXI_REGISTERS", "AxiControl", "AxiRegister", "AxiStatus"]

AXI_ADDRESS_BITS = 12
"""The smallest range that an interconnect of Zynq gives to a port."""


class AxiRegister(IntEnum):
    ID = 0x00
    VERSION = 0x04
    HASH_LOW = 0x08
    HASH_HIGH = 0x0C
    CONTROL = 0x10
    STATUS = 0x14
    WORDS_IN = 0x18
    WORDS_OUT = 0x1C
    SCRATCH = 0x20


class AxiControl(IntEnum):
    """Bits of CONTROL."""

    RESET = 1
    """Reset the tile and whatever counts its reads; reads as 1 until that is done."""


class AxiStatus(IntEnum):
    """Bits of STATUS."""

    HELD = 1
    """The tile waits for an emulated array."""
    INPUT = 2
    """A word has come that the tile has not taken."""
    OUTPUT = 4
    """A word is on offer."""
    KEEP_FAULT = 8
    """A word came with a byte that TKEEP leaves out, and was dropped. A reset clears it."""


AXI_REGISTERS: dict[AxiRegister, tuple[Access | None, str]] = {
    AxiRegister.ID: (Access.READ, "magic 'OHMT'"),
    AxiRegister.VERSION: (Access.READ, "version in 15:0, features of the arrays in 31:16"),
    AxiRegister.HASH_LOW: (Access.READ, "hash of the configuration, 31:0"),
    AxiRegister.HASH_HIGH: (Access.READ, "hash of the configuration, 63:32"),
    AxiRegister.CONTROL: (None, "bit 0 reset"),
    AxiRegister.STATUS: (
        Access.READ,
        "bit 0 held, bit 1 input waits, bit 2 output waits, bit 3 keep fault",
    ),
    AxiRegister.WORDS_IN: (Access.READ, "words taken since the reset"),
    AxiRegister.WORDS_OUT: (Access.READ, "words given since the reset"),
    AxiRegister.SCRATCH: (None, "anything: to try the bus with"),
}
"""Access (None: both ways) and what it holds."""
