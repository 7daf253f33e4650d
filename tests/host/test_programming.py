# SPDX-License-Identifier: Apache-2.0
"""Arrays that the chip programs itself: the RTL and its specification leave the same cells."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import SMALL_CHIP, random_codes, random_network
from typer.testing import CliRunner

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import ConfigError, InputError
from ohmtwin.behavioral import devices
from ohmtwin.behavioral.devices import Device
from ohmtwin.fpga.boards import BOARDS
from ohmtwin.fpga.crossbar.image import EmulatorConfig
from ohmtwin.fpga.resources import check_fit
from ohmtwin.host.cli import app
from ohmtwin.host.commands import program
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.compiler.placement import seeded_fault_maps
from ohmtwin.host.faultfile import load_faults, save_faults
from ohmtwin.host.programming import (
    ProgramOptions,
    ProgramReport,
    find_faults,
    program_arrays,
    settings_of,
)
from ohmtwin.host.refresh import RefreshSchedule, run_refreshed
from ohmtwin.host.targets import Target, connect

MODEL = Path(__file__).parents[2] / "examples" / "models" / "digits_qdq.onnx"
CHIP = SMALL_CHIP.with_(name="writes", program_verify=True)


def device(**more: Any) -> Device:
    """RRAM whose pulses shrink, with everything that stands between a cell and its read."""
    write = {
        "voltage": 3.0,
        "time": 1e-8,
        "energy": 1e-11,
        "response": {"pulses": 80, "nonlinearity": 1.5, "spread": 0.3},
    }
    given: dict[str, Any] = {
        "write": write,
        "faults": {"stuck_on": 0.01, "stuck_off": 0.01},
        "driver": {"gain_spread": 0.01},
        "drift": {"nu": 0.05, "t0": 1.0},
        "endurance": {"cycles": 1e6},
    }
    return devices.rram(**(given | more))


ROTATED = CHIP.with_(cores=1, arrays_per_core=3)
"""All arrays behind one set of converters."""


def compiled(kind: Device | None = None, *, chip: Chip = CHIP, **more: Any) -> CompiledNetwork:
    network = random_network(1, (21, 7, 5), table_after=0)
    return compile_network(network, chip=chip, device=kind or device(), seed=3, **more)


def assert_equal_state(fast: Target, clocked: Target) -> None:
    assert fast.state is not None
    assert clocked.state is not None
    for number, state in fast.state.arrays.items():
        for name, array in state.to_arrays().items():
            np.testing.assert_array_equal(clocked.state.arrays[number].to_arrays()[name], array)
    assert {n: c.reads for n, c in clocked.crossbars().items()} == {
        n: c.reads for n, c in fast.crossbars().items()
    }


@pytest.mark.parametrize("chip", [CHIP, ROTATED], ids=["an array a core", "rotation"])
@pytest.mark.chips
def test_rtl_programs_as_specified(chip: Chip, tmp_path: Path) -> None:
    """Pulses, cells, counters and all tensors: first written, run, refreshed, restored, run."""
    net = compiled(chip=chip)
    options = ProgramOptions(tolerance=0.03, limit=30)
    codes = [random_codes(n, 4, 21) for n in range(3)]
    with connect("fast", net) as fast, connect("verilator", net) as clocked:
        for step, how in enumerate(
            (options, ProgramOptions(tolerance=0.05, erase=False, limit=9, average=1, recheck=True))
        ):
            reports = [program_arrays(target, how) for target in (fast, clocked)]
            assert reports[0].counts == reports[1].counts
            assert reports[0].pulses > 1000 if step == 0 else reports[0].pulses > 0
            for number, want in reports[0].arrays.items():
                found = reports[1].arrays[number]
                np.testing.assert_array_equal(found.pulses, want.pulses)
                np.testing.assert_array_equal(found.iterations, want.iterations)
                np.testing.assert_array_equal(found.failed, want.failed)
                np.testing.assert_array_equal(found.error, want.error)
            assert_equal_state(fast, clocked)
            want_codes, found_codes = fast.run(codes[step]), clocked.run(codes[step])
            for name, tensor in want_codes.items():
                np.testing.assert_array_equal(found_codes[name], tensor, err_msg=name)
            assert clocked.counters == fast.counters
            for target in (fast, clocked):
                target.advance(seconds=1e4)
        clocked.save_state(tmp_path / "state.npz")
        fast.run(codes[2])  # forgotten by the restore
        fast.restore_state(tmp_path / "state.npz")
        for name, tensor in fast.run(codes[2]).items():
            if name in net.tensors:
                np.testing.assert_array_equal(clocked.run(codes[2])[name], tensor)
                break
        assert_equal_state(fast, clocked)


def test_the_test_of_a_chip_finds_its_stuck_cells() -> None:
    """All of them, at both levels, and nothing else; unreadable ones would be worn cells."""
    kind = device(faults={"stuck_on": 0.02, "stuck_off": 0.03})
    net = compiled(kind)
    wanted = {core: seeded_fault_maps(CHIP, kind, 3)[core] for core in range(3)}
    with connect("fast", net) as fast, connect("verilator", net) as clocked:
        found = find_faults(fast)
        again = find_faults(clocked)
    assert found
    for number, cells in found.items():
        np.testing.assert_array_equal(cells, wanted[number])
        np.testing.assert_array_equal(again[number], cells)


def test_mapping_avoids_the_cells_that_were_found(tmp_path: Path) -> None:
    """Weights placed around the map of a file come out nearer to exact ones than without."""
    kind = device(faults={"stuck_on": 0.02, "stuck_off": 0.02}, drift=None, driver=None)
    path = tmp_path / "faults.json"
    with connect("fast", compiled(kind)) as fast:
        save_faults(path, CHIP, find_faults(fast))
    shape, maps = load_faults(path)
    assert shape == (CHIP.rows, CHIP.cols)
    codes = random_codes(5, 60, 21)
    errors, stuck = [], []
    for place in (False, True):
        net = compiled(kind, fault_maps=maps, place_around_faults=place)
        with connect("golden", net) as golden, connect("fast", net) as fast:
            report = program_arrays(fast)
            stuck.append(report.failures)
            exact = golden.run(codes)["fc0.acc"].astype(np.int64)
            errors.append(float(np.abs(fast.run(codes)["fc0.acc"] - exact).mean()))
    assert errors[1] < 0.6 * errors[0]
    assert stuck[1] > 0  # cells that do no harm are still reported


def test_refresh_on_a_schedule() -> None:
    """Drift over the samples; refreshed cells hold their levels, at both levels alike."""
    kind = device(faults=None, drift={"nu": 0.1, "t0": 1.0})
    net = compiled(kind)
    codes = random_codes(1, 12, 21)
    runs = {}
    for name, schedule in {
        "every": RefreshSchedule(every=4, sample_time=1e3),
        "after": RefreshSchedule(after=3.5e3, sample_time=1e3),
        "never": RefreshSchedule(every=100, sample_time=1e3),
    }.items():
        with connect("fast", net) as fast:
            first = program_arrays(fast)
            fast.advance(seconds=1e3)
            runs[name] = run_refreshed(fast, codes, schedule)
            # The clock of drift starts with a refresh, and none comes behind the last sample.
            since = {"every": 4e3, "after": 4e3, "never": 13e3}[name]
            assert fast.state is not None
            assert {array.elapsed for array in fast.state.arrays.values()} == {since}
            if name == "every":
                with connect("verilator", net) as clocked:
                    program_arrays(clocked)
                    clocked.advance(seconds=1e3)
                    same = run_refreshed(clocked, codes, schedule)
                    assert_equal_state(fast, clocked)
                for tensor, want in runs[name].tensors.items():
                    np.testing.assert_array_equal(same.tensors[tensor], want)
    assert len(runs["every"].refreshes) == 2
    # From where the cells are, not from the lowest level.
    assert all(0 < report.pulses < 0.8 * first.pulses for report in runs["every"].refreshes)
    for tensor, want in runs["every"].tensors.items():
        np.testing.assert_array_equal(runs["after"].tensors[tensor], want)
    assert not runs["never"].refreshes
    with connect("golden", net) as golden:
        exact = golden.run(codes)["fc0.acc"].astype(np.int64)
    off = {n: np.abs(run.tensors["fc0.acc"] - exact)[4:].mean() for n, run in runs.items()}
    assert off["every"] < 0.8 * off["never"]


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    plain = compile_network(random_network(1, (21, 7, 5)), chip=SMALL_CHIP, device=device())
    with (
        connect("fast", plain) as fast,
        pytest.raises(ConfigError, match=r"^Chip 'small' cannot program its arrays: it has no"),
    ):
        program_arrays(fast)
    net = compiled()
    with (
        connect("golden", net) as golden,
        pytest.raises(InputError, match=r"^Level golden has no arrays that take pulses"),
    ):
        program_arrays(golden)
    with (
        connect("fast", compiled(device(wires={"r_row": 1.0}), headroom=0.9)) as fast,
        pytest.raises(ConfigError, match=r"^Arrays that were compiled with a headroom cannot be"),
    ):
        program_arrays(fast)
    for wrong, why in (
        ({"every": 1, "after": 1.0}, "needs its samples or its seconds"),
        ({"every": 0}, "every 1 or more samples, not 0"),
        ({"after": 1.0}, "samples that take time"),
        ({"after": -1.0, "sample_time": 1.0}, "after more than 0 seconds, not -1"),
        ({"every": 1, "sample_time": -1.0}, "time of a sample must be 0 or more"),
    ):
        with pytest.raises(ConfigError, match=why):
            RefreshSchedule(**wrong)
    path = tmp_path / "faults.json"
    good = '{"kind": "ohmtwin fault map", "rows": 16, "cols": 32, "arrays": '
    for text, why in (
        ("x", "is no JSON file"),
        ("{}", "field 'kind' is not"),
        (good.replace("16", "0") + "{}}", "fields 'rows', 'cols' and 'arrays' must be there"),
        (good + '{"a": {}}}', "by the number of the array, not 'a'"),
        (good + '{"0": {"on": [[16, 0]]}}}', r"within 16 rows and 32 columns, not \[16, 0\]"),
        (good + '{"0": {"on": [[1, 2]], "off": [[1, 2]]}}}', r"cell \[1, 2\] both stuck on and"),
        (good + '{"1": {}, "01": {}}}', "array 1 is there twice; give all its cells once"),
        (good + '{"0": {"on": 3}}}', r"array 0, field 'on': cells are \[row, column\]"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=why):
            load_faults(path)
    with pytest.raises(ConfigError, match="the fault map cannot be read: No such file"):
        load_faults(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="which the arrays of a board do not take"):
        check_fit(next(iter(BOARDS.values())), CHIP, EmulatorConfig())


def test_the_command(tmp_path: Path) -> None:
    """Program, report, write a map, place around it; and what it refuses."""
    random = np.random.default_rng(0)
    data = tmp_path / "x.npz"
    x = random.integers(0, 17, (6, 64)).astype(np.float32)
    np.savez(data, x=x, y=random.integers(0, 10, 6))
    faults, report = tmp_path / "f.json", tmp_path / "r.json"

    def run(*more: str) -> int:
        arguments = [MODEL, "--data", str(data), "--levels", "fast", *more]
        result = CliRunner().invoke(app, ["program", *map(str, arguments)])
        output.append(" ".join(result.output.split()))
        return result.exit_code

    output: list[str] = []
    sliced = tmp_path / "sliced.toml"
    sliced.write_text("slice_reads = true\n", encoding="utf-8")
    assert run("--test", str(faults)) == 0
    assert "0 cells stuck on and 0 stuck off" in output[-1]
    assert run("--faults", str(faults), "--json", str(report), "--refresh-every", "4") == 0
    assert "100 equal steps" in output[-1]
    found = json.loads(report.read_text(encoding="utf-8"))["levels"]["fast"]
    assert found["refreshes"] == 1
    assert found["pulses"] > 100_000
    assert found["given_up"] == 0
    assert found["cells"] == {}
    assert run("--limit", "1", "--samples", "1", "--json", str(report)) == 0
    found = json.loads(report.read_text(encoding="utf-8"))["levels"]["fast"]
    given_up = [len(cells[end]) for cells in found["cells"].values() for end in ("on", "off")]
    assert sum(given_up) == found["given_up"] == found["stuck_on"] + found["stuck_off"] > 1000
    for more, why in (
        (("--levels", "golden"), "programmed at the levels fast and verilator, not 'golden'"),
        (("--tolerance", "2"), "tolerance and the gain of writing must be above 0 and at most 1"),
        (("--fine", "13"), "fine of 0 to 12, not 13"),
        (("--sample-time", "1"), "A refresh needs its samples or its seconds"),
        (("--faults", str(report)), "field 'kind' is not"),
        (("--chip", "lenet3", "--faults", str(faults)), "choose one of"),
        (("--levels", "fast,fast"), "--levels names fast twice"),
        (("--test", str(faults), "--refresh-every", "4"), "--test writes and reads cells, it runs"),
        (("--chip", str(sliced)), "slice_reads does not go with program_verify"),
    ):
        assert run(*more) == 2
        assert why in output[-1]


def test_levels_that_differ_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second level whose noise is another: exit 1, and how much differs."""
    random = np.random.default_rng(0)
    data, report = tmp_path / "x.npz", tmp_path / "r.json"
    x = random.integers(0, 17, (6, 64)).astype(np.float32)
    np.savez(data, x=x, y=random.integers(0, 10, 6))

    def connect_other(level: str, net: CompiledNetwork, bars: object) -> Target:
        return connect("fast", net if level == "fast" else replace(net, seed=net.seed + 1))

    monkeypatch.setattr(program, "connect", connect_other)
    call = ["program", str(MODEL), "--data", str(data), "--json", str(report)]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 1
    assert " differ\n" in result.output
    assert json.loads(report.read_text(encoding="utf-8"))["differing"] > 100


def test_every_kind_of_difference_counts() -> None:
    report = ProgramReport({}, settings_of(CHIP, device(), ProgramOptions()), 5, 6, 7, 8)
    one = program._Found(
        *("fast", report, (report,)),
        {0: np.zeros((2, 2), np.int8)},
        {0: np.zeros((2, 2))},
        {"t": np.zeros(3, np.int32)},
        None,
    )
    assert one.counts.tolist() == [10, 12, 14, 16]
    assert one.differing(one) == 0
    for change in (
        {"maps": {0: np.array([[0, 1], [0, 0]], np.int8)}},
        {"cells": {0: np.array([[0, 0], [0, 1e-9]])}},
        {"tensors": {"t": np.array([0, 0, 1], np.int32)}},
        {"report": replace(report, cycles=9)},
        {"refreshes": (replace(report, failures=9),)},
    ):
        assert one.differing(replace(one, **change)) == 1
