# SPDX-License-Identifier: Apache-2.0
"""Messages on the word stream between host and chip.

A message is a 64-bit header and ``length`` payload words::

    [7:0] kind   [15:8] tile   [31:16] length   [63:32] address
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["CORE_FLAGS", "MAX_LENGTH", "Header", "Kind", "message"]

CORE_FLAGS = 8
"""Words of flags of flipped columns that a core has addresses for."""

MAX_LENGTH = (1 << 16) - 1


class Kind(IntEnum):
    """Host to chip below 16, chip to host from 16 on."""

    WRITE_PROGRAM = 1
    """Payload to instruction memory from address on."""
    WRITE_PARAMS = 2
    """Payload to parameter memory from address on."""
    WRITE_TABLE = 3
    """Payload to the tables: word address ``table * 32 + code / 8``, eight entries a word."""
    WRITE_DATA = 4
    """Payload to data memory from address on; only while the tile does not run."""
    WRITE_REG = 5
    """Payload to registers from address on."""
    READ_REG = 6
    """No payload: asks for ``length`` registers from address on."""
    INPUT = 7
    """Payload to the input FIFO."""
    WRITE_IMAGE = 8
    """Payload to the image of an emulated array, two 32-bit words in each, the first in the low
    half: word address (20 bits, ``fpga/crossbar/image.py``) from ``address`` bits 19:0 on, array
    in bits 24:20; only while no program runs or it waits for the host. A tile without emulated
    arrays takes it for a wrong message."""
    READ_ARRAY = 9
    """Payload is the rows to drive, row 0 in bit 0 of the first word: asks the emulated array of a
    board that is nothing else for a read of ``address`` beats."""
    GIVE_CODES = 10
    """Payload is the beats that a board has asked for, one a word, the first lane lowest, of the
    array ``address``."""

    WRITE_ROUTE = 11
    """Payload to the routes of a tile's network interface from word ``address`` on
    (``arch/noc_interface.py``); a tile without one takes it for a wrong message."""
    WRITE_LIST = 12
    """Payload to the lists of a tile's network interface: what the words of its input and output
    FIFO are (``arch/noc_interface.py``)."""

    WRITE_CORRECTIONS = 13
    """Payload to the tables of corrections of all cores, from remainder ``address`` on (up to half
    of A), an entry a word (``AnCode.words``); one without AN code takes it for a wrong message."""

    WRITE_FLAGS = 14
    """Payload to the flags of flipped columns: word address ``core * 8 + column / 64``, column 0 of
    a word in bit 0; words past the last column are dropped. A tile without flags takes it for a
    wrong message."""
    PROGRAM_ROW = 15
    """Payload is what the cells of a row are to become (``arch/writing.py``), row in ``address``
    bits 15:0, core in bits 31:16: the tile pulses and verifies them, then answers ROW_REPORT. Only
    for a tile with program-and-verify; only while no program runs or it waits for the host.
    Whatever comes behind it waits until the row is done."""

    REPLY = 16
    """Registers that were asked for."""
    OUTPUT = 17
    """Words from the output FIFO."""
    CODES = 18
    """Beats of a READ_ARRAY, one a word, the first lane lowest."""
    ASK_READ = 19
    """A board asks the host for a read of array ``address``: how many beats, then the rows to drive
    as in READ_ARRAY."""
    ROW_REPORT = 31
    """How the PROGRAM_ROW of this ``address`` ended (``arch/writing.py``)."""


@dataclass(frozen=True)
class Header:
    kind: Kind
    length: int
    address: int = 0
    tile: int = 0

    def __post_init__(self) -> None:
        for name, width in (("tile", 8), ("length", 16), ("address", 32)):
            value = getattr(self, name)
            if not 0 <= value < 1 << width:
                raise ValueError(f"Header field {name} has {width} bits, {value} does not fit")

    def encode(self) -> int:
        return int(self.kind) | self.tile << 8 | self.length << 16 | self.address << 32

    @classmethod
    def decode(cls, word: int) -> "Header":
        """Raises ``ValueError`` if the kind is unknown."""
        return cls(Kind(word & 0xFF), word >> 16 & 0xFFFF, word >> 32, word >> 8 & 0xFF)


def message(kind: Kind, payload: Sequence[int], address: int = 0, tile: int = 0) -> list[int]:
    """The words of a message; a payload too long for one header makes several messages."""
    words: list[int] = []
    for start in range(0, len(payload), MAX_LENGTH):
        part = payload[start : start + MAX_LENGTH]
        words.append(Header(kind, len(part), address + start, tile).encode())
        words.extend(part)
    return words
