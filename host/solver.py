# SPDX-License-Identifier: Apache-2.0
"""A linear system solved with an inexact array and an exact host.

Le Gallo et al. 2018, "Mixed-precision in-memory computing" (Nature Electronics 1): the array does
the many products of an inner solver, the host the few exact ones that refine its result::

    r = b - A x                                  host, float64
    z = what the array's Krylov space holds that brings A z closest to r
    x = x + the combination of the last z that leaves the least of r

The inner space is spanned by what the array answers, and its combination is the least-squares one
of these answers, so that noise costs steps and not correctness. The outer combination (a flexible
GMRES in float64) converges where a plain sum would stall: when the error of the array times the
condition number passes 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import ConfigError
from ..behavioral.effects.streams import Stream, Streams
from ..behavioral.learning.carray import CLearnArray
from ..behavioral.learning.cells import MAX_COLS, MAX_INPUT, MAX_ROWS
from ..behavioral.learning.device import HALF, LearnDevice, draw_cells

__all__ = ["ArrayMatrix", "Solution", "example_matrix", "solve"]

F64 = NDArray[np.float64]

_SPLIT = 127
"""An input is driven as its high and its low part, of 7 bits each."""

_MEMORY = 30
"""Directions that the host combines."""


class ArrayMatrix:
    """A matrix in an array, for products that are quick and inexact.

    Parameters
    ----------
    matrix : float64 array [n, m]
        Its largest entry is ``weight_max``.
    device : LearnDevice
        Noise and converters of the reads.
    programming : float
        Sigma of the error with which cells were written, relative to the largest weight.
    seed : int

    Raises
    ------
    ConfigError
        If the matrix does not fit an array, is zero or holds something that is no number.
    """

    def __init__(
        self, matrix: F64, device: LearnDevice, programming: float = 0.0, seed: int = 1
    ) -> None:
        given = np.asarray(matrix, np.float64)
        if given.ndim != 2 or not (1 <= given.shape[1] <= MAX_ROWS and 1 <= len(given) <= MAX_COLS):
            raise ConfigError(
                f"A matrix in an array has 1 to {MAX_COLS} rows and 1 to {MAX_ROWS} columns, not"
                f" {list(given.shape)}"
            )
        if not np.isfinite(given).all() or not given.any():
            raise ConfigError("The matrix is zero or holds something that is no number")
        if not 0 <= programming <= 1:
            raise ConfigError(f"The error of programming must be 0 to 1, not {programming:g}")
        self._largest = float(np.abs(given).max())
        weights = given.T / self._largest
        draws = Streams(seed, 0).generator(Stream.LEARNING, 3).standard_normal(weights.shape)
        weights = (weights + programming * draws) * device.weight_max
        self._array = CLearnArray(draw_cells(device, weights.shape, seed, 0, weights), seed, 0)
        self._device = device
        self._shift = device.read_shift()
        self._top = (1 << (device.adc_bits - 1)) - 1
        self.products = 0

    def product(self, vector: F64) -> F64:
        """``A v``, as the array sees it, by two reads: one of what the other leaves."""
        largest = float(np.abs(vector).max())
        if not largest:
            return np.zeros(self._array.cells.shape[1])
        self.products += 1
        scaled = vector / largest * MAX_INPUT
        high = np.rint(scaled)
        low = np.rint((scaled - high) * 2 * _SPLIT)
        y = self._read(high) + self._read(low) / (2 * _SPLIT)
        # A unit of a product is a unit of an image, which is weight_max / HALF.
        result: F64 = y / HALF * self._largest * largest / MAX_INPUT
        return result

    def _read(self, x: F64) -> F64:
        """Bound management: the converters' range follows what they see."""
        while True:
            codes = self._array.read(x.astype(np.int64), shift=self._shift)
            reached = int(np.abs(codes).max())
            step = 2.0**self._shift
            if reached < self._top:
                if reached < self._top // 4:
                    self._shift = max(0, self._shift - 1)
                seen: F64 = codes * np.float64(step)
                return seen
            self._shift += 1


