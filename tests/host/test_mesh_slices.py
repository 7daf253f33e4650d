# SPDX-License-Identifier: Apache-2.0
"""Slices that are read by themselves, each with a budget of its own, on the tiles of a mesh."""

from pathlib import Path

import numpy as np
import pytest

import ohmtwin as ot
from ohmtwin.arch.chip import Chip

DIGITS = Path(__file__).parents[2] / "examples" / "models" / "digits_qdq.onnx"
CHIP = Chip(
    **{"name": "slices", "cores": 2, "rows": 64, "cols": 64, "lanes": 4, "mesh": (2, 2)},
    slice_reads=True,
    row_budgets=[[21, 16, 8, 8]] * 5 + [[21, 16, 8, 2]] + [[16, 8, 2, 1]] * 2,
)


@pytest.mark.chips
def test_slices_on_four_tiles() -> None:
    """Noisy: the RTL in every tensor and counter as the fast level, on every tile."""
    net = ot.compile(str(DIGITS), chip=CHIP, device=ot.devices.rram(spread=0.1), seed=3)
    assert net.partition is not None
    assert sum(map(len, net.partition.copies)) == 4, "tiles in use"
    codes = net.network.quantize_input(
        np.random.default_rng(1).uniform(0, 16, (3, 64)).astype(np.float32)
    )
    with ot.connect("fast", net) as fast, ot.connect("verilator", net) as mesh:
        want, found = fast.run(codes), mesh.run(codes)
        assert want.keys() == found.keys()
        for name, array in want.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert mesh.counters == fast.counters
        reads = mesh.counters.core_reads
    assert np.count_nonzero(reads) >= 7, "of 8 cores"
    whole = ot.compile(
        str(DIGITS), chip=CHIP.with_(slice_reads=False, row_budgets=()), device="ideal"
    )
    with ot.connect("fast", whole) as fast:
        fast.run(codes)
        assert sum(reads) > 5 * sum(fast.counters.core_reads)
