# SPDX-License-Identifier: Apache-2.0
"""What the host does about drift, ADCs, stuck cells and wires."""

import dataclasses

import numpy as np
import pytest
from networks import SMALL_CHIP, random_codes, random_network
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import ConfigError, InputError
from ohmtwin.behavioral import devices
from ohmtwin.behavioral.devices import Device
from ohmtwin.host.compiler.mapping import map_network
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.compiler.placement import place, placement_cost, seeded_fault_maps
from ohmtwin.host.graph import Network
from ohmtwin.host.targets import connect

CHIP = SMALL_CHIP

# Row parts and a table; several column parts; layers of one block.
NETWORKS = {
    "parts": random_network(1, (21, 7, 5), table_after=0),
    "wide": random_network(2, (16, 12, 3)),
    "one": random_network(3, (30, 5)),
}


def clean(**sections: object) -> Device:
    """A cell in which nothing is wrong but what is given."""
    return devices.rram(spread=0.0, read_noise=0.0, bandwidth=0.0, on_off_ratio=1e9, **sections)


FAULTY = clean(faults={"stuck_on": 0.02, "stuck_off": 0.04})


def compiled(
    net: Network, device: Device, chip: Chip = CHIP, seed: int = 3, **options: object
) -> CompiledNetwork:
    return compile_network(net, chip=chip, device=device, seed=seed, **options)


def distance(one: CompiledNetwork, codes: NDArray[np.uint8], layer: str) -> float:
    """Mean squared difference of a layer's sums from golden's."""
    with connect("fast", one) as fast, connect("golden", one) as golden:
        error = fast.run(codes)[layer].astype(np.float64) - golden.run(codes)[layer]
    return float((error**2).mean())


# Drift.


@pytest.mark.parametrize("mode", ["global", "reference"])
def test_compensation_finds_what_drift_took(mode: str) -> None:
    # All states drift alike, by a known factor, and nothing else is wrong.
    device = clean(drift={"nu": 0.05, "t0": 1.0})
    for name, net in NETWORKS.items():
        one = compiled(net, device)
        with connect("fast", one) as target:
            target.advance(seconds=1e4)
            gains = target.compensate(mode, reads=400)
            for core, gain in gains.items():
                assert gain == pytest.approx(1e4**0.05, rel=0.02), (name, core)
            # What is in force counts: a second measurement finds the same.
            again = target.compensate(mode, reads=400)
            for core, gain in gains.items():
                assert again[core] == pytest.approx(gain, rel=0.02), (name, core)


@pytest.mark.parametrize("mode", ["global", "reference"])
def test_compensation_recovers_sums(mode: str) -> None:
    codes = random_codes(0, 50, 21)
    one = compiled(NETWORKS["parts"], devices.pcm())
    errors = []
    with connect("golden", one) as golden, connect("fast", one) as target:
        want = golden.run(codes)["fc0.acc"].astype(np.float64)

        def error() -> float:
            return float(((target.run(codes)["fc0.acc"] - want) ** 2).mean())

        errors.append(error())
        target.advance(seconds=86400.0)
        errors.append(error())
        target.compensate(mode)
        errors.append(error())
    fresh, drifted, compensated = errors
    assert drifted > 20 * fresh
    assert compensated < fresh + 0.1 * (drifted - fresh)


def test_global_is_one_factor_and_reference_one_an_array() -> None:
    with connect("fast", compiled(NETWORKS["parts"], devices.pcm())) as target:
        target.advance(seconds=86400.0)
        assert len(set(target.compensate("global").values())) == 1
        assert len(set(target.compensate("reference").values())) == 3


def test_measuring_takes_reads_of_every_array() -> None:
    with connect("fast", compiled(NETWORKS["parts"], devices.pcm())) as target:
        target.compensate("reference", reads=10)
        assert [c.reads for c in target.crossbars().values()] == [10, 10, 10]
        with pytest.raises(InputError, match="at least 1 read, not 0"):
            target.compensate(reads=0)
        with pytest.raises(InputError, match="no compensation 'local'"):
            target.compensate("local")


