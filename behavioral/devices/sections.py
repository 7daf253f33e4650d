# SPDX-License-Identifier: Apache-2.0
"""The sections of a device file. An absent section, or a zero where one is the default, is off."""

from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..wires_model import CellKind, Drive, WireModel

__all__ = [
    "Adc",
    "Disturb",
    "Drift",
    "Driver",
    "Endurance",
    "Faults",
    "Flicker",
    "LevelTable",
    "PulseResponse",
    "Read",
    "Reported",
    "Retention",
    "SpreadTable",
    "Telegraph",
    "TemperatureCoefficients",
    "Variation",
    "Verify",
    "Wires",
    "Write",
]


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_inf_nan="strings", allow_inf_nan=False
    )


def _rising(name: str, values: tuple[float, ...], low: float = 0.0) -> None:
    """Refuse a table that is short, below ``low`` or does not rise from entry to entry."""
    if len(values) < 2:
        raise ValueError(f"{name} needs at least two entries, not {len(values)}")
    for i, value in enumerate(values):
        if value < low:
            raise ValueError(f"{name} must be {low:g} or more, not {value:g} in entry {i}")
        if i and value <= values[i - 1]:
            raise ValueError(
                f"{name} must rise from entry to entry, but entry {i} is {value:g} after"
                f" {values[i - 1]:g}"
            )


class LevelTable(Section):
    """Measured conductance against level, lowest first.

    A cell of fewer levels than the table has takes evenly spaced entries (interpolated where they
    fall between two).
    """

    conductance: tuple[float, ...]
    """Siemens, rising."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _rising("levels.conductance", self.conductance)
        return self


class SpreadTable(Section):
    """Measured programming error against conductance; linear between entries, flat outside."""

    conductance: tuple[float, ...]
    """Siemens, rising."""

    relative: tuple[float, ...]
    """Standard deviation over mean, an entry for each conductance."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _rising("spread_table.conductance", self.conductance)
        if len(self.relative) != len(self.conductance):
            raise ValueError(
                f"spread_table.relative needs {len(self.conductance)} entries, one for each"
                f" conductance, not {len(self.relative)}"
            )
        if min(self.relative) < 0:
            raise ValueError(f"spread_table.relative must be 0 or more, not {min(self.relative):g}")
        return self


class Variation(Section):
    """Variation of cells before their writes are verified, relative to the conductance."""

    die: float = Field(default=0, ge=0, le=1)
    """Sigma of what all cells of a chip share."""

    device: float = Field(default=0, ge=0, le=1)
    """Device to device: sigma of what a cell keeps for life."""

    cycle: float = Field(default=0, ge=0, le=1)
    """Cycle to cycle: sigma drawn again by every write."""

    correlated: float = Field(default=0, ge=0, le=1)
    """Sigma of a field over the array that neighbours share."""

    correlation_length: float = Field(default=8, gt=0, le=1024)
    """Distance in cells at which the field's correlation falls to 1/e."""


class Verify(Section):
    """Closed-loop write: pulse and read in turn until every cell is near enough."""

    tolerance: float = Field(gt=0, le=1)
    """A cell is done when its measured error relative to its target is below this."""

    max_iterations: int = Field(default=100, ge=1, le=10000)

    gain: float = Field(default=0.5, gt=0, le=1)
    """Share of the measured error that a pulse takes off."""

    pulse_spread: float = Field(default=0.3, ge=0, le=1)
    """Cycle-to-cycle sigma of a pulse's effect, relative to it."""

    read_spread: float = Field(default=0.0, ge=0, le=1)
    """Sigma of a verifying read, relative to the conductance."""


