# SPDX-License-Identifier: Apache-2.0
"""Networks on chips of every weight encoding."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from compiled_runs import assert_golden
from encoded_networks import ENCODED, assert_clocked, encoded_network
from networks import random_network

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import ConfigError
from ohmtwin.behavioral.effects.faults import STUCK_OFF, STUCK_ON
from ohmtwin.host.compiler.mapping import map_network
from ohmtwin.host.compiler.network import compile_network
from ohmtwin.host.compiler.placement import place, placement_cost
from ohmtwin.host.graph import Dense, Network


@pytest.mark.parametrize("name", ENCODED)
def test_ideal_arrays_give_golden(name: str) -> None:
    chip = ENCODED[name]
    for seed in range(3):
        compiled = compile_network(encoded_network(chip, seed), chip=chip, device="ideal")
        assert_golden(compiled, n=3)


# The others in `make soak`: each is a model of its own.
@pytest.mark.parametrize("name", ["flipped", "xnor"])
@pytest.mark.chips
def test_noisy_arrays_are_equal_on_the_verilated_tile(name: str) -> None:
    assert_clocked(ENCODED[name])


def dense_network(weights: np.ndarray) -> tuple[Network, Dense]:
    """One layer of given weights."""
    network = random_network(3, weights.shape[::-1])
    layer = network.layers[0]
    assert isinstance(layer, Dense)
    layer = replace(layer, weights=weights.astype(np.int8))
    return replace(network, layers=(layer,)), layer


def errors_of(chip: Chip, layer: Dense, levels: np.ndarray, flips: np.ndarray | None) -> np.ndarray:
    """Products of a layer's matrix that the cells give by themselves, for x = 0 and for each input
    at 255 alone, less what they should give."""
    code, n = chip.cell_code, layer.inputs
    cells = levels.astype(np.int64)
    if flips is not None:
        cells = np.where(flips, code.top - cells, cells)
    weights = np.array(chip.column_weights)
    first = cells[:n].reshape(n, chip.outputs, -1) @ weights
    wanted = layer.weights.T.astype(np.int64)
    found = np.zeros((n + 1, layer.outputs))
    for i, x in enumerate([np.zeros(n, np.int64), *(255 * np.eye(n, dtype=np.int64))]):
        sums = x @ first
        if code.complement_rows:
            half = chip.rows // 2
            second = cells[half : half + n].reshape(n, chip.outputs, -1) @ weights
            sums = sums + (255 - x) @ second
        sums = sums[: layer.outputs] - code.sum_weight * x.sum()
        sums = sums + [code.sum_constant(n, int(w), 255) for w in wanted.sum(axis=0)]
        found[i] = sums / code.sum_unit - x @ wanted
    return found


@pytest.mark.parametrize("name", ENCODED)
def test_the_cost_of_stuck_cells_is_what_they_change(name: str) -> None:
    """Against the sums of the cells themselves, and placement never raises it."""
    chip = ENCODED[name].with_(cores=2)
    random = np.random.default_rng(7)
    low, high = chip.cell_code.weight_range
    weights = random.integers(max(low, -128), min(high, 127) + 1, (min(7, chip.outputs), 12))
    if chip.weight_bits == 1:
        weights = np.where(weights < 0, -1, 1)
    network, layer = dense_network(weights)
    mapping = map_network(network, chip)
    (m,) = mapping.layers
    (block,) = m.blocks
    stuck = random.choice(
        np.array([0, STUCK_ON, STUCK_OFF], np.int8), (chip.rows, chip.cols), p=[0.9, 0.05, 0.05]
    )
    levels, flips = m.levels(block, chip), m.flips(block, chip)
    assert not errors_of(chip, layer, levels, flips).any()
    forced = np.where(
        stuck == STUCK_ON, chip.cell_code.top, np.where(stuck == STUCK_OFF, 0, levels)
    )
    changed = errors_of(chip, layer, forced, flips)
    added, slope = changed[0], (changed[1:] - changed[0]) / 255
    mean, variance = 127.5, (256**2 - 1) / 12
    wanted = ((slope**2).sum(axis=0) * variance + (slope.sum(axis=0) * mean + added) ** 2).sum()
    cost = placement_cost(mapping, {block.core: stuck})[layer.name]
    assert wanted > 0
    assert cost == pytest.approx(wanted)
    better = placement_cost(place(mapping, {block.core: stuck}), {block.core: stuck})[layer.name]
    assert better <= cost


def test_flags_are_set_where_they_lower_the_largest_sum() -> None:
    """By trying every read: any subset of rows with zero-skip, neighbours in baseline."""
    for name in ("flipped", "flipped, baseline"):
        chip = ENCODED[name].with_(rows=8, rows_per_read=3, adc_bits=4)
        network = random_network(5, (8, 5))
        m = map_network(network, chip).layers[0]
        (block,) = m.blocks
        flips = m.flips(block, chip)
        assert flips is not None
        stored = m.levels(block, chip).astype(np.int64)
        if chip.row_schedule == "baseline":
            reads = [[0, 1, 2], [3, 4, 5], [6, 7]]
        else:
            reads = [list(rows) for rows in itertools.combinations(range(8), 3)]
        used = slice(0, 5 * chip.columns_per_output)
        largest = np.max([stored[rows].sum(axis=0) for rows in reads], axis=0)[used]
        other = np.max([(3 - stored[rows]).sum(axis=0) for rows in reads], axis=0)[used]
        assert (largest <= other).all()
        assert flips[used].any()
        assert not flips[used.stop :].any()
        assert m.largest_code(block, chip) == largest.max()


def test_networks_that_do_not_fit_the_cells() -> None:
    small = ENCODED["4 bits"]
    with pytest.raises(
        ConfigError,
        match=r"^Layer 'fc0' has weights from -12\d to 12\d, the cells of chip 'encoded' hold -8 "
        r"to 7 \(encoding offset, weight_bits = 4\); set weight_bits = 8, or quantize",
    ):
        compile_network(random_network(1, (8, 4)), chip=small, device="ideal")
    with pytest.raises(ConfigError, match=r"hold -1 to 1 .* set weight_encoding = 'differential' "):
        compile_network(random_network(1, (8, 4)), chip=ENCODED["ternary"], device="ideal")
    network, _ = dense_network(np.array([[1, -1, 1], [-1, 0, 1]]))
    with pytest.raises(ConfigError, match=r"weights of 0, binary weights are -1 and 1 .*'ternary'"):
        compile_network(network, chip=ENCODED["binary"], device="ideal")


def test_reads_that_the_adc_would_cut_off() -> None:
    """The number of rows that it suffices for is right, and one more is too many."""
    chip = ENCODED["flipped"].with_(rows_per_read=16, adc_bits=5)
    network = random_network(2, (32, 8))
    with pytest.raises(
        ConfigError,
        match=r"A read of 16 rows of layer 'fc0' can sum to \d+ with the best columns flipped, "
        r"which needs an ADC of 6 bits, 5 were given; raise adc_bits to 6 or lower rows_per_read "
        r"to (\d+)",
    ) as refused:
        compile_network(network, chip=chip, device="ideal")
    rows = int(str(refused.value).rsplit(" ", 1)[1])
    compile_network(network, chip=chip.with_(rows_per_read=rows), device="ideal")
    with pytest.raises(ConfigError, match="can sum to"):
        compile_network(network, chip=chip.with_(rows_per_read=rows + 1), device="ideal")
    # All rows in one read: a bit less than without flips is enough, whatever the weights.
    whole = chip.with_(rows_per_read=32, adc_bits=6)
    assert_golden(compile_network(network, chip=whole, device="ideal"))
