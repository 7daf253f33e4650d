# SPDX-License-Identifier: Apache-2.0
"""LambdaConcept ECPIX-5 with an 85F: ECP5-5G of the fast grade, 100 MHz, FTDI FT2232H."""

from ..crossbar.image import EmulatorConfig
from .common import Board, Light

__all__ = ["ECPIX5_85F"]

ECPIX5_85F = Board(
    name="ecpix5-85f",
    title="LambdaConcept ECPIX-5, LFE5UM5G-85F",
    family="ecp5",
    platform="amaranth_boards.ecpix5:ECPIX585Platform",
    source_hz=100_000_000,
    clock_hz=75_000_000,
    baud=3_000_000,
    chip="ulx3s",
    config=EmulatorConfig(columns=8, shared=True),
    lights=(Light("rgb_led", 0, "g"), Light("rgb_led", 1, "g"), Light("rgb_led", 2, "b")),
    loader="ecpix5",
    capacity={"lut": 83_640, "ff": 83_640, "bram": 208, "dsp": 156},
)
