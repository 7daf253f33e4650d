# SPDX-License-Identifier: Apache-2.0
"""Networks on chips of every weight encoding."""

import pytest
from compiled_runs import assert_golden
from encoded_networks import ENCODED, encoded_network

from ohmtwin.host.compiler.network import compile_network


@pytest.mark.parametrize("name", ENCODED)
def test_ideal_arrays_give_golden(name: str) -> None:
    chip = ENCODED[name]
    for seed in range(3):
        compiled = compile_network(encoded_network(chip, seed), chip=chip, device="ideal")
        assert_golden(compiled, n=3)
