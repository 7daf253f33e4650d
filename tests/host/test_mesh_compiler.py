# SPDX-License-Identifier: Apache-2.0
"""Networks on a mesh: stages, copies, and the words that tiles send each other."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from compiled_runs import assert_golden, run_fast
from graph_cases import GRAPH_CHIP, Maker, random_inputs
from mesh_words import run_words

from ohmtwin.arch.chip import Chip, load_chip
from ohmtwin.arch.errors import CapacityError, ConfigError, InputError
from ohmtwin.arch.isa import Opcode, Reg
from ohmtwin.arch.noc import Node
from ohmtwin.arch.noc_interface import check_lists, check_route
from ohmtwin.behavioral.golden import run_network
from ohmtwin.host.compiler.mesh_check import waits_of
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.compiler.tensors import is_share
from ohmtwin.host.graph import Network
from ohmtwin.host.importer.network import load_network
from ohmtwin.host.targets import FastTarget

MODELS = Path(__file__).parents[2] / "examples" / "models"

CHIP = GRAPH_CHIP.with_(cores=4, mesh=(3, 3), slot_words=32, fifo_words=128, data_words=1024)
"""Small arrays and small messages, so that layers are cut and tensors take several messages."""


def mlp() -> Network:
    """A layer that takes five tiles, and one behind it that takes part of the last."""
    m = Maker(21)
    h = m.dense(m.input(100), 100, 72)
    return m.network(m.dense(h, 72, 10))


def images() -> Network:
    """Convolutions with halos, cut and whole, pools behind them, a dense end."""
    m = Maker(22)
    a = m.conv(m.input(3, 10, 10), (8, 3, 3, 3), pads=(1, 1, 1, 1))
    b = m.conv(m.max_pool(a, (2, 2), strides=(2, 2)), (48, 8, 3, 3), pads=(1, 1, 1, 1))
    c = m.conv(m.max_pool(b, (2, 2), strides=(2, 2)), (8, 48, 1, 1))
    return m.network(m.dense(m.reshape(c, 32), 32, 10))


def residual() -> Network:
    """Tensors with several readers, one of them far behind."""
    m = Maker(23)
    x = m.conv(m.input(4, 6, 6), (8, 4, 1, 1))
    a = m.conv(x, (8, 8, 3, 3), pads=(1, 1, 1, 1))
    b = m.conv(a, (8, 8, 3, 3), pads=(1, 1, 1, 1))
    y = m.combine(b, x)
    z = m.combine(m.conv(y, (8, 1, 3, 3), groups=8, pads=(1, 1, 1, 1)), y)
    return m.network(m.dense(m.reshape(m.max_pool(z, (6, 6)), 8), 8, 5))


def depthwise() -> Network:
    """Readers that pad what several tiles have made, and layers cut between their groups."""
    m = Maker(24)
    a = m.conv(m.input(8, 6, 6), (40, 8, 3, 3), pads=(1, 1, 1, 1))
    d = m.conv(a, (40, 1, 3, 3), groups=40, pads=(1, 1, 1, 1))
    e = m.max_pool(d, (3, 3), pads=(1, 1, 0, 0), strides=(3, 3))
    return m.network(m.dense(m.reshape(m.conv(e, (6, 40, 1, 1)), 24), 24, 5))


def sums() -> Network:
    """A layer of more inputs than a tile has rows, in two pieces that two tiles sum each."""
    m = Maker(25)
    return m.network(m.dense(m.dense(m.dense(m.input(24), 24, 150), 150, 20), 20, 5))


def image_sums() -> Network:
    """A convolution of too many channels, of pixels with halos, and a sum with offset behind it."""
    m = Maker(26)
    a = m.conv(m.input(4, 6, 6), (23, 4, 1, 1))
    b = m.conv(a, (15, 23, 3, 3), pads=(1, 1, 1, 1))
    c = m.combine(b, m.max_pool(b, (3, 3), pads=(1, 1, 1, 1)))
    return m.network(m.dense(m.reshape(m.max_pool(c, (3, 3), strides=(3, 3)), 60), 60, 10))


CASES = {
    "mlp": mlp,
    "images": images,
    "residual": residual,
    "depthwise": depthwise,
    "sums": sums,
    "image sums": image_sums,
}


def compiled(network: Network, **options: object) -> CompiledNetwork:
    given = {"chip": CHIP, "device": "ideal", **options}
    return compile_network(network, **given)


def assert_words(net: CompiledNetwork, samples: int = 7, first: int = 0) -> None:
    """The words that tiles send make the tensors that golden has."""
    codes = random_inputs(net.network, samples)
    found = run_words(net, codes, first)
    wanted = run_network(net.network, codes)
    assert set(net.tensors) <= set(found)
    for name in net.tensors:
        if name in wanted:
            np.testing.assert_array_equal(
                found[name].reshape(wanted[name].shape), wanted[name], err_msg=name
            )


def assert_sound(net: CompiledNetwork) -> None:
    """The plan keeps to the interfaces: places, routes, channels, lists."""
    plan, chip = net.mesh, net.chip
    assert plan is not None
    assert len({(t.x, t.y) for t in plan.tiles}) == len(plan.tiles) <= chip.tiles
    heard: Counter[tuple[int, int]] = Counter()
    for tile in plan.tiles:
        at = Node(tile.x, tile.y)
        for route in tile.routes:
            check_route(chip, route, at)
            assert route.consumers == len(list(plan.consumers(tile, route)))
            heard.update((c.tile, route.channel) for c in plan.consumers(tile, route))
        check_lists(chip, at, tile.routes, tile.input_list, tile.output_list)
        assert len(net.tiles[tile.tile].program.arrays) <= chip.arrays
        waits = waits_of(net.tiles[tile.tile].program)
        assert sum(wait.taken for wait in waits) == net.tiles[tile.tile].program.input_words
        assert sum(wait.given for wait in waits) == net.tiles[tile.tile].program.output_words
    for feed in plan.host_in:
        heard.update((tile, feed.channel) for tile in feed.tiles)
    assert set(heard.values()) == {1}


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("duplicate", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_a_mesh_computes_what_the_network_does(case: str, duplicate: bool, trace: bool) -> None:
    net = compiled(CASES[case](), duplicate=duplicate, trace=trace)
    assert len(net.parts) > 3
    assert_sound(net)
    assert_golden(net, 5)
    assert_words(net)
    assert_words(net, 3, first=5)


def test_the_mnist_mlp_on_four_tiles_of_eight_cores() -> None:
    net = compiled(load_network(MODELS / "mnist_qdq.onnx"), chip="tile8", mesh=(2, 2))
    assert net.mesh is not None
    assert [part.mapping.arrays for part in net.parts] == [7, 7, 7, 8]
    assert net.mapping.arrays == 29
    assert_sound(net)
    assert_golden(net, 3)
    assert_words(net, 3)


@pytest.mark.parametrize("trace", [True, False])
def test_lenet_on_sixteen_tiles_of_four_cores(trace: bool) -> None:
    net = compiled(load_network(MODELS / "lenet_qdq.onnx"), chip="tile4", mesh=(4, 4), trace=trace)
    assert net.mesh is not None
    assert len(net.mesh.tiles) == 16
    assert_sound(net)
    assert_words(net, 9)


def test_the_residual_network_on_four_tiles() -> None:
    net = compiled(load_network(MODELS / "resnet_qdq.onnx"), chip="tile4", mesh=(2, 2))
    assert_sound(net)
    assert_words(net, 3)


@pytest.mark.parametrize("inputs", [128, 129, 160, 224, 225, 352, 353, 400, 480])
def test_sums_are_cut_so_that_core_0_of_the_one_that_adds_up_is_free(inputs: int) -> None:
    m = Maker(27)
    net = compiled(m.network(m.dense(m.input(inputs), inputs, 7)), duplicate=False)
    shares = [layer for part in net.parts for layer in part.network.layers if is_share(layer)]
    arrays = [{spec.core for spec in part.program.arrays} for part in net.parts]
    assert sum(len(cores) for cores in arrays) == -(-inputs // CHIP.rows)
    assert len(net.parts) == len(shares) + 1
    # Neither more tiles than must be, nor fewer.
    assert len(shares) == max(0, -(-(inputs - 96) // 128)) * (inputs > 128)
    if shares:
        assert 0 not in arrays[-1]
        assert_golden(net, 3)
        assert_words(net, 3)
        wanted = run_network(net.network, random_inputs(net.network, 3))
        assert {name.removesuffix(".acc") for name in net.tensors} <= set(wanted)


def test_sums_of_many_outputs_take_several_runs() -> None:
    """More than 256 bytes of sums a share, and several positions."""
    m = Maker(28)
    chip = CHIP.with_(cols=256, cell_bits=4, adc_bits=8, lanes=16, cores=2, data_words=4096)
    assert chip.outputs > 64
    net = compiled(m.network(m.dense(m.input(3, 150), 150, 101)), chip=chip)
    runs = {
        (i["bytes"], i["repeats"])
        for part in net.parts
        for i in part.program.instructions
        if i.op is Opcode.VEC
    }
    assert runs == {(256, 0), (148, 0)}
    assert_golden(net, 3)
    assert_words(net, 3)


def test_sums_meet_other_work_of_the_vector_unit() -> None:
    """What the layers behind it leave in OFFSET, PITCH and the accumulators does not count."""
    m = Maker(29)
    b = m.conv(m.input(23, 6, 6), (15, 23, 3, 3))
    network = m.network(m.multiply(b, m.max_pool(b, (3, 3), pads=(1, 1, 1, 1))))
    net = compiled(network, mesh=(2, 1), duplicate=False)
    assert len(net.parts) == 2
    codes = net.parts[1].program.instructions
    assert any(i.op is Opcode.SET and i["reg"] == Reg.OFFSET and i["value"] for i in codes)
    assert_golden(net, 3)
    assert_words(net, 3)


def test_shares_have_noise_and_copies_like_any_layer() -> None:
    net = compiled(sums(), device="rram", seed=7)
    codes = random_inputs(net.network, 4)
    words, (found, _) = run_words(net, codes), run_fast(net, codes)
    for name in net.tensors:
        np.testing.assert_array_equal(words[name].reshape(found[name].shape), found[name])
    ideal = run_network(net.network, codes)
    assert not np.array_equal(found["dense1.acc"], ideal["dense1.acc"])


def test_copies_take_turns_and_have_noise_of_their_own() -> None:
    network = images()
    net = compiled(network, device="rram", seed=5)
    assert net.mesh is not None
    most = max(tile.copies for tile in net.mesh.tiles)
    assert most > 1
    numbers = [part.array_base + spec.core for part in net.parts for spec in part.program.arrays]
    assert len(set(numbers)) == len(numbers)
    sample = random_inputs(network, 1)
    codes = {name: np.repeat(array, 2 * most, axis=0) for name, array in sample.items()}
    found, _ = run_fast(net, codes)
    first = next(name for name in found if name.endswith(".acc"))
    # The same sample on another copy meets other arrays.
    assert not np.array_equal(found[first][0], found[first][1])
    words = run_words(net, codes)
    for name in net.tensors:
        np.testing.assert_array_equal(words[name].reshape(found[name].shape), found[name])


def test_a_bottleneck_is_duplicated() -> None:
    m = Maker(30)
    x = m.conv(m.input(8, 12, 12), (8, 8, 3, 3), pads=(1, 1, 1, 1))
    y = m.max_pool(x, (4, 4), strides=(4, 4))
    network = m.network(m.dense(m.reshape(m.conv(y, (4, 8, 3, 3)), 4), 4, 10))
    chip = CHIP.with_(cores=3, mesh=(4, 1))
    once = compiled(network, chip=chip, duplicate=False, trace=False)
    twice = compiled(network, chip=chip, trace=False)
    pace = [
        max(c / t.copies for c, t in zip(net.mesh.cycles, net.mesh.tiles, strict=True))
        for net in (once, twice)
        if net.mesh is not None
    ]
    assert pace[0] > 1.8 * pace[1]
    assert_words(twice)
    codes = random_inputs(network, 24)
    cycles = []
    for net in (once, twice):
        with FastTarget(net) as target:
            target.run(codes)
            counters = target.mesh_counters
        assert counters is not None
        cycles.append(counters.cycles)
        # Nothing but the slowest stage holds samples up, filling and draining left out.
        assert max(counters.occupancy) > 0.9
    assert cycles[0] > 1.8 * cycles[1]


def test_typical_codes_balance_the_stages() -> None:
    """Zero-skip makes a layer as fast as its inputs are empty."""
    network = mlp()
    dark = np.zeros((1, 100), np.uint8)
    plans = [compiled(network, trace=False, calibration=codes).mesh for codes in (None, dark)]
    assert all(plan is not None for plan in plans)
    cycles = [plan.cycles[0] for plan in plans if plan is not None]
    assert cycles[1] < cycles[0] / 1.5
    with pytest.raises(InputError, match=r"Calibration codes must be uint8 \[n, 100\]"):
        compiled(network, calibration=np.zeros((1, 99), np.uint8))


def test_limits() -> None:
    with pytest.raises(
        CapacityError,
        match=r"needs 29 arrays .* on \d+ tiles .* 2x1 tiles of 8 cores has 16; a mesh of \dx\d",
    ):
        compiled(load_network(MODELS / "mnist_qdq.onnx"), chip="tile8", mesh=(2, 1))
    for wrong in ((0, 2), (17, 1)):
        with pytest.raises(ConfigError, match=r"1 to 16 columns and 1 to 16 rows of tiles, not"):
            compiled(mlp(), mesh=wrong)
    with pytest.raises(ConfigError, match="is a mesh of 9 tiles; leave out the number of tiles"):
        compiled(mlp(), tiles=4)
    with pytest.raises(CapacityError, match="sends to more than 1 sets of tiles; raise the chip's"):
        compiled(mlp(), chip=CHIP.with_(routes=1))
    with pytest.raises(CapacityError, match="hears from more than 2 senders; raise the chip's"):
        compiled(mlp(), chip=CHIP.with_(channels=2))
    m = Maker(31)
    long = m.network(m.dense(m.input(400), 400, 3))
    match = "adds up 400 products, which takes 13 arrays .* one input channel of which fits all"
    with pytest.raises(CapacityError, match=match):
        compiled(long, chip=CHIP.with_(cores=1, mesh=(4, 4)))
    m = Maker(31)
    kernel = m.network(m.conv(m.input(1, 12, 12), (2, 1, 12, 12)))
    with pytest.raises(CapacityError, match="adds up 144 products, which takes 5 arrays"):
        compiled(kernel)
    m = Maker(31)
    longer = m.network(m.dense(m.input(4000), 4000, 3))
    with pytest.raises(CapacityError, match=r"needs 125 arrays .* on 32 tiles"):
        compiled(longer)


def test_a_chip_may_name_its_mesh(tmp_path: Path) -> None:
    path = tmp_path / "mesh.toml"
    path.write_text('name = "four"\ncores = 8\nmesh = [2, 2]\n')
    assert load_chip(path).mesh == (2, 2)
    net = compiled(load_network(MODELS / "mnist_qdq.onnx"), chip=path)
    assert net.mesh is not None
    assert net.mesh.shape == (2, 2)
    one = compiled(load_network(MODELS / "digits_qdq.onnx"), chip=Chip(mesh=(2, 2)), mesh=(1, 1))
    assert one.mesh is None