class PulseResponse(Section):
    """What one write pulse changes, by formula or as measured.

    With a table, ``conductance[n]`` is that after n potentiating pulses from the lowest state; with
    the formula it is ``g_off + (g_on - g_off) * (1 - exp(-k n / pulses)) / (1 - exp(-k))``.
    Depression is the same curve from the top down.
    """

    pulses: int = Field(default=100, ge=1, le=1_000_000)
    """Pulses from the lowest conductance to the highest."""

    nonlinearity: float = Field(default=0, ge=0, le=20)
    """k of the formula, potentiation; 0 is a straight line."""

    nonlinearity_down: float | None = Field(default=None, ge=0, le=20)
    """k of depression; as potentiation if absent."""

    conductance: tuple[float, ...] | None = None
    """Measured curve, siemens, rising."""

    spread: float = Field(default=0, ge=0, le=2)
    """Cycle-to-cycle sigma of one pulse's change, relative to it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.conductance is not None:
            _rising("write.response.conductance", self.conductance)
        return self


class Write(Section):
    voltage: float = Field(gt=0, le=50)
    """Volts."""
    time: float = Field(gt=0)
    """Seconds a pulse takes."""
    energy: float = Field(ge=0)
    """Joules a pulse takes."""
    response: PulseResponse | None = None
    """Steps that pulses make; absent: a pulse makes any step."""


class Read(Section):
    voltage: float = Field(gt=0, le=50)
    """Highest read voltage reported, in volts; ``read_voltage`` is the one used."""
    time: float = Field(gt=0)
    """Seconds."""
    energy: float = Field(ge=0)
    """Joules a bit."""


class Retention(Section):
    time: float = Field(gt=0)
    """Seconds that the cell retains its state, at ``temperature``."""
    temperature: float = Field(default=300.0, gt=0, le=1000)
    """Kelvin."""
    loss: float = Field(default=0, ge=0, lt=1)
    """Share of the distance to the off state that is lost after ``time``; 0: off."""
    activation_energy: float = Field(default=0, ge=0, le=10)
    """Electronvolt."""
    shape: float = Field(default=1, gt=0, le=4)
    """Exponent of time in the (stretched) exponential."""
    spread: float = Field(default=0, ge=0, le=5)
    """Sigma of the natural logarithm of a cell's time."""


class Endurance(Section):
    cycles: float = Field(gt=0)
    """Pulses that the median cell survives."""
    spread: float = Field(default=0, ge=0, le=10)
    """Sigma of the natural logarithm of a cell's pulses."""
    to_on: float = Field(default=0.5, ge=0, le=1)
    """Share of the worn cells that end stuck on; the rest are stuck off."""


class Drift(Section):
    nu: float = Field(ge=0, le=1)
    """Mean exponent at ``g_on``."""
    nu_off: float | None = Field(default=None, ge=0, le=1)
    """Mean exponent at ``g_off``, linear in log g between; as ``nu`` if absent."""
    nu_spread: float = Field(default=0, ge=0, le=1)
    """Sigma of a cell's exponent; an exponent is never below 0."""
    t0: float = Field(gt=0)
    """Seconds after programming to which the programmed conductance refers."""
    activation_energy: float = Field(default=0, ge=0, le=10)
    """Electronvolt by which heat speeds time up."""


class Telegraph(Section):
    fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of cells with an active trap."""
    amplitude: float = Field(ge=0, lt=1)
    """Relative loss of conductance while the trap is full, at ``g_on`` (median cell)."""
    exponent: float = Field(default=0, ge=0, le=2)
    """Amplitude grows as ``(g_on / g) ** exponent``."""
    max_amplitude: float = Field(default=0.9, gt=0, lt=1)
    amplitude_spread: float = Field(default=0, ge=0, le=3)
    """Sigma of the natural logarithm of the amplitude over cells."""
    capture: float = Field(gt=0)
    """Mean seconds in the empty state (median cell)."""
    emission: float = Field(gt=0)
    """Mean seconds in the full state (median cell)."""
    time_spread: float = Field(default=0, ge=0, le=20)
    """Sigma of the natural logarithm of a cell's two times, which it scales together."""
    slow_above: float = Field(default=0.0, ge=0)
    """Traps whose correlation time is at least this many seconds keep their state from read to
    read; quicker ones are noise of every read."""
    activation_energy: float = Field(default=0, ge=0, le=10)
    """Electronvolt by which heat speeds the trap up."""


class Flicker(Section):
    coefficient: float = Field(ge=0, le=1)
    """Relative power density of a cell's current at 1 Hz, per hertz."""
    f_low: float = Field(gt=0)
    """Hertz: about one over the time since the last calibration."""
    f_high: float | None = Field(default=None, gt=0)
    """Hertz; the bandwidth of the reads if absent."""


class Disturb(Section):
    rate: float = Field(ge=0, lt=1)
    """Share of the distance to the end state that a read takes off."""
    reverse_rate: float = Field(default=0, ge=0, lt=1)
    """The same for the opposite polarity, which moves the other way."""
    towards: Literal["off", "on"] = "off"
    """End state of reads of the usual polarity."""
    alternate: bool = False
    """Whether reads alternate their polarity, which cancels what both rates share."""


