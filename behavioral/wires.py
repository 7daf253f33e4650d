# SPDX-License-Identifier: Apache-2.0
"""IR drop and sneak paths, exact: what an array with resistive wires does to its conductances.

Cells and wires are linear and rows that are not driven are at ground, so the column currents are a
fixed linear map of the row voltages. Solved once per programming, this transfer matrix takes the
place of the conductances in the image and a read costs no more than without wires (DESIGN,
section 4): ``I[c] = sum over driven rows of T[r, c] * V``.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import ConfigError
from . import wires_ladder, wires_network
from .wires_ladder import Ladder
from .wires_model import Direction, WireModel, check_conductances, check_direction

__all__ = [
    "Admittance",
    "Predistorted",
    "WireModel",
    "admittance",
    "predistort",
    "transfer_matrix",
]


class Admittance(NamedTuple):
    """Currents per volt on the driven lines, in siemens.

    ``transfer`` is float64 [rows, cols], ``driver`` float64 [n, n] for n driven lines: with
    voltages v on them, ``v @ driver`` flows out of the drivers (of both ends together), and the
    array takes ``v @ driver @ v`` watts.
    """

    transfer: NDArray[np.float64]
    driver: NDArray[np.float64]


def transfer_matrix(
    g: NDArray[np.float64], wires: WireModel, direction: Direction = "forward"
) -> NDArray[np.float64]:
    """What the sense amplifiers see of each driven line.

    Parameters
    ----------
    g : float64 array [rows, cols]
        Conductances of the cells in siemens, 0 to ``inf`` (a short).
    wires : WireModel
    direction : "forward" or "transposed"

    Returns
    -------
    float64 array [rows, cols]
        In siemens. Forward: row voltages v [rows] give the column currents ``v @ T``. Transposed:
        column voltages v [cols] give the row currents ``T @ v``. Driven from one end and with
        ``r_driver`` equal to ``r_sense`` both are the same matrix (reciprocity). Without wire
        resistance it is ``g`` itself.

    Raises
    ------
    ConfigError
        If a conductance is negative or NaN, or the network is singular (a node floats, or 0 ohm
        joins a driver with another line's end).
    """
    g = check_conductances("conductances", g)
    check_direction(direction)
    branches = wires.branches(g)
    if wires.open or np.isinf(branches).any():
        transfer, _ = wires_network.solve(branches, wires, direction)
        return transfer if direction == "forward" else np.ascontiguousarray(transfer.T)
    rows, cols = g.shape
    rows_driven = direction == "forward"
    if wires.drive == "single" and rows != cols:
        # By reciprocity the lines may change their parts: a sweep costs its length times the cube
        # of its width, so it goes along the longer side.
        rows_driven = rows > cols
    transfer, _ = _sweep(branches, wires, direction, rows_driven=rows_driven, driver=False)
    return transfer


def admittance(
    g: NDArray[np.float64], wires: WireModel, direction: Direction = "forward"
) -> Admittance:
    """Return the transfer matrix together with the currents that the drivers deliver.

    Parameters, errors: as :func:`transfer_matrix`.
    """
    g = check_conductances("conductances", g)
    check_direction(direction)
    branches = wires.branches(g)
    forward = direction == "forward"
    if wires.open or np.isinf(branches).any():
        transfer, driver = wires_network.solve(branches, wires, direction)
        return Admittance(transfer if forward else np.ascontiguousarray(transfer.T), driver)
    swept, currents = _sweep(branches, wires, direction, rows_driven=forward, driver=True)
    if currents is None:
        raise TypeError("The sweep gives driver currents when asked")
    return Admittance(swept, currents)


def _sweep(
    branches: NDArray[np.float64],
    wires: WireModel,
    direction: Direction,
    *,
    rows_driven: bool,
    driver: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Solve by blocks of one row, or of one column if columns are the lines to be driven."""
    forward = direction == "forward"
    row_lead = wires.r_row + (wires.r_driver if forward else wires.r_sense)
    column_lead = wires.r_col + (wires.r_sense if forward else wires.r_driver)
    double = wires.drive == "double"
    if rows_driven:
        ladder = Ladder(branches, wires.r_row, row_lead, wires.r_col, column_lead, double)
        return wires_ladder.solve(ladder, driver=driver)
    # The same array seen in the mirror that swaps left with bottom, row 0 with the last column.
    mirrored = branches[::-1, ::-1].T
    ladder = Ladder(mirrored, wires.r_col, column_lead, wires.r_row, row_lead, double)
    transfer, currents = wires_ladder.solve(ladder, driver=driver)
    back = np.ascontiguousarray(transfer.T[::-1, ::-1])
    return back, None if currents is None else np.ascontiguousarray(currents[::-1, ::-1])


@dataclass(frozen=True, eq=False)
class Predistorted:
    """Conductances to program, and how near they come.

    ``g`` and ``transfer`` are float64 [rows, cols] in siemens. ``history[k]`` is the largest
    ``|transfer - target|`` after k corrections, relative to the largest target; ``residual`` is
    that of ``g``, the smallest of them.
    """

    g: NDArray[np.float64]
    transfer: NDArray[np.float64]
    residual: float
    history: tuple[float, ...]


def predistort(
    target: NDArray[np.float64],
    wires: WireModel,
    *,
    g_min: float,
    g_max: float,
    iterations: int = 20,
    direction: Direction = "forward",
) -> Predistorted:
    """Choose conductances whose transfer matrix comes near a target: IR-drop compensation.

    Each step multiplies every conductance by what its transfer lacks, ``g <- g * target / T(g)``,
    and clips it to what a cell can hold. The error shrinks by a constant factor a step, about the
    share of the voltage that is lost in wires: for 128x128 cells of up to 25 microsiemens and 0.5
    ohm a segment, where the far cell lacks a quarter, 2.5e-1 falls to 1e-4 in six steps. Cells
    that would need more than ``g_max`` keep an error, so the target should leave the far cells
    room, if need be scaled as a whole; so do off cells that sneak paths lift over their target
    though they are at ``g_min``. Where far cells lack about half, steps need not converge: the
    best one is returned, never worse than the clipped target itself.

    Parameters
    ----------
    target : float64 array [rows, cols]
        The wanted transfer matrix in siemens, finite.
    wires : WireModel
    g_min, g_max : float
        Range of a cell in siemens.
    iterations : int
        Corrections; each solves the network once.
    direction : "forward" or "transposed"
        The reads that are corrected.

    Raises
    ------
    ConfigError
        If the target or the range cannot be, or the network is singular.
    """
    target = check_conductances("target", target)
    if not np.isfinite(target).all() or not target.any():
        raise ConfigError("The target must be finite and hold a value above 0 siemens")
    if not 0 <= g_min < g_max < np.inf:
        raise ConfigError(f"A cell needs 0 <= g_min < g_max < inf, not {g_min} and {g_max}")
    if iterations < 0:
        raise ConfigError(f"The number of iterations must be 0 or more, not {iterations}")
    scale = target.max()
    g = np.clip(target, g_min, g_max)
    transfer = transfer_matrix(g, wires, direction)
    history = [float(np.abs(transfer - target).max() / scale)]
    best = (g, transfer)
    for _ in range(iterations):
        # A cell that reads nothing through an open line has nothing to learn from.
        lacks = np.divide(target, transfer, out=np.ones_like(target), where=transfer > 0)
        g = np.clip(g * lacks, g_min, g_max)
        transfer = transfer_matrix(g, wires, direction)
        history.append(float(np.abs(transfer - target).max() / scale))
        if history[-1] < min(history[:-1]):
            best = (g, transfer)
    return Predistorted(*best, residual=min(history), history=tuple(history))
