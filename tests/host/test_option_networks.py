# SPDX-License-Identifier: Apache-2.0
"""Networks on chips with options of reads and converters, on the fast level."""

import numpy as np
import pytest
from compiled_runs import assert_golden, run_fast
from networks import random_codes, random_network

from ohmtwin.arch.chip import Chip
from ohmtwin.behavioral.golden import run_network
from ohmtwin.host.compiler.network import compile_network

SMALL = Chip(cores=16, rows=32, cols=64, lanes=8, data_words=256, param_words=256)

LOSSLESS = {
    "budgets": SMALL.with_(row_budgets=(21, 16, 8, 4, 16, 2, 1, 3)),
    "slices": SMALL.with_(slice_reads=True),
    "budgets by slice": SMALL.with_(
        slice_reads=True, row_budgets=[[21, 16, 8, 1 + plane] for plane in range(8)]
    ),
    "slices, one lane": SMALL.with_(slice_reads=True, lanes=1),
    "slices, baseline": SMALL.with_(slice_reads=True, row_schedule="baseline", lanes=2),
    "slices of pairs": SMALL.with_(
        slice_reads=True, weight_encoding="differential", lanes=4, cores=32
    ),
    "slices, signed": SMALL.with_(slice_reads=True, input_encoding="twos_complement"),
}
NETWORK = random_network(7, (70, 21, 10), table_after=0)


@pytest.mark.parametrize("name", LOSSLESS)
def test_ideal_arrays_give_golden(name: str) -> None:
    """What loses nothing changes nothing but reads and cycles."""
    assert_golden(compile_network(NETWORK, chip=LOSSLESS[name], device="ideal"), n=3)


def test_slices_take_as_many_conversions() -> None:
    """As many rows for every slice: the reads of a slice are a fraction as long."""
    codes = {NETWORK.fed[0].tensor: random_codes(4, 6, 70)}
    counts = {}
    for name, chip in (("whole", SMALL), ("slices", LOSSLESS["slices"])):
        _, counters = run_fast(compile_network(NETWORK, chip=chip, device="ideal"), codes)
        counts[name] = counters[0]
    assert counts["slices"].reads == 4 * counts["whole"].reads
    # Beats of whole words: the last layer's outputs do not fill them.
    assert counts["whole"].beats <= counts["slices"].beats <= 1.4 * counts["whole"].beats


@pytest.mark.parametrize(
    "changes", [{"adc_bits": 5, "adc_clip": True}, {"adc_step": 2}], ids=["clip", "coarse"]
)
def test_lossy_converters_lose(changes: dict[str, object]) -> None:
    """Ideal cells: what differs is the converters' doing, and counted where they clip."""
    chip = SMALL.with_(**changes)
    codes = {NETWORK.fed[0].tensor: random_codes(4, 6, 70)}
    found, counters = run_fast(compile_network(NETWORK, chip=chip, device="ideal"), codes)
    golden = run_network(NETWORK, codes)
    name = NETWORK.layers[0].name
    off = np.abs(found[name].astype(int) - golden[name].astype(int))
    assert off.max() > 0
    assert len(counters[0].core_saturated) == (chip.cores if chip.adc_clip else 0)
    assert not chip.adc_clip or sum(counters[0].core_saturated) > 0