# Lanes.


def test_lane_calibration_finds_gain_and_offset() -> None:
    device = clean(adc={"gain": 0.8, "offset": 3.0})
    with connect("fast", compiled(NETWORKS["one"], device)) as target:
        report = target.calibrate_lanes(reads=400)
        assert sorted(report.lanes) == [0, 1]
        for trim in report.lanes.values():
            np.testing.assert_allclose(trim.gain, 0.8, rtol=0.02)
            np.testing.assert_allclose(trim.offset, 3.0, atol=0.4)
        # Only rounding is left: codes 0.8 apart cannot all be told from each other.
        assert report.before > 1.0
        assert report.after < 0.5


def test_lane_calibration_helps_lanes_that_differ() -> None:
    device = devices.rram(adc={"gain_spread": 0.1, "offset_spread": 2.0})
    codes = random_codes(0, 50, 30)
    one = compiled(NETWORKS["one"], device)
    with connect("golden", one) as golden, connect("fast", one) as target:
        want = golden.run(codes)["fc0.acc"].astype(np.float64)
        before = ((target.run(codes)["fc0.acc"] - want) ** 2).mean()
        report = target.calibrate_lanes()
        after = ((target.run(codes)["fc0.acc"] - want) ** 2).mean()
    assert report.after < 0.7 * report.before
    assert after < 0.3 * before


COARSE = CHIP.with_(adc_step=2)
"""Codes that count two levels."""

SLICED = CHIP.with_(slice_reads=True, lanes=4)
"""Columns of a lane are not neighbours."""


@pytest.mark.parametrize("chip", [COARSE, SLICED], ids=["coarse", "sliced"])
def test_lanes_of_other_converters(chip: Chip) -> None:
    """Gain and offset are in codes, whatever those count, and of the columns of each lane."""
    device = clean(adc={"gain_spread": 0.15, "offset_spread": 1.5})
    one = compiled(NETWORKS["one"], device, chip)
    with connect("fast", one) as target:
        tables = [crossbar.image.adc_table for crossbar in target.crossbars().values()]
        report = target.calibrate_lanes(reads=600)
        for trim, table in zip(report.lanes.values(), tables, strict=True):
            assert table is not None
            codes = np.arange(4, 9)  # those that most reads make
            made = trim.gain[:, None] * codes + trim.offset[:, None]
            np.testing.assert_allclose(made, table[:, codes], atol=1.0)
        assert report.after < 0.5
        assert report.before > 2 * report.after


def test_drift_of_coarse_codes_is_compensated_for() -> None:
    device = clean(drift={"nu": 0.05, "t0": 1.0})
    with connect("fast", compiled(NETWORKS["parts"], device, COARSE)) as target:
        target.advance(seconds=1e4)
        for gain in target.compensate("reference", reads=400).values():
            assert gain == pytest.approx(1e4**0.05, rel=0.05)


def test_ideal_lanes_are_left_alone() -> None:
    with connect("fast", compiled(NETWORKS["one"], devices.rram())) as target:
        report = target.calibrate_lanes()
        assert report.lanes == {}
        assert target.crossbars()[0].image.adc_table is None


# Stuck cells.


@pytest.mark.parametrize("name", NETWORKS)
def test_placement_lowers_the_expected_error(name: str) -> None:
    mapping = map_network(NETWORKS[name], CHIP)
    for seed in range(5):
        maps = seeded_fault_maps(CHIP, FAULTY, seed)
        before = placement_cost(mapping, maps)
        after = placement_cost(place(mapping, maps), maps)
        assert before["fc0"] > 0
        assert after["fc0"] < before["fc0"], seed


