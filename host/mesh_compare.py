# SPDX-License-Identifier: Apache-2.0
"""What runs on a mesh took, beside what level fast predicts of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .compiler.mesh_plan import MeshPlan
from .mesh_timing import MeshCounters

__all__ = ["CYCLE_ERROR", "MeshReport", "compare_mesh"]

CYCLE_ERROR = 0.02
"""How far a predicted number of cycles may be off; without contention it is exact."""


@dataclass(frozen=True)
class MeshReport:
    """Counts of the mesh at the most clocked level that ran.

    Parameters
    ----------
    shape : (int, int)
        Columns and rows.
    level : str
    counted : MeshCounters
        Of that level.
    predicted : MeshCounters or None
        Of level fast, if that is another one and ran.
    """

    shape: tuple[int, int]
    level: str
    counted: MeshCounters
    predicted: MeshCounters | None = None

    @property
    def cycle_error(self) -> float | None:
        """Of the predicted cycles, as a fraction; None without both."""
        if self.predicted is None or not self.counted.cycles:
            return None
        return self.predicted.cycles / self.counted.cycles - 1

    @property
    def differing(self) -> tuple[tuple[str, int, int], ...]:
        """Links whose flits are predicted wrongly: (link and class, predicted, counted)."""
        if self.predicted is None:
            return ()
        ours, theirs = self.counted.flits, self.predicted.flits
        return tuple(
            (f"{kind} flits of {name}", theirs.get(name, (0, 0))[k], ours.get(name, (0, 0))[k])
            for name in dict.fromkeys((*theirs, *ours))
            for k, kind in enumerate(("data", "control"))
            if theirs.get(name, (0, 0))[k] != ours.get(name, (0, 0))[k]
        )

    @property
    def problems(self) -> list[str]:
        """A sentence for each prediction that is worse than it may be."""
        found = []
        for name, predicted, counted in self.differing[:1]:
            found.append(
                f"flits of {len(self.differing)} links of the mesh differ from what fast "
                f"predicts, first {name}: predicted {predicted}, counted {counted}"
            )
        error = self.cycle_error
        if error is not None and self.predicted is not None and abs(error) > CYCLE_ERROR:
            found.append(
                f"fast predicts {self.predicted.cycles:,} cycles of the mesh, {self.level} took "
                f"{self.counted.cycles:,}: off by {100 * error:+.1f} %, more than "
                f"{100 * CYCLE_ERROR:.0f} %"
            )
        return found

    def lines(self) -> list[str]:
        """For people."""
        counts = self.counted
        shares = counts.occupancy or (0.0,)
        text = (
            f"mesh {self.shape[0]}x{self.shape[1]}: cycles {counts.cycles:,}, "
            f"{counts.cycles_a_sample:,.0f} a sample   flits {counts.total_flits:,}   "
            f"tiles work {100 * min(shares):.0f} to {100 * max(shares):.0f} % of the time"
        )
        if self.level == "fast":
            return [f"{text}   (predicted by fast)"]
        error = self.cycle_error
        if error is None or self.predicted is None:
            return [text]
        flits = f"{len(self.differing)} differ" if self.differing else "all equal"
        return [
            text,
            f"mesh predicted by fast: cycles {self.predicted.cycles:,}, off by "
            f"{100 * error:+.2f} %; flits of {len(counts.flits)} links: {flits}",
        ]

    def to_json(self) -> dict[str, Any]:
        """Counts of the level, and beside them what was predicted."""
        return {
            "shape": list(self.shape),
            "level": self.level,
            **self.counted.to_json(),
            "predicted_cycles": None if self.predicted is None else self.predicted.cycles,
            "predicted_flits": None if self.predicted is None else self.predicted.total_flits,
            "cycle_error": self.cycle_error,
            "prediction_errors": [
                {"counter": name, "predicted": a, "counted": b} for name, a, b in self.differing
            ],
        }


def compare_mesh(
    plan: MeshPlan | None, counters: Mapping[str, MeshCounters | None], level: str | None
) -> MeshReport | None:
    """The report of a level, beside fast's prediction; None without a mesh or without counts.

    Parameters
    ----------
    plan : MeshPlan or None
    counters : mapping of str to MeshCounters or None
        By level.
    level : str or None
        The most clocked one.
    """
    counted = counters.get(level or "")
    if plan is None or level is None or counted is None:
        return None
    predicted = counters.get("fast") if level != "fast" else None
    return MeshReport(plan.shape, level, counted, predicted)
