# SPDX-License-Identifier: Apache-2.0
"""A small mesh as one Verilated model, which the models in lock step are held equal to."""

import re
from pathlib import Path

from ..arch.chip import Chip
from ..arch.noc import MeshShape
from .mesh_build import STATE_WORDS, Model, build_library, emit_mesh_tile
from .toolchain import Progress
from .verilating import SV
from .verilator_build import Macro, emit_cached

__all__ = ["build_whole_mesh"]

_LINK = ("valid", "last", "kind", "data")


def build_whole_mesh(
    chip: Chip, macro: Macro = "dpi", progress: Progress | None = None, *, single_eval: bool = True
) -> Path:
    """Build a mesh as one model; its library is used as that of :func:`~.mesh_build.build_mesh`.

    Parameters
    ----------
    chip : Chip
        With a small mesh: a build takes as long as that of all its tiles and routers.
    macro, progress, single_eval
        As there.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    """
    model = Model(
        "Vohm_mesh_whole",
        "ohmtwin_mesh_whole",
        _emit(chip),
        (SV / f"crossbar_macro_{macro}.sv",),
        # Much code for a few thousand cycles.
        optimize="-O0",
    )
    return build_library(
        (model,),
        "mesh_whole.cpp",
        progress or (lambda what, done, steps: None),
        dpi=macro == "dpi",
        single_eval=single_eval,
        whole_tiles=chip.tiles,
    )


def _emit(chip: Chip) -> str:
    """Verilog of the mesh, of each tile, and of the top around them."""
    columns, rows = chip.mesh

    def make() -> str:
        from ..rtl.noc.mesh import mesh_verilog

        shape = MeshShape(width=columns, height=rows, depth=chip.buffer_flits)
        return mesh_verilog("mesh", shape=shape, counters=True)

    mesh = emit_cached([f"mesh {columns}x{rows} {chip.buffer_flits}"], ("rtl", "arch"), make)
    tile = emit_mesh_tile(chip)
    tiles = [_renamed(tile, number, chip.cores) for number in range(chip.tiles)]
    return "\n".join([mesh, *tiles, _top(columns, rows)])


def _renamed(tile: str, number: int, cores: int) -> str:
    """A tile's modules under names of their own, and its arrays under numbers of their own, as the
    C behind them counts over all tiles."""
    named = re.sub(r"\bmesh_tile\b", f"mesh_tile_{number}", tile)
    return re.sub(r"\.ID\(32'd(\d+)\)", lambda m: f".ID({number * cores + int(m[1])})", named)


def _top(columns: int, rows: int) -> str:
    """The simulation top: the host's link, and what stands on the links of tiles."""
    tiles = columns * rows
    bits = f"bit [{tiles - 1}:0]"
    words = f"longint unsigned {{}}_data[{tiles}]"
    ports = ["input bit clk"]
    for name, way, back in (("host_in", "input", "output"), ("host_out", "output", "")):
        ports += [f"{way} bit {name}_{part}" for part in _LINK[:3]]
        ports.append(f"{way} longint unsigned {name}_data")
        ports += [f"{back} bit [1:0] {name}_ready"] if back else []
    for name in ("to", "from"):
        ports += [f"output {bits} {name}_{part}" for part in _LINK[:3]]
        ports += [f"output {words.format(name)}", f"output bit [1:0] {name}_ready[{tiles}]"]
    ports.append(f"output bit [31:0] counts[{20 * tiles}]")
    ports.append(f"output longint unsigned state[{STATE_WORDS * tiles}]")
    lines = [
        f"module ohmtwin_mesh_whole ({', '.join(ports)});",
        "bit [1:0] reset_pipe = 2'b11;",
        "always_ff @(posedge clk) reset_pipe <= {reset_pipe[0], 1'b0};",
        "wire rst = reset_pipe[1];",
        "wire [65:0] host_flit;",
        "assign {host_out_kind, host_out_last, host_out_data} = host_flit;",
        f"wire [{640 * tiles - 1}:0] all_counts;",
        *(f"assign counts[{k}] = all_counts[{32 * k}+:32];" for k in range(20 * tiles)),
    ]
    mesh = [
        ".clk(clk), .rst(rst), .counts(all_counts)",
        ".host_i__0__valid(host_in_valid), .host_i__0__ready(host_in_ready)",
        ".host_i__0__flit({host_in_kind, host_in_last, host_in_data})",
        ".host_o__0__valid(host_out_valid), .host_o__0__ready(2'b11), .host_o__0__flit(host_flit)",
    ]
    for tile in range(tiles):
        for name in ("to", "from"):
            parts = f"{name}_kind[{tile}], {name}_last[{tile}], {name}_data[{tile}]"
            lines += [
                f"wire [65:0] {name}{tile};",
                f"assign {{{parts}}} = {name}{tile};",
            ]
        lines += [
            f"wire [4:0] status{tile};",
            f"wire [63:0] waits{tile};",
            f"wire [{64 * (STATE_WORDS - 2) - 1}:0] counts{tile};",
            f"assign state[{STATE_WORDS * tile}] = {{59'd0, status{tile}}};",
            f"assign state[{STATE_WORDS * tile + 1}] = waits{tile};",
            *(
                f"assign state[{STATE_WORDS * tile + 2 + k}] = counts{tile}[{64 * k}+:64];"
                for k in range(STATE_WORDS - 2)
            ),
            f"mesh_tile_{tile} tile{tile} (.clk(clk), .rst(rst), .x(4'd{tile % columns}), "
            f".y(4'd{tile // columns}), .i__valid(to_valid[{tile}]), .i__flit(to{tile}), "
            f".i__ready(to_ready[{tile}]), .o__valid(from_valid[{tile}]), .o__flit(from{tile}), "
            f".o__ready(from_ready[{tile}]), .running(status{tile}[0]), "
            f".waiting(status{tile}[1]), .fault(status{tile}[2]), .link_fault(status{tile}[3]), "
            f".idle(status{tile}[4]), .state(waits{tile}), .counts(counts{tile}));",
        ]
        mesh += [
            f".i__{tile}__valid(from_valid[{tile}]), .i__{tile}__flit(from{tile})",
            f".i__{tile}__ready(from_ready[{tile}]), .o__{tile}__valid(to_valid[{tile}])",
            f".o__{tile}__flit(to{tile}), .o__{tile}__ready(to_ready[{tile}])",
        ]
    lines += [f"mesh mesh ({', '.join(mesh)});", "endmodule", ""]
    return "\n".join(lines)
