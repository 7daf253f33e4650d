# SPDX-License-Identifier: Apache-2.0
"""The readable reference of a crossbar read, in NumPy.

Read next to :class:`~.image.ArrayImage`, which states the arithmetic. The C engine and the FPGA
emulator are held equal to this file.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .gaussian import gaussian
from .image import ArrayImage
from .threefry import column_words

__all__ = [
    "READ_LIMIT",
    "Analog",
    "Crossbar",
    "check_columns",
    "check_digits",
    "check_key",
    "check_masks",
]

READ_LIMIT = 1 << 64
"""The read number is a uint64 that wraps; noise repeats after ``2**56`` reads."""


@dataclass(frozen=True, eq=False)
class Analog:
    """What happens on the wires during reads, before the ADC; int64 arrays [n, columns].

    ``x = current + noise - reference``, all 4096 to a level step.
    """

    current: NDArray[np.int64]
    noise: NDArray[np.int64]
    reference: NDArray[np.int64]
    x: NDArray[np.int64]


class Crossbar:
    """One array with its own noise.

    Parameters
    ----------
    image : ArrayImage
        What was programmed.
    seed, array : int
        Key of the noise, uint32 each. Arrays of one chip share the seed and differ in ``array``.

    Raises
    ------
    ValueError
        If a part of the key is no uint32.
    """

    def __init__(self, image: ArrayImage, seed: int, array: int) -> None:
        check_key(seed, array)
        self.image = image
        self.seed = seed
        self.array = array
        self._reads = 0
        self._driven = 0

    @property
    def reads(self) -> int:
        """Number of the next read. Settable: a read of a given number always gives the same."""
        return self._reads

    @reads.setter
    def reads(self, number: int) -> None:
        if not 0 <= number < READ_LIMIT:
            raise ValueError(f"A read number must be 0 to 2**64 - 1, not {number}")
        self._reads = number

    @property
    def driven(self) -> int:
        """Rows driven by all reads since the array was made: a count, no part of its state."""
        return self._driven

    def read(self, row_mask: NDArray[np.bool_], columns: int | None = None) -> NDArray[np.uint16]:
        """Drive some rows and convert the first ``columns`` columns (all by default).

        Parameters
        ----------
        row_mask : bool array [rows]
        columns : int, optional

        Returns
        -------
        uint16 array [columns]
            ADC codes.

        Raises
        ------
        ValueError
            If the mask has another shape or ``columns`` does not fit.
        """
        codes: NDArray[np.uint16] = self.read_many(np.asarray(row_mask)[None, :], columns)[0]
        return codes

    def read_many(self, masks: NDArray[np.bool_], columns: int | None = None) -> NDArray[np.uint16]:
        """Make reads one after another: bool [n, rows] in, uint16 codes [n, columns] out."""
        codes = self._convert(self.analog(masks, columns))
        self._driven += int(np.count_nonzero(masks))
        return codes

    def read_digits(
        self, digits: NDArray[np.uint8], columns: int | None = None
    ) -> NDArray[np.uint16]:
        """Make reads that drive every row at one of several voltages.

        Parameters
        ----------
        digits : uint8 array [n, rows]
            Index into the image's drive table of every row; digit 0 is commonly 0 V.
        columns : int, optional

        Returns
        -------
        uint16 array [n, columns]

        Raises
        ------
        ValueError
            If the image has no drive table, or the digits do not fit it.
        """
        codes = self._convert(self.analog_digits(digits, columns))
        drive, checked = check_digits(digits, self.image)
        self._driven += int(np.count_nonzero(drive[checked]))
        return codes

    def _convert(self, analog: Analog) -> NDArray[np.uint16]:
        self._reads = (self._reads + len(analog.x)) % READ_LIMIT
        return self.image.codes(analog.x)

    def analog(self, masks: NDArray[np.bool_], columns: int | None = None) -> Analog:
        """Show what the next reads would see, without making them.

        Parameters
        ----------
        masks : bool array [n, rows]
        columns : int, optional
            As in :meth:`read`.
        """
        image = self.image
        masks = check_masks(masks, image.rows)
        k = check_columns(columns, image.cols)
        driven = masks.astype(np.float64)
        cells = None if image.q is None else _sums(driven, image.q[:, :k])
        return self._sense(_sums(driven, image.g[:, :k]), _sums(driven, image.ref), cells)

    def analog_digits(self, digits: NDArray[np.uint8], columns: int | None = None) -> Analog:
        """Show what the next reads of digits would see, as :meth:`analog`."""
        image = self.image
        drive, digits = check_digits(digits, image)
        k = check_columns(columns, image.cols)
        volts = drive.astype(np.int64)
        weights = volts[digits].astype(np.float64)
        squares = ((volts * volts + 2048) >> 12)[digits].astype(np.float64)
        cells = None
        if image.q is not None:
            cells = (_sums(squares, image.q[:, :k]) + 2048) >> 12
        return self._sense(
            (_sums(weights, image.g[:, :k]) + 2048) >> 12,
            (_sums(weights, image.ref) + 2048) >> 12,
            cells,
        )

    def _sense(
        self,
        current: NDArray[np.int64],
        reference: NDArray[np.int64],
        cells: NDArray[np.int64] | None,
    ) -> Analog:
        image = self.image
        reference = np.broadcast_to(reference[:, None], current.shape)
        noise = np.zeros_like(current)
        if image.noisy:
            variance = image.v0 + ((image.v1 * np.maximum(current, 0)) >> 16)
            if cells is not None:
                variance = variance + np.maximum(cells, 0)
            # IEEE square roots round correctly, so this is the integer one below 2**52.
            sigma = np.sqrt(variance.astype(np.float64)).astype(np.int64)
            numbers = ((self._reads + i) % READ_LIMIT for i in range(len(current)))
            z = gaussian(column_words(self.seed, self.array, numbers, current.shape[1]))
            noise = (sigma * z.astype(np.int64) + 2048) >> 12
        return Analog(current, noise, reference, current + noise - reference)


def _sums(driven: NDArray[np.float64], values: NDArray[np.int32]) -> NDArray[np.int64]:
    """Exact integer products; BLAS makes float64 fast where every sum is below 2**53."""
    if len(values) * np.abs(driven).max(initial=0) * np.abs(values.astype(float)).max() < 2.0**53:
        return (driven @ values.astype(np.float64)).astype(np.int64)
    return driven.astype(np.int64) @ values.astype(np.int64)


def check_key(seed: int, array: int) -> None:
    """Refuse a noise key whose parts are no uint32."""
    for name, value in (("Seed", seed), ("Array number", array)):
        if not 0 <= value < 1 << 32:
            raise ValueError(f"{name} must be 0 to 2**32 - 1, not {value}")


def check_columns(columns: int | None, cols: int) -> int:
    """Return how many columns to convert: all of ``cols`` if None."""
    if columns is None:
        return cols
    if not 1 <= columns <= cols:
        raise ValueError(f"Columns to convert must be 1 to {cols}, not {columns}")
    return columns


def check_masks(masks: NDArray[np.bool_], rows: int) -> NDArray[np.bool_]:
    """Refuse row masks that are not bool [n, rows]."""
    masks = np.asarray(masks)
    if masks.dtype != np.bool_ or masks.ndim != 2 or masks.shape[1] != rows:
        raise ValueError(
            f"Row masks must be bool [n, {rows}], not {masks.dtype} {list(masks.shape)}"
        )
    return masks


def check_digits(
    digits: NDArray[np.uint8], image: ArrayImage
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Refuse digits that are not uint8 [n, rows] or have no drive; return drive and digits."""
    if image.drive is None:
        raise ValueError("The image has no drive table, so its rows take bits, not digits")
    digits = np.asarray(digits)
    if digits.dtype != np.uint8 or digits.ndim != 2 or digits.shape[1] != image.rows:
        raise ValueError(
            f"Digits must be uint8 [n, {image.rows}], not {digits.dtype} {list(digits.shape)}"
        )
    if digits.size and digits.max() >= image.drive.size:
        raise ValueError(f"Digits must be below {image.drive.size}, not {digits.max()}")
    return image.drive, digits
