# SPDX-License-Identifier: Apache-2.0
"""A chip of many tiles as a shared library.

A tile is Verilated once, and so is a router; the library instantiates them as often as the mesh has
them (``rtl/sv/mesh_parts.cpp``), so that its build does not grow with the
mesh, and meshes of all sizes share it.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..arch.chip import Chip
from ..arch.noc import HEADER_FIELDS, MeshShape
from ..arch.noc_interface import CONTROL_USER, DATA_USER, HOST_ROUTE, ControlKind
from ..behavioral.buildcache import file_parts
from .noc_build import router_verilog
from .toolchain import Log, Progress, Tools, find_tools
from .verilating import (
    C_SOURCES,
    FAST,
    RECIPE,
    SV,
    VERILATE,
    build_runtime,
    compile_job,
    join_sources,
    link_library,
    locked,
    one_trigger,
    parse_headers,
    run_counted,
    silent,
    verilate,
)
from .verilator_build import Macro, emit_cached, macro_source

__all__ = [
    "STATE_WORDS",
    "Model",
    "build_library",
    "build_mesh",
    "emit_mesh_tile",
    "structure_of",
]

STATE_WORDS = 16
"""64-bit words that a tile shows of itself; see ``rtl/sv/ohmtwin_mesh_tile.sv``."""

_HARNESS = ("mesh_harness.cpp", "mesh_host.cpp")
_HEADERS = ("mesh_chip.h", "mesh_harness.h", "mesh_host.h", "mesh_models.h")
_LAYOUT = "mesh_layout.h"
_LIBRARY = "libmesh.so"
_SINGLE = "single"
"""File that stands beside the objects of a model whose only event is the rising edge."""


@dataclass(frozen=True)
class Model:
    """A module, the SystemVerilog top around it, and the prefix of its C++."""

    prefix: str
    top: str
    verilog: str
    extra: tuple[Path, ...] = ()
    flags: tuple[str, ...] = ()
    optimize: str = FAST


def emit_mesh_tile(chip: Chip) -> str:
    """The Verilog of a chip's tile with its network interface, module ``mesh_tile``.

    Raises
    ------
    ToolError
        If Amaranth or its Yosys is missing or fails.
    """

    def make() -> str:
        from ..rtl.noc.mesh_tile import mesh_tile_verilog

        return mesh_tile_verilog(chip)

    return emit_cached([f"mesh tile {structure_of(chip)}"], ("rtl", "arch"), make)


def build_mesh(
    chip: Chip,
    macro: Macro = "dpi",
    progress: Progress | None = None,
    *,
    single_eval: bool = True,
    tile: str | None = None,
) -> Path:
    """Build the simulation of a chip's mesh, unless the cache has it.

    Meshes of one structure of tiles and network share a library, whatever their size.

    Parameters
    ----------
    chip : Chip
    macro : "dpi" or "stub"
        What answers the cores' reads.
    progress : callable, optional
        Called with what is done now, steps done and steps in all.
    single_eval : bool
        Evaluate models once a cycle where the generated code allows it; else at both edges.
    tile : str, optional
        Verilog to use for the tile, instead of :func:`emit_mesh_tile`.

    Returns
    -------
    Path
        The shared library (``rtl/sv/mesh_harness.h``).

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    source = macro_source(macro)
    report = progress or silent
    report("elaborating the chip", 0, 1)
    models = (
        Model(
            "Vohm_mesh_tile",
            "ohmtwin_mesh_tile",
            tile or emit_mesh_tile(chip),
            (source,),
            (f"-GSTATE_WORDS={STATE_WORDS}",),
        ),
        Model(
            "Vohm_router",
            "ohmtwin_router",
            router_verilog("buffered", MeshShape(depth=chip.buffer_flits)),
        ),
    )
    return build_library(
        models, "mesh_parts.cpp", report, dpi=macro == "dpi", single_eval=single_eval
    )


