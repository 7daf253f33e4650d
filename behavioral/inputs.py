# SPDX-License-Identifier: Apache-2.0
"""What the passes of a product put on the rows: input encodings in NumPy (``arch/inputs.py``)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.chip import Chip, RowSchedule
from ..arch.errors import ConfigError
from ..arch.inputs import DIGIT_BITS, InputCode, InputEncoding
from .devices.model import Device
from .devices.sections import Driver

__all__ = ["counts_of", "drives_of", "reads_made", "with_drivers"]


def drives_of(
    x: NDArray[np.uint8], code: InputCode, number: int, zero: int = 0
) -> NDArray[np.uint8]:
    """The voltages that activations put on their rows in one pass.

    Parameters
    ----------
    x : uint8 [...]
    code : InputCode
    number : int
        Of the pass.
    zero : int
        Register ZERO, of encodings that have it.

    Returns
    -------
    uint8 [...]
        In read voltages: 0 or 1, or a digit.
    """
    plane = code.plane(number)
    found: NDArray[Any]
    match code.encoding:
        case InputEncoding.TWOS_COMPLEMENT:
            found = (x ^ np.uint8(code.origin(0))) >> plane & 1
        case InputEncoding.SIGN_MAGNITUDE:
            value = x.astype(np.int16) - zero
            found = np.where((value < 0) == code.negative(number), np.abs(value) >> plane & 1, 0)
        case InputEncoding.DIGITS:
            found = x >> plane & ((1 << DIGIT_BITS) - 1)
        case InputEncoding.UNARY | InputEncoding.STOCHASTIC:
            found = x >= code.thresholds[number]
        case _:
            found = x >> plane & 1
    return found.astype(np.uint8)


def counts_of(x: NDArray[np.uint8], code: InputCode) -> NDArray[np.uint8]:
    """What activations add to the sum of activations: uint8 [...]."""
    if code.exact:
        return x
    counts: NDArray[np.uint8] = np.array(code.counts, dtype=np.uint8)[x]
    return counts


def reads_made(x: NDArray[np.uint8], chip: Chip, zero: int = 0) -> NDArray[np.int64]:
    """Reads that products of activations uint8 [n, rows] take: int64 [n]."""
    if chip.row_schedule is RowSchedule.BASELINE:
        return np.full(len(x), chip.reads_of(x.shape[1]), np.int64)
    total = np.zeros(len(x), np.int64)
    for number, most in enumerate(chip.budgets):
        plane = number // chip.read_slices
        driven = np.count_nonzero(drives_of(x, chip.input_code, plane, zero), axis=1)
        total += -(-driven // most)
    return total


def with_drivers(device: Device, chip: Chip) -> Device:
    """A device whose rows take the voltages that the passes of a chip want.

    Ideal drivers, digit d at d read voltages, where the device tells of none.

    Raises
    ------
    ConfigError
        If its drivers have fewer voltages.
    """
    wanted = chip.input_code.top_digit + 1
    driver = device.driver or Driver()
    given = len(driver.table())
    if wanted == 2 or given >= wanted:
        return device
    if given:
        raise ConfigError(
            f"input_encoding = '{chip.input_encoding}' takes drivers of {wanted} voltages, those "
            f"of device {device.name} have {given}; give 'driver.voltages' of {wanted} numbers, or "
            f"leave out 'driver.digits' for ideal ones"
        )
    return device.model_copy(update={"driver": driver.model_copy(update={"digits": wanted})})
