# SPDX-License-Identifier: Apache-2.0
"""Linear equations with an array for the inexact product, and the host for the refinement.

Le Gallo et al. 2018, "Mixed-precision in-memory computing" (Nature Electronics 1, 246): the host
keeps the solution and its residual in float64; a Krylov method, all of whose products come from the
array, finds a rough correction; corrections go on until the residual is small enough. The exact
product of the matrix with a correction, which the residual needs anyhow, also tells how far to go
along it and along those before it, so that none makes the residual worse. Where a correction helps
little, noise has drowned it: from then on products are means of twice as many reads.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import ConfigError, InputError
from ...behavioral.learning.carray import CLearnArray
from ...behavioral.learning.cells import MAX_COLS, MAX_INPUT
from ...behavioral.learning.device import HALF, LearnDevice, draw_cells
from .weights import row_code, row_shift

__all__ = ["ArrayMatrix", "Solution", "solve"]

Floats = NDArray[np.float64]

_VERIFIES = 64
_WHOLE = 4
"""Verifies that take off all of an error; later ones less and less, as noise averages out."""
_VERIFY_READS = 64
_KEPT = 20
"""Corrections that later ones are made independent of."""
_POOR = 0.7
"""A correction that leaves more than this share of the residual is a poor one."""
_MOST_READS = 64
_MOST_SHIFT = 40


class ArrayMatrix:
    """A matrix in an array, written by pulses that reads verify.

    Parameters
    ----------
    matrix : float64 [n, m]
    device : LearnDevice
    seed : int
        Of the cells and of all noise.
    average : int
        Reads whose mean is a product.

    Raises
    ------
    InputError
        If the matrix has no number in it, is too large, or is 0.
    """

    def __init__(
        self, matrix: Floats, device: LearnDevice, seed: int = 1, *, average: int = 1
    ) -> None:
        if matrix.ndim != 2 or not 1 <= max(matrix.shape) <= MAX_COLS:
            raise InputError(
                f"A matrix in an array has 1 to {MAX_COLS} rows and columns, not"
                f" {list(matrix.shape)}"
            )
        if not np.isfinite(matrix).all() or not matrix.any():
            raise InputError("A matrix in an array must hold finite numbers, not all of them 0")
        if average < 1:
            raise InputError(f"A product is the mean of 1 read or more, not {average}")
        self.device = device
        self.average = average
        self._scale = float(np.abs(matrix).max()) / device.weight_max
        wanted = matrix.T / self._scale
        self.array = CLearnArray(draw_cells(device, wanted.shape, seed, 0), seed, 0)
        self._shift = device.read_shift()
        self._program(wanted)
        self.reads = 0

    @property
    def held(self) -> Floats:
        """The matrix as the cells hold it."""
        factor = self.device.weight_max / HALF * self._scale
        held: Floats = self.array.weights().astype(np.float64).T * factor
        return held

    def _program(self, wanted: Floats) -> None:
        shift, code = row_shift(self.device), row_code(self.device)
        noise = self.device.output_noise / self.device.step
        # Noise of a step remains after all verifies.
        average = min(_VERIFY_READS, max(1, math.ceil(noise**2 / _VERIFIES)))
        for verify in range(_VERIFIES):
            gain = 1 / max(1, verify + 1 - _WHOLE)
            for row, target in enumerate(wanted):
                x = np.zeros(len(wanted), np.int64)
                x[row] = MAX_INPUT
                found = np.mean([self.array.read(x, shift=shift) for _ in range(average)], axis=0)
                lacking = np.rint(gain * (target - found * code) / self.device.step)
                counts = np.clip(lacking, -MAX_INPUT, MAX_INPUT).astype(np.int32)
                if counts.any():
                    self.array.write(row, counts)

    def product(self, x: Floats) -> Floats:
        """About ``matrix @ x``: float64 [n]; x is rounded to 8 bits and a common scale."""
        largest = float(np.abs(x).max())
        if largest == 0.0:
            return np.zeros(self.array.cells.shape[1])
        drive = np.rint(x / largest * MAX_INPUT).astype(np.int64)
        top = self.array.cells.noise.top
        total = np.zeros(self.array.cells.shape[1])
        for _ in range(self.average):
            codes = self._read(drive)
            # Bound management: as fine as the converters allow, coarser where they saturate.
            while np.abs(codes).max() >= top and self._shift < _MOST_SHIFT:
                self._shift += 1
                codes = self._read(drive)
            total += codes * 2.0**self._shift
            if np.abs(codes).max() < top // 4 and self._shift > 0:
                self._shift -= 1
        return total / self.average * (self.device.unit * self._scale * largest)

    def _read(self, drive: NDArray[np.int64]) -> NDArray[np.int32]:
        self.reads += 1
        return self.array.read(drive, shift=self._shift)


@dataclass(frozen=True, eq=False)
class Solution:
    """A solution and how it was come by.

    Parameters
    ----------
    x : float64 [n]
    residuals : float64 [refinements + 1]
        ``|b - A x| / |b|`` at first and after every refinement.
    reads : int
        Of the array, by all products.
    average : int
        Reads whose mean a product was at the end.
    converged : bool
        Whether the last residual is within the tolerance.
    """

    x: Floats
    residuals: Floats
    reads: int
    average: int
    converged: bool

    @property
    def refinements(self) -> int:
        """Corrections by the host."""
        return len(self.residuals) - 1


def solve(
    matrix: Floats,
    b: Floats,
    tolerance: float,
    device: LearnDevice,
    *,
    seed: int = 1,
    inner: int = 20,
    average: int = 1,
    limit: int = 1000,
) -> Solution:
    """Solve ``matrix @ x = b``.

    Parameters
    ----------
    matrix : float64 [n, n]
    b : float64 [n]
    tolerance : float
        Of the relative residual.
    device : LearnDevice
        What the array is made of.
    seed : int
    inner : int
        Products of a correction.
    average : int
        Reads whose mean a product is at first.
    limit : int
        Refinements after which it gives up.

    Raises
    ------
    ConfigError
        If a setting is out of range.
    InputError
        If the matrix is not square, or b does not fit it.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or b.shape != matrix.shape[:1]:
        raise InputError(
            f"A system of equations has a square matrix and as many numbers in b, not"
            f" {list(matrix.shape)} and {list(b.shape)}"
        )
    if not np.isfinite(b).all():
        raise InputError("b holds NaN or infinite values")
    if not 1e-15 <= tolerance < 1 or inner < 1 or limit < 1:
        raise ConfigError(
            f"The tolerance must be 1e-15 to 1 ({tolerance:g}), inner and limit 1 or more"
            f" ({inner}, {limit})"
        )
    array = ArrayMatrix(matrix, device, seed, average=average)
    x, r, size = np.zeros_like(b), b.copy(), float(np.linalg.norm(b))
    residuals = [1.0 if size else 0.0]
    kept: list[tuple[Floats, Floats]] = []
    while residuals[-1] > tolerance and len(residuals) <= limit:
        z = _correction(array, r, inner)
        change = matrix @ z
        for direction, product in kept:
            along = float(product @ change)
            z, change = z - along * direction, change - along * product
        length = float(np.linalg.norm(change))
        if length == 0.0:
            break
        z, change = z / length, change / length
        kept = [*kept, (z, change)][-_KEPT:]
        x = x + float(r @ change) * z
        r = b - matrix @ x
        residuals.append(float(np.linalg.norm(r)) / size)
        if residuals[-1] > _POOR * residuals[-2]:
            array.average = min(2 * array.average, _MOST_READS)
    done = residuals[-1] <= tolerance
    return Solution(x, np.array(residuals), array.reads, array.average, done)


def _correction(array: ArrayMatrix, r: Floats, inner: int) -> Floats:
    """Roughly the solution of ``A z = r``: the generalized minimal residual method, once.

    Saad and Schultz 1986 ("GMRES", SIAM J. Sci. Stat. Comput. 7, 856), with the array's products.
    """
    norm = float(np.linalg.norm(r))
    basis = [r / norm]
    h = np.zeros((inner + 1, inner))
    used = 0
    for j in range(inner):
        w = array.product(basis[j])
        for i, v in enumerate(basis):
            h[i, j] = float(v @ w)
            w = w - h[i, j] * v
        h[j + 1, j] = float(np.linalg.norm(w))
        used = j + 1
        if h[j + 1, j] < 1e-14 * norm:
            break
        basis.append(w / h[j + 1, j])
    wanted = np.zeros(used + 1)
    wanted[0] = norm
    y = np.linalg.lstsq(h[: used + 1, :used], wanted, rcond=None)[0]
    found: Floats = np.stack(basis[:used], axis=1) @ y
    return found
