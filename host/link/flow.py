# SPDX-License-Identifier: Apache-2.0
"""Go-back-N both ways between two ends of a session (``arch/link.py``), without a clock or a line.

The same rules run on the host and in the model of a board; the RTL is tested against them.
"""

from collections.abc import Callable

from ...arch.link import PAYLOAD_WORDS, ROUNDS, SEQUENCES, WINDOW, WORD_BYTES, FrameKind
from .codec import Frame

__all__ = ["Flow"]

_SLOWEST = 0.4
"""Seconds between two repetitions at most, so that a link which comes back goes on soon."""


def _whole_window() -> int:
    return WINDOW


class Flow:
    """One end of the stream of words.

    Parameters
    ----------
    timeout : float
        Seconds without an ACK after which what is under way is sent again, until round trips were
        measured; never less than this.
    credit : callable, optional
        Frames that there is room for; by default always a whole window.
    quiet_after : int, optional
        Repetitions without a frame of the other end after which nothing is sent until one comes.

    Attributes
    ----------
    sent, repeated : int
        DATA frames made, and those of them that were made before.
    """

    def __init__(
        self,
        timeout: float,
        credit: Callable[[], int] = _whole_window,
        quiet_after: int | None = None,
    ) -> None:
        self._timeout = timeout
        self._quiet_after = quiet_after
        self._tries = 0
        self._credit = credit
        self.sent = 0
        self.repeated = 0
        # Sending. Numbers count without end; only their low bits are on the line.
        self._queue = bytearray()
        self._frames: dict[int, bytes] = {}
        self._first_sent: dict[int, float] = {}
        self._base = 0  # the first that was not acknowledged
        self._next = 0  # to be sent next; below _top after going back
        self._top = 0  # the first that was never sent
        self._limit = WINDOW  # the first that the other end has no room for
        self._round = 0
        self._again_at = 0.0
        self._patience = timeout
        self._round_trip: float | None = None
        # Receiving.
        self._expected = 0
        self._heard = 0
        self._gap = False
        self._ack_due = False
        self._poll_due = False
        self._told = WINDOW  # credit of the last frame that left

    # Sending.

    def send(self, data: bytes) -> None:
        """Queue whole words."""
        self._queue += data

    @property
    def unsent(self) -> int:
        """Words that have never left."""
        return len(self._queue) // WORD_BYTES

    @property
    def idle(self) -> bool:
        """Whether everything sent was acknowledged."""
        return not self._queue and self._base == self._top

    @property
    def acknowledged(self) -> int:
        """Frames that the other end has taken."""
        return self._base

    def poll(self) -> None:
        """Ask for an ACK with the next frame."""
        self._poll_due = True

    def next_frame(self, now: float) -> Frame | None:
        """The frame to send now, if there is one."""
        if self._base < self._top and now >= self._again_at and self._tries != self._quiet_after:
            self._go_back()
            self._later(now)
            self._tries += 1
        if self._next < self._top:
            self.repeated += 1
            self._first_sent.pop(self._next, None)  # its ACK would be of either
            return self._data()
        room = min(self._base + WINDOW, self._limit)
        if self._queue and self._next < room:
            payload = bytes(self._queue[: PAYLOAD_WORDS * WORD_BYTES])
            del self._queue[: len(payload)]
            if self._base == self._top:
                self._again_at = now + self._patience
            self._frames[self._top] = payload
            self._first_sent[self._top] = now
            self._top += 1
            return self._data()
        if self._queue and self._base == self._top and now >= self._again_at:
            # No room: the ACK that tells of new room may have been lost.
            self._poll_due = True
            self._later(now)
        credit = self._credit()
        if self._told < WINDOW // 2 <= credit:
            self._ack_due = True
        if self._ack_due or self._poll_due:
            frame = self._fill(Frame(FrameKind.ACK, poll=self._poll_due), credit)
            self._poll_due = False
            return frame
        return None

    def _data(self) -> Frame:
        number = self._next
        self._next += 1
        self.sent += 1
        frame = Frame(FrameKind.DATA, self._frames[number], seq=number % SEQUENCES)
        return self._fill(frame, self._credit())

    def _fill(self, frame: Frame, credit: int) -> Frame:
        frame.ack = self._expected % SEQUENCES
        frame.credit = self._told = credit
        frame.round = self._round % ROUNDS
        frame.heard = self._heard
        frame.gap = self._gap
        self._ack_due = False
        return frame

    def _go_back(self) -> None:
        self._next = self._base
        self._round += 1

    def _later(self, now: float) -> None:
        """Wait longer for the next ACK: the line may be slower than thought."""
        self._again_at = now + self._patience
        self._patience = min(2 * self._patience, max(_SLOWEST, self._timeout))

    # Receiving.

    def take(self, frame: Frame, now: float) -> bytes:
        """Obey a DATA or ACK of the other end; returns the payload if it is new."""
        self._tries = 0
        self._acknowledge(frame, now)
        if frame.poll:
            self._ack_due = True
        if frame.kind is not FrameKind.DATA:
            return b""
        self._ack_due = True
        self._heard = frame.round
        ahead = (frame.seq - self._expected) % SEQUENCES
        if ahead == 0 and frame.payload and self._credit() > 0:
            self._expected += 1
            self._gap = False
            return frame.payload
        if ahead < SEQUENCES // 2:
            self._gap = True
        return b""

    def damaged(self) -> None:
        """Something came that is no frame: it may have been one."""
        self._gap = True
        self._ack_due = True

    def _acknowledge(self, frame: Frame, now: float) -> None:
        new = (frame.ack - self._base) % SEQUENCES
        if new > self._top - self._base:
            return  # late: of frames that were acknowledged long ago
        if new:
            self._base += new
            self._next = max(self._next, self._base)
            began = self._first_sent.get(self._base - 1)
            for number in range(self._base - new, self._base):
                del self._frames[number]
                self._first_sent.pop(number, None)
            self._measure(None if began is None else now - began)
            self._again_at = now + self._patience
        # Room only ever grows, so that a late ACK takes none away.
        self._limit = max(self._limit, self._base + frame.credit)
        if frame.gap and frame.heard == self._round % ROUNDS and self._next > self._base:
            self._go_back()
            self._again_at = now + self._patience

    def _measure(self, took: float | None) -> None:
        """Wait twice the round trip, smoothed; Karn's rule: repeated frames tell nothing."""
        if took is not None:
            known = self._round_trip
            self._round_trip = took if known is None else known + (took - known) / 8
        if self._round_trip is not None:
            self._patience = max(self._timeout, 2 * self._round_trip)
        else:
            self._patience = self._timeout
