# SPDX-License-Identifier: Apache-2.0
"""What is known about a kind of cell and the circuit that reads it."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["BOLTZMANN", "ELEMENTARY_CHARGE", "Device"]

BOLTZMANN = 1.380649e-23
"""J/K, exact in the SI."""

ELEMENTARY_CHARGE = 1.602176634e-19
"""C, exact in the SI."""


class Device(BaseModel):
    """A resistive cell with its read circuit.

    Raises
    ------
    pydantic.ValidationError
        If a value cannot be; :mod:`.devices` turns it into a ConfigError.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    name: str
    kind: Literal["ideal", "rram"]

    g_on: float = Field(gt=0, lt=1)
    """Conductance of the highest level, in siemens."""

    on_off_ratio: float = Field(gt=1)
    """``g_on`` over the conductance of level 0; may be ``inf``."""

    read_voltage: float = Field(gt=0, le=10)
    """Volts over a driven cell."""

    spread: float = Field(ge=0, le=1)
    """Programming error: standard deviation of a conductance, relative to that conductance (the
    variability of Yan et al. 2019, Table 1; the write-and-verify bound of Yan, Hu, Shi,
    Sect. 4.4)."""

    read_noise: float = Field(ge=0, le=1)
    """Fluctuation of a cell between reads (telegraph, 1/f): standard deviation relative to its
    conductance."""

    bandwidth: float = Field(ge=0, lt=1e12)
    """Noise bandwidth of the read circuit in hertz; 0 switches thermal and shot noise off."""

    temperature: float = Field(ge=0, le=1000)
    """Kelvin."""

    amplifier_resistance: float = Field(gt=0)
    """Feedback resistance of a column's current amplifier in ohm; ``inf``: a noiseless one."""

    @model_validator(mode="after")
    def _ideal_is_ideal(self) -> "Device":
        errors = self.spread or self.read_noise or self.bandwidth
        if self.kind == "ideal" and (errors or math.isfinite(self.on_off_ratio)):
            raise ValueError(
                "an ideal device has spread, read_noise and bandwidth 0 and on_off_ratio inf;"
                " start from another kind"
            )
        return self

    @property
    def g_off(self) -> float:
        """Conductance of level 0, in siemens."""
        return self.g_on / self.on_off_ratio

    def step(self, cell_bits: int) -> float:
        """Conductance between two levels of a cell of ``cell_bits`` bits, in siemens."""
        return (self.g_on - self.g_off) / ((1 << cell_bits) - 1)
