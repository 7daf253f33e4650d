# SPDX-License-Identifier: Apache-2.0
"""The netlist of a fabric, in the ECP5's own cells, equals the other levels; a mutant does not."""

import dataclasses
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "host"))

from networks import random_codes, random_network

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import ToolError
from ohmtwin.behavioral.machine import Counters
from ohmtwin.fpga import tools
from ohmtwin.fpga.crossbar.image import EmulatorConfig
from ohmtwin.fpga.netlist import synthesize, vendor_cells
from ohmtwin.host import emulated
from ohmtwin.host import verify as verifying
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.driver import LinkError
from ohmtwin.host.emulated import NetlistTarget
from ohmtwin.host.netlist_build import build_netlist, fabric_netlist, simulate_netlist
from ohmtwin.host.targets import FastTarget
from ohmtwin.host.toolchain import Progress
from ohmtwin.host.verify import verify

CHIP = Chip(
    name="netlist", cores=1, rows=16, cols=16, lanes=4, adc_bits=6, rows_per_read=8,
    program_words=64, data_words=16, param_words=16, tables=1, fifo_words=16,
)  # fmt: skip
CONFIG = EmulatorConfig(columns=2)
LAYER = (14, 4)


def compiled() -> CompiledNetwork:
    return compile_network(random_network(5, LAYER), chip=CHIP, device="rram", seed=3)


def differences(library: Path) -> int:
    """Values that the netlist gets wrong in 20 samples; counters count as one."""
    net = compiled()
    codes = random_codes(1, 20, LAYER[0])
    with FastTarget(net) as fast, NetlistTarget(net, config=CONFIG, library=library) as netlist:
        want, found = fast.run(codes), netlist.run(codes)
        wrong = sum(int((want[name] != found[name]).sum()) for name in want)
        return wrong + (fast.counters != netlist.counters)


def test_the_netlist_equals_fast() -> None:
    """With noise, in every tensor and every counter."""
    assert differences(build_netlist(CHIP, CONFIG)) == 0


def test_four_levels_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """RTL, netlist and a board on a serial line equal fast: every tensor, every counter."""
    pytest.importorskip("serial", reason="pyserial is not installed")

    class Small(NetlistTarget):
        def __init__(self, net: CompiledNetwork, progress: Progress | None = None) -> None:
            super().__init__(net, progress, config=CONFIG)

    monkeypatch.setattr(emulated, "NetlistTarget", Small)
    x = random_codes(1, 3, LAYER[0]).astype(np.float32)
    levels = ("fast", "verilator", "netlist", "serial")
    report = verify(compiled(), x, levels=levels, target="serial:simulated")
    assert report.agree, report
    assert all(report.levels[name].required for name in levels[1:])
    assert report.levels["serial"].values > 0
    assert report.counters is not None
    counted = {one.level: one.details for one in (report.counters, *report.more_counters)}
    assert set(counted) == set(levels[1:])
    assert counted["verilator"] == counted["netlist"] == counted["serial"]


def test_counters_of_every_level_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A level that is not the first clocked one miscounts, and the report says so."""
    right = FastTarget._counters

    class Wrong(FastTarget):
        name = "netlist"

        def _counters(self) -> Counters:
            counters = right(self)
            return dataclasses.replace(counters, cycles=counters.cycles + 1)

    class Right(FastTarget):
        name = "verilator"

    makes = {"fast": FastTarget, "verilator": Right, "netlist": Wrong}
    monkeypatch.setattr(verifying, "connect", lambda name, net, tell: makes[name](net))
    x = random_codes(1, 2, LAYER[0]).astype(np.float32)
    report = verify(compiled(), x, levels=("fast", "verilator", "netlist"))
    assert not report.agree
    assert report.problems[0].startswith("1 counters of netlist differ from what fast predicts")


def test_a_mutant_of_one_lut_is_caught() -> None:
    """One bit of one LUT of the requantizer: results differ, or the tile fails."""
    netlist = fabric_netlist(CHIP, CONFIG, "ecp5")
    # The last before a high bit, which Yosys numbers last: what low ones do may be rounded away.
    where = r"(\\\S*requantizer0\.significand1_TRELLIS_FF_Q_(\d+)\S*)"
    luts = list(re.finditer(rf"LUT4 #\(\s*\.INIT\(16'h([0-9a-f]{{4}})\)\s*\) {where}", netlist))
    assert luts
    lut = max(luts, key=lambda found: (int(found[3]), -len(found[2])))
    changed = int(lut[1], 16) ^ 0xFFFF
    mutant = f"{netlist[: lut.start(1)]}{changed:04x}{netlist[lut.end(1) :]}"
    try:
        wrong = differences(simulate_netlist(mutant, "ecp5"))
    except LinkError:
        wrong = 1
    assert wrong


def test_cells_have_models() -> None:
    text = vendor_cells("ecp5")
    assert text.count("endmodule") == 7
    assert "specify" not in text
    assert "module SB_LUT4" in vendor_cells("ice40")


def _written(folder: Path) -> dict[Path, tuple[int, int]]:
    """Files that hold anything, each with what changes when it is written."""
    states = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    return {
        path: (state.st_ino, state.st_mtime_ns) for path, state in states.items() if state.st_size
    }


def test_tools_that_begin_together_on_a_fresh_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One compiles the program, and nobody writes that file again: others have it mapped."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(tools.tool_environment, "yowasp-ecppack") for _ in range(2)]
    places = {run.result()["YOWASP_CACHE_DIR"] for run in runs}
    before = _written(tmp_path)
    assert len(places) == len(before) == 1
    tools.run_tool("yowasp-ecppack", ["--version"], tmp_path)
    assert _written(tmp_path) == before


def test_a_tool_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    broken = tmp_path / "yowasp-broken"
    broken.write_text("#!/bin/sh\necho no memory\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(tools, "find_tool", lambda name: str(broken))
    with pytest.raises(ToolError, match=r"(?s)^yowasp-broken failed; the end of .*no memory$"):
        tools.tool_environment("yowasp-broken")
    assert not list(tmp_path.rglob("building-*"))


def test_a_tool_that_cannot_keep_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk: it compiles itself anew at every call, which is what must not be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    broken = tmp_path / "yowasp-broken"
    broken.write_text(
        '#!/bin/sh\necho "no space left"\nsleep 0.01\necho half > "$YOWASP_CACHE_DIR/half"\n',
        encoding="utf-8",
    )
    broken.chmod(0o755)
    monkeypatch.setattr(tools, "find_tool", lambda name: str(broken))
    with pytest.raises(ToolError, match=r"(?s)^yowasp-broken failed; .*no space left$"):
        tools.tool_environment("yowasp-broken")
    assert not list(tmp_path.rglob("half"))


def test_missing_and_failing_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ToolError, match=r"no-such-tool was not found.*pip install 'ohmtwin\[fpga"):
        tools.find_tool("no-such-tool")
    (tmp_path / "log").write_text("\n".join(f"line {k}" for k in range(99)), encoding="utf-8")
    monkeypatch.setattr(tools, "find_tool", lambda name: sys.executable)
    with pytest.raises(ToolError, match=r"(?s)^python failed; the end of .*line 98\n.*Boom"):
        tools.run_tool("python", ["-c", "raise SystemExit('Boom')"], tmp_path, log="log")
    with pytest.raises(ValueError, match="family must be one of ecp5, ice40, not 'spartan'"):
        synthesize("", "spartan")
