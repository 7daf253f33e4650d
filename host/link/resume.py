# SPDX-License-Identifier: Apache-2.0
"""A run that outlives its board: connect again, program the tile, repeat the samples.

Noise is a pure function of the read number, and a board that was reset counts its reads from 0. So
a resumed run repeats *all* samples since the first connection, not only those whose outputs are
missing: results, noise and counters are then those of a run that was never interrupted. What the
earlier samples gave is compared with what they gave before.
"""

import hashlib
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...behavioral.machine import Counters
from ..driver import LinkError, SilentLinkError, TileDriver
from .errors import BoardRestartedError, BoardSilentError, PortError, PortLostError

__all__ = ["ResumeError", "ResumingDriver"]

T = TypeVar("T")

_INTERRUPTIONS = (BoardRestartedError, BoardSilentError, PortLostError, SilentLinkError)
# A port that comes back has not its rights at once, and other programs look at it first.
_NOT_BACK_YET = (*_INTERRUPTIONS, PortError)
_PAUSE = 0.1


class ResumeError(LinkError):
    """The board came back, but does not give what it gave before."""


class ResumingDriver:
    """Runs samples on a tile that may be reset or unplugged meanwhile.

    Parameters
    ----------
    connect : callable
        Opens the link and makes a driver, which programs the tile. Called again to resume.
    resume : bool
        Whether to resume; else the typed error of the interruption goes to the caller.
    rewind : callable, optional
        Called before each connection but the first: sets the read numbers of arrays that the
        host itself emulates back to where they were at the first.
    back_within : float
        Seconds that a board may be away.
    attempts : int
        Interruptions in one call that are borne.

    Raises
    ------
    LinkError
        If the first connection fails: nothing is resumed before it stands.
    """

    def __init__(
        self,
        connect: Callable[[], TileDriver],
        *,
        resume: bool = False,
        rewind: Callable[[], None] | None = None,
        back_within: float = 10.0,
        attempts: int = 3,
    ) -> None:
        self._connect = connect
        self._resume = resume
        self._rewind = rewind
        self._back_within = back_within
        self._attempts = attempts
        self._done: list[tuple[NDArray[np.uint64], bytes]] = []
        self.interruptions = 0
        self._driver = connect()

    def run(
        self, inputs: NDArray[np.uint64], progress: Callable[[int, int], None] | None = None
    ) -> NDArray[np.uint64]:
        """Run samples as :meth:`~..driver.TileDriver.run` does.

        After an interruption ``progress`` counts from 0 again.

        Raises
        ------
        InputError
            If the words have another type or shape.
        LinkError
            If the link fails and nothing is to be resumed, or the board does not come back.
        ResumeError
            If it comes back with other results.
        """
        outputs = self._lasting(lambda: self._driver.run(inputs, progress))
        if self._resume:
            self._done.append((inputs.copy(), _digest(outputs)))
        return outputs

    def counters(self) -> Counters:
        """As :meth:`~..driver.TileDriver.counters`.

        Raises
        ------
        LinkError
            As for :meth:`run`.
        """
        return self._lasting(lambda: self._driver.counters())

    def _lasting(self, action: Callable[[], T]) -> T:
        for _ in range(self._attempts if self._resume else 0):
            try:
                return action()
            except _INTERRUPTIONS:
                self.interruptions += 1
                self._come_back()
        return action()

    def _come_back(self) -> None:
        until = time.monotonic() + self._back_within
        while True:
            self._driver.close()
            try:
                if self._rewind is not None:
                    self._rewind()
                self._driver = self._connect()
                self._repeat()
                return
            except _NOT_BACK_YET:
                if time.monotonic() > until:
                    raise
                time.sleep(_PAUSE)

    def _repeat(self) -> None:
        """All runs that were done, for the reads that they make."""
        for number, (inputs, digest) in enumerate(self._done):
            if _digest(self._driver.run(inputs)) != digest:
                raise ResumeError(
                    f"After the interruption run {number} of this session gave other results than "
                    "before; the board may have another bitstream or other arrays now"
                )

    def close(self) -> None:
        """Close the link; closing twice is harmless."""
        self._driver.close()


def _digest(words: NDArray[np.uint64]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(words, "<u8").tobytes()).digest()
