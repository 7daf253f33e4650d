# SPDX-License-Identifier: Apache-2.0
"""What ``ohmtwin tradeoff`` found, as a table and as JSON."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from ..arch.chip import Chip
from .tradeoff_points import Point

__all__ = ["COSTS", "Gates", "Measured", "TradeoffReport", "value_text"]

COSTS: Mapping[str, str] = {
    "cycles": "cycles a sample",
    "adc_decisions": "ADC decisions a sample (conversions x bits)",
    "lut": "LUTs of a core",
}
"""What accuracy is set against, with its name in pictures."""

_LETTERS = {"cycles": "c", "adc_decisions": "a", "lut": "l"}

_COLUMNS = ("cycles", "reads", "rows_driven", "conversions", "adc_decisions", "words_moved")
_ALWAYS = (*_COLUMNS, "beats", "adc_busy")


@dataclass(frozen=True)
class Gates:
    """Cells of a core on an ECP5.

    Parameters
    ----------
    lut, ff, bram, dsp : int
    lut_over_plain, ff_over_plain : int or None
        More than those of a core without options; None if there is no such core.
    parts : mapping
        By component of the core.
    writer_lut, writer_ff, writer_bram, writer_dsp : int
        Of the controller that programs the arrays, which a tile has one of; 0 without.
    """

    lut: int
    ff: int
    bram: int
    dsp: int
    lut_over_plain: int | None
    ff_over_plain: int | None
    parts: Mapping[str, Mapping[str, int]]
    writer_lut: int = 0
    writer_ff: int = 0
    writer_bram: int = 0
    writer_dsp: int = 0


@dataclass(frozen=True)
class Measured:
    """One point.

    Parameters
    ----------
    point : Point
    chip : Chip or None
        The one that it ran on; None if refused.
    accuracies : tuple of float
        One a seed.
    ideal : float or None
        Accuracy with ideal arrays: what the digital part alone loses.
    events : mapping of str to float
        A sample, mean over the seeds.
    gates : Gates or None
        None where they were not asked for.
    refused : str
        Why there is no such point; empty if there is.
    """

    point: Point
    chip: Chip | None = None
    accuracies: tuple[float, ...] = ()
    ideal: float | None = None
    events: Mapping[str, float] | None = None
    gates: Gates | None = None
    refused: str = ""

    @property
    def accuracy(self) -> float:
        """Median over the seeds."""
        return statistics.median(self.accuracies)

    def cost(self, name: str) -> float | None:
        """One of :data:`COSTS`; None if it is not known."""
        if name == "lut":
            if self.gates is None or self.chip is None:
                return None
            return self.gates.lut + self.gates.writer_lut / self.chip.cores
        return None if self.events is None else self.events[name]


def value_text(value: Any) -> str:
    """A value of a key, short."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(value_text, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class TradeoffReport:
    """All points.

    Parameters
    ----------
    model, device : str
    samples : int
    seeds : tuple of int
    golden : float
        Accuracy in exact integers.
    points : tuple of Measured
    """

    model: str
    device: str
    samples: int
    seeds: tuple[int, ...]
    golden: float
    points: tuple[Measured, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys that are not the same at all points."""
        every = dict.fromkeys(key for one in self.points for key in one.point.changes)
        missing = object()
        values = {
            key: [one.point.changes.get(key, missing) for one in self.points] for key in every
        }
        return tuple(key for key in every if any(v != values[key][0] for v in values[key]))

    def front(self, cost: str) -> list[Measured]:
        """Points that no other one beats: cheaper or as cheap, more accurate or as accurate, and
        one of both. Cheapest first; those with the same cost and accuracy all count."""
        known = [(value, one) for one in self.points if (value := one.cost(cost)) is not None]
        found = [
            (value, one)
            for value, one in known
            if not any(
                v <= value
                and o.accuracy >= one.accuracy
                and (v < value or o.accuracy > one.accuracy)
                for v, o in known
            )
        ]
        return [one for _, one in sorted(found, key=lambda entry: entry[0])]

    def fronts(self) -> list[tuple[str, ...]]:
        """For every point the costs at whose front it stands."""
        by_cost = {cost: {id(one) for one in self.front(cost)} for cost in COSTS}
        return [tuple(cost for cost in COSTS if id(one) in by_cost[cost]) for one in self.points]

    def label(self, one: Measured) -> str:
        """What tells a point from the others."""
        # A point alone differs from none, yet is not what it started from.
        keys = self.keys if len(self.points) > 1 else one.point.changes
        changes = [
            f"{key.removeprefix('device.')}={value_text(one.point.changes[key])}"
            for key in keys
            if key in one.point.changes
        ]
        return one.point.label or ", ".join(changes) or "base"

    def to_json(self) -> dict[str, Any]:
        points = []
        for one, front in zip(self.points, self.fronts(), strict=True):
            entry: dict[str, Any] = {"set": dict(one.point.changes)}
            if one.point.label:
                entry["label"] = one.point.label
            if one.refused:
                points.append({**entry, "refused": one.refused})
                continue
            entry |= {
                "chip": one.chip.name if one.chip else "",
                "accuracy": one.accuracy,
                "accuracies": list(one.accuracies),
                "ideal": one.ideal,
                "events": dict(one.events or {}),
                "front": list(front),
            }
            if one.gates is not None:
                entry["gates"] = asdict(one.gates)
            points.append(entry)
        return {
            "model": self.model,
            "device": self.device,
            "samples": self.samples,
            "seeds": list(self.seeds),
            "golden": self.golden,
            "points": points,
        }

    def json_text(self) -> str:
        """:meth:`to_json` as text."""
        return json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        seeds = f"{len(self.seeds)} seeds" if len(self.seeds) > 1 else f"seed {self.seeds[0]}"
        yield (
            f"{self.model}, {self.device}: {self.samples} samples, {seeds}; golden "
            f"{100 * self.golden:.1f} %. Figures a sample; front: c cycles, a ADC, l LUTs"
        )
        yield ""
        table = Table(box=None, pad_edge=False, padding=(0, 1))
        table.add_column("point", no_wrap=True)
        good = [one for one in self.points if not one.refused]
        more = sorted({name for one in good for name in one.events or {} if name not in _ALWAYS})
        gates = any(one.gates is not None for one in good)
        heads = ["accuracy", "ideal", "cycles", "reads", "rows", "conv", "ADC", "words", *more]
        heads += ["LUT", "over", "FF"] if gates else []
        writers = any(one.gates is not None and one.gates.writer_lut for one in good)
        heads += ["writer"] if writers else []
        for head in heads:
            table.add_column(head, justify="right", no_wrap=True)
        table.add_column("front", no_wrap=True)
        for one, front in zip(self.points, self.fronts(), strict=True):
            if one.refused:
                continue
            events = one.events or {}
            accuracy = f"{100 * one.accuracy:.1f} %"
            if len(one.accuracies) > 1:
                low, high = min(one.accuracies), max(one.accuracies)
                accuracy += f" ({100 * low:.1f}-{100 * high:.1f})"
            cells = [accuracy, "-" if one.ideal is None else f"{100 * one.ideal:.1f} %"]
            cells += [f"{events.get(name, 0):,.0f}" for name in _COLUMNS]
            cells += [f"{events[name]:,.1f}" if name in events else "" for name in more]
            if gates and one.gates is not None:
                over = one.gates.lut_over_plain
                cells += [f"{one.gates.lut:,}", "-" if over is None else f"{over:+,}"]
                cells.append(f"{one.gates.ff:,}")
                cells += [f"{one.gates.writer_lut:,}"] if writers else []
            letters = "".join(_LETTERS[cost] for cost in front)
            table.add_row(self.label(one), *cells, letters)
        yield table
        for one in self.points:
            if one.refused:
                yield f"refused: {self.label(one)}: {one.refused}"
