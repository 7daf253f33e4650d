# SPDX-License-Identifier: Apache-2.0
"""Networks on several tiles."""

import numpy as np
import pytest
from compiled_runs import assert_golden, run_fast
from graph_cases import GRAPH_CHIP, Maker, random_inputs

from ohmtwin.arch.errors import CapacityError, ConfigError
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.graph import Network, State

CHIP = GRAPH_CHIP.with_(data_words=1024, cores=32)


def wide_net() -> Network:
    """Layers wider than a tile, and some that share one."""
    m = Maker(1)
    h = m.dense(m.input(40), 40, 400)
    h = m.dense(m.dense(h, 400, 30), 30, 300)
    return m.network(m.dense(h, 300, 5))


def image_net() -> Network:
    m = Maker(2)
    a = m.conv(m.input(8, 6, 6), (64, 8, 3, 3), pads=(1, 1, 1, 1))
    d = m.conv(a, (64, 1, 3, 3), groups=64, pads=(1, 1, 1, 1))
    pooled = m.max_pool(m.combine(a, d), (2, 2), strides=(2, 2))
    h = m.dense(m.reshape(pooled, 576), 576, 12)
    return m.network(m.dense(m.softmax(m.dense(h, 12, 10)), 10, 3))


def compiled(network: Network, **options: object) -> CompiledNetwork:
    given = {"chip": CHIP, "device": "ideal", "tiles": 64, **options}
    return compile_network(network, **given)


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("make", [wide_net, image_net])
def test_parts_compute_what_the_whole_does(make: object, trace: bool) -> None:
    one = compiled(make(), trace=trace)
    assert len(one.parts) > 1
    assert_golden(one)


def test_a_grouped_convolution_is_cut_between_groups() -> None:
    m = Maker(3)
    x = m.input(64, 5, 5)
    net = m.network(m.conv(x, (128, 1, 3, 3), groups=64, pads=(1, 1, 1, 1)))
    one = compiled(net, chip=CHIP.with_(cores=8))
    assert len(one.parts) > 1
    assert_golden(one)


def test_memory_cuts_where_arrays_would_not() -> None:
    m = Maker(4)
    x = m.input(8, 7, 7)
    for _ in range(5):
        x = m.conv(x, (8, 8, 3, 3), pads=(1, 1, 1, 1))
    for change in ({"program_words": 64}, {"param_words": 16}):
        one = compiled(m.network(x), chip=CHIP.with_(**change))
        assert 1 < len(one.parts) <= 5
        assert_golden(one)
    # A layer that does not fit alone is refused with what it lacks.
    with pytest.raises(CapacityError, match="raise data_words"):
        compiled(m.network(x), chip=CHIP.with_(data_words=64))


def test_each_array_has_a_number_and_noise_of_its_own() -> None:
    one = compiled(wide_net(), device="rram", seed=3)
    numbers = [part.array_base + spec.core for part in one.parts for spec in part.program.arrays]
    assert len(set(numbers)) == len(numbers) == one.mapping.arrays
    assert {b.core for m in one.mapping.layers for b in m} == set(numbers)
    codes = random_inputs(wide_net(), 3)
    first, again = run_fast(one, codes)[0], run_fast(one, codes)[0]
    for name, values in first.items():
        np.testing.assert_array_equal(again[name], values, err_msg=name)
    states = [state for part in one.parts for state in part.states]
    assert len({state.streams for state in states}) == len(states)


def test_fault_maps_go_by_array() -> None:
    cells = np.zeros((CHIP.rows, CHIP.cols), np.int8)
    cells[:8] = -1
    one = compiled(wide_net(), fault_maps={40: cells}, device="rram", place_around_faults=False)
    tile, core = divmod(40, CHIP.cores)
    part = one.parts[tile]
    at = [spec.core for spec in part.program.arrays].index(core)
    np.testing.assert_array_equal(part.states[at].stuck[:, :-1], cells)
    with pytest.raises(ConfigError, match=r"array 99999, but the network takes arrays 0 to \d+"):
        compiled(wide_net(), fault_maps={99999: cells})


def test_what_one_tile_does_is_not_asked_of_several() -> None:
    one = compiled(wide_net())
    with pytest.raises(CapacityError, match=r"takes \d+ tiles of chip 'graph'"):
        _ = one.program


def test_limits_of_tiles() -> None:
    with pytest.raises(CapacityError, match=r"needs \d+ arrays"):
        compiled(wide_net(), tiles=None)
    with pytest.raises(CapacityError, match=r"takes \d+ tiles of chip 'graph', 2 are given"):
        compiled(wide_net(), tiles=2)
    with pytest.raises(ConfigError, match="There can be 1 to 4096 tiles, not 0"):
        compiled(wide_net(), tiles=0)
    m = Maker(5)
    long = m.network(m.dense(m.input(2000), 2000, 3))
    with pytest.raises(CapacityError, match=r"(?s)adds up 2000 products, which takes 63 arrays"):
        compiled(long)
    m = Maker(6)
    x, s = m.input(300), m.input(300)
    kept = m.dense(m.combine(x, s), 300, 300)
    with pytest.raises(CapacityError, match="keeps states from step to step, so it has to fit one"):
        compiled(m.network(kept, states=[State(s, kept, None, 0)]), steps=3)


def test_auto_takes_as_many_tiles_as_it_needs() -> None:
    m = Maker(7)
    one = compile_network(m.network(m.dense(m.input(1500), 1500, 200)), device="ideal")
    assert one.chip.name == "tile32"
    assert len(one.parts) == 4
    assert_golden(one, 1)
