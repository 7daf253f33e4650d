# SPDX-License-Identifier: Apache-2.0
"""Compiled networks of all kinds of layers on the Verilated tile, noise on: equal to fast."""

import numpy as np
import pytest
from graph_cases import GRAPH_CHIP, random_inputs
from graph_random import random_graph
from test_compiler_layers import gains_net, lstm_net, residual_net

from ohmtwin.arch.errors import CapacityError
from ohmtwin.host.compiler.network import compile_network
from ohmtwin.host.graph import Network
from ohmtwin.host.targets import connect

pytestmark = pytest.mark.xdist_group("graph_chip")

CHIP = GRAPH_CHIP.with_(cores=8, program_words=1024, data_words=1024)


def assert_clocked(network: Network, steps: int | None = None) -> None:
    """Every tensor and every counter."""
    one = compile_network(network, chip=CHIP, device="rram", seed=3, steps=steps)
    codes = random_inputs(network, 2, steps=steps)
    with connect("fast", one) as fast, connect("verilator", one) as clocked:
        wanted, found = fast.run(codes), clocked.run(codes)
        for name, values in wanted.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)
        assert fast.counters == clocked.counters


@pytest.mark.chips
def test_a_residual_network() -> None:
    assert_clocked(residual_net())


def test_states_over_steps() -> None:
    assert_clocked(lstm_net(), steps=5)


def test_products_with_gains_and_offsets() -> None:
    assert_clocked(gains_net())


def test_random_networks() -> None:
    ran = 0
    for seed in range(100, 125):
        try:
            assert_clocked(random_graph(seed))
        except CapacityError:
            continue  # larger than this chip
        ran += 1
    assert ran > 10
