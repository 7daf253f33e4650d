# SPDX-License-Identifier: Apache-2.0
"""Frames of ``arch/link.py`` to bytes on the line and back."""

import zlib
from dataclasses import dataclass

from ...arch.link import (
    BODY_BYTES,
    CRC_BYTES,
    DELIMITER,
    ENCODED_BYTES,
    HEADER_BYTES,
    HEADER_FIELDS,
    WORD_BYTES,
    FrameKind,
)

__all__ = ["Frame", "FrameDecoder", "cobs_decode", "cobs_encode", "decode_body", "encode"]

_END = bytes([DELIMITER])
_OFFSETS: dict[str, tuple[int, int]] = {}
for _name, _width in HEADER_FIELDS:
    _OFFSETS[_name] = (sum(w for _, w in _OFFSETS.values()), _width)
_SHIFT = {name: shift for name, (shift, _) in _OFFSETS.items()}
_MASK = {name: (1 << width) - 1 for name, (_, width) in _OFFSETS.items()}
_IN_SESSION = (FrameKind.DATA, FrameKind.ACK)
_KINDS = {int(kind): kind for kind in FrameKind}


@dataclass(slots=True)
class Frame:
    """One frame; the fields are those of ``HEADER_FIELDS``, the length is that of the payload.

    Parameters
    ----------
    kind : FrameKind
    payload : bytes
        Words, low byte first.
    """

    kind: FrameKind
    payload: bytes = b""
    seq: int = 0
    ack: int = 0
    credit: int = 0
    round: int = 0
    heard: int = 0
    gap: bool = False
    poll: bool = False

    @property
    def words(self) -> tuple[int, ...]:
        """The payload as words."""
        data = self.payload
        return tuple(
            int.from_bytes(data[i : i + WORD_BYTES], "little")
            for i in range(0, len(data), WORD_BYTES)
        )


def cobs_encode(body: bytes) -> bytes:
    """COBS of a body of at most 254 bytes, without the delimiter."""
    return b"".join(bytes([len(part) + 1]) + part for part in body.split(b"\0"))


def cobs_decode(data: bytes) -> bytes | None:
    """The inverse of :func:`cobs_encode`; None if its codes do not fit its length."""
    parts = []
    at = 0
    while at < len(data):
        code = data[at]
        if code == 0 or at + code > len(data):
            return None
        parts.append(data[at + 1 : at + code])
        at += code
    return b"\0".join(parts) if parts else None


def encode(frame: Frame, session: int) -> bytes:
    """Bytes on the line, delimiter included, in a session (uint32)."""
    header = (
        frame.kind << _SHIFT["kind"]
        | frame.gap << _SHIFT["gap"]
        | frame.poll << _SHIFT["poll"]
        | len(frame.payload) // WORD_BYTES << _SHIFT["length"]
        | frame.credit << _SHIFT["credit"]
        | frame.round << _SHIFT["round"]
        | frame.heard << _SHIFT["heard"]
        | frame.seq << _SHIFT["seq"]
        | frame.ack << _SHIFT["ack"]
    )
    body = header.to_bytes(HEADER_BYTES, "little") + frame.payload
    check = zlib.crc32(body) ^ _key(frame.kind, session)
    return cobs_encode(body + check.to_bytes(CRC_BYTES, "little")) + _END


def decode_body(body: bytes, session: int) -> Frame | None:
    """The frame of a body; None if its CRC, kind or length is wrong in this session."""
    if not HEADER_BYTES + CRC_BYTES <= len(body) <= BODY_BYTES:
        return None
    header = int.from_bytes(body[:HEADER_BYTES], "little")
    field = {name: header >> _SHIFT[name] & mask for name, mask in _MASK.items()}
    kind = _KINDS.get(field["kind"])
    payload = body[HEADER_BYTES:-CRC_BYTES]
    if kind is None or len(payload) != WORD_BYTES * field["length"]:
        return None
    # In no session there is nothing to say but who one is.
    if session == 0 and kind in _IN_SESSION:
        return None
    check = int.from_bytes(body[-CRC_BYTES:], "little")
    if zlib.crc32(body[:-CRC_BYTES]) ^ _key(kind, session) != check:
        return None
    return Frame(
        kind,
        payload,
        field["seq"],
        field["ack"],
        field["credit"],
        field["round"],
        field["heard"],
        bool(field["gap"]),
        bool(field["poll"]),
    )


def _key(kind: int, session: int) -> int:
    return session if kind in _IN_SESSION else 0


class FrameDecoder:
    """Cuts a stream of bytes into frames.

    Attributes
    ----------
    session : int
        In which DATA and ACK are understood; 0 for none.
    """

    def __init__(self) -> None:
        self.session = 0
        self._rest = bytearray()
        self._skip = False  # the rest of a frame that was too long

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; returns what stands between two delimiters, empty or too long ones not.

        What is too long to be a frame comes back as one byte, which is no frame either.
        """
        if not data:
            return []
        self._rest += data
        *done, rest = bytes(self._rest).split(_END)
        self._rest = bytearray(rest)
        chunks = []
        for chunk in done:
            if self._skip or len(chunk) >= ENCODED_BYTES:
                chunks.append(b"\1")
            elif chunk:
                chunks.append(chunk)
            self._skip = False
        if len(rest) >= ENCODED_BYTES:
            self._rest.clear()
            self._skip = True
        return chunks

    def decode(self, chunk: bytes) -> Frame | None:
        """What a chunk of :meth:`feed` holds, in the session of now; None if it is no frame."""
        body = cobs_decode(chunk)
        return None if body is None else decode_body(body, self.session)
