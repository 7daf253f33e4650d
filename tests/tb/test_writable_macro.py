# SPDX-License-Identifier: Apache-2.0
"""A macro model with a write port: what a write does, and what it refuses.

Without a simulator; ``test_user_writer.py`` runs it behind somebody's controller.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_turning_macro import Wire
from user_writer_cells import ARRAYS, COLS, ROWS, cells, image

from ohmtwin.behavioral.pulsed import PulsedCrossbar
from ohmtwin.tb.crossbar import pack_beats
from ohmtwin.tb.streams import StreamError, StreamPort
from ohmtwin.tb.writable import WritableCrossbarModel

LANES, BITS = 4, 6


def engines() -> list[PulsedCrossbar]:
    return [PulsedCrossbar(image(), cells(), 3, number) for number in range(ARRAYS)]


def model(
    lanes: int = LANES, refuses: Callable[[int], bool] | None = None
) -> tuple[WritableCrossbarModel, dict[str, Wire], dict[str, Wire]]:
    """Over ports whose wires come back: those of reads, and of writes."""
    read = {"rows": Wire(ROWS + 1), "beats": Wire(10, 4), "fine": Wire(4, 4)}
    write = {"rows": Wire(ROWS + 1), "beat": Wire(10), "up": Wire(lanes), "down": Wire(lanes)}
    write |= {"pulses": Wire(6), "fire": Wire(1)}
    clock: Any = None

    def port(name: str, payload: dict[str, Wire]) -> StreamPort:
        own: Any = payload
        one: Any = Wire(1)
        return StreamPort(name, clock, one, one, own)

    served = WritableCrossbarModel(
        None,
        engines(),
        clock,
        cmd=port("cmd", read),
        codes=port("codes", {"data": Wire(LANES * BITS)}),
        write=port("write", write),
        response=port("response", {"refused": Wire(1)}),
        refuses=refuses,
    )
    return served, read, write


def put(wires: dict[str, Wire], **fields: int) -> None:
    for name, value in fields.items():
        wires[name].held = value


def test_pulses_reach_the_cells_that_are_driven() -> None:
    """Columns of several beats are set, then pulsed together, and let go."""
    served, read, write = model()
    wanted = engines()
    rows = np.arange(ROWS)
    put(write, rows=0b00010010 | 1 << ROWS, beat=0, up=0b0101, down=0b1000, pulses=9, fire=0)
    assert served._take_write() == 0
    put(write, beat=3, up=0b0010, down=0, fire=1)
    assert served._take_write() == 0
    signs = np.zeros(COLS, np.int8)
    signs[[0, 2, 13]], signs[3] = 1, -1
    wanted[1].pulse((rows == 1) | (rows == 4), signs, 9)
    # Nothing is driven now.
    put(write, beat=1, up=0, down=0, pulses=5)
    assert served._take_write() == 0
    wanted[1].pulse(rows == 1, np.zeros(COLS, np.int8), 5)
    put(read, rows=0b00010000 | 1 << ROWS)
    codes = wanted[1].read_fine(rows == 4, 4, COLS)
    assert served._read() == pack_beats(codes, LANES, BITS)
    assert codes.max() > 0
    for mine, theirs in zip(served.engines, wanted, strict=True):
        own: Any = mine
        np.testing.assert_array_equal(own.cells.state, theirs.cells.state)
    assert (served.writes, served.fired) == (3, 2)


def test_refused_pulses_are_not_given() -> None:
    served, _, write = model(refuses=lambda number: number == 1)
    before = engines()[0].cells.state
    put(write, rows=1, beat=0, up=1, pulses=3, fire=1)
    assert [served._take_write() for _ in range(3)] == [0, 1, 0]
    own: Any = served.engines[0]
    assert own.cells.numbers[0, 0] == 6
    assert (own.cells.state != before).sum() <= 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"up": 3, "down": 2}, "write: columns of beat 0 are driven up and down at once"),
        ({"beat": 4}, "write: a write is for beat 0 to 3, not 4"),
        ({"rows": 2 << ROWS}, "write: a write of array 2, but there are 2"),
    ],
)
def test_writes_that_cannot_be(fields: dict[str, int], message: str) -> None:
    served, _, write = model()
    put(write, rows=1, pulses=1, fire=1)
    put(write, **fields)
    with pytest.raises(StreamError, match=message):
        served._take_write()


def test_ports_must_fit() -> None:
    with pytest.raises(ValueError, match="A write's up have 8 bits, the array needs 4"):
        model(lanes=8)
