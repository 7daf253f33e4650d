# SPDX-License-Identifier: Apache-2.0
"""Which arrays layers take, and what their cells hold."""

from pathlib import Path

import numpy as np
import pytest
from graph_cases import GRAPH_CHIP, Maker

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import CapacityError
from ohmtwin.arch.formats import WEIGHT_OFFSET
from ohmtwin.host.compiler.layout import plan_layout
from ohmtwin.host.compiler.mapping import Block, ConvMapping, LayerMap, map_layout, map_network
from ohmtwin.host.graph import Network, lower_softmax
from ohmtwin.host.importer.network import load_network

ONE_BIT = Chip(cores=32, rows=128, cols=128, cell_bits=1, adc_bits=5, rows_per_read=16)
"""The arrays of the published mappings."""

TWO_BIT = Chip(cores=32, rows=128, cols=128, cell_bits=2, adc_bits=6, rows_per_read=16)


def mapped(network: Network, chip: Chip, conv_mapping: ConvMapping = "rows") -> list[LayerMap]:
    return list(map_layout(plan_layout(network), chip, conv_mapping).layers)


def grid(m: LayerMap) -> tuple[int, int]:
    return len(m.row_parts), len(m.col_parts)


def read_back(m: LayerMap, chip: Chip) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """The matrix that the cells hold, int64 [outputs, rows]; zero where no block is."""
    matrix = np.zeros((m.layer.outputs, m.rows), np.int64)
    for block in m:
        levels = m.levels(block, chip).astype(np.int64).reshape(chip.rows, chip.outputs, -1)
        stored = (levels << (np.arange(chip.slices) * chip.cell_bits)).sum(axis=2)
        slots = m.slots_of(m.part_of(block))
        rows = m.input_order[block.rows.start : block.rows.stop]
        assert not stored[len(rows) :].any()
        assert not stored[:, len(slots) :].any()
        matrix[np.ix_(slots, rows)] = stored[: len(rows), : len(slots)].T - WEIGHT_OFFSET
    return matrix


def test_published_mappings() -> None:
    # Peng et al.: 3x3x128x128 with 8-bit weights takes 72 arrays of 128x128 one-bit cells.
    m = Maker(0)
    net = m.network(m.conv(m.input(128, 4, 4), (128, 128, 3, 3)))
    (one,) = mapped(net, ONE_BIT, "kernel")
    assert grid(one) == (9, 8)
    assert len(one.blocks) == 72
    kernel_places = {tuple(np.unique(one.input_order[b.rows] % 9)) for b in one}
    assert kernel_places == {(k,) for k in range(9)}
    assert {len(b.rows) for b in one} == {128}
    # 1024 x 1024 takes 8 x 64.
    m = Maker(1)
    (dense,) = mapped(m.network(m.dense(m.input(1024), 1024, 1024)), ONE_BIT)
    assert grid(dense) == (8, 64)
    assert dense.utilisation(ONE_BIT) == 1.0


