# SPDX-License-Identifier: Apache-2.0
"""What all builds of Verilated models share: flags, compiler calls, the runtime, the cache."""

import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..behavioral.buildcache import file_parts, locked
from .toolchain import Job, Log, Progress, Tools, run_jobs

__all__ = [
    "BRANCHES",
    "C_SOURCES",
    "FAST",
    "GATES",
    "RECIPE",
    "SV",
    "VERILATE",
    "Recipe",
    "build_library",
    "build_runtime",
    "compile_job",
    "join_sources",
    "link_library",
    "locked",
    "one_trigger",
    "parse_headers",
    "run_counted",
    "silent",
    "verilate",
]

_PACKAGE = Path(__file__).parents[1]
SV = _PACKAGE / "rtl" / "sv"
_CSRC = _PACKAGE / "behavioral" / "csrc"
C_SOURCES = (
    _CSRC / "ohm_crossbar.c",
    _CSRC / "ohm_crossbar.h",
    _CSRC / "ohm_noise.h",
    _CSRC / "ohm_pulses.h",
    _CSRC / "ohm_rows.h",
    _CSRC / "ohm_step.h",
    _CSRC / "gaussian_table.h",
)
RECIPE = (
    Path(__file__),
    Path(__file__).with_name("verilator_build.py"),
    Path(__file__).with_name("toolchain.py"),
)
"""How things are built is part of their key."""

# rtl/emit.py writes conditions as branches; these two would make expressions of them again, to be
# evaluated in every cycle.
BRANCHES = ("-fno-dfg", "-fno-table")

VERILATE = (
    "--cc",
    "-O3",
    # A two-state simulation starts from zero, as the FPGA does; no code is spent on unknowns.
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--no-assert",
    "--no-timing",
    *BRANCHES,
    # Generated Verilog; what Verilator would say of it is the RTL tests' to find.
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
    # Files small enough that two processors share the work.
    "--output-split",
    "12000",
)

_CXXFLAGS = (
    # Verilator's headers take a third longer to parse as C++20.
    "-std=gnu++17",
    "-march=native",
    "-fPIC",
    # Calls inside the library are direct, and two models in a process never share a symbol.
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",
    "-w",
    # rtl/sv/verilator_failures.cpp: a failure inside a model must not end the process.
    "-DVL_USER_FATAL",
    "-DVL_USER_STOP",
    "-DVL_USER_FINISH",
)

_LINK = ("-Wl,-Bsymbolic",) if sys.platform == "linux" else ("-undefined", "dynamic_lookup")

FAST = "-O2"
"""-O3 makes generated code larger and a tenth slower; -O1 compiles in two thirds of the time and
makes it 3 to 8 percent slower."""

GATES = "-O1"
"""For netlists: much code that runs little."""

_CROSSBAR = "-O3"
_SLOW = "-O0"
_UNOPTIMIZED = b'#pragma GCC optimize ("O0")'
"""Constructors and the first settling of the model run once."""

_JOINED_BYTES = 2_000_000
"""Of generated code in one call of the compiler: small models take two, which run side by side."""

_FAILURES = SV / "verilator_failures.cpp"
_HEADERS = ("verilated.h", "verilated_dpi.h")
_PARSED = "ohm_headers.h"
_RUNTIME = ("verilated.cpp", "verilated_dpi.cpp", "verilated_threads.cpp")
_RUNTIME_TRACE = ("verilated_vcd_c.cpp",)


def build_runtime(tools: Tools, common: Sequence[str], trace: bool, progress: Progress) -> Path:
    """What all models share: Verilator's own C++, what it calls when a model fails, and the
    crossbar, as a folder of objects."""
    include = tools.root / "include"
    plain = None
    if trace:
        # The same objects and one more.
        plain = build_runtime(tools, common, False, progress)
        sources = [include / name for name in _RUNTIME_TRACE]
    else:
        sources = [*(include / name for name in _RUNTIME), C_SOURCES[0], _FAILURES]

    def build(folder: Path) -> None:
        for path in plain.glob("*.o") if plain is not None else ():
            shutil.copy(path, folder)
        log = Log(folder.name)
        jobs = [compile_job(tools, path, ()) for path in sources]
        run_counted("compiling the runtime", jobs, tools, folder, log, progress)

    names = (path.name for path in sources)
    return locked(
        ["runtime", *names, *common, *file_parts([*C_SOURCES, _FAILURES, *RECIPE])], build
    )