@pytest.mark.parametrize("name", NETWORKS)
def test_cost_is_the_error_that_evenly_spread_codes_see(name: str) -> None:
    net = NETWORKS[name]
    maps = seeded_fault_maps(CHIP, FAULTY, 0)
    codes = np.random.default_rng(0).integers(0, 256, (4000, net.layers[0].inputs)).astype(np.uint8)
    for placed in (False, True):
        one = compiled(net, clean(), fault_maps=maps, place_around_faults=placed)
        want = placement_cost(one.mapping, maps)["fc0"] / net.layers[0].outputs
        assert distance(one, codes, "fc0.acc") == pytest.approx(want, rel=0.1)


def test_calibration_codes_weigh_the_inputs() -> None:
    # Half of the inputs are always 0: their rows are the place for stuck cells.
    net = NETWORKS["one"]
    codes = random_codes(4, 200, 30)
    codes[:, ::2] = 0
    mapping = map_network(net, CHIP)
    maps = seeded_fault_maps(CHIP, FAULTY, 1)
    known = placement_cost(place(mapping, maps, codes), maps, codes)["fc0"]
    blind = placement_cost(place(mapping, maps), maps, codes)["fc0"]
    assert known < 0.5 * blind
    with pytest.raises(InputError, match=r"uint8 \[n, 30\] with n of 1 or more"):
        place(mapping, maps, codes[:, 1:])


