# SPDX-License-Identifier: Apache-2.0
"""The bench of ``user_core.v``: what a verification engineer writes to use the macro."""

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.tb.bench import parameters, rng
from ohmtwin.tb.clock import start, within
from ohmtwin.tb.crossbar import CrossbarModel
from ohmtwin.tb.scoreboard import compare
from ohmtwin.tb.stalls import pattern

ROWS, COLS, PLANES = 8, 16, 4


def noisy_image() -> ArrayImage:
    """Levels 0 to 3 with an amplifier noise of half a step."""
    levels = np.random.default_rng(7).integers(0, 4, (ROWS, COLS))
    g = np.ascontiguousarray(levels * 4096, dtype=np.int32)
    return ArrayImage(g, np.zeros(ROWS, np.int32), v0=2048**2, adc_bits=5, lanes=4)


def expected(x: np.ndarray) -> np.ndarray:
    """Sums of every product: the reference array, read plane by plane in the same order."""
    array = Crossbar(noisy_image(), seed=1, array=0)
    return np.array(
        [
            sum(
                array.read((row >> p & 1).astype(bool)).astype(np.int64) << p for p in range(PLANES)
            )
            for row in x
        ]
    )


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def products(dut: Any) -> None:
    dut.start.value = 0
    dut.x.value = 0
    engines = {"numpy": Crossbar, "c": CCrossbar}
    engine = engines[parameters()["engine"]](noisy_image(), seed=1, array=0)
    macro = CrossbarModel(
        dut.macro,
        engine,
        dut.clk,
        cmd_stall=pattern(parameters()["stalls"], rng("commands")),
        code_stall=pattern(parameters()["stalls"], rng("codes")),
    )
    macro.start()
    await start(dut.clk, dut.rst)

    x = np.random.default_rng(parameters()["seed"]).integers(0, 1 << PLANES, (20, ROWS))
    found = []
    for row in x:
        dut.x.value = sum(int(value) << (4 * r) for r, value in enumerate(row))
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        await RisingEdge(dut.clk)
        await within(dut.clk, 5000, done(dut), "done")
        word = int(dut.sums.value)
        found.append([word >> (16 * c) & 0xFFFF for c in range(COLS)])
    compare("sums", expected(x), found, ("product", "column"))


async def done(dut: Any) -> None:
    while not int(dut.done.value):
        await RisingEdge(dut.clk)
