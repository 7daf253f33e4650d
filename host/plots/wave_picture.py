# SPDX-License-Identifier: Apache-2.0
"""A window of waves as a picture: the macro's streams as lanes, its bitlines as steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...arch.errors import InputError
from ..compiler.network import CompiledNetwork
from .figures import COLOURS, canvas, save
from .vcd import change, read_header
from .waves import TICKS, Probe, Units, Window, Written

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MAX_DRAWN_CYCLES", "MAX_PLOTS", "check_drawing", "draw_waves", "signals"]

MAX_DRAWN_CYCLES = 2000
MAX_PLOTS = 12
"""Columns in a picture."""

_BITS = ("cmd_valid", "cmd_ready", "code_valid", "code_ready")
_LANES = (*_BITS, "cmd_rows", "code_data")

Steps = list[tuple[int, str]]
"""Changes of a signal: time in units of the VCD, and the value as it stands there."""


def check_drawing(probes: Sequence[Probe], window: Window) -> None:
    """Refuse a picture in which nothing could be seen.

    Raises
    ------
    InputError
    """
    if window.cycles > MAX_DRAWN_CYCLES:
        raise InputError(
            f"A picture shows up to {MAX_DRAWN_CYCLES} cycles, not {window.cycles}; "
            "choose a shorter window or leave the picture out"
        )
    plots = sum(len(probe.columns) for probe in probes)
    if plots > MAX_PLOTS:
        raise InputError(
            f"A picture shows up to {MAX_PLOTS} columns, not {plots}; choose fewer columns or "
            "leave the picture out"
        )


def signals(path: Path, wanted: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], Steps]:
    """Changes of some signals of a VCD, by the ends of their full names.

    Raises
    ------
    InputError
        If one is not in the file.
    """
    codes: dict[str, list[tuple[str, ...]]] = {}
    found: dict[tuple[str, ...], Steps] = {}
    with path.open(encoding="ascii") as file:
        for _, variable in read_header(file):
            if variable is None:
                continue
            full = (*variable.scope, variable.name)
            for name in wanted:
                if full[-len(name) :] == name:
                    codes.setdefault(variable.code, []).append(name)
                    found[name] = []
        for name in wanted:
            if name not in found:
                raise InputError(f"{path} has no signal {'.'.join(name)}")
        now = 0
        for line in file:
            if line.startswith("#"):
                now = int(line[1:])
                continue
            pair = change(line)
            if pair is not None:
                for name in codes.get(pair[0], ()):
                    found[name].append((now, pair[1]))
    return found


def draw_waves(
    waves: Path,
    compiled: CompiledNetwork,
    probes: Sequence[Probe],
    written: Written,
    path: Path,
    *,
    units: Units = "levels",
    width: int = 1400,
) -> None:
    """Draw what :func:`~.waves.write_waves` wrote (PNG or SVG).

    Raises
    ------
    InputError
        If the window is too long or has too many columns, or the file cannot be written.
    ToolError
        If matplotlib is missing.
    """
    check_drawing(probes, Window(0, written.cycles))
    plots = sum(len(probe.columns) for probe in probes)
    heights = [h for probe in probes for h in (1.5, *[1.25] * len(probe.columns))]
    with canvas(width, round(110 + 100 * sum(heights))) as figure:
        axes = figure.subplots(
            plots + len(probes), 1, sharex=True, squeeze=False, height_ratios=heights
        )[:, 0]
        number = 0
        for probe in probes:
            _lanes(axes[number], waves, compiled, probe, written)
            number += 1
            for column in probe.columns:
                _bitline(axes[number], waves, probe.core, column, written, units)
                number += 1
        axes[0].set_xlim(written.first, written.first + written.cycles)
        axes[-1].set_xlabel(f"RTL cycle ({TICKS} time units of the VCD each)")
        figure.suptitle(
            f"{compiled.network.name} on {compiled.chip.name}, device {compiled.device.name}, "
            f"seed {compiled.seed}",
            fontsize=11,
        )
        save(figure, path)


def _steps(changes: Steps, written: Written) -> tuple[list[float], list[str]]:
    """Cycles of the changes as of the rising edge, closed at the window's end."""
    times = [time / TICKS for time, _ in changes] + [float(written.first + written.cycles)]
    return times, [value for _, value in changes]


