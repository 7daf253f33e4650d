# SPDX-License-Identifier: Apache-2.0
"""Yosys, nextpnr and the packers: finding them and running them."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..arch.errors import ToolError

__all__ = ["find_tool", "run_tool"]

_LAST_LINES = 15


def find_tool(name: str) -> str:
    """A YoWASP program, beside this interpreter or on the PATH, else the native one.

    Raises
    ------
    ToolError
        If there is none, with how to install it.
    """
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    found = found or shutil.which(name.removeprefix("yowasp-"))
    if found is None:
        raise ToolError(
            f"{name} was not found, which bitstreams and netlists need; run "
            "pip install 'ohmtwin[fpga]'"
        )
    return found


def run_tool(name: str, arguments: Sequence[str], folder: Path, *, log: str | None = None) -> None:
    """Run a tool in a folder.

    Parameters
    ----------
    log : str, optional
        File in the folder that it writes what it has to say to.

    Raises
    ------
    ToolError
        If it is missing or fails, with the end of what it said.
    """
    done = subprocess.run(
        [find_tool(name), *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        file = None if log is None else folder / log
        said = done.stdout
        if file is not None and file.is_file():
            said = file.read_text(encoding="utf-8", errors="replace") + "\n" + said
        lines = said.strip().splitlines()[-_LAST_LINES:] or ["(it printed nothing)"]
        raise ToolError("\n".join([f"{name} failed; the end of what it said:", *lines]))
