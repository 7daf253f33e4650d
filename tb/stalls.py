# SPDX-License-Identifier: Apache-2.0
"""Endless patterns of idle and back-pressure cycles for sources, sinks and the crossbar macro.

A pattern is an iterator of bools, one a cycle; True holds the stream up in that cycle.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

__all__ = ["PATTERNS", "Pattern", "bursts", "never", "pattern", "random_stalls"]

Pattern = Iterator[bool]


def never() -> Pattern:
    """No stall at all."""
    while True:
        yield False


def random_stalls(rng: random.Random, probability: float) -> Pattern:
    """Stall each cycle on its own with ``probability``, below 1.

    Raises
    ------
    ValueError
        If the probability is not in 0 <= p < 1: the stream would stand still for ever.
    """
    if not 0 <= probability < 1:
        raise ValueError(f"A stall probability must be 0 to below 1, not {probability}")
    while True:
        yield rng.random() < probability


def bursts(rng: random.Random, longest: int) -> Pattern:
    """Runs of flow and stall in turn, each 1 to ``longest`` cycles: finds what single stalls miss.

    Raises
    ------
    ValueError
        If ``longest`` is below 1.
    """
    if longest < 1:
        raise ValueError(f"The longest burst must be at least 1 cycle, not {longest}")
    stalled = False
    while True:
        for _ in range(rng.randint(1, longest)):
            yield stalled
        stalled = not stalled


PATTERNS: Mapping[str, Callable[[random.Random], Pattern]] = MappingProxyType(
    {
        "never": lambda _: never(),
        "sometimes": lambda rng: random_stalls(rng, 0.2),
        "often": lambda rng: random_stalls(rng, 0.7),
        "bursts": lambda rng: bursts(rng, 12),
    }
)
"""Patterns by name, for benches that get theirs as a parameter."""


def pattern(name: str, rng: random.Random) -> Pattern:
    """The pattern of that name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in PATTERNS:
        raise ValueError(f"There is no stall pattern '{name}'; choose one of {', '.join(PATTERNS)}")
    return PATTERNS[name](rng)
