# SPDX-License-Identifier: Apache-2.0
"""Converters that count several levels, clip, compare with thresholds, or convert one slice: C
against NumPy, and both against rounding by hand."""

from dataclasses import replace

import numpy as np
import pytest
from test_crossbar import image, masks_of

from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.image import ArrayImage

KINDS = ("plain", "cells", "no noise", "wide sums", "table")


@pytest.mark.parametrize("step", [1, 2, 8, 256])
@pytest.mark.parametrize("kind", KINDS)
def test_c_equals_numpy(kind: str, step: int) -> None:
    random = np.random.default_rng([step, KINDS.index(kind)])
    for number, span in enumerate((1, 2, 4)):
        plain = image(random, (40, 64), kind)
        lanes = 8 if span > 1 else plain.lanes
        table = plain.adc_table
        if table is not None:
            table = np.resize(table, (lanes, table.shape[1]))
        one = replace(plain, adc_step=step, adc_span=span, lanes=lanes, adc_table=table)
        thresholds = random.integers(-3, 60, 64, dtype=np.int32)
        for made in (
            one,
            replace(one, thresholds=thresholds),
            replace(one, adc_bits=1, adc_table=None),
        ):
            numpy, c = Crossbar(made, 9, number), CCrossbar(made, 9, number)
            masks = masks_of(random, 60, 40)
            np.testing.assert_array_equal(numpy.read_many(masks), c.read_many(masks))


@pytest.mark.parametrize("make", [Crossbar, CCrossbar])
def test_codes_by_hand(make: type[Crossbar | CCrossbar]) -> None:
    """Sums of 0 to 15 quarter levels."""
    g = np.zeros((8, 8), np.int32)
    g[:4] = 1024 * np.array([1, 2, 4, 8])[:, None]
    masks = np.array([[n >> bit & 1 for bit in range(8)] for n in range(16)], np.bool_)
    quarters = np.arange(16)

    def codes(**changes: object) -> list[int]:
        given: dict[str, object] = {"adc_bits": 2, "lanes": 8, **changes}
        made = ArrayImage(g, np.zeros(8, np.int32), **given)
        return [int(code) for code in make(made, 0, 0).read_many(masks)[:, 3]]

    # Half a step makes the higher code; the top code takes all above it.
    assert codes() == [min(3, (n + 2) // 4) for n in quarters]
    assert codes(adc_bits=1) == [min(1, (n + 2) // 4) for n in quarters]
    assert codes(adc_step=2) == [(n + 4) // 8 for n in quarters]
    # A sense amplifier: 1 from the threshold on.
    for threshold in (0, 1, 3, 9):
        found = codes(adc_bits=1, thresholds=np.full(8, threshold, np.int32))
        assert found == [int((n + 2) // 4 >= threshold) for n in quarters]
