# SPDX-License-Identifier: Apache-2.0
"""When a program touches the FIFOs: what a network of tiles needs to know of a tile.

All waits for the host are SYNCs, and cores and vector unit are idle in them: a wait moves
whatever comes behind it by as many cycles, and changes nothing else. So a pass that never waited
tells all (docs/tile.md).
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from ..arch.chip import Chip
from ..arch.timing import tap_delay
from .machine_steps import Kind, Trace

__all__ = ["TOUCH", "PassTimes", "Touch", "pass_times"]


class Touch(IntEnum):
    """What an instruction has to do with the FIFOs."""

    SYNC = 0
    """Passes with ``words`` in the input FIFO and room for ``room`` in the output FIFO."""
    POP = 1
    """Takes ``words``, one a cycle; strobes, which the level shows a cycle later."""
    PUSH = 2
    """Gives ``words``, one a cycle."""


TOUCH = np.dtype([("kind", "<i4"), ("words", "<i4"), ("room", "<i4"), ("delay", "<i4")])
"""``delay``: cycles from that in which the instruction executes to that of its first word."""


@dataclass(frozen=True, eq=False)
class PassTimes:
    """Samples whose passes take the same steps.

    Parameters
    ----------
    touches : array [m] of TOUCH
        In the order of the program; the last one is the SYNC that waits for the next sample.
    starts : int64 [n, m]
        Cycle in which each executes if none waits for the host, from the one in which the pass
        begins: that of its first SYNC, or of the first fetch after reset.
    """

    touches: NDArray[np.void]
    starts: NDArray[np.int64]

    @property
    def cycles(self) -> NDArray[np.int64]:
        """Of each pass, waits for the host apart: int64 [n]."""
        last: NDArray[np.int64] = self.starts[:, -1]
        return last


def pass_times(chip: Chip, trace: Trace, starts: NDArray[np.int64]) -> PassTimes:
    """Times of passes of one trace.

    Parameters
    ----------
    chip : Chip
    trace : Trace
    starts : int64 [n, touches of the trace]
    """
    steps = trace.steps[trace.touches]
    kind, count = steps["kind"], steps["count"]
    touches = np.zeros(len(steps), dtype=TOUCH)
    sync, tap = kind == Kind.SYNC, kind == Kind.REQ
    pushes = tap | (kind == Kind.SEND)
    touches["kind"] = np.where(sync, Touch.SYNC, np.where(pushes, Touch.PUSH, Touch.POP))
    # A tap sends two sums a word, and its accumulator words are spaced to that.
    tapped = steps["runs"] * -(-chip.outputs_per_beat // 2)
    touches["words"] = np.where(sync, count, np.where(tap, tapped, -(-count // 8)))
    touches["room"] = np.where(sync, steps["place"], 0)
    # SEND reads data memory first.
    touches["delay"] = np.where(tap, tap_delay(chip), np.where(kind == Kind.SEND, 1, 0))
    return PassTimes(touches, starts)
