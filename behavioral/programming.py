# SPDX-License-Identifier: Apache-2.0
"""From levels to an image in one call: a :class:`~.state.ArrayState` that was just written."""

import numpy as np
from numpy.typing import NDArray

from .devices.model import Device
from .effects.noise import noise_parameters
from .image import ArrayImage
from .state import ArrayState

__all__ = ["noise_parameters", "program"]


def program(
    levels: NDArray[np.uint8],
    device: Device,
    *,
    cell_bits: int,
    seed: int,
    array: int,
    adc_bits: int,
    lanes: int = 1,
    adc_table: NDArray[np.uint16] | None = None,
) -> ArrayImage:
    """Write levels into an array and return what reads will see of it.

    Parameters
    ----------
    levels : uint8 array [rows, cols]
        0 to ``2**cell_bits - 1``.
    device : Device
    cell_bits : int
        1 to 4.
    seed, array : int
        The random errors are a function of these two alone, not of the order of calls.
    adc_bits, lanes, adc_table
        As in :class:`~.image.ArrayImage`.

    Returns
    -------
    ArrayImage
        With the ideal device: ``g = 4096 * levels``, ``ref = 0``, no noise.

    Raises
    ------
    ConfigError
        If a level is too high, the array has a shape that cannot be, or the device's noise or
        conductance leaves the range of an image.
    ValueError
        If a part of the key is no uint32.
    """
    return ArrayState(
        levels,
        device,
        cell_bits=cell_bits,
        seed=seed,
        array=array,
        adc_bits=adc_bits,
        lanes=lanes,
        adc_table=adc_table,
    ).image()
