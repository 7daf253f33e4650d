# SPDX-License-Identifier: Apache-2.0
"""The command line beyond verify: listings, export, benchmarks, failures, interruption."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ohmtwin.arch.chip import load_chip
from ohmtwin.arch.errors import ToolError
from ohmtwin.arch.isa import assemble
from ohmtwin.host import bench
from ohmtwin.host.cli import app
from ohmtwin.host.commands import rtl as cli_rtl
from ohmtwin.host.commands import verify as cli_verify
from ohmtwin.host.compiler.network import compile_network
from ohmtwin.host.files import write_text

MODEL = Path(__file__).parents[2] / "examples" / "models" / "digits_qdq.onnx"


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_help_and_version() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for command in ("verify", "bench", "devices", "chips", "rtl", "doctor", "compile"):
        assert command in result.stdout
    assert re.fullmatch(r"ohmtwin \d+\.\d+.*\n", run("--version").stdout)


def test_chips_and_devices_are_listed() -> None:
    chips = json.loads(run("chips", "--json").stdout)
    assert [chip["cores"] for chip in chips] == sorted(chip["cores"] for chip in chips)
    assert {"tile4", "tile32"} <= {chip["name"] for chip in chips}
    devices = {device["name"]: device for device in json.loads(run("devices", "--json").stdout)}
    assert {"ideal", "rram"} <= devices.keys()
    for name in ("tile4", "128x128", "zero_skip"):
        assert name in run("chips").stdout
    for name in ("ideal", "rram", "on_off_ratio"):
        assert name in run("devices").stdout


def test_the_listing_assembles_to_the_program() -> None:
    result = run("compile", str(MODEL), "--chip", "tile4", "--schedule", "baseline")
    assert result.exit_code == 0
    assert "# core  0: fc1 inputs 0..63, outputs 0..31" in result.stdout
    chip = load_chip("tile4").with_(row_schedule="baseline")
    compiled = compile_network(MODEL, chip=chip, device="ideal")
    assert tuple(assemble(result.stdout)) == compiled.program.instructions


def test_rtl_writes_a_complete_folder_and_overwrites_only_its_own(tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert run("rtl", "-o", str(output), "--chip", "tile4").exit_code == 0
    listed = [
        line
        for line in (output / cli_rtl.FILE_LIST).read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("//")
    ]
    assert "tile.v" in listed
    assert all((output / name).is_file() for name in listed)
    text = (output / "tile.v").read_text(encoding="utf-8")
    assert "module tile(" in text
    assert "crossbar_macro" in text
    included = re.findall(r'#include "(.*)"', "".join(p.read_text() for p in output.glob("*.[ch]")))
    assert all((output / name).is_file() for name in included)
    (output / "tile.v").write_text("old", encoding="utf-8")
    (output / "mine.txt").write_text("kept", encoding="utf-8")
    assert run("rtl", "-o", str(output)).exit_code == 0
    assert (output / "tile.v").read_text(encoding="utf-8") == text
    assert (output / "mine.txt").read_text(encoding="utf-8") == "kept"


def test_rtl_refuses_a_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years", encoding="utf-8")
    result = run("rtl", "-o", str(tmp_path))
    assert result.exit_code == 2
    assert "holds files that this command did not write" in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    result = run("rtl", "-o", str(tmp_path / "thesis.tex"))
    assert result.exit_code == 2
    assert "is a file; name a folder" in result.stderr
    result = run("rtl", "-o", str(tmp_path / "a" / "b"))
    assert result.exit_code == 2
    assert "there is no folder" in result.stderr


def test_bench_writes_each_figure_with_unit_and_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(self: bench.Source) -> dict[str, dict[str, Any]]:
        return {key: {"value": 1.5, "unit": "u", "how": "counted"} for key in self.keys}

    monkeypatch.setattr(bench.Source, "run", measured)
    path = tmp_path / "b.json"
    assert run("bench", "--json", str(path)).exit_code == 0
    found = json.loads(path.read_text(encoding="utf-8"))
    assert set(found) >= {
        "sim.cycles_per_s",
        "sim.ratio_to_stub",
        "sim.cycles_per_s_8_lanes",
        "sim.ratio_to_stub_8_lanes",
        "sim.cycles_per_s_16_rows",
        "sim.ratio_to_stub_16_rows",
        "sim.images_per_s",
        "fast.reads_per_s",
        "fast.products_per_s",
        "fast.lenet_1000_s",
        "compile.lenet_s",
        "compile.ten_million_s",
        "compile.ten_million_gib",
        "adc_busy.baseline",
        "adc_busy.zero_skip",
        "zero_skip.reads_over_bound",
        "recovered.code",
        "recovered.code_4_rows",
        "recovered.budgets",
        "irdrop.max_rel_diff",
        "irdrop.speedup",
        "irdrop.solve_s",
    }
    assert all(set(entry) == {"value", "unit", "how"} for entry in found.values())
    assert run("bench", "--only", "fast, adc_busy", "--json", str(path)).exit_code == 0
    without = run("bench", "--only", "adc_busy")
    assert without.exit_code == 0
    assert "How each was measured is what --json FILE writes" in without.output
    groups = {key.partition(".")[0] for key in json.loads(path.read_text(encoding="utf-8"))}
    assert groups == {"fast", "adc_busy"}


def test_bench_functions_exist_and_groups_are_checked(tmp_path: Path) -> None:
    from ohmtwin.bench import figures

    for source in bench.GROUPS:
        assert callable(getattr(figures, source.function))
    unknown = "no group 'fst'; choose from adc_busy, compile, ecc, fast"
    for only, message in (("fst", unknown), (",", "no group")):
        result = run("bench", "--only", only, "--json", str(tmp_path / "b.json"))
        assert result.exit_code == 2
        assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_figure_that_is_not_what_was_promised_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from ohmtwin.bench import figures

    monkeypatch.setattr(figures, "fast_reads", lambda: {"fast.reads": {"value": 1.0}})
    with pytest.raises(ValueError, match=r"fast_reads must give value, unit and how"):
        bench.Source("fast_reads", ("fast.reads_per_s",)).run()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "d.npz"
    np.savez(path, x=np.zeros((2, 64), np.float32))
    return path


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def verify(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli_verify, "verify", verify)


def test_a_failing_tool_is_a_sentence_and_exit_1(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(ToolError("Verilator was not found; install it"), monkeypatch)
    report = data.with_name("r.json")
    result = run("verify", str(MODEL), "--data", str(data), "--json", str(report))
    assert result.exit_code == 1
    assert "Error: Verilator was not found; install it" in result.stderr
    assert "ohmtwin doctor" in result.stderr
    assert "Traceback" not in result.output
    assert not report.exists()


def test_interruption_is_exit_130(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(KeyboardInterrupt(), monkeypatch)
    report = data.with_name("r.json")
    result = run("verify", str(MODEL), "--data", str(data), "--json", str(report))
    assert result.exit_code == 130
    assert "Traceback" not in result.output
    assert not report.exists()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.json"
    write_text(path, "old\n")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ValueError, match="No space left on device"):
        write_text(path, "new\n")
    assert path.read_text(encoding="utf-8") == "old\n"
    assert list(tmp_path.iterdir()) == [path]
