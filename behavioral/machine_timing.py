# SPDX-License-Identifier: Apache-2.0
"""When every step of a pass runs: closed formulas in place of a clock (docs/tile.md).

``csrc/ohm_tile.c`` computes the same beside the data.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .machine_memory import members
from .machine_steps import Kind

__all__ = ["time_pass"]


def time_pass(
    steps: NDArray[np.void],
    active: Iterable[int],
    latency: int,
    begins: list[int] | None = None,
    *,
    first: bool,
) -> tuple[int, int, int]:
    """Time the steps of a pass for one sample.

    Cores and vector unit are idle at the start of a pass, so samples do not touch each other.

    Parameters
    ----------
    steps : array of STEP
        Of a :class:`~.machine_steps.Trace`.
    active : iterable of int
        Cycles n that each product keeps its core busy: step by step, and for each the cores in
        ascending order.
    latency : int
        Of the vector unit.
    begins : list of int, optional
        Appended to: the cycle in which each step executes.
    first : bool
        The pass from reset: its first instruction is fetched in cycle 0. Otherwise its SYNC has
        waited and goes on in cycle 0.

    Returns
    -------
    cycles, core_stalls, vector_stalls : int
        From the first cycle to the wait for the next sample.
    """
    lengths = iter(active)
    # T of the step before it plus its length: the cycle in which the next one is fetched.
    fetch = 0 if first else -1
    core_stalls = vector_stalls = vector_free = 0
    free: dict[int, int] = {}  # the first cycle in which a core that was started is idle
    names = ("kind", "cores", "waits_vector", "cycles", "issue")
    for kind, cores, waits_vector, cycles, issue in zip(
        *(steps[name].tolist() for name in names), strict=True
    ):
        arrived = fetch + 1
        start = max([arrived, *(free.get(core, 0) for core in members(cores))])
        core_stalls += start - arrived
        if waits_vector and vector_free > start:
            vector_stalls += vector_free - start
            start = vector_free
        fetch = start + cycles
        if begins is not None:
            begins.append(start)
        if kind == Kind.MVM:
            for core in members(cores):
                free[core] = start + next(lengths) + 1
        elif kind == Kind.REQ:
            # A word issued in cycle t keeps the unit busy in t+1 .. t+latency-1.
            vector_free = start + issue + latency
    # The last step is the SYNC that waits: it takes no cycle of its own yet.
    return fetch - 1, core_stalls, vector_stalls