@pytest.mark.parametrize("conv_mapping", ["rows", "kernel"])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_cells_hold_every_weight_once(groups: int, conv_mapping: ConvMapping) -> None:
    m = Maker(2)
    net = m.network(m.conv(m.input(6, 9, 9), (12, 6 // groups, 3, 5), groups=groups))
    (one,) = mapped(net, GRAPH_CHIP, conv_mapping)
    layer = net.layers[0]
    wanted = np.zeros((12, 6, 15), np.int64)
    for output in range(12):
        group = output // (12 // groups)
        channels = range(group * 6 // groups, (group + 1) * 6 // groups)
        wanted[output, list(channels)] = layer.weights[output].reshape(-1, 15)
    np.testing.assert_array_equal(read_back(one, GRAPH_CHIP), wanted.reshape(12, -1))


def test_depthwise_convolutions_share_arrays() -> None:
    m = Maker(3)
    net = m.network(m.conv(m.input(64, 5, 5), (64, 1, 3, 3), groups=64))
    (one,) = mapped(net, TWO_BIT)
    # 14 channels of 9 rows in 128.
    assert len(one.blocks) == 5
    assert max(len(b.rows) for b in one) == 13 * 9
    assert {len(part) for part in one.col_parts} == {1}


def test_groups_too_large_for_an_array_are_cut() -> None:
    m = Maker(4)
    net = m.network(m.conv(m.input(80, 3, 3), (120, 40, 2, 2), groups=2))
    (one,) = mapped(net, TWO_BIT)
    assert grid(one) == (4, 4)
    assert len(one.blocks) == 2 * 2 * 2


def test_rows_are_cut_where_runs_end_if_that_takes_no_array() -> None:
    m = Maker(5)
    net = m.network(m.conv(m.input(6, 9, 9), (4, 6, 5, 5)))
    (one,) = mapped(net, TWO_BIT)
    assert [len(part[0].rows) % 30 for part in one.row_parts] == [0, 0]
    # Rows lie in the order of memory: kernel row, column, channel.
    channel, row, col = np.unravel_index(one.input_order, (6, 5, 5))
    assert (np.diff((row * 5 + col) * 6 + channel) == 1).all()


def test_layers_with_the_same_weights_share_arrays() -> None:
    m = Maker(6)
    first = m.dense(m.input(12), 12, 12)
    made = m.layers[0]
    second = m.dense(first, 12, 12)
    m.layers[1] = type(made)(
        **{**vars(m.layers[1]), "weights": made.weights}  # the same array object
    )
    mapping = map_network(m.network(second), GRAPH_CHIP)
    assert mapping.arrays == 1
    assert mapping.layers[0].cores == mapping.layers[1].cores == (0,)
    assert mapping.utilisation == 12 * 12 * 4 / (32 * 64)


def test_parts_are_even() -> None:
    m = Maker(7)
    (one,) = mapped(m.network(m.dense(m.input(300), 300, 70)), TWO_BIT)
    assert [len(part[0].rows) for part in one.row_parts] == [96, 96, 108]
    assert [len(part[0].cols) for part in one.col_parts] == [24, 24, 22]
    assert one.blocks[0] == Block(0, range(96), range(24))
    assert one.cores_of_output(30) == (1, 4, 7)
    assert one.slot_of_output(30) == 6
    assert sum(block.core in one.cores_of_output(69) for block in one) == 3


def test_too_many_arrays_are_told_layer_by_layer() -> None:
    m = Maker(8)
    net = m.network(m.dense(m.dense(m.input(300), 300, 300), 300, 5))
    with pytest.raises(
        CapacityError, match=r"needs 33 arrays .*dense0 30, dense1 3.*'custom' has 4; use a chip"
    ):
        map_network(net, TWO_BIT.with_(cores=4))


def test_shipped_shapes_use_their_arrays() -> None:
    # Layers of at least an array, in both directions: 0.6 and more.
    m = Maker(9)
    a = m.dense(m.input(784), 784, 128)
    b = m.conv(m.reshape(a, 32, 2, 2), (64, 32, 2, 2))
    for one in mapped(m.network(b), TWO_BIT):
        assert one.utilisation(TWO_BIT) >= 0.6


MODELS = sorted((Path(__file__).parents[2] / "examples" / "models").glob("*_qdq.onnx"))


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_shipped_networks_fill_their_arrays_where_they_can(path: Path) -> None:
    mapping = map_layout(plan_layout(lower_softmax(load_network(path))), TWO_BIT)
    print(f"{path.stem}: {mapping.arrays} arrays, {mapping.utilisation:.2f}")
    for one in mapping.layers:
        used = one.utilisation(TWO_BIT)
        print(f"  {one.layer.name}: {len(set(one.cores))} arrays, {used:.2f}")
        whole = one.rows >= TWO_BIT.rows and one.layer.outputs >= TWO_BIT.outputs
        if whole and getattr(one.layer, "groups", 1) == 1:
            assert used >= 0.6
        # No layer takes an array more than its matrix needs.
        if getattr(one.layer, "groups", 1) == 1:
            rows, cols = -(-one.rows // TWO_BIT.rows), -(-one.layer.outputs // TWO_BIT.outputs)
            assert len(one.blocks) == rows * cols
