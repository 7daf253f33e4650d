# SPDX-License-Identifier: Apache-2.0
"""Devices that learn: what their data sheet says, and the cells that are drawn from it.

Here floats end. A weight is in units of an image: ``w = (g - ref) * weight_max / 32768``, and the
nominal range of a cell is ``2 * weight_max``, 16 level steps.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...arch.errors import ConfigError
from ..devices.model import Device
from ..effects.streams import Stream, Streams
from ..pulsed import SEGMENTS, PulseModel
from .cells import MAX_INPUT, LearnCells, LearnNoise

__all__ = [
    "HALF",
    "PRESETS",
    "LearnDevice",
    "Reference",
    "draw_cells",
    "from_device",
    "learn_model",
]

HALF = 32768
"""Half the nominal range of a cell, in units of an image."""

_STATE = 256  # units of a state to one of an image
_SHIFT = 18
_RANGE = 2 * HALF * _STATE

Reference = Literal["middle", "symmetry", "zero"]
"""What is taken off a cell: the middle of its range; where its steps up and down are alike (as
Kim et al. 2019, "Zero-shifting technique for deep neural network training on resistive cross-point
arrays", set theirs); nothing."""


class LearnDevice(BaseModel):
    """What pulses do to a device and what its reads suffer."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = "custom"
    response: Literal["constant", "soft", "exponential", "table"] = "constant"
    """Steps: all alike; in proportion to what is left; by NeuroSim's exponential; as measured."""
    steps: float = Field(default=1000, ge=2, le=1_000_000)
    """Pulses through the range at the size of the step in its middle."""
    asymmetry: float = Field(default=0, ge=-1.9, le=1.9)
    """Steps up less steps down, relative to their mean."""
    k_up: float = Field(default=3, gt=0, le=20)
    """Nonlinearity of the exponential."""
    k_down: float = Field(default=3, gt=0, le=20)
    curve_up: tuple[float, ...] = ()
    """Measured steps at even distances through the range, relative to it; at least two."""
    curve_down: tuple[float, ...] = ()
    reset: bool = False
    """A pulse down takes a cell to the low end, as the reset of a phase-change cell."""
    cycle: float = Field(default=0, ge=0, le=4)
    """Cycle to cycle: sigma of one step, relative to it."""
    device: float = Field(default=0, ge=0, le=2)
    """Device to device: sigma of a cell's steps."""
    pair: float = Field(default=0, ge=0, le=1)
    """Device to device: sigma of the ratio of a cell's steps up and down."""
    bounds: float = Field(default=0, ge=0, le=1)
    """Device to device: sigma of a cell's bounds."""
    weight_max: float = Field(default=1, gt=0, le=100)
    """The weight at half the range."""
    read_noise: float = Field(default=0, ge=0, le=0.5)
    """Sigma of a cell in a read, relative to its conductance."""
    output_noise: float = Field(default=0, ge=0, le=10)
    """Sigma of an output: weight times the largest input."""
    adc_bits: int = Field(default=12, ge=2, le=16)
    output_bound: float = Field(default=12, gt=0, le=1000)
    """Where converters saturate: weight times the largest input."""
    wear: float = Field(default=0, ge=0, le=1e9)
    """Pulses that the median cell survives; 0: all of them."""
    wear_spread: float = Field(default=0, ge=0, le=5)
    """Sigma of the natural logarithm of a cell's pulses."""
    decay: float = Field(default=0, ge=0, le=1)
    """Share of the distance to the reference that a volatile cell loses when it relaxes."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("curve_up", "curve_down"):
            curve = getattr(self, name)
            if self.response == "table" and len(curve) < 2:
                raise ValueError(f"{name} needs at least two steps, for the response is a table")
            if self.response != "table" and curve:
                raise ValueError(f"{name} needs the response 'table', not '{self.response}'")
            if any(not 0 <= step <= 1 for step in curve):
                raise ValueError(f"the steps of {name} are shares of the range, 0 to 1")
        return self

    @property
    def unit(self) -> float:
        """What a unit of an image times an input's unit is, as weight times the largest input."""
        return self.weight_max / (HALF * MAX_INPUT)

    @property
    def step(self) -> float:
        """The weight of a step in the middle of the range."""
        return 2 * self.weight_max / self.steps

    def read_shift(self) -> int:
        """Shift of a read whose converters reach to the output bound."""
        top = (1 << (self.adc_bits - 1)) - 1
        return max(0, round(float(np.log2(self.output_bound / self.unit / top))))


PRESETS: Mapping[str, LearnDevice] = MappingProxyType(
    {
        device.name: device
        for device in (
            LearnDevice(name="ideal", steps=4000),
            # Gokmen and Vlasov 2016, Table 1: the baseline of their specification; 9-bit
            # converters, noise and bound of the integrator from the same.
            LearnDevice(
                name="rpu",
                steps=1200,
                weight_max=0.6,
                cycle=0.3,
                device=0.3,
                pair=0.02,
                bounds=0.3,
                output_noise=0.06,
                output_bound=12,
                adc_bits=9,
            ),
            # Filamentary and strongly asymmetric: few steps that shrink quickly in either direction
            # (nonlinearities of the order that NeuroSim lists for oxide cells), those down a third
            # of those up.
            LearnDevice(
                name="rram",
                response="exponential",
                steps=100,
                k_up=5,
                k_down=5,
                asymmetry=1.0,
                cycle=0.3,
                device=0.2,
                output_noise=0.02,
                adc_bits=9,
                output_bound=12,
            ),
            # Crystallises gradually, melts at once (Tsai et al. 2018, Sect. 5.2).
            LearnDevice(
                name="pcm",
                response="exponential",
                steps=150,
                k_up=2,
                reset=True,
                cycle=0.3,
                device=0.1,
                output_noise=0.02,
                adc_bits=9,
                output_bound=12,
            ),
            # A linear cell that leaks: the 3T1C half of Ambrogio et al. 2018's pair.
            LearnDevice(
                name="capacitor",
                steps=1000,
                cycle=0.05,
                device=0.05,
                decay=1e-4,
                output_noise=0.02,
                adc_bits=9,
                output_bound=12,
            ),
        )
    }
)
"""Devices that need no data sheet."""


def learn_model(device: LearnDevice) -> PulseModel:
    """The pulse response in integers."""
    wide = _wide(device)
    # Cells whose bounds may lie outside the nominal range live in one twice as large.
    high = (2 if wide else 1) * _RANGE - 1
    at = np.arange(SEGMENTS + 1) / SEGMENTS
    tables = []
    for up in (True, False):
        left = 1 - at if up else at
        sign = 1 if up else -1
        size = (1 + sign * device.asymmetry / 2) / device.steps
        if device.response == "table":
            curve = device.curve_up if up else device.curve_down
            step = np.interp(at, np.linspace(0, 1, len(curve)), curve)
        elif device.response == "soft":
            step = 2 * size * left
        elif device.response == "exponential":
            k = device.k_up if up else device.k_down
            reach = 1 / (1 - np.exp(-k)) - 1  # how far beyond the range the curve aims
            step = size * (left + reach) / (0.5 + reach)
        else:
            step = np.full(SEGMENTS + 1, size)
        if device.reset and not up:
            step = np.full(SEGMENTS + 1, 32.0)
        tables.append(np.rint(step * _RANGE).astype(np.int32))
    shift = _SHIFT + (1 if wide else 0)
    return PulseModel(0, high, shift, tables[0], tables[1], round(device.cycle * 4096))


def _wide(device: LearnDevice) -> bool:
    return device.response == "constant" and device.bounds > 0


def from_device(device: Device, **fields: object) -> LearnDevice:
    """What a device file says of pulses.

    Parameters
    ----------
    device : Device
        With ``write.response``.
    **fields
        Further fields of :class:`LearnDevice`.

    Raises
    ------
    ConfigError
        If it has no data of pulses.
    """
    if device.write is None or device.write.response is None:
        raise ConfigError(
            f"Device {device.name} has no 'write.response', so nothing is known of how its weights"
            " change; add the section, or take one of " + ", ".join(PRESETS)
        )
    model = PulseModel.derive(device, 4)
    reach = model.high - model.low
    place = np.linspace(model.low, model.high, 33).astype(np.int64)
    curves = {}
    for name, up in (("curve_up", True), ("curve_down", False)):
        steps = model.steps(place, up=up) / reach
        curves[name] = tuple(np.clip(steps, 0, 1).tolist())
    given: dict[str, object] = {
        "name": device.name,
        "response": "table",
        "steps": device.write.response.pulses,
        "cycle": device.write.response.spread,
        "read_noise": device.read_noise,
        **curves,
    }
    if device.endurance is not None:
        given |= {"wear": device.endurance.cycles, "wear_spread": device.endurance.spread}
    return LearnDevice.model_validate(given | fields)


def draw_cells(
    device: LearnDevice,
    shape: tuple[int, int],
    seed: int,
    array: int,
    weights: NDArray[np.float64] | None = None,
    *,
    reference: Reference = "middle",
    lanes: tuple[int, int] = (1, 1),
    lane_spread: float = 0.0,
) -> LearnCells:
    """The cells of an array, each with what it was made with.

    Parameters
    ----------
    device : LearnDevice
    shape : pair of int
    seed, array : int
        What is drawn is a function of these.
    weights : float64 array, optional
        What the first rows and columns hold at first; 0 elsewhere.
    reference : Reference
    lanes : pair of int
        Converters of forward and of transposed reads.
    lane_spread : float
        Sigma of their gains.

    Raises
    ------
    ConfigError
        If a weight is no number.
    """
    random = Streams(seed, array).generator(Stream.LEARNING)
    model = learn_model(device)
    steps, ratio, lower, upper, life, end = (random.standard_normal(shape) for _ in range(6))
    middle = (model.high + 1) // 2
    low = high = limit = worn = gain_up = gain_down = None
    if device.bounds:
        half = _RANGE // 2
        low = np.rint(middle - half * np.maximum(1 + device.bounds * lower, 0.05))
        high = np.rint(middle + half * np.maximum(1 + device.bounds * upper, 0.05))
        low, high = (np.clip(v, 0, model.high).astype(np.int32) for v in (low, high))
    if device.device or device.pair:
        size = np.maximum(1 + device.device * steps, 0.01)
        tilt = device.pair * ratio / 2
        gain_up, gain_down = (
            np.clip(np.rint(4096 * size * (1 + sign * tilt)), 1, 65535).astype(np.uint16)
            for sign in (1, -1)
        )
    if device.wear:
        lives = device.wear * np.exp(device.wear_spread * life)
        limit = np.clip(np.rint(lives), 1, 0xFFFFFFFF).astype(np.uint32)
        worn = np.where(end > 0, model.high, 0).astype(np.int32)
    ref = np.full(shape, middle // _STATE)
    if reference == "zero":
        ref = np.zeros(shape, np.int64)
    elif reference == "symmetry":
        ref = _symmetry(model, gain_up, gain_down, shape) // _STATE
    state = ref.astype(np.int64)
    if weights is not None:
        given = np.asarray(weights, np.float64)
        if not np.isfinite(given).all():
            raise ConfigError("A weight to start from is no number")
        state[: given.shape[0], : given.shape[1]] += np.rint(
            given * (HALF / device.weight_max)
        ).astype(np.int64)
    ends = 0 if low is None else low, model.high if high is None else high
    start: NDArray[np.int32] = np.clip(state * _STATE, *ends).astype(np.int32)
    gains = [
        tuple(
            max(1, round(4096 * (1 + lane_spread * z)))
            for z in Streams(seed, array).generator(Stream.LEARNING, 1 + side).standard_normal(n)
        )
        for side, n in enumerate(lanes)
    ]
    noise = LearnNoise(
        v0=round((device.output_noise / device.unit) ** 2),
        v2=round(device.read_noise**2 * 65536),
        adc_bits=device.adc_bits,
        gains=gains[0],
        gains_transposed=gains[1],
    )
    return LearnCells(
        model,
        start,
        ref.astype(np.int32),
        noise,
        gain_up=gain_up,
        gain_down=gain_down,
        low=low,
        high=high,
        limit=limit,
        worn=worn,
        rest=int(middle),
        rate=round(device.decay * 65536),
    )


def _symmetry(
    model: PulseModel,
    gain_up: NDArray[np.uint16] | None,
    gain_down: NDArray[np.uint16] | None,
    shape: tuple[int, int],
) -> NDArray[np.int64]:
    """The state at which a step up is as large as one down, of each cell."""
    places = np.linspace(model.low, model.high, 1025).astype(np.int64)
    up, down = model.steps(places, up=True), model.steps(places, up=False)
    ones = np.ones(shape)
    tilt = (ones if gain_up is None else gain_up) / (ones if gain_down is None else gain_down)
    # Steps up shrink on the way up, steps down grow: their difference changes its sign once.
    ratio = np.maximum(down, 1) / np.maximum(up, 1)
    if not (np.diff(ratio) >= 0).all() or ratio[0] == ratio[-1]:
        return np.full(shape, (model.low + model.high + 1) // 2)
    found: NDArray[np.int64] = np.rint(np.interp(tilt, ratio, places)).astype(np.int64)
    return found
