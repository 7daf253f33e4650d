# SPDX-License-Identifier: Apache-2.0
"""Accuracy against what it costs, a panel a cost, the front of each drawn through."""

from pathlib import Path
from typing import Any

from ..tradeoff_report import COSTS, Measured, TradeoffReport, value_text
from .figures import COLOURS, canvas, save

__all__ = ["WIDTH", "draw_tradeoff"]

WIDTH = 1300
"""Pixels, unless told otherwise."""

_FRONT: dict[str, Any] = {"color": "#bbbbbb", "linewidth": 1, "linestyle": "--"}
_MARKERS = "osD^vP*X<>"
_PANEL = 380
_LEGEND = 26
_NARROW = 900
"""Below so many pixels panels stand below each other."""


def draw_tradeoff(report: TradeoffReport, path: Path, width: int = WIDTH) -> None:
    """Draw the points of a report.

    Colours tell the label, or the values of the key with most values; markers those of all other
    keys, and labels apart whose colour is the same. Bars reach from the worst to the best seed.

    Parameters
    ----------
    report : TradeoffReport
    path : Path
        Ends in .png or .svg.
    width : int
        Pixels.

    Raises
    ------
    InputError
        If the file system refuses.
    ToolError
        If matplotlib is not installed.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter

    good = [one for one in report.points if not one.refused]
    costs = [name for name in COSTS if any(one.cost(name) is not None for one in good)]
    colours, shapes = _kinds(report, good)
    laps = {name: i // len(COLOURS) * len(shapes) for i, name in enumerate(colours)}
    across = len(costs) if width >= _NARROW else 1
    down = -(-max(1, len(costs)) // max(1, across))
    lines = -(-(len(colours) + len(shapes) + 3) // (4 if across > 1 else 2))
    with canvas(width, _PANEL * down + _LEGEND * lines) as figure:
        axes = figure.subplots(down, max(1, across), squeeze=False)
        for cost, panel in zip(costs, axes.flat, strict=True):
            front = report.front(cost)
            xs = [one.cost(cost) or 0.0 for one in front]
            ys = [100 * one.accuracy for one in front]
            panel.step(xs, ys, where="post", **_FRONT, zorder=1)
            panel.axhline(100 * report.golden, color="#000000", linewidth=0.8, linestyle=":")
            for one in good:
                value = one.cost(cost)
                if value is None:
                    continue
                low, high = 100 * min(one.accuracies), 100 * max(one.accuracies)
                name = _colour_key(report, one)
                colour, shape = colours[name], shapes[_shape_key(report, one)]
                kept = any(one is other for other in front)
                panel.plot([value, value], [low, high], color=colour, linewidth=0.8, zorder=2)
                panel.plot(
                    [value],
                    [100 * one.accuracy],
                    marker=_marker(shape + laps[name]),
                    color=colour,
                    markerfacecolor=colour if kept else "white",
                    markersize=6,
                    linestyle="none",
                    zorder=3,
                )
            panel.set_xlabel(COSTS[cost])
            panel.set_ylabel("accuracy, %")
            panel.xaxis.set_major_formatter(EngFormatter(sep=""))
            panel.set_xlim(0, 1.08 * max(one.cost(cost) or 0.0 for one in good))
            panel.margins(y=0.08)
        figure.suptitle(_title(report), fontsize=10)
        handles = [
            *(
                Line2D(
                    [], [], marker=_marker(laps[name]), linestyle="none", color=colour, label=name
                )
                for name, colour in colours.items()
                if name
            ),
            *(
                Line2D(
                    [],
                    [],
                    marker=_marker(shape),
                    linestyle="none",
                    color="#000000",
                    markerfacecolor="white",
                    label=label,
                )
                for label, shape in shapes.items()
                if label
            ),
            Line2D([], [], marker="o", label="front (filled)", **_FRONT),
            Line2D([], [], linestyle=":", color="#000000", linewidth=0.8, label="golden"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=4 if across > 1 else 2)
        save(figure, path)


def _title(report: TradeoffReport) -> str:
    """The network, and what all points have in common."""
    common = {
        key: value
        for key, value in report.points[0].point.changes.items()
        if key not in report.keys and key != "device"
    }
    parts = [report.model, report.device, *(f"{k} {value_text(v)}" for k, v in common.items())]
    seeds = f", {len(report.seeds)} seeds" if len(report.seeds) > 1 else ""
    return ", ".join(parts) + f"; {report.samples} samples{seeds}"


def _main_key(report: TradeoffReport) -> str | None:
    """The key with most values; None where points have labels, or nothing varies."""
    if any(one.point.label for one in report.points):
        return None
    keys = report.keys
    counts = [
        len({value_text(one.point.changes.get(key)) for one in report.points}) for key in keys
    ]
    return keys[counts.index(max(counts))] if keys else None


def _texts(report: TradeoffReport, one: Measured, keys: tuple[str, ...]) -> str:
    changes = one.point.changes
    named = (f"{key} {value_text(changes[key])}" for key in keys if key in changes)
    return ", ".join(named)


def _colour_key(report: TradeoffReport, one: Measured) -> str:
    key = _main_key(report)
    return one.point.label if key is None else _texts(report, one, (key,))


def _shape_key(report: TradeoffReport, one: Measured) -> str:
    key = _main_key(report)
    if key is not None:
        return _texts(report, one, tuple(k for k in report.keys if k != key))
    # What a label stands for is not told again: only what differs between points of one label.
    own = [other for other in report.points if other.point.label == one.point.label]
    varied = tuple(
        k for k in report.keys if len({value_text(other.point.changes.get(k)) for other in own}) > 1
    )
    return _texts(report, one, varied)


def _marker(number: int) -> str:
    return _MARKERS[number % len(_MARKERS)]


def _kinds(report: TradeoffReport, points: list[Measured]) -> tuple[dict[str, str], dict[str, int]]:
    """Colour, and number of the marker, of every kind of point, in the order in which they come."""
    colours = dict.fromkeys(_colour_key(report, one) for one in points)
    shapes = dict.fromkeys(_shape_key(report, one) for one in points)
    return (
        {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(colours)},
        {name: i for i, name in enumerate(shapes)},
    )