@pytest.mark.parametrize("cell_bits", [1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_placed_network_computes_the_same(name: str, cell_bits: int) -> None:
    net = NETWORKS[name]
    chip = CHIP if cell_bits == 2 else CHIP.with_(cell_bits=1, cols=64)
    # Placed around faults, then run on arrays that have none.
    placed = place(map_network(net, chip), seeded_fault_maps(chip, FAULTY, 2))
    assert placed.layers[0].stored.tolist() != list(range(net.layers[0].outputs))
    one = compiled(net, devices.ideal(), chip, fault_maps=seeded_fault_maps(chip, FAULTY, 2))
    assert [m.stored.tolist() for m in one.mapping.layers] == [
        m.stored.tolist() for m in placed.layers
    ]
    healthy = CompiledNetwork(
        net, one.mapping, one.device, one.seed, one.program, one.notes, {}, None
    )
    codes = random_codes(0, 20, net.layers[0].inputs)
    with connect("golden", healthy) as golden, connect("fast", healthy) as fast:
        want, found = golden.run(codes), fast.run(codes)
        for tensor, values in want.items():
            np.testing.assert_array_equal(found[tensor], values, err_msg=tensor)
        counters = fast.counters
        assert counters is not None
        assert counters.reads == healthy.reads_bound(codes, found)


def test_reads_bound_follows_outputs_across_row_parts() -> None:
    # Sixteen outputs in one array are the inputs of two.
    chip = CHIP.with_(cores=5, rows=8, cols=64, rows_per_read=2)
    net = random_network(6, (8, 24, 3))
    one = compiled(net, clean(), chip, fault_maps=seeded_fault_maps(chip, FAULTY, 1))
    order = one.mapping.layers[1].input_order
    assert (order // 8 != np.arange(24) // 8).any()
    codes = random_codes(0, 20, 8)
    with connect("fast", one) as fast:
        found = fast.run(codes)
        counters = fast.counters
    assert counters is not None
    assert counters.reads == one.reads_bound(codes, found)


def test_clocked_chip_runs_a_placed_network() -> None:
    net = NETWORKS["parts"]
    one = compiled(net, devices.rram(), fault_maps=seeded_fault_maps(CHIP, FAULTY, 2))
    codes = random_codes(0, 6, 21)
    with connect("fast", one) as fast, connect("verilator", one) as clocked:
        want, found = fast.run(codes), clocked.run(codes)
        for tensor, values in want.items():
            np.testing.assert_array_equal(found[tensor], values, err_msg=tensor)
        assert fast.counters == clocked.counters


def test_spare_slots_are_used_where_nobody_reads_on() -> None:
    # Every slot of the last layer's five is spoilt; three spares are whole.
    net = NETWORKS["one"]
    cells = np.zeros((CHIP.rows, CHIP.cols), np.int8)
    cells[:, : 3 * CHIP.slices] = 1
    placed = place(map_network(net, CHIP), {0: cells})
    assert placed.layers[0].stored[:3].tolist() == [-1, -1, -1]
    assert placement_cost(placed, {0: cells})["fc0"] == 0
    program = compiled(net, clean(), fault_maps={0: cells}).program
    # Spares hold nothing: no current, no parameters.
    assert not program.arrays[0].levels[:, : 3 * CHIP.slices].any()
    assert program.params[:3].tolist() == [0, 0, 0]
    assert program.params[3:8].all()
    # The first layer's codes are read by the second, so its three stay where they are.
    first = place(map_network(NETWORKS["parts"], CHIP), {0: cells}).layers[0]
    assert sorted(first.stored.tolist()) == list(range(7))


def test_insignificant_slices_meet_the_stuck_cells() -> None:
    # Slot 0 has lost its most significant slice, slot 1 its least, all others everything.
    cells = np.full((CHIP.rows, CHIP.cols), -1, np.int8)
    cells[:, : 2 * CHIP.slices] = 0
    cells[:, CHIP.slices - 1] = -1
    cells[:, CHIP.slices] = -1
    net = random_network(5, (8, 2))
    # Stored as 0xff, which loses 192 or 3, and as 0x3f, which loses 0 or 3.
    layer = dataclasses.replace(net.layers[0], weights=np.array([[127] * 8, [-65] * 8], np.int8))
    net = dataclasses.replace(net, layers=(layer,))
    placed = place(map_network(net, CHIP), {0: cells})
    assert placed.layers[0].stored.tolist() == [1, 0]
    # Eight errors of 3 with inputs of mean 127.5 and variance 5461.25.
    want = 8 * 9 * (256**2 - 1) / 12 + (8 * 3 * 127.5) ** 2
    assert placement_cost(placed, {0: cells})["fc0"] == pytest.approx(want)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ({9: np.zeros((16, 32), np.int8)}, "core 9, but chip 'small' has cores 0 to 3"),
        ({0: np.zeros((16, 31), np.int8)}, r"core 0 cannot be used: .* must be \[16, 32\]"),
        ({1: np.full((16, 32), 3, np.int8)}, "core 1 cannot be used: .* not 3 at row 0"),
    ],
)
def test_bad_fault_maps(maps: dict[int, NDArray[np.int8]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compiled(NETWORKS["one"], devices.rram(), fault_maps=maps)


# Wires.


def test_predistortion_takes_ir_drop_off() -> None:
    wires = {"r_row": 8.0, "r_col": 8.0, "r_driver": 8.0, "r_sense": 8.0}
    device = clean(wires=wires)
    net = NETWORKS["one"]
    codes = random_codes(0, 40, 30)
    plain, corrected = (
        distance(compiled(net, device, headroom=headroom), codes, "fc0.acc")
        for headroom in (None, 0.6)
    )
    assert plain > 0
    assert corrected < 0.05 * plain


def test_predistorted_arrays_save_and_restore(tmp_path) -> None:
    device = devices.rram(wires={"r_row": 5.0, "r_col": 5.0}, drift={"nu": 0.05, "t0": 1.0})
    one = compiled(NETWORKS["one"], device, headroom=0.8)
    codes = random_codes(0, 4, 30)
    with connect("fast", one) as target, connect("fast", one) as other:
        target.advance(seconds=1e4)
        target.save_state(tmp_path / "chip.npz")
        other.restore_state(tmp_path / "chip.npz")
        np.testing.assert_array_equal(other.run(codes)["fc0"], target.run(codes)["fc0"])


def test_headroom_is_a_share() -> None:
    with pytest.raises(ConfigError, match=r"above 0 and at most 1, not 1\.5"):
        compiled(NETWORKS["one"], devices.rram(), headroom=1.5)
