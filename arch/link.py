# SPDX-License-Identifier: Apache-2.0
"""Frames of the serial link: one definition for the host, its model of a board, and the RTL.

The link carries the tile's stream of 64-bit words (``messages.py``) both ways over a line that
flips, loses, repeats and delays bytes. On the line a frame is a body and a delimiter::

    body      header (8 bytes), 0 to PAYLOAD_WORDS words of payload, CRC (4 bytes); low byte first
    on line   COBS(body), 0x00

COBS (Cheshire and Baker 1999, "Consistent Overhead Byte Stuffing") leaves no zero in the body, so
that a receiver is in step again at the next delimiter and no payload can look like a frame. A body
is shorter than 255 bytes, so COBS adds one byte, whatever the words are. A delimiter may also
stand before a frame; nothing between two delimiters is no frame.

**CRC.** CRC-32 of IEEE 802.3 over header and payload, XORed with the session for DATA and ACK: a
frame of another session has a wrong CRC.

**Sessions.** The host picks a session, not 0, at random. HELLO carries it with the session that it
replaces: a board takes it only in the place of that one, so that a HELLO that comes late ends no
session. A board without a session has session 0. A new session begins with all sequence numbers 0
and a tile that was reset. HELLO and PROBE are answered by IDENT, which says who the board is, its
session, and gives back the low half of their word, so that an answer that comes late is known as
such.

**Data.** Go-back-N each way, both by the same rules. DATA is numbered from 0; the receiver takes
the number it expects and no other, so a frame that comes again does nothing. Each DATA and ACK
tells the number that its sender expects (``ack``), how many frames from there it has room for
(``credit``), and whether it found something missing (``gap``). A sender that goes back counts its
``round``; an ACK answers a round (``heard``), and only a gap in the present round makes the sender
go back, once. So reports can be repeated freely, and the cost of a loss is the frame and what was
sent until the report came. A sender that hears nothing goes back after a while by itself. ``poll``
asks for an ACK at once.

**Sizes.** With n words a frame is L = 8 n + 14 bytes, so goodput without errors is 8 n / L. With
byte errors of probability p a frame is lost with q = 1 - (1 - p)^L and a loss costs two frames,
itself and the one under way when its report arrives: goodput is 8 n / L / (1 + 2 q / (1 - q)).

====  ==========  ==============
n     p = 0       p = 0.001
====  ==========  ==============
4     0.696       0.636
8     0.821       0.706
10    0.851       0.711 (most)
12    0.873       0.708
16    0.901       0.691
24    0.932       0.639
30    0.945       0.599
====  ==========  ==============

16 words are the smallest power of two with more than 0.85 at p = 0, and cost 3 % of the optimum at
p = 0.001. A window of 16 frames is 2272 bytes, 7.5 ms at 3 Mbaud, more than an answer over USB
takes; window times payload is 256 words, which fill block RAMs of both FPGA families exactly.
"""

from dataclasses import dataclass
from enum import IntEnum

from .errors import InputError
from .registers import ID_MAGIC, ID_VERSION

__all__ = [
    "BAUD_RATES",
    "BODY_BYTES",
    "CRC_BYTES",
    "CRC_CHECK",
    "CRC_INIT",
    "CRC_POLYNOMIAL",
    "CRC_XOR_OUT",
    "DELIMITER",
    "ENCODED_BYTES",
    "HEADER_BYTES",
    "HEADER_FIELDS",
    "IDENT_WORDS",
    "LINK_VERSION",
    "MAX_BAUD_ERROR",
    "MIN_DIVIDER",
    "PAYLOAD_WORDS",
    "ROUNDS",
    "SEQUENCES",
    "WINDOW",
    "WORD_BYTES",
    "Feature",
    "FrameKind",
    "Ident",
    "baud_divider",
]

LINK_VERSION = 1
"""Counted up with every change of this file that a far end could notice."""

WORD_BYTES = 8
HEADER_BYTES = 8
CRC_BYTES = 4

PAYLOAD_WORDS = 16
"""Most words in a frame."""

WINDOW = 16
"""Most frames that are under way without an ACK, each way."""

BODY_BYTES = HEADER_BYTES + PAYLOAD_WORDS * WORD_BYTES + CRC_BYTES
"""Bytes of the longest body."""

ENCODED_BYTES = BODY_BYTES + 2
"""Bytes of the longest frame on the line: COBS's first code and the delimiter."""

DELIMITER = 0

CRC_POLYNOMIAL = 0x04C11DB7
"""CRC-32 of IEEE 802.3, bits in and out reflected, normal form."""
CRC_INIT = 0xFFFFFFFF
CRC_XOR_OUT = 0xFFFFFFFF
CRC_CHECK = 0xCBF43926
"""CRC of the nine characters "123456789", as published."""

BAUD_RATES = (115_200, 230_400, 460_800, 921_600, 1_000_000, 2_000_000, 3_000_000)
"""Rates that a link is used at; 8 data bits, no parity, one stop bit."""


MAX_BAUD_ERROR = 0.02
"""Largest relative error of a rate. Ten bits sampled in their middle bear 5 %; both sides and the
sampling share it."""

