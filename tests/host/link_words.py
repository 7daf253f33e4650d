# SPDX-License-Identifier: Apache-2.0
"""Things that stand behind a board's link in tests."""

import numpy as np
from numpy.typing import NDArray

from ohmtwin.arch.link import Ident
from ohmtwin.host.link.board import Words

__all__ = ["IDENT", "Adder", "Echo"]

IDENT = Ident(chip_hash=0x0123456789ABCDEF, clock_hz=25_000_000)

MASK = (1 << 64) - 1


class Echo(Words):
    """Gives back every word; takes at most ``room`` until it was emptied."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.words: list[int] = []
        self.resets = 0

    def take(self, words: NDArray[np.uint64]) -> int:
        n = min(len(words), self.room - len(self.words))
        self.words += words[:n].tolist()
        return n

    def give(self) -> NDArray[np.uint64]:
        found, self.words = self.words, []
        return np.array(found, np.uint64)

    def reset(self) -> None:
        self.words = []
        self.resets += 1


class Adder(Words):
    """Answers every word with the sum of all words so far: a command done twice shows for ever."""

    def __init__(self) -> None:
        self.total = 0
        self.taken = 0
        self.answers: list[int] = []

    def take(self, words: NDArray[np.uint64]) -> int:
        for word in words.tolist():
            self.total = (self.total + word) & MASK
            self.answers.append(self.total)
        self.taken += len(words)
        return len(words)

    def give(self) -> NDArray[np.uint64]:
        found, self.answers = self.answers, []
        return np.array(found, np.uint64)

    def reset(self) -> None:
        self.total = self.taken = 0
        self.answers = []
