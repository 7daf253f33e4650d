# SPDX-License-Identifier: Apache-2.0
"""Routers of the network on chip, Verilated once and used for meshes of any size."""

import fcntl
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from ..arch.errors import InputError
from ..arch.noc import MeshShape
from ..behavioral.buildcache import build_once, cache_dir, file_parts
from .toolchain import Job, Log, Progress, Tools, find_tools, run_jobs
from .verilator_build import emit_cached

__all__ = ["MAX_DEFLECTION_FLITS", "RouterKind", "build_network", "check_router", "router_verilog"]

RouterKind = Literal["buffered", "deflection"]

MAX_DEFLECTION_FLITS = 32
"""Of a packet, its header counted, that bufferless routers put together."""

_SV = Path(__file__).parents[1] / "rtl" / "sv"
_SOURCES = (_SV / "noc_sim.cpp", _SV / "noc_sim.h", _SV / "noc_net.h")
_RECIPE = (Path(__file__), Path(__file__).with_name("toolchain.py"))
_LIBRARY = "libnoc.so"

_VERILATE = (
    "--cc",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--no-assert",
    "--no-timing",
    # As for tiles: branches, not expressions that are evaluated in every cycle.
    "-fno-dfg",
    "-fno-table",
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
    "--output-split",
    "12000",
)
_CXXFLAGS = ("-std=gnu++20", "-march=native", "-fPIC", "-fvisibility=hidden", "-w")


def check_router(name: str) -> RouterKind:
    """The name, if there is such a router.

    Raises
    ------
    InputError
        If there is not.
    """
    for kind in get_args(RouterKind):
        if name == kind:
            found: RouterKind = kind
            return found
    raise InputError(f"There is no router '{name}'; choose {' or '.join(get_args(RouterKind))}")


def router_verilog(kind: RouterKind, shape: MeshShape) -> str:
    """Verilog of a router that can stand anywhere, module ``noc_node``; its links are counted.

    A buffered one is the same in every mesh of its depth.
    """

    def make() -> str:
        from ..rtl.emit import emit_verilog

        if kind == "buffered":
            from ..rtl.noc.router import Router

            # At any other place than (0, y) the host bit is never looked at.
            return emit_verilog(Router(depth=shape.depth, host=True, counters=True), "noc_node")
        from ..rtl.noc.deflection import DeflectionNode

        node = DeflectionNode(shape=shape, max_flits=MAX_DEFLECTION_FLITS, counters=True)
        return emit_verilog(node, "noc_node")

    bits = [(side - 1).bit_length() for side in (shape.width, shape.height)]
    what = str(shape.depth) if kind == "buffered" else str(bits)
    return emit_cached(["noc_node", kind, what], ("rtl", "arch"), make)


def build_network(kind: RouterKind, shape: MeshShape, progress: Progress | None = None) -> Path:
    """Build the library that runs meshes of a router (``rtl/sv/noc_sim.h``), or find it built.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    report: Progress = progress or (lambda what, done, steps: None)
    report("elaborating the router", 0, 1)
    verilog = router_verilog(kind, shape)
    tools = find_tools()
    common = tools.versions()
    defines = ("-DNOC_DEFLECTION",) if kind == "deflection" else ()
    key: list[str | bytes] = ["noc", verilog, *defines, *common, *file_parts(_SOURCES)]
    key += file_parts(_RECIPE)

    def build(folder: Path) -> None:
        log = Log(folder.name)
        (folder / "node.sv").write_text(verilog, encoding="utf-8")
        report("verilating", 0, 1)
        top = ("--top-module", "noc_node", "--prefix", "Vnoc_node", "-Mdir", ".")
        command = (str(tools.verilator), *_VERILATE, *top, "node.sv")
        run_jobs([Job("verilator", command)], tools, folder, log, lambda _: None)
        runtime = [tools.root / "include" / f"verilated{part}.cpp" for part in ("", "_threads")]
        sources = [*sorted(folder.glob("*.cpp")), _SOURCES[0], *runtime]
        jobs = [_compile(tools, source, defines) for source in sources]
        count = 0

        def done(_: Job) -> None:
            nonlocal count
            count += 1
            report("compiling", count, len(jobs))

        run_jobs(jobs, tools, folder, log, done)
        objects = sorted(str(path) for path in folder.glob("*.o"))
        link = (str(tools.cxx), "-shared", "-o", _LIBRARY, *objects, "-pthread")
        run_jobs([Job("link", link)], tools, folder, log, lambda _: None)
        for path in folder.iterdir():
            if path.name != _LIBRARY:
                path.unlink()
        report("ready", 1, 1)

    digest = hashlib.sha256()
    for part in key:
        digest.update(part.encode() if isinstance(part, str) else part)
    with (cache_dir() / f"lock-{digest.hexdigest()[:16]}").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released with the file
        return build_once(key, build) / _LIBRARY


def _compile(tools: Tools, source: Path, defines: Sequence[str]) -> Job:
    # What runs once need not be fast: constructors, the first settling, Verilator's runtime.
    slow = "__Slow" in source.name or source.name.startswith("verilated")
    flags = (*_CXXFLAGS, "-O0" if slow else "-O2", *tools.include, "-I.", f"-I{_SV}", *defines)
    command = (str(tools.cxx), *flags, "-c", str(source), "-o", f"{source.stem}.o")
    return Job(source.name, command, cost=source.stat().st_size)
