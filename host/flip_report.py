# SPDX-License-Identifier: Apache-2.0
"""What digital faults did, as a table and as JSON."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from .flips import Flip

__all__ = ["FaultReport", "FlipResult", "Outcome", "PlaceSummary"]


class Outcome(StrEnum):
    """What became of a flip."""

    MASKED = "masked"
    """No value that came back differs."""

    SILENT = "silent"
    """Values differ and nothing told the host."""

    DETECTED = "detected"
    """The host met with an error."""


@dataclass(frozen=True)
class FlipResult:
    """One flip and its effect.

    Parameters
    ----------
    flip : Flip
    outcome : Outcome
    how : str
        What detected it; empty if nothing did.
    message : str
        The error that the host met with.
    values, samples : int
        Values that differ, and samples with such.
    counters : bool
        Whether a performance counter ended at another value: a host that predicts them could tell.
    correct : int or None
        Labels met; None without labels or answer.
    """

    flip: Flip
    outcome: Outcome
    how: str = ""
    message: str = ""
    values: int = 0
    samples: int = 0
    counters: bool = False
    correct: int | None = None

    def to_json(self) -> dict[str, Any]:
        flip = self.flip
        found: dict[str, Any] = {
            "place": flip.place,
            "memory": flip.memory.path,
            "word": flip.word,
            "bit": flip.bit,
            "sample": flip.sample,
            "cycle": flip.cycle,
            "outcome": str(self.outcome),
            "values": self.values,
            "samples": self.samples,
            "counters_differ": self.counters,
        }
        if self.how:
            found["how"] = self.how
        if self.message:
            found["message"] = self.message
        if self.correct is not None:
            found["correct"] = self.correct
        return found


@dataclass(frozen=True)
class PlaceSummary:
    """The flips of one place.

    Parameters
    ----------
    flips, masked, silent, detected : int
    how : mapping of str to int
        The detected ones by what detected them.
    counters : int
        Silent ones that changed a counter.
    accuracy_lost : float or None
        Mean over the flips that were not detected; a host runs the others again.
    worst : float or None
        Most that one silent flip cost.
    """

    flips: int
    masked: int
    silent: int
    detected: int
    how: Mapping[str, int]
    counters: int
    accuracy_lost: float | None
    worst: float | None


@dataclass(frozen=True)
class FaultReport:
    """What :func:`.flip_campaign.inject` found.

    Parameters
    ----------
    model, chip, device, level, at : str
    samples, cycles, seed : int
        Cycles of the undisturbed run; 0 at level fast.
    labels : int
        0 without.
    correct : int or None
        Labels that the undisturbed run meets.
    bits : mapping of str to int
        Bits in use of each place.
    results : tuple of FlipResult
    """

    model: str
    chip: str
    device: str
    level: str
    at: str
    samples: int
    cycles: int
    seed: int
    labels: int
    correct: int | None
    bits: Mapping[str, int]
    results: tuple[FlipResult, ...]

    @property
    def accuracy(self) -> float | None:
        """Of the undisturbed run; None without labels."""
        return None if self.correct is None else self.correct / self.labels

    def summary(self, place: str) -> PlaceSummary:
        """The flips of a place."""
        mine = [result for result in self.results if result.flip.place == place]
        count = Counter(result.outcome for result in mine)
        lost = [
            (self.correct - result.correct) / self.labels
            for result in mine
            if self.correct is not None and result.correct is not None and not result.how
        ]
        return PlaceSummary(
            flips=len(mine),
            masked=count[Outcome.MASKED],
            silent=count[Outcome.SILENT],
            detected=count[Outcome.DETECTED],
            how=dict(sorted(Counter(result.how for result in mine if result.how).items())),
            counters=sum(r.counters for r in mine if r.outcome is Outcome.SILENT),
            accuracy_lost=sum(lost) / len(lost) if lost else None,
            worst=max(lost) if lost else None,
        )

    def to_json(self) -> dict[str, Any]:
        about = ("model", "chip", "device", "level", "at", "samples", "cycles", "seed")
        places = {}
        for place, bits in self.bits.items():
            found = self.summary(place)
            places[place] = {"bits": bits, **found.__dict__, "how": dict(found.how)}
        return {
            **{name: getattr(self, name) for name in about},
            "accuracy": self.accuracy,
            "places": places,
            "flips": [result.to_json() for result in self.results],
        }

    def json_text(self) -> str:
        """:meth:`to_json` as text."""
        return json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        when = f"in {self.cycles:,} cycles" if self.at == "any" else "between samples"
        yield (
            f"{self.model} on {self.chip}, {self.device}, level {self.level}: {self.samples} "
            f"samples, flips {when}, seed {self.seed}"
            + ("" if self.accuracy is None else f", accuracy {100 * self.accuracy:.1f} %")
        )
        yield ""
        table = Table(box=None, pad_edge=False, padding=(0, 1))
        table.add_column("place")
        for name in ("bits", "flips", "masked", "silent", "detected"):
            table.add_column(name, justify="right")
        if self.accuracy is not None:
            table.add_column("lost", justify="right")
            table.add_column("worst", justify="right")
        for place, bits in self.bits.items():
            found = self.summary(place)
            counts = (found.flips, found.masked, found.silent, found.detected)
            lost = (
                []
                if self.accuracy is None
                else [
                    "-" if value is None else f"{100 * value:.2f} %"
                    for value in (found.accuracy_lost, found.worst)
                ]
            )
            table.add_row(place, f"{bits:,}", *map(str, counts), *lost)
        yield table
        silent = sum(self.summary(place).silent for place in self.bits)
        seen = sum(self.summary(place).counters for place in self.bits)
        yield ""
        for place in self.bits:
            how = ", ".join(f"{name} {n}" for name, n in self.summary(place).how.items())
            if how:
                yield f"{place} detected by: {how}"
        if self.accuracy is not None:
            yield "lost, worst: accuracy that flips cost which nothing detected, mean and most"
        yield f"{seen} of the {silent} silent flips changed a performance counter"