MIN_DIVIDER = 4
"""Least clock cycles a bit: the receiver's sample is off by up to one cycle."""


def baud_divider(clock_hz: int, baud: int) -> int:
    """Clock cycles a bit lasts.

    Raises
    ------
    InputError
        If the clock cannot make the rate, with the nearest of ``BAUD_RATES`` that it can make.
    """
    if clock_hz < 1 or baud < 1:
        raise InputError(f"Clock and baud rate must be positive, not {clock_hz} and {baud}")
    if _makes(clock_hz, baud):
        return max(MIN_DIVIDER, round(clock_hz / baud))
    able = [rate for rate in BAUD_RATES if _makes(clock_hz, rate)]
    nearest = min(able, key=lambda rate: abs(rate - baud), default=None)
    raise InputError(
        f"A clock of {clock_hz / 1e6:g} MHz cannot make {baud} baud within "
        f"{MAX_BAUD_ERROR:.0%} at {MIN_DIVIDER} cycles a bit or more; "
        + (f"take {nearest} baud" if nearest else "take a faster clock")
    )


def _makes(clock_hz: int, baud: int) -> bool:
    divider = max(MIN_DIVIDER, round(clock_hz / baud))
    return abs(clock_hz / divider - baud) / baud < MAX_BAUD_ERROR


class FrameKind(IntEnum):
    """0 stays free, so that a body of zeros is no frame."""

    HELLO = 1
    """Host to board: open a session. One word: new session in 31:0, the one it replaces above."""
    PROBE = 2
    """Host to board: who are you? One word, any number in 31:0. Changes nothing."""
    IDENT = 3
    """Board to host: the words of :class:`Ident`."""
    DATA = 4
    """Words of the stream, at least one."""
    ACK = 5
    """No words."""


HEADER_FIELDS: tuple[tuple[str, int], ...] = (
    ("kind", 3),
    ("gap", 1),  # something is missing from `ack` on, seen in round `heard`
    ("poll", 1),  # answer with an ACK
    ("spare0", 3),
    ("length", 8),  # words of payload
    ("credit", 8),  # frames from `ack` on that there is room for
    ("round", 4),  # how often the sender of this frame went back
    ("heard", 4),  # round of the last DATA that came
    ("seq", 16),  # number of this DATA
    ("ack", 16),  # number of the DATA that is expected next
)
"""Name and width of each field of the header, from bit 0 up; 64 bits in all."""

SEQUENCES = 1 << 16
ROUNDS = 1 << 4


class Feature(IntEnum):
    """Bits of :attr:`Ident.features`."""

    EMULATED_CROSSBARS = 1
    """The crossbars are in the fabric."""
    HOST_CROSSBARS = 2
    """The host answers the reads of the crossbars."""
    NOISE = 4
    """Emulated crossbars take images with noise."""
    CELL_VARIANCE = 8
    """They have memory for a variance of each cell."""
    ADC_TABLES = 16
    """They have memory for a table of each ADC."""
    ARRAY_ONLY = 32
    """There is one emulated array and nothing else: it answers READ_ARRAY."""


IDENT_WORDS = 4


@dataclass(frozen=True)
class Ident:
    """Who a board is: the payload of IDENT.

    Parameters
    ----------
    chip_hash : int
        :attr:`~ohmtwin.arch.chip.Chip.structure_hash` of the configuration it was built with.
    clock_hz : int
        Frequency of the fabric's clock.
    features : int
        Bits of :class:`Feature`.
    session : int
        Its session, 0 if it has none.
    echo : int
        What the HELLO or PROBE that it answers held in its low half.
    magic, version, link_version, window, payload_words : int
        As in the ID register, and the constants of this file.
    """

    chip_hash: int
    clock_hz: int
    features: int = 0
    session: int = 0
    echo: int = 0
    magic: int = ID_MAGIC
    version: int = ID_VERSION
    link_version: int = LINK_VERSION
    window: int = WINDOW
    payload_words: int = PAYLOAD_WORDS

    def words(self) -> tuple[int, int, int, int]:
        """The payload; only the last word changes while a board runs."""
        return (
            self.magic << 32 | self.version,
            self.chip_hash,
            self.link_version
            | self.window << 8
            | self.payload_words << 16
            | self.features << 24
            | self.clock_hz << 32,
            self.session | self.echo << 32,
        )

    @classmethod
    def from_words(cls, words: tuple[int, ...]) -> "Ident":
        """The inverse of :meth:`words`.

        Raises
        ------
        ValueError
            If there are not ``IDENT_WORDS``.
        """
        if len(words) != IDENT_WORDS:
            raise ValueError(f"An IDENT has {IDENT_WORDS} words, not {len(words)}")
        ident, chip_hash, able, state = words
        return cls(
            chip_hash=chip_hash,
            clock_hz=able >> 32,
            features=able >> 24 & 0xFF,
            session=state & 0xFFFFFFFF,
            echo=state >> 32,
            magic=ident >> 32,
            version=ident & 0xFFFF,
            link_version=able & 0xFF,
            window=able >> 8 & 0xFF,
            payload_words=able >> 16 & 0xFF,
        )
