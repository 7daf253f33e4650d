# SPDX-License-Identifier: Apache-2.0
"""What the network on chip carries, and how long a packet takes through an empty one."""

import functools

from ..arch.noc import MeshShape
from ..host.noc_sim import Network, Sweep, sweep

__all__ = ["CYCLES", "FLITS", "SHAPE", "uniform"]

SHAPE = MeshShape(width=4, height=4)
FLITS = 5
CYCLES = 20000


@functools.cache
def uniform() -> Sweep:
    """Uniform random traffic on the Verilated 4x4 mesh of buffered routers."""
    return sweep(Network(SHAPE), "uniform", flits=FLITS, cycles=CYCLES)
