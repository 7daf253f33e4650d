# SPDX-License-Identifier: Apache-2.0
"""A line in virtual time: two ends that talk at a byte's pace, and how much gets through."""

from collections import deque
from random import Random
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import ToolError
from ...arch.link import ENCODED_BYTES, PAYLOAD_WORDS, WORD_BYTES, Ident
from .board import BoardModel, Words
from .faults import FaultInjector, FaultRates
from .session import HostLink

__all__ = ["End", "Line", "Sink", "goodput"]


class End(Protocol):
    """What stands at an end of a line."""

    def receive(self, data: bytes, now: float) -> None:
        """Bytes have come."""

    def transmit(self, now: float) -> bytes:
        """The next frame, or nothing."""


class Line:
    """Both directions between two ends.

    Parameters
    ----------
    a, b : End
    there, back : FaultInjector, optional
        Faults on the way from a to b, and from b to a.
    byte_time : float
        Seconds a byte takes: ten bits.
    latency : float
        Seconds between the last bit of a frame and its arrival.

    Attributes
    ----------
    now : float
        Seconds.
    bytes_there, bytes_back : int
        Sent so far.
    """

    def __init__(
        self,
        a: End,
        b: End,
        there: FaultInjector | None = None,
        back: FaultInjector | None = None,
        byte_time: float = 10 / 3e6,
        latency: float = 0.0,
    ) -> None:
        self._ends = (a, b)
        self._faults = (there, back)
        self._byte_time = byte_time
        self._latency = latency
        self._free = [0.0, 0.0]
        self._under_way: tuple[deque[tuple[float, bytes]], ...] = (deque(), deque())
        self._sent = [0, 0]
        self.now = 0.0

    @property
    def bytes_there(self) -> int:
        return self._sent[0]

    @property
    def bytes_back(self) -> int:
        return self._sent[1]

    def step(self) -> None:
        """To the next thing that happens; a frame's time at most if nothing does."""
        for way in (0, 1):
            pipe = self._under_way[way]
            while pipe and pipe[0][0] <= self.now:
                self._ends[1 - way].receive(pipe.popleft()[1], self.now)
        for way in (0, 1):
            if self._free[way] <= self.now:
                self._send(way)
        times = [pipe[0][0] for pipe in self._under_way if pipe]
        times += [free for free in self._free if free > self.now]
        self.now = min([self.now + ENCODED_BYTES * self._byte_time, *times])

    def _send(self, way: int) -> None:
        data = self._ends[way].transmit(self.now)
        if not data:
            return
        self._sent[way] += len(data)
        self._free[way] = self.now + len(data) * self._byte_time
        faults = self._faults[way]
        if faults is not None:
            data = faults.feed(data)
        if data:
            self._under_way[way].append((self._free[way] + self._latency, data))


class Sink(Words):
    """Takes all words and sends nothing of its own."""

    def __init__(self) -> None:
        self.words = bytearray()

    def take(self, words: NDArray[np.uint64]) -> int:
        self.words += words.astype("<u8").tobytes()
        return len(words)

    def give(self) -> NDArray[np.uint64]:
        return np.empty(0, np.uint64)

    def reset(self) -> None:
        self.words.clear()


def goodput(byte_errors: float = 0.0, frames: int = 2000, seed: int = 1) -> float:
    """Payload delivered, over what the line could have carried in that time.

    A line of 3 Mbaud whose ends answer at once; both directions suffer the errors.

    Parameters
    ----------
    byte_errors : float
        Probability that a byte is damaged (nine flips to one byte lost or made up).
    frames : int
        Full frames to deliver.
    seed : int

    Returns
    -------
    float
        Payload bytes times ten bits, over bits of the line.

    Raises
    ------
    InputError
        If ``byte_errors`` is no probability.
    ToolError
        If less than a hundredth gets through.
    """
    rates = FaultRates.bytes_and_frames(byte_errors)
    sink = Sink()
    host = HostLink(timeout=0.01, random=Random(seed))
    board = BoardModel(Ident(0, 0), sink, timeout=0.01)
    byte_time = 10 / 3e6
    line = Line(host, board, FaultInjector(rates, seed), FaultInjector(rates, seed + 1), byte_time)
    payload = Random(seed).randbytes(frames * PAYLOAD_WORDS * WORD_BYTES)
    while not host.is_open and line.now < 2:
        line.step()
    began = line.now
    host.send(payload)
    worst = began + 100 * len(payload) * byte_time
    while len(sink.words) < len(payload) and line.now < worst:
        line.step()
    if bytes(sink.words) != payload:
        raise ToolError(
            f"Only {len(sink.words)} of {len(payload)} bytes came through a line with "
            f"{byte_errors:.2%} byte errors"
        )
    return len(payload) * byte_time / (line.now - began)
