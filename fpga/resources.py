# SPDX-License-Identifier: Apache-2.0
"""What a design needs of an FPGA: counted in a netlist by module, and foretold for a chip."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..arch.chip import Chip
from ..arch.errors import CapacityError
from .boards.common import Board
from .crossbar.image import EmulatorConfig, Noise, check_arrays

__all__ = ["KINDS", "check_fit", "count_cells", "estimate", "group"]

KINDS = ("lut", "ff", "bram", "dsp")

_WEIGHTS: Mapping[str, tuple[str, int]] = {
    # ECP5. An adder cell is two LUTs; a RAM of 16x4 takes four, and two for its write port.
    "LUT4": ("lut", 1),
    "CCU2C": ("lut", 2),
    "TRELLIS_DPR16X4": ("lut", 6),
    "TRELLIS_FF": ("ff", 1),
    "DP16KD": ("bram", 1),
    "MULT18X18D": ("dsp", 1),
    # iCE40. A carry shares a logic cell with a LUT, or takes one of its own: not counted.
    "SB_LUT4": ("lut", 1),
    "SB_RAM40_4K": ("bram", 1),
    "SB_MAC16": ("dsp", 1),
}

_FLIP_FLOP = "SB_DFF"
_WORD = 64


def count_cells(netlist: Path, top: str = "top") -> dict[str, Counter[str]]:
    """Cells of a flattened netlist (Yosys' JSON) by the module they come from.

    Flattening keeps the path of a module in the names of its cells, and Yosys names LUTs after
    what they drive.

    Returns
    -------
    dict
        Path of a module, as ``fabric.link.endpoint``, to cells of each of :data:`KINDS` that are
        its own; the top itself is "".
    """
    cells = json.loads(netlist.read_text(encoding="utf-8"))["modules"][top]["cells"]
    scopes = {name for name, cell in cells.items() if cell["type"] == "$scopeinfo"}
    found: dict[str, Counter[str]] = {}
    for name, cell in cells.items():
        kind = cell["type"]
        if kind.startswith(_FLIP_FLOP):
            what, weight = "ff", 1
        elif kind in _WEIGHTS:
            what, weight = _WEIGHTS[kind]
        else:
            continue
        path = name.split(".")
        while path and ".".join(path) not in scopes:
            path.pop()
        found.setdefault(".".join(path), Counter())[what] += weight
    return found


def group(modules: Mapping[str, Counter[str]], depth: int) -> dict[str, Counter[str]]:
    """Modules with all that is in them, down to so many levels of hierarchy."""
    found: dict[str, Counter[str]] = {}
    for path, cells in modules.items():
        parts = [part.partition("$")[0] for part in path.split(".")]
        found.setdefault(".".join(parts[:depth]), Counter()).update(cells)
    return dict(sorted(found.items()))


# What the parts cost, counted in netlists with count_cells() by `ohmtwin fpga build`; a tenth is
# added for what optimization does not find elsewhere.

_MARGIN = 1.1


def _memories(chip: Chip, config: EmulatorConfig, array_only: bool) -> list[tuple[int, int]]:
    """Width and depth of every memory that becomes block RAM."""
    lanes = chip.outputs_per_beat
    tile = [
        (64, chip.program_words),
        (64, chip.data_words),
        (64, chip.fifo_words),
        (64, chip.fifo_words),
        *[(64, chip.tables * 32)] * lanes,
        *[(64, chip.param_words // lanes)] * lanes,
    ]
    engines = _engines(chip, config)
    arrays = chip.cores // engines  # of an engine
    width = config.widths.cell * (2 if config.has_variance else 1)
    array = [(width, arrays * chip.rows * (chip.cols // config.columns))] * config.columns
    array.append((config.widths.cell, arrays * chip.rows))
    if config.adc_table:
        array.append((chip.adc_bits, arrays * chip.lanes << chip.adc_bits))
    if config.noise is not Noise.NONE:
        array.append((32, 512))
    link = [(64, 256), (64, 256), (8, 256)]
    return array + link if array_only else tile + array * engines + link


def _engines(chip: Chip, config: EmulatorConfig) -> int:
    """Sets of gates that compute codes."""
    return 1 if config.shared else chip.cores


def _blocks(width: int, depth: int, family: str) -> int:
    """Block RAMs of one memory with a port to write and one to read."""
    shapes = (
        ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
        if family == "ecp5"
        else ((16, 256), (8, 512), (4, 1024), (2, 2048))
    )
    return min(math.ceil(width / w) * math.ceil(depth / d) for w, d in shapes)


def estimate(
    chip: Chip, config: EmulatorConfig, family: str, array_only: bool = False
) -> Counter[str]:
    """What a board's fabric will need, of each of :data:`KINDS`.

    Block RAMs are counted; LUTs, flip-flops and multipliers are sums of what the parts were
    measured to need.
    """
    lanes = chip.outputs_per_beat
    noisy = config.noise is not Noise.NONE
    bits = (2 if config.has_variance else 1) * config.columns
    lut = 1900 + 4200 + 3400 + 1500 * lanes
    engines = _engines(chip, config)
    lut += chip.cores * (1500 + 18 * chip.rows + 150 * lanes)
    lut += engines * (75 * bits + (2900 if noisy else 150))
    ff = 1000 + 2400 + 600 + 900 * lanes
    ff += chip.cores * (600 + 9 * chip.rows)
    ff += engines * (70 * bits + (3000 if noisy else 150))
    dsp = 24 + 4 * lanes + (6 * engines if config.noise is Noise.PIPELINED else 0)
    ram = sum(_blocks(width, depth, family) for width, depth in _memories(chip, config, array_only))
    if array_only:
        lut = 1900 + 2 * chip.rows + 75 * bits + (1500 if noisy else 150)
        ff = 1000 + 3 * chip.rows + 60 * bits + (900 if noisy else 100)
        dsp = 6 if config.noise is Noise.PIPELINED else 0
        if family == "ice40":
            lut += ff // 2  # about half of the flip-flops find no LUT to share a cell with
    elif family == "ice40":
        # No RAM in LUTs: the vector accumulators and those of the cores become flip-flops.
        ff += 256 * 32 + chip.cores * chip.acc_words * lanes * 32
        lut += 256 * 32
    return Counter(lut=round(lut * _MARGIN), ff=round(ff * _MARGIN), bram=ram, dsp=dsp)


def check_fit(
    board: Board, chip: Chip, config: EmulatorConfig, host_arrays: bool = False
) -> Counter[str]:
    """Refuse what cannot fit a board, before anything is synthesized.

    Returns
    -------
    Counter
        The estimate.

    Raises
    ------
    CapacityError
        With what there is too much of, and what helps.
    ConfigError
        If its arrays are not those of boards.
    """
    check_arrays(chip)
    if board.array_only and (host_arrays or chip.cores > 1):
        raise CapacityError(
            f"Board {board.name} is too small for a tile; it holds one emulated array, of a chip "
            f"with one core as '{board.chip}'"
        )
    if host_arrays:
        # What is left of an array is a memory for beats, in LUTs.
        quiet = replace(config, columns=1, noise=Noise.NONE, adc_table=False)
        tiny = chip.with_(rows=8, rows_per_read=min(8, chip.rows_per_read))
        needed = estimate(chip, quiet, board.family)
        ram = estimate(tiny, quiet, board.family)["bram"] - chip.cores
        needed["bram"] = ram + 2 * _blocks(_WORD, 512, board.family)
    else:
        needed = estimate(chip, config, board.family, board.array_only)
    for kind, name in (
        ("bram", "block RAMs"),
        ("lut", "LUTs"),
        ("ff", "flip-flops"),
        ("dsp", "multipliers"),
    ):
        if needed[kind] > board.capacity[kind]:
            raise CapacityError(
                f"Chip '{chip.name}' with {1 if board.array_only else chip.cores} emulated arrays "
                f"of {chip.rows}x{chip.cols} needs about {needed[kind]} {name}, but board "
                f"{board.name} has {board.capacity[kind]}; take a chip with fewer or smaller "
                f"cores, as '{board.chip}'"
            )
    return needed
