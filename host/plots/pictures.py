# SPDX-License-Identifier: Apache-2.0
"""Pictures of a device and of an array: what the models say, drawn from the models themselves."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import InputError
from ...behavioral.devices import Device
from ...behavioral.devices.model import BOLTZMANN, ELEMENTARY_CHARGE
from ...behavioral.effects.openloop import relative_spread
from ...behavioral.effects.pulses import response_curve
from ...behavioral.state import ArrayState
from ...behavioral.wires import WireModel, transfer_matrix
from .figures import COLOURS, canvas, save
from .spectrum import SLOW, band, spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["IrDrop", "ageing", "draw_array", "draw_device", "ir_drop", "level_samples", "noise"]

_SIDE = 64
_AGED_SIDE = 32
"""Rows and columns of the arrays that are drawn from, a level at a time."""

_YEAR = 365.25 * 86400.0
_NARROW = 900
"""Pixels below which panels stand one below the other."""

MAX_SIDE = 256
"""Rows and columns of an IR-drop map."""


def level_samples(device: Device, cell_bits: int, seed: int) -> NDArray[np.float64]:
    """Conductances of cells as written: float64 [levels, cells], in siemens."""
    found = []
    for level in range(1 << cell_bits):
        state = _written(device, cell_bits, seed, level, _SIDE)
        found.append(state.conductances()[:, :-1].reshape(-1))
    return np.array(found)


def _written(device: Device, cell_bits: int, seed: int, level: int, side: int) -> ArrayState:
    """An array of one level; arrays of different levels draw independently."""
    levels = np.full((side, side), level, np.uint8)
    return ArrayState(levels, device, cell_bits=cell_bits, seed=seed, array=level, adc_bits=6)


def ageing(
    device: Device, cell_bits: int, seed: int, times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Conductance by level and time: float64 [levels, times, 3] siemens, quantiles 5, 50, 95 %.

    Parameters
    ----------
    times : float64 [n]
        Seconds since the write, rising.
    """
    rows = []
    for level in range(1 << cell_bits):
        state = _written(device, cell_bits, seed, level, _AGED_SIDE)
        curve = []
        for seconds in times:
            state.advance(float(seconds) - state.elapsed)
            curve.append(np.quantile(state.conductances()[:, :-1], (0.05, 0.5, 0.95)))
        rows.append(curve)
    return np.array(rows)


