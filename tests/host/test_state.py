# SPDX-License-Identifier: Apache-2.0
"""Time on targets: advancing, saving and restoring, the same bits at every level."""

from pathlib import Path

import numpy as np
import pytest
from networks import SMALL_CHIP, random_codes, random_network
from numpy.typing import NDArray

from ohmtwin.arch.errors import ConfigError, InputError
from ohmtwin.behavioral import devices
from ohmtwin.behavioral.devices import Device
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.targets import ClosedTargetError, Target, connect
from ohmtwin.host.verify import verify

CHIP = SMALL_CHIP

Tensors = dict[str, NDArray[np.generic]]


def everything() -> Device:
    """RRAM with every effect that enters reads, strong enough that minutes and reads show."""
    return devices.rram(
        variation={"die": 0.02, "device": 0.05, "cycle": 0.02, "correlated": 0.03},
        verify={"tolerance": 0.02, "read_spread": 0.002},
        faults={"stuck_on": 0.005, "stuck_off": 0.01},
        retention={"time": 1e6, "loss": 0.3, "activation_energy": 1.1, "spread": 0.3},
        drift={"nu": 0.05, "nu_off": 0.08, "nu_spread": 0.01, "t0": 1.0},
        telegraph={
            "amplitude": 0.05,
            "exponent": 0.5,
            "capture": 1e-3,
            "emission": 1e-3,
            "time_spread": 6.0,
            "slow_above": 1e-3,
        },
        flicker={"coefficient": 1e-5, "f_low": 1.0},
        disturb={"rate": 1e-4, "reverse_rate": 8e-5, "alternate": True},
        temperature_coefficients={"on": -1e-3, "off": 2e-3},
        adc={"gain_spread": 0.03, "offset_spread": 0.7, "comparator_noise": 0.2},
        driver={"gain_spread": 0.01},
        wires={"r_row": 0.5, "r_col": 0.5, "r_driver": 50.0, "r_sense": 20.0},
        reference_noise=True,
    )


def network(device: Device | str, seed: int = 3, weights: int = 1) -> CompiledNetwork:
    net = random_network(weights, (21, 7, 5), table_after=0)
    return compile_network(net, chip=CHIP, device=device, seed=seed)


def assert_equal(found: Tensors, want: Tensors) -> None:
    assert list(found) == list(want)
    for name, array in want.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def history(target: Target, path: Path) -> list[Tensors]:
    """Runs with all that can come between them."""
    codes = [random_codes(n, 5, 21) for n in range(6)]
    runs = [target.run(codes[0])]
    target.advance(seconds=100.0)
    runs.append(target.run(codes[1]))
    target.advance(seconds=3600.0, temperature=350.0)
    target.advance()
    runs.append(target.run(codes[2]))
    target.compensate("global")
    runs.append(target.run(codes[3]))
    target.calibrate_lanes()
    target.compensate("reference")
    target.save_state(path)
    runs.append(target.run(codes[4]))
    target.advance(seconds=1e5, temperature=300.0)
    runs.append(target.run(codes[5]))
    return runs


def test_fast_equals_verilator_after_any_history(tmp_path: Path) -> None:
    compiled = network(everything())
    with connect("fast", compiled) as fast, connect("verilator", compiled) as clocked:
        for found, want in zip(
            history(clocked, tmp_path / "clocked.npz"),
            history(fast, tmp_path / "fast.npz"),
            strict=True,
        ):
            assert_equal(found, want)
        assert clocked.counters == fast.counters
    assert (tmp_path / "fast.npz").read_bytes() == (tmp_path / "clocked.npz").read_bytes()


@pytest.mark.parametrize("level", ["fast", "verilator"])
def test_a_restored_target_continues_with_the_same_bits(tmp_path: Path, level: str) -> None:
    path = tmp_path / "chip.npz"
    with connect("fast", network(everything())) as target:
        runs = history(target, path)
    with connect(level, network(everything())) as other:
        other.run(random_codes(9, 3, 21))  # what came before is forgotten
        other.restore_state(path)
        assert_equal(other.run(random_codes(4, 5, 21)), runs[4])
        other.advance(seconds=1e5, temperature=300.0)
        assert_equal(other.run(random_codes(5, 5, 21)), runs[5])


def test_each_kind_of_time_is_felt() -> None:
    def image(device: Device, reads: int, **passed: float) -> NDArray[np.int32]:
        with connect("fast", network(device)) as target:
            target.run(random_codes(0, reads, 21))
            target.advance(**passed)
            return target.crossbars()[0].image.g

    plain = devices.rram()
    drifting = devices.rram(drift={"nu": 0.05, "t0": 1.0})
    warm = devices.rram(temperature_coefficients={"on": -1e-3})
    disturbed = devices.rram(disturb={"rate": 1e-4})
    np.testing.assert_array_equal(image(plain, 20, seconds=1e6), image(plain, 0))
    assert image(drifting, 0, seconds=1e6).sum() < 0.6 * image(drifting, 0).sum()
    assert image(warm, 0, temperature=350.0).sum() < 0.97 * image(warm, 0).sum()
    assert image(disturbed, 20).sum() < 0.99 * image(disturbed, 0).sum()


