# SPDX-License-Identifier: Apache-2.0
"""Compiled networks of all kinds of layers equal golden where arrays are ideal."""

from dataclasses import replace

import numpy as np
import pytest
from compiled_runs import assert_golden, run_fast
from graph_cases import GRAPH_CHIP, Maker, random_inputs
from graph_random import random_graph

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import CapacityError, ConfigError, ModelError
from ohmtwin.arch.isa import Opcode, Reg, assemble
from ohmtwin.behavioral.golden import run_network
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.graph import Multiply, Network, State

RANDOM_CHIP = GRAPH_CHIP.with_(
    cores=32,
    rows=64,
    cols=128,
    program_words=4096,
    data_words=4096,
    param_words=2048,
    tables=16,
)


def compiled(network: Network, chip: Chip = GRAPH_CHIP, **options: object) -> CompiledNetwork:
    return compile_network(network, chip=chip, device="ideal", **options)


def conv_net(size: int, seed: int = 1) -> Network:
    m = Maker(seed)
    a = m.conv(m.input(4, size, size), (9, 4, 3, 3), pads=(1, 1, 1, 1), pad_code=7)
    b = m.max_pool(a, (2, 2), strides=(2, 2))
    return m.network(m.conv(b, (6, 9, 3, 3), strides=(2, 2), dilations=(2, 1)))


def residual_net() -> Network:
    m = Maker(3)
    a = m.conv(m.input(4, 9, 9), (8, 4, 3, 3), pads=(1, 1, 1, 1), strides=(2, 2), pad_code=9)
    depth = m.conv(a, (8, 1, 3, 3), pads=(1, 1, 1, 1), groups=8, pad_code=9)
    point = m.conv(depth, (8, 8, 1, 1))
    mean = m.average(m.combine(a, point), (5, 5), [25])
    return m.network(m.dense(m.reshape(mean, 8), 8, 4))


def lstm_net() -> Network:
    m = Maker(10)
    x, h, c = m.input(9), m.input(8), m.input(8)
    gates = m.dense(m.concat(x, h), 17, 32, table=True)
    i, f, o, g = (m.slice(gates, (8 * k,), (1,), (8,)) for k in range(4))
    kept = m.combine(m.multiply(f, c), m.multiply(i, g))
    out = m.multiply(o, m.combine(kept, table=True))
    y = m.dense(out, 8, 4)
    states = [State(h, out, m.table(), 128), State(c, kept, None, 7)]
    return m.network(y, states=states)


def gains_net() -> Network:
    """Products that use all 16 bits of the operands."""
    m = Maker(12)
    x, y = m.input(4, 5, 6), m.input(4, 5, 6)
    large = m.multiply(x, y, (128, 128), 21000)
    m.layers[-1] = replace(m.layers[-1], zero_points=(0, 255))
    uneven = m.multiply(large, m.constant(4, 1, 1), (1, 97), 60000)
    return m.network(m.multiply(uneven, y, (127, 3), 1), m.multiply(x, y))


# Kinds of layers


def test_dense_layers_are_cut_by_rows_and_columns() -> None:
    m = Maker(0)
    h = m.dense(m.input(70), 70, 41)
    assert_golden(compiled(m.network(m.dense(h, 41, 5, table=True))))


def test_dense_works_on_the_last_axis() -> None:
    m = Maker(1)
    h = m.dense(m.input(5, 3, 12), 12, 20)
    turned = m.transpose(h, 0, 2, 1)
    assert_golden(compiled(m.network(m.dense(turned, 3, 7))))


@pytest.mark.parametrize("size", [10, 13])
@pytest.mark.parametrize("conv_mapping", ["rows", "kernel"])
def test_convolutions_and_pools(size: int, conv_mapping: str) -> None:
    chip = GRAPH_CHIP.with_(cores=32)
    assert_golden(compiled(conv_net(size), chip, conv_mapping=conv_mapping))


def test_a_residual_network() -> None:
    assert_golden(compiled(residual_net()))
    assert_golden(compiled(residual_net(), trace=False))


def test_one_dimensional_convolutions_keep_their_layout() -> None:
    m = Maker(6)
    a = m.conv(m.reshape(m.input(5, 12), 5, 1, 12), (7, 5, 1, 3), pads=(0, 1, 0, 1))
    t = m.combine(m.reshape(a, 7, 12), table=True)
    b = m.conv(m.reshape(t, 7, 1, 12), (4, 7, 1, 3))
    one = compiled(m.network(m.dense(m.reshape(b, 40), 40, 6)))
    assert_golden(one)
    # The table alone goes through the vector unit: no copy.
    kinds = [i.op for i in one.program.instructions]
    assert kinds.count(Opcode.VEC) == 1


