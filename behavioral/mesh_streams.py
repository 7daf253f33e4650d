# SPDX-License-Identifier: Apache-2.0
"""When the words of a stream pass, kept as runs of one word a cycle."""

from bisect import bisect_right

__all__ = ["LONGEST_OUTPUT", "Stream", "output_message"]

LONGEST_OUTPUT = 255
"""Words that a tile puts into one OUTPUT message (``rtl/bridge.py``)."""


class Stream:
    """Words by number; word k of a run that starts with word f in cycle t passes in t + k - f."""

    __slots__ = ("_first", "_time", "count")

    def __init__(self) -> None:
        self._first: list[int] = []
        self._time: list[int] = []
        self.count = 0
        """Words whose cycle is known."""

    def add(self, time: int, words: int = 1) -> None:
        """The next words, one a cycle from ``time`` on, which is past all before."""
        if not self._first or time - self._time[-1] != self.count - self._first[-1]:
            self._first.append(self.count)
            self._time.append(time)
        self.count += words

    def time(self, word: int) -> int:
        """The cycle of a word below :attr:`count`."""
        # Whoever asks, asks for one of the last.
        first = self._first
        run = len(first) - 1
        if first[run] > word:
            run = bisect_right(first, word) - 1
        return self._time[run] + word - first[run]

    def run_end(self, word: int) -> int:
        """The first cycle after that of ``word`` in which no word passes."""
        run = bisect_right(self._first, word)
        end = self._first[run] if run < len(self._first) else self.count
        return self._time[run - 1] + end - self._first[run - 1]

    def before(self, cycle: int, word: int) -> int:
        """Words that have passed before ``cycle``, from ``word`` on; ``word`` itself has."""
        run = bisect_right(self._first, word) - 1
        last = run
        while last + 1 < len(self._first) and self._time[last + 1] < cycle:
            last += 1
        end = self._first[last + 1] if last + 1 < len(self._first) else self.count
        return min(self._first[last] + cycle - self._time[last], end) - word

    def passes(self, cycle: int, word: int) -> bool:
        """Whether a word passes in that cycle; ``word`` has passed before it."""
        seen = word + self.before(cycle, word)
        return seen < self.count and self.time(seen) == cycle


def output_message(pushed: Stream, word: int, free: int) -> tuple[int, int] | None:
    """When a tile decides on its next OUTPUT message, and how many words that gets.

    It does so when words stand in the output FIFO and none enters in that cycle, or when they are
    as many as fit.

    Parameters
    ----------
    pushed : Stream
        Into the output FIFO; whatever enters before the program's next wait is known.
    word : int
        The first one that has not left.
    free : int
        The first cycle in which it can decide.

    Returns
    -------
    (cycle, words) or None
        The header is offered in the cycle after. None while there is no such word.
    """
    if word >= pushed.count:
        return None
    cycle = max(free, pushed.time(word) + 1)
    level = pushed.before(cycle, word)
    if level < LONGEST_OUTPUT and pushed.passes(cycle, word):
        end = pushed.run_end(word + level)
        cycle = min(cycle + LONGEST_OUTPUT - level, end)
        level = pushed.before(cycle, word)
    return cycle, min(level, LONGEST_OUTPUT)
