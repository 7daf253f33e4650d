# SPDX-License-Identifier: Apache-2.0
"""A macro model of several arrays: where it takes their number from, and what it refuses.

Without a simulator; ``test_core_bench.py`` runs it behind a core.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from cases import CHIPS, core_images

from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.tb.crossbar import CrossbarModel, pack_beats, row_mask
from ohmtwin.tb.streams import StreamError, StreamPort

CHIP = CHIPS["turning"]


class Known(int):
    """A value without an X."""

    is_resolvable = True


@dataclass
class Wire:
    """What the model uses of a handle."""

    bits: int
    held: int = 0

    @property
    def value(self) -> Known:
        return Known(self.held)

    def __len__(self) -> int:
        return self.bits


def engines(seed: int = 1) -> list[Crossbar]:
    return [Crossbar(image, seed, i) for i, image in enumerate(core_images(CHIP, 0.5))]


def model(
    arrays: Any, rows: int, array: int | None = None
) -> tuple[CrossbarModel, dict[str, Wire]]:
    """Over ports of so many bits; ``array`` if that is a field of its own."""
    wires = {"rows": Wire(rows), "beats": Wire(10, CHIP.beats)}
    if array is not None:
        wires["array"] = Wire(array)
    clock: Any = None

    def port(name: str, payload: dict[str, Wire]) -> StreamPort:
        own: Any = payload
        one: Any = Wire(1)
        return StreamPort(name, clock, one, one, own)

    codes = port("codes", {"data": Wire(CHIP.lanes * CHIP.adc_bits)})
    return CrossbarModel(None, arrays, clock, cmd=port("cmd", wires), codes=codes), wires


@pytest.mark.parametrize("field", [False, True])
def test_each_array_answers_for_itself(field: bool) -> None:
    served, wires = model(engines(), CHIP.rows + (0 if field else 2), 2 if field else None)
    seen: list[int] = []
    served._on_read = lambda rows, beats: seen.append(served.array)
    wanted = engines()
    order = [2, 0, 2, 1, 1, 0]
    for number, array in enumerate(order):
        rows = 0x0F0F1234 ^ number
        wires["rows"].held = rows if field else rows | array << CHIP.rows
        if field:
            wires["array"].held = array
        codes = wanted[array].read(row_mask(rows, CHIP.rows), CHIP.cols)
        assert served._read() == pack_beats(codes, CHIP.lanes, CHIP.adc_bits)
        assert served.engine is served.engines[array]
    assert seen == order
    assert [e.reads for e in served.engines] == [e.reads for e in wanted] == [2, 2, 2]


def test_a_read_of_no_array_is_refused() -> None:
    served, wires = model(engines(), CHIP.rows + 2)
    wires["rows"].held = 3 << CHIP.rows
    with pytest.raises(StreamError, match="cmd: a read of array 3, but there are 3"):
        served._read()


def test_ports_and_arrays_must_fit() -> None:
    with pytest.raises(ValueError, match=r"rows have 32 bits, the array needs 34: 3 arrays of 32"):
        model(engines(), CHIP.rows)
    with pytest.raises(ValueError, match=r"array have 1 bits, the array needs 2: 3 arrays of 32"):
        model(engines(), CHIP.rows, 1)
    with pytest.raises(ValueError, match="A macro needs an array"):
        model([], CHIP.rows)
    other = CHIP.with_(rows=64)
    odd = [*engines(), Crossbar(core_images(other, 0.0)[0], 1, 3)]
    with pytest.raises(ValueError, match="Arrays that take turns must have the same rows"):
        model(odd, CHIP.rows + 2)
    alone, wires = model(engines()[0], CHIP.rows)
    wires["rows"].held = 1
    assert len(alone._read()) == CHIP.beats
    assert alone.engines == (alone.engine,)
    assert np.count_nonzero([e.reads for e in alone.engines]) == 1
