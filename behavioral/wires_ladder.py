# SPDX-License-Identifier: Apache-2.0
"""Exact solution of a crossbar whose rows are driven, block by block, where all is finite.

Nodal analysis of the 2 * rows * cols nodes, as badcrossbar does it (Joksas and Mehonic, SoftwareX
12, 2020, 100617), ordered so that dense blocks of one row each come out. The state of the sweep
is what the array above a cut looks like from the column wires at the cut, as a Norton equivalent:

    y [cols, cols]   currents drawn per volt on the column wires, rows at ground
    j [rows, cols]   currents delivered into grounded column wires, per volt on a row
    h [rows, rows]   currents out of the drivers, per volt on a row, column wires grounded

A row of cells adds to it; a segment of column wire, r ohm, turns y into ``y (1 + r y)^-1`` and j
into ``j (1 + r y)^-1``. Admittances are only ever added and resistances only ever put in series,
so nothing cancels, and 0 ohm and 0 siemens are ordinary values.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv

from ..arch.errors import ConfigError

__all__ = ["Ladder", "solve"]

_Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ladder:
    """An array with driven rows and columns sensed at the bottom; ohm and siemens, all finite.

    ``g`` [rows, cols] are the cells with their access. ``row_lead`` is what lies between a driver
    and its end cell, ``column_lead`` between the last row and ground.
    """

    g: _Matrix
    r_row: float
    row_lead: float
    r_col: float
    column_lead: float
    double: bool


def solve(ladder: Ladder, *, driver: bool) -> tuple[_Matrix, _Matrix | None]:
    """Solve for one volt on each row in turn.

    Returns
    -------
    transfer : float64 array [rows, cols]
        Currents out of the columns per volt on each row, in siemens.
    driver : float64 array [rows, rows] or None
        Currents out of the drivers per volt on each row, if asked for.

    Raises
    ------
    ConfigError
        If the values differ by more than doubles can hold.
    """
    rows, cols = ladder.g.shape
    wire = _wire_impedance(ladder, cols)
    y: _Matrix = np.zeros((cols, cols))
    j: _Matrix = np.zeros((rows, cols))
    h: _Matrix = np.zeros((rows, rows))
    with np.errstate(all="ignore"):
        for row in range(rows):
            drawn, delivered = _row(ladder.g[row], wire)
            y = y + drawn
            j[row] = delivered
            h[row, row] = delivered.sum()
            r = ladder.r_col if row < rows - 1 else ladder.column_lead
            if r == 0:
                continue
            above = j[: row + 1]
            right = np.empty((cols, cols + row + 1), order="F")
            right[:, :cols] = y
            right[:, cols:] = above.T
            x = _solve_positive(_one_plus(r * y), right)
            if driver:
                h[: row + 1, : row + 1] -= r * (above @ x[:, cols:])
            # Symmetric but for rounding, which must not grow.
            y = (x[:, :cols] + x[:, :cols].T) / 2
            j[: row + 1] = x[:, cols:].T
    if not (np.isfinite(j).all() and np.isfinite(h).all()):
        raise _too_wide()
    return j, (h + h.T) / 2 if driver else None


def _wire_impedance(ladder: Ladder, cols: int) -> _Matrix | None:
    """Volts at cell i of a row wire per ampere put in at cell j, driver at ground; None if 0.

    The ends are at the same voltage in a read, so that without cells the whole wire is at it.
    """
    if ladder.r_row == 0 and ladder.row_lead == 0:
        return None
    from_left = ladder.row_lead + ladder.r_row * np.arange(cols)
    nearer: _Matrix = np.minimum.outer(from_left, from_left)
    if not ladder.double:
        return nearer
    from_right = from_left[::-1]
    whole = from_left[-1] + ladder.row_lead
    impedance: _Matrix = nearer * (np.minimum.outer(from_right, from_right) / whole)
    return impedance


def _row(g: _Matrix, wire: _Matrix | None) -> tuple[_Matrix, _Matrix]:
    """What one row of cells draws from the columns [cols, cols] and delivers [cols].

    With wire impedance z and cells g the currents i into the columns follow from
    ``z i + i / g = v - b``. Taking the square root of g to both sides keeps the system symmetric
    and lets g be 0.
    """
    if wire is None:
        return np.diag(g), g
    root = np.sqrt(g)
    right = np.zeros((len(g), len(g) + 1), order="F")
    np.fill_diagonal(right, root)
    right[:, -1] = root
    x = root[:, None] * _solve_positive(_one_plus(root[:, None] * wire * root), right)
    return x[:, :-1], x[:, -1]


def _one_plus(matrix: _Matrix) -> _Matrix:
    """Add the unit matrix in place."""
    matrix.flat[:: len(matrix) + 1] += 1.0
    return matrix


def _solve_positive(a: _Matrix, b: _Matrix) -> _Matrix:
    """Solve a x = b by Cholesky; ``a`` is symmetric, ``b`` in column order, both are used up."""
    if not np.isfinite(a).all():
        raise _too_wide()
    # The transpose of a symmetric C-ordered matrix is itself, in the order LAPACK wants.
    _, x, failed = dposv(a.T, b, overwrite_a=1, overwrite_b=1)
    if failed:
        raise _too_wide()
    solution: _Matrix = x
    return solution


def _too_wide() -> ConfigError:
    return ConfigError(
        "The wire network cannot be solved: its resistances and conductances differ by more than"
        " double precision holds; use 0 or inf for what is negligible"
    )