def noise(device: Device, cells: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Sigma of the current of a column, in amperes, by its parts and in all.

    Formulas of Yan, Hu, Shi, Sect. 4.1 to 4.3, and of ``effects/flicker.py``; traps are taken at
    the median amplitude and occupancy, all of them quick.

    Parameters
    ----------
    cells : float64 [n]
        Driven cells at ``g_on``, 1 or more.

    Returns
    -------
    dict
        float64 [n] by name: the parts that are on, then ``total``.
    """
    current = cells * device.g_on * device.read_voltage
    cell = device.g_on * device.read_voltage
    active = device.active
    kelvin = device.temperature
    parts: dict[str, NDArray[np.float64]] = {}
    if "thermal" in active:
        four = 4.0 * BOLTZMANN * kelvin * device.bandwidth
        if math.isfinite(device.amplifier_resistance):
            parts["thermal, amplifier"] = np.full_like(cells, four / device.amplifier_resistance)
        parts["thermal, cells"] = four * device.g_on * cells
    if "shot" in active:
        parts["shot"] = 2.0 * ELEMENTARY_CHARGE * device.bandwidth * current
    if device.read_noise:
        parts["read noise"] = (device.read_noise * cell) ** 2 * cells
    if device.telegraph is not None:
        given = device.telegraph
        p = given.emission / (given.capture + given.emission)
        loss = min(given.amplitude, given.max_amplitude)
        # Over the spread of amplitudes: E[a**2] of a lognormal.
        square = given.fraction * loss**2 * math.exp(2 * given.amplitude_spread**2)
        parts["telegraph"] = square * p * (1 - p) * cell**2 * cells
    if device.flicker is not None:
        ratio = device.flicker_band / device.flicker.f_low
        parts["1/f"] = device.flicker.coefficient * math.log(ratio) * cell**2 * cells
    parts["total"] = np.sum(list(parts.values()), axis=0) if parts else np.zeros_like(cells)
    return {name: np.sqrt(variance) for name, variance in parts.items()}


def draw_device(device: Device, path: Path, *, width: int = 1200, seed: int = 1) -> None:
    """Draw levels, ageing, read noise, its spectrum and pulse response (PNG or SVG).

    Parameters
    ----------
    device : Device
    path : Path
        Ends in .png or .svg.
    width : int
        Pixels; panels stand one below the other in a narrow picture.
    seed : int
        Of the cells that are drawn.

    Raises
    ------
    InputError
        If the file cannot be written.
    ToolError
        If matplotlib is missing.
    """
    cell_bits = min(math.ceil(device.bits), 4)
    narrow = width < _NARROW
    with canvas(width, 1550 if narrow else 1120) as figure:
        panels = figure.subplot_mosaic("L;A;N;S;P" if narrow else "LA;NS;PP")
        figure.suptitle(
            f"{device.name}: {device.g_off * 1e6:.3g} to {device.g_on * 1e6:.4g} µS, "
            f"{1 << cell_bits} levels, read at {device.read_voltage:g} V",
            fontsize=11,
        )
        _levels_panel(panels["L"], device, cell_bits, seed)
        _ageing_panel(panels["A"], device, cell_bits, seed)
        _noise_panel(panels["N"], device)
        _spectrum_panel(panels["S"], device, cell_bits)
        _pulse_panel(panels["P"], device)
        save(figure, path)


def _levels_panel(axes: "Axes", device: Device, cell_bits: int, seed: int) -> None:
    samples = level_samples(device, cell_bits, seed) * 1e6
    axes.set_title("Conductance by level, as written")
    axes.set_xlabel("conductance (µS)")
    axes.set_ylabel("share of cells a bin")
    edges = np.linspace(0.0, max(samples.max(), device.g_on * 1e6) * 1.05, 121)
    few = len(samples) <= 4
    for level, cells in enumerate(samples):
        counts, _ = np.histogram(cells, edges)
        colour = COLOURS[level % len(COLOURS)]
        axes.stairs(counts / len(cells), edges, fill=True, alpha=0.55, color=colour)
        axes.stairs(
            counts / len(cells), edges, color=colour, label=f"level {level}" if few else None
        )
    if few:
        axes.legend(ncols=2)
    # Where levels are exact, all cells of one share a bin.
    axes.set_ylim(0, axes.get_ylim()[1] * 1.25)
    axes.set_xlim(0, edges[-1])


def _noise_panel(axes: "Axes", device: Device) -> None:
    cells = np.geomspace(1, 128, 29)
    parts = noise(device, cells)
    axes.set_title("Noise of one read of a column")
    axes.set_xlabel("current of the column (µA)")
    axes.set_ylabel("standard deviation (µA)")
    if not parts["total"].any():
        _note(axes, "The device has no read noise.")
        return
    current = cells * device.g_on * device.read_voltage * 1e6
    for number, (name, sigma) in enumerate(parts.items()):
        total = name == "total"
        axes.loglog(
            current,
            sigma * 1e6,
            label=name,
            # Broad and behind: mostly one part is nearly all of it.
            color="#cccccc" if total else COLOURS[number],
            linewidth=5 if total else 1.4,
            zorder=1 if total else 2,
        )
    axes.legend(ncols=2, loc="upper left")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.35)


def _spectrum_panel(axes: "Axes", device: Device, cell_bits: int) -> None:
    level = (1 << cell_bits) // 2
    g = float(device.conductances(cell_bits)[level])
    frequencies = np.geomspace(*band(device), 241)
    parts = spectrum(device, g, frequencies)
    axes.set_title(f"Noise spectrum of a cell at {g * device.read_voltage * 1e6:.3g} µA")
    axes.set_xlabel("frequency (Hz)")
    axes.set_ylabel("current noise (A²/Hz)")
    unknown = f"Read noise of {100 * device.read_noise:.3g} % has no known spectrum."
    if not any(density.any() for density in parts.values()):
        _note(axes, unknown if device.read_noise else "The device has no read noise.")
        return
    for number, (name, density) in enumerate(parts.items()):
        total = name == "total"
        axes.loglog(
            frequencies,
            # Gaps where a part has ended, as a logarithm has no 0.
            np.where(density > 0, density, np.nan),
            label="total of a read" if total else name,
            color="#cccccc" if total else COLOURS[number],
            linestyle="--" if name == SLOW else "-",
            linewidth=5 if total else 1.4,
            zorder=1 if total else 2,
        )
    low, high = axes.get_ylim()
    # Room for the legend above, and never less than a decade, so that flat lines look flat.
    low, high = low / 2, max(high, 10 * low)
    axes.set_ylim(low, high * (high / low) ** 0.35)
    axes.set_xlim(frequencies[0], frequencies[-1])
    axes.legend(ncols=2, loc="upper right")
    if device.read_noise:
        axes.text(0.02, 0.03, unknown, transform=axes.transAxes, fontsize=7)


def _ageing_panel(axes: "Axes", device: Device, cell_bits: int, seed: int) -> None:
    times = np.geomspace(1.0, 10 * _YEAR, 29)
    curves = ageing(device, cell_bits, seed, times) * 1e6
    on = [name for name in ("drift", "retention") if name in device.active]
    what = " and ".join(on) if on else "neither drift nor retention is on"
    axes.set_title(f"Over time: {what}")
    axes.set_xlabel("time since the write (s)")
    axes.set_ylabel("conductance (µS)")
    for level, curve in enumerate(curves):
        colour = COLOURS[level % len(COLOURS)]
        axes.semilogx(times, curve[:, 1], color=colour)
        axes.fill_between(times, curve[:, 0], curve[:, 2], color=colour, alpha=0.25, linewidth=0)
    axes.set_xlim(times[0], times[-1])
    top = max(float(curves.max()), device.g_on * 1e6) * 1.22
    axes.set_ylim(0, top)
    for seconds, name in ((3600.0, "hour"), (86400.0, "day"), (30 * 86400.0, "month")):
        axes.axvline(seconds, color="#bbbbbb", linewidth=0.7, zorder=0)
        axes.text(seconds, top, f" {name}", fontsize=7, va="top", color="#666666")
    axes.axvline(_YEAR, color="#bbbbbb", linewidth=0.7, zorder=0)
    axes.text(_YEAR, top, " year", fontsize=7, va="top", color="#666666")
    axes.text(
        0.02, 0.9, "line: median, band: 5 to 95 % of cells", transform=axes.transAxes, fontsize=7
    )


def _pulse_panel(axes: "Axes", device: Device) -> None:
    response = None if device.write is None else device.write.response
    if response is None:
        # What is known of writing such a cell is how far off it ends.
        axes.set_title("Error of a write (no pulse response is given)")
        axes.set_xlabel("target conductance (µS)")
        axes.set_ylabel("standard deviation (% of target)")
        target = np.linspace(max(device.g_off, device.g_on * 1e-3), device.g_on, 200)
        axes.plot(target * 1e6, 100 * relative_spread(target, device), color=COLOURS[0])
        axes.set_ylim(0, max(axes.get_ylim()[1] * 1.1, 1.0))
        return
    axes.set_title("Pulse response")
    axes.set_xlabel("write pulses")
    axes.set_ylabel("conductance (µS)")
    up = response_curve(device, response, up=True) * 1e6
    down = (device.g_on + device.g_off) * 1e6 - response_curve(device, response, up=False) * 1e6
    axes.plot(np.arange(len(up)), up, color=COLOURS[0], label="potentiation")
    axes.plot(np.arange(len(down)), down, color=COLOURS[1], label="depression")
    axes.legend(loc="center right")
    axes.set_ylim(0, None)


def _note(axes: "Axes", text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center")
    axes.set_xticks([])
    axes.set_yticks([])


@dataclass(frozen=True, eq=False)
class IrDrop:
    """What wires leave of each cell.

    ``ratio`` is float64 [rows, cols]: transfer over conductance, 1 without wires; NaN where a cell
    conducts nothing. ``worst`` is the (row, column) of the lowest.
    """

    ratio: NDArray[np.float64]
    worst: tuple[int, int]


def ir_drop(
    device: Device, wires: WireModel, rows: int, cols: int, *, seed: int | None = None
) -> IrDrop:
    """Solve an array: all cells at ``g_on``, or at random levels of one bit.

    Parameters
    ----------
    seed : int, optional
        Of the random levels; all cells are on if absent.

    Raises
    ------
    InputError
        If the array is too large, or the network cannot be solved.
    """
    for what, size in (("rows", rows), ("columns", cols)):
        if not 1 <= size <= MAX_SIDE:
            raise InputError(f"A map of the IR drop has 1 to {MAX_SIDE} {what}, not {size}")
    g = np.full((rows, cols), device.g_on)
    if seed is not None:
        g[np.random.default_rng(seed).random((rows, cols)) < 0.5] = device.g_off
    transfer = transfer_matrix(g, wires)
    # The access transistor is part of the cell, not of what wires take off.
    cell = wires.branches(g)
    ratio = np.divide(transfer, cell, out=np.full_like(g, np.nan), where=cell > 0)
    if not np.isfinite(ratio).any():
        raise InputError(f"No cell of device {device.name} conducts; choose another device")
    row, column = np.unravel_index(int(np.nanargmin(ratio)), ratio.shape)
    return IrDrop(ratio, (int(row), int(column)))


def draw_array(
    device: Device, wires: WireModel, found: IrDrop, path: Path, *, width: int = 900
) -> None:
    """Draw a map of the IR drop (PNG or SVG), its worst cell marked.

    Raises
    ------
    InputError
        If the file cannot be written.
    ToolError
        If matplotlib is missing.
    """
    rows, cols = found.ratio.shape
    row, column = found.worst
    lowest = found.ratio[row, column]
    height = round(min(max(width * 0.86 * rows / cols, width * 0.45), width * 1.3)) + 90
    with canvas(width, height) as figure:
        axes = figure.subplots()
        picture = axes.imshow(
            found.ratio, cmap="viridis", interpolation="nearest", aspect="auto", origin="upper"
        )
        bar = figure.colorbar(picture, ax=axes)
        bar.set_label("transfer over conductance (1: no drop)")
        axes.spines[["top", "right"]].set_visible(True)
        axes.plot(column, row, "o", ms=11, mfc="none", mec="#ffffff", mew=3, clip_on=False)
        axes.plot(column, row, "o", ms=11, mfc="none", mec="#d55e00", mew=1.5, clip_on=False)
        ends = "left and right" if wires.drive == "double" else "left"
        axes.set_xlabel(f"column (drivers {ends})")
        axes.set_ylabel("row (sense amplifiers below)")
        axes.set_title(
            f"IR drop of {rows}x{cols} {device.name}, driven from "
            f"{'both ends' if wires.drive == 'double' else 'one end'}\n"
            f"wires {wires.r_row:g} and {wires.r_col:g} ohm a segment, driver {wires.r_driver:g}, "
            f"sense {wires.r_sense:g} ohm\n"
            f"worst cell: row {row}, column {column} keeps {100 * lowest:.3g} %",
            fontsize=9,
        )
        save(figure, path)
