# SPDX-License-Identifier: Apache-2.0
"""Routers of the network on chip, Verilated once and used for meshes of any size."""

from pathlib import Path
from typing import Literal, get_args

from ..arch.errors import InputError
from ..arch.noc import MeshShape
from ..behavioral.buildcache import file_parts
from .toolchain import Progress, find_tools
from .verilating import (
    C_SOURCES,
    RECIPE,
    SV,
    Recipe,
    build_library,
    silent,
)
from .verilator_build import emit_cached

__all__ = ["MAX_DEFLECTION_FLITS", "RouterKind", "build_network", "check_router", "router_verilog"]

RouterKind = Literal["buffered", "deflection"]

MAX_DEFLECTION_FLITS = 32
"""Of a packet, its header counted, that bufferless routers put together."""

_SOURCES = (SV / "noc_sim.cpp", SV / "noc_sim.h", SV / "noc_net.h")
_LIBRARY = "libnoc.so"


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
    report = progress or silent
    report("elaborating the router", 0, 1)
    verilog = router_verilog(kind, shape)
    tools = find_tools()
    defines = ("-DNOC_DEFLECTION",) if kind == "deflection" else ()
    key: list[str | bytes] = ["noc", verilog, *defines]
    key += file_parts([*_SOURCES, *C_SOURCES, *RECIPE, Path(__file__)])
    recipe = Recipe(
        top="noc_node",
        prefix="Vnoc_node",
        verilog=verilog,
        inputs=[],
        ours=_SOURCES[:1],
        library=_LIBRARY,
        defines=lambda work: defines,
    )
    return build_library(key, recipe, tools, report)