class TemperatureCoefficients(Section):
    on: float = Field(default=0, ge=-0.1, le=0.1)
    """Relative change of conductance per kelvin at ``g_on``."""
    off: float = Field(default=0, ge=-0.1, le=0.1)
    """The same at ``g_off``; linear in log g between."""


class Faults(Section):
    stuck_on: float = Field(default=0, ge=0, le=1)
    """Share of the cells stuck at ``g_on``."""
    stuck_off: float = Field(default=0, ge=0, le=1)
    """Share of the cells stuck at ``g_off``."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.stuck_on + self.stuck_off > 1:
            raise ValueError(
                f"faults.stuck_on and faults.stuck_off must not exceed 1 together, not"
                f" {self.stuck_on + self.stuck_off:g}"
            )
        return self


class Wires(Section):
    """As :class:`~..wires_model.WireModel`; ohm."""

    r_row: float = Field(default=0, ge=0)
    r_col: float = Field(default=0, ge=0)
    r_driver: float = Field(default=0, ge=0)
    r_sense: float = Field(default=0, ge=0)
    drive: Drive = "single"
    cell: CellKind = "passive"
    r_access: float = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.model()
        return self

    def model(self) -> WireModel:
        return WireModel(**self.model_dump())


class Adc(Section):
    """Errors of the converters; LSB is one level step."""

    gain: float = Field(default=1, gt=0, le=4)
    """Of every lane."""
    offset: float = Field(default=0, ge=-4096, le=4096)
    """LSB, of every lane."""
    gain_spread: float = Field(default=0, ge=0, le=1)
    """Sigma of the gain over lanes, relative."""
    offset_spread: float = Field(default=0, ge=0, le=4096)
    """Sigma of the offset over lanes, LSB."""
    inl: tuple[tuple[float, ...], ...] = ()
    """Measured integral nonlinearity in LSB over the codes from 0 to the top, a row for every lane
    or one for all."""
    dnl: tuple[tuple[float, ...], ...] = ()
    """Measured differential nonlinearity instead: its running sum is the integral one."""
    dnl_spread: float = Field(default=0, ge=0, le=4)
    """Sigma of a random differential nonlinearity, LSB; ends are kept in place."""
    comparator_noise: float = Field(default=0, ge=0, le=4096)
    """LSB."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.inl and self.dnl:
            raise ValueError("adc.inl and adc.dnl exclude each other; give one")
        for name in ("inl", "dnl"):
            if any(len(row) < 2 for row in getattr(self, name)):
                raise ValueError(f"adc.{name} needs at least two entries in every row")
        return self


class Driver(Section):
    """Row drivers and the DAC before them."""

    voltages: tuple[float, ...] = ()
    """Measured voltage of every digit over the read voltage, digit 0 first; empty: by formula."""
    digits: int = Field(default=0, ge=0, le=16)
    """Digits of the formula; 0: rows take bits only."""
    compression: float = Field(default=0, ge=-1, le=1)
    """Share of the voltage missing at the top digit: ``d * (1 - compression * d / top)``."""
    gain_spread: float = Field(default=0, ge=0, le=1)
    """Sigma of a row's voltage, relative."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.voltages and self.digits not in (0, len(self.voltages)):
            raise ValueError(
                f"driver.digits must be the number of driver.voltages, {len(self.voltages)}, or be"
                f" left out, not {self.digits}"
            )
        count = len(self.voltages) or self.digits
        if count == 1 or count > 16:
            raise ValueError(f"A driver has 2 to 16 digits, not {count}")
        if any(abs(v) >= 16 for v in self.voltages):
            raise ValueError("driver.voltages must be below 16 read voltages")
        return self

    def table(self) -> tuple[float, ...]:
        """Voltage of every digit over the read voltage; empty without digits."""
        if self.voltages or not self.digits:
            return self.voltages
        d = np.arange(self.digits, dtype=np.float64)
        return tuple((d * (1 - self.compression * d / (self.digits - 1))).tolist())


class Reported(Section):
    """Figures a source reports that are not switched on by default; for reference and reports."""

    variability: float | None = Field(default=None, ge=0)
    variability_on: float | None = Field(default=None, ge=0)
    variability_off: float | None = Field(default=None, ge=0)
    yield_fraction: float | None = Field(default=None, ge=0, le=1)
    bit_error_rate: float | None = Field(default=None, ge=0, le=1)
    fluctuation: float | None = Field(default=None, ge=0)
    endurance_cycles: float | None = Field(default=None, ge=0)
    endurance_yield: float | None = Field(default=None, ge=0, le=1)
