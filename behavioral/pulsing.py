# SPDX-License-Identifier: Apache-2.0
"""Between the physical state of an array and its cells as pulses move them.

:func:`pulsed_cells` rounds a state to integers before pulses come, :func:`take_cells` makes what
they have left the state again. In between there are only integers, the same at every level.
"""

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import ConfigError
from .devices.model import Device
from .devices.sections import PulseResponse
from .image import ArrayImage
from .pulsed import ONE, Cells, PulseModel
from .state import ArrayState

__all__ = ["DEFAULT_RESPONSE", "pulse_response", "pulsed_cells", "take_cells"]

DEFAULT_RESPONSE = PulseResponse(pulses=100, spread=0.3)
"""Of devices that tell nothing of their pulses: 100 equal steps, which spread by 30 %."""


def pulse_response(device: Device) -> PulseResponse:
    """The response of a device's pulses, or :data:`DEFAULT_RESPONSE`."""
    given = None if device.write is None else device.write.response
    return DEFAULT_RESPONSE if given is None else given


def pulsed_cells(
    state: ArrayState, levels: NDArray[np.uint8], *, erase: bool
) -> tuple[ArrayImage, Cells]:
    """The array as pulses find it, and what reads see beside its cells.

    Everything that stands between a cell and its read (place among the wires, row driver,
    temperature, slow traps) is taken at the levels to be written, and so is what the cells'
    fluctuation adds to the noise: there it matters, for there cells are verified.

    Parameters
    ----------
    state : ArrayState
    levels : uint8 array [rows, cols]
        What is to be written.
    erase : bool
        Cells start at the lowest conductance, as after a block erase; otherwise where they are.

    Raises
    ------
    ConfigError
        If the array was written with headroom, or its cells do not fit the integers.
    """
    if state.headroom is not None:
        raise ConfigError(
            "Arrays that were compiled with a headroom cannot be programmed by pulses: verifying "
            "reads see the wires and make up for them; leave headroom out"
        )
    device = state.device
    model = PulseModel.derive(device, state.cell_bits, pulse_response(device))
    unit = ONE / device.step(state.cell_bits)
    aged = state.aged()
    start = np.full_like(aged, device.g_off) if erase else aged
    stuck = state.stuck[:, :-1]
    start = np.where(stuck > 0, device.g_on, np.where(stuck < 0, device.g_off, start[:, :-1]))
    wanted = np.column_stack([device.conductances(state.cell_bits)[levels], aged[:, -1]])
    image = state.image_of(wanted)
    # Of a cell that conducts nothing, whatever its scale: that of its row's driver is not known.
    target = np.where(stuck > 0, device.g_on, np.where(stuck < 0, device.g_off, wanted[:, :-1]))
    units = target * unit / 256.0
    scale = np.where(units < 1.0, 65536.0, 65536.0 * image.g / np.maximum(units, 1.0))
    return image, Cells(
        model=model,
        state=np.rint(start * unit).astype(np.int32),
        scale=np.rint(scale).astype(np.int32),
        fixed=stuck != 0,
        numbers=(state.pulses[:, :-1] & 0xFFFFFFFF).astype(np.uint32),
    )


def take_cells(
    state: ArrayState, before: Cells, after: Cells, levels: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Make what pulses have left the state of the array; returns the pulses of each cell."""
    g = after.state.astype(np.float64) * (state.device.step(state.cell_bits) / ONE)
    pulses = (after.numbers - before.numbers).astype(np.int64)
    state.take_pulsed(g, pulses, levels)
    return pulses
