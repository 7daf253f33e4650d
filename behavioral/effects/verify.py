# SPDX-License-Identifier: Apache-2.0
"""Closed-loop programming: write and verify until every cell is near its target."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..devices.model import Device
from .pulses import step_size
from .streams import Stream, Streams, normal

__all__ = ["Verified", "write_verify"]


class Verified(NamedTuple):
    """Conductances in siemens, pulses and iterations that each cell took (int64)."""

    g: NDArray[np.float64]
    pulses: NDArray[np.int64]
    iterations: NDArray[np.int64]


def write_verify(
    start: NDArray[np.float64],
    target: NDArray[np.float64],
    frozen: NDArray[np.bool_],
    device: Device,
    streams: Streams,
    epoch: int,
) -> Verified:
    """Pulse and read in turn.

    Yan, Hu, Shi, Sect. 4.4: short pulses, each followed by a read, converge on the target and pull
    the error below 1 %; Yan et al. 2019, Sect. 5: below 2.95 %. Every iteration reads all cells
    (``g * (1 + read_spread * N)``); those whose error relative to the target is not below the
    tolerance get pulses worth ``gain`` of it, whose effect spreads by ``pulse_spread``. With a
    pulse response these are whole pulses of the size that it has at this conductance; without, one
    pulse of the right size. Cells with target 0 count as done at 0.

    Parameters
    ----------
    start, target : float64 arrays [rows, cols + 1]
        Siemens.
    frozen : bool array
        Cells that do not react; they are pulsed to the last iteration.
    device : Device
    streams, epoch
        Of the array, and the number of this write.
    """
    pulses, iterations = np.zeros(target.shape, np.int64), np.zeros(target.shape, np.int64)
    loop = device.verify
    if loop is None:
        return Verified(start, pulses, iterations)
    random = streams.generator(Stream.VERIFY, epoch)
    response = None if device.write is None else device.write.response
    g = start.copy()
    rows, cols = target.shape
    for done in range(loop.max_iterations):
        seen = g
        if loop.read_spread:
            seen = g * (1.0 + loop.read_spread * normal(random, (rows, cols)))
        error = target - seen
        open_cells = np.abs(error) >= loop.tolerance * target
        open_cells &= error != 0
        if not open_cells.any():
            break
        move = loop.gain * error
        count = np.ones(target.shape)
        if response is not None:
            size = step_size(g, error, device, response)
            count = np.maximum(np.rint(np.abs(move) / size), 1.0)
            move = np.sign(error) * count * size
        if not (open_cells & ~frozen).any():
            # Cells that do not react get the same pulses to the end.
            rest = loop.max_iterations - done
            pulses += np.where(open_cells, rest * count, 0.0).astype(np.int64)
            iterations += rest * open_cells
            break
        if loop.pulse_spread:
            move = move * (1.0 + loop.pulse_spread / np.sqrt(count) * normal(random, (rows, cols)))
        g = np.where(open_cells & ~frozen, np.maximum(g + move, 0.0), g)
        pulses += np.where(open_cells, count, 0.0).astype(np.int64)
        iterations += open_cells
    return Verified(g, pulses, iterations)
