# SPDX-License-Identifier: Apache-2.0
"""Which bytes of data memory each buffer takes; buffers that are done with make room for others."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...arch.chip import Chip
from ...arch.errors import CapacityError
from .memories import next_power
from .tensors import Buffer

__all__ = ["Life", "plan_memory"]

_WORD = 8


@dataclass(frozen=True)
class Life:
    """A buffer is in use from one point of the program to another, both included."""

    buffer: Buffer
    first: int
    last: int

    def meets(self, other: "Life") -> bool:
        return self.first <= other.last and other.first <= self.last


def _words(buffer: Buffer) -> int:
    return -(-buffer.size // _WORD)


def plan_memory(lives: Sequence[Life]) -> tuple[dict[int, int], int]:
    """Place buffers, the largest first, each at the lowest free address.

    Returns
    -------
    bases : dict
        Byte address by number of the buffer, whole words each.
    words : int
        Words taken.
    """
    placed: list[tuple[Life, int]] = []
    for life in sorted(lives, key=lambda one: (-_words(one.buffer), one.first)):
        taken = sorted((at, at + _words(other.buffer)) for other, at in placed if life.meets(other))
        at = 0
        for begin, end in taken:
            if begin - at >= _words(life.buffer):
                break
            at = max(at, end)
        placed.append((life, at))
    words = max((at + _words(life.buffer) for life, at in placed), default=0)
    return {life.buffer.number: _WORD * at for life, at in placed}, words


def check_memory(words: int, lives: Sequence[Life], chip: Chip, name: str) -> None:
    """Refuse what data memory does not hold.

    Raises
    ------
    CapacityError
        Names the largest tensors that are held at once.
    """
    if words <= chip.data_words:
        return
    most: list[Life] = []
    for point in {life.first for life in lives}:
        now = [life for life in lives if life.first <= point <= life.last]
        if sum(_words(n.buffer) for n in now) > sum(_words(m.buffer) for m in most):
            most = now
    largest = sorted(most, key=lambda life: -life.buffer.size)[:3]
    detail = ", ".join(f"{life.buffer.name} {life.buffer.size} bytes" for life in largest)
    raise CapacityError(
        f"The tensors of network '{name}' take {words} words of data memory at once (the largest: "
        f"{detail}), chip '{chip.name}' has {chip.data_words}; raise data_words to "
        f"{next_power(words)}, or use several tiles"
    )
