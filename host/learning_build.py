# SPDX-License-Identifier: Apache-2.0
"""A core that learns as a shared library, with the arrays' C behind its macro."""

from pathlib import Path

from ..arch.learning import LearnChip
from ..behavioral.buildcache import file_parts
from .toolchain import Progress, find_tools
from .verilating import (
    C_SOURCES,
    RECIPE,
    SV,
    Recipe,
    build_library,
    one_trigger,
    silent,
)
from .verilator_build import emit_cached

__all__ = ["build_learning_model", "emit_learning_core"]

_TOP = "Vohmtwin_top"
_LIBRARY = "libtile.so"
_MACRO = SV / "crossbar_macro_learn_dpi.sv"
_GLUE = SV / "ohm_learn_dpi.c"
_ARRAYS = C_SOURCES[0].with_name("ohm_learn.c")
_HARNESS = SV / "sim_harness.cpp"
_HEADERS = (
    SV / "ohm_learn_dpi.h",
    SV / "sim_harness.h",
    SV / "ohmtwin_top.sv",
    _ARRAYS.with_suffix(".h"),
)


def emit_learning_core(chip: LearnChip) -> str:
    """The Verilog of a core that learns, module ``tile``, from the cache if nothing has changed.

    Raises
    ------
    ValueError
        If the chip cannot be built.
    ToolError
        If Amaranth or its Yosys is missing or fails.
    """

    def make() -> str:
        # Imported here: with a cached model nobody needs Amaranth, which takes a second to load.
        from ..rtl.emit import emit_verilog
        from ..rtl.learning.core import LearningCore

        return emit_verilog(LearningCore(chip=chip), "tile")

    return emit_cached(["learning", repr(chip)], ("rtl", "arch"), make)


def build_learning_model(chip: LearnChip, progress: Progress | None = None) -> Path:
    """Build the Verilated core, unless the cache has it.

    Parameters
    ----------
    chip : LearnChip
    progress : callable, optional
        Called with what is done now, steps done and steps in all.

    Returns
    -------
    Path
        The shared library: that of ``sim_harness.h``, ``ohm_learn.h`` and ``ohm_learn_dpi.h``.

    Raises
    ------
    ValueError
        If the chip cannot be built.
    ToolError
        If a tool is missing or fails.
    """
    report = progress or silent
    report("elaborating the core", 0, 1)
    verilog = emit_learning_core(chip)
    tools = find_tools()
    sources = [_MACRO, _GLUE, _ARRAYS, _HARNESS, *_HEADERS, *C_SOURCES]
    key: list[str | bytes] = ["learning", verilog]
    key += file_parts([*sources, *RECIPE, Path(__file__)])
    recipe = Recipe(
        top="ohmtwin_top",
        prefix=_TOP,
        verilog=verilog,
        inputs=[SV / "ohmtwin_top.sv", _MACRO],
        ours=[_HARNESS, _GLUE, _ARRAYS],
        library=_LIBRARY,
        defines=lambda work: ("-DOHM_SINGLE_EVAL",) if one_trigger(work, _TOP) else (),
    )
    return build_library(key, recipe, tools, report)
