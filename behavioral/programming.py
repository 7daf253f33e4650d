# SPDX-License-Identifier: Apache-2.0
"""From levels to an image: the one place where the physics of an array is computed, in float64.

The conductances pass through a chain of effects, each with its own random stream, so that adding
an effect or leaving one out changes no other. The image is rounded once, at the end.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import ConfigError
from ..arch.formats import FRACTION_BITS
from .crossbar import check_key
from .devices.model import BOLTZMANN, ELEMENTARY_CHARGE, Device
from .image import ArrayImage

__all__ = ["EFFECTS", "Cells", "noise_parameters", "program"]

_ONE = 1 << FRACTION_BITS


@dataclass(frozen=True, eq=False)
class Cells:
    """Conductances in siemens: of the cells [rows, cols] and of the reference column [rows]."""

    cells: NDArray[np.float64]
    reference: NDArray[np.float64]


Effect = Callable[[Cells, Device, np.random.Generator], Cells]


def _programming_error(state: Cells, device: Device, random: np.random.Generator) -> Cells:
    """Every cell misses its conductance by a normal, relative error; none goes below zero.

    Yan, Hu, Shi, Sect. 4.4 and 5.1.
    """
    if device.spread == 0:
        return state

    def spread(g: NDArray[np.float64]) -> NDArray[np.float64]:
        return g * np.maximum(1.0 + device.spread * random.standard_normal(g.shape), 0.0)

    return replace(state, cells=spread(state.cells), reference=spread(state.reference))


EFFECTS: tuple[tuple[int, Effect], ...] = ((1, _programming_error),)
"""The chain in order, each effect with the number of its random stream, which never changes."""


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
    check_key(seed, array)
    if not 1 <= cell_bits <= 4:
        raise ConfigError(f"A cell has 1 to 4 bits, not {cell_bits}")
    if levels.dtype != np.uint8 or levels.ndim != 2:
        raise ConfigError(f"Levels must be uint8 [rows, cols], not {levels.dtype} {levels.shape}")
    top = (1 << cell_bits) - 1
    if levels.size and levels.max() > top:
        raise ConfigError(f"A {cell_bits}-bit cell has levels 0 to {top}, not {levels.max()}")
    step = device.step(cell_bits)
    state = Cells(
        device.g_off + levels.astype(np.float64) * step,
        np.full(levels.shape[0], device.g_off),
    )
    for stream, effect in EFFECTS:
        # Philox is itself counter-based: any 128-bit key gives an independent stream.
        key = np.array([seed | stream << 32, array], dtype=np.uint64)
        state = effect(state, device, np.random.Generator(np.random.Philox(key=key)))
    g = state.cells / step * _ONE
    v0, v1 = noise_parameters(device, cell_bits)
    q = np.rint((device.read_noise * g) ** 2)
    return ArrayImage(
        g=_int32("conductances", g),
        ref=_int32("reference conductances", state.reference / step * _ONE),
        q=_int32("cell variances", q) if device.read_noise else None,
        v0=v0,
        v1=v1,
        adc_bits=adc_bits,
        lanes=lanes,
        adc_table=adc_table,
    )


def noise_parameters(device: Device, cell_bits: int) -> tuple[int, int]:
    """Return the ``v0`` and ``v1`` of an image, from the noise currents of the read circuit.

    The feedback resistor of the amplifier adds ``4kT df / R``, whatever the column carries. A
    current I adds shot noise ``2q I df`` and the cells that carry it thermal noise
    ``4kT df I / V`` (Yan, Hu, Shi, Sect. 4.1 and 4.2). All are divided by the current of one
    image unit, ``2**-12`` of a level step.
    """
    unit = device.read_voltage * device.step(cell_bits) / _ONE
    thermal = 4.0 * BOLTZMANN * device.temperature
    amplifier = thermal * device.bandwidth / device.amplifier_resistance
    column = (2.0 * ELEMENTARY_CHARGE + thermal / device.read_voltage) * device.bandwidth
    return round(amplifier / unit**2), round(column / unit * 65536.0)


def _int32(what: str, values: NDArray[np.float64]) -> NDArray[np.int32]:
    if values.size and not np.abs(values).max() < 2**31:
        raise ConfigError(
            f"The {what} of the device do not fit an image (32 bits); raise its on_off_ratio or"
            " lower its noise"
        )
    return np.ascontiguousarray(np.rint(values), dtype=np.int32)