def _lanes(
    axes: "Axes", waves: Path, compiled: CompiledNetwork, probe: Probe, written: Written
) -> None:
    scope = (f"macro{probe.core}", "macro")
    found = signals(waves, [(*scope, name) for name in _LANES])
    for lane, name in enumerate(_LANES):
        base = float(len(_LANES) - 1 - lane)
        times, values = _steps(found[(*scope, name)], written)
        if name in _BITS:
            levels = np.array([base + 0.7 * (value == "1") for value in values])
            axes.stairs(levels, times, baseline=base, color=COLOURS[0], fill=True, alpha=0.35)
            axes.stairs(levels, times, baseline=None, color=COLOURS[0], linewidth=1.0)
        else:
            if name == "cmd_rows":
                # Above the rows stands the array.
                width = compiled.chip.rows * compiled.chip.input_code.digit_bits
                values = [value[-width:] for value in values]
            _bus(axes, times, values, base, written.cycles, rows=name == "cmd_rows")
    axes.set_yticks([len(_LANES) - 1 - i + 0.35 for i in range(len(_LANES))], list(_LANES))
    axes.set_ylim(-0.2, len(_LANES))
    text = f"core {probe.core}: its macro"
    if probe.cells and compiled.chip.arrays_per_core == 1:
        image = compiled.images[[a.core for a in compiled.program.arrays].index(probe.core)]
        step = compiled.device.step(compiled.chip.cell_bits) / 4096 * 1e6
        shown = [f"g[{r},{c}] = {image.g[r, c] * step:.3g} µS" for r, c in probe.cells[:4]]
        text += "; " + ", ".join(shown) + (", ..." if len(probe.cells) > 4 else "")
    axes.set_title(text, loc="left", fontsize=9)


def _bus(
    axes: "Axes", times: list[float], values: list[str], base: float, cycles: int, *, rows: bool
) -> None:
    """A bar a value; rows as their number, codes in hexadecimal where there is room for it."""
    for start, end, value in zip(times, times[1:], values, strict=False):
        if end <= start:
            continue
        axes.fill_between([start, end], base, base + 0.7, color=COLOURS[2], alpha=0.25, linewidth=0)
        axes.plot([start, start], [base, base + 0.7], color=COLOURS[2], linewidth=0.8)
        count = value.count("1")
        text = f"{count} on" if rows else _hex(value)
        # A character takes 6.5 pixels; names and legends a fifth of the picture.
        if (end - start) / cycles * 0.8 * axes.figure.bbox.width > 6.5 * (len(text) + 1):
            axes.text(
                (start + end) / 2, base + 0.33, text, ha="center", va="center", fontsize=7,
                clip_on=True,
            )  # fmt: skip


def _hex(value: str) -> str:
    return f"{int(value, 2):x}" if set(value) <= {"0", "1"} else value


def _bitline(
    axes: "Axes", waves: Path, core: int, column: int, written: Written, units: Units
) -> None:
    scope = ("analog", f"core{core}")
    parts = ("I", "ref", "n", "x")
    found = signals(waves, [(*scope, f"col{column}_{part}") for part in parts])
    scale, unit = (1.0, "level steps") if units == "levels" else (1e6, "µA")
    for number, part in enumerate(parts):
        times, values = _steps(found[(*scope, f"col{column}_{part}")], written)
        axes.stairs(
            [float(value) * scale for value in values],
            times,
            baseline=None,
            label=part,
            color="#000000" if part == "x" else COLOURS[number],
            # x lies over I where there is little leakage: the broad one shows behind it.
            linewidth=4.0 if part == "I" else 1.2,
            alpha=0.4 if part == "I" else 1.0,
        )
    axes.set_ylabel(unit)
    axes.margins(y=0.12)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_title(
        f"core {core}, column {column}: bitline (x = I + n - ref goes to the ADC)",
        loc="left",
        fontsize=9,
    )
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1.2)