def test_the_outputs_of_dense_are_stored_as_a_convolution_reads_them() -> None:
    m = Maker(9)
    image = m.reshape(m.dense(m.input(12), 12, 18), 2, 3, 3)
    one = compiled(m.network(m.conv(image, (4, 2, 2, 2))))
    assert_golden(one)
    assert Opcode.VEC not in {i.op for i in one.program.instructions}
    padded = m.conv(image, (5, 2, 3, 3), pads=(1, 1, 1, 1))
    assert_golden(compiled(m.network(padded)))


def test_concat_joins_what_it_reads_without_copies() -> None:
    m = Maker(5)
    x = m.input(3, 6, 6)
    a, b = m.conv(x, (4, 3, 1, 1)), m.conv(x, (5, 3, 3, 3), pads=(1, 1, 1, 1))
    joined = m.concat(a, b)
    one = compiled(m.network(m.conv(joined, (6, 9, 3, 3), pads=(1, 1, 1, 1))))
    assert_golden(one)
    assert Opcode.VEC not in {i.op for i in one.program.instructions}
    # The input, and what takes a table, have to be copied.
    mixed = m.concat(a, b, x, a, tables=(False, True, False, False))
    assert_golden(compiled(m.network(mixed)))


def test_views_cost_nothing() -> None:
    m = Maker(7)
    t = m.transpose(m.input(6, 10), 1, 0)
    s = m.slice(t, (1, 5), (2, -1), (4, 6))
    one = compiled(m.network(m.dense(m.reshape(s, 24), 24, 5)))
    assert_golden(one)
    assert Opcode.VEC not in {i.op for i in one.program.instructions}


def test_average_pools_count_as_they_are_told() -> None:
    m = Maker(8)
    x = m.input(4, 7, 5)
    a = m.average(x, (3, 3), (4, 6, 9), pads=(1, 1, 1, 1))
    b = m.average(x, (3, 3), (9,), pads=(1, 1, 1, 1), count_include_pad=True)
    whole = m.average(x, (7, 5), (35,))
    assert_golden(compiled(m.network(m.combine(a, b), whole)))


def test_products_with_gains_and_offsets() -> None:
    network = gains_net()
    one = compiled(network)
    assert_golden(one, n=8)
    corners = np.resize(np.array([[0, 0], [0, 255], [255, 0], [255, 255]], np.uint8), (120, 2))
    codes = {entry.tensor: corners[:, k].reshape(1, 4, 5, 6) for k, entry in enumerate(network.fed)}
    wanted, (found, _) = run_network(network, codes), run_fast(one, codes)
    ends = {(21000 - 255 * 255) << 14, 21000 << 14}
    assert set(np.unique(wanted["multiply0.acc"]).tolist()) == ends
    for layer in network.layers:
        if isinstance(layer, Multiply):
            np.testing.assert_array_equal(found[layer.name], wanted[layer.name])


def test_gains_of_one_cost_nothing() -> None:
    """Without gains and offset nothing is set between the operands but their zero points."""
    m = Maker(12)
    x, y = m.input(300), m.input(300)
    program = compiled(m.network(m.multiply(x, y))).program
    scales = [
        i["value"] for i in program.instructions if i.op is Opcode.SET and i["reg"] == Reg.SCALE
    ]
    assert scales == [1]
    assert not (program.params & np.uint64(0xFFFFFFFF)).any()


def test_pad_broadcast_and_softmax() -> None:
    m = Maker(11)
    x = m.input(4, 5, 6)
    scaled = m.multiply(x, m.constant(4, 1, 1))
    padded = m.pad(scaled, (1, 0, 2), (0, 2, 1))
    assert_golden(compiled(m.network(m.softmax(m.reshape(padded, 35, 9))), RANDOM_CHIP))


@pytest.mark.parametrize("seed", range(60))
def test_random_networks(seed: int) -> None:
    # Every third tile is so small that halos are written for each sample, every fourth run is
    # without a trace.
    chip = RANDOM_CHIP if seed % 3 else RANDOM_CHIP.with_(data_words=512)
    try:
        one = compiled(random_graph(seed), chip, trace=bool(seed % 4))
    except CapacityError as error:
        # Nothing is wrong where even the small tile's memory is too small.
        if chip.data_words == 512 and "data memory" in str(error):
            return
        raise
    assert_golden(one)


# Steps


@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("trace", [True, False])
def test_states_stay_on_the_chip(steps: int, trace: bool) -> None:
    assert_golden(compiled(lstm_net(), steps=steps, trace=trace), 3, steps)


