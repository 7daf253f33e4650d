# SPDX-License-Identifier: Apache-2.0
"""A bitstream with the real tools, small enough for every run of the tests; and what is refused."""

import gc
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import CapacityError, ConfigError, InputError
from ohmtwin.fpga import build
from ohmtwin.fpga.boards import find_board
from ohmtwin.fpga.build import REPORT, build_bitstream
from ohmtwin.fpga.crossbar.image import EmulatorConfig, Noise
from ohmtwin.fpga.resources import KINDS, count_cells, group
from ohmtwin.host.cli import app
from ohmtwin.host.commands import boards

# What they share is built in one worker.
pytestmark = pytest.mark.xdist_group("board build")

# Without noise, so that it takes a minute.
QUIET = EmulatorConfig(columns=1, noise=Noise.NONE, cell_variance=False, adc_table=False)
BOARD = replace(find_board("icebreaker"), config=QUIET)
CHIP = Chip(cores=1, rows=8, cols=8, lanes=2, adc_bits=5, rows_per_read=8, name="smallest")


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Amaranth warns of modules that a refused build has left, when they are collected."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("boards") / "icebreaker"
    report = build_bitstream(BOARD, CHIP, output, seeds=1)
    assert report.meets_clock
    return output


def test_a_bitstream(built: Path) -> None:
    data = (built / "top.bin").read_bytes()
    assert bytes.fromhex("7eaa997e") in data[:64]  # the preamble of an iCE40
    report = json.loads((built / REPORT).read_text(encoding="utf-8"))
    assert report["board"] == "icebreaker"
    assert report["baud"] == BOARD.baud
    page = (Path(__file__).parents[2] / "docs" / "bringup.md").read_text(encoding="utf-8")
    assert all(f"`{key}`" in page for key in report)
    assert report["chip_hash"] == f"{CHIP.structure_hash:016x}"
    assert report["fpga.fmax_mhz_worst"] == report["fmax_mhz"]["1"] > report["clock_mhz"] == 12
    assert report["fpga.build_s"] > 0
    assert len(report["critical_path"]) > 2
    for kind in KINDS:
        assert sum(cells[kind] for cells in report["modules"].values()) == report["totals"][kind]
        assert report["totals"][kind] <= report["capacity"][kind]
    link = [cells for path, cells in report["modules"].items() if path.startswith("fabric.link")]
    array = [cells for path, cells in report["modules"].items() if ".array" in path]
    assert sum(cells["lut"] for cells in link) > 300
    assert sum(cells["lut"] for cells in array) > 300


def test_a_rate_of_the_line_reaches_the_fabric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Seen(Exception):
        pass

    def fabric(**arguments: object) -> None:
        raise Seen(arguments["baud"])

    monkeypatch.setattr(build, "BoardFabric", fabric)
    for baud, wanted in ((None, 3_000_000), (115_200, 115_200)):
        with pytest.raises(Seen, match=f"^{wanted}$"):
            build_bitstream(BOARD, CHIP, tmp_path / "x", baud=baud)


def test_loading_it(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def run(command: list[str], check: bool) -> SimpleNamespace:
        calls.append(command)
        return SimpleNamespace(returncode=0 if "-f" in command else 1)

    def program(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["fpga", "program", *arguments])
        return result.exit_code, result.output

    monkeypatch.setattr(boards.subprocess, "run", run)
    monkeypatch.setattr(boards.shutil, "which", lambda name: f"/bin/{name}")
    assert program("--board", "icebreaker", str(built), "--flash")[0] == 0
    assert calls[0][:4] == ["/bin/openFPGALoader", "-b", BOARD.loader, "-f"]
    assert calls[0][4] == str(built / "top.bin")
    slow = tmp_path / "slow"
    slow.mkdir()
    report = json.loads((built / REPORT).read_text(encoding="utf-8"))
    assert "may compute wrong" not in program("--board", "icebreaker", str(built))[1]
    (slow / REPORT).write_text(json.dumps(report | {"meets_clock": False}), encoding="utf-8")
    (slow / "top.bin").touch()
    assert "may compute wrong results" in program("--board", "icebreaker", str(slow))[1]
    code, output = program("--board", "icebreaker", str(built))
    assert (code, "openFPGALoader failed" in output) == (1, True)
    code, output = program("--board", "ulx3s-85f", str(built))
    assert (code, "bitstream for board icebreaker, not for" in output) == (2, True)
    code, output = program("--board", "ulx3s-85f", str(tmp_path))
    assert (code, "holds no bitstream; build one with" in output) == (2, True)
    monkeypatch.setattr(boards.shutil, "which", lambda name: None)
    code, output = program("--board", "icebreaker", str(built))
    assert (code, "apt-get install openfpgaloader" in output) == (1, True)


def test_what_cannot_be_built(tmp_path: Path) -> None:
    ulx = find_board("ulx3s-85f")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"-o .* is a file; name a folder"):
        build_bitstream(BOARD, CHIP, tmp_path / "file")
    with pytest.raises(InputError, match="holds files that this command did not write"):
        build_bitstream(BOARD, CHIP, tmp_path)
    with pytest.raises(InputError, match=r"^The number of seeds must be 1 to 100, not 0$"):
        build_bitstream(BOARD, CHIP, tmp_path / "x", seeds=0)
    with pytest.raises(CapacityError, match="too small for a tile"):
        build_bitstream(BOARD, CHIP.with_(cores=2), tmp_path / "x")
    with pytest.raises(CapacityError, match=r"needs about \d+ block RAMs, but board icebreaker"):
        build_bitstream(BOARD, Chip(cores=1), tmp_path / "x")
    with pytest.raises(ConfigError, match="runs its fabric from its oscillator, at 12 MHz"):
        build_bitstream(BOARD, CHIP, tmp_path / "x", clock_hz=20_000_000)
    with pytest.raises(InputError, match="cannot make 3000000 baud"):
        build_bitstream(ulx, ulx.load_chip(), tmp_path / "x", clock_hz=10_000_000)
    assert not (tmp_path / "x").exists()
    result = CliRunner().invoke(
        app, ["fpga", "build", "--board", "ulx9", "-o", str(tmp_path / "x")]
    )
    assert (result.exit_code, "There is no board 'ulx9'" in result.output) == (2, True)


def test_cells_belong_to_modules(tmp_path: Path) -> None:
    cells = {
        name: {"type": kind}
        for name, kind in {
            "a": "$scopeinfo",
            "a.b": "$scopeinfo",
            "a.b$3": "$scopeinfo",
            "a.b.x_LUT4_Z": "LUT4",
            "a.b$3.y_CCU2C_S0": "CCU2C",
            "a.sum.0_TRELLIS_FF_Q": "TRELLIS_FF",
            "pin": "TRELLIS_IO",
            "c_DP16KD": "DP16KD",
        }.items()
    }
    netlist = tmp_path / "top.json"
    netlist.write_text(json.dumps({"modules": {"top": {"cells": cells}}}), encoding="utf-8")
    found = count_cells(netlist)
    assert found == {
        "a.b": Counter(lut=1),
        "a.b$3": Counter(lut=2),
        "a": Counter(ff=1),
        "": Counter(bram=1),
    }
    assert group(found, 1) == {"": Counter(bram=1), "a": Counter(lut=3, ff=1)}
    assert group(found, 2)["a.b"] == Counter(lut=3)
