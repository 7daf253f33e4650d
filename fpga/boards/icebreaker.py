# SPDX-License-Identifier: Apache-2.0
"""1BitSquared iCEBreaker: iCE40 UP5K, 12 MHz, FTDI FT2232H. Too small for a tile: one array.

The vector accumulators of a tile alone are 8192 bits that are read at once; the UP5K has no RAM in
LUTs for them, and 5280 flip-flops.
"""

from ..crossbar.image import EmulatorConfig, Noise
from .common import Board, Light

__all__ = ["ICEBREAKER"]

ICEBREAKER = Board(
    name="icebreaker",
    title="1BitSquared iCEBreaker, iCE40 UP5K (one array, no tile)",
    family="ice40",
    platform="amaranth_boards.icebreaker:ICEBreakerPlatform",
    source_hz=12_000_000,
    clock_hz=12_000_000,
    baud=3_000_000,
    chip="icebreaker",
    config=EmulatorConfig(columns=1, noise=Noise.ITERATIVE, adc_table=False),
    lights=(Light("led", 0), Light("led", 1)),
    loader="ice40_generic",
    capacity={"lut": 5280, "ff": 5280, "bram": 30, "dsp": 8},
    array_only=True,
)
