# SPDX-License-Identifier: Apache-2.0
"""The cells of an array that learns, in integers.

A pulse of a direction on a cell whose pulses so far are counted by ``number``::

    number >= limit:  state = worn, and nothing else
    step  = what the model's table gives for the state (behavioral/pulsed.py)
    step  = min((step * gain + 2048) >> 12, 2**30 - 1)      gain of this cell and direction
    moved = step + ((step * spread * z + 2**23) >> 24)
    state = clip(state +- moved, min(low, state), max(high, state))     bounds of this cell

and the number goes up by one, on a fixed cell too. z is drawn for (seed, array, cell, number), as
in :mod:`..pulsed`. A read sees ``g = (state + 128) >> 8``, 4096 to a level step, and the weight
``g - ref``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import ConfigError
from ..pulsed import PulseModel

__all__ = ["MAX_COLS", "MAX_INPUT", "MAX_ROWS", "LearnCells", "LearnNoise"]

MAX_ROWS = 1024
MAX_COLS = 512
MAX_INPUT = 127

_LIMIT = 1 << 26
_VARIANCE = 1 << 52


@dataclass(frozen=True, eq=False)
class LearnNoise:
    """Noise and converters of an array's reads, in units of an image times an input's unit.

    Parameters
    ----------
    v0 : int
        Variance of every output.
    v1 : int
        Variance per unit of current, 65536 to 1.
    v2 : int
        Variance of a cell relative to its square, 65536 to 1; at most 16384.
    adc_bits : int
        2 to 16, of signed codes.
    gains, gains_transposed : tuple of int
        Gain of every lane, 4096 to 1, of forward and of transposed reads.

    Raises
    ------
    ConfigError
        If one is out of range.
    """

    v0: int = 0
    v1: int = 0
    v2: int = 0
    adc_bits: int = 9
    gains: tuple[int, ...] = (4096,)
    gains_transposed: tuple[int, ...] = (4096,)

    def __post_init__(self) -> None:
        ends = {
            "v0": (0, _VARIANCE - 1),
            "v1": (0, (1 << 20) - 1),
            "v2": (0, 1 << 14),
            "adc_bits": (2, 16),
        }
        for name, (low, high) in ends.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(
                    f"The {name} of an array that learns must be {low} to {high}, not {value}"
                )
        for gains in (self.gains, self.gains_transposed):
            if not 1 <= len(gains) <= 64 or min(gains) < 1 or max(gains) > 1 << 16:
                raise ConfigError("An array has 1 to 64 lanes with gains above 0, at most 16")

    @property
    def top(self) -> int:
        """The highest code."""
        return (1 << (self.adc_bits - 1)) - 1


@dataclass(frozen=True, eq=False)
class LearnCells:
    """The cells of an array that learns; arrays are [rows, cols].

    Parameters
    ----------
    model : PulseModel
        What a pulse does.
    state : int32
        2**20 to a level step; 0 to 2**26 - 1, the model's too.
    ref : int32
        What is taken off a cell's conductance, in units of an image.
    noise : LearnNoise
    numbers : uint32, optional
        Number of each cell's next pulse, 0 by default.
    fixed : bool, optional
        Cells that do not move.
    gain_up, gain_down : uint16, optional
        What every step is multiplied with, 4096 to 1; both or none.
    low, high : int32, optional
        Bounds of every cell, within those of the model; both or none.
    limit, worn : uint32 and int32, optional
        Pulses that a cell survives, and the state it then ends in; both or none.
    rest, rate : int
        Where RELAX takes states, and the share of the distance, 65536 to 1.

    Raises
    ------
    ConfigError
        If a shape or type differs or a value is out of range.
    """

    model: PulseModel
    state: NDArray[np.int32]
    ref: NDArray[np.int32]
    noise: LearnNoise
    numbers: NDArray[np.uint32] | None = None
    fixed: NDArray[np.bool_] | None = None
    gain_up: NDArray[np.uint16] | None = None
    gain_down: NDArray[np.uint16] | None = None
    low: NDArray[np.int32] | None = None
    high: NDArray[np.int32] | None = None
    limit: NDArray[np.uint32] | None = None
    worn: NDArray[np.int32] | None = None
    rest: int = 0
    rate: int = 0

    def __post_init__(self) -> None:
        shape = self.state.shape
        if len(shape) != 2 or not (1 <= shape[0] <= MAX_ROWS and 1 <= shape[1] <= MAX_COLS):
            raise ConfigError(
                f"An array that learns has 1 to {MAX_ROWS} rows and 1 to {MAX_COLS} columns, not"
                f" {list(shape)}"
            )
        for name, values in self.arrays():
            if values.shape != shape or values.dtype != _TYPES[name]:
                raise ConfigError(
                    f"The {name} of cells must be {np.dtype(_TYPES[name])} {list(shape)}"
                )
        if self.model.high >= _LIMIT:
            raise ConfigError(f"Cells that learn have states below {_LIMIT}")
        for one, other in (("gain_up", "gain_down"), ("low", "high"), ("limit", "worn")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ConfigError(f"Cells have both {one} and {other}, or neither")
        for name in ("state", "low", "high", "worn"):
            values = getattr(self, name)
            if values is not None and (values.min() < 0 or values.max() >= _LIMIT):
                raise ConfigError(f"The {name} of cells must be 0 to {_LIMIT - 1}")
        if self.low is not None and self.high is not None and (self.low > self.high).any():
            raise ConfigError("The bounds of cells are the wrong way round: low is above high")
        if np.abs(self.ref.astype(np.int64)).max() >= 1 << 18:
            raise ConfigError(f"The reference of a cell must be below {1 << 18}")
        if not 0 <= self.rest < _LIMIT or not 0 <= self.rate <= 1 << 16:
            raise ConfigError("Cells relax by a share of 0 to 1, to a state that they can have")

    def arrays(self) -> Iterator[tuple[str, NDArray[np.generic]]]:
        """Names and values of all arrays that are given."""
        for f in fields(self):
            values = getattr(self, f.name)
            if isinstance(values, np.ndarray):
                yield f.name, values

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.state.shape[0], self.state.shape[1]


_TYPES: dict[str, type[np.generic]] = {
    "state": np.int32,
    "ref": np.int32,
    "numbers": np.uint32,
    "fixed": np.bool_,
    "gain_up": np.uint16,
    "gain_down": np.uint16,
    "low": np.int32,
    "high": np.int32,
    "limit": np.uint32,
    "worn": np.int32,
}
