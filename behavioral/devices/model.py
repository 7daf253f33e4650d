# SPDX-License-Identifier: Apache-2.0
"""What is known about a kind of cell and the circuit that reads it."""

import math
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...arch.errors import ConfigError
from . import sections

__all__ = ["BOLTZMANN", "ELEMENTARY_CHARGE", "Device"]

BOLTZMANN = 1.380649e-23
"""J/K, exact in the SI."""

ELEMENTARY_CHARGE = 1.602176634e-19
"""C, exact in the SI."""

# What leaves an effect off, by its name.
_OFF: dict[str, dict[str, Any]] = {
    "spread": {"spread": 0.0, "spread_table": None},
    "levels": {"levels": None},
    "on_off": {"on_off_ratio": math.inf, "levels": None},
    "verify": {"verify": None},
    "variation": {"variation": None},
    "faults": {"faults": None},
    "read_noise": {"read_noise": 0.0},
    "thermal": {"thermal": False},
    "shot": {"shot": False},
    "telegraph": {"telegraph": None},
    "flicker": {"flicker": None},
    "drift": {"drift": None},
    "retention": {"retention": None},
    "disturb": {"disturb": None},
    "endurance": {"endurance": None},
    "temperature": {"temperature_coefficients": None},
    "reference_noise": {"reference_noise": False},
    "wires": {"wires": None},
    "adc": {"adc": None},
    "driver": {"driver": None},
}


