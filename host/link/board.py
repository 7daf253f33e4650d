# SPDX-License-Identifier: Apache-2.0
"""The far end of the link in Python: the executable specification of ``fpga/link``."""

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...arch.link import PAYLOAD_WORDS, WINDOW, FrameKind, Ident
from .codec import Frame, FrameDecoder, encode
from .flow import Flow

__all__ = ["BoardModel", "Words"]


class Words(ABC):
    """What stands behind a board's link: a tile, or something that takes and gives words."""

    @abstractmethod
    def take(self, words: NDArray[np.uint64]) -> int:
        """Offer words (uint64 [n]); returns how many of the first were taken."""

    @abstractmethod
    def give(self) -> NDArray[np.uint64]:
        """All words that it has to send: uint64 [n]."""

    @abstractmethod
    def reset(self) -> None:
        """A session begins: forget what is under way."""


class BoardModel:
    """A board: bytes in, bytes out, words behind it.

    Parameters
    ----------
    ident : Ident
        Who it is; session and echo are its own business.
    words : Words
    timeout : float
        Seconds without an ACK after which it sends again.
    quiet_after : int
        Repetitions without any frame of the host after which it stays quiet until one comes.

    Attributes
    ----------
    session : int
        0 until a host opens one.
    accepted : int
        DATA frames whose words were committed, over all sessions.
    """

    def __init__(
        self, ident: Ident, words: Words, timeout: float = 0.05, quiet_after: int = 8
    ) -> None:
        self._ident = ident
        self._words = words
        self._timeout = timeout
        self._quiet_after = quiet_after
        self._decoder = FrameDecoder()
        self.session = 0
        self.accepted = 0
        self._begin()

    def _begin(self) -> None:
        self._flow = Flow(self._timeout, self._credit, self._quiet_after)
        self._waiting: deque[int] = deque()
        self._answer: int | None = None

    def _credit(self) -> int:
        return min(WINDOW, (WINDOW * PAYLOAD_WORDS - len(self._waiting)) // PAYLOAD_WORDS)

    def receive(self, data: bytes, now: float) -> None:
        """Bytes of the line."""
        for chunk in self._decoder.feed(data):
            frame = self._decoder.decode(chunk)
            if frame is None:
                self._flow.damaged()
            elif frame.kind is FrameKind.HELLO or frame.kind is FrameKind.PROBE:
                self._greet(frame)
            elif frame.kind is not FrameKind.IDENT:
                payload = self._flow.take(frame, now)
                if payload:
                    self.accepted += 1
                    self._waiting += np.frombuffer(payload, "<u8").tolist()
        self._move()

    def _greet(self, frame: Frame) -> None:
        if len(frame.words) != 1:
            return
        (word,) = frame.words
        new, old = word & 0xFFFFFFFF, word >> 32
        if frame.kind is FrameKind.HELLO and new not in (0, self.session) and old == self.session:
            self.session = self._decoder.session = new
            self._begin()
            self._words.reset()
        self._answer = new

    def _move(self) -> None:
        """Words to and from what stands behind the link."""
        if self._waiting:
            taken = self._words.take(np.array(self._waiting, np.uint64))
            for _ in range(taken):
                self._waiting.popleft()
        if self.session:
            self._flow.send(self._words.give().astype("<u8").tobytes())

    def transmit(self, now: float) -> bytes:
        """The next frame for the line; empty if there is nothing to say."""
        self._move()
        if self._answer is not None:
            ident = replace(self._ident, session=self.session, echo=self._answer)
            self._answer = None
            payload = np.array(ident.words(), "<u8").tobytes()
            return encode(Frame(FrameKind.IDENT, payload), 0)
        if not self.session:
            return b""
        frame = self._flow.next_frame(now)
        return b"" if frame is None else encode(frame, self.session)

    @property
    def flow(self) -> Flow:
        """The stream of the present session."""
        return self._flow