@dataclass(frozen=True)
class Solution:
    """What :func:`solve` found.

    Parameters
    ----------
    x : float64 array
    residuals : tuple of float
        ``|b - A x| / |b|`` before each refinement and after the last.
    products : int
        Products of the array.
    converged : bool
    """

    x: F64
    residuals: tuple[float, ...]
    products: int
    converged: bool

    @property
    def refinements(self) -> int:
        """Times that the host computed a residual, the first aside."""
        return len(self.residuals) - 1


def solve(
    matrix: F64,
    right: F64,
    device: LearnDevice,
    *,
    tolerance: float = 1e-10,
    inner: int = 20,
    limit: int = 200,
    programming: float = 0.0,
    seed: int = 1,
) -> Solution:
    """Solve ``A x = b`` for a square matrix.

    Parameters
    ----------
    matrix : float64 array [n, n]
    right : float64 array [n]
    device : LearnDevice
    tolerance : float
        Relative residual that is asked for; 1e-15 to 1.
    inner : int
        Products of the array for one refinement.
    limit : int
        Refinements after which it gives up.
    programming, seed
        As :class:`ArrayMatrix`.

    Returns
    -------
    Solution
        Whether it converged is in it.

    Raises
    ------
    ConfigError
        If shapes do not fit, something is no number, or an option is out of range.
    """
    a, b = np.asarray(matrix, np.float64), np.asarray(right, np.float64)
    if a.ndim != 2 or a.shape[0] != a.shape[1] or b.shape != a.shape[:1]:
        raise ConfigError(
            f"A system needs a square matrix and as long a vector, not {list(a.shape)} and"
            f" {list(b.shape)}"
        )
    if not np.isfinite(b).all() or not b.any():
        raise ConfigError("The right side is zero or holds something that is no number")
    if not 1e-15 <= tolerance <= 1 or inner < 1 or limit < 1:
        raise ConfigError(
            f"A tolerance of 1e-15 to 1 and at least one product and refinement are needed, not"
            f" {tolerance:g}, {inner} and {limit}"
        )
    array = ArrayMatrix(a, device, programming, seed)
    x = np.zeros_like(b)
    residual = b.copy()
    size = float(np.linalg.norm(b))
    residuals = [1.0]
    directions: list[F64] = []
    images: list[F64] = []
    while residuals[-1] > tolerance and len(residuals) <= limit:
        z = _inner(array, residual, inner)
        image = a @ z
        # The image without what earlier directions reach, then the step that leaves the least.
        for old, old_image in zip(directions, images, strict=True):
            share = float(image @ old_image)
            z, image = z - share * old, image - share * old_image
        length = float(np.linalg.norm(image))
        if not length > 0:
            break
        z, image = z / length, image / length
        x = x + float(image @ residual) * z
        residual = b - a @ x
        residuals.append(float(np.linalg.norm(residual)) / size)
        directions, images = [*directions, z][-_MEMORY:], [*images, image][-_MEMORY:]
    return Solution(x, tuple(residuals), array.products, residuals[-1] <= tolerance)


def _inner(array: ArrayMatrix, residual: F64, count: int) -> F64:
    """The combination of a Krylov space of the array whose answers come closest to a residual."""
    basis = [residual / np.linalg.norm(residual)]
    answers: list[F64] = []
    for _ in range(count):
        answer = array.product(basis[-1])
        answers.append(answer)
        new = answer.copy()
        for _ in range(2):
            for old in basis:
                new -= float(new @ old) * old
        length = float(np.linalg.norm(new))
        if length < 1e-9 * float(np.linalg.norm(answer)) or len(basis) == len(residual):
            break
        basis.append(new / length)
    space = np.stack(answers, axis=1)
    weights, *_ = np.linalg.lstsq(space, residual, rcond=1e-6)
    combined: F64 = np.stack(basis[: len(answers)], axis=1) @ weights
    return combined


def example_matrix(size: int, condition: float, seed: int) -> F64:
    """A symmetric positive matrix whose eigenvalues fall evenly on a logarithmic scale."""
    random = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(random.standard_normal((size, size)))
    matrix: F64 = (basis * np.logspace(0, -np.log10(condition), size)) @ basis.T
    return (matrix + matrix.T) / 2
