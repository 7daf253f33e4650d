# SPDX-License-Identifier: Apache-2.0
"""Errors of converters: ADC tables per lane, comparator noise, drive tables.

A table maps the ideal code of a conversion to that of the real one, so an error shows in whole
codes: an offset of less than half an LSB alone changes nothing. Comparator noise, which is there
before the rounding, does not have this limit.
"""

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import ConfigError
from ..arch.formats import FRACTION_BITS
from .devices.model import Device
from .devices.sections import Adc
from .effects.streams import Stream, Streams

__all__ = ["adc_table", "comparator_variance", "drive_table", "integral_nonlinearity", "row_gains"]

_ONE = 1 << FRACTION_BITS


def adc_table(device: Device, bits: int, lanes: int, streams: Streams) -> NDArray[np.uint16] | None:
    """Codes that every lane gives for the ideal ones.

    ``table[l][k] = clip(round(gain[l] * k + offset[l] + inl[l][k]), 0, 2**bits - 1)``, with
    ``gain[l] = gain * (1 + gain_spread * N)`` and ``offset[l] = offset + offset_spread * N``: the
    mismatch of lanes. Definitions of gain, offset, INL and DNL: IEEE Std 1241.

    Returns
    -------
    uint16 array [lanes, 2**bits], or None
        None if every lane is ideal.

    Raises
    ------
    ConfigError
        If a measured table has rows for another number of lanes.
    """
    adc = device.adc
    if adc is None:
        return None
    random = streams.generator(Stream.ADC)
    gain = adc.gain * (1.0 + adc.gain_spread * random.standard_normal(lanes))
    offset = adc.offset + adc.offset_spread * random.standard_normal(lanes)
    top = (1 << bits) - 1
    ideal = np.arange(top + 1)
    real = gain[:, None] * ideal + offset[:, None]
    real += integral_nonlinearity(adc, bits, lanes, random)
    table = np.clip(np.rint(real), 0, top).astype(np.uint16)
    return None if (table == ideal).all() else table


def integral_nonlinearity(
    adc: Adc, bits: int, lanes: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """INL in LSB, float64 [lanes, 2**bits]: measured, or the sum of measured or random DNL.

    A measured row of another length is stretched over the codes. A random DNL makes a walk that
    is tied to 0 at both ends.

    Raises
    ------
    ConfigError
        As :func:`adc_table`.
    """
    codes = 1 << bits
    found = np.zeros((lanes, codes))
    for name, rows in (("inl", adc.inl), ("dnl", adc.dnl)):
        if rows and len(rows) not in (1, lanes):
            raise ConfigError(
                f"'adc.{name}' has {len(rows)} rows; give one for all lanes, or {lanes}"
            )
        for lane in range(lanes if rows else 0):
            row = np.array(rows[lane % len(rows)])
            row = np.cumsum(row) if name == "dnl" else row
            at = np.linspace(0, len(row) - 1, codes)
            found[lane] += np.interp(at, np.arange(len(row)), row)
    if adc.dnl_spread:
        walk = np.cumsum(adc.dnl_spread * random.standard_normal((lanes, codes)), axis=1)
        walk -= walk[:, :1]
        found += walk - walk[:, -1:] * np.linspace(0, 1, codes)
    return found


def comparator_variance(device: Device) -> int:
    """What comparator noise adds to ``v0``, in image units squared."""
    return 0 if device.adc is None else round((device.adc.comparator_noise * _ONE) ** 2)


def drive_table(device: Device) -> NDArray[np.int32] | None:
    """The image's ``drive``, int32 [digits]: 4096 to the read voltage. None: bits only."""
    voltages = () if device.driver is None else device.driver.table()
    return np.rint(np.array(voltages) * _ONE).astype(np.int32) if voltages else None


def row_gains(device: Device, rows: int, streams: Streams) -> NDArray[np.float64]:
    """Factor on the voltage of every row, float64 [rows], not below 0: driver mismatch."""
    if device.driver is None or not device.driver.gain_spread:
        return np.ones(rows)
    draws = streams.generator(Stream.DRIVER).standard_normal(rows)
    gains: NDArray[np.float64] = np.maximum(1.0 + device.driver.gain_spread * draws, 0.0)
    return gains
