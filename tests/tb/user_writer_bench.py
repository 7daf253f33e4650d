# SPDX-License-Identifier: Apache-2.0
"""The bench of ``user_writer.v``: somebody else's controller against cells that pulses move."""

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from user_writer_cells import ARRAYS, COLS, ROWS, cells, image

from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.cpulsed import CPulsed
from ohmtwin.behavioral.pulsed import PulsedCrossbar
from ohmtwin.tb.bench import parameters, rng
from ohmtwin.tb.clock import start, within
from ohmtwin.tb.dpi import DpiArrays
from ohmtwin.tb.stalls import pattern
from ohmtwin.tb.writable import WritableCrossbarModel

FINE, LIMIT = 4, 40
REFUSED = 30
"""Every so many-th write is refused where the engine can be told to."""


# Before the first evaluation, in which the macro looks for its arrays.
DPI = DpiArrays([image()] * ARRAYS, 3) if parameters()["engine"] == "dpi" else None


def engines() -> list[Any]:
    """What the macro has behind it."""
    if DPI is not None:
        return [CPulsed(array, image(), cells()) for array in DPI.arrays]
    if parameters()["engine"] == "c":
        return [CPulsed(CCrossbar(image(), 3, a), image(), cells()) for a in range(ARRAYS)]
    return [PulsedCrossbar(image(), cells(), 3, a) for a in range(ARRAYS)]


class Reference:
    """What the controller is to do, on arrays of its own."""

    def __init__(self, refusing: bool) -> None:
        self.arrays = [PulsedCrossbar(image(), cells(), 3, a) for a in range(ARRAYS)]
        self.refusing = refusing
        self.writes = 0

    def write(self, array: int, row: int, column: int, target: int) -> tuple[bool, int]:
        """Whether the cell reads right in the end, and the pulses that it got."""
        engine = self.arrays[array]
        mask = np.arange(ROWS) == row
        given = 0
        while True:
            code = int(engine.read_fine(mask, FINE, COLS)[column])
            if code == target or given == LIMIT:
                return code == target, given
            signs = np.zeros(COLS, np.int8)
            signs[column] = 1 if code < target else -1
            self.writes += 1
            if self.refusing and self.writes % REFUSED == 0:
                return False, given
            engine.pulse(mask, signs, 1)
            given += 1


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def cells_reach_their_targets(dut: Any) -> None:
    for name in ("start", "array", "row", "column", "target"):
        getattr(dut, name).value = 0
    arrays = engines()
    stalls = parameters()["stalls"]
    macro = None
    if DPI is None:
        macro = WritableCrossbarModel(
            dut.macro,
            arrays,
            dut.clk,
            cmd_stall=pattern(stalls, rng("commands")),
            code_stall=pattern(stalls, rng("codes")),
            write_stall=pattern(stalls, rng("writes")),
            response_stall=pattern(stalls, rng("answers")),
            refuses=lambda number: number % REFUSED == REFUSED - 1,
        )
        macro.start()
    reference = Reference(macro is not None)
    await start(dut.clk, dut.rst)

    random = np.random.default_rng(parameters()["seed"])
    reached = []
    for number in range(14):
        array, row, column = (int(random.integers(n)) for n in (ARRAYS, ROWS, COLS))
        target = int(random.integers(0, 40)) if number != 9 else 60
        wanted = reference.write(array, row, column, target)
        for name, value in (("array", array), ("row", row), ("column", column), ("target", target)):
            getattr(dut, name).value = value
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        await RisingEdge(dut.clk)
        await within(dut.clk, 5000, done(dut), "done")
        found = bool(int(dut.right.value)), int(dut.given.value)
        assert found == wanted, f"cell {number}: right and pulses are {found}, not {wanted}"
        reached.append(wanted[0])
    assert any(reached)
    assert not all(reached), "a cell is to be given up"
    for mine, theirs in zip(arrays, reference.arrays, strict=True):
        np.testing.assert_array_equal(mine.cells.state, theirs.cells.state)
        np.testing.assert_array_equal(mine.cells.numbers, theirs.cells.numbers)
    if macro is not None:
        assert macro.writes == macro.fired == reference.writes
    if DPI is not None:
        DPI.check()


async def done(dut: Any) -> None:
    while not int(dut.done.value):
        await RisingEdge(dut.clk)