def build_library(
    models: Sequence[Model],
    chip_source: str,
    report: Progress,
    *,
    dpi: bool,
    single_eval: bool,
    whole_tiles: int = 0,
) -> Path:
    """Models and the harness around them, linked.

    Parameters
    ----------
    models : sequence of Model
    chip_source : str
        What makes a mesh of them, in ``rtl/sv``.
    report : callable
        Told what is done now.
    dpi : bool
        Whether cores ask C crossbars.
    single_eval : bool
        See :func:`build_mesh`.
    whole_tiles : int
        Tiles in one model of everything.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    tools = find_tools()
    common = tools.versions()
    layout = _layout(whole_tiles)
    folders = [_build_objects(model, tools, common, report) for model in models]
    single = single_eval and all((folder / _SINGLE).exists() for folder in folders)
    sources = [SV / name for name in (chip_source, *_HARNESS)]
    headers = [SV / name for name in _HEADERS]
    glue = [SV / "ohm_dpi.c", SV / "ohm_dpi.h"] if dpi else []
    defines = [*(["-DOHM_MACRO_DPI"] if dpi else []), *(["-DOHM_SINGLE_EVAL"] if single else [])]
    key: list[str | bytes] = ["mesh", *common, *defines, layout, *(str(f) for f in folders)]
    key += file_parts([*sources, *headers, *glue, *C_SOURCES, *RECIPE, Path(__file__)])

    def build(folder: Path) -> None:
        runtime = build_runtime(tools, common, False, report)
        work = folder / "work"
        work.mkdir()
        (work / _LAYOUT).write_text(layout, encoding="utf-8")
        log = Log(folder.name)
        flags = [*defines, *(f"-I{path}" for path in folders)]
        parsed = parse_headers(tools, common, report)
        jobs = [
            compile_job(tools, source, flags, headers=parsed) for source in [*sources, *glue[:1]]
        ]
        run_counted("compiling the mesh", jobs, tools, work, log, report)
        objects = [path for at in (work, runtime, *folders) for path in sorted(at.glob("*.o"))]
        link_library(tools, work, objects, folder / _LIBRARY, log)
        shutil.rmtree(work)
        report("ready", 1, 1)

    return locked(key, build) / _LIBRARY


def _build_objects(model: Model, tools: Tools, common: Sequence[str], report: Progress) -> Path:
    """A Verilated model as a folder of objects and headers."""
    # The top stands among our sources, or in the generated text.
    tops = [top] if (top := SV / f"{model.top}.sv").exists() else []

    def build(folder: Path) -> None:
        log = Log(folder.name)
        (folder / f"{model.prefix}.v").write_text(model.verilog, encoding="utf-8")
        report(f"verilating {model.top}", 0, 1)
        sources: list[str | Path] = [*tops, *model.extra, f"{model.prefix}.v"]
        flags = (*VERILATE, *model.flags)
        verilate(tools, folder, model.prefix, model.top, sources, log, flags)
        parsed = parse_headers(tools, common, report)
        jobs = [
            compile_job(tools, source, (), model.optimize, parsed)
            for source in join_sources(folder, list(folder.glob("*.cpp")))
        ]
        run_counted(f"compiling {model.top}", jobs, tools, folder, log, report)
        if one_trigger(folder, model.prefix, inputs=True):
            (folder / _SINGLE).touch()
        for path in [*folder.glob("*.cpp"), *folder.glob("*.d"), *folder.glob("*.v")]:
            path.unlink()

    key: list[str | bytes] = [
        "part",
        model.prefix,
        model.verilog,
        *common,
        *model.flags,
        model.optimize,
    ]
    return locked([*key, *file_parts([*tops, *model.extra, *RECIPE, Path(__file__)])], build)


def structure_of(chip: Chip) -> str:
    """The fields of a chip that shape a tile of a mesh."""
    fields = {**chip.structure, **chip.network}
    return " ".join(f"{key}={value}" for key, value in sorted(fields.items()))


def _layout(whole_tiles: int) -> str:
    """``mesh_layout.h``: the fields of headers, for C++."""
    lines = ["#pragma once", "namespace noc {"]

    def fields(prefix: str, layout: Mapping[str, int]) -> None:
        at = 0
        for name, bits in layout.items():
            lines.append(f"constexpr int {prefix}{name.upper()}_AT = {at};")
            lines.append(f"constexpr int {prefix}{name.upper()}_BITS = {bits};")
            at += bits

    fields("", HEADER_FIELDS)
    fields("DATA_", DATA_USER)
    fields("CONTROL_", CONTROL_USER)
    lines += [f"constexpr unsigned long KIND_{k.name} = {int(k)};" for k in ControlKind]
    lines.append(f"constexpr int HOST_ROUTE = {HOST_ROUTE};")
    lines.append(f"constexpr int STATE_WORDS = {STATE_WORDS};")
    lines.append(f"constexpr int WHOLE_TILES = {whole_tiles};")
    return "\n".join([*lines, "} // namespace noc", ""])
