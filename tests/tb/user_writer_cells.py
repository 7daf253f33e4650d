# SPDX-License-Identifier: Apache-2.0
"""The cells behind ``user_writer.v``, for its bench and for the tests of the model. No RTL here."""

import dataclasses

import numpy as np

from ohmtwin.behavioral import devices
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.behavioral.pulsed import Cells, PulseModel, blank_image

__all__ = ["ARRAYS", "COLS", "ROWS", "cells", "image"]

ROWS, COLS, ARRAYS = 8, 16, 2


def image() -> ArrayImage:
    return dataclasses.replace(blank_image(ROWS, COLS, adc_bits=6, lanes=4), v0=9000)


def cells() -> Cells:
    """Erased cells, a few of them stuck, whose steps shrink and spread."""
    response = {"pulses": 40, "nonlinearity": 1.5, "spread": 0.3}
    write = {"voltage": 3.0, "time": 1e-8, "energy": 1e-11, "response": response}
    model = PulseModel.derive(devices.rram(bits=4, write=write), 2)
    fixed = np.random.default_rng(4).random((ROWS, COLS)) < 0.05
    return Cells(
        model,
        np.full((ROWS, COLS), model.low, np.int32),
        np.full((ROWS, COLS), 65536, np.int32),
        fixed,
        np.zeros((ROWS, COLS), np.uint32),
    )