def parse_headers(tools: Tools, common: Sequence[str], progress: Progress) -> Path | None:
    """Verilator's headers, parsed once for all models: what :func:`compile_job` takes.

    They take the compiler more time than the code of a small model, and 70 MB in the cache. Clang
    refuses what other flags have made, where GCC parses again: with Clang there is none.
    """
    if any("#define __clang__" in text for text in common):
        return None

    def build(folder: Path) -> None:
        header = folder / _PARSED
        header.write_text("".join(f'#include "{name}"\n' for name in _HEADERS), encoding="utf-8")
        command = (str(tools.cxx), *_CXXFLAGS, FAST, *tools.include)
        command += ("-x", "c++-header", _PARSED, "-o", f"{_PARSED}.gch")
        job = Job(_PARSED, command)
        run_counted("parsing the headers", [job], tools, folder, Log(folder.name), progress)

    return locked(["headers", *common, *file_parts(RECIPE)], build) / _PARSED


def compile_job(
    tools: Tools,
    source: Path,
    defines: Sequence[str],
    fast: str = FAST,
    headers: Path | None = None,
) -> Job:
    """The call that compiles a source, generated or ours, in the folder it runs in.

    Parameters
    ----------
    tools : Tools
    source : Path
    defines : sequence of str
        Further flags.
    fast : str
        Optimization of what runs every cycle.
    headers : Path, optional
        From :func:`parse_headers`.
    """
    is_c = source.suffix == ".c"
    # Parsed headers fit optimized code only; what is joined says itself that it is not to be.
    headers = None if fast == _SLOW else headers
    # Constructors, the first settling and Verilator's runtime do not run every cycle.
    slow = "__Slow" in source.name or source.name.startswith("verilated")
    flags = [*_CXXFLAGS, _SLOW if slow and headers is None else fast]
    if is_c:
        flags[-1] = _CROSSBAR
        # The crossbar keeps its exports: Python programs the arrays through them.
        flags = [
            "-x",
            "c",
            "-std=gnu11",
            *(f for f in flags if not f.startswith(("-std", "-fvis"))),
        ]
    elif headers is not None:
        defines = [*defines, "-include", str(headers)]
    include = [*tools.include, "-I.", f"-I{SV}", f"-I{_CSRC}"]
    command = (
        str(tools.cxx),
        *flags,
        *include,
        *defines,
        "-c",
        str(source),
        "-o",
        f"{source.stem}.o",
    )
    return Job(source.name, command, cost=source.stat().st_size)


def join_sources(work: Path, sources: Sequence[Path]) -> list[Path]:
    """Join generated C++ sources in ``work`` to fewer, larger files.

    Each source parses Verilator's headers, which takes longer than most of them by themselves.
    What runs once stays apart from what runs every cycle, as :func:`compile_job` tells them.
    """
    joined: list[Path] = []
    for ending in ("", "__Slow"):
        bins: list[list[Path]] = []
        room = 0
        for source in sorted(sources):
            if ("__Slow" in source.name) != bool(ending):
                continue
            size = source.stat().st_size
            if size > room:
                bins.append([])
                room = _JOINED_BYTES
            bins[-1].append(source)
            room -= size
        for number, part in enumerate(bins):
            path = work / f"joined{number}{ending}.cpp"
            first = [_UNOPTIMIZED] if ending else []
            path.write_bytes(b"\n".join([*first, *(source.read_bytes() for source in part)]))
            joined.append(path)
    return joined


def verilate(
    tools: Tools,
    work: Path,
    prefix: str,
    top: str,
    sources: Sequence[str | Path],
    log: Log,
    flags: Sequence[str] = VERILATE,
) -> None:
    """Verilate module ``top`` to C++ in ``work``, its names beginning with ``prefix``."""
    command = (str(tools.verilator), *flags, "--top-module", top, "--prefix", prefix)
    command += ("-Mdir", ".", *map(str, sources))
    run_jobs([Job("verilator", command)], tools, work, log, lambda _: None)


@dataclass(frozen=True)
class Recipe:
    """A Verilated model with C++ of ours around it, as one shared library.

    Parameters
    ----------
    top, prefix : str
        The module, and what the names of its C++ begin with.
    verilog : str
        Its source, generated; it becomes ``tile.v``.
    inputs : sequence of Path
        Further sources for Verilator.
    ours : sequence of Path
        C and C++ sources that are compiled beside it.
    library : str
        Name of the result.
    flags : sequence of str
        For Verilator.
    defines : callable
        From the folder of the generated sources, what the C++ is compiled with.
    fast : str
        Optimization of what runs every cycle.
    trace : bool
        With what waveforms need.
    """

    top: str
    prefix: str
    verilog: str
    inputs: Sequence[Path]
    ours: Sequence[Path]
    library: str
    flags: Sequence[str] = VERILATE
    defines: Callable[[Path], Sequence[str]] = lambda work: ()
    fast: str = FAST
    trace: bool = False


