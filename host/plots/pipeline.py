# SPDX-License-Identifier: Apache-2.0
"""Pipeline diagram: which tile works on which sample when, as a picture and as text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...arch.errors import InputError
from .figures import COLOURS, canvas, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Lane", "Stay", "draw_pipeline", "pipeline_text", "span_of"]

_SYMBOLS = "0123456789abcdefghijklmnopqrstuvwxyz"
_BUSY = COLOURS[:6]
_LANE = 26
"""Pixels."""

_WAITS = {True: ("0.88", ""), False: ("1.0", "////")}
"""Face and hatch of a wait within a sample: for input, for room for output."""


@dataclass(frozen=True)
class Stay:
    """A sample in a tile: from cycle ``begin`` to ``end``, and the waits in between, as (first
    cycle, cycles, whether for input)."""

    sample: int
    begin: int
    end: int
    waits: tuple[tuple[int, int, bool], ...] = ()

    def work(self) -> Iterator[tuple[int, int]]:
        """Cycles in which the tile works: (first, end) of each stretch."""
        at = self.begin
        for first, cycles, _ in self.waits:
            if first > at:
                yield at, first
            at = first + cycles
        if self.end > at:
            yield at, self.end


@dataclass(frozen=True)
class Lane:
    """A tile: its name, its samples in order, and the share of the whole run that it worked."""

    name: str
    stays: tuple[Stay, ...]
    occupancy: float


def span_of(lanes: Sequence[Lane], samples: int) -> tuple[int, int]:
    """A window that shows the first samples, from cycle 0 to when the last of them is done."""
    ends = [s.end for lane in lanes for s in lane.stays if s.sample < samples]
    return 0, max(ends, default=1)


def _check_window(window: tuple[int, int]) -> None:
    if not 0 <= window[0] < window[1]:
        raise InputError(
            f"A window of cycles is FIRST:END with FIRST below END, not {window[0]}:{window[1]}"
        )


def draw_pipeline(
    lanes: Sequence[Lane],
    path: Path,
    *,
    window: tuple[int, int],
    title: str = "Which tile works on which sample",
    width: int = 1200,
) -> None:
    """Write the diagram as a picture: a row a tile, a colour a sample.

    Grey: the tile has begun the sample and waits for more of its input; hatched: it waits for room
    for its output; nothing: it waits for the next sample. At the right stands the share of the
    whole run in which the tile worked.

    Parameters
    ----------
    lanes : sequence of Lane
    path : Path
        Ends in .png or .svg.
    window : (int, int)
        First cycle, and the one after the last.
    title : str
    width : int
        Pixels.

    Raises
    ------
    InputError
        If the window is none, or the file cannot be written.
    ToolError
        If matplotlib is not installed.
    """
    _check_window(window)
    height = 125 + _LANE * max(2, len(lanes))
    with canvas(width, height) as figure:
        axes = figure.add_subplot()
        for row, lane in enumerate(lanes):
            for stay in lane.stays:
                if stay.end > window[0] and stay.begin < window[1]:
                    _draw_stay(axes, row, stay, window, width)
            axes.text(
                1.01, row, f"{100 * lane.occupancy:.0f} %", transform=axes.get_yaxis_transform(),
                va="center", fontsize=8,
            )  # fmt: skip
        axes.set_xlim(*window)
        axes.set_ylim(len(lanes) - 0.4, -0.6)
        axes.set_yticks(range(len(lanes)), [lane.name for lane in lanes])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(
            "cycles   (grey: waits for input, hatched: for room)\n"
            "at the right: share of the whole run in which the tile works"
        )
        axes.set_title(title)
        save(figure, path)


def _draw_stay(axes: "Axes", row: int, stay: Stay, window: tuple[int, int], width: int) -> None:
    colour = _BUSY[stay.sample % len(_BUSY)]
    bars = [(first, end - first) for first, end in stay.work()]
    axes.broken_barh(bars, (row - 0.38, 0.76), facecolors=colour, edgecolor="w", linewidth=0.4)
    for kind, (face, hatch) in _WAITS.items():
        waits = [(first, cycles) for first, cycles, is_input in stay.waits if is_input is kind]
        if waits:
            axes.broken_barh(
                waits, (row - 0.38, 0.76), facecolors=face, hatch=hatch, edgecolor="0.6",
                linewidth=0,
            )  # fmt: skip
    # A number where there is room for it.
    first, end = max(stay.begin, window[0]), min(stay.end, window[1])
    text = str(stay.sample)
    if (end - first) * 0.75 * width > 9 * len(text) * (window[1] - window[0]):
        best = max(stay.work(), key=lambda part: part[1] - part[0], default=(first, end))
        middle = (max(best[0], window[0]) + min(best[1], window[1])) / 2
        if window[0] <= middle <= window[1]:
            axes.text(middle, row, text, ha="center", va="center", fontsize=7, color="w")


def pipeline_text(lanes: Sequence[Lane], *, window: tuple[int, int], columns: int = 100) -> str:
    """The diagram for a terminal: a row a tile.

    A digit or letter is the sample that the tile works on for most of the cycles of that place
    (counted 0 to 9, a to z, over and over), ``-`` a wait within a sample, a blank a wait for the
    next one, ``.`` such a wait in which it also worked for a while.

    Parameters
    ----------
    lanes : sequence of Lane
    window : (int, int)
    columns : int
        Of the terminal.

    Raises
    ------
    InputError
        If the window is none.
    """
    _check_window(window)
    lead = max((len(lane.name) for lane in lanes), default=0)
    places = max(10, min(columns - lead - 8, window[1] - window[0]))
    step = (window[1] - window[0]) / places
    lines = []
    for lane in lanes:
        cells = [dict[str, float]() for _ in range(places)]
        for stay in lane.stays:
            symbol = _SYMBOLS[stay.sample % len(_SYMBOLS)]
            for first, end in stay.work():
                _spread(cells, window[0], step, first, end, symbol)
            for first, cycles, _ in stay.waits:
                _spread(cells, window[0], step, first, first + cycles, "-")
        row = "".join(_symbol(cell, step) for cell in cells)
        lines.append(f"{lane.name:<{lead}} |{row}| {100 * lane.occupancy:3.0f} %")
    scale = f"{window[0]}".ljust(places - len(str(window[1]))) + f"{window[1]}"
    lines.append(f"{'':<{lead}}  {scale}  cycles, a place is {step:.3g}")
    return "\n".join(lines)


def _spread(
    cells: list[dict[str, float]], start: int, step: float, first: int, end: int, symbol: str
) -> None:
    """Add cycles ``first .. end - 1`` to the places that they fall in."""
    low = max(0.0, (first - start) / step)
    high = min(float(len(cells)), (end - start) / step)
    at = int(low)
    while at < high:
        share = min(high, at + 1) - max(low, at)
        cells[at][symbol] = cells[at].get(symbol, 0.0) + share * step
        at += 1


def _symbol(cell: dict[str, float], step: float) -> str:
    """What most of a place is; work before waits where both are the same."""
    idle = step - sum(cell.values())
    best = max(cell.items(), key=lambda item: (item[1], item[0] != "-"), default=(" ", 0.0))
    if best[1] >= idle:
        return best[0]
    return "." if cell else " "
