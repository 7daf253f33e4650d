# SPDX-License-Identifier: Apache-2.0
"""When every step of a pass runs: closed formulas in place of a clock (docs/tile.md)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .machine_steps import Product, Requantize, Step

__all__ = ["Timing", "time_pass"]

_Time = Any
"""An int, or int64 [samples] once the length of a product enters."""


@dataclass(frozen=True, eq=False)
class Timing:
    """Cycles of a pass, from the first of its SYNC to the wait for the next sample.

    Parameters
    ----------
    cycles, core_stalls, vector_stalls : int64 arrays [samples]
    """

    cycles: NDArray[np.int64]
    core_stalls: NDArray[np.int64]
    vector_stalls: NDArray[np.int64]


def time_pass(
    steps: Iterable[Step], active: NDArray[np.int64], latency: int, *, first: bool
) -> Timing:
    """Time the steps of a pass for a batch of samples, each on its own.

    Cores and vector unit are idle at the start of a pass, so samples do not touch each other.

    Parameters
    ----------
    steps : iterable of Step
        Of a :class:`~.machine_steps.Trace`.
    active : int64 array [products, samples]
        Cycles n that each product keeps its core busy.
    latency : int
        Of the vector unit.
    first : bool
        The pass from reset: its first instruction is fetched in cycle 0. Otherwise its SYNC has
        waited and goes on in cycle 0.
    """
    samples = active.shape[1]
    # T of the step before it plus its length: the cycle in which the next one is fetched.
    fetch: _Time = 0 if first else -1
    core_stalls: _Time = 0
    vector_stalls: _Time = 0
    vector_free: _Time = 0
    free: dict[int, _Time] = {}  # the first cycle in which a core that was started is idle
    for step in steps:
        arrived = fetch + 1
        ready = arrived
        for core in step.cores:
            if core in free:
                ready = np.maximum(ready, free[core])
        start = ready
        if step.waits_vector:
            start = np.maximum(ready, vector_free)
            vector_stalls = vector_stalls + (start - ready)
        if ready is not arrived:
            core_stalls = core_stalls + (ready - arrived)
        fetch = start + step.cycles
        if isinstance(step, Product):
            for number, core in enumerate(step.cores, start=step.number):
                free[core] = start + active[number] + 1
        elif isinstance(step, Requantize):
            # A word issued in cycle t keeps the unit busy in t+1 .. t+latency-1.
            vector_free = start + step.last_issue + latency

    def full(time: _Time) -> NDArray[np.int64]:
        return np.broadcast_to(np.asarray(time, dtype=np.int64), (samples,)).copy()

    # The last step is the SYNC that waits: it takes no cycle of its own yet.
    return Timing(full(fetch - 1), full(core_stalls), full(vector_stalls))
