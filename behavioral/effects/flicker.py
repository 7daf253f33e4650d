# SPDX-License-Identifier: Apache-2.0
"""1/f noise of the cells."""

import math

from ..devices.model import Device

__all__ = ["flicker_variance"]


def flicker_variance(device: Device) -> float:
    """Variance of a cell's current over its square: ``K * ln(f_high / f_low)``.

    The integral of ``S_I / I**2 = K / f`` over the band (Hooge's form; Ambrogio et al. use it for
    RRAM, cited by Yan et al. 2019, Sect. 5; Crafton et al. 2021 name it for PCM).
    """
    if device.flicker is None:
        return 0.0
    return device.flicker.coefficient * math.log(device.flicker_band / device.flicker.f_low)
