# SPDX-License-Identifier: Apache-2.0
"""Networks on several tiles: the same at every level, each array with noise of its own."""

import numpy as np
import pytest
from networks import random_codes, random_network

import ohmtwin as ot
from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import CapacityError, ToolError
from ohmtwin.behavioral import devices
from ohmtwin.behavioral.golden import run_network
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.targets import FastTarget, VerilatorTarget, connect
from ohmtwin.host.tiles import add_counters
from ohmtwin.host.verilator_build import build_model

# What they share is built in one worker.
pytestmark = pytest.mark.xdist_group("tiles")

CHIP = Chip(
    name="small",
    cores=2,
    rows=16,
    cols=32,
    cell_bits=2,
    lanes=8,
    adc_bits=6,
    rows_per_read=8,
    program_words=128,
    data_words=64,
    param_words=64,
    fifo_words=32,
)
NOISY = devices.rram(read_noise=0.2)


def compiled(device: str | devices.Device) -> CompiledNetwork:
    """Layers of 14 to 20 outputs are cut, two arrays a tile."""
    network = random_network(1, (16, 20, 14, 6))
    return compile_network(network, chip=CHIP, device=device, seed=3, tiles=16)


@pytest.fixture(scope="module")
def _verilator() -> None:
    try:
        build_model(CHIP)
    except ToolError as error:
        pytest.skip(f"no Verilated model can be built here: {error}")


def test_golden_and_fast_agree() -> None:
    net = compiled("ideal")
    assert len(net.parts) > 2
    codes = random_codes(2, 60, 16)
    report = ot.verify(net, codes.astype(np.float32), levels=("golden", "fast"))
    assert report.agree
    assert report.levels["fast"].values == 60 * 2 * (20 + 14 + 6)
    assert report.counters is not None
    assert report.counters.reads == report.counters.reads_bound


@pytest.mark.usefixtures("_verilator")
@pytest.mark.parametrize("device", ["ideal", NOISY], ids=["ideal", "noisy"])
def test_the_rtl_agrees_and_so_do_its_counters(device: str | devices.Device) -> None:
    codes = random_codes(2, 7, 16)
    report = ot.verify(
        compiled(device), codes.astype(np.float32), levels=("golden", "fast", "verilator")
    )
    assert report.agree, str(report)
    assert report.levels["verilator"].against == "fast"
    assert report.counters is not None
    assert report.counters.predicted
    assert not report.counters.differing


def test_arrays_are_numbered_over_all_tiles() -> None:
    """And their noise with them: equal images in two tiles give other codes."""
    net = compiled(NOISY)
    with FastTarget(net) as target:
        arrays = target.crossbars()
        assert len(arrays) == sum(len(part.program.arrays) for part in net.parts)
        assert sorted(arrays) == sorted(
            part.array_base + spec.core for part in net.parts for spec in part.program.arrays
        )
        assert {array.array for array in arrays.values()} == set(arrays)
        assert [part.array_base for part in net.parts] == [2 * n for n in range(len(net.parts))]


def test_a_difference_names_tile_and_arrays() -> None:
    net = compiled(NOISY)
    codes = random_codes(2, 20, 16)
    report = ot.verify(net, codes.astype(np.float32), levels=("golden", "fast"))
    first = report.levels["fast"].first_divergence
    assert first is not None
    golden = run_network(net.network, codes)
    with connect("fast", net) as target:
        fast = target.run(codes)
    assert fast[first.tensor][first.sample, first.index] == first.got
    assert golden[first.tensor][first.sample, first.index] == first.expected
    assert first.cores
    assert {core // CHIP.cores for core in first.cores} == {first.tile}
    # Other outputs of the layer lie on other tiles.
    from ohmtwin.host.compare import _cores

    places = [_cores(net, "fc0", (output,)) for output in range(20)]
    assert all(places)
    assert len({cores[0] // CHIP.cores for cores in places}) > 1


@pytest.mark.usefixtures("_verilator")
def test_read_numbers_and_counters_of_all_tiles() -> None:
    net = compiled(NOISY)
    codes = random_codes(2, 3, 16)
    with FastTarget(net) as fast, VerilatorTarget(net) as rtl:
        for target in (fast, rtl):
            target.run(codes)
        assert fast.counters == rtl.counters
        assert fast.counters is not None
        per_tile = [tile.counters for tile in fast._tiles.values()]
        assert fast.counters.reads == sum(c.reads for c in per_tile) > 0
        assert len(fast.counters.core_reads) == CHIP.cores * len(net.parts)
        assert add_counters(per_tile[:1]) == per_tile[0]
        assert {n: a.reads for n, a in fast.crossbars().items()} == {
            n: a.reads for n, a in rtl.crossbars().items()
        }


def test_time_on_several_tiles_is_refused_in_one_sentence() -> None:
    with (
        FastTarget(compiled(NOISY)) as target,
        pytest.raises(CapacityError, match=r"takes .* tiles"),
    ):
        target.advance(seconds=1.0)