def build_library(
    key: Sequence[str | bytes], recipe: Recipe, tools: Tools, report: Progress
) -> Path:
    """Build a library unless the cache has what ``key`` and the versions of the tools name.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    common = tools.versions()

    def build(folder: Path) -> None:
        runtime = build_runtime(tools, common, recipe.trace, report)
        headers = parse_headers(tools, common, report)
        work = folder / "work"
        work.mkdir()
        (work / "tile.v").write_text(recipe.verilog, encoding="utf-8")
        log = Log(folder.name)
        report("verilating", 0, 1)
        inputs: list[str | Path] = [*recipe.inputs, "tile.v"]
        verilate(tools, work, recipe.prefix, recipe.top, inputs, log, recipe.flags)
        defines = recipe.defines(work)
        jobs = [
            compile_job(tools, source, defines, recipe.fast, headers)
            for source in [*join_sources(work, list(work.glob("*.cpp"))), *recipe.ours]
        ]
        run_counted("compiling", jobs, tools, work, log, report)
        objects = sorted([*work.glob("*.o"), *runtime.glob("*.o")])
        link_library(tools, work, objects, folder / recipe.library, log)
        shutil.rmtree(work)
        report("ready", 1, 1)

    return locked([*key, *common], build) / recipe.library


def link_library(
    tools: Tools, work: Path, objects: Sequence[Path], library: Path, log: Log
) -> None:
    """Link objects to a shared library."""
    link = (str(tools.cxx), "-shared", "-o", str(library), *map(str, objects), *_LINK, "-lm")
    run_jobs([Job("link", link)], tools, work, log, lambda _: None)


def one_trigger(work: Path, top: str, *, inputs: bool = False) -> bool:
    """Whether the rising edge of ``clk`` is the only event of the generated model ``top``.

    The harness then calls what follows it directly (``OHM_SINGLE_EVAL``). With any doubt it does
    not: a Verilator that names things differently costs speed, never a wrong bit.

    Parameters
    ----------
    work : Path
        Where the generated sources are.
    top : str
        Their prefix.
    inputs : bool
        Whether the model has inputs beside its clock; what hangs on them is evaluated by itself.
    """
    header = (work / f"{top}___024root.h").read_text(encoding="utf-8")
    text = "".join(path.read_text(encoding="utf-8") for path in work.glob(f"{top}___024root*.cpp"))
    edges = set(re.findall(r"__Vtrigprevexpr\w*", header))
    triggers = re.findall(r"VlUnpacked<QData/\*63:0\*/, (\d+)> __VnbaTriggered", header)
    tested = set(re.findall(r"if \(\((0x[0-9a-f]+|\d+)ULL & vlSelfRef\.__VnbaTriggered", text))
    act = re.search(r"bool \w*___eval_phase__act\(.*?\n}\n", text, re.DOTALL)
    idle_act = act is not None and "return (0U);" in act[0]
    return (
        edges == {"__Vtrigprevexpr___TOP__clk__0"}
        and triggers == ["1"]
        and tested == {"1"}
        and idle_act
        and ("__VicoTriggered" in header) == inputs
        and (not inputs or _first_only(text, top))
        and f"void {top}___024root___eval_nba({top}___024root* vlSelf)" in text
    )


def _first_only(text: str, top: str) -> bool:
    """Whether what hangs on the inputs is evaluated once an evaluation, all of it."""
    tested = set(re.findall(r"if \(\((0x[0-9a-f]+|\d+)ULL & vlSelfRef\.__VicoTriggered", text))
    vector = re.search(r"void \w*___eval_triggers_vec__ico\(.*?\n}\n", text, re.DOTALL)
    return (
        tested == {"1"}
        and vector is not None
        and vector[0].count("__VicoTriggered[") == 2
        and "__VicoFirstIteration" in vector[0]
        and f"void {top}___024root___eval_ico({top}___024root* vlSelf)" in text
    )


def silent(what: str, done: int, steps: int) -> None:
    """A progress callback that says nothing."""


def run_counted(
    what: str, jobs: Sequence[Job], tools: Tools, folder: Path, log: Log, progress: Progress
) -> None:
    """:func:`run_jobs`, telling how many are done."""
    count = 0

    def done(_: Job) -> None:
        nonlocal count
        count += 1
        progress(what, count, len(jobs))

    progress(what, 0, len(jobs))
    run_jobs(jobs, tools, folder, log, done)
