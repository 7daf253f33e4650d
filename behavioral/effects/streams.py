# SPDX-License-Identifier: Apache-2.0
"""Where the randomness of an array comes from.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011): Philox is counter-based, so
any key gives an independent stream, whatever was drawn before or elsewhere.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["Stream", "Streams", "normal"]

_CHIP = 1 << 32  # in place of an array number, which has 32 bits


class Stream(IntEnum):
    """Number of an effect's stream. A number never changes, or all chips would."""

    OPEN_LOOP = 1
    DIE = 2
    DEVICE = 3
    CYCLE = 4
    CORRELATED = 5
    VERIFY = 6
    FAULTS = 7
    DRIFT = 8
    RETENTION = 9
    TRAPS = 10
    TRAP_STATE = 11
    ENDURANCE = 12
    DRIVER = 13
    ADC = 14
    PULSES = 15
    LEARNING = 16


@dataclass(frozen=True)
class Streams:
    """Generators keyed by (seed, array, effect, epoch)."""

    seed: int
    array: int

    def generator(self, stream: Stream, epoch: int = 0) -> np.random.Generator:
        """The stream of an effect; ``epoch`` counts its uses over the life of the array."""
        return self._make(self.array, stream, epoch)

    def chip(self, stream: Stream, epoch: int = 0) -> np.random.Generator:
        """A stream that all arrays of the chip share."""
        return self._make(_CHIP, stream, epoch)

    def _make(self, array: int, stream: Stream, epoch: int) -> np.random.Generator:
        key = np.array([self.seed | int(stream) << 32, array], dtype=np.uint64)
        counter = np.array([0, 0, epoch, 0], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=counter))


def normal(random: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Standard normals: the cells [rows, cols] first, then the reference column, as one array."""
    rows, cols = shape
    cells = random.standard_normal((rows, cols - 1))
    return np.column_stack([cells, random.standard_normal(rows)])
