# SPDX-License-Identifier: Apache-2.0
"""Radiona ULX3S with an 85F: ECP5 of the slow grade, 25 MHz, FTDI FT231X."""

from ..crossbar.image import EmulatorConfig
from .common import Board, Light

__all__ = ["ULX3S_85F"]

ULX3S_85F = Board(
    name="ulx3s-85f",
    title="Radiona ULX3S, LFE5U-85F",
    family="ecp5",
    platform="amaranth_boards.ulx3s:ULX3S_85F_Platform",
    source_hz=25_000_000,
    clock_hz=60_000_000,
    # The most that the FT231X makes.
    baud=3_000_000,
    chip="ulx3s",
    config=EmulatorConfig(columns=8, shared=True),
    lights=(Light("led", 0), Light("led", 1), Light("led", 2)),
    loader="ulx3s",
    capacity={"lut": 83_640, "ff": 83_640, "bram": 208, "dsp": 156},
)
