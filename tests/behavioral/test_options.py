# SPDX-License-Identifier: Apache-2.0
"""Random programs on chips with options: model, NumPy and C agree to the bit and the cycle."""

import numpy as np
import pytest
from test_machine_cycles import make_arrays, make_c_arrays, make_inputs, make_program
from tile_model import TileModel

from ohmtwin.arch.ancode import ErrorModel
from ohmtwin.arch.chip import Chip
from ohmtwin.behavioral.machine import Machine

OPTIONS = {
    "budgets": Chip(
        cores=2, rows=40, cols=32, rows_per_read=8, data_words=64, row_budgets=(16,) * 8
    ),
    "code and budgets": Chip(
        cores=2,
        rows=24,
        cols=32,
        rows_per_read=8,
        row_budgets=(21, 16, 8, 5, 4, 3, 2, 1),
        code_a=37,
        code_b=5,
        code_errors=ErrorModel.POWER_OF_TWO,
        data_words=64,
    ),
    "clipped, coarse": Chip(
        cores=2,
        rows=32,
        cols=32,
        rows_per_read=16,
        adc_bits=4,
        adc_step=2,
        adc_clip=True,
        data_words=64,
    ),
    "three arrays a core": Chip(
        cores=2, arrays_per_core=3, rows=24, cols=32, rows_per_read=8, data_words=64
    ),
    "two arrays and budgets": Chip(
        cores=3,
        arrays_per_core=2,
        rows=40,
        cols=16,
        cell_bits=4,
        adc_bits=8,
        lanes=4,
        rows_per_read=8,
        row_budgets=(16,) * 8,
        data_words=64,
    ),
    "slices": Chip(
        cores=2,
        rows=40,
        cols=64,
        rows_per_read=8,
        data_words=64,
        slice_reads=True,
        row_budgets=(16,) * 32,
    ),
}
_PROGRAMS = 12


@pytest.mark.parametrize("name", OPTIONS)
def test_model_numpy_and_c(name: str) -> None:
    for seed in range(_PROGRAMS):
        program = make_program(seed, OPTIONS[name])
        words = make_inputs(program, 3, seed)
        model = TileModel(program, make_arrays(program), np.random.default_rng(seed))
        model.run([int(w) for w in words.reshape(-1)])
        for arrays in (make_arrays(program), make_c_arrays(program)):
            machine = Machine(program, arrays)
            out = machine.run(words).reshape(-1)
            np.testing.assert_array_equal(out, np.array(model.host_out, dtype=np.uint64))
            assert machine.counters == model.counters, f"seed {seed}"
            own = [a for core in model.cores.values() for a in core.arrays.values()]
            assert [a.reads for a in arrays] == [a.reads for a in own]
