# SPDX-License-Identifier: Apache-2.0
"""Cells that pulses move, in the C of ``csrc/ohm_pulses.h``."""

import ctypes
import dataclasses

import numpy as np
from numpy.typing import NDArray

from .cengine import CCrossbar, Signatures, check_status, declare_functions
from .crossbar import check_columns
from .image import ArrayImage
from .pulsed import SEGMENTS, Cells, check_signs, largest_image

__all__ = ["CPulsed"]


class _PulseModel(ctypes.Structure):
    """``ohm_pulse_model``."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("low", "high", "shift", "spread")),
        ("up", ctypes.c_int32 * (SEGMENTS + 1)),
        ("down", ctypes.c_int32 * (SEGMENTS + 1)),
    )


_SIGNATURES: Signatures = {
    "ohm_array_read_fine": (
        ctypes.c_int,
        (*[ctypes.c_void_p] * 2, *[ctypes.c_int] * 2, ctypes.c_void_p),
    ),
    "ohm_array_set_cells": (ctypes.c_int, (*[ctypes.c_void_p] * 6,)),
    "ohm_array_get_cells": (ctypes.c_int, (*[ctypes.c_void_p] * 3,)),
    "ohm_array_pulse": (ctypes.c_int, (*[ctypes.c_void_p] * 3, ctypes.c_int)),
}


class CPulsed:
    """Loads cells into an array of the C engine; the same results as ``pulsed.PulsedCrossbar``.

    Reads of the array see them, through whatever reads it, until another image is loaded.

    Parameters
    ----------
    crossbar : CCrossbar
    image : ArrayImage
        Reference column, noise and ADCs; its conductances are those of the cells.
    cells : Cells

    Raises
    ------
    ConfigError
        If the cells do not fit the image.
    ValueError
        If the image does not fit the array.
    """

    def __init__(self, crossbar: CCrossbar, image: ArrayImage, cells: Cells) -> None:
        self.crossbar = crossbar
        self._lib = declare_functions(crossbar.library, _SIGNATURES)
        crossbar.program(largest_image(image, cells))
        model = cells.model
        given = _PulseModel(
            *(model.low, model.high, model.shift, model.spread),
            *((ctypes.c_int32 * (SEGMENTS + 1))(*t.tolist()) for t in (model.up, model.down)),
        )
        arrays = (cells.state, cells.scale, cells.fixed.view(np.uint8), cells.numbers)
        held = [np.ascontiguousarray(array) for array in arrays]
        check_status(
            self._lib.ohm_array_set_cells(
                crossbar.handle, ctypes.addressof(given), *(array.ctypes.data for array in held)
            )
        )
        self._cells = cells

    @property
    def image(self) -> ArrayImage:
        """Of the array."""
        return self.crossbar.image

    @property
    def cells(self) -> Cells:
        """The cells as they are now.

        Raises
        ------
        ValueError
            If another image was loaded since.
        """
        state = np.empty(self._cells.state.shape, np.int32)
        numbers = np.empty(self._cells.state.shape, np.uint32)
        check_status(
            self._lib.ohm_array_get_cells(
                self.crossbar.handle, state.ctypes.data, numbers.ctypes.data
            )
        )
        return dataclasses.replace(self._cells, state=state, numbers=numbers)

    def pulse(self, row_mask: NDArray[np.bool_], signs: NDArray[np.int8], pulses: int) -> None:
        """As :meth:`.pulsed.PulsedCrossbar.pulse`."""
        words = self.crossbar.row_words(np.asarray(row_mask)[None, :])
        signs = check_signs(signs, self.crossbar.image.cols)
        check_status(
            self._lib.ohm_array_pulse(
                self.crossbar.handle, words.ctypes.data, signs.ctypes.data, pulses
            )
        )

    def read_fine(
        self, row_mask: NDArray[np.bool_], fine: int, columns: int | None = None
    ) -> NDArray[np.uint16]:
        """As :meth:`.pulsed.PulsedCrossbar.read_fine`."""
        words = self.crossbar.row_words(np.asarray(row_mask)[None, :])
        k = check_columns(columns, self.crossbar.image.cols)
        codes = np.empty(k, dtype=np.uint16)
        check_status(
            self._lib.ohm_array_read_fine(
                self.crossbar.handle, words.ctypes.data, k, fine, codes.ctypes.data
            )
        )
        return codes