def test_reads_are_disturbing_once_however_time_is_split() -> None:
    device = devices.rram(disturb={"rate": 1e-4})
    images = []
    for stops in ((True, True, True), (False, False, True)):
        with connect("fast", network(device)) as target:
            for number, stop in enumerate(stops):
                target.run(random_codes(number, 3, 21))
                if stop:
                    target.advance(seconds=1.0)
            state = target.state
            assert state is not None
            # Eight rows a read, spread over the 13 rows in use.
            reads, used = target.crossbars()[1].reads, state.rows_used(1)
            assert used == 13
            given = state.arrays[1].read_counts.sum(axis=0)
            assert given[:used].tolist() == [reads * 8 // 13] * 13
            assert not given[used:].any()
            images.append(target.crossbars()[1].image.g)
    np.testing.assert_array_equal(*images)


def test_targets_of_a_network_age_each_on_their_own() -> None:
    compiled = network(devices.pcm())
    with connect("fast", compiled) as old, connect("fast", compiled) as young:
        old.advance(seconds=1e7)
        codes = random_codes(0, 4, 21)
        aged, fresh = old.run(codes), young.run(codes)
    with connect("fast", network(devices.pcm())) as again:
        assert_equal(again.run(codes), fresh)
    assert (aged["fc0.acc"] != fresh["fc0.acc"]).any()


def test_golden_knows_no_time(tmp_path: Path) -> None:
    with connect("golden", network(everything())) as target:
        before = target.run(random_codes(0, 4, 21))
        target.advance(seconds=1e9, temperature=400.0)
        assert dict(target.compensate()) == {}
        assert target.calibrate_lanes().lanes == {}
        assert_equal(target.run(random_codes(0, 4, 21)), before)
        with pytest.raises(InputError, match="Level golden has no arrays"):
            target.save_state(tmp_path / "x.npz")
        with pytest.raises(ConfigError, match="0 or more"):
            target.advance(seconds=-1.0)


@pytest.mark.parametrize(
    ("passed", "message"),
    [
        ({"seconds": -1.0}, "seconds to advance must be 0 or more, not -1"),
        ({"seconds": float("nan")}, "seconds to advance must be 0 or more, not nan"),
        ({"temperature": -3.0}, "temperature must be 0 kelvin or more, not -3"),
    ],
)
def test_impossible_times_change_nothing(passed: dict[str, float], message: str) -> None:
    with connect("fast", network(devices.pcm())) as target:
        before = target.crossbars()[0].image
        with pytest.raises(ConfigError, match=message):
            target.advance(**passed)
        assert target.crossbars()[0].image is before


def test_states_of_other_chips_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "chip.npz"
    with connect("fast", network("pcm")) as target:
        target.advance(seconds=10.0)
        target.save_state(path)
    wide = compile_network(
        random_network(1, (21, 7, 5), table_after=0), chip=CHIP.with_(lanes=4), device="pcm", seed=3
    )
    for other, field in (
        (network("rram"), "device"),
        (network("pcm", seed=4), "seed"),
        (network("pcm", weights=2), "network"),
        (wide, "chip"),
    ):
        with connect("fast", other) as target:
            before = target.crossbars()[0].image
            with pytest.raises(ConfigError, match=rf"chip\.npz: field '{field}' differs"):
                target.restore_state(path)
            assert target.crossbars()[0].image is before


def test_damaged_states_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "chip.npz"
    with connect("fast", network("pcm")) as target:
        target.save_state(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ConfigError, match=r"chip\.npz: the state cannot be read \(damaged\)"):
            target.restore_state(path)
        path.write_bytes(b"")
        with pytest.raises(ConfigError, match=r"chip\.npz: the state cannot be read \(damaged\)"):
            target.restore_state(path)
        with pytest.raises(ConfigError, match="No such file"):
            target.restore_state(tmp_path / "none.npz")
        path.write_bytes(whole)
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        arrays["0/programmed"][0, 0] *= 2
        np.savez(path, **arrays)
        with pytest.raises(ConfigError, match="field 'hash' does not fit"):
            target.restore_state(path)
        state = target.state
        assert state is not None
        np.savez(path, **state.arrays[0].to_arrays())
        with pytest.raises(ConfigError, match="field 'kind' is missing"):
            target.restore_state(path)
        with pytest.raises(InputError, match="cannot be written"):
            target.save_state(tmp_path / "none" / "chip.npz")


def test_a_closed_target_has_no_time() -> None:
    target = connect("fast", network("pcm"))
    target.close()
    with pytest.raises(ClosedTargetError):
        target.advance(seconds=1.0)


def test_verify_runs_aged_arrays_at_every_level() -> None:
    net = network(everything())
    x = random_codes(0, 6, 21).astype(np.float32)
    young = verify(net, x, levels=("golden", "fast"))
    old = verify(net, x, levels=("golden", "fast", "verilator"), age=1e5, temperature=320.0)
    assert old.agree
    assert old.levels["verilator"].mismatches == 0
    assert old.levels["fast"].mismatches != young.levels["fast"].mismatches
    with pytest.raises(ConfigError, match="0 or more, not -1"):
        verify(net, x, levels=("golden",), age=-1.0)
