# SPDX-License-Identifier: Apache-2.0
"""Functional coverage with named bins: what a bench must have seen to be believed.

Needs no simulator. Bins are named before the run; a bench ends with :meth:`Coverage.check`.
"""

import json
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Coverage", "CoverageError"]


class CoverageError(AssertionError):
    """A bench ended without having seen all it was to see."""


class Coverage:
    """Counts of named bins.

    Parameters
    ----------
    name : str
        Stands in the report.
    bins : mapping of str to str
        Name of each bin, and what it counts.
    """

    def __init__(self, name: str, bins: Mapping[str, str]) -> None:
        self.name = name
        self._bins = dict(bins)
        self._hits = dict.fromkeys(bins, 0)

    def hit(self, name: str, count: int | bool = 1) -> None:
        """Count ``name``; with a condition as ``count``, only if it holds.

        Raises
        ------
        KeyError
            If there is no such bin: a misspelt one would never be missed.
        """
        if name not in self._hits:
            raise KeyError(f"Coverage {self.name} has no bin '{name}'; it has {list(self._bins)}")
        self._hits[name] += int(count)

    def __getitem__(self, name: str) -> int:
        return self._hits[name]

    @property
    def missing(self) -> list[str]:
        """Bins never hit."""
        return [name for name, hits in self._hits.items() if not hits]

    def merge(self, other: "Coverage") -> None:
        """Add the hits of another run.

        Raises
        ------
        ValueError
            If the bins differ.
        """
        if other._bins != self._bins:
            raise ValueError(f"Coverage {other.name} has other bins than {self.name}")
        for name, hits in other._hits.items():
            self._hits[name] += hits

    def report(self) -> str:
        """A line a bin."""
        width = max(map(len, self._bins), default=0)
        lines = [
            f"  {name:<{width}}  {self._hits[name]:>8}  {doc}" for name, doc in self._bins.items()
        ]
        covered = len(self._bins) - len(self.missing)
        return "\n".join([f"{self.name}: {covered} of {len(self._bins)} bins hit", *lines])

    def check(self) -> None:
        """Raise :class:`CoverageError` with the report if a bin was never hit."""
        if self.missing:
            raise CoverageError(f"Never seen: {', '.join(self.missing)}\n{self.report()}")

    def save(self, path: Path) -> None:
        """Write the hits, for :meth:`load`."""
        path.write_text(json.dumps({"name": self.name, "bins": self._bins, "hits": self._hits}))

    @classmethod
    def load(cls, path: Path) -> "Coverage":
        """What :meth:`save` wrote, perhaps in a simulator's process."""
        data = json.loads(path.read_text())
        made = cls(data["name"], data["bins"])
        for name, hits in data["hits"].items():
            made.hit(name, int(hits))
        return made