def test_states_may_change_places() -> None:
    m = Maker(12)
    x, a, b = m.input(6), m.input(6), m.input(6)
    y = m.combine(x, a, b)
    states = [State(a, b, None, 3), State(b, a, m.table(), 200)]
    made = m.dense(y, 6, 6)
    assert_golden(compiled(m.network(made, states=states), steps=5), 2, 5)


def test_long_sequences_go_through_short_fifos() -> None:
    one = compiled(lstm_net(), GRAPH_CHIP.with_(fifo_words=32), steps=40)
    assert one.program.input_words > 32
    assert len(one.program.instructions) == len(
        compiled(lstm_net(), GRAPH_CHIP.with_(fifo_words=32), steps=30).program.instructions
    )
    assert_golden(one, 2, 40)


def test_steps_go_with_states() -> None:
    with pytest.raises(ConfigError, match="give the number of steps"):
        compiled(lstm_net())
    with pytest.raises(ConfigError, match="cannot have 0 steps; give 1 or more"):
        compiled(lstm_net(), steps=0)
    with pytest.raises(ConfigError, match="cannot have 3 steps; it keeps no states"):
        compiled(residual_net(), steps=3)


# Programs


def test_a_convolution_takes_as_many_instructions_whatever_the_image() -> None:
    def net(size: int) -> Network:
        m = Maker(19)
        a = m.conv(m.input(4, size, size), (9, 4, 3, 3), pads=(1, 1, 1, 1), pad_code=7)
        return m.network(m.conv(a, (6, 9, 3, 3), strides=(2, 2), pads=(0, 1, 0, 1)))

    chip = RANDOM_CHIP.with_(data_words=65536)
    lengths = {len(compiled(net(n), chip).program.instructions) for n in (33, 57, 100)}
    assert len(lengths) == 1
    assert lengths.pop() < 70


def test_large_images_come_in_pieces() -> None:
    m = Maker(13)
    x = m.input(3, 30, 30)
    net = m.network(m.average(x, (30, 30), (900,)))
    assert_golden(compiled(net, GRAPH_CHIP.with_(fifo_words=16)))


def test_listings_name_layers_and_go_back_through_the_assembler() -> None:
    one = compiled(residual_net())
    text = list(one.listing())
    assert tuple(assemble("\n".join(text))) == one.program.instructions
    lines = [line for line in text if not line.startswith("#")]
    assert len(lines) == len(one.program.instructions)
    for line in lines:
        if line.split()[0] in ("LOAD", "MVM", "REQ", "VEC"):
            assert "layer " in line
    assert any("conv1" in line and "MVM" in line for line in lines)


def test_noise_is_that_of_the_array() -> None:
    m = Maker(14)
    net = m.network(m.dense(m.input(20), 20, 8))
    one = compile_network(net, chip=GRAPH_CHIP, device="rram", seed=5)
    codes = random_inputs(net, 4)
    first, _ = run_fast(one, codes)
    again, _ = run_fast(one, codes)
    np.testing.assert_array_equal(first["dense0.acc"], again["dense0.acc"])
    other, _ = run_fast(compile_network(net, chip=GRAPH_CHIP, device="rram", seed=6), codes)
    assert (first["dense0.acc"] != other["dense0.acc"]).any()


# Limits


def test_what_does_not_fit_is_told() -> None:
    m = Maker(15)
    net = m.network(m.combine(m.input(8, 30, 30)))
    with pytest.raises(
        CapacityError, match=r"(?s)in0_q 7200 bytes.*has 512; raise data_words to 2048"
    ):
        compiled(net)
    m = Maker(16)
    t = m.input(10)
    for _ in range(9):
        t = m.combine(t, table=True)
    with pytest.raises(CapacityError, match="would need table 9, a tile of chip 'graph' holds 8"):
        compiled(m.network(t))
    with pytest.raises(CapacityError, match=r"takes \d+ instructions, chip 'graph' holds 16"):
        compiled(residual_net(), GRAPH_CHIP.with_(program_words=16))
    with pytest.raises(CapacityError, match="raise param_words"):
        compiled(residual_net(), GRAPH_CHIP.with_(param_words=16))


def test_a_network_of_views_is_refused() -> None:
    m = Maker(17)
    net = m.network(m.reshape(m.input(2, 3), 6))
    with pytest.raises(ModelError, match="nothing to compute"):
        compiled(net)


def test_no_noise_carries_a_sum_out_of_32_bits() -> None:
    m = Maker(18)
    net = m.network(m.conv(m.input(3, 4, 4), (2, 3, 3, 3)))
    with pytest.raises(CapacityError, match=r"(?s)layer 'conv0' could sum to.*adc_bits than 12"):
        compiled(net, GRAPH_CHIP.with_(adc_bits=12, rows_per_read=1, rows=256, cores=1))
