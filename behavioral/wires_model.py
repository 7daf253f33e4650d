# SPDX-License-Identifier: Apache-2.0
"""The resistances between the drivers of an array, its cells and its sense amplifiers."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import ConfigError

__all__ = ["CellKind", "Direction", "Drive", "WireModel", "check_conductances", "check_direction"]

Direction = Literal["forward", "transposed"]
Drive = Literal["single", "double"]
CellKind = Literal["passive", "1t1r"]

_RESISTANCES = ("r_row", "r_col", "r_driver", "r_sense", "r_access")


@dataclass(frozen=True)
class WireModel:
    """Wires of an array of cells [rows, cols]; all resistances in ohm.

    Row 0 is at the top and column 0 at the left::

        driver --r_driver--r_row--+---r_row---+--...--(r_row--r_driver-- driver, if double)
                                cell        cell
                                  |           |        r_col between two rows
                                cell        cell
                                  |           |
                                r_col       r_col
                               r_sense     r_sense
                                ground      ground

    A forward read drives rows at their left end, next to column 0 (``drive="double"``: from both
    ends at the same voltage), and senses columns at the bottom, below the last row. A transposed
    read drives columns at the bottom (double: from both ends) and senses rows at the left, where
    the periphery of an array that trains has its switches. A wire has one segment between
    neighbouring cells and one from its end cell to each driver or sense amplifier: n segments for
    n cells, n + 1 if it is driven from both ends. An end that is neither driven nor sensed is open.
    Lines not driven are at ground through their driver, sense amplifiers are a virtual ground
    behind ``r_sense``.

    The network is linear. A 1T1R cell is its resistor in series with ``r_access``, all gates on
    during a compute read. What that does not cover: gates that switch with the rows (there a row
    that is not driven passes no sneak current), transistors that leave their linear region, and
    selectors, whose resistance depends on the voltage.

    Parameters
    ----------
    r_row, r_col : float
        One segment of a row wire and of a column wire.
    r_driver, r_sense : float
        Output of a driver and input of a sense amplifier; each end of a wire has its own driver.
    drive : "single" or "double"
        Whether lines are driven from one end or from both.
    cell : "passive" or "1t1r"
    r_access : float
        Access transistor of a 1T1R cell; finite.

    Raises
    ------
    ConfigError
        If a resistance is negative or no number, or a field does not go with another. 0 and
        ``inf`` (an open connection) are fine but for ``r_access``, which must be finite.
    """

    r_row: float = 0.0
    r_col: float = 0.0
    r_driver: float = 0.0
    r_sense: float = 0.0
    drive: Drive = "single"
    cell: CellKind = "passive"
    r_access: float = 0.0

    def __post_init__(self) -> None:
        for name in _RESISTANCES:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real):
                raise ConfigError(f"Wire field {name} must be a number of ohm, not {value!r}")
            if not float(value) >= 0:
                raise ConfigError(f"Wire field {name} must be 0 ohm or more, not {value}")
        for name, kind in (("drive", Drive), ("cell", CellKind)):
            _one_of(f"Wire field {name}", getattr(self, name), kind)
        if math.isinf(self.r_access):
            raise ConfigError("Wire field r_access must be finite: reads have all gates on")
        if self.cell == "passive" and self.r_access:
            raise ConfigError(
                f"Wire field r_access must be 0 for passive cells, not {self.r_access};"
                ' set cell to "1t1r"'
            )

    @property
    def open(self) -> bool:
        """Whether a connection is missing (a resistance is infinite)."""
        return any(math.isinf(getattr(self, name)) for name in _RESISTANCES)

    def branches(self, g: NDArray[np.float64]) -> NDArray[np.float64]:
        """Conductance between row and column wire, in siemens: that of the cell with its access.

        Parameters
        ----------
        g : float64 array [rows, cols]
            Of the resistive elements alone, 0 to ``inf`` siemens.
        """
        if self.r_access == 0:
            return g
        with np.errstate(divide="ignore"):
            return 1.0 / (1.0 / g + self.r_access)


def check_conductances(what: str, g: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return conductances as float64 [rows, cols], or refuse them.

    Raises
    ------
    ConfigError
        If the array has no two dimensions, is empty, or holds a negative value or NaN.
    """
    g = np.asarray(g, dtype=np.float64)
    if g.ndim != 2 or not g.size:
        raise ConfigError(f"The {what} must be [rows, cols], not of shape {list(g.shape)}")
    bad = np.argwhere(~(g >= 0))
    if len(bad):
        row, col = bad[0]
        raise ConfigError(
            f"The {what} must be 0 siemens or more, not {g[row, col]} at row {row}, column {col}"
        )
    return g


def check_direction(direction: str) -> None:
    """Refuse what is no direction of a read."""
    _one_of("The direction of a read", direction, Direction)


def _one_of(what: str, value: object, kind: Any) -> None:
    if value not in get_args(kind):
        first, second = get_args(kind)
        raise ConfigError(f'{what} must be "{first}" or "{second}", not {value!r}')
