# SPDX-License-Identifier: Apache-2.0
"""Arrays that take turns behind a core's converters: sums over many turns, KEEP, addresses."""

import numpy as np
import pytest
from test_tile import _compare, _named
from tile_host import Host, run_tile, small_chip

from ohmtwin.arch.registers import Control, Status
from ohmtwin.rtl.macro import IdealMacro, command_layout
from ohmtwin.rtl.rotation import sum_bits

CHIP = small_chip(arrays_per_core=2, cores=2)

TURNS = """
    SET reg=SCHEDULE value=1
    SET reg=ROWS_PER_READ value=8
    SYNC in_words=2 out_words=4
    LOAD source=HOST bytes=16 cores=3
    MVM rows=16 beats=4 array=1 cores=1
    MVM rows=16 beats=4 cores=2
    SET reg=KEEP value=1
    LOOP body=3 count=19
      LOAD addr=A0 bytes=16 cores=3
      MVM rows=16 beats=4 array=1 cores=2
      MVM rows=16 beats=4 cores=1
    SET reg=A1 value=64
    REQ dest=A1 param=A2 tap=1 outputs=8 cores=3
    HALT
"""


def test_sums_over_many_turns() -> None:
    """More activations than one array's sum can hold, and the arrays of two cores in turn."""
    model = _compare(CHIP.with_(fifo_words=32), _named(TURNS), [(1 << 64) - 1] * 2, seed=4)
    assert len(model.outputs) == 4
    assert max(model.sums) >> 16 or max(model.sums) > 16 * 255


def test_sums_go_past_sixteen_bits() -> None:
    data = TURNS.replace("LOAD addr=A0 bytes=16", "LOAD source=HOST bytes=16").replace(
        "in_words=2 ", "in_words=40 "
    )
    model = _compare(CHIP.with_(fifo_words=64), _named(data), [(1 << 64) - 1] * 40, seed=5)
    assert max(model.sums) == 20 * 16 * 255 > 1 << 16


SWITCHES = """
    SET reg=SCHEDULE value=1
    SET reg=ROWS_PER_READ value=8
    SYNC in_words=1 out_words=20
    LOAD source=HOST bytes=8 cores=1
    MVM rows=8 beats=4 cores=1
    SET reg=KEEP value=1
    SET reg=KEEP value=1
    MVM rows=8 beats=4 array=1 cores=1
    REQ dest=A0 param=A1 tap=1 outputs=8 cores=1
    ADD reg=KEEP value=0
    MVM rows=8 beats=4 cores=1
    REQ dest=A0 param=A1 tap=1 outputs=8 cores=1
    SET reg=A2 value=0
    MVM rows=8 beats=4 cores=1
    REQ dest=A0 param=A1 tap=1 outputs=8 cores=1
    SET reg=KEEP value=0
    SET reg=A2 value=1
    MVM rows=8 beats=4 array=1 cores=1
    REQ dest=A0 param=A1 tap=1 outputs=8 cores=1
    ADD reg=KEEP value=1
    MVM rows=8 beats=4 cores=1
    REQ dest=A0 param=A1 tap=1 outputs=8 cores=1
    HALT
"""


def test_keep_is_set_and_added_to() -> None:
    """SET twice to the same, ADD of nothing and of one, SETs of other registers."""
    model = _compare(CHIP.with_(fifo_words=32), _named(SWITCHES), [0x0123456789ABCDEF], seed=6)
    assert len(model.outputs) == 20


ENDS = """
    SYNC in_words=1 out_words=4
    LOAD source=HOST bytes=8 cores=3
    MVM rows=8 beats=4 cores=3
    REQ dest=A0 param=A1 tap=1 outputs=8 cores=3
    SET reg=KEEP value=1
    HALT
"""


def test_a_program_begins_without_keep() -> None:
    rng = np.random.default_rng(2)
    shape = (CHIP.rows * 2, CHIP.cols)
    levels = [rng.integers(0, 4, shape).astype(np.uint8) for _ in range(CHIP.cores)]

    async def body(host: Host) -> None:
        from ohmtwin.arch.messages import Kind

        host.program(_named(ENDS), [1 << 55] * CHIP.param_words)
        for _ in range(2):
            host.control(Control.RUN)
            host.send(Kind.INPUT, [0x0123456789ABCDEF])
            status = await host.settle()
            assert not status & (Status.FAULT | Status.RUNNING)
        assert len(host.outputs) == 8
        assert host.outputs[:4] == host.outputs[4:]

    run_tile(CHIP, levels, body)


def test_widths() -> None:
    alone = small_chip()
    assert "array" not in dict(command_layout(alone))
    assert sum_bits(alone) == 16
    assert dict(command_layout(small_chip(arrays_per_core=5)))["array"].width == 3
    assert sum_bits(CHIP) == 25
    with pytest.raises(ValueError, match="Levels must be 32 rows of 32, not 16"):
        IdealMacro(chip=CHIP, levels=[[0] * CHIP.cols] * CHIP.rows)
