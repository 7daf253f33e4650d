# SPDX-License-Identifier: Apache-2.0
"""A small array by nodal analysis, as a textbook does it: plain loops, 40 decimal digits.

It shares nothing with the solvers under test but the description of the wires, and its rounding
does not matter beside theirs.
"""

import decimal
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from ohmtwin.behavioral.wires_model import Direction, WireModel

__all__ = ["nodal"]

Array = NDArray[np.float64]


def nodal(g: Array, wires: WireModel, direction: Direction, volts: Array) -> tuple[Array, Array]:
    """Kirchhoff's current law at each node, in 40 digits; every resistance above 0.

    Voltages [n, lines] give the currents out of the senses and out of the drivers.
    """
    with decimal.localcontext(prec=40):
        return _nodal(g, wires, direction, volts)


def _nodal(g: Array, wires: WireModel, direction: Direction, volts: Array) -> tuple[Array, Array]:
    rows, cols = g.shape
    size = 2 * rows * cols
    matrix = np.full((size, size), Decimal(0), dtype=object)
    right = np.full((size, len(volts)), Decimal(0), dtype=object)
    given = np.array([[Decimal(float(v)) for v in line] for line in volts.T], dtype=object)

    def row_node(row: int, col: int) -> int:
        return row * cols + col

    def col_node(row: int, col: int) -> int:
        return rows * cols + row * cols + col

    def branch(a: int, b: int, ohm: Decimal) -> None:
        for node, other in ((a, b), (b, a)):
            matrix[node, node] += 1 / ohm
            matrix[node, other] -= 1 / ohm

    for row in range(rows):
        for col in range(cols):
            if g[row, col] > 0:
                ohm = 1 / Decimal(float(g[row, col])) + Decimal(wires.r_access)
                branch(row_node(row, col), col_node(row, col), ohm)
            if col + 1 < cols:
                branch(row_node(row, col), row_node(row, col + 1), Decimal(wires.r_row))
            if row + 1 < rows:
                branch(col_node(row, col), col_node(row + 1, col), Decimal(wires.r_col))
    drivers: list[tuple[int, int]] = []
    if direction == "forward":
        lead, sense_lead = wires.r_row + wires.r_driver, wires.r_col + wires.r_sense
        senses = [col_node(rows - 1, col) for col in range(cols)]
        for row in range(rows):
            drivers.append((row, row_node(row, 0)))
            if wires.drive == "double":
                drivers.append((row, row_node(row, cols - 1)))
    else:
        lead, sense_lead = wires.r_col + wires.r_driver, wires.r_row + wires.r_sense
        senses = [row_node(row, 0) for row in range(rows)]
        for col in range(cols):
            drivers.append((col, col_node(rows - 1, col)))
            if wires.drive == "double":
                drivers.append((col, col_node(0, col)))
    for node in senses:
        matrix[node, node] += 1 / Decimal(sense_lead)
    for line, node in drivers:
        matrix[node, node] += 1 / Decimal(lead)
        right[node] += given[line] / Decimal(lead)
    at = _eliminate(matrix, right)
    delivered = np.full(given.shape, Decimal(0), dtype=object)
    for line, node in drivers:
        delivered[line] += (given[line] - at[node]) / Decimal(lead)
    out = at[senses] / Decimal(sense_lead)
    return out.T.astype(np.float64), delivered.T.astype(np.float64)


def _eliminate(matrix: NDArray[np.object_], right: NDArray[np.object_]) -> NDArray[np.object_]:
    """Gauss without pivots, which a network does not need."""
    size = len(matrix)
    for pivot in range(size):
        for below in range(pivot + 1, size):
            if matrix[below, pivot]:
                factor = matrix[below, pivot] / matrix[pivot, pivot]
                matrix[below, pivot:] -= factor * matrix[pivot, pivot:]
                right[below] -= factor * right[pivot]
    for pivot in reversed(range(size)):
        right[pivot] -= matrix[pivot, pivot + 1 :] @ right[pivot + 1 :]
        right[pivot] /= matrix[pivot, pivot]
    return right
