# SPDX-License-Identifier: Apache-2.0
"""Thermal and shot noise, exact in the integers ``v0`` and ``v1`` of an image."""

from ...arch.formats import FRACTION_BITS
from ..devices.model import BOLTZMANN, ELEMENTARY_CHARGE, Device

__all__ = ["noise_parameters"]

_ONE = 1 << FRACTION_BITS


def noise_parameters(
    device: Device, cell_bits: int, temperature: float | None = None
) -> tuple[int, int]:
    """Return the ``v0`` and ``v1`` of an image, from the noise currents of the read circuit.

    The feedback resistor of the amplifier adds ``4kT df / R``, whatever the column carries. A
    current I adds shot noise ``2q I df`` and the cells that carry it thermal noise
    ``4kT df I / V`` (Yan, Hu, Shi, Sect. 4.1 and 4.2). All are divided by the current of one
    image unit, ``2**-12`` of a level step.
    """
    unit = device.read_voltage * device.step(cell_bits) / _ONE
    kelvin = device.temperature if temperature is None else temperature
    thermal = 4.0 * BOLTZMANN * kelvin if device.thermal else 0.0
    shot = 2.0 * ELEMENTARY_CHARGE if device.shot else 0.0
    amplifier = thermal * device.bandwidth / device.amplifier_resistance
    column = (shot + thermal / device.read_voltage) * device.bandwidth
    return round(amplifier / unit**2), round(column / unit * 65536.0)
