# SPDX-License-Identifier: Apache-2.0
"""The int32 image of a programmed array: all that a read needs, and nothing physical.

DESIGN section 4. Everything analog that is slow ends here; from here on there are only integers,
so every level of the twin computes the same bits. The limits are proven once, at construction, for
every set of rows a read could drive, so that no engine ever overflows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import ConfigError
from .gaussian import MAX_MAGNITUDE

__all__ = ["MAX_COLS", "MAX_DIGITS", "MAX_ROWS", "MAX_STEP", "ArrayImage"]

MAX_ROWS = 256
MAX_COLS = 512

MAX_DIGITS = 16

MAX_STEP = 256
"""Level steps that a code may count."""

_ONE = 1 << 12
_G_LIMIT = 1 << 22
_DRIVE_LIMIT = 1 << 16
_REF_LIMIT = 1 << 30
_VAR_LIMIT = 1 << 52  # below it, a double square root rounds down to the integer one
_V1_LIMIT = 1 << 32
_THRESHOLD_LIMIT = 1 << 16
_INT32 = 1 << 31


@dataclass(frozen=True, eq=False)
class ArrayImage:
    """One array as every engine reads it.

    A read of the rows R gives, for column c, in integers and in this order::

        I    = sum over R of g[r, c];   ref = sum over R of ref[r]
        var  = v0 + ((v1 * max(I, 0)) >> 16) + max(0, sum over R of q[r, c])
        n    = (isqrt(var) * z + 2048) >> 12
        x    = I + n - ref
        near = (x + 2048 * adc_step) // (4096 * adc_step) + 1 - threshold[c]
        code = adc_table[c // adc_span % lanes][clip(near, 0, 2**adc_bits - 1)]

    A read of digits d[r], one a row in place of a bit, is one masked read a digit, weighted with
    its drive and rounded once; ``square[d] = (drive[d]**2 + 2048) >> 12``::

        I    = (sum over r of drive[d[r]] * g[r, c] + 2048) >> 12
        ref  = (sum over r of drive[d[r]] * ref[r] + 2048) >> 12
        var  = v0 + ((v1 * max(I, 0)) >> 16)
                  + max(0, (sum over r of square[d[r]] * q[r, c] + 2048) >> 12)

    Parameters
    ----------
    g : int32 array [rows, cols]
        Conductances, 4096 to a level step, ``|g| < 2**22``.
    ref : int32 array [rows]
        The reference column that takes off the leakage of the off state, ``|ref| < 2**30``.
    q : int32 array [rows, cols] or None
        Variance that each driven cell adds, in units squared.
    v0 : int
        Variance of a column that is always there (amplifier), in units squared.
    v1 : int
        Variance per unit of column current (shot, thermal), times ``2**16``; below ``2**32``.
    adc_bits : int
        1 to 16.
    lanes : int
        Columns that a beat converts; column c goes through ADC ``c // adc_span % lanes``.
    adc_table : uint16 array [lanes, 2**adc_bits] or None
        Code that each ADC gives for an ideal code (gain, offset, INL). None: ideal ADCs.
    adc_step : int
        Level steps that a code counts, a power of two up to 256. A sum just between two codes
        makes the higher one.
    adc_span : int
        Columns from one that a beat converts to the next: 1, or those of an output where a read
        converts one slice of each.
    thresholds : int32 array [cols] or None
        Sum of levels (in steps of the ADC) from which on a column's code is 1 or more: the
        programmable threshold of a sense amplifier. None: 1.
    drive : int32 array [digits] or None
        Effective voltage of each digit, 4096 to the read voltage, ``|drive| < 2**16``, at most 16.
        None: rows take bits only. Reads of bits do not use it.

    Raises
    ------
    ConfigError
        If a shape, type or value is out of range, or if the variance of some read (of bits, or of
        digits) could reach ``2**52``.
    """

    g: NDArray[np.int32]
    ref: NDArray[np.int32]
    q: NDArray[np.int32] | None = None
    v0: int = 0
    v1: int = 0
    adc_bits: int = 6
    lanes: int = 1
    adc_table: NDArray[np.uint16] | None = None
    drive: NDArray[np.int32] | None = None
    adc_step: int = 1
    adc_span: int = 1
    thresholds: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        if self.g.ndim != 2:
            raise ConfigError(f"An array image needs two dimensions, not {self.g.ndim}")
        rows, cols = self.g.shape
        for what, size, limit in (("rows", rows, MAX_ROWS), ("columns", cols, MAX_COLS)):
            if size % 8 or not 8 <= size <= limit:
                raise ConfigError(f"An array has 8 to {limit} {what} in multiples of 8, not {size}")
        _check("g", self.g, np.dtype(np.int32), (rows, cols))
        _check("ref", self.ref, np.dtype(np.int32), (rows,))
        _limit("g", self.g, _G_LIMIT)
        _limit("ref", self.ref, _REF_LIMIT)
        if self.q is not None:
            _check("q", self.q, np.dtype(np.int32), (rows, cols))
        if not 0 <= self.v0 < _VAR_LIMIT:
            raise ConfigError(f"Image variance v0 must be 0 to 2**52 - 1, not {self.v0}")
        if not 0 <= self.v1 < _V1_LIMIT:
            raise ConfigError(f"Image variance v1 must be 0 to 2**32 - 1, not {self.v1}")
        if not 1 <= self.adc_bits <= 16:
            raise ConfigError(f"An ADC has 1 to 16 bits, not {self.adc_bits}")
        if not 1 <= self.lanes <= cols:
            raise ConfigError(f"An array of {cols} columns has 1 to {cols} lanes, not {self.lanes}")
        self._check_sensing(cols)
        if self.adc_table is not None:
            shape = (self.lanes, 1 << self.adc_bits)
            _check("adc_table", self.adc_table, np.dtype(np.uint16), shape)
        if self.variance_bound >= _VAR_LIMIT:
            raise ConfigError(
                f"The noise variance of a read could reach {self.variance_bound:.3g} units squared,"
                " past the limit of 2**52; lower the noise or the number of rows"
            )
        if self.drive is not None:
            self._check_drive(self.drive)
        for array in (self.g, self.ref, self.q, self.adc_table, self.drive, self.thresholds):
            if array is not None:
                array.setflags(write=False)

    def _check_sensing(self, cols: int) -> None:
        if not 1 <= self.adc_step <= MAX_STEP or self.adc_step & (self.adc_step - 1):
            raise ConfigError(
                f"An ADC's step must be a power of two up to {MAX_STEP}, not {self.adc_step}"
            )
        full = self.lanes * self.adc_span
        if self.adc_span < 1 or (self.adc_span > 1 and cols % full):
            raise ConfigError(
                f"Beats of {self.lanes} columns, {self.adc_span} from one to the next, do not fill"
                f" an array of {cols} columns"
            )
        if self.thresholds is not None:
            _check("thresholds", self.thresholds, np.dtype(np.int32), (cols,))
            _limit("thresholds", self.thresholds, _THRESHOLD_LIMIT)

    @property
    def lane_of(self) -> NDArray[np.intp]:
        """The ADC that each column goes through: intp [cols]."""
        return np.arange(self.cols) // self.adc_span % self.lanes

    def codes(self, x: NDArray[np.int64]) -> NDArray[np.uint16]:
        """What the ADCs make of voltages: int64 [n, columns] in, uint16 out."""
        near = (x + 2048 * self.adc_step) // (_ONE * self.adc_step)
        columns = x.shape[-1]
        if self.thresholds is not None:
            near = near + 1 - self.thresholds[:columns]
        ideal = np.clip(near, 0, (1 << self.adc_bits) - 1)
        if self.adc_table is None:
            plain: NDArray[np.uint16] = ideal.astype(np.uint16)
            return plain
        codes: NDArray[np.uint16] = self.adc_table[self.lane_of[None, :columns], ideal]
        return codes

    def _check_drive(self, drive: NDArray[np.int32]) -> None:
        if not 2 <= drive.size <= MAX_DIGITS:
            raise ConfigError(f"A driver has 2 to {MAX_DIGITS} digits, not {drive.size}")
        _check("drive", drive, np.dtype(np.int32), (drive.size,))
        _limit("drive", drive, _DRIVE_LIMIT)
        # Twice the largest sum covers the rounding.
        factor = 2 * int(np.abs(drive.astype(np.int64)).max()) / _ONE
        carried = factor * int(np.abs(self.g.astype(np.int64)).sum(axis=0).max())
        cells = 0 if self.q is None else int(np.abs(self.q.astype(np.int64)).sum(axis=0).max())
        variance = self.v0 + self.v1 * carried / 65536 + factor**2 * cells
        if variance >= _VAR_LIMIT or self.v1 * carried >= 2.0**63:
            raise ConfigError(
                f"The noise variance of a read of digits could reach {variance:.3g} units squared,"
                " past the limit of 2**52; lower the noise, the drive or the number of rows"
            )

    @property
    def rows(self) -> int:
        """Rows of the array."""
        return int(self.g.shape[0])

    @property
    def cols(self) -> int:
        """Columns of the array."""
        return int(self.g.shape[1])

    @property
    def noisy(self) -> bool:
        """Whether reads draw noise."""
        return self.v0 != 0 or self.v1 != 0 or self.q is not None

    @property
    def variance_bound(self) -> int:
        """Largest variance that any read of any column could have."""
        shot = (self.v1 * _largest_sum(self.g)) >> 16
        return self.v0 + shot + (0 if self.q is None else _largest_sum(self.q))

    @property
    def narrow(self) -> bool:
        """Whether 32-bit arithmetic provably holds every value of every read."""
        if self.variance_bound >= _INT32:
            return False
        if self.q is not None and int(np.abs(self.q.astype(np.int64)).sum(axis=0).max()) >= _INT32:
            return False
        # sqrt(2**31) * z, rounded up.
        noise = (46341 * MAX_MAGNITUDE >> 12) + 1
        current = int(np.abs(self.g.astype(np.int64)).sum(axis=0).max())
        reference = int(np.abs(self.ref.astype(np.int64)).sum())
        return current + noise + reference + 2048 < _INT32


def _largest_sum(values: NDArray[np.int32]) -> int:
    """Largest sum that a choice of rows gives in any column, at least 0."""
    return int(np.maximum(values, 0).sum(axis=0, dtype=np.int64).max())


def _check(
    name: str, array: NDArray[np.generic], dtype: np.dtype[np.generic], shape: tuple[int, ...]
) -> None:
    if array.dtype != dtype:
        raise ConfigError(f"Image field {name} must be {dtype}, not {array.dtype}")
    if array.shape != shape:
        raise ConfigError(f"Image field {name} must have the shape {shape}, not {array.shape}")
    if not array.flags.c_contiguous:
        raise ConfigError(f"Image field {name} must be C-contiguous; copy it first")


def _limit(name: str, array: NDArray[np.int32], limit: int) -> None:
    worst = int(np.abs(array.astype(np.int64)).max())
    if worst >= limit:
        raise ConfigError(
            f"Image field {name} must stay below 2**{limit.bit_length() - 1} in magnitude,"
            f" not {worst}"
        )
