# SPDX-License-Identifier: Apache-2.0
"""The host's end of the link: opens a session, then carries words; bytes in, bytes out."""

from collections.abc import Callable
from dataclasses import replace
from random import Random, SystemRandom

from ...arch.link import DELIMITER, FrameKind, Ident
from .codec import Frame, FrameDecoder, encode
from .flow import Flow

__all__ = ["HostLink"]

_GREETING_EVERY = 0.1
"""Seconds between two HELLO or PROBE that are not answered."""

_PAUSE = 0.002
"""After as many seconds of silence a delimiter goes ahead: the line may have made up bytes."""


class HostLink:
    """One session with a board, seen from the host.

    Parameters
    ----------
    check : callable, optional
        Told who the board is before a session is opened; it may raise to refuse it.
    timeout : float
        See :class:`~.flow.Flow`.
    random : Random, optional
        Picks the session; by default the system's.

    Attributes
    ----------
    ident : Ident or None
        Who the board is, once it told; without session and echo.
    is_open : bool
        Whether the session stands.
    restarted : bool
        Whether the board said that it knows another session, or none.
    heard_at : float
        When the last valid frame came; minus infinity if none did.
    frames, damaged : int
        Valid frames, and pieces between delimiters that were none.
    """

    def __init__(
        self,
        check: Callable[[Ident], None] | None = None,
        timeout: float = 0.05,
        random: Random | None = None,
    ) -> None:
        self._check = check
        self._random = random or SystemRandom()
        self._decoder = FrameDecoder()
        self._flow = Flow(timeout)
        # What the next IDENT must echo: that of a PROBE, the session, that of a PROBE again.
        self._number: int | None = self._new_number()
        self._session = 0
        self._replaces = 0
        self._greet_at: float | None = 0.0
        self._last_sent = float("-inf")
        self._received = bytearray()
        self.ident: Ident | None = None
        self.is_open = False
        self.restarted = False
        self.heard_at = float("-inf")
        self.frames = 0
        self.damaged = 0

    def _new_number(self) -> int:
        return self._random.getrandbits(32) or 1

    @property
    def session(self) -> int:
        """The session; 0 while it is not open."""
        return self._session if self.is_open else 0

    @property
    def flow(self) -> Flow:
        """The stream of words."""
        return self._flow

    def send(self, data: bytes) -> None:
        """Queue whole words, low byte first."""
        self._flow.send(data)

    def received(self) -> bytes:
        """Take the words that have come."""
        data = bytes(self._received)
        self._received.clear()
        return data

    @property
    def waiting(self) -> int:
        """Bytes of words that have come and were not taken."""
        return len(self._received)

    def probe(self) -> None:
        """Ask the board which session it knows; ``restarted`` tells."""
        if self.is_open:
            # One number until it is answered, however long that takes.
            self._number = self._number or self._new_number()
            self._greet_at = float("-inf")

    def receive(self, data: bytes, now: float) -> None:
        """Bytes of the line."""
        for chunk in self._decoder.feed(data):
            frame = self._decoder.decode(chunk)
            # What only a host says comes from a device that sends back what it hears.
            if frame is None or frame.kind in (FrameKind.HELLO, FrameKind.PROBE):
                self.damaged += 1
                self._flow.damaged()
                continue
            self.frames += 1
            self.heard_at = now
            if frame.kind is FrameKind.IDENT:
                self._identified(frame)
            else:
                self._received += self._flow.take(frame, now)

    def _identified(self, frame: Frame) -> None:
        try:
            ident = Ident.from_words(frame.words)
        except ValueError:
            return
        if ident.echo != self._number:
            return  # late: answers an older question
        if self.is_open:
            self.restarted |= ident.session != self._session
            self._number = None
            return
        if self._session and ident.session == self._session:
            self.is_open = True
            self._decoder.session = self._session
            self._greet_at = None
            self._number = None  # echoes of this HELLO are late from here on
            return
        if self.ident is None and self._check is not None:
            self._check(ident)
        self._replaces = ident.session
        self.ident = replace(ident, session=0, echo=0)
        if not self._session:
            self._number = self._session = self._other(ident.session)
        self._greet_at = float("-inf")

    def _other(self, than: int) -> int:
        while (number := self._new_number()) == than:
            pass
        return number

    def transmit(self, now: float) -> bytes:
        """The next frame for the line; empty if there is nothing to say."""
        frame = self._greeting(now)
        if frame is None and self.is_open:
            frame = self._flow.next_frame(now)
        if frame is None:
            return b""
        data = encode(frame, self._session)
        if now - self._last_sent > _PAUSE:
            data = bytes([DELIMITER]) + data
        self._last_sent = now
        return data

    def _greeting(self, now: float) -> Frame | None:
        if self._greet_at is None or now < self._greet_at:
            return None
        self._greet_at = None if self.is_open else now + _GREETING_EVERY
        if self._session and not self.is_open:
            word = self._session | self._replaces << 32
            return Frame(FrameKind.HELLO, word.to_bytes(8, "little"))
        return Frame(FrameKind.PROBE, (self._number or 0).to_bytes(8, "little"))