class Device(BaseModel):
    """A resistive cell with its read circuit.

    The fields of the top level and the sections are those of a device file; ``docs/devices.md``
    tells where each enters.

    Raises
    ------
    pydantic.ValidationError
        If a value cannot be; :mod:`.devices` turns it into a ConfigError.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    name: str
    kind: Literal["ideal", "rram", "pcm", "stt_mram", "fefet", "flash", "sram", "custom"] = "custom"

    area: float | None = Field(default=None, gt=0)
    """Of a cell, in squares of the feature size F."""

    bits: float = Field(default=4, gt=0, le=4)
    """Bits that a cell is known to hold; more are refused."""

    g_on: float = Field(gt=0, lt=1)
    """Conductance of the highest level, in siemens."""

    on_off_ratio: float = Field(gt=1)
    """``g_on`` over the conductance of level 0; may be ``inf``."""

    read_voltage: float = Field(gt=0, le=10)
    """Volts over a driven cell."""

    spread: float = Field(default=0.0, ge=0, le=1)
    """Programming error: standard deviation of a conductance, relative to that conductance (the
    variability of Yan et al. 2019, Table 1; the write-and-verify bound of Yan, Hu, Shi,
    Sect. 4.4)."""

    read_noise: float = Field(default=0.0, ge=0, le=1)
    """Fluctuation of a cell between reads (telegraph, 1/f) where nothing is known of its parts:
    standard deviation relative to its conductance."""

    bandwidth: float = Field(default=0.0, ge=0, lt=1e12)
    """Noise bandwidth of the read circuit in hertz; 0 switches thermal and shot noise off."""

    thermal: bool = True
    """Whether cells and amplifiers have thermal noise."""

    shot: bool = True
    """Whether currents have shot noise."""

    reference_noise: bool = False
    """Whether the reference column fluctuates and has thermal and shot noise too."""

    temperature: float = Field(default=300.0, ge=0, le=1000)
    """Kelvin: of the array unless told otherwise, and to which conductances refer."""

    amplifier_resistance: float = Field(default=math.inf, gt=0)
    """Feedback resistance of a column's current amplifier in ohm; ``inf``: a noiseless one."""

    levels: sections.LevelTable | None = None
    spread_table: sections.SpreadTable | None = None
    variation: sections.Variation | None = None
    verify: sections.Verify | None = None
    faults: sections.Faults | None = None
    write: sections.Write | None = None
    read: sections.Read | None = None
    retention: sections.Retention | None = None
    endurance: sections.Endurance | None = None
    drift: sections.Drift | None = None
    telegraph: sections.Telegraph | None = None
    flicker: sections.Flicker | None = None
    disturb: sections.Disturb | None = None
    temperature_coefficients: sections.TemperatureCoefficients | None = None
    wires: sections.Wires | None = None
    adc: sections.Adc | None = None
    driver: sections.Driver | None = None
    reported: dict[str, sections.Reported] = Field(default_factory=dict)
    """Figures of sources, by kind of use ("analog", "binary")."""

    @model_validator(mode="before")
    @classmethod
    def _levels_give_the_range(cls, values: Any) -> Any:
        """A measured table of levels states the highest conductance and the ratio itself."""
        table = values.get("levels") if isinstance(values, dict) else None
        if isinstance(table, sections.LevelTable):
            table = table.model_dump()
        if isinstance(table, dict):
            found = table.get("conductance")
            if isinstance(found, list | tuple) and len(found) > 1:
                low, high = found[0], found[-1]
                # Anything else is refused by the table itself, with a better message.
                if all(isinstance(g, float | int) for g in (low, high)) and 0 <= low < high:
                    ratio = high / low if low > 0 else math.inf
                    return {"g_on": high, "on_off_ratio": ratio} | values
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        errors = self.spread or self.read_noise or self.bandwidth or self.active - {"on_off"}
        if self.kind == "ideal" and (errors or math.isfinite(self.on_off_ratio)):
            raise ValueError(
                "an ideal device has spread, read_noise and bandwidth 0, on_off_ratio inf and no"
                " section of an effect; start from another kind"
            )
        if self.levels is not None:
            low, high = self.levels.conductance[0], self.levels.conductance[-1]
            if not (math.isclose(high, self.g_on) and math.isclose(low, self.g_off, abs_tol=1e-30)):
                raise ValueError(
                    f"levels.conductance goes from {low:g} to {high:g} S, but g_on and on_off_ratio"
                    f" say {self.g_off:g} to {self.g_on:g} S; leave both out"
                )
        if self.read is not None and self.read_voltage > self.read.voltage:
            raise ValueError(
                f"read_voltage must be at most read.voltage, {self.read.voltage:g} V, not"
                f" {self.read_voltage:g} V"
            )
        if self.flicker is not None and not self.flicker_band > self.flicker.f_low:
            raise ValueError(
                f"flicker.f_high (or bandwidth) must be above flicker.f_low,"
                f" {self.flicker.f_low:g} Hz, not {self.flicker_band:g} Hz"
            )
        return self

    @property
    def g_off(self) -> float:
        """Conductance of level 0, in siemens."""
        return self.g_on / self.on_off_ratio

    @property
    def flicker_band(self) -> float:
        """Upper end of the band of 1/f noise, in hertz; 0 without 1/f noise."""
        if self.flicker is None:
            return 0.0
        return self.bandwidth if self.flicker.f_high is None else self.flicker.f_high

    def step(self, cell_bits: int) -> float:
        """Conductance between two levels of a cell of ``cell_bits`` bits, in siemens (the mean one,
        where levels were measured)."""
        return (self.g_on - self.g_off) / ((1 << cell_bits) - 1)

    def conductances(self, cell_bits: int) -> NDArray[np.float64]:
        """Conductance of every level of a cell: float64 [2**cell_bits], in siemens.

        Raises
        ------
        ConfigError
            If a cell does not hold so many bits.
        """
        if cell_bits > math.ceil(self.bits):
            raise ConfigError(
                f"A cell of device {self.name} holds {self.bits:g} bits, not {cell_bits}; choose a"
                f" chip with cell_bits = {math.ceil(self.bits)} or less, or another device"
            )
        count = 1 << cell_bits
        if self.levels is None:
            return np.array([self.g_off + level * self.step(cell_bits) for level in range(count)])
        at = np.linspace(0.0, 1.0, count)
        table = np.array(self.levels.conductance, dtype=np.float64)
        found: NDArray[np.float64] = np.interp(at, np.linspace(0.0, 1.0, len(table)), table)
        return found

    @property
    def active(self) -> frozenset[str]:
        """Names of the effects that are on; all that :meth:`only` knows."""
        found = set()
        for effect, off in _OFF.items():
            if any(getattr(self, key) != value for key, value in off.items()):
                found.add(effect)
        if self.levels is None and math.isinf(self.on_off_ratio):
            found.discard("on_off")
        if not self.bandwidth:
            found -= {"thermal", "shot"}
        if self.retention is not None and not self.retention.loss:
            found.discard("retention")
        return frozenset(found)

    def without(self, *effects: str) -> "Device":
        """The device with some effects switched off.

        Raises
        ------
        ConfigError
            If there is no such effect.
        """
        changes: dict[str, Any] = {}
        for effect in effects:
            if effect not in _OFF:
                raise ConfigError(
                    f"There is no effect '{effect}'; the effects are {', '.join(_OFF)}"
                )
            changes |= _OFF[effect]
        return self.model_copy(update=changes)

    def only(self, *effects: str) -> "Device":
        """The device with all effects switched off but some.

        Raises
        ------
        ConfigError
            If there is no such effect.
        """
        self.without(*effects)  # refuses names that are none
        off = [effect for effect in _OFF if effect not in effects]
        if "levels" in effects:
            off.remove("on_off")
        return self.without(*off)
